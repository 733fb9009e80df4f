//! Dynos as people see them.

use crate::{
    Api, Out,
    answer::{accepted, ok},
    auth::User,
    list,
    routes::routes,
    show,
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::IntoResponse,
};
use serde_json::json;
use service::Service;

routes! {
    get "/apps/{app}/dynos" => dynos, "read";
    delete "/apps/{app}/dynos" => restart_all, "write";
    get "/apps/{app}/dynos/{dyno}" => dyno, "read";
    delete "/apps/{app}/dynos/{dyno}" => restart_one, "write";
    delete "/apps/{app}/formations/{dyno}" => restart_one, "write";
    post "/apps/{app}/formations/{dyno}/actions/stop" => restart_one, "write";
    post "/apps/{app}/dynos/{dyno}/actions/stop" => restart_one, "write";
}

pub(crate) fn release_id(service: &Service, ctx: &service::Ctx, app: &str, version: u64) -> uuid::Uuid {
    // A dyno of a release that is gone shows the nil id rather than failing the whole list.
    service.release(ctx, app, &version.to_string()).map(|(_, r)| r.id.0).unwrap_or_default()
}

async fn dynos(State(service): Api, User(ctx): User, Path(name): Path<String>, headers: HeaderMap) -> Out {
    let (app, dynos) = service.dynos(&ctx, &name)?;
    let shown: Vec<_> = dynos.iter().map(|d| show::dyno(&app, d, release_id(&service, &ctx, &name, d.release))).collect();
    list::page(&headers, &shown, &["name", "id", "created_at"])
}

async fn dyno(State(service): Api, User(ctx): User, Path((name, dyno)): Path<(String, String)>) -> Out {
    let (app, dyno) = service.dyno(&ctx, &name, &dyno)?;
    let release = release_id(&service, &ctx, &name, dyno.release);
    Ok(ok(show::dyno(&app, &dyno, release))?.into_response())
}

async fn restart_all(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    service.restart(&ctx, &app, None).await?;
    Ok(accepted(json!({}))?.into_response())
}

async fn restart_one(State(service): Api, User(ctx): User, Path((app, dyno)): Path<(String, String)>) -> Out {
    service.restart(&ctx, &app, Some(&dyno)).await?;
    Ok(accepted(json!({}))?.into_response())
}
