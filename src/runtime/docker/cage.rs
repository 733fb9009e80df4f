//! One container that the daemon follows: its output, its end, and the grace of a stop.
//!
//! Nothing that happens to the engine's API ends a cage here. When the API is gone, the task waits until it is back, and
//! goes on in the log where it was; only an engine that answers can say that a container has ended.

use super::{
    engine::{Engine, status},
    frame::{Decoder, Mark},
    process,
};
use crate::{Exit, RuntimeError, Sink};
use bollard::{
    errors::Error,
    models::ContainerInspectResponse,
    query_parameters::{InspectContainerOptions, KillContainerOptionsBuilder, LogsOptionsBuilder},
};
use domain::DynoId;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};
use tokio::{
    sync::watch,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

/// PID 1 takes `34 + number` for "this signal to all", and these two.
pub const FIRST_REAL_TIME: i32 = 34;
/// "The network is there."
pub const GO: i32 = libc::SIGUSR1;
/// "SIGTERM to all, once."
const STOP: i32 = libc::SIGUSR2;
/// Name of the record in a cage's folder.
const RECORD: &str = "cage.json";
/// Name of the file that says how far the output is stored.
const MARK: &str = "mark.json";
/// The mark is written this seldom; after a restart the log is read again from there.
const MARK_EVERY: Duration = Duration::from_millis(500);
/// The engine takes whole seconds; its clock is that of PID 1, but it looks at a line later.
const SINCE_SLACK_S: u64 = 3;
/// A log that ends while its container runs is opened again after this pause.
const REOPEN_PAUSE: Duration = Duration::from_millis(100);
/// An engine knows the end of a container within this time, or has missed it.
const NUDGE_EVERY: Duration = Duration::from_secs(2);
/// PID 1 ends everything within this time, else the engine is asked to.
const KILL_LIMIT: Duration = Duration::from_secs(3);

/// What a later daemon must know, in the cage's folder.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Record {
    /// Id of the container.
    pub container: String,
    /// Where the host reaches it; none while it is being made.
    pub address: Option<IpAddr>,
    /// PID 1 as the host sees it.
    pub pid: i32,
    /// When the grace is over, in ms since 1970, once it was told to stop.
    #[serde(default)]
    pub kill_at_ms: Option<u64>,
}

impl Record {
    /// The record of a cage, if it was written.
    pub fn load(dir: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(dir.join(RECORD)).ok()?).ok()
    }

    /// Writes it down.
    pub fn save(&self, dir: &Path) -> io::Result<()> {
        replace(&dir.join(RECORD), &serde_json::to_vec(self)?)
    }
}

fn replace(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let partial = file.with_extension("partial");
    fs::write(&partial, bytes)?;
    fs::rename(&partial, file)
}

/// A cage that this daemon follows.
pub struct Cage {
    /// Its key.
    pub id: DynoId,
    engine: Arc<Engine>,
    dir: PathBuf,
    sink: Arc<dyn Sink>,
    record: Mutex<Record>,
    exit: watch::Sender<Option<Exit>>,
    tasks: Mutex<Vec<AbortHandle>>,
    /// Whoever writes to its standard input.
    pub attached: Mutex<Option<AbortHandle>>,
}

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(0)
}

impl Drop for Cage {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl Cage {
    /// Begins to follow a container that was started, or found again.
    pub fn follow(engine: Arc<Engine>, id: DynoId, dir: PathBuf, record: Record, sink: Arc<dyn Sink>) -> Arc<Self> {
        let cage = Arc::new(Self {
            id,
            engine,
            dir,
            sink,
            record: Mutex::new(record),
            exit: watch::channel(None).0,
            tasks: Mutex::default(),
            attached: Mutex::default(),
        });
        let Record { pid, container, .. } = cage.record().clone();
        let tasks = [tokio::spawn(read(cage.follower())), tokio::spawn(nudge(cage.engine.clone(), pid, container))];
        tasks.iter().for_each(|task| cage.keep(task.abort_handle()));
        let kill_at = cage.record().kill_at_ms;
        kill_at.into_iter().for_each(|at| cage.kill_at(at));
        cage
    }

    fn follower(self: &Arc<Self>) -> Follower {
        let mark = fs::read(self.dir.join(MARK)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut from: Mark = mark.unwrap_or_default();
        let since = from.time_us;
        let safe = self.sink.safe();
        let stored = safe.as_ref().map_or(from.offset, |safe| *safe.borrow());
        let lines_known = stored == from.offset;
        from.offset = stored;
        Follower {
            id: self.id,
            engine: self.engine.clone(),
            container: self.record().container.clone(),
            dir: self.dir.clone(),
            sink: self.sink.clone(),
            exit: self.exit.clone(),
            decoder: Decoder::new(from, lines_known),
            since,
            safe,
            mark_written: Instant::now(),
            mark: None,
        }
    }

    fn keep(&self, task: AbortHandle) {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).push(task);
    }

    /// Follows it no more. Whoever waits hears that.
    pub fn let_go(&self) {
        self.exit.send_if_modified(|exit| {
            let waits = exit.is_none();
            exit.get_or_insert_with(|| lost("it was let go"));
            waits
        });
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..).for_each(|task| task.abort());
        self.attached.lock().unwrap_or_else(PoisonError::into_inner).take().into_iter().for_each(|task| task.abort());
    }

    /// What was written down about it.
    pub fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end, if it has come.
    pub fn ended(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    /// Waits for the end.
    pub async fn wait(&self) -> Result<Exit, RuntimeError> {
        let mut exit = self.exit.subscribe();
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|exit| exit.clone());
        ended.ok_or(RuntimeError::Unknown(self.id))
    }

    /// A signal to PID 1: directly where that is possible, else through the engine.
    pub async fn signal_init(&self, number: i32) -> Result<(), RuntimeError> {
        let Record { pid, container, .. } = self.record().clone();
        if self.ended().is_some() || process::send(pid, &container, number) {
            return Ok(());
        }
        let options = KillContainerOptionsBuilder::default().signal(&number.to_string()).build();
        match self.engine.docker()?.kill_container(&container, Some(options)).await {
            // It does not run, which is what a signal is mostly for.
            Err(e) if matches!(status(&e), Some(404 | 409)) => Ok(()),
            other => other.map_err(|e| RuntimeError::Io(e.to_string())),
        }
    }

    /// A frozen process sees no signal (`runtime.md` section 12, 16), whoever froze it.
    pub async fn thaw(&self) {
        let Record { pid, container, .. } = self.record().clone();
        if let Ok(docker) = self.engine.docker()
            && let Ok(found) = docker.inspect_container(&container, None::<InspectContainerOptions>).await
            && found.state.and_then(|state| state.paused) == Some(true)
            && let Err(e) = docker.unpause_container(&container).await
        {
            tracing::warn!(dyno = %self.id, error = %e, "runtime.unpause_failed");
        }
        if let Some(group) = process::group(pid, &container) {
            group.thaw();
        }
    }

    /// SIGTERM to all, once, also when a former daemon was asked already; SIGKILL after the grace.
    pub async fn stop(self: &Arc<Self>, grace_ms: u64) -> Result<(), RuntimeError> {
        let at = now_ms().saturating_add(grace_ms);
        let first = {
            let mut record = self.record();
            let first = record.kill_at_ms.is_none();
            // A second stop may only be harder.
            let sooner = record.kill_at_ms.is_none_or(|before| at < before);
            if sooner && (first || grace_ms == 0) {
                record.kill_at_ms = Some(at);
                let saved = record.save(&self.dir);
                saved.map_err(|e| RuntimeError::Io(format!("{}: {e}", self.dir.display())))?;
            } else if !first {
                return Ok(());
            }
            first
        };
        self.thaw().await;
        let told = if first && grace_ms > 0 { self.signal_init(STOP).await } else { Ok(()) };
        if grace_ms == 0 {
            self.kill()
        } else {
            self.kill_at(at)
        }
        told
    }

    fn kill_at(self: &Arc<Self>, at_ms: u64) {
        let cage = self.clone();
        let task = tokio::spawn(async move {
            let left = Duration::from_millis(at_ms.saturating_sub(now_ms()));
            if timeout(left, cage.wait()).await.is_err() {
                cage.sink.grace_over();
                cage.end().await;
            }
        });
        self.keep(task.abort_handle());
    }

    fn kill(self: &Arc<Self>) {
        let cage = self.clone();
        let task = tokio::spawn(async move { cage.end().await });
        self.keep(task.abort_handle());
    }

    /// SIGKILL to all, by PID 1 so that the main process's status is told; else to PID 1 itself, which takes all along.
    pub async fn end(&self) {
        loop {
            self.thaw().await;
            for signal in [FIRST_REAL_TIME + libc::SIGKILL, libc::SIGKILL] {
                if let Err(e) = self.signal_init(signal).await {
                    tracing::warn!(dyno = %self.id, error = %e, "runtime.kill_failed: trying again");
                }
                if timeout(KILL_LIMIT, self.wait()).await.is_ok() {
                    return;
                }
            }
            self.engine.up().await;
        }
    }
}

/// The task that reads the log.
struct Follower {
    id: DynoId,
    engine: Arc<Engine>,
    container: String,
    dir: PathBuf,
    sink: Arc<dyn Sink>,
    exit: watch::Sender<Option<Exit>>,
    decoder: Decoder,
    /// Where reading begins, in µs since 1970.
    since: u64,
    safe: Option<watch::Receiver<u64>>,
    mark: Option<Mark>,
    mark_written: Instant,
}

async fn read(mut follower: Follower) {
    let exit = loop {
        if let Err(e) = follower.pass(true).await
            && status(&e).is_none()
        {
            tracing::debug!(dyno = %follower.id, error = %e, "runtime.log_cut");
        }
        match follower.standing().await {
            Ok(found) => match ended(&found) {
                Some(mut exit) => {
                    // All of it, once more: what came between the end of the stream and that of the container is there now.
                    if let Err(e) = follower.pass(false).await {
                        tracing::warn!(dyno = %follower.id, error = %e, "runtime.log_end: the last lines may be missing");
                    }
                    if let Some(status) = follower.decoder.status() {
                        (exit.status, exit.platform_error) = (status, None); // an engine that was killed in part does not know
                    }
                    break exit;
                }
                None => sleep(REOPEN_PAUSE).await,
            },
            Err(Some(404)) => break lost("its container was removed by somebody else"),
            Err(_) => follower.engine.up().await,
        }
    };
    follower.write_mark();
    follower.exit.send_replace(Some(exit));
}

/// An engine that was killed in part may miss the end of a container. A signal, which hurts nobody any more, makes it look.
async fn nudge(engine: Arc<Engine>, pid: i32, container: String) {
    process::gone(pid, &container).await;
    loop {
        sleep(NUDGE_EVERY).await;
        let options = KillContainerOptionsBuilder::default().signal("SIGKILL").build();
        if let Ok(docker) = engine.docker()
            && let Err(e) = docker.kill_container(&container, Some(options)).await
            && status(&e).is_some()
        {
            return; // it does not run for the engine either
        }
    }
}

fn lost(why: &str) -> Exit {
    Exit { status: 137, oom: false, platform_error: Some(why.into()) }
}

fn ended(found: &ContainerInspectResponse) -> Option<Exit> {
    let state = found.state.as_ref()?;
    if state.running == Some(true) || state.finished_at.as_deref().is_none_or(|at| at.starts_with("0001-")) {
        return None;
    }
    let status = state.exit_code.and_then(|code| i32::try_from(code).ok()).unwrap_or(137);
    let problem = state.error.clone().filter(|text| !text.is_empty());
    Some(Exit { status, oom: state.oom_killed == Some(true), platform_error: problem })
}

impl Follower {
    /// `Err` with the engine's answer, or none when there was no answer.
    async fn standing(&self) -> Result<ContainerInspectResponse, Option<u16>> {
        let docker = self.engine.docker().map_err(|_| None)?;
        let found = docker.inspect_container(&self.container, None::<InspectContainerOptions>).await;
        found.map_err(|e| {
            let answer = status(&e);
            if answer.is_none() {
                self.engine.suspect(&e);
            }
            answer
        })
    }

    /// Reads the log from the last mark on; with `follow` until the container ends or the engine goes.
    async fn pass(&mut self, follow: bool) -> Result<(), Error> {
        let Ok(docker) = self.engine.docker() else { return Ok(()) };
        let since = i32::try_from((self.since / 1_000_000).saturating_sub(SINCE_SLACK_S)).unwrap_or(0);
        let options = LogsOptionsBuilder::default().follow(follow).stdout(true).stderr(true).since(since).build();
        let mut log = std::pin::pin!(docker.logs(&self.container, Some(options)));
        self.decoder.rewind();
        loop {
            tokio::select! {
                piece = log.next() => match piece {
                    Some(Ok(bollard::container::LogOutput::StdErr { message })) => {
                        // Not of the app, whose both outputs come in frames.
                        tracing::warn!(dyno = %self.id, said = %String::from_utf8_lossy(&message).trim_end(), "runtime.init");
                    }
                    Some(piece) => {
                        self.decoder.feed(&piece?.into_bytes(), &*self.sink);
                        self.advance(if self.safe.is_none() { self.decoder.seen().offset } else { 0 });
                    }
                    None => return Ok(()),
                },
                offset = changed(self.safe.as_mut()) => self.advance(offset),
            }
        }
    }

    /// Output up to `offset` is stored.
    fn advance(&mut self, offset: u64) {
        if let Some(mark) = self.decoder.safe(offset) {
            self.since = mark.time_us;
            self.mark = Some(mark);
        }
        if self.mark_written.elapsed() >= MARK_EVERY {
            self.write_mark();
        }
    }

    fn write_mark(&mut self) {
        if let Some(offset) = self.safe.as_ref().map(|safe| *safe.borrow())
            && let Some(mark) = self.decoder.safe(offset)
        {
            self.mark = Some(mark);
        }
        let Some(mark) = self.mark.take() else { return };
        self.mark_written = Instant::now();
        let written = serde_json::to_vec(&mark).map_err(io::Error::other).and_then(|json| replace(&self.dir.join(MARK), &json));
        if let Err(e) = written {
            tracing::debug!(dyno = %self.id, error = %e, "runtime.mark: the log will be read again from further back");
        }
    }
}

/// Waits for the next offset that is safe; for ever when the sink tells none.
async fn changed(stored: Option<&mut watch::Receiver<u64>>) -> u64 {
    if let Some(stored) = stored
        && stored.changed().await.is_ok()
    {
        return *stored.borrow_and_update();
    }
    std::future::pending().await
}
