//! Promotions.

use crate::{
    Api, Out,
    answer::{Body, created, ok},
    auth::User,
    list,
    pipelines::needed,
    refs::Named,
    routes::routes,
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::IntoResponse,
};
use domain::Promotion;
use serde::Deserialize;
use service::{Error, NewPromotion};
use wire::{IdRef, time};

routes! {
    post "/pipeline-promotions" => promote, "pipeline read; read the source; deploy to each target";
    get "/pipeline-promotions/{promotion}" => promotion, "pipeline read";
    get "/pipeline-promotions/{promotion}/promotion-targets" => targets, "pipeline read";
}

fn shown(promotion: &Promotion) -> wire::PipelinePromotion {
    wire::PipelinePromotion {
        id: promotion.id,
        pipeline: IdRef { id: promotion.pipeline.0 },
        source: wire::PromotionSource { app: IdRef { id: promotion.source.0 }, release: IdRef { id: promotion.release.0.0 } },
        status: promotion.status().into(),
        created_at: time(promotion.created_at.0),
        updated_at: time(promotion.updated_at.0),
    }
}

#[derive(Deserialize)]
struct Source {
    app: Option<Named>,
    release: Option<Named>,
}

#[derive(Deserialize)]
struct TargetApp {
    app: Option<Named>,
}

#[derive(Deserialize)]
struct Promote {
    pipeline: Option<Named>,
    source: Source,
    targets: Vec<TargetApp>,
}

async fn promote(State(service): Api, User(ctx): User, Body(body): Body<Promote>) -> Out {
    let targets: Result<Vec<_>, Error> = body.targets.into_iter().map(|t| needed(t.app, "targets.app")).collect();
    let new = NewPromotion {
        pipeline: needed(body.pipeline, "pipeline")?,
        source: needed(body.source.app, "source.app")?,
        release: body.source.release.and_then(Named::id),
        targets: targets?,
    };
    Ok(created(shown(&service.promote(&ctx, new).await?))?.into_response())
}

async fn promotion(State(service): Api, User(ctx): User, Path(id): Path<String>) -> Out {
    Ok(ok(shown(&service.promotion(&ctx, &id)?))?.into_response())
}

async fn targets(State(service): Api, User(ctx): User, Path(id): Path<String>, headers: HeaderMap) -> Out {
    let promotion = service.promotion(&ctx, &id)?;
    let shown = promotion.targets.iter().map(|target| wire::PromotionTarget {
        id: target.id,
        app: IdRef { id: target.app.0 },
        error_message: target.error.clone(),
        pipeline_promotion: IdRef { id: promotion.id },
        release: target.release.map(|(id, _)| IdRef { id: id.0 }),
        status: target.status.as_str().into(),
    });
    list::page(&headers, &shown.collect::<Vec<_>>(), &["id"])
}
