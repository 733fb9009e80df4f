//! One name on its way to a certificate: look, order, prove, fetch, install. Each step is written down before the next.

use super::{hook, look, rows};
use crate::Engine;
use certs::{
    acme::{self, Failure, Ordered, Session, Stage},
    inspect::Inspector,
};
use domain::{
    UnixMs,
    acm::{Cause, Happened, Issued, Managed, Method, Noted, Order, Proof, Trouble, guard, renew_at, renew_within},
    sni::Inspect,
};
use std::{net::IpAddr, time::Duration};
use store::{ReadRows, StoreError, tables};
use uuid::Uuid;

/// A host whose clock is before this program was made would take good certificates for bad ones.
const BUILT_AFTER_MS: u64 = 1_767_225_600_000;
/// The kind of certificate that authorities make for addresses.
const FOR_ADDRESSES: &str = "shortlived";
/// Until a record of the hook is seen.
const RECORD_LOOKS: u32 = 60;
const RECORD_PAUSE: Duration = Duration::from_secs(1);

/// Why it stopped.
enum Stop {
    /// Nobody wants it any more.
    Left,
    Trouble(Trouble),
    Store(StoreError),
}

impl From<StoreError> for Stop {
    fn from(e: StoreError) -> Self {
        Self::Store(e)
    }
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(trouble)
    }
}

fn authority(reason: String, order_is_over: bool) -> Trouble {
    Trouble { cause: Cause::Authority, reason, not_before: None, order_is_over }
}

/// Goes as far as it can; what happened is in the row then.
pub async fn run(engine: &Engine, name: &str) {
    let parts = &engine.shared.parts;
    let told = match attempt(engine, name).await {
        Ok(()) | Err(Stop::Left) => Ok(()),
        Err(Stop::Store(e)) => Err(e),
        Err(Stop::Trouble(trouble)) => {
            tracing::warn!(%name, reason = %trouble.reason, "acme.failed");
            let reason = trouble.reason.clone();
            let taken = rows::take(engine, name, Happened::Trouble(trouble)).await;
            taken.map(|row| say(engine, row.as_ref(), &format!("No certificate for {name} yet: {reason}")))
        }
    };
    parts.acme.board.clear(name);
    if let Err(e) = told {
        tracing::error!(error = %e, %name, "acme.not_recorded");
        tokio::time::sleep(RECORD_PAUSE).await; // else it is due again at once
    }
}

fn say(engine: &Engine, row: Option<&Managed>, text: &str) {
    if let Some(app) = row.and_then(|row| row.app) {
        engine.shared.parts.logs.app(app).write("app", "api", text);
    }
}

async fn take(engine: &Engine, name: &str, happened: Happened) -> Result<Managed, Stop> {
    rows::take(engine, name, happened).await?.ok_or(Stop::Left)
}

async fn attempt(engine: &Engine, name: &str) -> Result<(), Stop> {
    let parts = &engine.shared.parts;
    let (settings, desk) = (&parts.acme.settings, &engine.shared.desk);
    if parts.clock.now().0 < BUILT_AFTER_MS {
        return Err(authority("The clock of this server is wrong; set it first.".into(), false).into());
    }
    let row = take(engine, name, Happened::Begun).await?;
    let methods = look::methods(settings, name, row.failures)?;
    look::leads(desk, settings, &parts.settings.domain, name, &methods).await?;
    let session = session(engine).await?;
    look::allowed(desk, settings, session.about(), name, &methods).await?;
    let row = take(engine, name, Happened::DnsRight).await?;
    let (order, mut ordered) = match take_up(&session, &row, &settings.directory).await? {
        Some(found) => found,
        None => order(engine, &session, &row).await?,
    };
    if ordered.stage() == Stage::Proofs {
        prove(engine, name, &mut ordered, &methods).await?;
    }
    if ordered.stage() == Stage::Over {
        return Err(authority("The authority gave the order up.".into(), true).into());
    }
    take(engine, name, Happened::Proven).await?;
    let issued = fetch(engine, name, &order, &mut ordered).await?;
    rows::note(engine, name, Noted::Certificate).await?;
    let row = take(engine, name, Happened::Installed(issued.clone())).await?;
    if let Err(e) = engine.shared.certificates.refresh(parts) {
        tracing::error!(error = %e, "engine.certificates_failed");
    }
    say(engine, Some(&row), &format!("Certificate for {name} issued"));
    tracing::info!(%name, "acme.issued");
    // Asked last: what counts is there.
    if let Some((from, to)) = session.renewal_window(&issued.facts.chain).await {
        let at = renew_within(&issued.facts, (UnixMs(from), UnixMs(to)), Uuid::new_v4().as_u64_pair().0);
        take(engine, name, Happened::RenewAt(at)).await?;
    }
    Ok(())
}

/// Asks the authority whether certificates are to be renewed sooner than was planned, as after a mistake of its own.
pub async fn ask_for_renewals(engine: &Engine) -> Result<(), StoreError> {
    let parts = &engine.shared.parts;
    for row in parts.store.scan(&tables::MANAGED, &())? {
        let directory = &parts.acme.settings.directory;
        let Some(issued) = row.serves().filter(|issued| issued.directory == *directory) else { continue };
        let Ok(session) = session(engine).await else { return Ok(()) }; // asked again later
        let now = parts.clock.now();
        let window = session.renewal_window(&issued.facts.chain).await;
        if window.is_some_and(|(_, to)| to < now.0 && now < issued.renew_at) {
            tracing::warn!(name = %row.name, "acme.renew_now: the authority asks for it");
            rows::take(engine, &row.name, Happened::RenewAt(now)).await?;
        }
    }
    Ok(())
}

/// The account, opened once.
async fn session(engine: &Engine) -> Result<Session, Stop> {
    let parts = &engine.shared.parts;
    let mut kept = engine.shared.desk.session.lock().await;
    if let Some(session) = &*kept {
        return Ok(session.clone());
    }
    let key = match rows::read_key(&parts.store, &parts.sealer, rows::ACCOUNT)? {
        Some(key) => key,
        None => {
            let key = acme::new_account_key().map_err(|failure| trouble(&failure, false))?;
            rows::keep_key(engine, rows::ACCOUNT, key.clone()).await?;
            key
        }
    };
    let settings = &parts.acme.settings;
    let opened = Session::open(&settings.directory, &settings.trust, &key, settings.contact.as_deref()).await;
    let session = opened.map_err(|failure| trouble(&failure, false))?;
    *kept = Some(session.clone());
    Ok(session)
}

fn trouble(failure: &Failure, order_is_over: bool) -> Trouble {
    let mut trouble = authority(failure.text().to_string(), order_is_over);
    if matches!(failure, Failure::Limited { .. }) {
        trouble.cause = Cause::Limit;
    }
    trouble
}

/// What a failure of the authority means for the row; an account that it forgot is opened anew next time.
async fn failed(engine: &Engine, failure: Failure) -> Stop {
    let mut result = trouble(&failure, !matches!(failure, Failure::Away(_) | Failure::Limited { .. }));
    match failure {
        Failure::Limited { after, .. } => {
            let ms = after.map_or(3_600_000, |after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
            result.not_before = Some(engine.shared.parts.clock.now().plus_ms(ms));
        }
        Failure::NoAccount(_) => *engine.shared.desk.session.lock().await = None,
        _ => {}
    }
    Stop::Trouble(result)
}

/// Goes on with the order of before, if the authority still has it and it is good for something.
async fn take_up(session: &Session, row: &Managed, directory: &str) -> Result<Option<(Order, Ordered)>, Stop> {
    let Some(order) = row.order.clone().filter(|order| order.directory == directory) else { return Ok(None) };
    match session.take_up(&order.url).await {
        Ok(mut ordered) => Ok((ordered.stage() != Stage::Over).then_some((order, ordered))),
        Err(Failure::Refused(_) | Failure::NoAccount(_)) => Ok(None),
        Err(failure) => Err(trouble(&failure, false).into()),
    }
}

/// Makes an order, if the counters allow it. Its key is kept before the authority knows of it.
async fn order(engine: &Engine, session: &Session, row: &Managed) -> Result<(Order, Ordered), Stop> {
    let parts = &engine.shared.parts;
    let (settings, name, now) = (&parts.acme.settings, row.name.as_str(), parts.clock.now());
    let ledger = parts.store.scan(&tables::ACM_LEDGER, &())?;
    if let Some((until, reason)) = guard(&ledger, (&settings.directory, name, row.issued.is_some()), now, &settings.limits) {
        return Err(Trouble { cause: Cause::Limit, reason, not_before: Some(until), order_is_over: true }.into());
    }
    let key = Uuid::new_v4();
    let made = acme::new_key().map_err(|reason| authority(format!("No key could be made: {reason}."), true))?;
    rows::keep_key(engine, key, made.into_bytes()).await?;
    rows::note(engine, name, Noted::Order).await?;
    let offered = |profile: &str| session.about().profiles.iter().any(|p| p == profile);
    let profile = (name.parse::<IpAddr>().is_ok() && offered(FOR_ADDRESSES)).then_some(FOR_ADDRESSES);
    let replaces = row.issued.as_ref().map(|issued| issued.facts.chain.as_str());
    let ordered = match session.order(name, profile, replaces).await {
        Ok(ordered) => ordered,
        Err(failure) => return Err(failed(engine, failure).await),
    };
    let directory = settings.directory.clone();
    let order = Order { key, url: ordered.url().to_string(), directory, begun_at: now, proof: None };
    take(engine, name, Happened::Ordered(order.clone())).await?;
    Ok((order, ordered))
}

/// Shows a proof for as long as the authority looks: it looks several times, from several places.
async fn prove(engine: &Engine, name: &str, ordered: &mut Ordered, methods: &[Method]) -> Result<(), Stop> {
    let parts = &engine.shared.parts;
    let proof = match ordered.proof(methods).await {
        Ok(Some(proof)) => proof,
        Ok(None) => return Ok(()),
        Err(failure) => return Err(failed(engine, failure).await),
    };
    take(engine, name, Happened::Shown(proof.clone())).await?;
    parts.acme.board.show(name, &proof).map_err(|reason| authority(reason, false))?;
    if proof.method == Method::Dns01 {
        publish(engine, name, &proof).await?;
    }
    let proven = ordered.prove(proof.method).await;
    parts.acme.board.clear(name);
    if let (Method::Dns01, Some(hook)) = (proof.method, &parts.acme.settings.dns_hook)
        && let Err(reason) = hook::run(hook, "remove", name, &acme::record_text(&proof)).await
    {
        tracing::warn!(%name, %reason, "acme.record_left");
    }
    match proven {
        Ok(()) => Ok(()),
        Err(failure) => {
            if matches!(failure, Failure::Rejected(_)) {
                rows::note(engine, name, Noted::Rejection).await?;
            }
            Err(failed(engine, failure).await)
        }
    }
}

/// Lets the hook set the record, and waits until it is seen.
async fn publish(engine: &Engine, name: &str, proof: &Proof) -> Result<(), Stop> {
    let settings = &engine.shared.parts.acme.settings;
    let Some(hook) = &settings.dns_hook else { return Ok(()) };
    let text = acme::record_text(proof);
    hook::run(hook, "add", name, &text).await.map_err(|reason| authority(reason, false))?;
    let dns = look::dns(&engine.shared.desk, settings).await?;
    for _ in 0..RECORD_LOOKS {
        if dns.has_text(&hook::record(name), &text).await {
            return Ok(());
        }
        tokio::time::sleep(RECORD_PAUSE).await; // nobody tells when it is there
    }
    let seconds = u64::from(RECORD_LOOKS) * RECORD_PAUSE.as_secs();
    Err(authority(format!("The record of the DNS hook was not seen within {seconds} s."), false).into())
}

/// Fetches the certificate and checks it before anybody sees it.
async fn fetch(engine: &Engine, name: &str, order: &Order, ordered: &mut Ordered) -> Result<Issued, Stop> {
    let parts = &engine.shared.parts;
    let lost = || authority("The key of the order is gone; a new one is made.".into(), true);
    let key = rows::read_key(&parts.store, &parts.sealer, order.key)?.ok_or_else(lost)?;
    let key = String::from_utf8(key).map_err(|_| lost())?;
    let request =
        acme::request(&key, name).map_err(|reason| authority(format!("No request could be made: {reason}."), true))?;
    let chain = match ordered.certificate(&request).await {
        Ok(chain) => chain,
        Err(failure) => return Err(failed(engine, failure).await),
    };
    let wrong = |reason: String| authority(format!("The authority made a certificate that can not serve: {reason}"), true);
    let facts = Inspector.inspect(&chain, &key, parts.clock.now()).map_err(wrong)?;
    if !facts.covers(name) {
        return Err(wrong(format!("it is for {}.", facts.names.join(", "))).into());
    }
    let renew_at = renew_at(&facts, Uuid::new_v4().as_u64_pair().0);
    Ok(Issued { key: order.key, facts, directory: order.directory.clone(), renew_at })
}
