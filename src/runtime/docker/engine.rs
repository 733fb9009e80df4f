//! The engine's API: connection, health, errors.

use crate::RuntimeError;
use bollard::{API_DEFAULT_VERSION, Docker, errors::Error};
use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Answers begin within this time.
const ANSWER_LIMIT_S: u64 = 60;
/// An upload or an import takes longer.
pub const UPLOAD_LIMIT: Duration = Duration::from_secs(900);
/// A healthy engine answers a ping at once.
const PING_LIMIT: Duration = Duration::from_secs(5);
const PING_EVERY: Duration = Duration::from_secs(2);
/// While it is down it is looked for more often: apps may wait to be started.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Below these versions known ways out of a container are open (CVE-2025-31133, CVE-2025-52565, CVE-2025-52881).
const RUNC_MENDED: [[u32; 3]; 2] = [[1, 2, 8], [1, 3, 3]];

/// The engine behind one socket.
pub struct Engine {
    socket: PathBuf,
    docker: Mutex<Option<Docker>>,
    /// Does it answer? The reason if not.
    health: watch::Sender<Result<(), String>>,
    /// What it says about itself.
    about: Mutex<About>,
}

#[derive(Clone, Default)]
struct About {
    version: String,
    runc: String,
}

impl Engine {
    /// Connects if the engine is there, and looks after it from now on.
    pub async fn open(socket: &Path) -> Arc<Self> {
        let health = watch::channel(Err("not asked yet".to_string())).0;
        let engine = Arc::new(Self { socket: socket.into(), docker: Mutex::default(), health, about: Mutex::default() });
        engine.look().await;
        tokio::spawn(watch_over(Arc::downgrade(&engine)));
        engine
    }

    /// For requests; an error says that the engine is down.
    pub fn docker(&self) -> Result<Docker, RuntimeError> {
        let health = self.health.borrow().clone();
        let docker = self.docker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (health, docker) {
            (Ok(()), Some(docker)) => Ok(docker),
            (health, _) => Err(RuntimeError::Io(self.sentence(&health.err().unwrap_or_default()))),
        }
    }

    fn sentence(&self, why: &str) -> String {
        let socket = self.socket.display();
        format!("the container engine does not answer at {socket} ({why}); what runs goes on; start the engine, then try again")
    }

    /// Why it is down, if it is.
    pub fn down(&self) -> Option<String> {
        self.health.borrow().clone().err().map(|why| self.sentence(&why))
    }

    /// Sentences about this engine that an operator should know.
    pub fn faults(&self) -> Vec<String> {
        let about = self.about.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut faults: Vec<String> = self.down().into_iter().collect();
        if let Some(version) = numbers(&about.runc).filter(|version| is_old(*version)) {
            let [major, minor, patch] = version;
            faults.push(format!("the engine's runc {major}.{minor}.{patch} is older than 1.2.8, in which ways out of containers were closed; update it"));
        }
        faults
    }

    /// Waits for an engine that is just restarting, but not for ever.
    pub async fn ready(&self, patience: Duration) -> Result<Docker, RuntimeError> {
        let _ = tokio::time::timeout(patience, self.up()).await; // the next line tells
        self.docker().map_err(|e| RuntimeError::Start(e.to_string()))
    }

    /// Returns when it answers.
    pub async fn up(&self) {
        let _ = self.health.subscribe().wait_for(Result::is_ok).await; // the sender lives as long as this
    }

    /// A request failed without an answer: it is down until a ping says otherwise.
    pub fn suspect(&self, why: &Error) {
        self.set(Err(why.to_string()));
    }

    fn set(&self, now: Result<(), String>) {
        let before = self.health.borrow().is_ok();
        match (before, &now) {
            (true, Err(why)) => {
                tracing::error!(socket = %self.socket.display(), %why, "runtime.engine_down: running dynos go on, none can be started")
            }
            (false, Ok(())) => {
                let about = self.about.lock().unwrap_or_else(PoisonError::into_inner).clone();
                tracing::info!(version = about.version, runc = about.runc, "runtime.engine_up");
            }
            _ => {}
        }
        self.health.send_if_modified(|health| {
            let changed = health.is_ok() != now.is_ok();
            *health = now;
            changed
        });
    }

    async fn look(&self) {
        let now = match tokio::time::timeout(PING_LIMIT, self.ask()).await {
            Ok(asked) => asked.map_err(|e| e.to_string()),
            Err(_) => Err(format!("no answer within {} s", PING_LIMIT.as_secs())),
        };
        self.set(now);
    }

    async fn ask(&self) -> Result<(), Error> {
        let known = self.docker.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(docker) = known.filter(|_| self.health.borrow().is_ok()) {
            return docker.ping().await.map(|_| ());
        }
        // Anew after it was down: another version may have come up.
        let docker = Docker::connect_with_unix(&self.socket.to_string_lossy(), ANSWER_LIMIT_S, API_DEFAULT_VERSION)?;
        let docker = docker.negotiate_version().await?;
        let version = docker.version().await?;
        let runc = version.components.into_iter().flatten().find(|c| c.name == "runc").map(|c| c.version).unwrap_or_default();
        *self.about.lock().unwrap_or_else(PoisonError::into_inner) =
            About { version: version.version.unwrap_or_default(), runc };
        *self.docker.lock().unwrap_or_else(PoisonError::into_inner) = Some(docker);
        Ok(())
    }
}

async fn watch_over(engine: Weak<Engine>) {
    loop {
        let Some(here) = engine.upgrade() else { return };
        let begun = Instant::now();
        let every = if here.down().is_some() { LOOK_EVERY } else { PING_EVERY };
        drop(here);
        tokio::time::sleep(every.saturating_sub(begun.elapsed())).await;
        let Some(here) = engine.upgrade() else { return };
        here.look().await;
    }
}

fn numbers(version: &str) -> Option<[u32; 3]> {
    let mut parts = version.trim_start_matches('v').split(['.', '+', '-', '~']).map(str::parse);
    Some([parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?])
}

fn is_old(version: [u32; 3]) -> bool {
    let mended = RUNC_MENDED.iter().find(|m| m[..2] == version[..2]);
    mended.map_or(version < RUNC_MENDED[0], |m| version < *m)
}

/// The engine answered, and this was its answer.
pub fn status(error: &Error) -> Option<u16> {
    match error {
        Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// What is not there needs not be removed, and what is being removed will be gone.
pub fn gone(result: Result<(), Error>) -> Result<(), Error> {
    match result {
        Err(e) if matches!(status(&e), Some(404)) => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_versions_of_runc_are_known_however_they_are_written() {
        assert_eq!(numbers("1.1.5+ds1"), Some([1, 1, 5]));
        assert_eq!(numbers("v1.3.0-rc.1"), Some([1, 3, 0]));
        let old = |v: &str| numbers(v).is_some_and(is_old);
        assert!(old("1.1.5+ds1") && old("1.2.7") && old("1.3.2"));
        assert!(!old("1.2.8") && !old("1.3.3") && !old("1.4.0") && !old("unknown"));
    }
}
