//! Events: every change appends one in the same transaction (`architecture.md` section 3).

use crate::{AccountId, AppId, BuildId, DynoId, PipelineId, ScheduleId, TeamId, UnixMs};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use uuid::Uuid;

/// What happened. Names only, never values of config vars.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventBody {
    /// An account was made.
    AccountCreated,
    /// A token was made.
    TokenCreated,
    /// A token got another description or was made anew.
    TokenChanged,
    /// A token was taken back.
    TokenRevoked,
    /// Name, role, password or second factor of somebody changed.
    AccountChanged {
        /// Whose.
        account: AccountId,
        /// What, in a word or two; never a secret.
        what: String,
    },
    /// Somebody signed in with a password.
    SignedIn,
    /// Somebody signed out, or a browser was signed out.
    SignedOut,
    /// A client of the web flow came, went or changed.
    ClientChanged {
        /// The client.
        client: uuid::Uuid,
    },
    /// Somebody was taken off this installation.
    AccountRemoved {
        /// Who.
        account: AccountId,
    },
    /// An invitation was made, used or taken back.
    InvitationChanged {
        /// For whom.
        email: String,
    },
    /// A team came, went or got another name.
    TeamChanged {
        /// The team.
        team: TeamId,
    },
    /// Somebody came to a team, left it or got another role.
    MemberChanged {
        /// The team.
        team: TeamId,
        /// Who.
        account: AccountId,
        /// `None` when the person left.
        role: Option<String>,
    },
    /// Somebody may work on the app, no longer, or otherwise.
    CollaboratorChanged {
        /// Who.
        account: AccountId,
        /// None of them when the person was taken off.
        permissions: Vec<String>,
    },
    /// The app has another owner.
    AppTransferred {
        /// Who has it now: an e-mail or the name of a team.
        to: String,
    },
    /// A one-time link was made.
    SetupLinkCreated,
    /// Apps live at another platform domain from the next start on.
    PlatformDomainChanged {
        /// The new one.
        domain: String,
    },
    /// An account got a public key.
    KeyAdded {
        /// `SHA256:…`
        fingerprint: String,
    },
    /// A public key was taken back.
    KeyRemoved {
        /// `SHA256:…`
        fingerprint: String,
    },
    /// An app was made.
    AppCreated,
    /// Name, maintenance, buildpacks or stack changed.
    AppUpdated,
    /// An app was removed with all that was its own.
    AppDestroyed,
    /// Keys that were set or removed.
    ConfigChanged {
        /// Names only.
        keys: Vec<String>,
    },
    /// A build was asked for.
    BuildCreated {
        /// The build.
        build: BuildId,
    },
    /// A build ended or changed.
    BuildChanged {
        /// The build.
        build: BuildId,
    },
    /// A slug was made or filled.
    SlugChanged,
    /// Builds start with an empty cache from now on.
    BuildCacheCleared,
    /// Somebody changed what they prefer.
    PreferencesChanged,
    /// A release was made.
    ReleaseCreated {
        /// Its version.
        version: u64,
    },
    /// A release was proven or failed.
    ReleaseChanged {
        /// Its version.
        version: u64,
    },
    /// Quantities or sizes changed.
    FormationChanged,
    /// Somebody asked for a restart.
    RestartRequested,
    /// An app had no visitors for a while and sleeps.
    AppIdled,
    /// A sleeping app was wanted.
    AppUnidled,
    /// A feature was switched.
    FeatureChanged {
        /// Its name.
        feature: String,
    },
    /// The health check of web dynos changed.
    HealthCheckChanged,
    /// The first web dyno of an app was not asked for, since the host has no memory left for it.
    CapacityShort {
        /// The numbers, for the app's log.
        text: String,
    },
    /// A dyno changed its state.
    DynoChanged {
        /// The dyno.
        dyno: DynoId,
    },
    /// A schedule came, went or moved on.
    ScheduleChanged {
        /// The schedule.
        schedule: ScheduleId,
    },
    /// A custom domain came, went, or got another certificate.
    DomainChanged {
        /// Normal form.
        hostname: String,
    },
    /// The app is to be set up from a source.
    SetupCreated {
        /// The setup.
        setup: Uuid,
    },
    /// A setup took a step or is over.
    SetupChanged {
        /// The setup.
        setup: Uuid,
    },
    /// A webhook of the app came, went or changed.
    WebhookChanged {
        /// The hook.
        webhook: Uuid,
    },
    /// A pipeline came, went, or got another name, owner or config vars.
    PipelineChanged {
        /// The pipeline.
        pipeline: PipelineId,
    },
    /// The app came to a pipeline, left it or is another stage of it.
    CouplingChanged {
        /// The pipeline.
        pipeline: PipelineId,
    },
    /// Somebody wants the code of the app to be released by other apps of its pipeline.
    PromotionCreated {
        /// The promotion.
        promotion: Uuid,
    },
    /// A promotion made a release, or is over for one of its targets.
    PromotionChanged {
        /// The promotion.
        promotion: Uuid,
    },
    /// An uploaded certificate came, went or was replaced.
    SniEndpointChanged {
        /// The endpoint.
        endpoint: Uuid,
    },
    /// Managed certificates were switched on or off, or asked for once more.
    AcmChanged,
    /// An alert opened, closed or came back.
    AlertChanged {
        /// The alert.
        alert: Uuid,
    },
    /// A rule for alerts came or went.
    AlertRuleChanged {
        /// The rule.
        rule: Uuid,
    },
    /// A channel for notices came, went, or is to be tried.
    AlertChannelChanged {
        /// The channel.
        channel: Uuid,
    },
    /// A managed certificate came, or is on its way, or did not come.
    ManagedCertificateChanged {
        /// The name.
        hostname: String,
    },
    /// A volume came, went or changed, or one of its snapshots did.
    VolumeChanged {
        /// The volume.
        volume: Uuid,
    },
    /// A log drain came or went.
    DrainChanged {
        /// The drain.
        drain: Uuid,
    },
}

/// An event as it is appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts from 1 without a gap; set by the store.
    pub seq: u64,
    /// When.
    pub at: UnixMs,
    /// Which app, if one.
    pub app: Option<AppId>,
    /// Who, `None` for the platform itself.
    pub actor: Option<AccountId>,
    /// Request that caused it.
    pub request_id: Option<String>,
    /// Where the request came from.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// Root on the machine did it, by the control socket.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub root: bool,
    /// What.
    pub body: EventBody,
}

/// Where a change comes from; what the audit list shows of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Who, `None` for the platform itself.
    pub actor: Option<AccountId>,
    /// Request that caused it.
    pub request_id: Option<String>,
    /// Where the request came from.
    pub address: Option<IpAddr>,
    /// Root on the machine does it, by the control socket.
    pub root: bool,
}
