//! Charts of an app over one range for all of them, the same as tables, and as CSV.

use crate::{
    browser::Visitor,
    chart::{self, Chart, Form, Series, Table},
    shell::{self, Head, Outcome, Shell},
    text::{Cli, Safe},
};
use askama::Template;
use axum::{
    Router,
    extract::{Path, Query, State},
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};
use domain::{App, UnixMs};
use logs::series::Kind;
use serde::{Deserialize, Serialize};
use service::{Ctx, Error, MetricQuery, Service};

/// The routes of these pages.
pub fn routes() -> Router<Service> {
    Router::new().route("/apps/{app}/metrics", get(metrics)).route("/apps/{app}/metrics/csv", get(csv))
}

const HOUR_S: u64 = 3600;
/// Word of the address, seconds, seconds of a step.
const RANGES: &[(&str, u64, u32)] = &[
    ("2h", 2 * HOUR_S, 60),
    ("24h", 24 * HOUR_S, 600),
    ("72h", 72 * HOUR_S, 3600),
    ("7d", 168 * HOUR_S, 7200),
    ("30d", 720 * HOUR_S, 21_600),
];
/// The range that is shown when none is asked for.
const NOW: (&str, u64, u32) = RANGES[0];
/// Lines in one picture; more can not be told apart.
const LINES_MAX: usize = 4;
/// Larger sizes are shown in GiB.
const GIB_FROM_MIB: f64 = 10_240.0;
/// Marks of releases in one picture, the newest.
const MARKS_MAX: usize = 40;

/// Id, title, kind and form of the charts of an app.
const CHARTS: &[(&str, &str, Kind, Form)] = &[
    ("requests", "Requests", Kind::Requests, Form::Bars),
    ("response-time", "Response time", Kind::ResponseTime, Form::Lines),
    ("router-errors", "Router errors", Kind::RouterErrors, Form::Dots),
    ("memory", "Memory", Kind::Memory, Form::Area),
    ("cpu", "CPU", Kind::Cpu, Form::Lines),
];

fn unit(kind: Kind) -> &'static str {
    match kind {
        Kind::Requests => "/min",
        Kind::RouterErrors => "",
        _ => logs::series::unit_of(kind),
    }
}

fn drawn(
    (id, title, kind, form): (&'static str, &'static str, Kind, Form),
    series: logs::series::Series,
    marks: &[(UnixMs, String)],
    table: String,
) -> Chart {
    let limit = series.lines.iter().filter_map(|line| line.limit).reduce(f64::min);
    let mut lines = series.lines;
    let weight = |line: &logs::series::Line| line.values.iter().flatten().sum::<f64>();
    if lines.len() > LINES_MAX {
        lines.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
        lines.truncate(LINES_MAX);
        lines.sort_by(|a, b| a.name.cmp(&b.name));
    }
    // What never happened needs no line of its own.
    if kind == Kind::Requests {
        lines.retain(|line| line.name == "2xx" || weight(line) > 0.0);
    }
    let mut unit = unit(kind);
    if unit == "MiB" && lines.iter().flat_map(|line| line.values.iter().flatten()).any(|mib| *mib >= GIB_FROM_MIB) {
        lines.iter_mut().flat_map(|line| line.values.iter_mut().flatten()).for_each(|value| *value /= 1024.0);
        unit = "GiB";
    }
    Chart {
        id,
        title,
        unit,
        form,
        start: UnixMs(series.from_s * 1000),
        step_ms: u64::from(series.step_s) * 1000,
        series: lines.into_iter().map(|line| Series { name: line.name, values: line.values }).collect(),
        limit: limit.filter(|_| kind == Kind::Memory && unit == "MiB"),
        marks: marks.to_vec(),
        table,
    }
}

/// Releases of a span, for marks.
fn marks(service: &Service, ctx: &Ctx, app: &App, seconds: u64) -> Result<Vec<(UnixMs, String)>, Error> {
    let from = UnixMs(ctx.now.0.saturating_sub(seconds * 1000));
    let (_, releases) = service.releases(ctx, &app.id.to_string())?;
    let shown = releases.into_iter().rev().take_while(|release| release.created_at >= from).take(MARKS_MAX);
    Ok(shown.map(|release| (release.created_at, format!("v{} {}", release.version, release.description))).collect())
}

/// Charts of the last two hours for the overview.
///
/// # Errors
/// `forbidden`; when the store can not be read.
pub fn overview(service: &Service, ctx: &Ctx, app: &App) -> Result<Vec<Chart>, Error> {
    let marks = marks(service, ctx, app, 2 * HOUR_S)?;
    let mut charts = Vec::new();
    for wanted in CHARTS.iter().filter(|chart| matches!(chart.2, Kind::Requests | Kind::ResponseTime)) {
        let query = MetricQuery { step_s: Some(NOW.2), ..MetricQuery::last(wanted.2, ctx.now, NOW.1) };
        let (_, series) = service.metrics(ctx, &app.id.to_string(), &query)?;
        charts.push(drawn(*wanted, series, &marks, format!("/apps/{}/metrics?as=table", app.name)));
    }
    Ok(charts)
}

/// Charts of the host.
///
/// # Errors
/// `forbidden` for all but admins.
pub fn host(service: &Service, ctx: &Ctx) -> Result<Vec<Chart>, Error> {
    let wanted = [
        ("host-cpu", "Processors", Kind::HostCpu, Form::Area),
        ("host-memory", "Memory", Kind::HostMemory, Form::Lines),
        ("host-disk", "Disk", Kind::HostDisk, Form::Area),
        ("host-network", "Network", Kind::HostNetwork, Form::Lines),
    ];
    let one = |wanted: (&'static str, &'static str, Kind, Form)| {
        let series =
            service.host_metrics(ctx, &MetricQuery { step_s: Some(NOW.2), ..MetricQuery::last(wanted.2, ctx.now, NOW.1) })?;
        Ok(drawn(wanted, series, &[], String::new()))
    };
    wanted.into_iter().map(one).collect()
}

/// Traffic of an app in one row of a table.
pub struct Traffic {
    /// A minute, now.
    pub requests: String,
    /// The last hours.
    pub spark: Safe,
    /// Now.
    pub p95: String,
    /// Answers 5xx of the last hours.
    pub errors: String,
}

/// Steps of the line in a table: two hours in pieces of ten minutes.
const SPARK_STEP_S: u32 = 600;

/// For the list of apps.
///
/// # Errors
/// `forbidden`.
pub fn traffic(service: &Service, ctx: &Ctx, app: &App) -> Result<Traffic, Error> {
    let id = app.id.to_string();
    let query = |kind| MetricQuery { step_s: Some(SPARK_STEP_S), ..MetricQuery::last(kind, ctx.now, 2 * HOUR_S) };
    let (_, requests) = service.metrics(ctx, &id, &query(Kind::Requests))?;
    let steps = requests.lines.iter().map(|line| line.values.len()).max().unwrap_or(0);
    let total =
        |step: usize| requests.lines.iter().filter_map(|line| line.values.get(step).copied().flatten()).reduce(|a, b| a + b);
    let values: Vec<Option<f64>> = (0..steps).map(total).collect();
    let latest = values.iter().rev().flatten().next().copied();
    if latest.is_none() {
        let none = || "–".to_string();
        return Ok(Traffic { requests: none(), spark: Safe::default(), p95: none(), errors: none() });
    }
    let minutes = f64::from(requests.step_s) / 60.0;
    let bad = requests.lines.iter().filter(|line| line.name == "5xx").flat_map(|line| line.values.iter().flatten());
    let errors = bad.map(|per_minute| per_minute * minutes).sum::<f64>();
    let mut p95 = None;
    // Most apps of a long list are quiet, and have no times.
    if values.iter().flatten().any(|value| *value > 0.0) {
        let (_, times) = service.metrics(ctx, &id, &query(Kind::ResponseTime))?;
        let line = times.lines.iter().find(|line| line.name == "p95");
        p95 = line.and_then(|line| line.values.iter().rev().flatten().next().copied());
    }
    Ok(Traffic {
        requests: chart::number(latest.unwrap_or(0.0)),
        spark: Safe(chart::spark(&values, &format!("Requests of {} in the last two hours", app.name))),
        p95: p95.map_or_else(|| "–".into(), |ms| format!("{} ms", chart::number(ms))),
        errors: format!("{errors:.0}"),
    })
}

#[derive(Deserialize, Default)]
struct Asked {
    range: Option<String>,
    process: Option<String>,
    #[serde(rename = "as")]
    form: Option<String>,
}

impl Asked {
    fn range(&self) -> (&'static str, u64, u32) {
        let wanted = self.range.as_deref().unwrap_or("");
        RANGES.iter().find(|(word, ..)| *word == wanted).copied().unwrap_or(NOW)
    }
}

#[derive(Template, Serialize)]
#[template(path = "metrics.html")]
struct MetricsPage {
    shell: Shell,
    head: Head,
    range: &'static str,
    #[serde(skip)]
    ranges: Vec<&'static str>,
    process: String,
    #[serde(skip)]
    processes: Vec<String>,
    charts: Vec<Chart>,
    #[serde(skip)]
    tables: Vec<(String, Vec<String>, Table)>,
    #[serde(skip)]
    states: Safe,
    #[serde(skip)]
    as_table: bool,
    #[serde(skip)]
    query: String,
    #[serde(skip)]
    cli: Cli,
}

fn charts(service: &Service, ctx: &Ctx, app: &App, asked: &Asked) -> Result<(Vec<Chart>, Chart), Error> {
    let (range, seconds, step_s) = asked.range();
    let id = app.id.to_string();
    let marks = marks(service, ctx, app, seconds)?;
    let process = asked.process.clone().filter(|process| !process.is_empty());
    let table = format!("/apps/{}/metrics?range={range}&as=table", app.name);
    let series = |kind| -> Result<logs::series::Series, Error> {
        let of_dynos = !matches!(kind, Kind::Requests | Kind::ResponseTime | Kind::RouterErrors);
        let process = process.clone().filter(|_| of_dynos);
        let query = MetricQuery { process, step_s: Some(step_s), ..MetricQuery::last(kind, ctx.now, seconds) };
        Ok(service.metrics(ctx, &id, &query)?.1)
    };
    let mut all = Vec::new();
    for wanted in CHARTS {
        all.push(drawn(*wanted, series(wanted.2)?, &marks, table.clone()));
    }
    let states = drawn(("states", "Dyno states", Kind::States, Form::Dots), series(Kind::States)?, &[], String::new());
    Ok((all, states))
}

fn page(
    service: &Service,
    visitor: &Visitor,
    (ctx, outcome): (&Ctx, Outcome),
    name: &str,
    asked: &Asked,
) -> Result<MetricsPage, Error> {
    let (app, head) = Head::new(service, ctx, name, "metrics")?;
    let (charts, states) = charts(service, ctx, &app, asked)?;
    let (_, formation, _) = service.formation(ctx, name)?;
    let as_table = asked.form.as_deref() == Some("table");
    let table = |chart: &Chart| {
        let names = chart.series.iter().map(|series| format!("{} ({})", series.name, chart.unit)).collect();
        (chart.title.to_string(), names, chart.rows())
    };
    Ok(MetricsPage {
        tables: if as_table { charts.iter().map(table).collect() } else { Vec::new() },
        states: Safe(states.lanes()),
        shell: Shell::new(visitor, ctx, "apps", outcome),
        range: asked.range().0,
        ranges: RANGES.iter().map(|(word, ..)| *word).collect(),
        process: asked.process.clone().unwrap_or_default(),
        processes: formation.into_iter().map(|entry| entry.ptype).filter(|ptype| ptype != service::RELEASE).collect(),
        query: visitor.at.split_once('?').map(|(_, query)| format!("?{query}")).unwrap_or_default(),
        cli: Cli::of(&app.name, ["metrics"]),
        charts,
        as_table,
        head,
    })
}

async fn metrics(
    State(service): State<Service>,
    visitor: Visitor,
    Path(app): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    shell::shown(&visitor, |ctx, outcome| page(&service, &visitor, (ctx, outcome), &app, &asked))
}

fn as_csv(charts: &[Chart]) -> String {
    let mut text = String::from("time_ms,chart,series,unit,value\n");
    for chart in charts {
        for series in &chart.series {
            for (step, value) in series.values.iter().enumerate() {
                let at = chart.start.0 + chart.step_ms * step as u64;
                let value = value.map(|value| value.to_string()).unwrap_or_default();
                text.push_str(&format!("{at},{},{},{},{value}\n", chart.id, series.name, chart.unit));
            }
        }
    }
    text
}

async fn csv(
    State(service): State<Service>,
    visitor: Visitor,
    Path(app): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let ctx = match visitor.signed_in(&visitor.at) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let made = service.app(ctx, &app).and_then(|app| Ok((charts(&service, ctx, &app, &asked)?.0, app.name)));
    let (charts, name) = match made {
        Ok(made) => made,
        Err(e) => return crate::message::failed_for(&visitor, &e),
    };
    let mut response = as_csv(&charts).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/csv; charset=utf-8"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}-metrics.csv\"")) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}
