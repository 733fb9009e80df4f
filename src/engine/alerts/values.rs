//! The values that rules look at.

use crate::Engine;
use domain::{
    App, BuildId, BuildStatus, Dyno, DynoKind, DynoState, ReleaseStatus, UnixMs,
    alert::{Metric, Rule},
};
use store::{ReadRows, StoreError, tables};
use uuid::Uuid;

/// A value, and what is said when it is too high.
pub struct Value {
    pub metric: Metric,
    /// A dyno, a host name; empty for the whole.
    pub subject: String,
    /// `None` when it is not known.
    pub value: Option<f64>,
    pub text: String,
    pub fix: String,
}

/// With fewer requests in five minutes there is no share and no p95.
const REQUESTS_MIN: u64 = 20;
/// Span of shares and quantiles.
const SPAN_S: u64 = 300;
/// A failed deploy is told of for so long.
const DEPLOY_NEWS_MS: u64 = 24 * 60 * 60 * 1000;

impl Value {
    /// Nothing is known of it any more.
    pub fn unknown(metric: Metric, subject: &str) -> Self {
        Self { metric, subject: subject.into(), value: None, text: String::new(), fix: String::new() }
    }

    /// Is the rule about this?
    pub fn is_for(&self, rule: &Rule) -> bool {
        let process = rule.process.as_deref();
        let fits = |process: &str| {
            self.subject == process || self.subject.strip_prefix(process).is_some_and(|rest| rest.starts_with('.'))
        };
        self.metric == rule.metric && process.is_none_or(fits)
    }
}

/// All values of an app, or of the host.
pub fn of(engine: &Engine, app: Option<&App>, now: UnixMs) -> Result<Vec<Value>, StoreError> {
    let Some(app) = app else { return Ok(disk(engine).into_iter().chain([backup(engine)]).collect()) };
    let mut values = crashes(engine, app)?;
    values.extend(usage(engine, app));
    values.extend(requests(engine, app, now));
    values.extend(certificates(engine, app, now)?);
    values.extend(drains(engine, app, now)?);
    values.push(deploy(engine, app, now)?);
    Ok(values)
}

fn disk(engine: &Engine) -> Vec<Value> {
    let host = engine.shared.parts.service.series().host_now();
    let percent = (host.disk_mib > 0).then(|| f64::from(host.disk_used_mib) * 100.0 / f64::from(host.disk_mib));
    vec![Value {
        metric: Metric::Disk,
        subject: String::new(),
        value: percent,
        text: format!("The disk is {:.0} % full: {} of {} MiB.", percent.unwrap_or(0.0), host.disk_used_mib, host.disk_mib),
        fix: "tidemill metrics:host host-disk --last 24h".into(),
    }]
}

#[allow(clippy::cast_precision_loss)] // hours
fn backup(engine: &Engine) -> Value {
    let service = &engine.shared.parts.service;
    let hours = service.backup_age_s().map(|age| age as f64 / 3600.0);
    let shown = hours.unwrap_or(0.0);
    Value {
        metric: Metric::Backup,
        subject: String::new(),
        value: hours,
        text: match service.last_backup() {
            Some(last) => format!("The last good backup is {shown:.0} h old: {}.", last.place),
            None => format!("There is no good backup, and this server has worked for {shown:.0} h."),
        },
        fix: "sudo tidemill backup create --to FILE   and see: sudo tidemill backup list".into(),
    }
}

/// One that is up has recovered; whether it stays so is for the time that an alert takes to close.
fn crashes(engine: &Engine, app: &App) -> Result<Vec<Value>, StoreError> {
    let store = &engine.shared.parts.store;
    let mut values = Vec::new();
    for id in store.scan(&tables::DYNO_BY_APP, &app.id)? {
        let Some(dyno) = store.get(&tables::DYNOS, &id)? else { continue };
        let counts = |d: &Dyno| matches!(d.state, DynoState::Crashed | DynoState::Starting);
        if dyno.kind != DynoKind::Formation || dyno.state == DynoState::Stopping {
            continue;
        }
        let count = if counts(&dyno) { dyno.crashes } else { 0 };
        let name = dyno.name();
        values.push(Value {
            metric: Metric::Crashes,
            value: Some(f64::from(count)),
            text: format!("{name} crashed {count} times in a row; the waits between its starts grow."),
            fix: format!("tidemill logs -d {name} -n 50 -a {0}   then: tidemill ps:restart {name} -a {0}", app.name),
            subject: name,
        });
    }
    Ok(values)
}

fn usage(engine: &Engine, app: &App) -> Vec<Value> {
    let mut values = Vec::new();
    for (name, now) in engine.shared.parts.service.series().dynos_of(app.id) {
        let usage = now.usage;
        let seconds = f64::from(usage.seconds.max(1));
        let memory = (usage.limit_kib > 0).then(|| f64::from(usage.memory_kib) * 100.0 / f64::from(usage.limit_kib));
        values.push(Value {
            metric: Metric::Memory,
            value: memory,
            text: format!("{name} uses {} of {} MiB.", usage.memory_kib / 1024, usage.limit_kib / 1024),
            fix: format!("tidemill metrics memory -p {name} -a {}", app.name),
            subject: name.clone(),
        });
        let cpu = f64::from(usage.cpu_ms) / 10.0 / seconds;
        values.push(Value {
            metric: Metric::Cpu,
            value: Some(cpu),
            text: format!("{name} uses {cpu:.0} % of a processor."),
            fix: format!("tidemill metrics cpu -p {name} -a {}", app.name),
            subject: name,
        });
    }
    values
}

fn requests(engine: &Engine, app: &App, now: UnixMs) -> Vec<Value> {
    let series = engine.shared.parts.service.series();
    let value = |metric, value, text, fix: &str| Value {
        metric,
        subject: String::new(),
        value,
        text,
        fix: format!("tidemill metrics {fix} -a {}", app.name),
    };
    // Nobody came since the daemon started: no file has to be read for that.
    if !series.meters().all().contains_key(&app.id) {
        return vec![value(Metric::Requests, Some(0.0), "No requests.".into(), "requests")];
    }
    let to_s = (now.0 / 60_000 + 1) * 60;
    let sum = series.requests_between(app.id, to_s - SPAN_S, to_s);
    let total = sum.total();
    let enough = total >= REQUESTS_MIN;
    let share = f64::from(sum.classes[4]) * 100.0 / (total.max(1)) as f64;
    let p95 = sum.times.quantile_ms(0.95).filter(|_| enough);
    let rate = total as f64 * 60.0 / SPAN_S as f64;
    vec![
        value(
            Metric::Errors,
            enough.then_some(share),
            format!("{share:.1} % of {total} requests in five minutes got a 5xx."),
            "requests",
        ),
        value(
            Metric::P95,
            p95,
            format!("Of {total} requests in five minutes, 5 % took longer than {:.0} ms.", p95.unwrap_or(0.0)),
            "response-time",
        ),
        value(Metric::Requests, Some(rate), format!("{rate:.0} requests a minute."), "requests"),
    ]
}

fn certificates(engine: &Engine, app: &App, now: UnixMs) -> Result<Vec<Value>, StoreError> {
    let store = &engine.shared.parts.store;
    let mut values = Vec::new();
    for id in store.scan(&tables::SNI_BY_APP, &app.id)? {
        let Some(endpoint) = store.get(&tables::SNI, &id)? else { continue };
        let (from, to) = (endpoint.facts.starts_at, endpoint.facts.expires_at);
        let (life, left) = (to.since_ms(from).max(1), to.since_ms(now));
        let over = now.since_ms(from) as f64 * 100.0 / life as f64;
        let days = left / 86_400_000;
        values.push(Value {
            metric: Metric::Certificate,
            value: Some(over),
            text: format!("The certificate for {} ends in {days} days.", endpoint.facts.names.join(", ")),
            fix: format!("tidemill certs:update FILE KEY --name {} -a {}", endpoint.name, app.name),
            subject: endpoint.name,
        });
    }
    Ok(values)
}

/// A failed deploy is news for a day; it is over with the next build or release that succeeds. One that was cancelled was
/// asked for.
fn deploy(engine: &Engine, app: &App, now: UnixMs) -> Result<Value, StoreError> {
    let store = &engine.shared.parts.store;
    let since = UnixMs(now.0.saturating_sub(DEPLOY_NEWS_MS));
    let first = (app.id, since.0, BuildId(Uuid::nil()));
    let ids = store.scan_since(&tables::BUILD_BY_APP, &first, &app.id)?;
    let build = ids.last().map(|id| store.get(&tables::BUILDS, id)).transpose()?.flatten();
    let release = store.get(&tables::RELEASES, &(app.id, app.next_version.saturating_sub(1)))?;
    let release = release.filter(|release| release.updated_at >= since);
    let built_last = |at| build.as_ref().is_some_and(|build| build.release.is_none() && build.updated_at > at);
    // `None` while it goes on: that is no success.
    let (failed, text, fix) = match (&build, &release) {
        (Some(build), at) if built_last(at.as_ref().map_or(since, |release| release.updated_at)) => {
            let why = build.failure.as_deref().unwrap_or("see its output");
            let failed = (build.status != BuildStatus::Pending)
                .then(|| build.status == BuildStatus::Failed && !why.starts_with("Cancelled by"));
            let fix = format!("tidemill builds:output {} -a {}", build.id, app.name);
            (failed, format!("A build failed: {why}. What ran before runs on."), fix)
        }
        (_, Some(release)) => {
            let failed = (release.status != ReleaseStatus::Pending).then_some(release.status == ReleaseStatus::Failed);
            let fix = format!("tidemill releases:info v{} -a {}", release.version, app.name);
            (failed, format!("v{} failed ({}). What ran before runs on.", release.version, release.description), fix)
        }
        _ => (Some(false), String::new(), String::new()),
    };
    let value = failed.map(|failed| f64::from(u8::from(failed)));
    Ok(Value { metric: Metric::Deploy, subject: String::new(), value, text, fix })
}

fn drains(engine: &Engine, app: &App, now: UnixMs) -> Result<Vec<Value>, StoreError> {
    let parts = &engine.shared.parts;
    let mut values = Vec::new();
    for id in parts.store.scan(&tables::DRAIN_BY_APP, &app.id)? {
        let Some(drain) = parts.store.get(&tables::DRAINS, &id)? else { continue };
        let Some((state, waiting)) = parts.service.log_drains().state(id) else { continue };
        let fails = state.last_error_us > state.last_success_us;
        let since = state.last_success_us.map_or(drain.created_at, |us| UnixMs(us / 1000));
        let minutes = if fails { now.since_ms(since) as f64 / 60_000.0 } else { 0.0 };
        let why = state.last_error.unwrap_or_default();
        values.push(Value {
            metric: Metric::Drain,
            value: Some(minutes),
            text: format!("The log drain {} has taken nothing for {minutes:.0} min, {waiting} lines wait: {why}", drain.token),
            fix: format!("tidemill drains -a {}", app.name),
            subject: drain.token,
        });
    }
    Ok(values)
}
