//! Resources. Field names are those of the published schema.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Body of an error answer (`platform-api.md` section 5).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Stable id.
    pub id: String,
    /// For people; always there.
    pub message: String,
    /// Which resource was not found.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub resource: Option<String>,
}

/// `{id, email}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserRef {
    /// Account.
    pub id: Uuid,
    /// Its e-mail.
    pub email: String,
}

/// `{id, name}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRef {
    /// Id.
    pub id: Uuid,
    /// Name.
    pub name: String,
}

/// `{id}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRef {
    /// Id.
    pub id: Uuid,
}

/// `GET /account/keys`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Key {
    pub id: Uuid,
    pub comment: String,
    /// Of the account; the command line shows it above a list.
    pub email: String,
    /// MD5 in pairs of digits.
    pub fingerprint: String,
    pub public_key: String,
    pub created_at: String,
    pub updated_at: String,
}

/// `GET /account`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Account {
    pub id: Uuid,
    pub email: String,
    pub name: Option<String>,
    pub allow_tracking: bool,
    pub beta: bool,
    pub created_at: String,
    pub default_organization: Option<NameRef>,
    pub default_team: Option<NameRef>,
    pub delinquent_at: Option<String>,
    pub federated: bool,
    pub identity_provider: Option<NameRef>,
    pub last_login: Option<String>,
    pub sms_number: Option<String>,
    pub suspended_at: Option<String>,
    pub two_factor_authentication: bool,
    pub updated_at: String,
    pub verified: bool,
}

/// An app.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct App {
    pub id: Uuid,
    pub name: String,
    pub owner: UserRef,
    pub region: NameRef,
    pub stack: NameRef,
    pub build_stack: NameRef,
    pub generation: NameRef,
    pub web_url: String,
    pub git_url: String,
    pub acm: bool,
    pub archived_at: Option<String>,
    pub buildpack_provided_description: Option<String>,
    pub create_status: String,
    pub created_at: String,
    pub internal_routing: Option<bool>,
    /// Only in answers about apps of teams.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub joined: Option<bool>,
    #[serde(default)]
    pub locked: bool,
    pub maintenance: bool,
    pub organization: Option<NameRef>,
    pub released_at: Option<String>,
    pub repo_size: Option<u64>,
    pub slug_size: Option<u64>,
    pub space: Option<NameRef>,
    pub team: Option<NameRef>,
    pub updated_at: String,
}

/// Where source or slug bytes are.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct SourceBlob {
    pub url: String,
    pub checksum: Option<String>,
    pub version: Option<String>,
    pub version_description: Option<String>,
}

/// A buildpack as builds and installations show it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Buildpack {
    pub url: String,
    pub name: String,
}

/// A build.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Build {
    pub id: Uuid,
    pub app: IdRef,
    pub buildpacks: Option<Vec<Buildpack>>,
    pub created_at: String,
    pub output_stream_url: String,
    pub release: Option<IdRef>,
    pub slug: Option<IdRef>,
    pub source_blob: SourceBlob,
    pub stack: String,
    pub status: String,
    pub updated_at: String,
    pub user: UserRef,
    /// Why it failed, or why its release is not serving; ours.
    pub failure: Option<String>,
}

/// A slug's bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Blob {
    pub method: String,
    pub url: String,
}

/// A slug.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Slug {
    pub id: Uuid,
    pub blob: Blob,
    pub buildpack_provided_description: Option<String>,
    pub checksum: Option<String>,
    pub commit: Option<String>,
    pub commit_description: Option<String>,
    pub created_at: String,
    pub process_types: BTreeMap<String, String>,
    pub size: Option<u64>,
    pub stack: NameRef,
    pub updated_at: String,
}

/// A release.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Release {
    pub id: Uuid,
    pub version: u64,
    pub status: String,
    pub description: String,
    pub addon_plan_names: Vec<String>,
    pub app: NameRef,
    pub artifacts: Vec<serde_json::Value>,
    pub created_at: String,
    pub current: bool,
    pub eligible_for_rollback: bool,
    pub output_stream_url: Option<String>,
    pub slug: Option<IdRef>,
    pub updated_at: String,
    pub user: UserRef,
}

/// A feature of an app.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AppFeature {
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

/// The health check of web dynos; no resource of Heroku's. Times are seconds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct HealthCheck {
    pub path: String,
    pub successes: u32,
    pub timeout: u64,
    pub interval: u64,
}

/// A scheduled one-off dyno.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Schedule {
    pub id: Uuid,
    pub command: String,
    pub created_at: String,
    pub cron: String,
    pub last_run_at: Option<String>,
    pub next_run_at: String,
    pub size: String,
}

/// A formation entry.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Formation {
    pub id: Uuid,
    pub app: NameRef,
    pub command: String,
    pub created_at: String,
    pub dyno_size: NameRef,
    pub quantity: u32,
    pub size: String,
    #[serde(rename = "type")]
    pub ptype: String,
    pub updated_at: String,
}

/// `{id, version}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ReleaseRef {
    pub id: Uuid,
    pub version: u64,
}

/// A dyno.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Dyno {
    pub id: Uuid,
    pub app: NameRef,
    pub attach_url: Option<String>,
    pub command: String,
    pub created_at: String,
    pub name: String,
    pub release: ReleaseRef,
    pub size: String,
    pub state: String,
    #[serde(rename = "type")]
    pub ptype: String,
    pub updated_at: String,
}

/// A log session.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct LogSession {
    pub id: Uuid,
    pub created_at: String,
    pub logplex_url: String,
    pub updated_at: String,
}

/// Where to put a source and where builds get it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct SourceUrls {
    pub get_url: String,
    pub put_url: String,
}

/// `POST /sources`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Source {
    pub source_blob: SourceUrls,
}

/// A domain.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Domain {
    pub id: Uuid,
    pub app: NameRef,
    pub acm_status: Option<String>,
    pub acm_status_reason: Option<String>,
    pub cname: Option<String>,
    pub created_at: String,
    pub hostname: String,
    pub kind: String,
    pub sni_endpoint: Option<NameRef>,
    pub status: String,
    pub updated_at: String,
}

/// One line of `buildpack-installations`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct BuildpackInstallation {
    pub ordinal: u32,
    pub buildpack: Buildpack,
}

/// A root file system.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Stack {
    pub id: Uuid,
    pub name: String,
    pub default: bool,
    pub state: String,
    pub created_at: String,
    pub updated_at: String,
}
