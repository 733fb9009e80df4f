//! App setups. Field names are those of the published schema.

use crate::NameRef;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The build of a setup.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AppSetupBuild {
    pub id: Uuid,
    pub output_stream_url: String,
    pub status: String,
}

/// How the script ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AppSetupPostdeploy {
    pub exit_code: i32,
    pub output: String,
}

/// An app that is set up from a source.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AppSetup {
    pub id: Uuid,
    pub app: NameRef,
    pub build: Option<AppSetupBuild>,
    pub created_at: String,
    pub failure_message: Option<String>,
    pub manifest_errors: Vec<String>,
    pub postdeploy: Option<AppSetupPostdeploy>,
    pub resolved_success_url: Option<String>,
    pub status: String,
    pub updated_at: String,
}
