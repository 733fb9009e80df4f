//! Unpacking a system from one or more tars.

use super::{StackError, opened, sha256, unreadable};
use serde_json::Value;
use std::{
    ffi::OsStr,
    fs, io,
    io::Read,
    path::{Path, PathBuf},
};
use tar::{Archive, EntryType};

/// Names of files that say what a layer takes away (OCI image specification, "Whiteouts").
const WHITEOUT: &str = ".wh.";
const OPAQUE: &str = ".wh..wh..opq";

/// A system that grows layer by layer.
pub struct Tree {
    root: PathBuf,
    entries: u64,
    entries_max: u64,
}

impl Tree {
    /// Into the existing, empty folder `root`.
    pub fn new(root: PathBuf, entries_max: u64) -> Result<Self, StackError> {
        Ok(Self { root: root.canonicalize()?, entries: 0, entries_max })
    }

    /// Entries so far.
    pub fn entries(&self) -> u64 {
        self.entries
    }

    /// Adds a layer.
    pub fn add(&mut self, layer: impl Read) -> Result<(), StackError> {
        let mut archive = Archive::new(layer);
        archive.set_preserve_permissions(true);
        archive.set_preserve_ownerships(true);
        archive.set_overwrite(true);
        for entry in archive.entries().map_err(unreadable)? {
            let mut entry = entry.map_err(unreadable)?;
            self.entries += 1;
            if self.entries > self.entries_max {
                return Err(unreadable(format!("it has more than {} entries", self.entries_max)));
            }
            let path = entry.path().map_err(unreadable)?.into_owned();
            let name = path.file_name().and_then(OsStr::to_str).unwrap_or("");
            if let Some(gone) = name.strip_prefix(WHITEOUT) {
                if name != OPAQUE && ["", ".", ".."].contains(&gone) {
                    return Err(unreadable(format!("{}: takes away nothing", path.display())));
                }
                self.take_away(&path, name, gone)?;
                continue;
            }
            let kind = entry.header().entry_type();
            if matches!(kind, EntryType::Block | EntryType::Char | EntryType::Fifo) {
                continue; // dynos have devices of their own
            }
            let link = entry.link_name().map_err(unreadable)?.filter(|_| kind == EntryType::Link);
            if link.as_ref().is_some_and(|target| self.place(target) == self.place(&path)) {
                continue; // to itself
            }
            self.make_room(&path, kind)?;
            // It refuses paths that lead out, also through links.
            entry.unpack_in(&self.root).map_err(|e| unreadable(format!("{}: {e}", path.display())))?;
        }
        Ok(())
    }

    /// The place of an entry, when its folder is there and inside.
    fn place(&self, path: &Path) -> Option<PathBuf> {
        let inside: PathBuf = path.components().filter(|c| matches!(c, std::path::Component::Normal(_))).collect();
        let parent = self.root.join(inside.parent()?).canonicalize().ok()?;
        parent.starts_with(&self.root).then(|| parent.join(inside.file_name().unwrap_or_default()))
    }

    /// What is of another kind gives way.
    fn make_room(&self, path: &Path, kind: EntryType) -> Result<(), StackError> {
        let is_dir = kind == EntryType::Directory;
        let Some(place) = self.place(path).filter(|place| *place != self.root) else { return Ok(()) };
        match fs::symlink_metadata(&place) {
            Ok(meta) if meta.is_dir() && !is_dir => remove(&place),
            Ok(_) if kind == EntryType::Link => remove(&place), // a hard link is not laid over what is there
            // A folder over a link to a folder keeps the link, as other tools do.
            Ok(meta) if !meta.is_dir() && is_dir && !place.is_dir() => remove(&place),
            _ => Ok(()),
        }
    }

    fn take_away(&self, path: &Path, name: &str, gone: &str) -> Result<(), StackError> {
        let Some(place) = self.place(path) else { return Ok(()) };
        let Some(parent) = place.parent() else { return Ok(()) };
        if name == OPAQUE {
            for entry in fs::read_dir(parent)?.flatten() {
                remove(&entry.path())?;
            }
            return Ok(());
        }
        remove(&parent.join(gone))
    }
}

fn remove(path: &Path) -> Result<(), StackError> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e.into()),
        _ => Ok(()),
    }
}

/// Unpacks the first image of an OCI layout that is for this kind of machine; gives its content address.
pub fn from_layout(layout: &Path, tree: &mut Tree) -> Result<String, StackError> {
    let mut manifest = read_json(&layout.join("index.json"))?;
    let mut id = String::new();
    // An index may name further indices, one for each kind of machine.
    for _ in 0..3 {
        let Some(choices) = manifest["manifests"].as_array() else { break };
        let chosen =
            choices.iter().find(|m| fits(m)).ok_or_else(|| unreadable("no image in it is for this kind of machine"))?;
        let blob = blob(layout, &chosen["digest"])?;
        id = sha256(&blob)?;
        manifest = read_json(&blob)?;
    }
    let layers = manifest["layers"].as_array().ok_or_else(|| unreadable("the image has no layers"))?;
    for layer in layers {
        tree.add(opened(&blob(layout, &layer["digest"])?)?)?;
    }
    Ok(id)
}

fn fits(manifest: &Value) -> bool {
    let wanted = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let platform = &manifest["platform"];
    platform.is_null() || (platform["architecture"] == wanted && platform["os"] == "linux")
}

fn read_json(path: &Path) -> Result<Value, StackError> {
    let text = fs::read(path).map_err(|e| unreadable(format!("{}: {e}", path.display())))?;
    serde_json::from_slice(&text).map_err(|e| unreadable(format!("{}: {e}", path.display())))
}

/// A blob, once its checksum was found to be right.
fn blob(layout: &Path, digest: &Value) -> Result<PathBuf, StackError> {
    let hex = digest.as_str().and_then(|d| d.strip_prefix("sha256:")).filter(|h| h.bytes().all(|b| b.is_ascii_hexdigit()));
    let hex = hex.ok_or_else(|| unreadable(format!("{digest} is no sha256 digest")))?;
    let path = layout.join("blobs/sha256").join(hex);
    let found = sha256(&path).map_err(|e| unreadable(format!("{}: {e}", path.display())))?;
    if found == hex { Ok(path) } else { Err(unreadable(format!("{} is damaged", path.display()))) }
}
