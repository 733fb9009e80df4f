//! Pipelines and promotions. Field names are those of the published schema.

use crate::{IdRef, NameRef};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Whose a pipeline is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PipelineOwner {
    pub id: Uuid,
    #[serde(rename = "type")]
    pub kind: String,
}

/// A pipeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Pipeline {
    pub id: Uuid,
    pub name: String,
    pub owner: PipelineOwner,
    pub generation: NameRef,
    pub created_at: String,
    pub updated_at: String,
}

/// The place of an app in a pipeline.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PipelineCoupling {
    pub id: Uuid,
    pub app: IdRef,
    pub pipeline: NameRef,
    pub stage: String,
    pub created_at: String,
    pub updated_at: String,
}

/// A pipeline that was handed over.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PipelineTransfer {
    pub pipeline: IdRef,
    pub previous_owner: PipelineOwner,
    pub new_owner: PipelineOwner,
}

/// The stack for what has none of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PipelineStack {
    pub stack: Option<NameRef>,
}

/// Whose code is promoted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PromotionSource {
    pub app: IdRef,
    pub release: IdRef,
}

/// A promotion.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PipelinePromotion {
    pub id: Uuid,
    pub pipeline: IdRef,
    pub source: PromotionSource,
    pub status: String,
    pub created_at: String,
    pub updated_at: String,
}

/// One app that gets the code.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PromotionTarget {
    pub id: Uuid,
    pub app: IdRef,
    pub error_message: Option<String>,
    pub pipeline_promotion: IdRef,
    pub release: Option<IdRef>,
    pub status: String,
}
