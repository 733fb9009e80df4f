//! Builds and releases of an app in one list, and the way back to an older release.

use crate::{
    browser::{Posted, Visitor},
    chart,
    shell::{self, Head, Outcome, Shell},
    text::{Badge, Cli, Safe, When, took},
};
use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use domain::{App, Build, BuildStatus, Release, ReleaseStatus};
use serde::Serialize;
use service::{Ctx, Error, Service};

/// The routes of these pages.
pub fn routes() -> Router<Service> {
    Router::new()
        .route("/apps/{app}/activity", get(activity))
        .route("/apps/{app}/rollback", post(roll_back))
        .route("/apps/{app}/releases", get(to_activity))
        .route("/apps/{app}/builds", get(to_activity))
}

#[derive(Serialize)]
struct Row {
    what: String,
    detail: String,
    by: String,
    at: When,
    #[serde(skip)]
    order: u64,
    state: Badge,
    took: String,
    version: Option<u64>,
    build: Option<String>,
    /// Can be gone back to.
    back: bool,
    #[serde(skip)]
    cli: Cli,
}

#[derive(Template, Serialize)]
#[template(path = "activity.html")]
struct ActivityPage {
    shell: Shell,
    head: Head,
    rows: Vec<Row>,
    #[serde(skip)]
    builds: Safe,
    more: bool,
    git_url: String,
}

/// Rows on the page; older ones are in the twin of the API.
const ROWS_MAX: usize = 60;

/// Builds in the small chart.
const BUILDS_DRAWN: usize = 20;

/// State of a release as people see it.
pub fn badge(release: &Release, app: &App) -> Badge {
    match release.status {
        ReleaseStatus::Pending => Badge::Pending,
        ReleaseStatus::Failed => Badge::Failed,
        ReleaseStatus::Succeeded if app.current == Some(release.version) => Badge::Live,
        ReleaseStatus::Succeeded => Badge::Succeeded,
    }
}

/// What a build builds, in a few words.
pub fn what(build: &Build) -> String {
    let source = &build.source;
    let commit = source.version.as_deref().map(|version| version.chars().take(7).collect::<String>());
    match (commit, &source.version_description) {
        (Some(commit), Some(text)) => format!("{commit} {text}"),
        (Some(commit), None) => commit,
        (None, Some(text)) => text.clone(),
        (None, None) => "an archive".into(),
    }
}

fn of_build(service: &Service, ctx: &Ctx, build: &Build) -> Row {
    let state = match build.status {
        BuildStatus::Pending => Badge::Building,
        BuildStatus::Succeeded => Badge::Succeeded,
        BuildStatus::Failed => Badge::Failed,
    };
    let end = if build.status == BuildStatus::Pending { ctx.now } else { build.updated_at };
    Row {
        what: format!("Build of {}", what(build)),
        detail: build.failure.clone().unwrap_or_default(),
        by: shell::who(service, build.user),
        at: When::new(build.created_at, ctx.now),
        order: build.created_at.0,
        state,
        took: took(end.since_ms(build.created_at)),
        version: None,
        build: Some(build.id.to_string()),
        back: false,
        cli: Cli::new(["builds:output", &build.id.to_string()]),
    }
}

fn of_release(service: &Service, ctx: &Ctx, app: &App, release: &Release) -> Row {
    let version = format!("v{}", release.version);
    let good = release.status == ReleaseStatus::Succeeded && release.slug.is_some();
    Row {
        what: release.description.clone(),
        detail: String::new(),
        by: shell::who(service, release.user),
        at: When::new(release.created_at, ctx.now),
        order: release.created_at.0,
        state: badge(release, app),
        took: String::new(),
        version: Some(release.version),
        build: None,
        back: good && app.current != Some(release.version),
        cli: Cli::of(&app.name, ["rollback", &version]),
    }
}

fn page(service: &Service, visitor: &Visitor, ctx: &Ctx, outcome: Outcome, name: &str) -> Result<ActivityPage, Error> {
    let (app, head) = Head::new(service, ctx, name, "activity")?;
    let (_, builds) = service.builds(ctx, name)?;
    let (_, releases) = service.releases(ctx, name)?;
    let newest = |rows: usize| rows.saturating_sub(ROWS_MAX);
    let builds_shown = builds.iter().skip(newest(builds.len())).map(|build| of_build(service, ctx, build));
    let releases_shown = releases.iter().skip(newest(releases.len())).map(|release| of_release(service, ctx, &app, release));
    let mut rows: Vec<Row> = builds_shown.chain(releases_shown).collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.order, row.version)));
    rows.truncate(ROWS_MAX);
    let over = builds.iter().rev().filter(|build| build.status != BuildStatus::Pending).take(BUILDS_DRAWN);
    let mut drawn: Vec<(u64, bool)> =
        over.map(|build| (build.updated_at.since_ms(build.created_at), build.status == BuildStatus::Succeeded)).collect();
    drawn.reverse();
    let git_url = service.addresses().git_url(&app.name);
    let more = builds.len() + releases.len() > rows.len();
    Ok(ActivityPage {
        shell: Shell::new(visitor, ctx, "apps", outcome),
        head,
        rows,
        builds: Safe(if drawn.len() > 1 { chart::builds(&drawn) } else { String::new() }),
        more,
        git_url,
    })
}

async fn activity(State(service): State<Service>, visitor: Visitor, Path(app): Path<String>) -> Response {
    shell::shown(&visitor, |ctx, outcome| page(&service, &visitor, ctx, outcome, &app))
}

async fn to_activity(Path(app): Path<String>) -> Response {
    Redirect::to(&format!("/apps/{}/activity", crate::text::url_escaped(&app))).into_response()
}

async fn roll_back(State(service): State<Service>, Path(app): Path<String>, posted: Posted) -> Response {
    let back = format!("/apps/{app}/activity");
    let ctx = match posted.visitor.signed_in(&back) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let done = service.rollback(ctx, &app, posted.field("version")).await.map(|_| "rolled-back");
    shell::answered(&posted, "rollback", &back, done, |ctx, outcome| page(&service, &posted.visitor, ctx, outcome, &app))
}
