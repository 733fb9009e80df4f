//! What can go wrong, each with a stable id.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Errors of the store. `Clone`, because one failed group answers many callers.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum StoreError {
    /// The disk is full; nothing was written. Free space and try again.
    #[error("store_full: no space left on the disk of the store; nothing was changed")]
    Full,
    /// An operation on a file failed.
    #[error("store_io: can not {verb} {path}: {reason}")]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// Another process has the directory open.
    #[error("store_in_use: {0} is in use by another tidemill process")]
    InUse(PathBuf),
    /// Written by a newer version.
    #[error("store_newer: the store has schema {found}, this version knows up to {known}; use the newer version")]
    Newer {
        /// Schema of the data.
        found: u32,
        /// Newest schema that this version reads.
        known: u32,
    },
    /// A stored value does not decode.
    #[error("store_corrupt: {0}")]
    Corrupt(String),
    /// The working copy is being reopened.
    #[error("store_unavailable: {0}")]
    Unavailable(String),
    /// The store was closed.
    #[error("store_closed: the store is closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn io(verb: &'static str, path: &Path, e: io::Error) -> Self {
        if e.kind() == io::ErrorKind::StorageFull || e.kind() == io::ErrorKind::QuotaExceeded {
            return Self::Full;
        }
        Self::Io { verb, path: path.to_path_buf(), reason: e.to_string() }
    }
}
