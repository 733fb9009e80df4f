//! The routing table: an immutable snapshot, and the backends that several snapshots share.

use crate::{traffic::Traffic, upstream::Pool};
use domain::{AppId, DynoId};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::sync::Notify;

/// All routes of one moment.
#[derive(Default)]
pub struct Table {
    /// A table with a lower number is refused.
    pub generation: u64,
    /// Exact host names, lower case.
    pub hosts: HashMap<String, Arc<AppRoute>>,
    /// What follows the `*.` of wildcard domains.
    pub wildcards: HashMap<String, Arc<AppRoute>>,
}

impl Table {
    /// The app of a host; exact names win, then the longest wildcard.
    pub fn find(&self, host: &str) -> Option<&Arc<AppRoute>> {
        if let Some(route) = self.hosts.get(host) {
            return Some(route);
        }
        let mut rest = host;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(route) = self.wildcards.get(parent) {
                return Some(route);
            }
            rest = parent;
        }
        None
    }
}

/// What the router knows of an app.
pub struct AppRoute {
    /// The app.
    pub app: AppId,
    /// Its name.
    pub name: String,
    /// H80.
    pub maintenance: bool,
    /// False: H81.
    pub deployed: bool,
    /// False: H14.
    pub wants_web: bool,
    /// Some web dyno is starting or about to.
    pub starting: bool,
    /// It sleeps; a request wakes it.
    pub asleep: bool,
    /// Visitors without TLS are sent to come with it.
    pub https_redirect: bool,
    /// Visitors with TLS are told to remember it.
    pub hsts: bool,
    /// Requests of the app, the same in every table.
    pub traffic: Arc<Traffic>,
    /// Web dynos that accept.
    pub backends: Vec<Arc<Backend>>,
}

/// A web dyno that accepts.
pub struct Backend {
    /// The dyno.
    pub id: DynoId,
    /// `web.1`.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    pub(crate) pool: Pool,
    closed: AtomicBool,
    in_flight: AtomicUsize,
    drained: Notify,
    /// Milliseconds after `born` until which it is left alone.
    quarantined_until: AtomicU64,
    born: Instant,
}

/// A dyno that refused is left alone this long (`router.md` section 2).
const QUARANTINE_MS: u64 = 5_000;

impl Backend {
    /// A backend that takes requests.
    pub fn new(id: DynoId, name: String, address: SocketAddr) -> Arc<Self> {
        Arc::new(Self {
            id,
            name,
            address,
            pool: Pool::default(),
            closed: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            drained: Notify::new(),
            quarantined_until: AtomicU64::new(0),
            born: Instant::now(),
        })
    }

    /// Counts a request in, or refuses because the dyno is on its way out. Counting first and looking then means that
    /// [`Backend::close`] either sees the claim or is seen by it.
    pub fn claim(self: &Arc<Self>) -> Option<Claim> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let claim = Claim(self.clone());
        if self.closed.load(Ordering::SeqCst) { None } else { Some(claim) }
    }

    /// No new requests from now on. Returns when the running ones have ended, or after `limit`; true when all ended.
    pub async fn close(&self, limit: Duration) -> bool {
        self.closed.store(true, Ordering::SeqCst);
        self.pool.clear();
        let drained = async {
            loop {
                let notified = self.drained.notified();
                if self.in_flight.load(Ordering::SeqCst) == 0 {
                    return;
                }
                notified.await;
            }
        };
        tokio::time::timeout(limit, drained).await.is_ok()
    }

    /// Requests in progress.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    fn age_ms(&self) -> u64 {
        u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn quarantine(&self) {
        self.quarantined_until.store(self.age_ms() + QUARANTINE_MS, Ordering::Relaxed);
    }

    /// How long it is still left alone, if it is.
    pub(crate) fn quarantine_left(&self) -> Option<Duration> {
        let left = self.quarantined_until.load(Ordering::Relaxed).saturating_sub(self.age_ms());
        (left > 0).then(|| Duration::from_millis(left))
    }

    pub(crate) fn is_quarantined(&self) -> bool {
        self.quarantine_left().is_some()
    }
}

/// One request in progress on a backend; counted out when dropped.
pub struct Claim(Arc<Backend>);

impl Claim {
    /// The backend.
    pub fn backend(&self) -> &Arc<Backend> {
        &self.0
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.drained.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn backend() -> Arc<Backend> {
        Backend::new(Uuid::from_u128(1).into(), "web.1".into(), SocketAddr::from(([127, 0, 0, 1], 1)))
    }

    fn route(name: &str) -> Arc<AppRoute> {
        Arc::new(AppRoute {
            app: Uuid::nil().into(),
            name: name.into(),
            maintenance: false,
            deployed: true,
            wants_web: true,
            starting: false,
            asleep: false,
            https_redirect: false,
            hsts: false,
            traffic: Arc::default(),
            backends: vec![],
        })
    }

    #[test]
    fn exact_names_win_over_the_longest_wildcard() {
        let mut table = Table::default();
        table.hosts.insert("www.a.com".into(), route("exact"));
        table.wildcards.insert("a.com".into(), route("wild"));
        table.wildcards.insert("x.a.com".into(), route("deep"));
        let find = |host: &str| table.find(host).map(|r| r.name.clone());
        assert_eq!(find("www.a.com").as_deref(), Some("exact"));
        assert_eq!(find("b.a.com").as_deref(), Some("wild"));
        assert_eq!(find("1.2.x.a.com").as_deref(), Some("deep"));
        assert_eq!(find("a.com"), None);
        assert_eq!(find("b.org"), None);
    }

    #[tokio::test]
    async fn a_closed_backend_takes_nothing_and_waits_for_what_it_has() {
        let backend = backend();
        let claim = backend.claim().expect("open");
        assert!(!backend.close(Duration::from_millis(20)).await);
        assert!(backend.claim().is_none());
        assert_eq!(backend.in_flight(), 1);
        let waiting = tokio::spawn({
            let backend = backend.clone();
            async move { backend.close(Duration::from_secs(10)).await }
        });
        drop(claim);
        assert!(waiting.await.expect("task"));
    }
}
