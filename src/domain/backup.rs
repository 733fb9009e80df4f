//! Backups that were made, and how old the last good one is (`ux.md` J12, section 9).

use crate::UnixMs;
use serde::{Deserialize, Serialize};

/// One that was tried to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backup {
    /// When it was done, or had failed.
    pub at: UnixMs,
    /// Path or address of the file.
    pub place: String,
    /// By itself, at night.
    #[serde(default)]
    pub scheduled: bool,
    /// Size of the file.
    #[serde(default)]
    pub bytes: u64,
    /// SHA-256 of the file.
    #[serde(default)]
    pub sha256: String,
    /// How long it took, with its trial.
    #[serde(default)]
    pub millis: u64,
    /// Apps in it.
    #[serde(default)]
    pub apps: u64,
    /// Why there is no good one.
    #[serde(default)]
    pub error: Option<String>,
}

/// Those that are remembered.
pub const KEPT: usize = 200;

/// The newest good one.
pub fn last_good(all: &[Backup]) -> Option<&Backup> {
    all.iter().filter(|backup| backup.error.is_none()).max_by_key(|backup| backup.at)
}
