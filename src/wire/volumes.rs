//! Persistent volumes; ours.

use crate::NameRef;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Volume {
    pub id: Uuid,
    pub name: String,
    /// The app that has it; `null` in the trash.
    pub app: Option<NameRef>,
    /// Name of the app that has or had it.
    pub app_name: String,
    /// Its app is warned above this size.
    pub size_bytes: Option<u64>,
    pub attachments: Vec<VolumePlace>,
    /// `ready`, `restoring` or `trash`.
    pub state: String,
    pub trashed_at: Option<String>,
    /// When it is removed for good.
    pub removed_at: Option<String>,
    pub created_at: String,
    pub updated_at: String,
}

/// Where dynos see a volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct VolumePlace {
    pub path: String,
    /// The only process type, beside one-off dynos; `null`: all.
    pub process: Option<String>,
}

/// A copy of a volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct VolumeSnapshot {
    pub id: Uuid,
    /// `s1`, `s2` …
    pub name: String,
    pub number: u64,
    pub volume: NameRef,
    /// `pending`, `ready` or `failed`.
    pub state: String,
    pub description: String,
    pub bytes: Option<u64>,
    pub error: Option<String>,
    pub created_at: String,
}
