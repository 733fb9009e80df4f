//! Process types with their numbers and sizes, and scheduled commands.

use crate::{
    browser::{Posted, Visitor},
    shell::{self, Head, Outcome, Shell},
    text::{Cli, When},
};
use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::{get, post},
};
use domain::size::SIZES;
use serde::Serialize;
use service::{Ctx, Error, FormationChange, NewSchedule, Quantity, Service};

/// The routes of this page.
pub fn routes() -> Router<Service> {
    Router::new()
        .route("/apps/{app}/resources", get(resources))
        .route("/apps/{app}/scale", post(scale))
        .route("/apps/{app}/schedule", post(schedule))
}

#[derive(Serialize)]
struct TypeRow {
    name: String,
    command: String,
    quantity: u32,
    size: String,
    memory: String,
    fixed: bool,
    #[serde(skip)]
    cli: Cli,
}

#[derive(Serialize)]
struct Job {
    id: String,
    cron: String,
    command: String,
    size: String,
    next: When,
    last: Option<When>,
    #[serde(skip)]
    cli: Cli,
}

#[derive(Serialize)]
struct SizeRow {
    name: &'static str,
    memory: String,
}

#[derive(Template, Serialize)]
#[template(path = "resources.html")]
struct ResourcesPage {
    shell: Shell,
    head: Head,
    types: Vec<TypeRow>,
    jobs: Vec<Job>,
    #[serde(skip)]
    sizes: Vec<SizeRow>,
    #[serde(skip)]
    schedule_cli: Cli,
}

fn page(service: &Service, visitor: &Visitor, ctx: &Ctx, outcome: Outcome, name: &str) -> Result<ResourcesPage, Error> {
    let (app, head) = Head::new(service, ctx, name, "resources")?;
    let (_, formation, commands) = service.formation(ctx, name)?;
    let (_, jobs) = service.schedules(ctx, name)?;
    let types = formation.into_iter().map(|entry| TypeRow {
        command: commands.get(&entry.ptype).cloned().unwrap_or_default(),
        memory: crate::text::size(domain::size::find_or_default(&entry.size).memory_bytes),
        fixed: entry.ptype == service::RELEASE,
        cli: Cli::of(&app.name, ["ps:scale", &format!("{}={}:{}", entry.ptype, entry.quantity, entry.size)]),
        name: entry.ptype,
        quantity: entry.quantity,
        size: entry.size,
    });
    let job = |job: domain::Schedule| Job {
        id: job.id.to_string(),
        next: When::new(job.next_at, ctx.now),
        last: job.last_at.map(|at| When::new(at, ctx.now)),
        cli: Cli::of(&app.name, ["schedule:remove", &job.id.to_string()]),
        cron: job.cron,
        command: job.command,
        size: job.size,
    };
    Ok(ResourcesPage {
        shell: Shell::new(visitor, ctx, "apps", outcome),
        types: types.collect(),
        jobs: jobs.into_iter().map(job).collect(),
        sizes: SIZES.iter().map(|size| SizeRow { name: size.name, memory: crate::text::size(size.memory_bytes) }).collect(),
        schedule_cli: Cli::raw(format!("tidemill schedule:add '0 3 * * *' -a {} -- COMMAND", app.name)),
        head,
    })
}

async fn resources(State(service): State<Service>, visitor: Visitor, Path(app): Path<String>) -> Response {
    shell::shown(&visitor, |ctx, outcome| page(&service, &visitor, ctx, outcome, &app))
}

async fn scale(State(service): State<Service>, Path(app): Path<String>, posted: Posted) -> Response {
    let back = format!("/apps/{app}/resources");
    let ctx = match posted.visitor.signed_in(&back) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let quantity = posted.filled("quantity").map(|text| text.parse::<Quantity>()).transpose();
    let done = match quantity {
        Ok(quantity) => {
            let change = FormationChange { ptype: posted.field("type").into(), quantity, size: posted.filled("size") };
            service.scale(ctx, &app, vec![change]).await.map(|_| "scaled")
        }
        Err(e) => Err(e),
    };
    shell::answered(&posted, "scale", &back, done, |ctx, outcome| page(&service, &posted.visitor, ctx, outcome, &app))
}

async fn schedule(State(service): State<Service>, Path(app): Path<String>, posted: Posted) -> Response {
    let back = format!("/apps/{app}/resources");
    let ctx = match posted.visitor.signed_in(&back) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let done = match posted.filled("remove") {
        Some(id) => service.remove_schedule(ctx, &app, &id).await.map(|_| "removed"),
        None => {
            let new = NewSchedule {
                cron: posted.field("cron").trim().into(),
                command: posted.field("command").trim().into(),
                size: posted.filled("size"),
            };
            service.add_schedule(ctx, &app, new).await.map(|_| "scheduled")
        }
    };
    shell::answered(&posted, "schedule", &back, done, |ctx, outcome| page(&service, &posted.visitor, ctx, outcome, &app))
}
