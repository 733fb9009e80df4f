//! App setups.

use crate::{
    Api, Out,
    answer::{Body, accepted, ok},
    auth::User,
    pipelines::needed,
    refs::Named,
    routes::routes,
};
use axum::{
    extract::{Path, State},
    response::IntoResponse,
};
use domain::{Build, Setup, SourceBlob};
use serde::Deserialize;
use service::{Error, NewApp, NewSetup, Service};
use std::collections::BTreeMap;
use wire::{NameRef, time};

routes! {
    post "/app-setups" => create, "create app; pipeline write";
    get "/app-setups/{setup}" => setup, "read";
}

fn shown(service: &Service, setup: &Setup, build: Option<&Build>) -> wire::AppSetup {
    let base = service.addresses().url(&service.addresses().domain);
    let web_url = service.addresses().app_url(&setup.app_name);
    let success = setup.plan.success_url.as_ref().map(|url| match url.strip_prefix('/') {
        Some(path) => format!("{web_url}{path}"),
        None => url.clone(),
    });
    wire::AppSetup {
        id: setup.id,
        app: NameRef { id: setup.app.0, name: setup.app_name.clone() },
        build: build.map(|build| wire::AppSetupBuild {
            id: build.id.0,
            output_stream_url: format!("{base}/streams/builds/{}/{}", build.id, build.output_key),
            status: build.status.as_str().into(),
        }),
        created_at: time(setup.created_at.0),
        failure_message: setup.failure.clone(),
        manifest_errors: setup.manifest_errors.clone(),
        postdeploy: setup
            .postdeploy
            .as_ref()
            .map(|end| wire::AppSetupPostdeploy { exit_code: end.exit_code, output: end.output.clone() }),
        resolved_success_url: success,
        status: setup.status.as_str().into(),
        updated_at: time(setup.updated_at.0),
    }
}

#[derive(Deserialize)]
struct Source {
    url: String,
    checksum: Option<String>,
    version: Option<String>,
}

#[derive(Deserialize, Default)]
struct AppBody {
    name: Option<String>,
    stack: Option<Named>,
    organization: Option<String>,
    space: Option<String>,
    locked: Option<bool>,
}

#[derive(Deserialize)]
struct Pack {
    url: String,
}

#[derive(Deserialize, Default)]
struct Overrides {
    #[serde(default)]
    env: BTreeMap<String, String>,
    buildpacks: Option<Vec<Pack>>,
}

#[derive(Deserialize)]
struct Coupling {
    pipeline: Option<Named>,
    stage: String,
}

#[derive(Deserialize)]
struct Create {
    source_blob: Source,
    app: Option<AppBody>,
    overrides: Option<Overrides>,
    pipeline_coupling: Option<Coupling>,
}

async fn create(State(service): Api, User(ctx): User, Body(body): Body<Create>) -> Out {
    let app = body.app.unwrap_or_default();
    if app.space.is_some() {
        return Err(Error::invalid("There are no spaces here; leave out `space`.").into());
    }
    let overrides = body.overrides.unwrap_or_default();
    let coupling = match body.pipeline_coupling {
        Some(coupling) => {
            Some((needed(coupling.pipeline, "pipeline_coupling.pipeline")?, coupling.stage.parse().map_err(Error::invalid)?))
        }
        None => None,
    };
    let source = body.source_blob;
    let new = NewSetup {
        app: NewApp {
            name: app.name,
            stack: app.stack.and_then(Named::text),
            team: app.organization,
            locked: app.locked.unwrap_or(false),
        },
        source: SourceBlob { url: source.url, checksum: source.checksum, version: source.version, version_description: None },
        env: overrides.env,
        buildpacks: overrides.buildpacks.map(|packs| packs.into_iter().map(|pack| pack.url).collect()),
        coupling,
    };
    let setup = service.create_setup(&ctx, new).await?;
    Ok(accepted(shown(&service, &setup, None))?.into_response())
}

async fn setup(State(service): Api, User(ctx): User, Path(id): Path<String>) -> Out {
    let (setup, build) = service.setup(&ctx, &id)?;
    Ok(ok(shown(&service, &setup, build.as_ref()))?.into_response())
}
