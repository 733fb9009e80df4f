//! What can go wrong; each text is for people.

use std::{io, path::Path};
use store::StoreError;

/// Why something about a backup failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The passphrase is another one, or the first bytes were changed.
    #[error("the passphrase does not fit this file; nothing was written. Use the one that the backup was made with")]
    Passphrase,
    /// Something else altogether.
    #[error("this file is no backup of Tidemill; nothing was written")]
    Foreign,
    /// Of a later version.
    #[error("this backup has format {0}, this version reads up to 1; use the newer version. Nothing was written")]
    Newer(u16),
    /// The end is missing.
    #[error("the file is cut: it ends after {0} bytes without its last piece. Take another copy of it; nothing was written")]
    Cut(u64),
    /// One of both; they look the same there.
    #[error(
        "the file is cut, or damaged in its last piece, which begins at byte {0}. Take another copy of it; nothing was written"
    )]
    Torn(u64),
    /// A byte was changed.
    #[error("the file is damaged near byte {0}. Take another copy of it; nothing was written")]
    Damaged(u64),
    /// It opens, but what is inside does not agree.
    #[error("the backup is not whole: {0}")]
    Unsound(String),
    /// No space.
    #[error("no space left on the disk of {0}; no half file was left. Free space, or use another place")]
    Full(String),
    /// The target is there.
    #[error("{0} is there already; nothing was written")]
    Exists(String),
    /// The data folder has an installation in it.
    #[error("{0} is not empty; a backup is restored into an empty data folder only. Nothing was written")]
    NotEmpty(String),
    /// What the caller got wrong.
    #[error("{0}")]
    Usage(String),
    /// The system's words.
    #[error("can not {0}: {1}")]
    Io(String, String),
    /// The store's words.
    #[error("{0}")]
    Store(#[from] StoreError),
}

/// Short for results of this room.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Exit code of a command that ends with it (`ux.md` section 3).
    pub fn exit(&self) -> u8 {
        match self {
            Self::Passphrase => 3,
            Self::Foreign | Self::Newer(_) | Self::Usage(_) => 2,
            Self::Full(_) | Self::Exists(_) | Self::NotEmpty(_) | Self::Store(StoreError::InUse(_) | StoreError::Full) => 5,
            _ => 1,
        }
    }

    /// From a failed operation on a file.
    pub fn io(verb: &str, path: &Path, e: &io::Error) -> Self {
        if e.kind() == io::ErrorKind::StorageFull || e.kind() == io::ErrorKind::QuotaExceeded {
            return Self::Full(path.display().to_string());
        }
        // Errors of the sealed stream travel through readers that know only the system's.
        match e.get_ref().and_then(|inner| inner.downcast_ref::<Stream>()) {
            Some(Stream::Cut(at)) => Self::Cut(*at),
            Some(Stream::Torn(at)) => Self::Torn(*at),
            Some(Stream::Damaged(at)) => Self::Damaged(*at),
            None => Self::Io(format!("{verb} {}", path.display()), e.to_string()),
        }
    }
}

/// What the sealed stream finds, on its way through `io::Error`.
#[derive(Debug, thiserror::Error)]
pub enum Stream {
    /// No last piece.
    #[error("cut at {0}")]
    Cut(u64),
    /// What is there of the last piece does not open.
    #[error("torn at {0}")]
    Torn(u64),
    /// A piece does not open.
    #[error("damaged at {0}")]
    Damaged(u64),
}

impl From<Stream> for io::Error {
    fn from(e: Stream) -> Self {
        Self::new(io::ErrorKind::InvalidData, e)
    }
}
