//! Releases and rollback.

use crate::{
    Api, Out,
    answer::{Body, created, ok},
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
use serde::Deserialize;
use serde_json::Value;
use service::Error;

routes! {
    get "/apps/{app}/releases" => releases, "read";
    post "/apps/{app}/releases" => rollback, "write";
    get "/apps/{app}/releases/{release}" => release, "read";
}

async fn releases(State(service): Api, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    let (app, releases) = service.releases(&ctx, &app)?;
    let shown: Result<Vec<_>, Error> = releases.iter().map(|r| show::release(&service, &app, r)).collect();
    list::page(&headers, &shown?, &["version", "id", "created_at"])
}

async fn release(State(service): Api, User(ctx): User, Path((app, id)): Path<(String, String)>) -> Out {
    let (app, release) = service.release(&ctx, &app, &id)?;
    Ok(ok(show::release(&service, &app, &release)?)?.into_response())
}

#[derive(Deserialize)]
struct NewRelease {
    release: Option<Value>,
    slug: Option<String>,
}

async fn rollback(State(service): Api, User(ctx): User, Path(app): Path<String>, Body(body): Body<NewRelease>) -> Out {
    if body.slug.is_some() {
        return Err(
            Error::invalid("A release from a slug is not offered yet; send `release` to go back to an older one.").into()
        );
    }
    let wanted = version_of(body.release.as_ref()).ok_or_else(|| Error::invalid("`release` must be an id or a version."))?;
    let (app, release) = service.rollback(&ctx, &app, &wanted).await?;
    Ok(created(show::release(&service, &app, &release)?)?.into_response())
}

/// A release reference: text, number, or an object with `id` or `version`.
fn version_of(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Object(map) => version_of(map.get("id").or_else(|| map.get("version"))),
        _ => None,
    }
}
