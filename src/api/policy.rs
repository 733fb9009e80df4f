//! Features and the health check of an app.

use crate::{
    Api,
    answer::{Body, ok},
    auth::User,
    error::Failure,
    list, show,
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use domain::{HealthCheck, health};
use serde::Deserialize;

type Out = Result<Response, Failure>;

pub async fn features(State(service): Api, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    let (app, features) = service.features(&ctx, &app)?;
    let shown: Vec<_> = features.iter().map(|f| show::feature(&service, &app, f)).collect();
    list::page(&headers, &shown, &["name", "id"])
}

pub async fn feature(State(service): Api, User(ctx): User, Path((app, name)): Path<(String, String)>) -> Out {
    let (app, feature) = service.feature(&ctx, &app, &name)?;
    Ok(ok(show::feature(&service, &app, feature))?.into_response())
}

#[derive(Deserialize)]
pub struct SwitchFeature {
    enabled: bool,
}

pub async fn switch_feature(
    State(service): Api,
    User(ctx): User,
    Path((app, name)): Path<(String, String)>,
    Body(body): Body<SwitchFeature>,
) -> Out {
    let (app, feature) = service.switch_feature(&ctx, &app, &name, body.enabled).await?;
    Ok(ok(show::feature(&service, &app, feature))?.into_response())
}

pub async fn health_check(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    Ok(ok(show::health_check(&service.health_check(&ctx, &app)?))?.into_response())
}

#[derive(Deserialize)]
pub struct SetHealthCheck {
    path: String,
    successes: Option<u32>,
    timeout: Option<u64>,
    interval: Option<u64>,
}

pub async fn set_health_check(
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

pub async fn remove_health_check(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    let check = service.health_check(&ctx, &app)?;
    service.set_health_check(&ctx, &app, None).await?;
    Ok(ok(show::health_check(&check))?.into_response())
}
