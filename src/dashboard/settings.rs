//! Name, stack, buildpacks, features, drains and webhooks of an app, and its end.

use crate::{
    browser::{Posted, Visitor},
    shell::{self, Head, Outcome, Shell},
    text::{Cli, When},
};
use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use serde::Serialize;
use service::{AppChange, Ctx, Error, NewWebhook, Service};

/// The routes of this page.
pub fn routes() -> Router<Service> {
    Router::new()
        .route("/apps/{app}/settings", get(settings).post(save))
        .route("/apps/{app}/drains", post(drains))
        .route("/apps/{app}/webhooks", post(webhooks))
        .route("/apps/{app}/destroy", post(destroy))
}

#[derive(Serialize)]
struct FeatureRow {
    name: &'static str,
    title: &'static str,
    about: &'static str,
    on: bool,
}

#[derive(Serialize)]
struct DrainRow {
    id: String,
    url: String,
    delivered: u64,
    dropped: u64,
    problem: Option<String>,
    #[serde(skip)]
    cli: Cli,
}

#[derive(Serialize)]
struct HookRow {
    id: String,
    url: String,
    include: String,
    level: &'static str,
    last: String,
    #[serde(skip)]
    cli: Cli,
}

#[derive(Template, Serialize)]
#[template(path = "settings.html")]
struct SettingsPage {
    shell: Shell,
    head: Head,
    id: String,
    stack: String,
    #[serde(skip)]
    stacks: Vec<String>,
    buildpacks: String,
    detected: Option<String>,
    health_check: Option<String>,
    features: Vec<FeatureRow>,
    drains: Vec<DrainRow>,
    hooks: Vec<HookRow>,
    created: When,
    git_url: String,
    owner: String,
}

fn drain_rows(service: &Service, ctx: &Ctx, app: &domain::App) -> Result<Vec<DrainRow>, Error> {
    let name = app.id.to_string();
    let mut rows = Vec::new();
    for drain in service.drains(ctx, &name)?.1 {
        let id = drain.row.id.to_string();
        let (_, state, _) = service.drain_state(ctx, &name, &id)?;
        let failing = state.last_error_us > state.last_success_us;
        rows.push(DrainRow {
            cli: Cli::of(&app.name, ["drains:remove", &drain.url]),
            id,
            url: drain.url,
            delivered: state.delivered,
            dropped: state.dropped,
            problem: state.last_error.filter(|_| failing),
        });
    }
    Ok(rows)
}

fn hook_rows(service: &Service, ctx: &Ctx, app: &domain::App) -> Result<Vec<HookRow>, Error> {
    let name = app.id.to_string();
    // Who may look but not work sees no hooks: their addresses may hold secrets.
    if !service.rights(ctx, app)?.operate {
        return Ok(Vec::new());
    }
    let deliveries = service.deliveries(ctx, &name)?;
    let last = |hook: &domain::webhook::Webhook| {
        let newest = deliveries.iter().filter(|delivery| delivery.webhook == hook.id).max_by_key(|delivery| delivery.seq);
        newest.map_or_else(|| "–".into(), |delivery| delivery.status.as_str().to_string())
    };
    let rows = service.webhooks(ctx, &name)?.1.into_iter().map(|hook| HookRow {
        last: last(&hook),
        include: hook.include.join(", "),
        level: hook.level.as_str(),
        cli: Cli::of(&app.name, ["webhooks:remove", &hook.id.to_string()]),
        id: hook.id.to_string(),
        url: hook.url,
    });
    Ok(rows.collect())
}

fn page(service: &Service, visitor: &Visitor, ctx: &Ctx, outcome: Outcome, name: &str) -> Result<SettingsPage, Error> {
    let (app, head) = Head::new(service, ctx, name, "settings")?;
    let (_, features) = service.features(ctx, name)?;
    let check = app.health_check.as_ref().map(|check| check.path.clone());
    let feature = |feature: &'static domain::feature::Feature| FeatureRow {
        name: feature.name,
        title: feature.display_name,
        about: feature.description,
        on: app.features.contains_key(feature.name),
    };
    let owner = match app.team {
        Some(team) => service.team_by_id(team)?.map(|team| format!("team {}", team.name)).unwrap_or_default(),
        None => shell::who(service, app.owner),
    };
    Ok(SettingsPage {
        shell: Shell::new(visitor, ctx, "apps", outcome),
        id: app.id.to_string(),
        stacks: service.stacks(),
        buildpacks: app.buildpacks.join("\n"),
        health_check: check,
        features: features.iter().map(feature).collect(),
        drains: drain_rows(service, ctx, &app)?,
        hooks: hook_rows(service, ctx, &app)?,
        created: When::new(app.created_at, ctx.now),
        git_url: service.addresses().git_url(&app.name),
        owner,
        stack: app.stack,
        detected: app.detected,
        head,
    })
}

async fn settings(State(service): State<Service>, visitor: Visitor, Path(app): Path<String>) -> Response {
    shell::shown(&visitor, |ctx, outcome| page(&service, &visitor, ctx, outcome, &app))
}

async fn save(State(service): State<Service>, Path(app): Path<String>, posted: Posted) -> Response {
    let back = format!("/apps/{app}/settings");
    let ctx = match posted.visitor.signed_in(&back) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let (form, change) = match posted.field("do") {
        "rename" => ("rename", AppChange { name: Some(posted.field("name").trim().into()), ..AppChange::default() }),
        "buildpacks" => {
            let list = posted.field("buildpacks").lines().map(|line| line.trim().to_string());
            let list = list.filter(|line| !line.is_empty()).collect();
            ("buildpacks", AppChange { buildpacks: Some(list), ..AppChange::default() })
        }
        "stack" => ("stack", AppChange { stack: posted.filled("stack"), ..AppChange::default() }),
        "feature" => {
            let done = service.switch_feature(ctx, &app, posted.field("feature"), posted.field("on") == "true").await;
            return shell::answered(&posted, "feature", &back, done.map(|_| "switched"), |ctx, outcome| {
                page(&service, &posted.visitor, ctx, outcome, &app)
            });
        }
        _ => {
            let check = posted.filled("path").map(|path| domain::HealthCheck {
                path,
                successes: domain::health::SUCCESSES,
                timeout_s: domain::health::TIMEOUT_S,
                interval_s: domain::health::INTERVAL_S,
            });
            let done = service.set_health_check(ctx, &app, check).await.map(|()| "saved");
            return shell::answered(&posted, "health", &back, done, |ctx, outcome| {
                page(&service, &posted.visitor, ctx, outcome, &app)
            });
        }
    };
    let done = service.update_app(ctx, &app, change).await;
    if let Ok(changed) = &done
        && form == "rename"
    {
        return Redirect::to(&format!("/apps/{}/settings?done=saved", changed.name)).into_response();
    }
    let done = done.map(|_| "saved");
    shell::answered(&posted, form, &back, done, |ctx, outcome| page(&service, &posted.visitor, ctx, outcome, &app))
}

async fn drains(State(service): State<Service>, Path(app): Path<String>, posted: Posted) -> Response {
    let back = format!("/apps/{app}/settings");
    let ctx = match posted.visitor.signed_in(&back) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let done = match posted.filled("remove") {
        Some(id) => service.remove_drain(ctx, &app, &id).await.map(|_| "removed"),
        None => service.add_drain(ctx, &app, posted.field("url").trim()).await.map(|_| "added"),
    };
    shell::answered(&posted, "drains", &back, done, |ctx, outcome| page(&service, &posted.visitor, ctx, outcome, &app))
}

async fn webhooks(State(service): State<Service>, Path(app): Path<String>, posted: Posted) -> Response {
    let back = format!("/apps/{app}/settings");
    let ctx = match posted.visitor.signed_in(&back) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let done = match posted.filled("remove") {
        Some(id) => service.remove_webhook(ctx, &app, &id).await.map(|_| "removed"),
        None => {
            let include = posted.field("include").split([',', ' ']).filter(|word| !word.is_empty()).map(String::from).collect();
            let new = NewWebhook {
                url: posted.field("url").trim().into(),
                include,
                level: posted.field("level").into(),
                secret: posted.filled("secret"),
                authorization: None,
            };
            service.create_webhook(ctx, &app, new).await.map(|_| "added")
        }
    };
    shell::answered(&posted, "webhooks", &back, done, |ctx, outcome| page(&service, &posted.visitor, ctx, outcome, &app))
}

async fn destroy(State(service): State<Service>, Path(app): Path<String>, posted: Posted) -> Response {
    let ctx = match posted.visitor.signed_in("/apps") {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let done = match service.app(ctx, &app) {
        Ok(found) if found.name != posted.field("confirm").trim() => {
            Err(Error::invalid(format!("Type {} to destroy the app; nothing was changed.", found.name)))
        }
        Ok(found) => service.destroy_app(ctx, &found.id.to_string()).await.map(|_| "destroyed"),
        Err(e) => Err(e),
    };
    shell::answered(&posted, "destroy", "/apps", done, |ctx, outcome| page(&service, &posted.visitor, ctx, outcome, &app))
}
