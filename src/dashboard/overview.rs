//! One app at a glance: dynos, the release that is live, the last log lines.

use crate::{
    browser::{Posted, Visitor},
    chart::Chart,
    log_lines, metrics,
    shell::{self, Head, Outcome, Shell},
    text::{Badge, Cli, Safe, When},
};
use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::{get, post},
};
use serde::Serialize;
use service::{AppChange, Ctx, Error, Service};

/// The routes of this page.
pub fn routes() -> Router<Service> {
    Router::new()
        .route("/apps/{app}", get(overview))
        .route("/apps/{app}/restart", post(restart))
        .route("/apps/{app}/maintenance", post(maintenance))
}

#[derive(Serialize)]
struct DynoRow {
    name: String,
    state: Badge,
    since: When,
    size: String,
    release: u64,
    crashes: u32,
    command: String,
    #[serde(skip)]
    cli: Cli,
}

#[derive(Serialize)]
struct Live {
    version: u64,
    description: String,
    by: String,
    at: When,
    state: Badge,
    former: Option<u64>,
    #[serde(skip)]
    cli: Cli,
}

#[derive(Serialize)]
struct BuildNow {
    id: String,
    what: String,
    since: When,
}

#[derive(Template, Serialize)]
#[template(path = "overview.html")]
struct OverviewPage {
    shell: Shell,
    head: Head,
    dynos: Vec<DynoRow>,
    live: Option<Live>,
    building: Option<BuildNow>,
    /// Nothing was ever deployed.
    waits: bool,
    git_url: String,
    domains: Vec<String>,
    #[serde(skip)]
    lines: Vec<Safe>,
    charts: Vec<Chart>,
}

/// Lines of the log on this page.
const LINES: usize = 8;

fn live(service: &Service, ctx: &Ctx, app: &domain::App) -> Result<Option<Live>, Error> {
    let Some(version) = app.current else { return Ok(None) };
    let (_, all) = service.releases(ctx, &app.id.to_string())?;
    let Some(now) = all.iter().find(|release| release.version == version) else { return Ok(None) };
    let good = |release: &&domain::Release| {
        release.version < version && release.status == domain::ReleaseStatus::Succeeded && release.slug.is_some()
    };
    let former = all.iter().rev().find(good).map(|release| release.version);
    Ok(Some(Live {
        version,
        description: now.description.clone(),
        by: shell::who(service, now.user),
        at: When::new(now.created_at, ctx.now),
        state: crate::activity::badge(now, app),
        former: former.filter(|_| now.slug.is_some()),
        cli: Cli::of(&app.name, ["rollback"]),
    }))
}

fn page(service: &Service, visitor: &Visitor, ctx: &Ctx, outcome: Outcome, name: &str) -> Result<OverviewPage, Error> {
    let (app, head) = Head::new(service, ctx, name, "overview")?;
    let (_, dynos) = service.dynos(ctx, name)?;
    let build = shell::newest_build(service, ctx, &app)?.filter(|build| build.status == domain::BuildStatus::Pending);
    let history = crate::logs_page::kept(&service.logs().app(app.id), &logs::Filter::default(), LINES).into_iter();
    let row = |dyno: domain::Dyno| DynoRow {
        name: dyno.name(),
        state: Badge::of(dyno.state),
        since: When::new(dyno.updated_at, ctx.now),
        size: dyno.size.clone(),
        release: dyno.release,
        crashes: dyno.crashes,
        cli: Cli::of(&app.name, ["ps:restart", &dyno.name()]),
        command: dyno.command,
    };
    let dynos: Vec<DynoRow> = dynos.into_iter().map(row).collect();
    let live = live(service, ctx, &app)?;
    let waits = build.is_none() && app.slug_bytes.is_none() && dynos.is_empty();
    let (_, domains) = service.domains(ctx, name)?;
    Ok(OverviewPage {
        charts: if waits { Vec::new() } else { metrics::overview(service, ctx, &app)? },
        shell: Shell::new(visitor, ctx, "apps", outcome),
        git_url: service.addresses().git_url(&app.name),
        domains: domains.into_iter().map(|domain| domain.row.hostname).collect(),
        lines: history.map(|line| log_lines::html(&line)).collect(),
        building: build.map(|build| BuildNow {
            id: build.id.to_string(),
            what: crate::activity::what(&build),
            since: When::new(build.created_at, ctx.now),
        }),
        waits,
        live,
        dynos,
        head,
    })
}

async fn overview(State(service): State<Service>, visitor: Visitor, Path(app): Path<String>) -> Response {
    shell::shown(&visitor, |ctx, outcome| page(&service, &visitor, ctx, outcome, &app))
}

async fn restart(State(service): State<Service>, Path(app): Path<String>, posted: Posted) -> Response {
    let back = format!("/apps/{app}");
    let ctx = match posted.visitor.signed_in(&back) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let done = service.restart(ctx, &app, posted.filled("dyno").as_deref()).await.map(|_| "restarted");
    shell::answered(&posted, "app", &back, done, |ctx, outcome| page(&service, &posted.visitor, ctx, outcome, &app))
}

async fn maintenance(State(service): State<Service>, Path(app): Path<String>, posted: Posted) -> Response {
    let back = format!("/apps/{app}");
    let ctx = match posted.visitor.signed_in(&back) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let on = posted.field("maintenance") == "on";
    let change = AppChange { maintenance: Some(on), ..AppChange::default() };
    let done = service.update_app(ctx, &app, change).await.map(|_| if on { "maintenance-on" } else { "maintenance-off" });
    shell::answered(&posted, "app", &back, done, |ctx, outcome| page(&service, &posted.visitor, ctx, outcome, &app))
}
