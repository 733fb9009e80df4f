//! Composition: opens the parts in a fixed order and connects them.

use crate::{
    backups,
    clock::SystemClock,
    config::{Config, Driver},
    control,
    machine::Host,
    sockets::Sockets,
    ssh::Ssh,
    watchdog,
};
use anyhow::{Context, Result};
use axum::body::Body as AxumBody;
use builder::{CONTAINER, Stacks};
use domain::{restart::Backoff, time::Clock};
use engine::{Engine, Meetings};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use logs::{
    Logs, Outputs,
    drains::{Drains, Trust},
};
use router::{Control, Doors, Listener, Meet, Router, Shutdown};
use runtime::{
    Runtime,
    choice::Choice,
    docker::{self, DockerRuntime},
    native::NativeRuntime,
};
use service::{Addresses, Service};
use std::{
    fs,
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
    sync::Arc,
    time::Duration,
};
use store::{Options, Sealer, Store};
use tokio::{net::TcpListener, sync::Notify};
use tower::ServiceExt;

/// Threads of the data plane; a busy build or API does not delay a request.
const ROUTER_THREADS: usize = 2;
/// Folder of imported root file systems in the data directory.
pub const STACKS: &str = "stacks";
/// After the drain: time for dynos to stop when they are to be stopped, TERM grace included.
const DYNO_STOP_LIMIT: Duration = Duration::from_secs(40);

/// A dyno's start waits this long for a container engine that is being restarted.
const ENGINE_PATIENCE: Duration = Duration::from_secs(30);

/// A running platform.
pub struct Platform {
    /// For the first start and for `demo`.
    pub service: Service,
    /// Where it listens.
    pub address: std::net::SocketAddr,
    /// Git over SSH.
    pub ssh: Ssh,
    engine: Engine,
    store: Store,
    logs: Logs,
    shutdown: Shutdown,
    router_runtime: tokio::runtime::Runtime,
    listening: tokio::task::JoinHandle<bool>,
    config: Config,
}

/// Makes the data directory, readable by nobody else.
pub fn make_data_dir(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).with_context(|| format!("make {}", path.display()))?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).with_context(|| format!("protect {}", path.display()))?;
    for dir in ["keys", "run", "uploads", "slugs", "dynos", "builds", "cache", "repositories"] {
        fs::create_dir_all(path.join(dir)).with_context(|| format!("make {}", path.join(dir).display()))?;
    }
    Ok(())
}

/// Removes what a daemon that was killed left: nothing is building now. Only for the owner of the store's lock.
fn remove_leftovers(data_dir: &Path) {
    for dir in ["builds", "uploads"] {
        for entry in fs::read_dir(data_dir.join(dir)).into_iter().flatten().flatten() {
            let path = entry.path();
            if let Err(e) = builder::remove_tree(&path) {
                tracing::warn!(error = %e, path = %path.display(), "tidemill.leftover");
            }
        }
    }
}

/// Opens what the service needs.
pub fn open_service(
    config: &Config,
    addresses: Addresses,
    meetings: Arc<Meetings>,
    machine: Arc<Host>,
) -> Result<(Service, Store, Logs, Outputs, Arc<Sealer>)> {
    let data = &config.data_dir;
    let store = Store::open(Options::new(data.join("store"))).context("open the store")?;
    if let Some(reason) = &store.report().rebuilt {
        eprintln!("Note: the working copy of the store was rebuilt from export and journal ({reason}).");
    }
    if let Some(cut) = &store.report().cut {
        eprintln!(
            "Note: the journal ended in an incomplete record; {} bytes were set aside as {}.{}.cut",
            cut.bytes,
            cut.segment.display(),
            cut.offset
        );
    }
    let logs = Logs::open(&data.join("logs"), log_limits(config)).context("open the logs")?;
    let trust = Trust::new(config.allow_private_targets, config.drain_ca_file.clone());
    let drains = Drains::open(logs.clone(), &data.join("logs/drains"), trust).context("open the log drains")?;
    let outputs = Outputs::open(&data.join("outputs")).context("open the build outputs")?;
    let series = logs::series::Metrics::open(&data.join("metrics")).context("open the metrics")?;
    let sealer = Arc::new(Sealer::load_or_create(&master_key(data)).context("open the key")?);
    let service = Service::new(service::Parts {
        store: store.clone(),
        logs: logs.clone(),
        drains,
        outputs: outputs.clone(),
        series,
        sealer: sealer.clone(),
        clock: Arc::new(SystemClock),
        machine,
        inspect: Arc::new(certs::inspect::Inspector),
        rendezvous: meetings,
        certificate: own_certificate(config)?.fingerprint,
        addresses,
        upload_dir: data.join("uploads"),
        slug_dir: data.join("slugs"),
        backups: Arc::new({
            let data = data.clone();
            move || backup::history(&data)
        }),
        stacks: Arc::new({
            let stacks = Stacks::new(data.join(STACKS));
            let socket = config.docker_host.clone();
            // Apps of images need an engine.
            move || stacks.names().into_iter().chain(socket.exists().then(|| CONTAINER.to_string())).collect()
        }),
    });
    Ok((service, store, logs, outputs, sealer))
}

/// How people are told to come: every port speaks TLS, too, but it is shown only for names that have a certificate.
pub fn addresses(config: &Config, ports: &[u16], certificates: Option<&Arc<certs::serving::Certificates>>) -> Addresses {
    let port = ports.first().copied().unwrap_or(80);
    let tls = config.https.map(|address| address.port()).filter(|port| *port != 0);
    let tls = ports.iter().copied().find(|port| *port == 443).or(tls).or((port != 80).then_some(port));
    let secure = certificates.zip(tls).map(|(certificates, port)| {
        let certificates = certificates.clone();
        service::Secure { port: (port != 443).then_some(port), has: Arc::new(move |host| certificates.has(host)) }
    });
    Addresses { domain: config.domain.clone(), port: (port != 80).then_some(port), secure }
}

/// The key that seals secrets: handed over by systemd (`LoadCredential=`), else a file of the data directory.
pub fn master_key(data: &Path) -> std::path::PathBuf {
    let handed = std::env::var_os("CREDENTIALS_DIRECTORY").map(|dir| Path::new(&dir).join("master.key"));
    handed.filter(|file| file.exists()).unwrap_or_else(|| data.join("keys/master.key"))
}

/// How much is kept of the logs.
fn log_limits(config: &Config) -> logs::Limits {
    logs::Limits {
        age: Duration::from_secs(config.log_keep_days * 86_400),
        app_bytes: config.log_app_mb << 20,
        host_bytes: config.log_host_mb << 20,
        // Half of what builds leave: they stop first.
        free_bytes: config.disk_reserve_mb << 19,
    }
}

/// For TLS on the platform's port.
fn own_certificate(config: &Config) -> Result<certs::own::Own> {
    certs::own::load_or_create(&config.data_dir.join("keys/tls"), &config.domain).context("the platform's own certificate")
}

/// Attached clients and git over SSH are the control plane's business.
fn doors(server: Arc<rustls::ServerConfig>, engine: &Engine, ssh: &Ssh) -> Doors {
    let (engine, handle) = (engine.clone(), tokio::runtime::Handle::current());
    let meet: Meet = Arc::new(move |caller| {
        let engine = engine.clone();
        handle.spawn(async move { engine.meet(caller).await });
    });
    Doors { ssh: ssh.pass(), tls: server.into(), meet }
}

/// The control plane behind the router: API, pages and git on the platform's own hosts. It runs on the control plane's
/// runtime, in a task that outlives a client who goes away.
fn control(app: axum::Router) -> Control {
    let handle = tokio::runtime::Handle::current();
    Arc::new(move |mut request: http::Request<Incoming>, client| {
        let (app, handle) = (app.clone(), handle.clone());
        let peer = client.address.ip().to_canonical();
        request.extensions_mut().insert(api::Connection { peer, secure: client.secure });
        request.extensions_mut().insert(dashboard::OverTls(client.secure));
        request.extensions_mut().insert(axum::extract::ConnectInfo(client.address));
        Box::pin(async move {
            let answer = handle.spawn(app.oneshot(request.map(AxumBody::new))).await;
            let response = match answer {
                Ok(Ok(response)) => response,
                Ok(Err(never)) => match never {},
                Err(_) => http::Response::builder().status(500).body(AxumBody::empty()).unwrap_or_default(),
            };
            response.map(|body| body.map_err(Into::into).boxed_unsync())
        })
    })
}

/// Git, pages and the API on one port.
fn pages(config: &Config, service: &Service, receiver: git::Receiver) -> axum::Router {
    let settings = api::Settings { calls_per_hour: config.rate_limit_per_hour };
    let api = api::router(service.clone(), settings);
    git::router(receiver).fallback_service(dashboard::router(service.clone(), api))
}

/// What runs dynos. Beside the native driver an engine that answers runs images.
async fn driver(config: &Config, data: &Path, native: &Arc<NativeRuntime>) -> Result<Arc<dyn Runtime>> {
    let run_dir = data.join("run/docker");
    let needed = config.driver == Driver::Docker;
    // One that was used before may only be down now, and what it runs is to be taken back.
    if !needed && !config.docker_host.exists() && !run_dir.exists() {
        return Ok(native.clone());
    }
    let docker = DockerRuntime::new(docker::Options {
        socket: config.docker_host.clone(),
        run_dir,
        base_image: config.docker_image.clone(),
        network: native.own_network(),
        sweep: docker::Sweep { grace: Duration::from_secs(config.docker_sweep_after_s), dry_run: config.docker_sweep_dry_run },
        patience: ENGINE_PATIENCE,
    })
    .await?;
    let docker = Arc::new(docker);
    Ok(Arc::new(if needed { Choice::minding(docker, native.clone()) } else { Choice::with_images_on(native.clone(), docker) }))
}

/// Numbers and folders of the engine.
fn settings(config: &Config, data: &Path) -> engine::Settings {
    engine::Settings {
        domain: config.domain.clone(),
        dyno_dir: data.join("dynos"),
        volume_dir: data.join("volumes"),
        app_dirs: ["slugs", "cache", "repositories"].iter().map(|d| data.join(d)).collect(),
        boot_timeout: Duration::from_secs(config.boot_timeout_s),
        backoff: config.crash_backoff_s.as_deref().map_or_else(Backoff::default, Backoff::from_seconds),
        builds_at_once: config.builds_at_once,
        release_timeout: Duration::from_secs(config.release_timeout_s),
        disk_reserve_bytes: config.disk_reserve_mb << 20,
        cycle_after: (config.cycle_after_s > 0).then_some(Duration::from_secs(config.cycle_after_s)),
        sleep_after: Duration::from_secs(config.sleep_after_s),
        preboot_hold: Duration::from_secs(config.preboot_hold_s),
        capacity_bytes: config.capacity_bytes(),
        starts_at_once: config.starts_at_once,
        allow_private_targets: config.allow_private_targets,
        mail: config.smtp.clone().map(|(host, port)| engine::Mail {
            host,
            port,
            tls: config.smtp_tls,
            user: config.smtp_user.clone(),
            password_file: config.smtp_password_file.clone(),
            from: config.mail_from.clone().unwrap_or_else(|| format!("tidemill@{}", config.domain)),
        }),
        look_every: Duration::from_secs(config.metrics_every_s),
    }
}

/// Serves on the socket until the shutdown; tells whether all requests ended in time.
async fn listen(
    (socket, port, doors): (std::net::TcpListener, u16, Option<Doors>),
    router: Arc<Router>,
    shutdown: Shutdown,
    grace: Duration,
) -> bool {
    match TcpListener::from_std(socket) {
        Ok(socket) => Listener { socket, proto: "http", port, doors }.serve(router, shutdown, grace).await,
        Err(e) => {
            tracing::error!(error = %e, "tidemill.listener_failed");
            false
        }
    }
}

/// The same at several sockets.
async fn listen_on_all(
    sockets: Vec<(std::net::TcpListener, u16, Option<Doors>)>,
    router: Arc<Router>,
    shutdown: Shutdown,
    grace: Duration,
) -> bool {
    let all: Vec<_> =
        sockets.into_iter().map(|socket| tokio::spawn(listen(socket, router.clone(), shutdown.clone(), grace))).collect();
    let mut in_time = true;
    for one in all {
        in_time &= one.await.unwrap_or(false);
    }
    in_time
}

/// Boots the platform: bind, store, logs, runtime, router, engine, git, and only then serve.
/// `restart` is told when the daemon is to start anew.
pub async fn start(config: Config, restart: Arc<Notify>) -> Result<Platform> {
    make_data_dir(&config.data_dir)?;
    let data = config.data_dir.canonicalize().context("data directory")?;
    let Sockets { web, ssh: ssh_socket } = Sockets::take(&config)?;
    let ports: Vec<_> = web.iter().map(|socket| socket.local_addr()).collect::<Result<_, _>>()?;
    let address = *ports.first().context("no socket to listen on")?;
    let own = own_certificate(&config)?.server;
    let board = certs::board::Board::new();
    let certificates = certs::serving::Certificates::new(&own, board.clone());
    let ports_of: Vec<u16> = ports.iter().map(std::net::SocketAddr::port).collect();
    let addresses = addresses(&config, &ports_of, Some(&certificates));
    let opening = config.clone();
    // Opening blocks, and commits during migration wait for the writer.
    let meetings = Arc::new(Meetings::default());
    let expected = meetings.clone();
    let machine = Arc::new(Host::new(config.clone(), restart, ports.clone()));
    let looking = machine.clone();
    let opened = tokio::task::spawn_blocking(move || open_service(&opening, addresses, expected, looking)).await?;
    let (service, store, logs, outputs, sealer) = opened?;
    service.set_capacity(config.capacity_bytes()).await.context("write the capacity")?;
    remove_leftovers(&data);
    let mut public_ports = config.public_ports.clone();
    public_ports.extend(ports.iter().filter(|a| !a.ip().is_loopback()).map(|a| a.port()));
    let program = Path::new("/proc/self/exe");
    let native = Arc::new(NativeRuntime::new(&data.join("run/dynos"), program, config.dyno_network, public_ports)?);
    let runtime = driver(&config, &data, &native).await?;
    let missing = runtime.capabilities().missing;
    for sentence in &missing {
        tracing::warn!("tidemill.limits: {sentence}");
    }
    machine.is_limited(missing);
    let limits = git::Limits { push_bytes_max: config.push_mb_max << 20, tree_bytes_max: config.tree_mb_max << 20 };
    let receiver = git::Receiver::start(service.clone(), &data.join("repositories"), &data.join("run"), limits)
        .context("start the git receiver")?;
    let router = Router::new(config.domain.clone(), control(pages(&config, &service, receiver.clone())), logs.clone());
    let allow_private = config.allow_private_sources;
    let builder = Arc::new(builder::Builder {
        runtime: native, // builds are slugs' business, whatever runs dynos
        work_dir: data.join("builds"),
        cache_dir: data.join("cache"),
        images: runtime.clone(),
        image_network: config.docker_build_network.clone(),
        stacks: Stacks::new(data.join(STACKS)),
        fetch: Arc::new(move |url, target| engine::fetch_into(url, target, allow_private)),
        limits: runtime::Limits {
            memory_bytes: config.build_memory_mb << 20,
            memory_hard: true,
            tasks_max: 2048,
            cpu_share: 1,
            cores: None,
        },
        time_limit: Duration::from_secs(config.build_timeout_s),
        tree_bytes_max: config.tree_mb_max << 20,
    });
    router.answer_challenges(board.clone());
    let engine = Engine::start(engine::Parts {
        store: store.clone(),
        service: service.clone(),
        runtime,
        builder,
        meetings,
        router: router.clone(),
        certificates: certificates.clone(),
        acme: engine::acme::Parts { settings: config.acme.settings(&config.domain, address.port()), board },
        logs: logs.clone(),
        outputs,
        sealer,
        clock: Arc::new(SystemClock),
        show: Arc::new({
            let service = service.clone();
            move |subject| api::shown(&service, &service::Ctx::platform(SystemClock.now()), subject)
        }),
        settings: settings(&config, &data),
    })
    .await
    .context("start the engine")?;
    let ssh = Ssh::start(receiver, &data, &config.domain, address, ssh_socket)?;
    let router_runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(ROUTER_THREADS)
        .thread_name("router")
        .enable_all()
        .build()
        .context("start the router's threads")?;
    let shutdown = Shutdown::new();
    let grace = Duration::from_secs(config.shutdown_s);
    let server = certificates.server(&own).map_err(anyhow::Error::msg).context("set up TLS")?;
    let doors = doors(server, &engine, &ssh);
    let sockets = web.into_iter().zip(ports).map(|(socket, own)| (socket, own.port(), Some(doors.clone()))).collect();
    let listening = router_runtime.spawn(listen_on_all(sockets, router, shutdown.clone(), grace));
    control::start(&data, service.clone()).context("open the control socket")?;
    watchdog::start(router_runtime.handle().clone());
    backups::nightly::start(config.clone(), || SystemClock.now());
    Ok(Platform { service, address, ssh, engine, store, logs, shutdown, router_runtime, listening, config })
}

impl Platform {
    /// Stops accepting, lets requests finish, stops dynos if configured, closes the store.
    pub async fn stop(self) {
        self.shutdown.start();
        self.service.end_streams();
        self.ssh.close();
        if !self.listening.await.unwrap_or(false) {
            tracing::warn!("tidemill.drain_limit: some requests were cut");
        }
        self.router_runtime.shutdown_background();
        self.engine.close();
        if self.config.stop_dynos {
            self.engine.stop_all(DYNO_STOP_LIMIT).await;
        }
        self.service.log_drains().close().await;
        self.logs.flush();
        if let Err(e) = self.store.close().await {
            tracing::warn!(error = %e, "tidemill.close: the last export could not be written; the journal has everything");
        }
    }
}
