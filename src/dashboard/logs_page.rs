//! The log of an app: the last lines, filters, the whole of what is kept as a file. New lines come by the event stream.

use crate::{
    browser::Visitor,
    log_lines,
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
use domain::limits::LOG_LINES_KEPT;
use logs::{Filter, LogLine};
use serde::{Deserialize, Serialize};
use service::{Ctx, Error, Service};

/// The routes of these pages.
pub fn routes() -> Router<Service> {
    Router::new().route("/apps/{app}/logs", get(logs)).route("/apps/{app}/logs/download", get(download))
}

/// Lines on the page when it is opened.
const LINES: usize = 200;

/// What is looked for.
#[derive(Deserialize, Default, Clone, Debug)]
pub struct Asked {
    /// A dyno or a type.
    dyno: Option<String>,
    /// `app` or `heroku`.
    source: Option<String>,
    /// Text that must be in the line.
    text: Option<String>,
    /// How many lines the page is to show.
    lines: Option<usize>,
}

impl Asked {
    fn filled(text: &Option<String>) -> Option<String> {
        text.clone().filter(|text| !text.is_empty())
    }

    /// For the log itself.
    pub fn filter(&self) -> Filter {
        Filter { source: Self::filled(&self.source), ps: Self::filled(&self.dyno), ..Filter::default() }
    }

    /// Is it a line that is looked for?
    pub fn matches(&self, line: &LogLine) -> bool {
        let Some(text) = Self::filled(&self.text) else { return true };
        let whole = line.text().to_lowercase();
        whole.contains(&text.to_lowercase())
    }
}

#[derive(Template, Serialize)]
#[template(path = "logs.html")]
struct LogsPage {
    shell: Shell,
    head: Head,
    dyno: String,
    source: String,
    text: String,
    #[serde(skip)]
    dynos: Vec<String>,
    #[serde(skip)]
    lines: Vec<Safe>,
    #[serde(rename = "lines")]
    plain: Vec<String>,
    /// There are older lines.
    earlier: bool,
    #[serde(skip)]
    last: u64,
    #[serde(skip)]
    query: String,
    #[serde(skip)]
    cli: Cli,
}

/// The last `count` lines that match. They are read from the disk, so other tasks get another thread.
pub fn kept(log: &logs::AppLog, filter: &Filter, count: usize) -> Vec<LogLine> {
    tokio::task::block_in_place(|| log.last(filter, count, None).0)
}

fn page(
    service: &Service,
    visitor: &Visitor,
    (ctx, outcome): (&Ctx, Outcome),
    name: &str,
    asked: &Asked,
) -> Result<LogsPage, Error> {
    let (app, head) = Head::new(service, ctx, name, "logs")?;
    let log = service.logs().app(app.id);
    let last = log.last_seq();
    let mut lines = kept(&log, &asked.filter(), LOG_LINES_KEPT);
    lines.retain(|line| asked.matches(line));
    let shown = asked.lines.unwrap_or(LINES);
    let earlier = lines.len() > shown;
    lines.drain(..lines.len().saturating_sub(shown));
    let (_, dynos) = service.dynos(ctx, name)?;
    let mut types: Vec<String> = dynos.iter().flat_map(|dyno| [dyno.ptype.clone(), dyno.name()]).collect();
    types.push("router".into());
    types.sort();
    types.dedup();
    let words = |flag: &'static str, value: &Option<String>| Asked::filled(value).map(|value| [flag.to_string(), value]);
    let flags = [words("-d", &asked.dyno), words("-s", &asked.source), words("--grep", &asked.text)];
    let flags: Vec<String> = flags.into_iter().flatten().flatten().collect();
    let line = ["logs", "-t"].into_iter().chain(flags.iter().map(String::as_str));
    Ok(LogsPage {
        cli: Cli::of(&app.name, line.collect::<Vec<_>>()),
        shell: Shell::new(visitor, ctx, "apps", outcome),
        dyno: asked.dyno.clone().unwrap_or_default(),
        source: asked.source.clone().unwrap_or_default(),
        text: asked.text.clone().unwrap_or_default(),
        dynos: types,
        plain: if visitor.wants_json { lines.iter().map(LogLine::display).collect() } else { Vec::new() },
        lines: lines.iter().map(log_lines::html).collect(),
        query: visitor.at.split_once('?').map(|(_, query)| format!("?{query}")).unwrap_or_default(),
        earlier,
        last,
        head,
    })
}

async fn logs(
    State(service): State<Service>,
    visitor: Visitor,
    Path(app): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    shell::shown(&visitor, |ctx, outcome| page(&service, &visitor, (ctx, outcome), &app, &asked))
}

async fn download(
    State(service): State<Service>,
    visitor: Visitor,
    Path(app): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    let ctx = match visitor.signed_in(&visitor.at) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let app = match service.app(ctx, &app) {
        Ok(app) => app,
        Err(e) => return crate::message::failed_for(&visitor, &e),
    };
    let history = kept(&service.logs().app(app.id), &asked.filter(), LOG_LINES_KEPT);
    let text: String = history.into_iter().filter(|line| asked.matches(line)).map(|line| line.display() + "\n").collect();
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{}.log\"", app.name)) {
        headers.insert(header::CONTENT_DISPOSITION, value);
    }
    response
}
