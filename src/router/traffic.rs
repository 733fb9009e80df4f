//! What the router sees of an app over time, kept beside the tables: for apps that sleep when nobody comes.

use domain::{UnixMs, sleep};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};
use tokio::sync::Notify;

/// One for each app, shared by all of its routes. Nothing here waits for anybody.
#[derive(Default)]
pub struct Traffic {
    last_ms: AtomicU64,
    open: AtomicUsize,
    wake_wanted: AtomicBool,
    wake: Notify,
}

impl Traffic {
    /// Counts a request in; it is counted out when dropped, with the end of an upgraded connection.
    pub(crate) fn begin(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Ordering::SeqCst);
        Open(self.clone())
    }

    /// What was seen so far.
    pub fn seen(&self) -> sleep::Traffic {
        sleep::Traffic { last: UnixMs(self.last_ms.load(Ordering::SeqCst)), open: self.open.load(Ordering::SeqCst) }
    }

    /// A request waits for a sleeping app; however many do, the engine is told once.
    pub(crate) fn ask_to_wake(&self) {
        if !self.wake_wanted.swap(true, Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    /// Returns when [`Traffic::wake_is_wanted`] may have become true.
    pub async fn wake_asked(&self) {
        self.wake.notified().await;
    }

    /// A request waits for the app to wake.
    pub fn wake_is_wanted(&self) -> bool {
        self.wake_wanted.load(Ordering::SeqCst)
    }

    /// The app is awake, or goes to sleep anew.
    pub fn forget_wake(&self) {
        self.wake_wanted.store(false, Ordering::SeqCst);
    }
}

/// A request in progress.
pub(crate) struct Open(Arc<Traffic>);

impl Drop for Open {
    fn drop(&mut self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        // The time first: whoever sees nothing open sees when that was.
        self.0.last_ms.fetch_max(u64::try_from(now).unwrap_or(u64::MAX), Ordering::SeqCst);
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_are_counted_and_many_that_wait_wake_once() {
        let traffic = Arc::new(Traffic::default());
        assert_eq!(traffic.seen(), sleep::Traffic::default());
        let (first, second) = (traffic.begin(), traffic.begin());
        assert_eq!((traffic.seen().open, traffic.seen().last), (2, UnixMs(0)));
        drop(first);
        assert_eq!(traffic.seen().open, 1);
        assert!(traffic.seen().last > UnixMs(0));
        drop(second);
        for _ in 0..1000 {
            traffic.ask_to_wake();
        }
        traffic.wake_asked().await;
        assert!(traffic.wake_is_wanted());
        traffic.forget_wake();
        assert!(!traffic.wake_is_wanted());
        let again = tokio::time::timeout(std::time::Duration::from_millis(10), traffic.wake_asked()).await;
        assert!(again.is_err(), "told once");
    }
}
