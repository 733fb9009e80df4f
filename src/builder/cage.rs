//! Running one script of a buildpack in a cage.

use logs::Output;
use runtime::{Exit, Limits, Mount, Network, Root, Runtime, RuntimeError, Sink, Spec, Stdio};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// What all scripts of a build share.
pub struct Cage {
    pub runtime: Arc<dyn Runtime>,
    pub env: BTreeMap<String, String>,
    pub mounts: Vec<Mount>,
    pub user_slot: u32,
    pub limits: Limits,
    pub deadline: Instant,
    /// Turns true when the build is to end.
    pub stopped: tokio::sync::watch::Receiver<bool>,
    pub hostname: String,
    pub root: Root,
}

/// How a script ended.
pub enum Ended {
    Exit(Exit),
    TimedOut,
    /// The build was told to end.
    Stopped,
}

/// Where its output goes.
#[derive(Clone)]
pub enum To {
    /// Shown to the user as it comes.
    User(Arc<Output>),
    /// Kept, up to a limit.
    Memory(Arc<Mutex<Vec<u8>>>),
}

const KEPT_BYTES_MAX: usize = 128 << 10;
/// After the time limit a script gets SIGTERM and this long.
const STOP_GRACE_MS: u64 = 3000;

impl Sink for To {
    fn output(&self, _end: u64, _time_us: u64, bytes: &[u8]) {
        match self {
            Self::User(output) => output.write(bytes),
            Self::Memory(kept) => {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let room = KEPT_BYTES_MAX.saturating_sub(kept.len());
                kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
            }
        }
    }

    fn dropped(&self, lines: u64) {
        tracing::warn!(lines, "builder.output_lost: a lossless stream lost lines");
    }

    fn grace_over(&self) {}
}

impl Cage {
    /// Runs `argv` and waits for its end or the deadline; nothing of it is left then.
    pub async fn run(&self, argv: Vec<String>, to: To, network: Network) -> Result<Ended, RuntimeError> {
        let id = uuid::Uuid::new_v4().into();
        let spec = Spec {
            id,
            argv,
            env: self.env.clone(),
            cwd: PathBuf::from("/tmp"),
            hostname: self.hostname.clone(),
            mounts: self.mounts.clone(),
            user_slot: self.user_slot,
            limits: self.limits,
            network,
            lossless: true,
            root: self.root.clone(),
            stdio: Stdio::default(),
        };
        self.runtime.start(spec, Arc::new(to)).await?;
        let mut stopped = self.stopped.clone();
        let told = async {
            if stopped.wait_for(|stop| *stop).await.is_err() {
                std::future::pending::<()>().await; // nobody can tell it any more
            }
        };
        let early = tokio::select! {
            exit = self.runtime.wait(id) => Ended::Exit(exit?),
            () = tokio::time::sleep_until(self.deadline) => Ended::TimedOut,
            () = told => Ended::Stopped,
        };
        let ended = match early {
            Ended::Exit(exit) => Ended::Exit(exit),
            cut => {
                self.runtime.stop(id, STOP_GRACE_MS).await?;
                // The holder kills what is left after the grace; then the wait ends.
                let _ = tokio::time::timeout(Duration::from_millis(STOP_GRACE_MS * 3), self.runtime.wait(id)).await;
                cut
            }
        };
        self.runtime.remove(id).await?;
        Ok(ended)
    }

    /// Runs a script and keeps what it prints on standard output; standard error is dropped.
    pub async fn capture(&self, script: &Path, arg: &str) -> Result<(Ended, String), RuntimeError> {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let quiet = "exec \"$1\" \"$2\" 2>/dev/null".to_string();
        let argv = vec!["/bin/bash".into(), "-c".into(), quiet, "bash".into(), script.display().to_string(), arg.into()];
        let ended = self.run(argv, To::Memory(kept.clone()), Network::None).await?;
        let text = String::from_utf8_lossy(&kept.lock().unwrap_or_else(PoisonError::into_inner)).into_owned();
        Ok((ended, text))
    }
}
