//! The list of apps, and making one. Who is not signed in sees the start page.

use crate::{
    browser::{Posted, Visitor},
    message, metrics, render,
    shell::{self, Outcome, Shell},
    text::{Badge, Cli, Safe, When},
};
use askama::Template;
use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use domain::size;
use serde::Serialize;
use service::{Ctx, Error, NewApp, Service};

/// The routes of these pages.
pub fn routes() -> Router<Service> {
    Router::new().route("/", get(start)).route("/apps", get(start)).route("/apps/new", get(new).post(create))
}

#[derive(Template)]
#[template(path = "start.html")]
struct StartPage {
    domain: String,
    url: String,
    needs_setup: bool,
}

#[derive(Serialize)]
struct Row {
    name: String,
    state: Badge,
    maintenance: bool,
    release: Option<u64>,
    released: Option<When>,
    by: String,
    dynos: String,
    memory: String,
    requests: String,
    #[serde(skip)]
    spark: Safe,
    p95: String,
    errors: String,
    team: String,
}

#[derive(Serialize)]
struct Problem {
    app: String,
    text: String,
    link: String,
}

#[derive(Template, Serialize)]
#[template(path = "apps.html")]
struct AppsPage {
    shell: Shell,
    apps: Vec<Row>,
    problems: Vec<Problem>,
    #[serde(skip)]
    cli: Cli,
    #[serde(skip)]
    url: String,
}

async fn start(State(service): State<Service>, visitor: Visitor) -> Response {
    if visitor.ctx.is_some() || visitor.wants_json {
        return shell::shown(&visitor, |ctx, outcome| list(&service, &visitor, ctx, outcome));
    }
    front_page(&service, StatusCode::OK)
}

/// For who is not signed in: how to sign in, or how to set up what has no account yet.
pub fn front_page(service: &Service, status: StatusCode) -> Response {
    let addresses = service.addresses();
    let template = StartPage {
        domain: addresses.domain.clone(),
        url: addresses.url(&addresses.domain),
        needs_setup: service.needs_setup().unwrap_or(false),
    };
    render::page(status, &template)
}

fn list(service: &Service, visitor: &Visitor, ctx: &Ctx, outcome: Outcome) -> Result<AppsPage, Error> {
    let (mut rows, mut problems) = (Vec::new(), Vec::new());
    for app in service.apps(ctx)? {
        let id = app.id.to_string();
        let (_, dynos) = service.dynos(ctx, &id)?;
        let state = shell::state(&dynos, shell::newest_build(service, ctx, &app)?.as_ref());
        let release = app.current.and_then(|version| service.release(ctx, &id, &version.to_string()).ok());
        let up = dynos.iter().filter(|dyno| dyno.state == domain::DynoState::Up).count();
        let memory: u64 = dynos.iter().map(|dyno| size::find_or_default(&dyno.size).memory_bytes).sum();
        for dyno in dynos.iter().filter(|dyno| dyno.state == domain::DynoState::Crashed) {
            problems.push(Problem {
                app: app.name.clone(),
                text: format!("{} crashed{}", dyno.name(), times(dyno.crashes)),
                link: format!("/apps/{}/logs?dyno={}", app.name, dyno.name()),
            });
        }
        let traffic = metrics::traffic(service, ctx, &app)?;
        rows.push(Row {
            state,
            requests: traffic.requests,
            spark: traffic.spark,
            p95: traffic.p95,
            errors: traffic.errors,
            maintenance: app.maintenance,
            release: app.current,
            released: app.released_at.map(|at| When::new(at, ctx.now)),
            by: release.map(|(_, release)| shell::who(service, release.user)).unwrap_or_default(),
            dynos: if dynos.is_empty() { "–".into() } else { format!("{up}/{}", dynos.len()) },
            memory: if memory == 0 { "–".into() } else { crate::text::size(memory) },
            team: match app.team {
                Some(team) => service.team_by_id(team)?.map(|team| team.name).unwrap_or_default(),
                None => String::new(),
            },
            name: app.name,
        });
    }
    let addresses = service.addresses();
    Ok(AppsPage {
        shell: Shell::new(visitor, ctx, "apps", outcome),
        apps: rows,
        problems,
        cli: Cli::new(["apps"]),
        url: addresses.url(&addresses.domain),
    })
}

fn times(crashes: u32) -> String {
    if crashes > 1 { format!(" {crashes} times in a row") } else { String::new() }
}

#[derive(Template, Serialize)]
#[template(path = "app_new.html")]
struct NewPage {
    shell: Shell,
    stacks: Vec<String>,
    teams: Vec<String>,
    #[serde(skip)]
    cli: Cli,
}

fn new_page(service: &Service, visitor: &Visitor, ctx: &Ctx, outcome: Outcome) -> Result<NewPage, Error> {
    let shell = Shell::new(visitor, ctx, "apps", outcome);
    if !shell.creates {
        return Err(Error::forbidden("Your role on this installation is viewer: it does not make apps. Ask an admin."));
    }
    let teams = service.teams(ctx)?.into_iter().map(|(team, _)| team.name).collect();
    Ok(NewPage { shell, stacks: service.stacks(), teams, cli: Cli::raw("tidemill create NAME".into()) })
}

async fn new(State(service): State<Service>, visitor: Visitor) -> Response {
    shell::shown(&visitor, |ctx, outcome| new_page(&service, &visitor, ctx, outcome))
}

async fn create(State(service): State<Service>, posted: Posted) -> Response {
    let ctx = match posted.visitor.signed_in("/apps/new") {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let new = NewApp { name: posted.filled("name"), stack: posted.filled("stack"), team: posted.filled("team"), locked: false };
    match service.create_app(ctx, new).await {
        Ok(app) => Redirect::to(&format!("/apps/{}?done=created", app.name)).into_response(),
        Err(e) if e.private.is_some() => message::failed(&e),
        Err(e) => shell::answered(&posted, "new", "/apps/new", Err(e), |ctx, outcome| {
            new_page(&service, &posted.visitor, ctx, outcome)
        }),
    }
}
