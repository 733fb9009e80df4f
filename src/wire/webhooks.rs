//! Webhooks and their deliveries. Field names are those of the published schema.

use crate::NameRef;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A webhook of an app; secrets are never shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Webhook {
    pub id: Uuid,
    pub app: NameRef,
    pub created_at: String,
    pub include: Vec<String>,
    pub level: String,
    pub updated_at: String,
    pub url: String,
}

/// Which event a delivery carries.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct WebhookEventRef {
    pub id: Uuid,
    pub include: String,
}

/// Where a delivery goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct WebhookRef {
    pub id: Uuid,
    pub level: String,
}

/// One request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct WebhookAttempt {
    pub id: Uuid,
    pub code: Option<u16>,
    pub created_at: String,
    pub error_class: Option<String>,
    pub status: String,
    pub updated_at: String,
}

/// One event on its way to one webhook.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct WebhookDelivery {
    pub id: Uuid,
    pub created_at: String,
    pub event: WebhookEventRef,
    pub last_attempt: Option<WebhookAttempt>,
    pub next_attempt_at: Option<String>,
    pub num_attempts: u32,
    /// What lists are sorted by; ours.
    pub seq: u64,
    pub status: String,
    pub updated_at: String,
    pub webhook: WebhookRef,
}

/// What happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct WebhookEvent {
    pub id: Uuid,
    pub created_at: String,
    pub include: String,
    pub payload: serde_json::Value,
    pub updated_at: String,
}
