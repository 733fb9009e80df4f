//! The application layer: one file per resource. Each operation authorises, checks, makes one store transaction and
//! answers when that is durable (`architecture.md` section 3). It writes intent and touches nothing outside: what runs
//! is the business of `engine`, which reads the events.

mod access;
mod acm;
mod addons;
mod alerts;
mod apps;
mod audit;
mod auth;
mod backups;
mod build_changes;
mod builds;
mod capacity;
mod clients;
mod collaborators;
mod config;
mod context;
mod couplings;
mod domains;
mod drains;
mod dynos;
mod error;
mod features;
mod formation;
mod keys;
mod log_sessions;
mod logins;
mod machine;
mod metrics;
mod one_offs;
mod passwords;
mod people;
mod pipelines;
mod preferences;
mod promotions;
mod releases;
mod schedules;
mod sessions;
mod setups;
mod slug_releases;
mod slug_uploads;
mod sni;
mod sources;
mod teams;
mod throttle;
mod tokens;
mod two_factor;
mod volume_snapshots;
mod volumes;
mod webhooks;

pub use access::{Action, Grant, On, may, rights_on, role_in};
pub use alerts::{ChannelSecrets, NewChannel, NewRule, ShownChannel, new_notice, read_channel};
pub use apps::{AppChange, NewApp};
pub use auth::SetupSecret;
pub use builds::NewBuild;
pub use capacity::Promise;
pub use clients::{ClientChange, Consent, Issued, Request};
pub use collaborators::Shared;
pub use config::{read_config, write_config};
pub use context::{Actor, Ctx};
pub use domains::{ShownDomain, Wanted};
pub use drains::{ShownDrain, read_drain_url};
pub use error::{Error, Kind, Result};
pub use formation::{FormationChange, Quantity, follow_slug};
pub use log_sessions::LogRequest;
pub use logins::{BrowserLogin, NewLogin, Waiting};
pub use metrics::MetricQuery;
pub use one_offs::{NewDyno, RELEASE, Started, read_dyno_env};
pub use passwords::Attempt;
pub use people::NewInvitation;
pub use pipelines::{NewPipeline, OwnerRef};
pub use promotions::{NewPromotion, finish_target};
pub use releases::{ReleaseDraft, add_release, running_phase};
pub use schedules::{Due, NewSchedule, use_slot};
pub use sessions::{NewSession, form_token, new_form_key};
pub use setups::{NewSetup, read_setup_env};
pub use slug_uploads::{NewSlug, SlugPlace};
pub use sni::{ShownEndpoint, read_sni_key};
pub use sources::Source;
pub use tokens::{NewAuthorization, Rotated};
pub use two_factor::Enrolment;
pub use volumes::NewVolume;
pub use webhooks::{HookSecrets, NewWebhook, WebhookChange, read_hook_secrets, sign};

use domain::{App, AppId, Rendezvous, UnixMs, machine::Machine, sni::Inspect, time::Clock};
use logs::{Logs, Outputs};
use std::{path::PathBuf, sync::Arc};
use store::{ReadRows, Sealer, Store, tables};

/// The operations. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    inner: Arc<Inner>,
}

/// What the operations need.
pub struct Parts {
    /// Rows.
    pub store: Store,
    /// App logs.
    pub logs: Logs,
    /// Log drains, to tell how they do.
    pub drains: logs::drains::Drains,
    /// Build output.
    pub outputs: Outputs,
    /// Numbers over time.
    pub series: logs::series::Metrics,
    /// Opens and seals config vars.
    pub sealer: Arc<Sealer>,
    /// Where "now" comes from.
    pub clock: Arc<dyn Clock>,
    /// Looks at the machine.
    pub machine: Arc<dyn Machine>,
    /// Checks uploaded certificates.
    pub inspect: Arc<dyn Inspect>,
    /// Where clients meet processes.
    pub rendezvous: Arc<dyn Rendezvous>,
    /// SHA-256 of the certificate of the platform's port, in hexadecimal digits.
    pub certificate: String,
    /// Addresses that are shown to people.
    pub addresses: Addresses,
    /// Uploaded sources.
    pub upload_dir: PathBuf,
    /// Slugs by id.
    pub slug_dir: PathBuf,
    /// Names of imported stacks.
    pub stacks: Arc<dyn Fn() -> Vec<String> + Send + Sync>,
    /// What became of backups.
    pub backups: Arc<dyn Fn() -> Vec<domain::backup::Backup> + Send + Sync>,
}

/// How this installation is reached.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Platform domain, for instance `localhost`.
    pub domain: String,
    /// Port for HTTP, when it is not the scheme's own.
    pub port: Option<u16>,
    /// Where TLS is spoken too, and for which names.
    pub secure: Option<Secure>,
}

/// Names that have a certificate are shown with `https`.
#[derive(Clone)]
pub struct Secure {
    /// Port, when it is not the scheme's own.
    pub port: Option<u16>,
    /// Does a certificate that visitors may believe answer for the name?
    pub has: Arc<dyn Fn(&str) -> bool + Send + Sync>,
}

impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secure({:?})", self.port)
    }
}

impl Addresses {
    /// `http` or `https` for a host, and its port where it is not the scheme's own.
    pub fn way(&self, host: &str) -> (&'static str, Option<u16>) {
        match &self.secure {
            Some(secure) if (secure.has)(host) => ("https", secure.port),
            _ => ("http", self.port),
        }
    }

    /// `scheme://host:port` of a host.
    pub fn url(&self, host: &str) -> String {
        match self.way(host) {
            (scheme, Some(port)) => format!("{scheme}://{host}:{port}"),
            (scheme, None) => format!("{scheme}://{host}"),
        }
    }

    /// Address of an app, with a slash at the end.
    pub fn app_url(&self, name: &str) -> String {
        format!("{}/", self.url(&format!("{name}.{}", self.domain)))
    }

    /// Address for `git push`.
    pub fn git_url(&self, name: &str) -> String {
        format!("{}/{name}.git", self.url(&self.domain))
    }
}

struct Inner {
    parts: Parts,
    sessions: log_sessions::Sessions,
    sources: sources::Sources,
    hashing: passwords::Hashing,
    throttle: throttle::Throttle,
    logins: logins::Logins,
    trusted: two_factor::Trusted,
    /// True when open streams are to end.
    streams_end: tokio::sync::watch::Sender<bool>,
}

impl Service {
    /// The operations over `parts`.
    pub fn new(parts: Parts) -> Self {
        Self {
            inner: Arc::new(Inner {
                parts,
                sessions: log_sessions::Sessions::default(),
                sources: sources::Sources::default(),
                hashing: passwords::Hashing::default(),
                throttle: throttle::Throttle::default(),
                logins: logins::Logins::default(),
                trusted: two_factor::Trusted::default(),
                streams_end: tokio::sync::watch::Sender::new(false),
            }),
        }
    }

    /// Ends all open log tails and streams of output, and those that are opened later: the daemon is to stop, and they have
    /// no end of their own.
    pub fn end_streams(&self) {
        self.inner.streams_end.send_replace(true);
    }

    /// Comes when [`Service::end_streams`] was called.
    pub fn streams_ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut end = self.inner.streams_end.subscribe();
        async move {
            let _ = end.wait_for(|ends| *ends).await; // without a service there is nothing to stream either
        }
    }

    fn parts(&self) -> &Parts {
        &self.inner.parts
    }

    fn store(&self) -> &Store {
        &self.inner.parts.store
    }

    /// The platform's clock.
    pub fn now(&self) -> UnixMs {
        self.inner.parts.clock.now()
    }

    /// How this installation is reached.
    pub fn addresses(&self) -> &Addresses {
        &self.inner.parts.addresses
    }

    /// SHA-256 of the certificate of the platform's port, in hexadecimal digits.
    pub fn certificate(&self) -> &str {
        &self.inner.parts.certificate
    }

    /// App logs, for readers that were authorised.
    pub fn logs(&self) -> &Logs {
        &self.inner.parts.logs
    }

    /// What hands lines to receivers; for whoever starts and ends it.
    pub fn log_drains(&self) -> &logs::drains::Drains {
        &self.inner.parts.drains
    }

    /// Build output, for readers that hold its key.
    pub fn outputs(&self) -> &Outputs {
        &self.inner.parts.outputs
    }

    /// An app by id or name, if the actor may do `action` with it.
    fn app_for(&self, ctx: &Ctx, action: Action, id_or_name: &str) -> Result<App> {
        let app = find_app(self.store(), id_or_name)?;
        access::check(self.store(), ctx, action, On::App(&app))?;
        self.check_code(ctx, action, &app)?;
        Ok(app)
    }

    /// The line of a user's action in the app's log (`runtime.md` section 3).
    fn log_action(&self, app: AppId, ctx: &Ctx, what: &str) {
        self.logs().app(app).write("app", "api", format!("{what} by user {}", ctx.email()));
    }
}

/// An app by id or by name.
fn find_app(rows: &impl ReadRows, id_or_name: &str) -> Result<App> {
    let missing = || Error::not_found("app", "Couldn't find that app.");
    let id = match id_or_name.parse::<AppId>() {
        Ok(id) => id,
        Err(_) => rows.get(&tables::APP_BY_NAME, &id_or_name.to_string())?.ok_or_else(missing)?,
    };
    rows.get(&tables::APPS, &id)?.ok_or_else(missing)
}
