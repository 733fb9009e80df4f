//! Alerts: what is open, rules, channels, deliveries.

use crate::{
    Api, Out,
    answer::{Body, accepted, created, ok},
    auth::User,
    filters::{Query, eq},
    list,
    routes::routes,
};
use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue},
    response::{IntoResponse, Response},
};
use domain::{
    App,
    alert::{Alert, CLEAR_S, Notice, NoticeStatus, Rule},
};
use serde::Deserialize;
use service::{Ctx, NewChannel, NewRule, Service, ShownChannel};
use wire::{NameRef, time};

routes! {
    get "/apps/{app}/alerts" => alerts, "read";
    get "/apps/{app}/alert-rules" => rules, "read";
    post "/apps/{app}/alert-rules" => add_rule, "write";
    delete "/apps/{app}/alert-rules/{rule}" => remove_rule, "write";
    get "/apps/{app}/alert-channels" => channels, "read";
    post "/apps/{app}/alert-channels" => add_channel, "write";
    delete "/apps/{app}/alert-channels/{channel}" => remove_channel, "write";
    post "/apps/{app}/alert-channels/{channel}/actions/test" => test_channel, "write";
    get "/apps/{app}/alert-deliveries" => deliveries, "read";
    get "/machine/alerts" => all_alerts, "admin";
    get "/machine/alert-channels" => all_channels, "admin";
    post "/machine/alert-channels" => add_for_all, "admin";
    delete "/machine/alert-channels/{channel}" => remove_for_all, "admin";
    post "/machine/alert-channels/{channel}/actions/test" => test_for_all, "admin";
    get "/machine/alert-deliveries" => all_deliveries, "admin";
}

/// The secret of a new webhook channel, once.
const SECRET: HeaderName = HeaderName::from_static("tidemill-channel-secret");

fn name_of(app: &App) -> NameRef {
    NameRef { id: app.id.0, name: app.name.clone() }
}

fn shown_alert(alert: &Alert, app: Option<&App>) -> wire::Alert {
    wire::Alert {
        id: alert.id,
        app: app.map(name_of),
        rule: alert.rule.clone(),
        subject: alert.subject.clone(),
        text: alert.text.clone(),
        fix: alert.fix.clone(),
        state: if alert.closed_at.is_none() { "open" } else { "closed" }.into(),
        count: alert.count,
        value: (alert.value * 100.0).round() / 100.0,
        opened_at: time(alert.opened_at.0),
        closed_at: alert.closed_at.map(|at| time(at.0)),
    }
}

fn shown_rule(rule: &Rule) -> wire::AlertRule {
    let built_in = rule.id.is_nil();
    wire::AlertRule {
        id: (!built_in).then_some(rule.id),
        name: rule.name.clone(),
        metric: rule.metric.as_str().into(),
        threshold: rule.threshold,
        for_s: rule.for_s,
        clear_s: rule.clear_s,
        process: rule.process.clone(),
        built_in,
        created_at: (!built_in).then(|| time(rule.created_at.0)),
    }
}

fn shown_delivery(notice: &Notice) -> wire::AlertDelivery {
    let status = match notice.status {
        NoticeStatus::Pending => "pending",
        NoticeStatus::Sent => "sent",
        NoticeStatus::Failed => "failed",
    };
    wire::AlertDelivery {
        id: notice.id,
        channel: notice.channel,
        what: notice.what.as_str().into(),
        subject: notice.subject.clone(),
        status: status.into(),
        attempts: notice.attempts,
        error: notice.error.clone(),
        created_at: time(notice.created_at.0),
        updated_at: time(notice.updated_at.0),
    }
}

fn shown_channel(channel: &ShownChannel, app: Option<&App>) -> wire::AlertChannel {
    wire::AlertChannel {
        id: channel.row.id,
        app: app.map(name_of),
        kind: channel.row.kind.as_str().into(),
        target: channel.row.shown.clone(),
        held: channel.row.held_count,
        created_at: time(channel.row.created_at.0),
        last_delivery: channel.last.as_ref().map(shown_delivery),
    }
}

/// `?eq[state]=open` for those that are open only.
fn list_alerts(service: &Service, ctx: &Ctx, app: Option<&str>, query: &Query, headers: &HeaderMap) -> Out {
    let found = service.alerts(ctx, app)?;
    let mut shown: Vec<_> = found.iter().map(|(alert, app)| shown_alert(alert, app.as_ref())).collect();
    if let Some(state) = eq(query, "state") {
        shown.retain(|alert| alert.state == state);
    }
    list::page(headers, &shown, &["opened_at", "id"])
}

fn list_channels(service: &Service, ctx: &Ctx, app: Option<&str>, headers: &HeaderMap) -> Out {
    let (app, found) = service.alert_channels(ctx, app)?;
    let shown: Vec<_> = found.iter().map(|channel| shown_channel(channel, app.as_ref())).collect();
    list::page(headers, &shown, &["created_at", "id"])
}

fn list_deliveries(service: &Service, ctx: &Ctx, app: Option<&str>, headers: &HeaderMap) -> Out {
    let shown: Vec<_> = service.alert_deliveries(ctx, app)?.iter().map(shown_delivery).collect();
    list::page(headers, &shown, &["created_at", "id"])
}

async fn alerts(State(service): Api, User(ctx): User, Path(app): Path<String>, query: Query, headers: HeaderMap) -> Out {
    list_alerts(&service, &ctx, Some(&app), &query, &headers)
}

async fn all_alerts(State(service): Api, User(ctx): User, query: Query, headers: HeaderMap) -> Out {
    list_alerts(&service, &ctx, None, &query, &headers)
}

async fn rules(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    let shown: Vec<_> = service.alert_rules(&ctx, &app)?.iter().map(shown_rule).collect();
    Ok(ok(shown)?.into_response())
}

#[derive(Deserialize)]
struct AddRule {
    name: Option<String>,
    metric: String,
    threshold: f64,
    for_s: Option<u32>,
    clear_s: Option<u32>,
    process: Option<String>,
}

async fn add_rule(State(service): Api, User(ctx): User, Path(app): Path<String>, Body(body): Body<AddRule>) -> Out {
    let name = body.name.unwrap_or_else(|| format!("{} from {}", body.metric, body.threshold));
    let new = NewRule {
        name,
        metric: body.metric,
        threshold: body.threshold,
        for_s: body.for_s.unwrap_or(300),
        clear_s: body.clear_s.unwrap_or(CLEAR_S),
        process: body.process,
    };
    Ok(created(shown_rule(&service.add_alert_rule(&ctx, &app, new).await?))?.into_response())
}

async fn remove_rule(State(service): Api, User(ctx): User, Path((app, rule)): Path<(String, String)>) -> Out {
    Ok(ok(shown_rule(&service.remove_alert_rule(&ctx, &app, &rule).await?))?.into_response())
}

async fn channels(State(service): Api, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    list_channels(&service, &ctx, Some(&app), &headers)
}

async fn all_channels(State(service): Api, User(ctx): User, headers: HeaderMap) -> Out {
    list_channels(&service, &ctx, None, &headers)
}

#[derive(Deserialize)]
struct AddChannel {
    kind: String,
    target: String,
    secret: Option<String>,
}

async fn added(service: &Service, ctx: &Ctx, app: Option<&str>, body: AddChannel) -> Out {
    let new = NewChannel { kind: body.kind, target: body.target, secret: body.secret };
    let (app, channel, secret) = service.add_alert_channel(ctx, app, new).await?;
    let mut answer: Response = created(shown_channel(&channel, app.as_ref()))?.into_response();
    if let Some(value) = HeaderValue::from_str(&secret).ok().filter(|value| !value.is_empty()) {
        answer.headers_mut().insert(SECRET, value);
    }
    Ok(answer)
}

async fn add_channel(State(service): Api, User(ctx): User, Path(app): Path<String>, Body(body): Body<AddChannel>) -> Out {
    added(&service, &ctx, Some(&app), body).await
}

async fn add_for_all(State(service): Api, User(ctx): User, Body(body): Body<AddChannel>) -> Out {
    added(&service, &ctx, None, body).await
}

async fn removed(service: &Service, ctx: &Ctx, app: Option<&str>, id: &str) -> Out {
    let (app, channel) = service.remove_alert_channel(ctx, app, id).await?;
    Ok(ok(shown_channel(&channel, app.as_ref()))?.into_response())
}

async fn remove_channel(State(service): Api, User(ctx): User, Path((app, id)): Path<(String, String)>) -> Out {
    removed(&service, &ctx, Some(&app), &id).await
}

async fn remove_for_all(State(service): Api, User(ctx): User, Path(id): Path<String>) -> Out {
    removed(&service, &ctx, None, &id).await
}

async fn test_channel(State(service): Api, User(ctx): User, Path((app, id)): Path<(String, String)>) -> Out {
    Ok(accepted(shown_delivery(&service.test_alert_channel(&ctx, Some(&app), &id).await?))?.into_response())
}

async fn test_for_all(State(service): Api, User(ctx): User, Path(id): Path<String>) -> Out {
    Ok(accepted(shown_delivery(&service.test_alert_channel(&ctx, None, &id).await?))?.into_response())
}

async fn deliveries(State(service): Api, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    list_deliveries(&service, &ctx, Some(&app), &headers)
}

async fn all_deliveries(State(service): Api, User(ctx): User, headers: HeaderMap) -> Out {
    list_deliveries(&service, &ctx, None, &headers)
}
