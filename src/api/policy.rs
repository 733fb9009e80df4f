//! Features and the health check of an app.

use crate::{
    Api, Out,
    answer::{Body, ok},
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
use domain::{HealthCheck, health};
use serde::Deserialize;

routes! {
    get "/apps/{app}/features" => features, "read";
    get "/apps/{app}/features/{feature}" => feature, "read";
    patch "/apps/{app}/features/{feature}" => switch_feature, "write";
    get "/apps/{app}/health-check" => health_check, "read";
    put "/apps/{app}/health-check" => set_health_check, "write";
    delete "/apps/{app}/health-check" => remove_health_check, "write";
}

async fn features(State(service): Api, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    let (app, features) = service.features(&ctx, &app)?;
    let shown: Vec<_> = features.iter().map(|f| show::feature(&service, &app, f)).collect();
    list::page(&headers, &shown, &["name", "id"])
}

async fn feature(State(service): Api, User(ctx): User, Path((app, name)): Path<(String, String)>) -> Out {
    let (app, feature) = service.feature(&ctx, &app, &name)?;
    Ok(ok(show::feature(&service, &app, feature))?.into_response())
}

#[derive(Deserialize)]
struct SwitchFeature {
    enabled: bool,
}

async fn switch_feature(
    State(service): Api,
    User(ctx): User,
    Path((app, name)): Path<(String, String)>,
    Body(body): Body<SwitchFeature>,
) -> Out {
    let (app, feature) = service.switch_feature(&ctx, &app, &name, body.enabled).await?;
    Ok(ok(show::feature(&service, &app, feature))?.into_response())
}

async fn health_check(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    Ok(ok(show::health_check(&service.health_check(&ctx, &app)?))?.into_response())
}

#[derive(Deserialize)]
struct SetHealthCheck {
    path: String,
    successes: Option<u32>,
    timeout: Option<u64>,
    interval: Option<u64>,
}

async fn set_health_check(
    State(service): Api,
    User(ctx): User,
    Path(app): Path<String>,
    Body(body): Body<SetHealthCheck>,
) -> Out {
    let check = HealthCheck {
        path: body.path,
        successes: body.successes.unwrap_or(health::SUCCESSES),
        timeout_s: body.timeout.unwrap_or(health::TIMEOUT_S),
        interval_s: body.interval.unwrap_or(health::INTERVAL_S),
    };
    service.set_health_check(&ctx, &app, Some(check.clone())).await?;
    Ok(ok(show::health_check(&check))?.into_response())
}

async fn remove_health_check(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    let check = service.health_check(&ctx, &app)?;
    service.set_health_check(&ctx, &app, None).await?;
    Ok(ok(show::health_check(&check))?.into_response())
}
