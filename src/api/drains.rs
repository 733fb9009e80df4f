//! Log drains, and the form of telemetry drains, which are not offered yet.

use crate::{
    Api, Out,
    answer::{Body, created, ok},
    auth::User,
    list,
    routes::routes,
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::IntoResponse,
};
use serde::Deserialize;
use serde_json::Value;
use service::{Error, ShownDrain};
use wire::{NameRef, time};

routes! {
    get "/apps/{app}/log-drains" => drains, "read";
    post "/apps/{app}/log-drains" => add_drain, "write";
    get "/apps/{app}/log-drains/{drain}" => drain, "read";
    delete "/apps/{app}/log-drains/{drain}" => remove_drain, "write";
    get "/apps/{app}/log-drains/{drain}/state" => state, "read";
    post "/apps/{app}/log-drains/{drain}/test" => test, "write";
    get "/apps/{app}/telemetry-drains" => telemetry_drains, "read";
    post "/telemetry-drains" => add_telemetry_drain, "account";
    get "/telemetry-drains/{drain}" => telemetry_drain, "account";
    patch "/telemetry-drains/{drain}" => telemetry_drain, "account";
    delete "/telemetry-drains/{drain}" => telemetry_drain, "account";
}

fn shown(app: &domain::App, drain: &ShownDrain) -> wire::LogDrain {
    wire::LogDrain {
        id: drain.row.id,
        addon: None,
        app: NameRef { id: app.id.0, name: app.name.clone() },
        created_at: time(drain.row.created_at.0),
        token: drain.row.token.clone(),
        updated_at: time(drain.row.updated_at.0),
        url: drain.url.clone(),
    }
}

async fn drains(State(service): Api, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    let (app, all) = service.drains(&ctx, &app)?;
    let all: Vec<_> = all.iter().map(|drain| shown(&app, drain)).collect();
    list::page(&headers, &all, &["created_at", "id", "updated_at"])
}

#[derive(Deserialize)]
struct AddDrain {
    url: String,
}

async fn add_drain(State(service): Api, User(ctx): User, Path(app): Path<String>, Body(body): Body<AddDrain>) -> Out {
    let (app, drain) = service.add_drain(&ctx, &app, &body.url).await?;
    Ok(created(shown(&app, &drain))?.into_response())
}

async fn drain(State(service): Api, User(ctx): User, Path((app, drain)): Path<(String, String)>) -> Out {
    let (app, drain) = service.drain(&ctx, &app, &drain)?;
    Ok(ok(shown(&app, &drain))?.into_response())
}

async fn remove_drain(State(service): Api, User(ctx): User, Path((app, drain)): Path<(String, String)>) -> Out {
    let (app, drain) = service.remove_drain(&ctx, &app, &drain).await?;
    Ok(ok(shown(&app, &drain))?.into_response())
}

async fn state(State(service): Api, User(ctx): User, Path((app, drain)): Path<(String, String)>) -> Out {
    let (drain, state, lag) = service.drain_state(&ctx, &app, &drain)?;
    let at = |us: Option<u64>| us.map(|us| time(us / 1000));
    let shown = wire::LogDrainState {
        id: drain.row.id,
        token: drain.row.token,
        last_success_at: at(state.last_success_us),
        last_error_at: at(state.last_error_us),
        last_error: state.last_error,
        lag,
        delivered: state.delivered,
        dropped: state.dropped,
    };
    Ok(ok(shown)?.into_response())
}

async fn test(State(service): Api, User(ctx): User, Path((app, drain)): Path<(String, String)>) -> Out {
    let (drain, tested) = service.test_drain(&ctx, &app, &drain).await?;
    let (took_ms, error) = tested.map_or_else(|error| (None, Some(error)), |took| (Some(took), None));
    let shown = wire::LogDrainTest { id: drain.row.id, token: drain.row.token, taken: error.is_none(), took_ms, error };
    Ok(ok(shown)?.into_response())
}

async fn telemetry_drains(State(service): Api, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    service.app(&ctx, &app)?;
    list::page::<Value>(&headers, &[], &["id", "created_at", "updated_at"])
}

async fn add_telemetry_drain(_user: User, _body: Body<Value>) -> Out {
    let text = "This server does not export telemetry by this way yet; log drains carry an app's lines, also to OpenTelemetry: drains:add otlp+https://HOST.";
    Err(Error { id: "telemetry_unavailable", ..Error::invalid(text) }.into())
}

async fn telemetry_drain(_user: User, Path(_drain): Path<String>) -> Out {
    Err(Error::not_found("telemetry_drain", "Couldn't find that telemetry drain.").into())
}
