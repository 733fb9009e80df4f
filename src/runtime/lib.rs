//! Running dynos: one trait, several drivers.
//!
//! Drivers: [`native`] (name spaces and control groups, a holder process per dyno), [`docker`] (a container per dyno) and
//! [`fake`] (in memory, told how to fail); [`choice`] makes two of them one. Everything is keyed by dyno id. This room must not know apps,
//! releases or the store: it gets a [`Spec`] and reports an [`Exit`].

pub mod choice;
pub mod docker;
pub mod fake;
pub mod native;

use async_trait::async_trait;
use bytes::Bytes;
use domain::DynoId;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr, path::PathBuf, sync::Arc};
use tokio::sync::{mpsc, oneshot, watch};

/// What to run, and in which cage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    /// Key of everything.
    pub id: DynoId,
    /// Program and arguments; the first is an absolute path inside the cage.
    pub argv: Vec<String>,
    /// The whole environment; nothing is inherited.
    pub env: BTreeMap<String, String>,
    /// Working directory inside the cage.
    pub cwd: PathBuf,
    /// Host name inside the cage.
    pub hostname: String,
    /// What is visible besides the read-only system.
    pub mounts: Vec<Mount>,
    /// Number of the unprivileged user in the driver's pool.
    pub user_slot: u32,
    /// Limits, in force before the first instruction.
    pub limits: Limits,
    /// What of the network it sees.
    pub network: Network,
    /// True for builds and attached dynos: a slow reader slows the writer down. False for dynos that write to the log: lines
    /// are lost and counted.
    pub lossless: bool,
    /// The read-only system below everything.
    #[serde(default)]
    pub root: Root,
    /// What the main process reads, and what kind of file its output is.
    #[serde(default)]
    pub stdio: Stdio,
}

/// The read-only system of a cage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Root {
    /// What the driver has for slugs: the host's own `/usr`, or the base image.
    #[default]
    Host,
    /// A folder on the host with an imported root file system, shared by all cages that name it.
    Imported(PathBuf),
    /// An image of the container engine, run as it says: its entry point stays, `argv` is its command (`runtime.md`
    /// section 4.5).
    Image(String),
}

/// Standard input and output of a process in a cage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stdio {
    /// Reads nothing, writes to pipes.
    #[default]
    Log,
    /// Reads from a pipe, writes to one. See [`Runtime::attach`].
    Pipes,
    /// A terminal. See [`Runtime::attach`].
    Terminal(Window),
}

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Lines.
    pub rows: u16,
    /// Characters of a line.
    pub columns: u16,
}

impl Default for Window {
    /// What terminals begin with (`cli-contract.md` section 5).
    fn default() -> Self {
        Self { rows: 24, columns: 80 }
    }
}

/// What is told to an attached process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// For its standard input.
    Bytes(Bytes),
    /// Nothing more comes: pipes are closed, a terminal gets its end-of-file character.
    End,
    /// The terminal has a new size.
    Resize(Window),
    /// For the process and its group.
    Signal(i32),
}

/// A further process in a running cage; see [`Runtime::exec`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// Program and arguments; the first is an absolute path inside the cage.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// Working directory.
    pub cwd: PathBuf,
    /// Terminal or pipes.
    pub stdio: Stdio,
}

/// Cages that may share a user; see [`Spec::shares_user`].
pub(crate) const SHARED_USER_DYNOS: u32 = 100;

/// How long a process may take what it was sent after who sent it has left.
pub(crate) const LAST_INPUT_LIMIT: std::time::Duration = std::time::Duration::from_secs(1);

/// Passes input on until there is no more, or a little longer than until who sent it has `gone`. False when it stands still,
/// because the process takes none.
pub(crate) async fn pass_until(passing: impl Future<Output = ()>, gone: impl Future<Output = ()>) -> bool {
    tokio::pin!(passing);
    tokio::select! {
        () = &mut passing => true,
        () = gone => tokio::time::timeout(LAST_INPUT_LIMIT, passing).await.is_ok(),
    }
}

/// A process that was started by [`Runtime::exec`]. Dropping both ends hangs it up: SIGHUP to its group.
#[derive(Debug)]
pub struct Running {
    /// To it. Waits when the process does not read.
    pub input: mpsc::Sender<Input>,
    /// From it, in order; the process waits when nobody reads.
    pub output: mpsc::Receiver<Bytes>,
    /// Status, as in [`Exit::status`], once all output was delivered. An error means that the cage is gone.
    pub exit: oneshot::Receiver<i32>,
}

/// What a cage sees of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// The host's own: a web dyno's port is the host's.
    Host,
    /// For dynos: an address of its own that only the host reaches, and a way out, but none to other cages or to the
    /// host. Falls back to [`Network::Host`] when that is set or the host lacks what it takes; see
    /// [`Capabilities::missing`].
    Own,
    /// For builds: a way out, as in [`Network::Own`], and none in. Falls back in the same way.
    Outbound,
    /// Nothing.
    None,
}

/// A host directory or file inside the cage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// On the host.
    pub source: PathBuf,
    /// Absolute, inside.
    pub target: PathBuf,
    /// May it be written?
    pub writable: bool,
    /// It outlives the cage and several cages have it: what they see is the folder on the host itself, with any driver.
    #[serde(default)]
    pub kept: bool,
}

impl Spec {
    /// Its user is that of other cages, too, so limits by user would be shared.
    pub fn shares_user(&self) -> bool {
        self.mounts.iter().any(|mount| mount.kept)
    }
}

/// Limits of a cage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Memory quota, also told to the app.
    pub memory_bytes: u64,
    /// The kernel enforces the quota itself; else it enforces twice the quota when there is no swap (`runtime.md` section 9).
    pub memory_hard: bool,
    /// Processes and threads.
    pub tasks_max: u32,
    /// Share of CPU time relative to others; 1 is a Standard-1X dyno.
    pub cpu_share: u32,
    /// Processors that the cage sees (`nproc`) and uses, at most those of the host; `None` for all.
    #[serde(default)]
    pub cores: Option<u32>,
}

/// How a cage ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// Exit code of the main process, or 128 + signal (`runtime.md` section 6.7).
    pub status: i32,
    /// The kernel killed at least one process for memory.
    #[serde(default)]
    pub oom: bool,
    /// Set when the platform failed, not the app.
    #[serde(default)]
    pub platform_error: Option<String>,
}

/// Where a cage's output and news go. Called from the driver's tasks; must not block for long.
pub trait Sink: Send + Sync {
    /// Bytes of stdout and stderr, in order, with the time they were read (µs since 1970). `end` counts all bytes since
    /// the start of the cage, these included; after a restart of the daemon some may come again.
    fn output(&self, end: u64, time_us: u64, bytes: &[u8]);
    /// Follows the number of bytes that the sink has stored, so that they need not be kept anywhere else. `None`: all that
    /// was passed to [`Sink::output`].
    fn safe(&self) -> Option<watch::Receiver<u64>> {
        None
    }
    /// Lines that were lost because nobody read them (L12).
    fn dropped(&self, lines: u64);
    /// The grace after SIGTERM is over and something is still alive (R12); SIGKILL follows.
    fn grace_over(&self);
}

/// What a driver can do on this host; what it can not is said here, never skipped silently.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Name of the driver.
    pub driver: &'static str,
    /// Something really runs; a driver for tests of other rooms only plays the life of cages.
    pub processes: bool,
    /// [`Limits::cores`] is what the cage sees.
    pub cores: bool,
    /// Memory, process and CPU limits are enforced.
    pub limits: bool,
    /// Every dyno has a user of its own.
    pub own_users: bool,
    /// Dynos outlive the daemon.
    pub survives_daemon: bool,
    /// Every process of a cage gets the signals, not only the main one.
    pub signals_all: bool,
    /// A cage may have an imported root file system ([`Root::Imported`]).
    pub imported_roots: bool,
    /// A cage may run an image as it is ([`Root::Image`]).
    pub images: bool,
    /// Sentences about what is missing.
    pub missing: Vec<String>,
}

/// What a cage uses and has used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Memory now.
    pub memory: Memory,
    /// Time on processors since the start, in microseconds.
    pub cpu_us: u64,
    /// Time for which it was held back by a CPU limit, in microseconds.
    pub throttled_us: u64,
    /// Processes and threads now.
    pub tasks: u64,
    /// Processes that the kernel killed for memory since the start.
    pub oom_kills: u64,
}

/// What [`Runtime::build_image`] made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuiltImage {
    /// Its name, as in [`ImageBuild::tag`].
    pub tag: String,
    /// Content address.
    pub id: String,
}

/// How a cage stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Where the host reaches it.
    pub address: IpAddr,
    /// Its end, if it has ended and nobody has removed it yet.
    pub exit: Option<Exit>,
    /// The process on the host that it hangs on: the holder, or the container's main process.
    pub pid: Option<i32>,
}

/// Memory of a cage (`runtime.md` section 9).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Anonymous and shared memory.
    pub rss_bytes: u64,
    /// Files; the kernel takes it back when it needs it.
    pub cache_bytes: u64,
    /// Swapped out.
    pub swap_bytes: u64,
}

/// Errors of a driver.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum RuntimeError {
    /// The cage could not be made.
    #[error("runtime_start: {0}")]
    Start(String),
    /// There is no such dyno.
    #[error("runtime_unknown: no dyno {0}")]
    Unknown(DynoId),
    /// The system refused.
    #[error("runtime_io: {0}")]
    Io(String),
    /// This driver or this cage can not; see [`Capabilities`].
    #[error("runtime_unsupported: {0}")]
    Unsupported(String),
}

/// Gets what an engine says while it builds.
pub type Said = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// An image to be built from a Dockerfile.
#[derive(Clone, Debug)]
pub struct ImageBuild {
    /// Folder on the host; all that the build sees.
    pub context: PathBuf,
    /// Path in it.
    pub dockerfile: String,
    /// Build arguments.
    pub arguments: BTreeMap<String, String>,
    /// What the image is called.
    pub tag: String,
    /// Memory of each step.
    pub limits: Limits,
    /// The engine's network for it, `none` for none.
    pub network: String,
}

/// A driver. The dyno's row is written before `start` is called. Output is pushed to the [`Sink`] that `start` or `recover`
/// was given, from the offset on that the sink has stored; there is no pulling of logs.
#[async_trait]
pub trait Runtime: Send + Sync {
    /// Starts a cage; returns when the main process was started, with the address at which the host reaches it.
    async fn start(&self, spec: Spec, sink: Arc<dyn Sink>) -> Result<IpAddr, RuntimeError>;

    /// Takes a cage back after a restart of the daemon; `None` when there is none, else its address.
    async fn recover(&self, id: DynoId, sink: Arc<dyn Sink>) -> Result<Option<IpAddr>, RuntimeError>;

    /// Sends a signal to every process of the cage.
    async fn signal(&self, id: DynoId, signal: i32) -> Result<(), RuntimeError>;

    /// SIGTERM once to every process, SIGKILL after `grace_ms`. Returns at once; see [`Runtime::wait`].
    async fn stop(&self, id: DynoId, grace_ms: u64) -> Result<(), RuntimeError>;

    /// Waits until no process of the cage is left and all its output was delivered.
    async fn wait(&self, id: DynoId) -> Result<Exit, RuntimeError>;

    /// Opens the standard input of a cage whose [`Spec::stdio`] is not [`Stdio::Log`]. Whoever attached before is cut off.
    async fn attach(&self, id: DynoId) -> Result<mpsc::Sender<Input>, RuntimeError>;

    /// Starts a further process in a running cage, with its user, limits and name spaces. It does not outlive the cage, nor
    /// this daemon.
    async fn exec(&self, id: DynoId, exec: Exec) -> Result<Running, RuntimeError>;

    /// How the cage stands.
    async fn inspect(&self, id: DynoId) -> Result<Inspection, RuntimeError>;

    /// What the cage uses, if the driver can tell.
    async fn stats(&self, id: DynoId) -> Option<Stats>;

    /// Cages that this driver knows or finds on the host.
    async fn list(&self) -> Result<Vec<DynoId>, RuntimeError>;

    /// Removes what is left of a cage that has ended; ends it first if need be.
    async fn remove(&self, id: DynoId) -> Result<(), RuntimeError>;

    /// User and group on the host that own the files of a cage; `None` when they stay the daemon's.
    fn host_user(&self, user_slot: u32) -> Option<(u32, u32)>;

    /// Builds an image; answers its content address. What the engine says goes to `output`. Only for drivers with
    /// [`Capabilities::images`].
    async fn build_image(&self, _build: ImageBuild, _output: Said) -> Result<String, RuntimeError> {
        Err(RuntimeError::Unsupported("images need a container engine on this server; see docker_host".into()))
    }

    /// All images that this platform has built and not removed, by each of their names.
    async fn built_images(&self) -> Result<Vec<BuiltImage>, RuntimeError> {
        Ok(Vec::new())
    }

    /// Takes a name from an image; one without names and dynos is gone. No such name is fine.
    async fn remove_image(&self, _tag: &str) -> Result<(), RuntimeError> {
        Ok(())
    }

    /// What this driver can do here.
    fn capabilities(&self) -> Capabilities;
}
