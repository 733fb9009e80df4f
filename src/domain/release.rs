//! Builds, slugs and releases.

use crate::{AccountId, AppId, BuildId, ReleaseId, SlugId, UnixMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Where a build's source comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceBlob {
    /// Opaque for a git push.
    pub url: String,
    /// Usually the commit.
    pub version: Option<String>,
    /// For people, usually the subject of the commit.
    pub version_description: Option<String>,
    /// `SHA256:<hex>` of the archive, checked when given.
    pub checksum: Option<String>,
}

/// State of a build (`git-contract.md` section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BuildStatus {
    /// Waiting or running.
    Pending,
    /// Made a slug and a release.
    Succeeded,
    /// Did not; a cancelled build is failed too.
    Failed,
}

impl BuildStatus {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// One run of the builder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Build {
    /// Key.
    pub id: BuildId,
    /// Owning app.
    pub app: AppId,
    /// Who started it.
    pub user: AccountId,
    /// Outcome so far.
    pub status: BuildStatus,
    /// What to build.
    pub source: SourceBlob,
    /// True when the archive was already put into the uploads folder under the build's id (git push).
    pub local_source: bool,
    /// Packs asked for with this build only; empty for those of the app.
    pub buildpacks: Vec<String>,
    /// Root file system.
    pub stack: String,
    /// The slug, once there is one.
    pub slug: Option<SlugId>,
    /// The release, once there is one.
    pub release: Option<ReleaseId>,
    /// Secret part of the output URL.
    pub output_key: String,
    /// One line about the failure.
    pub failure: Option<String>,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change.
    pub updated_at: UnixMs,
}

/// A slug waits for its upload or is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SlugState {
    /// Made by `POST /slugs`, no bytes yet.
    Waiting,
    /// Bytes are on disk.
    Ready,
}

/// A built app, compressed, named by id on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slug {
    /// Key.
    pub id: SlugId,
    /// Owning app.
    pub app: AppId,
    /// Are the bytes there?
    pub state: SlugState,
    /// Type to command, after Procfile and defaults.
    pub process_types: BTreeMap<String, String>,
    /// Commit it was built from.
    pub commit: Option<String>,
    /// Subject of the commit.
    pub commit_description: Option<String>,
    /// `SHA256:<hex>` of the compressed file.
    pub checksum: Option<String>,
    /// Compressed size.
    pub bytes: Option<u64>,
    /// Root file system.
    pub stack: String,
    /// Name from detection, for people.
    pub detected: Option<String>,
    /// Process type to image, for an app of images; its command is for `/bin/sh`, or empty for the image's own.
    #[serde(default)]
    pub images: BTreeMap<String, String>,
    /// Secret part of the blob URL.
    pub blob_key: String,
    /// Creation time.
    pub created_at: UnixMs,
}

impl Slug {
    /// The image for a process type of an app of images; one-off dynos of no type of it run on that of `web`, or on any.
    pub fn image(&self, ptype: &str) -> Option<&String> {
        let of = |ptype: &str| self.images.get(ptype);
        of(ptype).or_else(|| of(crate::plan::WEB)).or_else(|| self.images.values().next())
    }
}

/// State of a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReleaseStatus {
    /// Release phase runs.
    Pending,
    /// May serve.
    Succeeded,
    /// Release phase failed or its dynos did not come up.
    Failed,
}

impl ReleaseStatus {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// Code and config that belong together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Public id.
    pub id: ReleaseId,
    /// Owning app.
    pub app: AppId,
    /// Counts from 1 in each app.
    pub version: u64,
    /// Outcome.
    pub status: ReleaseStatus,
    /// What changed.
    pub description: String,
    /// The code, `None` before the first build.
    pub slug: Option<SlugId>,
    /// The frozen set of config vars.
    pub config_version: u64,
    /// Who made it.
    pub user: AccountId,
    /// Secret part of the address of the release phase's output; `None` when it has no phase.
    #[serde(default)]
    pub output_key: Option<String>,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change.
    pub updated_at: UnixMs,
}
