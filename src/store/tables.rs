//! The tables: number, name, key, value, readers. A number stays with its table for ever.

use crate::{StoreError, codec, table::Table};
use domain::{
    Account, AccountId, App, AppDomain, AppId, Build, BuildId, Collaborator, Coupling, Dyno, DynoId, Event, Formation, KeyId,
    LogDrain, Membership, Pipeline, PipelineId, Promotion, Release, ReleaseId, Schedule, ScheduleId, Setup, Slug, SlugId,
    SniEndpoint, SshKey, Team, TeamId, Token, UnixMs, Webhook,
    account::SetupLink,
    acm::{Entry, Managed},
    alert::{Alert, Channel, Notice, Rule},
    sign_in::{AuthorizationCode, Client, Secrets, Session},
    team::{Invitation, Transfer},
    volume::{Snapshot, Volume},
    webhook::{Delivery, HookEvent},
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

macro_rules! tables {
    ($($(#[$doc:meta])* $name:ident = $number:literal, $label:literal, $key:ty => $value:ty;)*) => {
        $(
            $(#[$doc])*
            pub const $name: Table<$key, $value> = {
                fn read(version: u16, body: &[u8]) -> Result<$value, StoreError> {
                    match version {
                        1 => codec::json($label, body),
                        other => Err(StoreError::Corrupt(format!("{}: unknown value version {other}", $label))),
                    }
                }
                Table::new($number, $label, 1, read)
            };
        )*
        /// Name and number of every table.
        pub const ALL: &[(&str, u8)] = &[$(($label, $number)),*];
    };
}

/// A piece of sealed bytes, base64.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SealedChunk(pub String);

/// Who may bring the bytes of a slug, and until when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlugUpload {
    /// The slug.
    pub slug: SlugId,
    /// Hash of the secret in the address.
    pub key_hash: String,
    /// The address answers until then.
    pub until: UnixMs,
    /// The bytes are there.
    pub done: bool,
}

/// A row that only exists: indexes whose key says all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Present {}

tables! {
    /// Facts about the store itself.
    META = 1, "meta", String => u64;
    /// Accounts.
    ACCOUNTS = 2, "account", AccountId => Account;
    /// E-mail to account.
    ACCOUNT_BY_EMAIL = 3, "account_by_email", String => AccountId;
    /// Tokens by the hash of the token.
    TOKENS = 4, "token", String => Token;
    /// One-time setup links by the hash of the link's secret.
    SETUP_LINKS = 5, "setup_link", String => SetupLink;
    /// Apps.
    APPS = 6, "app", AppId => App;
    /// Name to app.
    APP_BY_NAME = 7, "app_by_name", String => AppId;
    /// Sets of config vars: app, version, piece.
    CONFIG = 8, "config", (AppId, u64, u32) => SealedChunk;
    /// Releases by app and version.
    RELEASES = 9, "release", (AppId, u64) => Release;
    /// Release id to version.
    RELEASE_BY_ID = 10, "release_by_id", ReleaseId => (AppId, u64);
    /// Builds.
    BUILDS = 11, "build", BuildId => Build;
    /// Builds of an app in the order they were made.
    BUILD_BY_APP = 12, "build_by_app", (AppId, u64, BuildId) => BuildId;
    /// Slugs.
    SLUGS = 13, "slug", SlugId => Slug;
    /// Slugs of an app.
    SLUG_BY_APP = 14, "slug_by_app", (AppId, SlugId) => Present;
    /// Formation by app and type.
    FORMATION = 15, "formation", (AppId, String) => Formation;
    /// Dynos.
    DYNOS = 16, "dyno", DynoId => Dyno;
    /// Dynos of an app.
    DYNO_BY_APP = 17, "dyno_by_app", (AppId, DynoId) => DynoId;
    /// Custom domains by host name.
    DOMAINS = 18, "domain", String => AppDomain;
    /// Domains of an app.
    DOMAIN_BY_APP = 19, "domain_by_app", (AppId, String) => Present;
    /// Events by sequence number.
    EVENTS = 20, "event", u64 => Event;
    /// Environment that came with the call for a one-off dyno: dyno, piece.
    DYNO_ENV = 21, "dyno_env", (DynoId, u32) => SealedChunk;
    /// Scheduled one-off dynos.
    SCHEDULES = 22, "schedule", ScheduleId => Schedule;
    /// Teams.
    TEAMS = 23, "team", TeamId => Team;
    /// Name to team.
    TEAM_BY_NAME = 24, "team_by_name", String => TeamId;
    /// Who is in which team.
    MEMBERS = 25, "member", (TeamId, AccountId) => Membership;
    /// Who works on which app.
    COLLABORATORS = 26, "collaborator", (AppId, AccountId) => Collaborator;
    /// Hash of the token of an authorization.
    TOKEN_BY_ID = 27, "token_by_id", Uuid => String;
    /// What accounts sign in with.
    SECRETS = 29, "secrets", AccountId => Secrets;
    /// Clients of the web flow.
    CLIENTS = 30, "client", Uuid => Client;
    /// Codes of the web flow by the hash of the code, which is in the value, too.
    CODES = 31, "authorization_code", String => (String, AuthorizationCode);
    /// Signed-in browsers by the hash of the cookie, which is in the value, too.
    SESSIONS = 33, "session", String => (String, Session);
    /// Open invitations by the hash of the link's secret.
    INVITATIONS = 28, "invitation", String => Invitation;
    /// Apps that were offered to somebody.
    TRANSFERS = 37, "transfer", Uuid => Transfer;
    /// Hash of the secret of an invitation.
    INVITATION_BY_ID = 38, "invitation_by_id", Uuid => String;
    /// Public keys of accounts.
    SSH_KEYS = 35, "ssh_key", KeyId => SshKey;
    /// SHA-256 fingerprint to key.
    KEY_BY_FINGERPRINT = 36, "key_by_fingerprint", String => KeyId;
    /// Pipelines.
    PIPELINES = 40, "pipeline", PipelineId => Pipeline;
    /// Name to pipeline.
    PIPELINE_BY_NAME = 41, "pipeline_by_name", String => PipelineId;
    /// The place of an app in its only pipeline.
    COUPLINGS = 42, "coupling", AppId => Coupling;
    /// Uploads of slugs that were made without their bytes.
    SLUG_UPLOADS = 43, "slug_upload", (AppId, SlugId) => SlugUpload;
    /// Promotions.
    PROMOTIONS = 44, "promotion", Uuid => Promotion;
    /// App setups.
    SETUPS = 45, "setup", Uuid => Setup;
    /// Webhooks.
    WEBHOOKS = 46, "webhook", (AppId, Uuid) => Webhook;
    /// What hooks are told.
    WEBHOOK_EVENTS = 47, "webhook_event", (AppId, Uuid) => HookEvent;
    /// Deliveries in the order they were made.
    DELIVERIES = 48, "delivery", (AppId, u64) => Delivery;
    /// Config vars of a stage: pipeline, stage, piece.
    STAGE_CONFIG = 50, "stage_config", (PipelineId, u32, u32) => SealedChunk;
    /// Uploaded certificates.
    SNI = 51, "sni_endpoint", Uuid => SniEndpoint;
    /// Uploaded certificates of an app.
    SNI_BY_APP = 52, "sni_endpoint_by_app", (AppId, Uuid) => Uuid;
    /// Private keys of uploaded certificates: endpoint, piece.
    SNI_KEYS = 53, "sni_key", (Uuid, u32) => SealedChunk;
    /// Names whose certificates are managed.
    MANAGED = 49, "managed_certificate", String => Managed;
    /// Private keys that belong to managed certificates, and that of the account: id, piece.
    MANAGED_KEYS = 58, "managed_key", (Uuid, u32) => SealedChunk;
    /// What was asked of authorities in the last week.
    ACM_LEDGER = 60, "acm_ledger", (u64, Uuid) => Entry;
    /// Log drains.
    DRAINS = 54, "log_drain", Uuid => LogDrain;
    /// Log drains of an app.
    DRAIN_BY_APP = 55, "log_drain_by_app", (AppId, Uuid) => Uuid;
    /// Own rules for alerts.
    ALERT_RULES = 64, "alert_rule", (AppId, Uuid) => Rule;
    /// Channels for notices.
    CHANNELS = 65, "alert_channel", Uuid => Channel;
    /// The last alert of each rule and what it is about, by both.
    ALERTS = 66, "alert", String => Alert;
    /// Notices of a channel in the order they were made.
    NOTICES = 67, "notice", (Uuid, u64) => Notice;
    /// Apps whose build cache is to be emptied before their next build, and since when.
    CACHE_CLEARED = 56, "build_cache_cleared", AppId => UnixMs;
    /// Persistent volumes.
    VOLUMES = 63, "volume", Uuid => Volume;
    /// Snapshots of a volume.
    SNAPSHOTS = 70, "volume_snapshot", (Uuid, Uuid) => Snapshot;
    /// What people prefer, by the names of the published schema.
    PREFERENCES = 57, "preferences", AccountId => BTreeMap<String, serde_json::Value>;
}

/// The key of the schema number in [`META`].
pub const SCHEMA_KEY: &str = "schema";
