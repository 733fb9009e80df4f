//! Apps, their formation and their domains.

use crate::{AccountId, AppId, HealthCheck, TeamId, UnixMs, feature, size};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// Name of the stack that needs no import: the host's own system.
pub const HOST_STACK: &str = "heroku-24";

/// An app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct App {
    /// Key.
    pub id: AppId,
    /// Unique; see [`crate::names::check_app_name`].
    pub name: String,
    /// Who made it, and whose it is unless it belongs to a team.
    pub owner: AccountId,
    /// The team that it belongs to, if one.
    #[serde(default)]
    pub team: Option<TeamId>,
    /// Only those members of the team work on it who joined it.
    #[serde(default)]
    pub locked: bool,
    /// Name of the root file system, `heroku-24` for the host stack.
    pub stack: String,
    /// Configured buildpacks in order: `heroku/NAME`, a URL or an absolute local path.
    pub buildpacks: Vec<String>,
    /// Answer 503 to visitors.
    pub maintenance: bool,
    /// Name that the last build detected, for people.
    pub detected: Option<String>,
    /// Version that the next release gets.
    pub next_version: u64,
    /// The wanted release.
    pub current: Option<u64>,
    /// The newest release whose web dynos were seen to accept; the way back when `current` does not come up.
    pub proven: Option<u64>,
    /// Newest set of config vars.
    pub config_version: u64,
    /// Raised by a restart of all dynos: dynos of an older generation are replaced.
    pub generation: u64,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change of the app itself.
    pub updated_at: UnixMs,
    /// Last release.
    pub released_at: Option<UnixMs>,
    /// Bytes of the git repository, once known.
    pub repo_bytes: Option<u64>,
    /// Bytes of the current slug, once known.
    pub slug_bytes: Option<u64>,
    /// Since when it sleeps, if it does: no dyno of its formation runs until somebody wants it.
    #[serde(default)]
    pub asleep_since: Option<UnixMs>,
    /// The release that is rolled out slot by slot, since memory does not allow two sets of web dynos.
    #[serde(default)]
    pub in_steps: Option<u64>,
    /// Features that are on, and since when.
    #[serde(default)]
    pub features: BTreeMap<String, UnixMs>,
    /// What a web dyno must answer before it counts as up; without it an open port is enough.
    #[serde(default)]
    pub health_check: Option<HealthCheck>,
    /// Certificates of its domains are to be managed, and since when.
    #[serde(default)]
    pub acm_since: Option<UnixMs>,
    /// Since it has had a volume, all its dynos have this number in the driver's pool of users.
    #[serde(default)]
    pub volume_user: Option<u32>,
}

impl App {
    /// New web dynos of `web_size` start beside the old ones and take over when the hold is over (`runtime.md` section 11).
    pub fn preboots(&self, web_size: &str) -> bool {
        self.features.contains_key(feature::PREBOOT) && !matches!(size::find_or_default(web_size).name, "Eco" | "Basic")
    }
}

/// How many dynos of a type should run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Formation {
    /// Public id.
    pub id: Uuid,
    /// Owning app.
    pub app: AppId,
    /// Process type.
    pub ptype: String,
    /// Wanted number.
    pub quantity: u32,
    /// Name of the size.
    pub size: String,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change.
    pub updated_at: UnixMs,
}

/// A custom domain. Keyed by host name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppDomain {
    /// Public id.
    pub id: Uuid,
    /// Owning app.
    pub app: AppId,
    /// Normal form; may begin with `*.`.
    pub hostname: String,
    /// Certificate that answers for it; without one the platform's own does.
    #[serde(default)]
    pub sni_endpoint: Option<Uuid>,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change, if there was one.
    #[serde(default)]
    pub updated_at: Option<UnixMs>,
}
