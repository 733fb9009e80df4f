//! Certificates from an authority: who wants one, whose turn it is, and what is done about it (`acm.md` section 4). The
//! states are `domain::acm`'s; every step is a row in the store first, so a daemon that was killed goes on where it was.

mod hook;
mod job;
mod look;
mod rows;

pub(crate) use rows::read_key;

use crate::Engine;
use certs::{
    acme::{Session, Trust},
    board::Board,
    dns::Dns,
};
use domain::{
    UnixMs,
    acm::{Limits, Managed, Method, Rules},
};
use std::{
    collections::HashSet,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use store::{ReadRows, tables};
use tokio::sync::Notify;

/// The best known authority.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Its directory for trying out; nobody trusts what it makes.
pub const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";

/// Orders in progress at the same time; the others wait in line.
const JOBS_AT_ONCE: usize = 8;
/// Look again after this time even if nothing happened.
const IDLE_LOOK: Duration = Duration::from_secs(60);

/// Between questions whether to renew sooner.
const RENEWAL_LOOK: Duration = Duration::from_secs(6 * 3600);

/// How certificates are got here.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The authority.
    pub directory: String,
    /// Whom to believe to be it.
    pub trust: Trust,
    /// E-mail that the authority may write to.
    pub contact: Option<String>,
    /// Ways to prove a name, the best first.
    pub methods: Vec<Method>,
    /// Program that sets and removes records, for DNS-01.
    pub dns_hook: Option<PathBuf>,
    /// Pauses after failures.
    pub rules: Rules,
    /// What may be asked of the authority.
    pub limits: Limits,
    /// The platform's own names and addresses that are to have certificates.
    pub own_names: Vec<String>,
    /// Under this domain every app that has served once gets a certificate for `APP.domain`: there is none for all of them.
    pub app_domain: Option<String>,
    /// Addresses at which this server is reached; empty: those of its name.
    pub public_addresses: Vec<IpAddr>,
    /// Name servers to ask; empty: those of this host.
    pub dns_servers: Vec<SocketAddr>,
}

impl Settings {
    /// The authority makes certificates for trying out only.
    fn is_staging(&self) -> bool {
        self.directory == LETS_ENCRYPT_STAGING
    }

    /// It is one that everybody trusts, and that makes none for names of an inner network.
    fn is_public(&self) -> bool {
        self.is_staging() || self.directory == LETS_ENCRYPT
    }
}

/// What the engine works with.
pub struct Parts {
    /// How.
    pub settings: Settings,
    /// What authorities are shown.
    pub board: Arc<Board>,
}

/// What is going on at present.
#[derive(Default)]
pub struct Desk {
    changed: Notify,
    running: Mutex<HashSet<String>>,
    /// Held while an account is opened, so that there is one only.
    session: tokio::sync::Mutex<Option<Session>>,
    dns: tokio::sync::OnceCell<Dns>,
}

impl Desk {
    /// Something changed that may concern certificates.
    pub fn wake(&self) {
        self.changed.notify_one();
    }

    fn running(&self) -> MutexGuard<'_, HashSet<String>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Shows again what was shown before, then looks after everything until the daemon ends.
pub fn start(engine: &Engine) -> Result<(), store::StoreError> {
    let parts = &engine.shared.parts;
    for row in parts.store.scan(&tables::MANAGED, &())? {
        let proof = row.order.as_ref().and_then(|order| order.proof.as_ref());
        if let Some(proof) = proof
            && let Err(reason) = parts.acme.board.show(&row.name, proof)
        {
            tracing::warn!(name = %row.name, %reason, "acme.proof_not_shown");
        }
    }
    tokio::spawn(look_after(engine.clone()));
    tokio::spawn(look_for_renewals(engine.clone()));
    Ok(())
}

/// The authority may want certificates to be renewed sooner (RFC 9773); not asked right at the start, since a daemon that
/// starts over and over would ask over and over.
async fn look_for_renewals(engine: Engine) {
    while !engine.is_closing() {
        tokio::time::sleep(RENEWAL_LOOK).await;
        if let Err(e) = job::ask_for_renewals(&engine).await {
            tracing::error!(error = %e, "acme.renewals_unknown");
        }
        engine.shared.desk.wake();
    }
}

async fn look_after(engine: Engine) {
    while !engine.is_closing() {
        let wait = match turn(&engine).await {
            Ok(wait) => wait,
            Err(e) => {
                tracing::error!(error = %e, "acme.turn_failed");
                IDLE_LOOK
            }
        };
        tokio::select! {
            () = engine.shared.desk.changed.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Brings the rows in line with what is wanted and starts what is due; tells when to look again.
async fn turn(engine: &Engine) -> Result<Duration, service::Error> {
    if rows::align(engine).await? {
        engine.shared.certificates.refresh(&engine.shared.parts)?;
    }
    let parts = &engine.shared.parts;
    let now = parts.clock.now();
    let mut all = parts.store.scan(&tables::MANAGED, &())?;
    // Who has nothing goes first, then who has it for the shortest time.
    all.sort_by_key(|row| (row.issued.as_ref().map_or(0, |issued| issued.facts.expires_at.0), row.next_at));
    let mut wait = IDLE_LOOK;
    for row in all {
        if !is_due(&parts.acme.settings, &row, now) {
            if row.left_at.is_none() {
                wait = wait.min(Duration::from_millis(row.next_at.since_ms(now) + 1));
            }
            continue;
        }
        let mut running = engine.shared.desk.running();
        if running.len() >= JOBS_AT_ONCE {
            break; // the end of a job wakes
        }
        if running.insert(row.name.clone()) {
            tokio::spawn(job(engine.clone(), row.name));
        }
    }
    Ok(wait)
}

async fn job(engine: Engine, name: String) {
    job::run(&engine, &name).await;
    engine.shared.desk.running().remove(&name);
    engine.shared.desk.wake();
}

/// A certificate for trying out never takes the place of a good one, and a good one takes its place at once.
fn is_due(settings: &Settings, row: &Managed, now: UnixMs) -> bool {
    let Some(issued) = row.serves().filter(|issued| issued.facts.expires_at > now) else { return row.is_due(now) };
    let from_staging = issued.directory == LETS_ENCRYPT_STAGING;
    if settings.is_staging() && !from_staging {
        return false;
    }
    let improve = from_staging && !settings.is_staging() && row.phase == domain::acm::Phase::Issued;
    row.is_due(now) || improve
}
