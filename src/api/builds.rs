//! Builds, their sources, buildpacks and slugs.

use crate::{
    Api, Out,
    answer::{Body, created, ok},
    auth::User,
    list,
    refs::Named,
    routes::routes,
    show,
    view::View,
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::IntoResponse,
};
use domain::SourceBlob;
use serde::Deserialize;
use service::{AppChange, Error, NewBuild, NewSlug};
use std::collections::BTreeMap;

routes! {
    get "/apps/{app}/builds" => builds, "read";
    post "/apps/{app}/builds" => create_build, "write";
    get "/apps/{app}/builds/{build}" => build, "read";
    delete "/apps/{app}/builds/{build}" => cancel, "write";
    delete "/apps/{app}/build-cache" => clear_cache, "write";
    get "/apps/{app}/buildpack-installations" => buildpacks, "read";
    put "/apps/{app}/buildpack-installations" => set_buildpacks, "write; admin for server folders";
    get "/apps/{app}/slugs/{slug}" => slug, "read";
    post "/apps/{app}/slugs" => create_slug, "write";
    post "/sources" => source, "create app";
    post "/apps/{app}/sources" => app_source, "write";
}

#[derive(Deserialize)]
struct PackRef {
    url: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct SourceRef {
    url: String,
    version: Option<String>,
    version_description: Option<String>,
    checksum: Option<String>,
}

#[derive(Deserialize)]
struct CreateBuild {
    source_blob: SourceRef,
    buildpacks: Option<Vec<PackRef>>,
}

async fn create_build(view: View, User(ctx): User, Path(app): Path<String>, Body(body): Body<CreateBuild>) -> Out {
    let source = SourceBlob {
        url: body.source_blob.url,
        version: body.source_blob.version,
        version_description: body.source_blob.version_description,
        checksum: body.source_blob.checksum,
    };
    let packs = body.buildpacks.unwrap_or_default().into_iter().filter_map(|p| p.url.or(p.name)).collect();
    let build = view.create_build(&ctx, &app, NewBuild { source, buildpacks: packs, pushed: None }).await?;
    Ok(created(show::build(&view, &build)?)?.into_response())
}

async fn builds(view: View, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    let (_, builds) = view.builds(&ctx, &app)?;
    list::page_of(&headers, &builds, &["created_at", "id"], |b| show::build(&view, b))
}

async fn build(view: View, User(ctx): User, Path((app, id)): Path<(String, String)>) -> Out {
    let (_, build) = view.build(&ctx, &app, &id)?;
    Ok(ok(show::build(&view, &build)?)?.into_response())
}

async fn cancel(view: View, User(ctx): User, Path((app, id)): Path<(String, String)>) -> Out {
    let build = view.cancel_build(&ctx, &app, &id).await?;
    Ok(ok(show::build(&view, &build)?)?.into_response())
}

async fn clear_cache(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    service.clear_build_cache(&ctx, &app).await?;
    Ok(ok(serde_json::json!({}))?.into_response())
}

fn installations(app: &domain::App) -> Vec<wire::BuildpackInstallation> {
    let packs = (0u32..).zip(&app.buildpacks);
    packs.map(|(ordinal, name)| wire::BuildpackInstallation { ordinal, buildpack: show::buildpack(name) }).collect()
}

async fn buildpacks(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    Ok(ok(installations(&service.app(&ctx, &app)?))?.into_response())
}

#[derive(Deserialize)]
struct PackUpdate {
    buildpack: Option<Named>,
}

#[derive(Deserialize)]
struct SetBuildpacks {
    updates: Vec<PackUpdate>,
}

async fn set_buildpacks(State(service): Api, User(ctx): User, Path(app): Path<String>, Body(body): Body<SetBuildpacks>) -> Out {
    let names: Option<Vec<String>> = body.updates.into_iter().map(|u| u.buildpack.and_then(Named::text)).collect();
    let names = names.ok_or_else(|| Error::invalid("Each update needs a buildpack name or URL."))?;
    let change = AppChange { buildpacks: Some(names), ..AppChange::default() };
    let app = service.update_app(&ctx, &app, change).await?;
    Ok(ok(installations(&app))?.into_response())
}

async fn slug(view: View, User(ctx): User, Path((app, id)): Path<(String, String)>) -> Out {
    Ok(ok(show::slug(&view, &view.slug(&ctx, &app, &id)?))?.into_response())
}

#[derive(Deserialize)]
struct CreateSlug {
    process_types: BTreeMap<String, String>,
    buildpack_provided_description: Option<String>,
    checksum: Option<String>,
    commit: Option<String>,
    commit_description: Option<String>,
    stack: Option<Named>,
}

/// The answer has the only address that takes the bytes.
async fn create_slug(view: View, User(ctx): User, Path(app): Path<String>, Body(body): Body<CreateSlug>) -> Out {
    let new = NewSlug {
        process_types: body.process_types,
        commit: body.commit,
        commit_description: body.commit_description,
        checksum: body.checksum,
        detected: body.buildpack_provided_description,
        stack: body.stack.and_then(Named::text),
    };
    let (slug, key) = view.create_slug(&ctx, &app, new).await?;
    let mut shown = show::slug(&view, &slug);
    shown.blob = wire::Blob { method: "put".into(), url: view.base().url(&format!("/streams/slugs/{}/{key}", slug.id)) };
    Ok(created(shown)?.into_response())
}

fn source_answer(view: &View, ctx: &service::Ctx) -> Out {
    let source = view.create_source(ctx)?;
    let url = view.base().url(&format!("/sources/blob/{}", source.key));
    let urls = wire::SourceUrls { get_url: url.clone(), put_url: url };
    Ok(created(wire::Source { source_blob: urls })?.into_response())
}

async fn source(view: View, User(ctx): User) -> Out {
    source_answer(&view, &ctx)
}

async fn app_source(view: View, User(ctx): User, Path(app): Path<String>) -> Out {
    view.app_to_deploy(&ctx, &app)?;
    source_answer(&view, &ctx)
}
