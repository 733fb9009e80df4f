//! Webhooks: a reader of the event log with a cursor of its own makes deliveries ([`reader`]), a sender brings them to
//! their receivers ([`sender`]). Both go on where their rows say they are (`eventing.md` sections 3 to 5).

pub(crate) mod post;
mod reader;
mod sender;

use crate::Engine;
use domain::{AppId, UnixMs};
use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;
use uuid::Uuid;

/// Requests under way at the same time.
const AT_ONCE: usize = 16;

/// When, and the key of the delivery.
type Due = (UnixMs, u64, AppId);

/// What waits to be sent: a line of its own for each hook, one request of a hook at a time.
#[derive(Default)]
struct Lines {
    waiting: HashMap<Uuid, BTreeSet<Due>>,
    busy: HashSet<Uuid>,
}

/// Shared by reader and sender.
#[derive(Default)]
pub struct Queue {
    lines: Mutex<Lines>,
    changed: Notify,
}

impl Queue {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, hook: Uuid, due: Due) {
        self.lines().waiting.entry(hook).or_default().insert(due);
        self.changed.notify_one();
    }

    /// What is to be sent now, its hooks being busy from now on; and when to look again.
    fn take(&self, now: UnixMs) -> (Vec<(Uuid, Due)>, Option<UnixMs>) {
        let mut lines = self.lines();
        let Lines { waiting, busy } = &mut *lines;
        let (mut taken, mut next) = (Vec::new(), None::<UnixMs>);
        for (hook, line) in waiting.iter_mut().filter(|(hook, _)| !busy.contains(*hook)) {
            let Some(first) = line.first().copied() else { continue };
            if first.0 > now {
                next = Some(next.map_or(first.0, |at| at.min(first.0)));
            } else if busy.len() + taken.len() < AT_ONCE {
                line.remove(&first);
                taken.push((*hook, first));
            }
        }
        busy.extend(taken.iter().map(|(hook, _)| *hook));
        waiting.retain(|_, line| !line.is_empty());
        (taken, next)
    }

    fn free(&self, hook: Uuid) {
        self.lines().busy.remove(&hook);
        self.changed.notify_one();
    }
}

/// Starts both.
pub fn start(engine: &Engine) -> Result<(), store::StoreError> {
    sender::load(engine)?;
    tokio::spawn(sender::run(engine.clone()));
    tokio::spawn(reader::run(engine.clone()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hook_has_one_request_under_way_and_does_not_hold_up_others() {
        let queue = Queue::default();
        let (one, two, app) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::nil().into());
        queue.put(one, (UnixMs(5), 1, app));
        queue.put(one, (UnixMs(5), 2, app));
        queue.put(two, (UnixMs(9), 3, app));
        let (taken, next) = queue.take(UnixMs(5));
        assert_eq!((taken, next), (vec![(one, (UnixMs(5), 1, app))], Some(UnixMs(9))));
        assert_eq!(queue.take(UnixMs(9)).0, vec![(two, (UnixMs(9), 3, app))]);
        queue.free(one);
        assert_eq!(queue.take(UnixMs(9)).0, vec![(one, (UnixMs(5), 2, app))]);
        assert!(queue.lines().waiting.is_empty());
    }
}
