//! Bounds of a connection: how many there are, and how long one may do nothing.

use std::{
    collections::HashMap,
    future::Future,
    io,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::watch,
};

/// Connections from one address.
const PER_ADDRESS_MAX: usize = 32;
/// Connections from everywhere.
const CONNECTIONS_MAX: usize = 512;
/// From the greeting to a proven key.
const SIGN_IN_LIMIT: Duration = Duration::from_secs(30);
/// Signed in, but without a request in progress.
const IDLE_LIMIT: Duration = Duration::from_secs(120);
/// At the end of the platform: for the last words to reach the client.
const FAREWELL: Duration = Duration::from_secs(1);

/// Who is connected.
#[derive(Clone, Default)]
pub struct Places(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// A connection that counts until it is dropped.
pub struct Place {
    all: Places,
    address: IpAddr,
}

impl Places {
    /// `None` when there are too many already.
    pub fn take(&self, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = all.values().sum();
        let count = all.entry(address).or_default();
        if total >= CONNECTIONS_MAX || *count >= PER_ADDRESS_MAX {
            return None; // without any, the others are too many: the entry of 0 goes with the next place
        }
        *count += 1;
        Some(Place { all: self.clone(), address })
    }
}

/// One subscriber has a whole /64 of IPv6.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & (u128::MAX << 64)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.address) {
            *count = count.saturating_sub(1);
        }
        all.retain(|_, count| *count > 0);
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Phase {
    /// A key was proven.
    pub signed_in: bool,
    /// Requests in progress.
    pub running: usize,
    /// The connection has ended.
    pub over: bool,
}

/// Waits until a connection is to be cut. One with a request in progress never is: builds take their time.
pub async fn until_over(mut phase: watch::Receiver<Phase>, mut end: watch::Receiver<bool>) {
    loop {
        let now = *phase.borrow_and_update();
        let ending = *end.borrow_and_update();
        if now.over {
            return;
        }
        let busy = now.running > 0;
        let limit = match now.signed_in {
            _ if ending => FAREWELL,
            false => SIGN_IN_LIMIT,
            true => IDLE_LIMIT,
        };
        tokio::select! {
            () = tokio::time::sleep(limit), if !busy => return,
            changed = phase.changed() => if changed.is_err() { return },
            _ = end.changed(), if !ending => {}
        }
    }
}

/// A stream whose reading fails once a condition has come, which ends whoever uses it.
pub struct Guarded<S> {
    stream: S,
    over: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<S> Guarded<S> {
    /// Lets `stream` be used until `over` is ready.
    pub fn new(stream: S, over: impl Future<Output = ()> + Send + 'static) -> Self {
        Self { stream, over: Box::pin(over) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.over.as_mut().poll(context).is_ready() {
            // It must not be asked again.
            self.over = Box::pin(std::future::ready(()));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_its_share_and_gives_it_back() {
        let places = Places::default();
        let one: IpAddr = "192.0.2.1".parse().unwrap();
        let taken: Vec<Place> = (0..PER_ADDRESS_MAX).map(|_| places.take(one).unwrap()).collect();
        assert!(places.take(one).is_none());
        assert!(places.take("::ffff:192.0.2.1".parse().unwrap()).is_none(), "the same in another dress");
        let six = |last: u16| -> IpAddr { format!("2001:db8::{last}").parse().unwrap() };
        let neighbours: Vec<Place> = (0..32).map(|n| places.take(six(n)).unwrap()).collect();
        assert!(places.take(six(99)).is_none(), "a /64 is one address");
        drop(taken);
        assert!(places.take(one).is_some());
        drop(neighbours);
        assert!(places.0.lock().unwrap().is_empty(), "nothing is kept of who went");
    }

    #[tokio::test(start_paused = true)]
    async fn only_who_does_nothing_is_cut() {
        let (phase, end) = (watch::channel(Phase::default()).0, watch::channel(false).0);
        let start = tokio::time::Instant::now();
        until_over(phase.subscribe(), end.subscribe()).await;
        assert_eq!(start.elapsed(), SIGN_IN_LIMIT);
        phase.send_replace(Phase { signed_in: true, running: 1, over: false });
        let waiting = tokio::spawn(until_over(phase.subscribe(), end.subscribe()));
        tokio::time::sleep(Duration::from_secs(4000)).await;
        assert!(!waiting.is_finished(), "a long build");
        end.send_replace(true);
        tokio::time::sleep(Duration::from_secs(4000)).await;
        assert!(!waiting.is_finished(), "the end of the platform waits for it, too");
        phase.send_modify(|phase| phase.running = 0);
        waiting.await.unwrap();
    }
}
