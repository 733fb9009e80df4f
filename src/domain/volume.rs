//! Persistent volumes: folders of an app that outlive its dynos, its releases and, for a while, the app itself.

use crate::{AccountId, AppId, UnixMs};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Volumes of an app.
pub const VOLUMES_PER_APP_MAX: usize = 20;
/// Snapshots of a volume; the oldest must be removed before there is another.
pub const SNAPSHOTS_MAX: usize = 50;
/// A volume without an app stays so long, then it is removed with its snapshots.
pub const TRASH_MS: u64 = 7 * 86_400_000;
/// First number in the driver's pool of users that belongs to an app with volumes: all its dynos have the same, so that what
/// one wrote is there for the next.
pub const FIRST_SLOT: u32 = 100_000;
/// Characters of a name.
const NAME_CHARS_MAX: usize = 30;
/// Bytes of a path.
const PATH_BYTES_MAX: usize = 255;

/// Places that belong to the system or to the platform, with all that is below.
const TAKEN: &[&str] = &[
    "bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "libx32", "proc", "root", "run", "sbin", "sys", "tmp", "usr",
    "var/run", "var/tmp",
];
/// Places that are there already; what is below is free.
const SHARED: &[&str] = &["app", "home", "opt", "var", "var/lib", "mnt", "srv"];

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Volume {
    /// Key, and the name of its folder.
    pub id: Uuid,
    /// The app that has it; `None` in the trash.
    pub app: Option<AppId>,
    /// Name of the app that has or had it, as it was at the time.
    pub app_name: String,
    /// Unique in its app.
    pub name: String,
    /// What it is meant for: shown beside what is used. Nothing holds it back.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// Where dynos see it.
    #[serde(default)]
    pub places: Vec<Place>,
    /// Who put it into the trash, and may take it out again.
    #[serde(default)]
    pub trashed_by: Option<AccountId>,
    /// Since when it has no app.
    #[serde(default)]
    pub trashed_at: Option<UnixMs>,
    /// The snapshot that is to be put back, until that is done.
    #[serde(default)]
    pub restoring: Option<Uuid>,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change.
    pub updated_at: UnixMs,
}

/// Where dynos see a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// Normal form; see [`check_path`].
    pub path: String,
    /// Only dynos of this process type, and one-off dynos; `None`: all.
    #[serde(default)]
    pub process: Option<String>,
}

/// How a snapshot stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotState {
    /// It is being made.
    Pending,
    /// It can be put back.
    Ready,
    /// It could not be made.
    Failed,
}

impl SnapshotState {
    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }
}

/// A copy of a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Key, and the name of its folder.
    pub id: Uuid,
    /// Of which volume.
    pub volume: Uuid,
    /// Counts from 1 in its volume; people say `s3`.
    pub number: u64,
    /// How it stands.
    pub state: SnapshotState,
    /// Why it is there.
    pub description: String,
    /// Bytes on the disk, once known. Blocks that it shares with the volume count as well.
    #[serde(default)]
    pub bytes: Option<u64>,
    /// Why it failed.
    #[serde(default)]
    pub error: Option<String>,
    /// Creation time.
    pub created_at: UnixMs,
}

impl Volume {
    /// The places at which a dyno sees it. One-off dynos see all, since people look after their data by `run`.
    pub fn places_for<'a>(&'a self, process: &'a str, one_off: bool) -> impl Iterator<Item = &'a Place> {
        self.places.iter().filter(move |place| one_off || place.process.as_deref().is_none_or(|only| only == process))
    }
}

/// Checks the name of a volume.
///
/// # Errors
/// The reason, for the user.
pub fn check_name(name: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ok = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(fine) && !name.ends_with('-');
    if ok && name.len() <= NAME_CHARS_MAX {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no name of a volume: it begins with a small letter and has at most {NAME_CHARS_MAX} of a-z, 0-9 and -."
    ))
}

/// Checks where dynos are to see a volume, and gives the normal form.
///
/// # Errors
/// The reason, for the user.
pub fn check_path(path: &str) -> Result<String, String> {
    let bad = |why: &str| Err(format!("A volume can not be at {path:?}: {why}."));
    let Some(inner) = path.strip_prefix('/') else { return bad("the path must be absolute, like /data") };
    let inner = inner.trim_end_matches('/');
    if path.len() > PATH_BYTES_MAX {
        return bad("the path is too long");
    }
    if inner.chars().any(|c| c.is_control() || c == ':' || c == ',') {
        return bad("the path has a character that is not allowed");
    }
    if inner.is_empty() || inner.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
        return bad("each part of the path must be a plain name");
    }
    let is_below = |taken: &str| inner.strip_prefix(taken).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if let Some(taken) = TAKEN.iter().find(|taken| is_below(taken)) {
        return bad(&format!("/{taken} belongs to the system; take /data or a folder below /app"));
    }
    if SHARED.contains(&inner) {
        return bad(&format!("it would hide what is in /{inner}; take a folder below it, like /{inner}/data"));
    }
    Ok(format!("/{inner}"))
}

/// True when one path is the other or below it.
pub fn overlap(a: &str, b: &str) -> bool {
    let below =
        |inner: &str, outer: &str| inner.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    below(a, b) || below(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_system_are_refused_and_others_get_a_normal_form() {
        for (path, normal) in
            [("/data", "/data"), ("/data/", "/data"), ("/app/public/files", "/app/public/files"), ("/var/lib/x", "/var/lib/x")]
        {
            assert_eq!(check_path(path).as_deref(), Ok(normal));
        }
        for bad in [
            "",
            "/",
            "data",
            "/app",
            "/app/",
            "/proc",
            "/proc/1",
            "/sys/fs",
            "/dev/shm",
            "/etc",
            "/etc/x",
            "/usr/lib",
            "/tmp/x",
            "/var/tmp",
            "/var/lib",
            "/home",
            "/a/../etc",
            "/a//b",
            "/./a",
            "/a\n",
            "/a:ro",
            "/lib64/x",
            "/root",
        ] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
        assert!(check_path(&format!("/{}", "x".repeat(300))).is_err());
        assert!(check_path("/etcetera").is_ok() && check_path("/application").is_ok());
    }

    #[test]
    fn overlap_is_by_whole_names() {
        assert!(overlap("/a", "/a/b") && overlap("/a/b", "/a") && overlap("/a", "/a"));
        assert!(!overlap("/a", "/ab") && !overlap("/a/b", "/a/c"));
    }

    #[test]
    fn names() {
        assert!(check_name("data").is_ok() && check_name("d-1").is_ok());
        for bad in ["", "Data", "1a", "a-", "a/b", "..", &"a".repeat(31)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_place_for_one_process_is_seen_by_it_and_by_one_off_dynos() {
        let place = |path: &str, process: Option<&str>| Place { path: path.into(), process: process.map(Into::into) };
        let volume = Volume {
            id: Uuid::nil(),
            app: None,
            app_name: "shop".into(),
            name: "data".into(),
            size_bytes: None,
            places: vec![place("/a", None), place("/b", Some("worker"))],
            trashed_by: None,
            trashed_at: None,
            restoring: None,
            created_at: UnixMs(0),
            updated_at: UnixMs(0),
        };
        let paths = |process, one_off| volume.places_for(process, one_off).map(|p| p.path.as_str()).collect::<Vec<_>>();
        assert_eq!(paths("web", false), ["/a"]);
        assert_eq!(paths("worker", false), ["/a", "/b"]);
        assert_eq!(paths("run", true), ["/a", "/b"]);
    }
}
