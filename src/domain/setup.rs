//! App setups: an app made of a source that says in `app.json` what it needs (`git-contract.md` section 7).

use crate::{AccountId, AppId, BuildId, DynoId, SourceBlob, UnixMs};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Process type of the script that runs after the first deploy.
pub const POSTDEPLOY: &str = "postdeploy";

/// How a setup stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SetupStatus {
    /// Under way.
    Pending,
    /// All was done.
    Succeeded,
    /// Something was not possible; the app is as far as it came.
    Failed,
}

impl SetupStatus {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Fetch the source, read `app.json`, set config vars, buildpacks and stack.
    Configure,
    /// Build and release.
    Build,
    /// Set the formation.
    Scale,
    /// Run the script.
    Postdeploy,
}

/// What `app.json` says for the steps after the first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Type, number, size.
    pub formation: Vec<(String, Option<u32>, Option<String>)>,
    /// The script, for bash.
    pub postdeploy: Option<String>,
    /// Where to send people afterwards: a path of the app, or a URL.
    pub success_url: Option<String>,
}

/// How the script ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Postdeploy {
    /// Its exit status.
    pub exit_code: i32,
    /// The last part of what it said.
    pub output: String,
}

/// One setup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setup {
    /// Public id.
    pub id: Uuid,
    /// The app that was made for it.
    pub app: AppId,
    /// Its name then, for when it is gone.
    pub app_name: String,
    /// Who asked for it.
    pub user: AccountId,
    /// The source.
    pub source: SourceBlob,
    /// Config vars that win over those of `app.json`: sealed JSON, in pieces.
    pub env: Vec<String>,
    /// Buildpacks instead of those of `app.json`.
    pub buildpacks: Option<Vec<String>>,
    /// What comes next.
    pub step: Step,
    /// What `app.json` said.
    pub plan: Plan,
    /// The build, once there is one.
    pub build: Option<BuildId>,
    /// The dyno of the script, once there is one.
    pub dyno: Option<DynoId>,
    /// How the script ended.
    pub postdeploy: Option<Postdeploy>,
    /// How it stands.
    pub status: SetupStatus,
    /// Why it failed.
    pub failure: Option<String>,
    /// What is wrong with `app.json`.
    pub manifest_errors: Vec<String>,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change.
    pub updated_at: UnixMs,
}
