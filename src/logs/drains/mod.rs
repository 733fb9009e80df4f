//! Log drains: lines of an app on their way to a receiver (`logs.md` sections 4 to 6).
//!
//! A drain has no buffer of its own. It reads on in the kept lines of the app's log, in memory or on disk, from a number that is on disk, so a
//! slow or dead receiver costs nothing, never holds a dyno up, and what it missed is known by the gap in the numbers (L10).
//! After a restart it goes on where it was; a batch whose answer was cut off by the end of the daemon may come twice.

mod connect;
mod cursor;
mod frame;
mod http;
mod syslog;
mod worker;

pub use connect::Trust;

use crate::{AppLog, Logs};
use domain::{AppId, drain::DrainUrl};
use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, task::JoinHandle};
use uuid::Uuid;

/// A request in progress may end in this time when the daemon ends.
const CLOSE_LIMIT: Duration = Duration::from_secs(6);

/// A drain that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DrainSpec {
    /// Which.
    pub id: Uuid,
    /// Whose lines.
    pub app: AppId,
    /// What receivers know it by.
    pub token: String,
    /// Name of the app, for receivers that want one.
    pub service: String,
    /// Where to.
    pub url: DrainUrl,
    /// It gets lines after this number.
    pub after_seq: u64,
}

/// How a drain does. Times are microseconds since 1970; counts are those of the running daemon.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainState {
    /// When lines were last taken.
    pub last_success_us: Option<u64>,
    /// When it last failed.
    pub last_error_us: Option<u64>,
    /// Why it last failed.
    pub last_error: Option<String>,
    /// Lines that were taken.
    pub delivered: u64,
    /// Lines that never will be.
    pub dropped: u64,
    /// Number of the last line that is dealt with.
    pub seq: u64,
}

/// The drains of the host.
#[derive(Clone)]
pub struct Drains {
    inner: Arc<Inner>,
}

struct Inner {
    logs: Logs,
    dir: PathBuf,
    trust: Trust,
    running: Mutex<HashMap<Uuid, Running>>,
}

struct Running {
    spec: DrainSpec,
    log: Arc<AppLog>,
    state: Arc<Mutex<DrainState>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drains {
    /// Drains of `logs` that note in `dir` how far they are.
    ///
    /// # Errors
    /// When the folder can not be made.
    pub fn open(logs: Logs, dir: &Path, trust: Trust) -> std::io::Result<Self> {
        std::fs::create_dir_all(dir)?;
        Ok(Self { inner: Arc::new(Inner { logs, dir: dir.into(), trust, running: Mutex::default() }) })
    }

    /// May a drain lead there, as far as can be told without a look-up?
    ///
    /// # Errors
    /// The text for the user.
    pub fn check(&self, url: &DrainUrl) -> Result<(), String> {
        self.inner.trust.check(url)
    }

    /// From now on exactly these run. Needs a runtime.
    pub fn set(&self, wanted: Vec<DrainSpec>) {
        let mut running = self.running();
        let keep: HashMap<Uuid, DrainSpec> = wanted.into_iter().map(|spec| (spec.id, spec)).collect();
        running.retain(|id, one| {
            let stays = keep.get(id) == Some(&one.spec);
            if !stays {
                one.stop.send_replace(true);
            }
            stays
        });
        cursor::sweep(&self.inner.dir, |id| keep.contains_key(&id));
        for (id, spec) in keep {
            running.entry(id).or_insert_with(|| self.start(spec));
        }
    }

    fn start(&self, spec: DrainSpec) -> Running {
        let log = self.inner.logs.app(spec.app);
        let (stop, stopped) = watch::channel(false);
        let state = Arc::new(Mutex::new(DrainState::default()));
        let worker = worker::Worker::new(&spec, log.clone(), &self.inner.dir, &self.inner.trust, state.clone());
        Running { spec, log, state, stop, task: tokio::spawn(worker.run(stopped)) }
    }

    /// How a drain does, and how many lines wait for it; `None` for one that does not run.
    pub fn state(&self, id: Uuid) -> Option<(DrainState, u64)> {
        let running = self.running();
        let one = running.get(&id)?;
        let state = one.state.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let lag = one.log.last_seq().saturating_sub(state.seq);
        Some((state, lag))
    }

    /// Hands one line over now, on a connection of its own; gives how long it took, or why it was not taken. `None` for a
    /// drain that does not run.
    pub async fn test(&self, id: Uuid) -> Option<Result<Duration, String>> {
        let spec = self.running().get(&id)?.spec.clone();
        let begin = tokio::time::Instant::now();
        Some(worker::test(&spec, &self.inner.trust).await.map(|()| begin.elapsed()))
    }

    /// The daemon ends: requests in progress may finish, no others begin.
    pub async fn close(&self) {
        let all: Vec<Running> = self.running().drain().map(|(_, one)| one).collect();
        for one in &all {
            one.stop.send_replace(true);
        }
        let ended = async {
            for one in all {
                let _ = one.task.await; // it ended, one way or the other
            }
        };
        if tokio::time::timeout(CLOSE_LIMIT, ended).await.is_err() {
            tracing::warn!("logs.drain_close: some drains did not end in time; their last batch may come twice");
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<Uuid, Running>> {
        self.inner.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
