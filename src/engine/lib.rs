//! What makes it so: one actor per app reads what is wanted and what is, plans, and acts.
//!
//! Woken by the events of the store; knows no other signal. One code path for the normal case, for recovery and for the
//! start of the daemon (`architecture.md` section 3). This room must not answer requests: nobody calls it but the binary.

pub mod acme;
mod actor;
mod alerts;
mod attach;
mod boot;
mod builds;
mod certificates;
mod disk;
mod drains;
mod dynos;
mod environment;
mod fetch;
mod guard;
mod images;
mod memory;
mod metadata;
mod metrics;
mod one_offs;
mod pools;
mod promotions;
mod routes;
mod rows;
mod scheduler;
mod setups;
mod sinks;
mod sleep;
mod volumes;
mod webhooks;

pub use alerts::{Mail, MailTls};
pub use attach::Meetings;
pub use fetch::fetch_into;

use builder::Builder;
use domain::{AppId, Build, BuildStatus, DynoKind, DynoState, EventBody, restart::Backoff, time::Clock};
use logs::{Logs, Outputs};
use router::Router;
use runtime::Runtime;
use service::{Ctx, Service};
use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use store::{ReadRows, Sealer, Store, StoreError, tables};
use tokio::sync::{Notify, Semaphore};
use tokio_util::task::TaskTracker;

/// Shows a resource as the API does.
pub type Show = Arc<dyn Fn(&domain::webhook::Subject) -> Option<serde_json::Value> + Send + Sync>;

/// What the engine works with.
pub struct Parts {
    /// Rows and events.
    pub store: Store,
    /// For what a user could do as well.
    pub service: Service,
    /// Runs dynos.
    pub runtime: Arc<dyn Runtime>,
    /// Runs builds.
    pub builder: Arc<Builder>,
    /// Clients on their way to processes.
    pub meetings: Arc<Meetings>,
    /// Gets the routes.
    pub router: Arc<Router>,
    /// Gets the certificates of domains.
    pub certificates: Arc<certs::serving::Certificates>,
    /// Where and how certificates are ordered.
    pub acme: acme::Parts,
    /// App logs.
    pub logs: Logs,
    /// Build output.
    pub outputs: Outputs,
    /// Opens config vars.
    pub sealer: Arc<Sealer>,
    /// Where "now" comes from.
    pub clock: Arc<dyn Clock>,
    /// Shows a resource as the API does, for webhooks; `None` when there is no such thing.
    pub show: Show,
    /// Numbers and folders.
    pub settings: Settings,
}

/// Numbers and folders of this installation.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Platform domain.
    pub domain: String,
    /// Folders of running dynos.
    pub dyno_dir: PathBuf,
    /// Folders of volumes.
    pub volume_dir: PathBuf,
    /// Folders that hold one entry per app, removed with it.
    pub app_dirs: Vec<PathBuf>,
    /// A web dyno must accept within this time (R10).
    pub boot_timeout: Duration,
    /// Waits after crashes.
    pub backoff: Backoff,
    /// Builds at the same time.
    pub builds_at_once: usize,
    /// A release phase that takes longer failed.
    pub release_timeout: Duration,
    /// When less is free on the disk of the dynos, the one that wrote most is ended; 0: never.
    pub disk_reserve_bytes: u64,
    /// Dynos are replaced when they are older than this and a random part; `None`: never.
    pub cycle_after: Option<Duration>,
    /// Apps with Eco web dynos sleep after this time without a request; zero: never.
    pub sleep_after: Duration,
    /// With preboot the old web dynos serve on for so long.
    pub preboot_hold: Duration,
    /// Bytes that the dynos of the host may be promised; `None` for no limit.
    pub capacity_bytes: Option<u64>,
    /// Dynos of the formation that boot at the same time on this host.
    pub starts_at_once: usize,
    /// Webhooks may go to addresses that are not public.
    pub allow_private_targets: bool,
    /// The mail server that notices go through.
    pub mail: Option<Mail>,
    /// Between looks at what dynos and the host use.
    pub look_every: Duration,
}

/// The running engine.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    parts: Parts,
    actors: Mutex<HashMap<AppId, Arc<Notify>>>,
    routes: routes::Routes,
    certificates: certificates::Certificates,
    desk: acme::Desk,
    users: pools::Users,
    ports: pools::Ports,
    build_slots: Semaphore,
    /// Booting dynos of the formation, on the whole host.
    start_slots: Arc<Semaphore>,
    /// Held from looking at how much memory is left to the rows that take it.
    room: tokio::sync::Mutex<()>,
    /// One task per dyno.
    lives: TaskTracker,
    schedules_changed: Notify,
    /// One-off dynos that have their task.
    one_offs: Mutex<HashSet<domain::DynoId>>,
    /// Deliveries of webhooks.
    hooks: webhooks::Queue,
    /// Builds and releases whose time is known.
    counted: metrics::Counted,
    /// There may be a notice to be sent.
    notices: Notify,
    /// There may be something to be done with a volume.
    volumes_changed: Notify,
    /// The daemon ends: nothing is started any more.
    closing: AtomicBool,
    started_at: domain::UnixMs,
    build_turns: Mutex<HashMap<AppId, Arc<tokio::sync::Mutex<()>>>>,
}

impl Engine {
    /// Takes back what runs, fails what was cut short, starts the actors, and then follows the events.
    ///
    /// # Errors
    /// When the store can not be read.
    pub async fn start(parts: Parts) -> Result<Self, service::Error> {
        let build_slots = Semaphore::new(parts.settings.builds_at_once);
        let start_slots = Arc::new(Semaphore::new(parts.settings.starts_at_once));
        let started_at = parts.clock.now();
        let shared = Arc::new(Shared {
            started_at,
            parts,
            actors: Mutex::default(),
            routes: routes::Routes::default(),
            certificates: certificates::Certificates::default(),
            desk: acme::Desk::default(),
            users: pools::Users::default(),
            ports: pools::Ports::new(),
            build_slots,
            start_slots,
            room: tokio::sync::Mutex::default(),
            lives: TaskTracker::new(),
            schedules_changed: Notify::new(),
            one_offs: Mutex::default(),
            hooks: webhooks::Queue::default(),
            counted: metrics::Counted::default(),
            notices: Notify::new(),
            volumes_changed: Notify::new(),
            closing: AtomicBool::new(false),
            build_turns: Mutex::default(),
        });
        let engine = Self { shared };
        let committed = engine.shared.parts.store.committed();
        let from = *committed.borrow();
        engine.fail_interrupted_builds().await?;
        engine.recover_dynos().await?;
        for app in engine.shared.parts.store.scan(&tables::APPS, &())? {
            engine.shared.routes.refresh(&engine.shared.parts, app.id)?;
            engine.wake(app.id);
        }
        engine.shared.certificates.refresh(&engine.shared.parts)?;
        acme::start(&engine)?;
        drains::refresh(&engine.shared.parts)?;
        images::look_soon(&engine);
        engine.start_scheduler()?;
        promotions::take_up(&engine)?;
        webhooks::start(&engine)?;
        setups::take_up(&engine)?;
        let meters = engine.shared.parts.service.series().meters().clone();
        engine.shared.parts.router.observe(Arc::new(metrics::Counter(meters)));
        tokio::spawn(metrics::run(engine.clone()));
        alerts::start(&engine);
        tokio::spawn(disk::watch(engine.clone()));
        tokio::spawn(volumes::run(engine.clone()));
        tokio::spawn(engine.clone().follow_events(committed, from + 1));
        Ok(engine)
    }

    /// The daemon ends: from now on nothing is started. Dynos live on.
    pub fn close(&self) {
        self.shared.closing.store(true, Ordering::SeqCst);
    }

    fn is_closing(&self) -> bool {
        self.shared.closing.load(Ordering::SeqCst)
    }

    /// After [`Engine::close`]: stops every dyno and waits until all are gone, at most `limit`.
    pub async fn stop_all(&self, limit: Duration) {
        for id in self.shared.parts.runtime.list().await.unwrap_or_default() {
            let _ = self.shared.parts.runtime.stop(id, domain::limits::STOP_GRACE_MS).await; // gone is good
        }
        self.shared.lives.close();
        if tokio::time::timeout(limit, self.shared.lives.wait()).await.is_err() {
            tracing::warn!("engine.stop_limit: some dynos did not end in time");
        }
    }

    /// Looks after the app soon.
    fn wake(&self, app: AppId) {
        let notify = {
            let mut actors = self.actors();
            match actors.get(&app) {
                Some(notify) => notify.clone(),
                None => {
                    let notify = Arc::new(Notify::new());
                    actors.insert(app, notify.clone());
                    tokio::spawn(actor::run(self.clone(), app, notify.clone()));
                    notify
                }
            }
        };
        notify.notify_one();
    }

    fn actors(&self) -> MutexGuard<'_, HashMap<AppId, Arc<Notify>>> {
        self.shared.actors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The spine: every committed event wakes whoever it concerns.
    async fn follow_events(self, mut committed: tokio::sync::watch::Receiver<u64>, mut next: u64) {
        const EVENTS_AT_ONCE: usize = 500;
        loop {
            let newest = *committed.borrow_and_update();
            while next <= newest {
                let events = match self.shared.parts.store.scan_from(&tables::EVENTS, &next, EVENTS_AT_ONCE) {
                    Ok(events) => events,
                    Err(e) => {
                        tracing::error!(error = %e, "engine.events_unreadable: trying again with the next change");
                        break;
                    }
                };
                for event in &events {
                    self.react(event);
                }
                let Some(last) = events.last() else { break };
                next = last.seq + 1;
            }
            if committed.changed().await.is_err() {
                return; // the store was closed
            }
        }
    }

    fn react(&self, event: &domain::Event) {
        if matches!(event.body, EventBody::AlertChannelChanged { .. }) {
            self.shared.notices.notify_one();
        }
        if matches!(event.body, EventBody::VolumeChanged { .. }) {
            self.shared.volumes_changed.notify_one();
        }
        let (Some(app), body) = (event.app.filter(|_| !self.is_closing()), &event.body) else { return };
        if let EventBody::ReleaseCreated { version } = body {
            self.log_release(app, *version);
        }
        self.note_schedule(body);
        if certificates::Certificates::concerns(body)
            && let Err(e) = self.shared.certificates.refresh(&self.shared.parts)
        {
            tracing::error!(error = %e, "engine.certificates_failed");
        }
        let of_an_app = self.shared.parts.acme.settings.app_domain.is_some()
            && matches!(body, EventBody::ReleaseChanged { .. } | EventBody::AppUpdated);
        if certificates::Certificates::concerns(body) || of_an_app || matches!(body, EventBody::AcmChanged) {
            self.shared.desk.wake();
        }
        if matches!(body, EventBody::DrainChanged { .. } | EventBody::AppDestroyed)
            && let Err(e) = drains::refresh(&self.shared.parts)
        {
            tracing::error!(error = %e, "engine.drains_failed");
        }
        match body {
            EventBody::BuildChanged { build } => self.shared.counted.build(self, *build),
            EventBody::ReleaseChanged { version } => self.shared.counted.release(self, app, *version),
            _ => {}
        }
        match body {
            EventBody::BuildCreated { build } => {
                tokio::spawn(builds::run(self.clone(), *build));
            }
            EventBody::SetupCreated { setup } => {
                tokio::spawn(setups::run(self.clone(), *setup));
            }
            EventBody::PromotionCreated { promotion } => {
                tokio::spawn(promotions::run(self.clone(), *promotion));
            }
            EventBody::AppDestroyed | EventBody::AppUpdated | EventBody::DomainChanged { .. } => {
                if let Err(e) = self.shared.routes.refresh(&self.shared.parts, app) {
                    tracing::error!(error = %e, "engine.routes_failed");
                }
                self.wake(app);
            }
            EventBody::CapacityShort { text } => {
                let text = format!("No web dyno is started: {text} Then: tidemill ps:scale web=1");
                self.shared.parts.logs.app(app).write("app", "api", text);
            }
            EventBody::ManagedCertificateChanged { .. } | EventBody::VolumeChanged { .. } => {} // dynos have nothing to do with it
            _ => self.wake(app),
        }
    }

    /// The log tells releases in the order of the events, however many make them at once.
    fn log_release(&self, app: AppId, version: u64) {
        let parts = &self.shared.parts;
        let row = parts.store.get(&tables::RELEASES, &(app, version)).ok().flatten();
        let Some(release) = row else { return }; // the app is gone already
        let email = parts.service.account(release.user).map(|account| account.email).unwrap_or_default();
        let log = parts.logs.app(app);
        log.write("app", "api", format!("{} by user {email}", release.description));
        log.write("app", "api", format!("Release v{version} created by user {email}"));
    }

    /// A build that was cut short by the end of the daemon failed; its ref was not moved.
    async fn fail_interrupted_builds(&self) -> Result<(), StoreError> {
        let pending: Vec<Build> = self
            .shared
            .parts
            .store
            .scan(&tables::BUILDS, &())?
            .into_iter()
            .filter(|b| b.status == BuildStatus::Pending)
            .collect();
        for build in pending {
            let output = self.shared.parts.outputs.live(build.id.0);
            output.line(" !     The platform was restarted during the build; push again.");
            builds::finish_failed(self, &build, "The platform was restarted during the build.").await?;
            self.shared.parts.outputs.close(build.id.0);
        }
        Ok(())
    }

    /// Takes back every live dyno by id, forgets rows whose process is gone, removes cages without a row.
    async fn recover_dynos(&self) -> Result<(), service::Error> {
        let parts = &self.shared.parts;
        let rows = parts.store.scan(&tables::DYNOS, &())?;
        let known: Vec<_> = rows.iter().map(|d| d.id).collect();
        let orphans = parts.runtime.list().await.unwrap_or_default().into_iter().filter(|id| !known.contains(id));
        // Side by side: one that is slow to end must not keep the apps waiting for the others.
        futures_util::future::join_all(orphans.map(async |id| {
            if let Err(e) = parts.runtime.remove(id).await {
                tracing::warn!(error = %e, dyno = %id, "engine.orphan_left");
            }
        }))
        .await;
        let mut apps = HashSet::new();
        for dyno in rows {
            if dyno.state == DynoState::Crashed {
                // Killed between the row and the cleaning up: it may still have a cage and a folder.
                dynos::release_resources(self, &dyno).await;
            } else {
                self.shared.users.reserve(dyno.user_slot);
                dyno.port.into_iter().for_each(|port| self.shared.ports.reserve(port));
                let app = dyno.app;
                match dyno.kind {
                    DynoKind::Formation => dynos::take_back(self, dyno).await?,
                    DynoKind::OneOff => one_offs::take_back(self, dyno).await?,
                }
                apps.insert(app);
            }
        }
        self.sweep();
        // Only now: an actor acts on rows, and these may still have been changed above. Also for apps that were destroyed.
        apps.into_iter().for_each(|app| self.wake(app));
        Ok(())
    }

    /// Removes folders of dynos and apps that no row names: their owners were destroyed just before the daemon was killed.
    fn sweep(&self) {
        let parts = &self.shared.parts;
        let named =
            |path: &std::path::Path| path.file_name().and_then(|n| n.to_str()).map(|n| n.trim_end_matches(".git").to_string());
        let exists = |name: &str| match name.parse::<AppId>() {
            Ok(id) => parts.store.get(&tables::APPS, &id).map_or(true, |app| app.is_some()),
            Err(_) => true, // not one of ours
        };
        let dyno_exists = |name: &str| match name.parse::<domain::DynoId>() {
            Ok(id) => parts.store.get(&tables::DYNOS, &id).map_or(true, |dyno| dyno.is_some()),
            Err(_) => true,
        };
        let entries =
            |dir: &PathBuf| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>();
        let apps = parts.settings.app_dirs.iter().flat_map(entries).filter(|p| named(p).is_some_and(|n| !exists(&n)));
        let dynos = entries(&parts.settings.dyno_dir).into_iter().filter(|p| named(p).is_some_and(|n| !dyno_exists(&n)));
        for path in apps.chain(dynos) {
            if let Err(e) = builder::remove_tree(&path) {
                tracing::warn!(error = %e, path = %path.display(), "engine.files_left");
            }
        }
    }

    fn ctx(&self) -> Ctx {
        Ctx::platform(self.shared.parts.clock.now())
    }
}
