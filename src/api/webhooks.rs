//! Webhooks of apps, their deliveries, and what they carry. [`shown`] is what payloads are made of.

use crate::{
    Api, Out,
    answer::{Answer, Body, created, ok},
    auth::User,
    dynos::release_id,
    filters::{Query, eq},
    list,
    routes::routes,
    show, show_people,
    view::View,
};
use axum::{
    extract::{Path, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use domain::{
    App,
    webhook::{Delivery, HookEvent, Subject},
};
use serde::{Deserialize, Deserializer};
use service::{Ctx, Error, NewWebhook, Service, WebhookChange};
use wire::{NameRef, time};

routes! {
    get "/apps/{app}/webhooks" => webhooks, "read";
    post "/apps/{app}/webhooks" => create, "write";
    get "/apps/{app}/webhooks/{webhook}" => webhook, "read";
    patch "/apps/{app}/webhooks/{webhook}" => update, "write";
    delete "/apps/{app}/webhooks/{webhook}" => remove, "write";
    get "/apps/{app}/webhook-deliveries" => deliveries, "read";
    get "/apps/{app}/webhook-deliveries/{delivery}" => delivery, "read";
    get "/apps/{app}/webhook-events" => events, "read";
    get "/apps/{app}/webhook-events/{event}" => event, "read";
}

const SECRET: HeaderName = HeaderName::from_static("heroku-webhook-secret");

/// A resource as the API shows it; `None` when there is no such thing (any more). For what hooks are told.
pub fn shown(service: &Service, ctx: &Ctx, subject: &Subject) -> Option<serde_json::Value> {
    resource(service, ctx, subject).ok().flatten()
}

fn resource(service: &Service, ctx: &Ctx, subject: &Subject) -> Result<Option<serde_json::Value>, Error> {
    let json = match subject {
        Subject::App(app) => serde_json::to_value(show::app(&View::own(service), &service.app(ctx, &app.to_string())?)?),
        Subject::Build(app, build) => {
            let (_, build) = service.build(ctx, &app.to_string(), &build.to_string())?;
            // The address of the output is a secret that needs no token; it is for those who ask the API.
            serde_json::to_value(show::build(&View::own(service), &build)?).map(without_output)
        }
        Subject::Release(app, version) => {
            let (app, release) = service.release(ctx, &app.to_string(), &version.to_string())?;
            serde_json::to_value(show::release(&View::own(service), &app, &release)?).map(without_output)
        }
        Subject::Formation(app, ptype) => {
            let (app, entries, commands) = service.formation(ctx, &app.to_string())?;
            let Some(entry) = entries.iter().find(|entry| entry.ptype == *ptype) else { return Ok(None) };
            serde_json::to_value(show::formation(&app, entry, commands.get(ptype).map_or("", String::as_str)))
        }
        Subject::Dyno(app, dyno) => {
            let app = app.to_string();
            let (row, dyno) = service.dyno(ctx, &app, &dyno.to_string())?;
            serde_json::to_value(show::dyno(&row, &dyno, release_id(service, ctx, &app, dyno.release)))
        }
        Subject::Domain(app, hostname) => {
            let (app, domains) = service.domains(ctx, &app.to_string())?;
            let Some(domain) = domains.iter().find(|domain| domain.row.hostname == *hostname) else { return Ok(None) };
            serde_json::to_value(show::domain(service, &app, domain))
        }
        Subject::SniEndpoint(app, endpoint) => {
            let (app, endpoint) = service.sni_endpoint(ctx, &app.to_string(), &endpoint.to_string())?;
            serde_json::to_value(crate::sni::shown(&app, &endpoint))
        }
        Subject::Collaborator(app, account) => {
            let (app, shared) = service.collaborator(ctx, &app.to_string(), &account.to_string())?;
            serde_json::to_value(show_people::collaborator(&app, &shared))
        }
    };
    json.map(Some).map_err(|e| Error::internal(e.to_string()))
}

fn without_output(mut json: serde_json::Value) -> serde_json::Value {
    if let Some(url) = json.get_mut("output_stream_url") {
        *url = serde_json::Value::Null;
    }
    json
}

fn shown_hook(app: &App, hook: &domain::Webhook) -> wire::Webhook {
    wire::Webhook {
        id: hook.id,
        app: NameRef { id: app.id.0, name: app.name.clone() },
        created_at: time(hook.created_at.0),
        include: hook.include.clone(),
        level: hook.level.as_str().into(),
        updated_at: time(hook.updated_at.0),
        url: hook.url.clone(),
    }
}

fn shown_delivery(delivery: &Delivery) -> wire::WebhookDelivery {
    let last_attempt = delivery.last_attempt.as_ref().map(|attempt| wire::WebhookAttempt {
        id: attempt.id,
        code: attempt.code,
        created_at: time(attempt.created_at.0),
        error_class: attempt.error_class.clone(),
        status: attempt.status().into(),
        updated_at: time(attempt.updated_at.0),
    });
    wire::WebhookDelivery {
        id: delivery.id,
        created_at: time(delivery.created_at.0),
        event: wire::WebhookEventRef { id: delivery.event, include: delivery.include.clone() },
        last_attempt,
        next_attempt_at: delivery.next_attempt_at.map(|at| time(at.0)),
        num_attempts: delivery.num_attempts,
        seq: delivery.seq,
        status: delivery.status.as_str().into(),
        updated_at: time(delivery.updated_at.0),
        webhook: wire::WebhookRef { id: delivery.webhook, level: delivery.level.as_str().into() },
    }
}

fn shown_event(event: &HookEvent) -> wire::WebhookEvent {
    wire::WebhookEvent {
        id: event.id,
        created_at: time(event.created_at.0),
        include: event.include.clone(),
        payload: serde_json::from_str(&event.payload).unwrap_or_default(),
        updated_at: time(event.created_at.0),
    }
}

fn with_secret(mut answer: Response, secret: Option<&str>) -> Response {
    if let Some(value) = secret.and_then(|secret| HeaderValue::from_str(secret).ok()) {
        answer.headers_mut().insert(SECRET, value);
    }
    answer
}

#[derive(Deserialize)]
struct Create {
    url: String,
    include: Vec<String>,
    level: String,
    secret: Option<String>,
    authorization: Option<String>,
}

async fn create(State(service): Api, User(ctx): User, Path(app): Path<String>, Body(body): Body<Create>) -> Out {
    let new = NewWebhook {
        url: body.url,
        include: body.include,
        level: body.level,
        secret: body.secret,
        authorization: body.authorization,
    };
    let (app, hook, secret) = service.create_webhook(&ctx, &app, new).await?;
    Ok(with_secret(created(shown_hook(&app, &hook))?.into_response(), Some(&secret)))
}

/// Tells null, which unsets, from what is not there.
fn given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(value).map(Some)
}

#[derive(Deserialize)]
struct Update {
    url: Option<String>,
    include: Option<Vec<String>>,
    level: Option<String>,
    #[serde(default, deserialize_with = "given")]
    secret: Option<Option<String>>,
    #[serde(default, deserialize_with = "given")]
    authorization: Option<Option<String>>,
}

async fn update(
    State(service): Api,
    User(ctx): User,
    Path((app, id)): Path<(String, String)>,
    Body(body): Body<Update>,
) -> Out {
    let change = WebhookChange {
        url: body.url,
        include: body.include,
        level: body.level,
        secret: body.secret,
        authorization: body.authorization,
    };
    let (app, hook, made) = service.update_webhook(&ctx, &app, &id, change).await?;
    Ok(with_secret(ok(shown_hook(&app, &hook))?.into_response(), made.as_deref()))
}

async fn webhooks(State(service): Api, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    let (app, hooks) = service.webhooks(&ctx, &app)?;
    list::page(&headers, &hooks.iter().map(|hook| shown_hook(&app, hook)).collect::<Vec<_>>(), &["id", "created_at"])
}

async fn webhook(State(service): Api, User(ctx): User, Path((app, id)): Path<(String, String)>) -> Out {
    let (app, hook) = service.webhook(&ctx, &app, &id)?;
    Ok(ok(shown_hook(&app, &hook))?.into_response())
}

async fn remove(State(service): Api, User(ctx): User, Path((app, id)): Path<(String, String)>) -> Out {
    let (app, hook) = service.remove_webhook(&ctx, &app, &id).await?;
    Ok(ok(shown_hook(&app, &hook))?.into_response())
}

async fn deliveries(State(service): Api, User(ctx): User, Path(app): Path<String>, query: Query, headers: HeaderMap) -> Out {
    let mut found = service.deliveries(&ctx, &app)?;
    if let Some(status) = eq(&query, "status") {
        found.retain(|delivery| delivery.status.as_str() == status);
    }
    list::page(&headers, &found.iter().map(shown_delivery).collect::<Vec<_>>(), &["seq", "id", "created_at"])
}

async fn delivery(State(service): Api, User(ctx): User, Path((app, id)): Path<(String, String)>) -> Out {
    let all = service.deliveries(&ctx, &app)?;
    let found = all.iter().find(|delivery| delivery.id.to_string() == id);
    let missing = || Error::not_found("webhook_delivery", "Couldn't find that webhook delivery.");
    Ok(Answer(StatusCode::OK, shown_delivery(found.ok_or_else(missing)?)).into_response())
}

async fn events(State(service): Api, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    let found = service.hook_events(&ctx, &app)?;
    list::page(&headers, &found.iter().map(shown_event).collect::<Vec<_>>(), &["created_at", "id"])
}

async fn event(State(service): Api, User(ctx): User, Path((app, id)): Path<(String, String)>) -> Out {
    Ok(ok(shown_event(&service.hook_event(&ctx, &app, &id)?))?.into_response())
}
