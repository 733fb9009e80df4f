//! The native driver: name spaces, control groups and one holder process per dyno ([`hold`]).
//!
//! Network: see [`network`].

mod attach;
pub(crate) mod cgroup;
mod connection;
pub mod hold;
pub mod network;
mod nursery;
mod processors;
mod proto;
mod seccomp;

use self::network::{DynoNetwork, outbound, own::OwnNetwork};
use crate::{Capabilities, Exec, Exit, Input, Inspection, Network, Running, Runtime, RuntimeError, Sink, Spec, Stats};
use async_trait::async_trait;
use connection::{Command, Live};
use domain::DynoId;
use serde::{Deserialize, Serialize};
use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, Ipv4Addr},
    os::fd::{AsFd, BorrowedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    sync::mpsc,
};

/// First user id of the pool, and of the group pool; one per dyno.
pub(crate) const FIRST_USER: u32 = 200_000;
/// User inside the cage when there is only one user to map (rootless).
const ROOTLESS_USER: u32 = 1000;

/// A holder that was told to go is gone within this time.
const GO_LIMIT: Duration = Duration::from_secs(5);
/// Tells a holder that its network is there.
const GO: &str = "go";
/// Name of the file with a cage's address in its run directory.
const ADDRESS_FILE: &str = "address";
/// Name of the file with the holder's process id in it.
const HOLDER_FILE: &str = "holder";
/// Name of the file with the version of the protocol that the holder speaks; without one it is 1.
const VERSION_FILE: &str = "version";
/// Name of the file with the processors that a cage may use.
const PROCESSORS_FILE: &str = "processors";

/// What the daemon hands to `tidemill hold` on standard input.
#[derive(Debug, Serialize, Deserialize)]
pub struct HoldRequest {
    spec: Spec,
    run_dir: PathBuf,
    procs_files: Vec<PathBuf>,
    rootless: bool,
    uid: u32,
    gid: u32,
    /// Those it may use; empty for all.
    #[serde(default)]
    processors: Vec<usize>,
    /// Instead of the host's.
    resolv_conf: Option<String>,
}

/// Hears the last words of a cage that nobody wants.
struct Nobody;

impl Sink for Nobody {
    fn output(&self, _end: u64, _time_us: u64, _bytes: &[u8]) {}
    fn dropped(&self, _lines: u64) {}
    fn grace_over(&self) {}
}

/// The driver.
pub struct NativeRuntime {
    run_dir: PathBuf,
    program: PathBuf,
    rootless: bool,
    slice: Result<cgroup::Slice, String>,
    own_network: Result<Arc<OwnNetwork>, String>,
    processors: processors::Processors,
    nursery: nursery::Nursery,
    live: Mutex<HashMap<DynoId, Arc<Live>>>,
    /// Ways out of cages with a network of their own.
    ways_out: Mutex<HashMap<DynoId, outbound::WayOut>>,
}

impl NativeRuntime {
    /// A driver that keeps one folder per dyno under `run_dir`. `program hold` must lead to [`hold::main`]; the daemon
    /// gives `/proc/self/exe`, which works after an upgrade replaced the file, too. `public_ports`: what of this host the
    /// whole network may reach; cages may, too.
    ///
    /// # Errors
    /// When the folder can not be made, or a network that is required can not.
    pub fn new(run_dir: &Path, program: &Path, network: DynoNetwork, public_ports: Vec<u16>) -> Result<Self, RuntimeError> {
        fs::create_dir_all(run_dir).map_err(|e| RuntimeError::Io(format!("{}: {e}", run_dir.display())))?;
        let run_dir = run_dir.canonicalize().map_err(|e| RuntimeError::Io(format!("{}: {e}", run_dir.display())))?;
        let rootless = !nix::unistd::geteuid().is_root();
        let own_network = match network {
            DynoNetwork::Host => Err("so it is set".to_string()),
            DynoNetwork::Own { .. } if rootless => Err("not root".to_string()),
            DynoNetwork::Own { subnet, .. } => OwnNetwork::set_up(subnet, public_ports),
        };
        if let (DynoNetwork::Own { required: true, .. }, Err(reason)) = (network, &own_network) {
            let advice = "mend it, or set dyno_network = \"host\", with which apps reach each other's ports";
            return Err(RuntimeError::Io(format!("dynos can not have networks of their own: {reason}; {advice}")));
        }
        Ok(Self {
            run_dir,
            program: program.to_path_buf(),
            rootless,
            slice: cgroup::Slice::find(),
            own_network,
            processors: processors::Processors::find(),
            nursery: nursery::Nursery::default(),
            live: Mutex::default(),
            ways_out: Mutex::default(),
        })
    }

    /// The networks of dynos, for another driver on this host, or why there are none.
    ///
    /// # Errors
    /// The reason, for the operator.
    pub fn own_network(&self) -> Result<Arc<OwnNetwork>, String> {
        self.own_network.clone()
    }

    fn live(&self) -> MutexGuard<'_, HashMap<DynoId, Arc<Live>>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: DynoId) -> Result<Arc<Live>, RuntimeError> {
        self.live().get(&id).cloned().ok_or(RuntimeError::Unknown(id))
    }

    fn dir(&self, id: DynoId) -> PathBuf {
        self.run_dir.join(id.to_string())
    }

    fn group(&self, id: DynoId) -> Option<cgroup::Group> {
        self.slice.as_ref().ok().map(|slice| slice.load(&id.to_string()))
    }

    /// A frozen process sees no signal (`runtime.md` section 12, 16).
    fn thaw(&self, id: DynoId) {
        if let Some(group) = self.group(id) {
            group.thaw();
        }
    }

    /// Connects to the holder and starts the task that serves the connection.
    async fn connect(&self, id: DynoId, sink: Arc<dyn Sink>) -> Result<(), RuntimeError> {
        let live = connection::open(&self.dir(id), sink).await.map_err(|e| RuntimeError::Io(format!("holder of {id}: {e}")))?;
        self.live().insert(id, live);
        Ok(())
    }

    /// Runs stage 1, gives the cage its network, and reads the verdict.
    async fn launch(&self, request: &HoldRequest) -> Result<IpAddr, RuntimeError> {
        let failed = |e: &dyn std::fmt::Display| RuntimeError::Start(format!("tidemill hold: {e}"));
        let mut json = serde_json::to_vec(request).map_err(|e| failed(&e))?;
        json.push(b'\n');
        let space = match (request.spec.network, &self.own_network) {
            (Network::Own, Ok(own)) => own.take().await,
            _ => None,
        };
        let handle = space.as_ref().map(|space| space.handle.as_fd());
        let (mut answer, mut output, mut input) = match self.converse(&json, handle).await {
            Ok(begun) => begun,
            // The nursery was killed with the request in its hands; before stage 1 has said a word nothing was done.
            Err(e) => {
                tracing::warn!(error = %e, "runtime.nursery_lost: starting another");
                self.nursery.discard();
                self.converse(&json, handle).await.map_err(|e| failed(&e))?
            }
        };
        let mut address = Ipv4Addr::LOCALHOST;
        if let Some(pid) = answer.strip_prefix("pid ").and_then(|pid| pid.trim().parse().ok()) {
            address = self.attach(request, pid, space.as_ref().map(|space| space.address)).await.map_err(|e| failed(&e))?;
        }
        input.write_all(format!("{GO}\n").as_bytes()).await.map_err(|e| failed(&e))?;
        output.read_to_string(&mut answer).await.map_err(|e| failed(&e))?;
        if answer.lines().any(|l| l == "ready") {
            return Ok(address.into());
        }
        let reason = answer.lines().find_map(|l| l.strip_prefix("error: ")).unwrap_or("ended without a word").to_string();
        Err(failed(&reason))
    }

    /// Hands a request to a new stage 1; its first line, and both directions.
    async fn converse(
        &self,
        json: &[u8],
        space: Option<BorrowedFd<'_>>,
    ) -> std::io::Result<(String, BufReader<OwnedReadHalf>, OwnedWriteHalf)> {
        let conversation = self.nursery.fork(&self.program, space)?;
        conversation.set_nonblocking(true)?;
        let (output, mut input) = tokio::net::UnixStream::from_std(conversation)?.into_split();
        input.write_all(json).await?;
        let (mut output, mut answer) = (BufReader::new(output), String::new());
        match output.read_line(&mut answer).await? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            _ => Ok((answer, output, input)),
        }
    }

    /// What of [`Network`] a cage gets here.
    fn network(&self, wanted: Network) -> Network {
        match (wanted, &self.own_network) {
            (Network::None, _) => Network::None,
            (Network::Own | Network::Outbound, Ok(_)) => Network::Own,
            (Network::Outbound, Err(_)) if outbound::is_available() => Network::Outbound,
            _ => Network::Host, // told at the start, see `capabilities`
        }
    }

    /// A holder of an older version would take a second connection for a new daemon.
    fn check_version(&self, id: DynoId) -> Result<(), RuntimeError> {
        self.find(id)?;
        let version = fs::read_to_string(self.dir(id).join(VERSION_FILE)).ok().and_then(|v| v.trim().parse::<u32>().ok());
        if version.is_some_and(|version| version >= proto::ATTACH_SINCE) {
            return Ok(());
        }
        Err(RuntimeError::Unsupported("the dyno was started by an older version of the platform; restart it first".into()))
    }

    /// Writes down what a later daemon must know of a cage.
    fn note(&self, request: &HoldRequest) -> Result<(), RuntimeError> {
        let processors = request.processors.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        for (name, text) in [(VERSION_FILE, proto::VERSION.to_string()), (PROCESSORS_FILE, processors)] {
            let file = request.run_dir.join(name);
            fs::write(&file, text).map_err(|e| RuntimeError::Io(format!("{}: {e}", file.display())))?;
        }
        Ok(())
    }

    /// Where the host reaches a cage. One of a version that wrote no file shares the host's network.
    fn address(&self, id: DynoId) -> IpAddr {
        let written = fs::read_to_string(self.dir(id).join(ADDRESS_FILE)).unwrap_or_default();
        written.parse().unwrap_or(IpAddr::from(Ipv4Addr::LOCALHOST))
    }

    /// Gives the cage of holder `pid` its network, unless it came with one at `address`, and writes both down, for a later
    /// daemon.
    async fn attach(&self, request: &HoldRequest, pid: i32, address: Option<Ipv4Addr>) -> Result<Ipv4Addr, String> {
        let is_there = address.is_some();
        let mut address = address.unwrap_or(Ipv4Addr::LOCALHOST);
        match (request.spec.network, &self.own_network) {
            _ if is_there => {}
            (Network::Own, Ok(own)) => {
                let own = own.clone();
                address = tokio::task::spawn_blocking(move || own.attach(pid)).await.map_err(|e| e.to_string())??;
            }
            (Network::Outbound, _) => {
                let way_out = outbound::WayOut::open(pid).await.map_err(|e| e.to_string())?;
                self.ways_out.lock().unwrap_or_else(PoisonError::into_inner).insert(request.spec.id, way_out);
            }
            _ => {}
        }
        for (name, text) in [(ADDRESS_FILE, address.to_string()), (HOLDER_FILE, pid.to_string())] {
            let file = request.run_dir.join(name);
            fs::write(&file, text).map_err(|e| format!("{}: {e}", file.display()))?;
        }
        Ok(address)
    }
}

#[async_trait]
impl Runtime for NativeRuntime {
    async fn start(&self, mut spec: Spec, sink: Arc<dyn Sink>) -> Result<IpAddr, RuntimeError> {
        let id = spec.id;
        spec.network = self.network(spec.network);
        let run_dir = self.dir(id);
        fs::create_dir_all(run_dir.join("root")).map_err(|e| RuntimeError::Io(format!("{}: {e}", run_dir.display())))?;
        let procs_files = match &self.slice {
            Ok(slice) => slice.create(&id.to_string(), &spec.limits).map_err(RuntimeError::Start)?.procs_files(),
            Err(_) => Vec::new(),
        };
        let (uid, gid) = self.host_user(spec.user_slot).unwrap_or((ROOTLESS_USER, ROOTLESS_USER));
        let resolv_conf = match (spec.network, &self.own_network) {
            (Network::Own, Ok(_)) => Some(network::resolver().0),
            (Network::Outbound, _) => Some(format!("nameserver {}\n", outbound::NAME_SERVER)),
            _ => None,
        };
        let processors = self.processors.take(id, spec.limits.cores);
        let request = HoldRequest { spec, run_dir, procs_files, rootless: self.rootless, uid, gid, processors, resolv_conf };
        self.note(&request)?;
        let address = match self.launch(&request).await {
            Ok(address) => address,
            Err(e) => {
                self.remove(id).await?;
                return Err(e);
            }
        };
        self.connect(id, sink).await?;
        Ok(address)
    }

    async fn recover(&self, id: DynoId, sink: Arc<dyn Sink>) -> Result<Option<IpAddr>, RuntimeError> {
        if !self.dir(id).exists() || self.connect(id, sink).await.is_err() {
            return Ok(None);
        }
        let noted = fs::read_to_string(self.dir(id).join(PROCESSORS_FILE)).unwrap_or_default();
        self.processors.reserve(id, noted.split_whitespace().filter_map(|n| n.parse().ok()).collect());
        Ok(Some(self.address(id)))
    }

    async fn signal(&self, id: DynoId, signal: i32) -> Result<(), RuntimeError> {
        let live = self.find(id)?;
        self.thaw(id);
        live.send(Command::Signal(signal)).await;
        Ok(())
    }

    async fn stop(&self, id: DynoId, grace_ms: u64) -> Result<(), RuntimeError> {
        let live = self.find(id)?;
        self.thaw(id);
        live.send(Command::Stop { grace_ms }).await;
        Ok(())
    }

    async fn wait(&self, id: DynoId) -> Result<Exit, RuntimeError> {
        let live = self.find(id)?;
        let mut exit = live.exit().await;
        exit.oom = self.group(id).is_some_and(|g| g.oom_kills() > 0);
        Ok(exit)
    }

    async fn attach(&self, id: DynoId) -> Result<mpsc::Sender<Input>, RuntimeError> {
        self.check_version(id)?;
        attach::input(&self.dir(id)).await
    }

    async fn exec(&self, id: DynoId, exec: Exec) -> Result<Running, RuntimeError> {
        self.check_version(id)?;
        attach::start(&self.dir(id), &exec).await
    }

    async fn inspect(&self, id: DynoId) -> Result<Inspection, RuntimeError> {
        let live = self.find(id)?;
        let holder = fs::read_to_string(self.dir(id).join(HOLDER_FILE)).ok();
        Ok(Inspection { address: self.address(id), exit: live.ended(), pid: holder.and_then(|pid| pid.trim().parse().ok()) })
    }

    async fn stats(&self, id: DynoId) -> Option<Stats> {
        self.group(id)?.stats()
    }

    async fn list(&self) -> Result<Vec<DynoId>, RuntimeError> {
        let entries = fs::read_dir(&self.run_dir).map_err(|e| RuntimeError::Io(e.to_string()))?;
        Ok(entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect())
    }

    async fn remove(&self, id: DynoId) -> Result<(), RuntimeError> {
        let mut live = self.live().remove(&id);
        if live.is_none() && self.dir(id).join(proto::SOCKET).exists() {
            // Of a former daemon, and nobody took it back: it is to end all the same. An error means that its holder is gone.
            live = connection::open(&self.dir(id), Arc::new(Nobody)).await.ok();
        }
        if let Some(live) = live {
            self.thaw(id);
            live.send(Command::Stop { grace_ms: 0 }).await;
            if tokio::time::timeout(GO_LIMIT, live.exit()).await.is_err() {
                tracing::warn!(dyno = %id, "runtime.kill_slow: something in the cage does not end");
            }
            live.send(Command::Collect).await;
            // Told is not gone: without this the daemon could end before the word was out, and the holder would wait.
            if tokio::time::timeout(GO_LIMIT, live.gone()).await.is_err() {
                tracing::warn!(dyno = %id, "runtime.holder_left: the holder does not go");
            }
        }
        self.ways_out.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.processors.give_back(id);
        let (group, dir) = (self.group(id), self.dir(id));
        let removed = tokio::task::spawn_blocking(move || {
            if let Some(group) = group {
                group.delete();
            }
            match fs::remove_dir_all(&dir) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(format!("{}: {e}", dir.display())),
                _ => Ok(()),
            }
        });
        removed.await.map_err(|e| RuntimeError::Io(e.to_string()))?.map_err(RuntimeError::Io)
    }

    fn host_user(&self, user_slot: u32) -> Option<(u32, u32)> {
        (!self.rootless).then_some((FIRST_USER + user_slot, FIRST_USER + user_slot))
    }

    fn capabilities(&self) -> Capabilities {
        let mut missing = Vec::new();
        if self.rootless {
            missing.push("not root: all dynos and builds run as the daemon's own user, apart only by name spaces".to_string());
        }
        if let Err(reason) = &self.slice {
            missing.push(format!("no memory, process and CPU limits: {reason}"));
        }
        if let Err(reason) = &self.own_network {
            missing.push(format!("dynos share the host's network, so apps and builds can reach each other's ports: {reason}"));
            if !outbound::is_available() {
                let reason = format!("{} is not installed or /dev/net/tun may not be used", outbound::PROGRAM);
                missing.push(format!("builds share the host's network, too: {reason}"));
            }
        } else if network::resolver().1.is_empty() {
            missing.push(
                "dynos can not resolve names: /etc/resolv.conf names no IPv4 server outside of the host's loopback".into(),
            );
        }
        Capabilities {
            driver: "native",
            processes: true,
            cores: true,
            limits: self.slice.is_ok(),
            own_users: !self.rootless,
            survives_daemon: true,
            signals_all: true,
            imported_roots: true,
            images: false,
            missing,
        }
    }
}
