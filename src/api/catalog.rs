//! What is the same for everybody: regions, sizes, generations, buildpacks, the schema itself, and how the platform is.

use crate::{
    Api, Out,
    answer::{Body, ok},
    auth::User,
    error::Failure,
    list, negotiate, published,
    routes::routes,
    show,
    view::View,
};
use axum::{
    extract::{Path, State},
    http::{HeaderMap, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use domain::size::{SIZES, Size};
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::{Value, json};
use service::Error;
use std::io::Read;

routes! {
    get "/schema" => schema, "nobody";
    get "/regions" => regions, "account";
    get "/regions/{region}" => region, "account";
    get "/generations" => generations, "account";
    get "/generations/{generation}" => generation, "account";
    get "/dyno-sizes" => sizes, "account";
    get "/dyno-sizes/{size}" => size, "account";
    get "/apps/{app}/available-dyno-sizes" => app_sizes, "read";
    get "/apps/{app}/available-stacks" => app_stacks, "read";
    get "/spaces" => nothing, "account";
    get "/enterprise-accounts" => nothing, "account";
    get "/account/invoices" => nothing, "account";
    get "/account/credits" => nothing, "account";
    post "/filters/apps" => filter_apps, "account";
    get "/accounts/{account}/actions/get-quota" => quota, "account";
    get "/buildpacks" => buildpacks, "nobody";
    get "/buildpacks/{buildpack}" => buildpack, "nobody";
    get "/buildpacks/{buildpack}/revisions" => revisions, "nobody";
    get "/buildpacks/{buildpack}/readme" => readme, "nobody";
    get "/api/v4/current-status" => status, "nobody";
}

/// The variant that the Accept header names, byte for byte as it was published.
async fn schema(headers: HeaderMap) -> Out {
    let plain = negotiate::wanted_version(&headers).is_none_or(|version| version == "3");
    let mut text = Vec::new();
    let packed = if plain { published::PLAIN } else { published::SDK };
    GzDecoder::new(packed).read_to_end(&mut text).map_err(|e| Failure(Error::internal(e.to_string())))?;
    Ok(([(header::CONTENT_TYPE, "application/schema+json")], text).into_response())
}

/// A product that is not offered, where clients only list.
async fn nothing(_user: User, headers: HeaderMap) -> Out {
    list::page::<Value>(&headers, &[], &["id"])
}

fn found<'a>(all: &'a [Value], wanted: &str, missing: Error) -> Result<&'a Value, Failure> {
    all.iter().find(|one| one["id"] == wanted || one["name"] == wanted).ok_or(Failure(missing))
}

fn one(all: &[Value], wanted: &str, missing: Error) -> Out {
    Ok(ok(found(all, wanted, missing)?)?.into_response())
}

async fn regions(_user: User, headers: HeaderMap) -> Out {
    list::page(&headers, &[show::region()], &["name"])
}

async fn region(_user: User, Path(wanted): Path<String>) -> Out {
    one(&[show::region()], &wanted, Error::not_found("region", "Couldn't find that region; there is one, named local."))
}

async fn generations(_user: User, headers: HeaderMap) -> Out {
    list::page(&headers, &[show::whole_generation()], &["name"])
}

async fn generation(_user: User, Path(wanted): Path<String>) -> Out {
    one(
        &[show::whole_generation()],
        &wanted,
        Error::not_found("generation", "Couldn't find that generation; there is one, named cedar."),
    )
}

async fn sizes(_user: User, headers: HeaderMap) -> Out {
    let shown: Vec<Value> = SIZES.iter().map(show::size).collect();
    list::page(&headers, &shown, &["name"])
}

async fn size(_user: User, Path(wanted): Path<String>) -> Out {
    let size: Option<&Size> = domain::size::find(&wanted);
    let size =
        size.ok_or_else(|| Error::not_found("dyno_size", "Couldn't find that dyno size; GET /dyno-sizes lists them."))?;
    Ok(ok(show::size(size))?.into_response())
}

async fn app_sizes(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    service.app(&ctx, &app)?;
    Ok(ok(SIZES.iter().map(show::size).collect::<Vec<_>>())?.into_response())
}

async fn app_stacks(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    service.app(&ctx, &app)?;
    Ok(ok(service.stacks().iter().map(|name| show::stack(name)).collect::<Vec<_>>())?.into_response())
}

#[derive(Deserialize)]
struct Filter {
    r#in: Option<Among>,
}

#[derive(Deserialize)]
struct Among {
    id: Option<Vec<String>>,
}

/// Apps of a list of ids or names, of those that the caller may see.
async fn filter_apps(view: View, User(ctx): User, Body(body): Body<Filter>) -> Out {
    let wanted = body.r#in.and_then(|among| among.id);
    let apps = match wanted {
        Some(ids) => view.apps_by_id(&ctx, &ids)?,
        None => view.apps(&ctx)?,
    };
    let shown: Result<Vec<_>, Error> = apps.iter().map(|app| show::app(&view, app)).collect();
    // A Range on POST is of old clients that send it everywhere, and is ignored (`platform-api.md` section 6).
    Ok(ok(shown?)?.into_response())
}

/// Nothing is rationed: what was used is nothing, and the rest is a month.
async fn quota(_user: User, Path(_account): Path<String>) -> Out {
    const MONTH_S: u64 = 31 * 24 * 3600;
    Ok(ok(json!({ "account_quota": MONTH_S, "quota_used": 0, "apps": [] }))?.into_response())
}

fn pack(name: &str) -> Value {
    let shown = show::buildpack(name);
    let short = shown.name.trim_start_matches("heroku/");
    json!({
        "id": show::stable_id(&shown.name),
        "name": short,
        "namespace": "heroku",
        "full_name": shown.name,
        "description": format!("The buildpack {short} that is part of this installation."),
        "category": "languages",
        "blob_url": shown.url,
        "source": { "type": "embedded", "owner": "heroku", "repo": short },
        "support": { "method": "embedded" },
        "created_at": wire::time(0),
        "updated_at": wire::time(0),
    })
}

fn packs() -> Vec<Value> {
    show::BUILDPACKS.iter().map(|name| pack(name)).collect()
}

/// The registry of the embedded buildpacks. Its clients send no token.
async fn buildpacks(headers: HeaderMap) -> Out {
    list::page(&headers, &packs(), &["name"])
}

fn known_pack(wanted: &str) -> Result<Value, Failure> {
    let fits = |pack: &&Value| pack["full_name"] == wanted || pack["name"] == wanted || pack["id"] == wanted;
    let missing =
        "Couldn't find that buildpack; GET /buildpacks lists those of this installation, others are named by their git URL.";
    packs().iter().find(fits).cloned().ok_or_else(|| Failure(Error::not_found("buildpack", missing)))
}

async fn buildpack(Path(wanted): Path<String>) -> Out {
    Ok(ok(known_pack(&wanted)?)?.into_response())
}

async fn revisions(Path(wanted): Path<String>) -> Out {
    let pack = known_pack(&wanted)?;
    let revision = json!({
        "id": pack["id"], "release": 1, "status": "published", "checksum": null, "error": null, "tarball": null,
        "buildpack": { "id": pack["id"], "name": pack["full_name"] }, "published_at": wire::time(0),
        "created_at": wire::time(0), "updated_at": wire::time(0),
    });
    Ok(ok(json!([revision]))?.into_response())
}

/// Embedded buildpacks have no text besides their description, without which the official CLI shows no buildpack at all.
async fn readme(Path(wanted): Path<String>) -> Out {
    let pack = known_pack(&wanted)?;
    let text = pack["description"].as_str().unwrap_or_default();
    Ok(ok(json!({ "content": STANDARD.encode(text), "encoding": "base64" }))?.into_response())
}

/// Whoever gets this answer has reached a platform that works.
async fn status() -> Result<Response, Failure> {
    let systems: Vec<Value> = ["Apps", "Data", "Tools"].iter().map(|s| json!({ "system": s, "status": "green" })).collect();
    Ok(ok(json!({ "status": systems, "incidents": [], "scheduled": [] }))?.into_response())
}
