//! Pipelines and the places of apps in them.

use crate::{
    Api, Out,
    answer::{Answer, Body, created, ok},
    auth::User,
    config::changes_of,
    filters::{Query, eq},
    list,
    refs::Named,
    routes::routes,
    show,
    view::View,
};
use axum::{
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    response::IntoResponse,
};
use domain::{Stage, pipeline::Owner};
use serde::Deserialize;
use serde_json::Value;
use service::{Error, NewPipeline, OwnerRef, Service};
use std::collections::BTreeMap;
use wire::{IdRef, time};

routes! {
    post "/pipelines" => create, "create app";
    get "/pipelines" => pipelines, "account";
    get "/pipelines/{pipeline}" => pipeline, "pipeline read";
    patch "/pipelines/{pipeline}" => update, "pipeline manage";
    delete "/pipelines/{pipeline}" => destroy, "pipeline manage";
    post "/pipeline-transfers" => transfer, "pipeline manage";
    get "/pipelines/{pipeline}/pipeline-couplings" => couplings, "pipeline read";
    get "/pipelines/{pipeline}/pipeline-stack" => stack, "pipeline read";
    get "/pipelines/{pipeline}/latest-builds" => latest_builds, "pipeline read";
    get "/pipelines/{pipeline}/latest-deployments" => latest_deployments, "pipeline read";
    get "/pipelines/{pipeline}/latest-releases" => latest_releases, "pipeline read";
    get "/pipelines/{pipeline}/stage/{stage}/config-vars" => config, "pipeline secrets";
    patch "/pipelines/{pipeline}/stage/{stage}/config-vars" => change_config, "pipeline secrets";
    post "/pipeline-couplings" => couple, "write; pipeline write";
    get "/pipeline-couplings" => all_couplings, "account";
    get "/users/~/pipeline-couplings" => all_couplings, "account";
    get "/teams/{team}/pipeline-couplings" => team_couplings, "team";
    get "/pipeline-couplings/{coupling}" => coupling, "read";
    patch "/pipeline-couplings/{coupling}" => move_app, "write";
    delete "/pipeline-couplings/{coupling}" => uncouple, "write";
    get "/apps/{app}/pipeline-couplings" => coupling_of, "read";
}

fn owner(owner: Owner) -> wire::PipelineOwner {
    wire::PipelineOwner { id: owner.id(), kind: owner.kind().into() }
}

fn shown(pipeline: &domain::Pipeline) -> wire::Pipeline {
    wire::Pipeline {
        id: pipeline.id.0,
        name: pipeline.name.clone(),
        owner: owner(pipeline.owner),
        generation: show::generation(),
        created_at: time(pipeline.created_at.0),
        updated_at: time(pipeline.updated_at.0),
    }
}

fn shown_coupling(service: &Service, coupling: &domain::Coupling) -> Result<wire::PipelineCoupling, Error> {
    Ok(wire::PipelineCoupling {
        id: coupling.id,
        app: IdRef { id: coupling.app.0 },
        // `apps:info` shows the name (`cli-contract.md` section 2.2).
        pipeline: wire::NameRef { id: coupling.pipeline.0, name: service.pipeline_name(coupling.pipeline)? },
        stage: coupling.stage.as_str().into(),
        created_at: time(coupling.created_at.0),
        updated_at: time(coupling.updated_at.0),
    })
}

fn stage_of(text: &str) -> Result<Stage, Error> {
    text.parse().map_err(Error::invalid)
}

/// A reference that must be there.
pub(crate) fn needed(named: Option<Named>, what: &str) -> Result<String, Error> {
    named.and_then(Named::id).ok_or_else(|| Error::invalid(format!("`{what}` must be an id or a name.")))
}

#[derive(Deserialize)]
struct OwnerBody {
    id: String,
    #[serde(rename = "type")]
    kind: String,
}

impl From<OwnerBody> for OwnerRef {
    fn from(body: OwnerBody) -> Self {
        Self { id: body.id, kind: body.kind }
    }
}

#[derive(Deserialize)]
struct Create {
    name: String,
    owner: Option<OwnerBody>,
}

async fn create(State(service): Api, User(ctx): User, Body(body): Body<Create>) -> Out {
    let new = NewPipeline { name: body.name, owner: body.owner.map(OwnerRef::from) };
    Ok(created(shown(&service.create_pipeline(&ctx, new).await?))?.into_response())
}

async fn pipelines(State(service): Api, User(ctx): User, query: Query, headers: HeaderMap) -> Out {
    let found = service.pipelines(&ctx, eq(&query, "name"))?;
    list::page(&headers, &found.iter().map(shown).collect::<Vec<_>>(), &["name", "id", "created_at", "updated_at"])
}

async fn pipeline(State(service): Api, User(ctx): User, Path(id): Path<String>) -> Out {
    Ok(ok(shown(&service.pipeline(&ctx, &id)?))?.into_response())
}

#[derive(Deserialize)]
struct Update {
    name: Option<String>,
}

async fn update(State(service): Api, User(ctx): User, Path(id): Path<String>, Body(body): Body<Update>) -> Out {
    let pipeline = match body.name {
        Some(name) => service.rename_pipeline(&ctx, &id, name).await?,
        None => service.pipeline(&ctx, &id)?,
    };
    Ok(ok(shown(&pipeline))?.into_response())
}

async fn destroy(State(service): Api, User(ctx): User, Path(id): Path<String>) -> Out {
    Ok(ok(shown(&service.destroy_pipeline(&ctx, &id).await?))?.into_response())
}

#[derive(Deserialize)]
struct Transfer {
    pipeline: Named,
    new_owner: OwnerBody,
}

async fn transfer(State(service): Api, User(ctx): User, Body(body): Body<Transfer>) -> Out {
    let id = needed(Some(body.pipeline), "pipeline")?;
    let (pipeline, before) = service.transfer_pipeline(&ctx, &id, body.new_owner.into()).await?;
    let answer = wire::PipelineTransfer {
        pipeline: IdRef { id: pipeline.id.0 },
        previous_owner: owner(before),
        new_owner: owner(pipeline.owner),
    };
    Ok(created(answer)?.into_response())
}

async fn stack(State(service): Api, User(ctx): User, Path(id): Path<String>) -> Out {
    let stack = service.pipeline_stack(&ctx, &id)?.map(|name| show::stack(&name));
    let stack = stack.map(|stack| wire::NameRef { id: stack.id, name: stack.name });
    Ok(ok(wire::PipelineStack { stack })?.into_response())
}

async fn latest_builds(view: View, User(ctx): User, Path(id): Path<String>, headers: HeaderMap) -> Out {
    let shown: Result<Vec<_>, Error> = view.latest_builds(&ctx, &id)?.iter().map(|b| show::build(&view, b)).collect();
    list::page(&headers, &shown?, &["id", "created_at"])
}

fn latest(view: &View, ctx: &service::Ctx, id: &str, deployments: bool, headers: &HeaderMap) -> Out {
    let found = view.latest_releases(ctx, id, deployments)?;
    let shown: Result<Vec<_>, Error> = found.iter().map(|(app, release)| show::release(view, app, release)).collect();
    list::page(headers, &shown?, &["id", "created_at", "version"])
}

async fn latest_deployments(view: View, User(ctx): User, Path(id): Path<String>, headers: HeaderMap) -> Out {
    latest(&view, &ctx, &id, true, &headers)
}

async fn latest_releases(view: View, User(ctx): User, Path(id): Path<String>, headers: HeaderMap) -> Out {
    latest(&view, &ctx, &id, false, &headers)
}

async fn config(State(service): Api, User(ctx): User, Path((id, stage)): Path<(String, String)>) -> Out {
    let config = service.stage_config(&ctx, &id, stage_of(&stage)?)?;
    Ok(([("cache-control", "private, no-store")], Answer(StatusCode::OK, config)).into_response())
}

async fn change_config(
    State(service): Api,
    User(ctx): User,
    Path((id, stage)): Path<(String, String)>,
    Body(body): Body<BTreeMap<String, Value>>,
) -> Out {
    let config = service.change_stage_config(&ctx, &id, stage_of(&stage)?, changes_of(body)?).await?;
    Ok(([("cache-control", "private, no-store")], Answer(StatusCode::OK, config)).into_response())
}

#[derive(Deserialize)]
struct Couple {
    app: Option<Named>,
    pipeline: Option<Named>,
    stage: String,
}

async fn couple(State(service): Api, User(ctx): User, Body(body): Body<Couple>) -> Out {
    let (app, pipeline) = (needed(body.app, "app")?, needed(body.pipeline, "pipeline")?);
    let coupling = service.create_coupling(&ctx, &app, &pipeline, stage_of(&body.stage)?).await?;
    Ok(created(shown_coupling(&service, &coupling)?)?.into_response())
}

fn page(service: &Service, headers: &HeaderMap, found: &[domain::Coupling]) -> Out {
    let shown: Result<Vec<_>, Error> = found.iter().map(|coupling| shown_coupling(service, coupling)).collect();
    list::page(headers, &shown?, &["id", "created_at", "updated_at"])
}

async fn couplings(State(service): Api, User(ctx): User, Path(id): Path<String>, headers: HeaderMap) -> Out {
    page(&service, &headers, &service.couplings(&ctx, Some(&id), None)?)
}

async fn all_couplings(State(service): Api, User(ctx): User, headers: HeaderMap) -> Out {
    page(&service, &headers, &service.couplings(&ctx, None, None)?)
}

async fn team_couplings(State(service): Api, User(ctx): User, Path(team): Path<String>, headers: HeaderMap) -> Out {
    page(&service, &headers, &service.couplings(&ctx, None, Some(&team))?)
}

async fn coupling(State(service): Api, User(ctx): User, Path(id): Path<String>) -> Out {
    Ok(ok(shown_coupling(&service, &service.coupling(&ctx, &id)?)?)?.into_response())
}

async fn coupling_of(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    Ok(ok(shown_coupling(&service, &service.coupling_of(&ctx, &app)?)?)?.into_response())
}

#[derive(Deserialize)]
struct Move {
    stage: Option<String>,
}

async fn move_app(State(service): Api, User(ctx): User, Path(id): Path<String>, Body(body): Body<Move>) -> Out {
    let coupling = match body.stage {
        Some(stage) => service.change_coupling(&ctx, &id, Some(stage_of(&stage)?)).await?,
        None => service.coupling(&ctx, &id)?,
    };
    Ok(ok(shown_coupling(&service, &coupling)?)?.into_response())
}

async fn uncouple(State(service): Api, User(ctx): User, Path(id): Path<String>) -> Out {
    Ok(ok(shown_coupling(&service, &service.change_coupling(&ctx, &id, None).await?)?)?.into_response())
}
