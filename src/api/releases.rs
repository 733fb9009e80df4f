//! Releases and rollback.

use crate::{
    Out,
    answer::{Body, created, ok},
    auth::User,
    list,
    refs::Named,
    routes::routes,
    show,
    view::View,
};
use axum::{extract::Path, http::HeaderMap, response::IntoResponse};
use serde::Deserialize;
use serde_json::Value;
use service::Error;

routes! {
    get "/apps/{app}/releases" => releases, "read";
    post "/apps/{app}/releases" => rollback, "write";
    get "/apps/{app}/releases/{release}" => release, "read";
    get "/apps/{app}/releases/{release}/config-vars" => release_config, "read secrets";
}

async fn releases(view: View, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    let (app, releases) = view.releases(&ctx, &app)?;
    list::page_of(&headers, &releases, &["version", "id", "created_at"], |r| show::release(&view, &app, r))
}

async fn release(view: View, User(ctx): User, Path((app, id)): Path<(String, String)>) -> Out {
    let (app, release) = view.release(&ctx, &app, &id)?;
    Ok(ok(show::release(&view, &app, &release)?)?.into_response())
}

/// The frozen set of a release.
async fn release_config(view: View, User(ctx): User, Path((app, id)): Path<(String, String)>) -> Out {
    Ok(ok(view.release_config(&ctx, &app, &id)?)?.into_response())
}

#[derive(Deserialize)]
struct NewRelease {
    release: Option<Value>,
    slug: Option<Named>,
    description: Option<String>,
}

async fn rollback(view: View, User(ctx): User, Path(app): Path<String>, Body(body): Body<NewRelease>) -> Out {
    // An object names its slug by id.
    if let Some(slug) = body.slug.and_then(Named::text) {
        let (app, release) = view.release_slug(&ctx, &app, &slug, body.description).await?;
        return Ok(created(show::release(&view, &app, &release)?)?.into_response());
    }
    let wanted = version_of(body.release.as_ref()).ok_or_else(|| {
        Error::invalid("Send `slug` (an id) for a new release, or `release` (an id or a version) to go back to an older one.")
    })?;
    let (app, release) = view.rollback(&ctx, &app, &wanted).await?;
    Ok(created(show::release(&view, &app, &release)?)?.into_response())
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
