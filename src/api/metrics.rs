//! Numbers over time, as JSON and for Prometheus.

use crate::{Api, Out, answer::ok, auth::User, error::Failure, filters::Query, prometheus, routes::routes};
use axum::{
    Router,
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use domain::{App, UnixMs};
use logs::series::{Kind, Metrics, Series, unit_of};
use service::{Ctx, Error, MetricQuery, Service};
use std::collections::BTreeMap;
use wire::NameRef;

routes! {
    get "/apps/{app}/metrics" => app_now, "read";
    get "/apps/{app}/metrics/{kind}" => app_series, "read";
    get "/machine/checks" => checks, "admin";
    get "/machine/metrics" => host_now, "admin";
    get "/machine/metrics/{kind}" => host_series, "admin";
}

/// Not of the API: text for Prometheus, with an admin's token.
pub fn open_routes() -> Router<Service> {
    Router::new().route("/metrics", get(scrape))
}

/// What the machine says of itself, with a fix for what is not well.
async fn checks(State(service): State<Service>, User(ctx): User) -> Out {
    Ok(ok(service.machine_checks(&ctx).await?)?.into_response())
}

/// The newest values are looked for in this span.
const NOW_S: u64 = 600;

fn shown(series: &Series) -> wire::MetricSeries {
    let tidy = |value: f64| (value * 1000.0).round() / 1000.0;
    let lines = series.lines.iter().map(|line| wire::MetricLine {
        name: line.name.clone(),
        limit: line.limit.map(tidy),
        values: line.values.iter().map(|value| value.map(tidy)).collect(),
    });
    wire::MetricSeries {
        kind: series.kind.as_str().into(),
        unit: unit_of(series.kind).into(),
        from: wire::time(series.from_s * 1000),
        from_s: series.from_s,
        step_s: series.step_s,
        lines: lines.collect(),
    }
}

/// Seconds since 1970, or a time as the API writes it.
fn moment(query: &Query, key: &str) -> Result<Option<UnixMs>, Error> {
    let Some(text) = query.get(key) else { return Ok(None) };
    let found = text.parse::<u64>().ok().or_else(|| wire::unix_s(text)).filter(|s| *s < 1 << 34);
    let bad = || Error::invalid(format!("{key} must be seconds since 1970 or a time such as 2026-01-02T03:04:05Z."));
    found.map(|s| Some(UnixMs(s * 1000))).ok_or_else(bad)
}

fn number(query: &Query, key: &str, from: u64, to: u64) -> Result<Option<u64>, Error> {
    let Some(text) = query.get(key) else { return Ok(None) };
    let bad = || Error::invalid(format!("{key} must be a number of seconds from {from} to {to}."));
    text.parse().ok().filter(|n| (from..=to).contains(n)).map(Some).ok_or_else(bad)
}

/// `?from=&to=`, or `?last=` seconds (two hours if nothing is said), and `?step=&process=`.
fn asked(ctx: &Ctx, kind: &str, query: &Query, of_host: bool) -> Result<MetricQuery, Error> {
    const DAYS_90: u64 = 90 * 24 * 3600;
    let missing = || {
        let names = Kind::names(of_host).join(", ");
        Error::not_found("metric", format!("There is no metric {kind:?}; there is {names}."))
    };
    let kind = Kind::parse(kind).filter(|kind| kind.of_host() == of_host).ok_or_else(missing)?;
    let last = number(query, "last", 60, DAYS_90)?.unwrap_or(7200);
    let to = moment(query, "to")?.unwrap_or(ctx.now);
    let from = moment(query, "from")?.unwrap_or(UnixMs(to.0.saturating_sub(last * 1000)));
    let step_s = number(query, "step", 60, 24 * 3600)?.and_then(|step| u32::try_from(step).ok());
    Ok(MetricQuery { kind, process: query.get("process").cloned(), from, to, step_s })
}

/// The newest values of each kind that has any.
fn latest(
    ctx: &Ctx,
    of_host: bool,
    read: impl Fn(&MetricQuery) -> Result<Series, Error>,
) -> Result<BTreeMap<String, BTreeMap<String, f64>>, Error> {
    let mut found = BTreeMap::new();
    for kind in Kind::names(of_host).into_iter().filter_map(Kind::parse) {
        let query = MetricQuery { step_s: Some(60), ..MetricQuery::last(kind, ctx.now, NOW_S) };
        let values = Metrics::latest(&read(&query)?);
        if !values.is_empty() {
            found.insert(kind.as_str().to_string(), values);
        }
    }
    Ok(found)
}

fn words(of_host: bool) -> Vec<String> {
    Kind::names(of_host).into_iter().map(Into::into).collect()
}

async fn app_now(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    let found: App = service.app(&ctx, &app)?;
    let latest = latest(&ctx, false, |query| Ok(service.metrics(&ctx, &app, query)?.1))?;
    let app = Some(NameRef { id: found.id.0, name: found.name });
    Ok(ok(wire::MetricsNow { app, kinds: words(false), latest })?.into_response())
}

async fn app_series(State(service): Api, User(ctx): User, Path((app, kind)): Path<(String, String)>, query: Query) -> Out {
    service.app(&ctx, &app)?;
    let (_, series) = service.metrics(&ctx, &app, &asked(&ctx, &kind, &query, false)?)?;
    Ok(ok(shown(&series))?.into_response())
}

async fn host_now(State(service): Api, User(ctx): User) -> Out {
    let latest = latest(&ctx, true, |query| service.host_metrics(&ctx, query))?;
    Ok(ok(wire::MetricsNow { app: None, kinds: words(true), latest })?.into_response())
}

async fn host_series(State(service): Api, User(ctx): User, Path(kind): Path<String>, query: Query) -> Out {
    let series = service.host_metrics(&ctx, &asked(&ctx, &kind, &query, true)?)?;
    Ok(ok(shown(&series))?.into_response())
}

async fn scrape(State(service): Api, User(ctx): User) -> Result<Response, Failure> {
    let text = prometheus::text(&service.metered_apps(&ctx)?, service.series(), service.backup_age_s());
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response())
}
