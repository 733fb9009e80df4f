//! One build: what it was asked for, how it ended and why, and its output.

use crate::{
    browser::Visitor,
    log_lines,
    shell::{self, Head, Outcome, Shell},
    text::{Badge, Cli, Safe, When, took},
};
use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::get,
};
use domain::{BuildId, BuildStatus};
use serde::Serialize;
use service::{Ctx, Error, Service};
use std::time::Duration;

/// The route of this page.
pub fn routes() -> Router<Service> {
    Router::new().route("/apps/{app}/builds/{build}", get(build))
}

#[derive(Template, Serialize)]
#[template(path = "build.html")]
struct BuildPage {
    shell: Shell,
    head: Head,
    id: String,
    what: String,
    by: String,
    at: When,
    state: Badge,
    took: String,
    stack: String,
    commit: Option<String>,
    failure: Option<String>,
    release: Option<u64>,
    #[serde(skip)]
    output: Safe,
    #[serde(rename = "output")]
    text: String,
    /// The page shows the end only.
    cut: bool,
    #[serde(skip)]
    whole: String,
    #[serde(skip)]
    cli: Cli,
    #[serde(skip)]
    rebuild_cli: Cli,
    #[serde(skip)]
    running: bool,
}

/// Output that a page shows at once.
const SHOWN_BYTES: usize = 96 * 1024;
/// What is there comes at once; a build that runs is not waited for.
const PATIENCE: Duration = Duration::from_millis(50);

/// All output so far; the bytes that were read.
pub async fn output_so_far(service: &Service, id: BuildId, running: bool) -> Vec<u8> {
    let output = if running { service.outputs().live(id.0) } else { service.outputs().read(id.0) };
    let mut bytes = Vec::new();
    while let Ok(Ok(Some(piece))) = tokio::time::timeout(PATIENCE, output.next(bytes.len() as u64)).await {
        bytes.extend_from_slice(&piece);
    }
    bytes
}

/// Lines from here on are shown, and the number of the first.
fn shown_part(text: &str) -> (usize, usize) {
    let mut from = text.len().saturating_sub(SHOWN_BYTES);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let from = if from == 0 { 0 } else { text[from..].find('\n').map_or(from, |at| from + at + 1) };
    (from, text[..from].matches('\n').count() + 1)
}

fn page(
    service: &Service,
    visitor: &Visitor,
    (ctx, outcome): (&Ctx, Outcome),
    (app, id): (&str, &str),
    output: &[u8],
) -> Result<BuildPage, Error> {
    let (row, head) = Head::new(service, ctx, app, "activity")?;
    let (_, build) = service.build(ctx, app, id)?;
    let running = build.status == BuildStatus::Pending;
    let text = String::from_utf8_lossy(output).into_owned();
    let (from, first) = shown_part(&text);
    let release = build.release.and_then(|release| service.release(ctx, app, &release.to_string()).ok());
    Ok(BuildPage {
        shell: Shell::new(visitor, ctx, "apps", outcome),
        id: build.id.to_string(),
        what: crate::activity::what(&build),
        by: shell::who(service, build.user),
        at: When::new(build.created_at, ctx.now),
        state: match build.status {
            BuildStatus::Pending => Badge::Building,
            BuildStatus::Succeeded => Badge::Succeeded,
            BuildStatus::Failed => Badge::Failed,
        },
        took: took(if running { ctx.now } else { build.updated_at }.since_ms(build.created_at)),
        stack: build.stack.clone(),
        commit: build.source.version.clone(),
        failure: build.failure.clone(),
        release: release.map(|(_, release)| release.version),
        output: Safe(log_lines::output(&text[from..], first)),
        cut: from > 0,
        whole: format!("/streams/builds/{}/{}", build.id, build.output_key),
        cli: Cli::of(&row.name, ["builds:output", &build.id.to_string()]),
        rebuild_cli: Cli::of(&row.name, ["builds:rebuild", &build.id.to_string()]),
        text,
        running,
        head,
    })
}

async fn build(State(service): State<Service>, visitor: Visitor, Path((app, id)): Path<(String, String)>) -> Response {
    let readable = visitor.ctx.as_ref().and_then(|ctx| service.build(ctx, &app, &id).ok());
    let output = match readable {
        Some((_, build)) => output_so_far(&service, build.id, build.status == BuildStatus::Pending).await,
        None => Vec::new(),
    };
    shell::shown(&visitor, |ctx, outcome| page(&service, &visitor, (ctx, outcome), (&app, &id), &output))
}
