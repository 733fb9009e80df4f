//! The Docker driver: a container per dyno, PID 1 of which is a small program of our own (`init/`).
//!
//! ```text
//! start: image -> container with volumes -> folders uploaded -> started, PID 1 waits -> network tied -> the program begins
//! ```
//! The app gets what it gets from the native driver: the same limits, users, signals, and the same network, which is not the
//! engine's, so that apps neither reach each other nor depend on the engine's name server. A daemon that was away finds its
//! containers by label and goes on in their logs where it was ([`cage`]).

mod build;
mod cage;
mod create;
mod engine;
mod exec;
mod frame;
mod images;
mod process;
mod sweep;
mod upload;

pub use sweep::Sweep;

use self::{
    cage::{Cage, FIRST_REAL_TIME, GO, Record},
    create::Volumes,
    engine::{Engine, UPLOAD_LIMIT},
    images::{Image, Images},
};
use crate::{
    BuiltImage, Capabilities, Exec, Exit, ImageBuild, Input, Inspection, Network, Root, Running, Runtime, RuntimeError, Said,
    Sink, Spec, Stats, Stdio,
    native::{FIRST_USER, network::own::OwnNetwork},
};
use async_trait::async_trait;
use bollard::{
    errors::Error,
    query_parameters::{
        CreateContainerOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder, StartContainerOptions,
    },
};
use domain::DynoId;
use std::{
    collections::HashMap,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

/// Label with a dyno's id.
const DYNO_LABEL: &str = "tidemill.dyno";
/// Label with the platform's id: several may share an engine.
const INSTANCE_LABEL: &str = "tidemill.instance";
/// Label with the kind of standard files.
const STDIO_LABEL: &str = "tidemill.stdio";
/// File with the platform's id.
const INSTANCE_FILE: &str = "instance";
/// A container that was killed is gone within this time.
const GO_LIMIT: Duration = Duration::from_secs(10);
/// PID 1 takes signals within this time after the engine started it. It tells nobody, so it is looked at.
const READY_LIMIT: Duration = Duration::from_secs(20);
const READY_LOOK: Duration = Duration::from_millis(1);

/// How to set up the driver.
pub struct Options {
    /// Socket of the engine.
    pub socket: PathBuf,
    /// Folder for what a later daemon must know.
    pub run_dir: PathBuf,
    /// Image below slugs that name no imported root.
    pub base_image: Option<String>,
    /// Networks for dynos, or why there are none.
    pub network: Result<Arc<OwnNetwork>, String>,
    /// What happens to containers that nobody knows.
    pub sweep: Sweep,
    /// A start waits this long for an engine that does not answer: a restart of it is not to make dynos crash.
    pub patience: Duration,
}

/// The driver.
pub struct DockerRuntime {
    engine: Arc<Engine>,
    images: Images,
    instance: String,
    run_dir: PathBuf,
    network: Result<Arc<OwnNetwork>, String>,
    cages: Arc<Mutex<HashMap<DynoId, Arc<Cage>>>>,
    is_root: bool,
    patience: Duration,
}

fn name(id: DynoId) -> String {
    format!("tidemill-{id}")
}

/// The container that fills the volumes of a dyno.
fn filler(id: DynoId) -> String {
    format!("tidemill-{id}-filler")
}

fn start_failed(what: &'static str) -> impl Fn(Error) -> RuntimeError {
    move |e| RuntimeError::Start(format!("{what}: {e}"))
}

fn io_failed(e: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Io(e.to_string())
}

/// The platform's id, made at the first start.
fn instance(run_dir: &Path) -> std::io::Result<String> {
    let file = run_dir.join(INSTANCE_FILE);
    if let Ok(text) = fs::read_to_string(&file)
        && !text.trim().is_empty()
    {
        return Ok(text.trim().into());
    }
    let id: String = std::iter::repeat_with(|| fastrand::char('a'..='z')).take(12).collect();
    fs::write(&file, &id)?;
    Ok(id)
}

impl DockerRuntime {
    /// A driver for the engine at a socket. An engine that does not answer yet is waited for by those who start something.
    ///
    /// # Errors
    /// When the folder can not be made.
    pub async fn new(options: Options) -> Result<Self, RuntimeError> {
        let run_dir = options.run_dir;
        let failed = |e: std::io::Error| RuntimeError::Io(format!("{}: {e}", run_dir.display()));
        let (dynos, notes) = (run_dir.join("dynos"), run_dir.join("volumes"));
        for dir in [&dynos, &notes] {
            fs::create_dir_all(dir).map_err(failed)?;
        }
        let instance = instance(&run_dir).map_err(failed)?;
        let engine = Engine::open(&options.socket).await;
        let images = Images::new(engine.clone(), instance.clone(), notes, options.base_image);
        let cages = Arc::new(Mutex::default());
        sweep::begin(options.sweep, Arc::downgrade(&engine), instance.clone(), Arc::downgrade(&cages));
        let is_root = nix::unistd::geteuid().is_root();
        Ok(Self {
            engine,
            images,
            instance,
            run_dir: dynos,
            network: options.network,
            cages,
            is_root,
            patience: options.patience,
        })
    }

    fn cages(&self) -> MutexGuard<'_, HashMap<DynoId, Arc<Cage>>> {
        self.cages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, id: DynoId) -> Result<Arc<Cage>, RuntimeError> {
        self.cages().get(&id).cloned().ok_or(RuntimeError::Unknown(id))
    }

    fn dir(&self, id: DynoId) -> PathBuf {
        self.run_dir.join(id.to_string())
    }

    fn user(spec: &Spec) -> (u32, u32) {
        (FIRST_USER + spec.user_slot, FIRST_USER + spec.user_slot)
    }

    /// True when the cage gets a network name space that this driver ties to the host.
    fn ties(&self, network: Network) -> bool {
        matches!(network, Network::Own | Network::Outbound) && self.network.is_ok()
    }

    async fn volumes(&self, spec: &Spec, image: &Image) -> Result<Volumes, RuntimeError> {
        let slug = image.own.is_none();
        Ok(Volumes {
            init: self.images.init_volume(&image.name).await?,
            quota: Some(self.images.quota_volume(&image.name, spec.limits.memory_bytes).await?),
            etc: slug.then(|| format!("tidemill-{}-etc", spec.id)),
            folders: Volumes::folders(spec),
        })
    }

    /// Makes the container, fills its volumes, starts it; all but the program itself.
    async fn make(&self, spec: &Spec) -> Result<Record, RuntimeError> {
        if spec.argv.is_empty() && !matches!(spec.root, Root::Image(_)) {
            return Err(RuntimeError::Start("no command".into()));
        }
        if let Some(lost) = spec.mounts.iter().find(|mount| !mount.source.is_dir()) {
            return Err(RuntimeError::Start(format!("{} is no folder; containers get folders only", lost.source.display())));
        }
        let docker = self.engine.docker()?;
        let image = self.images.resolve(&spec.root).await?;
        let volumes = self.volumes(spec, &image).await?;
        let ties = self.ties(spec.network);
        let mut spec = spec.clone();
        if !ties && spec.network != Network::None {
            spec.network = Network::Host; // told at the start, see `capabilities`
        }
        self.fill(&spec, &image, &volumes).await?;
        let body = create::body(&self.instance, &spec, &image, &volumes, Self::user(&spec), ties);
        let options = CreateContainerOptionsBuilder::default().name(&name(spec.id)).build();
        let container = docker.create_container(Some(options), body).await.map_err(start_failed("create"))?.id;
        docker.start_container(&container, None::<StartContainerOptions>).await.map_err(start_failed("start"))?;
        let found =
            docker.inspect_container(&container, None::<InspectContainerOptions>).await.map_err(start_failed("inspect"))?;
        let pid = found.state.and_then(|state| state.pid).and_then(|pid| i32::try_from(pid).ok()).unwrap_or(0);
        Ok(Record { container, address: None, pid, kill_at_ms: None })
    }

    /// Makes the volumes of a dyno and fills them, which takes a container.
    async fn fill(&self, spec: &Spec, image: &Image, volumes: &Volumes) -> Result<(), RuntimeError> {
        let docker = self.engine.docker()?.with_timeout(UPLOAD_LIMIT);
        let name = filler(spec.id);
        let body = create::filler(&self.instance, spec, image, volumes);
        let options = CreateContainerOptionsBuilder::default().name(&name).build();
        docker.create_container(Some(options), body).await.map_err(start_failed("create volumes"))?;
        let body = bollard::body_try_stream(upload::archive(create::parts(volumes, Self::user(spec))));
        docker.upload_to_container(&name, Some(upload::to("/")), body).await.map_err(start_failed("upload"))?;
        sweep::remove(&docker, &name).await.map_err(io_failed)
    }

    /// Ties the network, writes down what a later daemon must know, lets the program begin.
    async fn begin(&self, spec: &Spec, mut record: Record, sink: Arc<dyn Sink>) -> Result<IpAddr, RuntimeError> {
        let mut address = IpAddr::from(Ipv4Addr::LOCALHOST);
        let ties = self.ties(spec.network);
        if let (true, Ok(network)) = (ties, &self.network) {
            let (network, pid) = (network.clone(), record.pid);
            let tied = tokio::task::spawn_blocking(move || network.attach(pid)).await.map_err(io_failed)?;
            address = tied.map_err(RuntimeError::Start)?.into();
        }
        let ready = async {
            while !process::listens(record.pid) {
                sleep(READY_LOOK).await;
            }
        };
        timeout(READY_LIMIT, ready).await.map_err(|_| RuntimeError::Start("PID 1 of the container does not begin".into()))?;
        record.address = Some(address);
        record.save(&self.dir(spec.id)).map_err(io_failed)?;
        let cage = Cage::follow(self.engine.clone(), spec.id, self.dir(spec.id), record, sink);
        self.cages().insert(spec.id, cage.clone());
        if ties {
            cage.signal_init(GO).await?;
        }
        Ok(address)
    }

    /// Removes container and volumes.
    async fn clear(&self, id: DynoId) -> Result<(), RuntimeError> {
        let docker = self.engine.docker()?;
        sweep::remove_all(&docker, &self.instance, id).await.map_err(io_failed)?;
        match fs::remove_dir_all(self.dir(id)) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io_failed(e)),
            _ => Ok(()),
        }
    }

    fn label(&self) -> String {
        format!("{INSTANCE_LABEL}={}", self.instance)
    }

    /// What a daemon that was killed while it started a cage left of it.
    async fn is_half_made(&self, id: DynoId, record: &Record) -> bool {
        let Ok(docker) = self.engine.docker() else { return record.address.is_none() };
        record.address.is_none() || matches!(Images::container(&docker, &name(id)).await, Ok(false))
    }
}

#[async_trait]
impl Runtime for DockerRuntime {
    async fn start(&self, spec: Spec, sink: Arc<dyn Sink>) -> Result<IpAddr, RuntimeError> {
        self.engine.ready(self.patience).await?;
        let dir = self.dir(spec.id);
        fs::create_dir_all(&dir).map_err(|e| RuntimeError::Io(format!("{}: {e}", dir.display())))?;
        let written = Record::default().save(&dir).map_err(io_failed);
        let made = async {
            written?;
            let record = self.make(&spec).await?;
            self.begin(&spec, record, sink).await
        };
        let made = made.await;
        if made.is_err() {
            self.remove(spec.id).await?;
        }
        made
    }

    async fn recover(&self, id: DynoId, sink: Arc<dyn Sink>) -> Result<Option<IpAddr>, RuntimeError> {
        let Some(record) = Record::load(&self.dir(id)) else { return Ok(None) };
        if self.is_half_made(id, &record).await {
            self.remove(id).await?;
            return Ok(None);
        }
        let address = record.address;
        let cage = Cage::follow(self.engine.clone(), id, self.dir(id), record, sink);
        self.cages().insert(id, cage.clone());
        // A daemon that was killed just before it said so; PID 1 hears it only once.
        if cage.signal_init(GO).await.is_err() {
            tracing::debug!(dyno = %id, "runtime.go: the engine is down, and the dyno goes on");
        }
        Ok(address)
    }

    async fn signal(&self, id: DynoId, signal: i32) -> Result<(), RuntimeError> {
        let cage = self.find(id)?;
        cage.thaw().await;
        cage.signal_init(FIRST_REAL_TIME + signal).await
    }

    async fn stop(&self, id: DynoId, grace_ms: u64) -> Result<(), RuntimeError> {
        self.find(id)?.stop(grace_ms).await
    }

    async fn wait(&self, id: DynoId) -> Result<Exit, RuntimeError> {
        self.find(id)?.wait().await
    }

    async fn attach(&self, id: DynoId) -> Result<mpsc::Sender<Input>, RuntimeError> {
        let cage = self.find(id)?;
        let container = cage.record().container.clone();
        let docker = self.engine.docker()?;
        let found = docker.inspect_container(&container, None::<InspectContainerOptions>).await.map_err(io_failed)?;
        let stdio = found.config.and_then(|config| config.labels).and_then(|labels| labels.get(STDIO_LABEL).cloned());
        if stdio.as_deref() == Some("log") {
            return Err(RuntimeError::Unsupported("this cage reads nothing".into()));
        }
        let (sender, task) = exec::attach(&self.engine, &container).await?;
        let before = cage.attached.lock().unwrap_or_else(PoisonError::into_inner).replace(task);
        before.into_iter().for_each(|before| before.abort());
        Ok(sender)
    }

    async fn exec(&self, id: DynoId, exec: Exec) -> Result<Running, RuntimeError> {
        let cage = self.find(id)?;
        if exec.stdio == Stdio::Log {
            return Err(RuntimeError::Unsupported("a further process has pipes or a terminal".into()));
        }
        let container = cage.record().container.clone();
        exec::exec(&self.engine, &container, exec).await
    }

    async fn inspect(&self, id: DynoId) -> Result<Inspection, RuntimeError> {
        let cage = self.find(id)?;
        let record = cage.record().clone();
        let address = record.address.unwrap_or(IpAddr::from(Ipv4Addr::LOCALHOST));
        Ok(Inspection { address, exit: cage.ended(), pid: Some(record.pid).filter(|pid| *pid > 0) })
    }

    async fn stats(&self, id: DynoId) -> Option<Stats> {
        let record = self.find(id).ok()?.record().clone();
        process::group(record.pid, &record.container)?.stats()
    }

    async fn list(&self) -> Result<Vec<DynoId>, RuntimeError> {
        let filters = HashMap::from([("label".to_string(), vec![DYNO_LABEL.to_string(), self.label()])]);
        let options = ListContainersOptionsBuilder::default().all(true).filters(&filters).build();
        let found = self.engine.docker()?.list_containers(Some(options)).await.map_err(io_failed)?;
        let mut ids: Vec<DynoId> = found.into_iter().filter_map(|c| c.labels?.get(DYNO_LABEL)?.parse().ok()).collect();
        // A daemon that was killed between the removal of a container and of its folder left this.
        let folders = fs::read_dir(&self.run_dir).into_iter().flatten().flatten();
        ids.extend(folders.filter_map(|entry| entry.file_name().to_str()?.parse::<DynoId>().ok()));
        ids.sort_unstable();
        ids.dedup();
        Ok(ids)
    }

    async fn remove(&self, id: DynoId) -> Result<(), RuntimeError> {
        let cage = self.cages().remove(&id);
        if let Some(cage) = cage {
            if cage.ended().is_none() && timeout(GO_LIMIT, cage.end()).await.is_err() {
                tracing::warn!(dyno = %id, "runtime.kill_slow: something in the cage does not end");
            }
            cage.let_go();
        }
        self.clear(id).await
    }

    fn host_user(&self, user_slot: u32) -> Option<(u32, u32)> {
        self.is_root.then_some((FIRST_USER + user_slot, FIRST_USER + user_slot))
    }

    async fn build_image(&self, build: ImageBuild, output: Said) -> Result<String, RuntimeError> {
        build::build(&self.engine, &self.instance, build, output).await
    }

    async fn built_images(&self) -> Result<Vec<BuiltImage>, RuntimeError> {
        build::list(&self.engine, &self.instance).await
    }

    async fn remove_image(&self, tag: &str) -> Result<(), RuntimeError> {
        build::remove(&self.engine, tag).await
    }

    fn capabilities(&self) -> Capabilities {
        let mut missing = self.engine.faults();
        if let Err(reason) = &self.network {
            missing.push(format!("containers share the host's network, so apps can reach each other's ports: {reason}"));
        }
        Capabilities {
            driver: "docker",
            processes: true,
            cores: true,
            limits: true,
            own_users: true,
            survives_daemon: true,
            signals_all: true,
            imported_roots: true,
            images: true,
            missing,
        }
    }
}
