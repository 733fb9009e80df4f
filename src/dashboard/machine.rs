//! The machine: what is promised to whom, and what it is.

use crate::{
    browser::Visitor,
    chart::Chart,
    metrics,
    share::{self, Part},
    shell::{self, Outcome, Shell},
    text::{Cli, Safe, size},
};
use askama::Template;
use axum::{Router, extract::State, response::Response, routing::get};
use serde::Serialize;
use service::{Ctx, Error, Service};

/// The route of this page.
pub fn routes() -> Router<Service> {
    Router::new().route("/machine", get(machine))
}

#[derive(Template, Serialize)]
#[template(path = "machine.html")]
struct MachinePage {
    shell: Shell,
    version: &'static str,
    domain: String,
    url: String,
    certificate: String,
    stacks: Vec<String>,
    backup: String,
    promised: String,
    limit: Option<String>,
    parts: Vec<Part>,
    #[serde(skip)]
    share: Safe,
    apps: usize,
    charts: Vec<Chart>,
    #[serde(skip)]
    cli: Cli,
}

#[allow(clippy::cast_precision_loss)] // sizes of memory, for a picture
fn parts(service: &Service, ctx: &Ctx) -> Result<(Vec<Part>, u64, Option<u64>), Error> {
    let (promises, limit) = service.promised(ctx)?;
    let total: u64 = promises.iter().map(|promise| promise.bytes).sum();
    let part = |promise: service::Promise| match &promise.app {
        Some(app) => Part::app(app, promise.bytes as f64, size(promise.bytes)),
        None => {
            Part { name: "other apps".into(), value: promise.bytes as f64, shown: size(promise.bytes), link: String::new() }
        }
    };
    Ok((promises.into_iter().map(part).collect(), total, limit))
}

#[allow(clippy::cast_precision_loss)] // sizes of memory, for a picture
fn page(service: &Service, visitor: &Visitor, ctx: &Ctx, outcome: Outcome) -> Result<MachinePage, Error> {
    let (parts, total, limit) = parts(service, ctx)?;
    let addresses = service.addresses();
    let shell = Shell::new(visitor, ctx, "machine", outcome);
    Ok(MachinePage {
        charts: if shell.admin { metrics::host(service, ctx)? } else { Vec::new() },
        shell,
        version: env!("CARGO_PKG_VERSION"),
        domain: addresses.domain.clone(),
        url: addresses.url(&addresses.domain),
        certificate: service.certificate().into(),
        stacks: service.stacks(),
        backup: last_backup(service),
        promised: size(total),
        limit: limit.map(size),
        share: Safe(share::drawn("Memory promised to apps", &parts, limit.unwrap_or(total).max(total) as f64)),
        parts,
        apps: service.apps(ctx)?.len(),
        cli: Cli::new(["apps"]),
    })
}

/// `5 h ago, …`, or what to do.
fn last_backup(service: &Service) -> String {
    let Some(last) = service.last_backup() else { return "none yet".into() };
    let minutes = service.now().since_ms(last.at) / 60_000;
    let age = match minutes {
        0..120 => format!("{minutes} min"),
        120..2880 => format!("{} h", minutes / 60),
        _ => format!("{} days", minutes / 1440),
    };
    format!("{age} ago, {}", size(last.bytes))
}

async fn machine(State(service): State<Service>, visitor: Visitor) -> Response {
    shell::shown(&visitor, |ctx, outcome| page(&service, &visitor, ctx, outcome))
}
