//! Certificates, log drains and features of accounts. Field names are those of the published schema.

use crate::NameRef;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a certificate says. The question marks are the published names.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct SslCert {
    pub id: Uuid,
    pub acm: bool,
    #[serde(rename = "ca_signed?")]
    pub ca_signed: bool,
    #[serde(rename = "self_signed?")]
    pub self_signed: bool,
    pub cert_domains: Vec<String>,
    pub starts_at: String,
    pub expires_at: String,
    pub issuer: String,
    pub subject: String,
}

/// An uploaded certificate; its key is never shown.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct SniEndpoint {
    pub id: Uuid,
    pub app: NameRef,
    pub certificate_chain: String,
    pub created_at: String,
    pub display_name: Option<String>,
    pub domains: Vec<Uuid>,
    pub name: String,
    pub ssl_cert: SslCert,
    pub updated_at: String,
}

/// A log drain.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct LogDrain {
    pub id: Uuid,
    pub addon: Option<NameRef>,
    pub app: NameRef,
    pub created_at: String,
    pub token: String,
    pub updated_at: String,
    pub url: String,
}

/// How a drain does; no resource of Heroku's. Times of the last success and error, lines waiting, and counts since the
/// drain was made known to the running daemon.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct LogDrainState {
    pub id: Uuid,
    pub token: String,
    pub last_success_at: Option<String>,
    pub last_error_at: Option<String>,
    pub last_error: Option<String>,
    pub lag: u64,
    pub delivered: u64,
    pub dropped: u64,
}

/// What came of the test of a drain: `took_ms` when the line was taken, `error` when not.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct LogDrainTest {
    pub id: Uuid,
    pub token: String,
    pub taken: bool,
    pub took_ms: Option<u64>,
    pub error: Option<String>,
}

/// A feature of an account.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AccountFeature {
    pub id: Uuid,
    pub name: String,
    pub created_at: String,
    pub description: String,
    pub display_name: String,
    pub doc_url: String,
    pub enabled: bool,
    pub feedback_email: String,
    pub state: String,
    pub updated_at: String,
}
