//! How far a drain is: a number in a file, written over after every batch. It outlives a kill of the daemon; after a loss of
//! power it may be an older one, and lines come twice.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};
use uuid::Uuid;

const DIGITS: usize = 20;

pub(super) struct Cursor {
    path: PathBuf,
    file: Option<File>,
    seq: u64,
}

fn path(dir: &Path, id: Uuid) -> PathBuf {
    dir.join(format!("{id}.seq"))
}

impl Cursor {
    /// The noted number, or `first`; never past `newest`, which would make the drain skip lines to come.
    pub(super) fn open(dir: &Path, id: Uuid, first: u64, newest: u64) -> Self {
        let path = path(dir, id);
        let noted = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse::<u64>().ok());
        Self { path, file: None, seq: noted.unwrap_or(first).min(newest) }
    }

    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    pub(super) fn advance(&mut self, seq: u64) -> io::Result<()> {
        self.seq = seq;
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(OpenOptions::new().create(true).truncate(false).write(true).open(&self.path)?),
        };
        file.write_all_at(format!("{seq:0DIGITS$}\n").as_bytes(), 0)
    }
}

/// Removes what belongs to drains that are gone.
pub(super) fn sweep(dir: &Path, wanted: impl Fn(Uuid) -> bool) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let id = name.to_str().and_then(|name| name.strip_suffix(".seq")).and_then(|id| id.parse::<Uuid>().ok());
        if id.is_some_and(|id| !wanted(id)) {
            let _ = fs::remove_file(entry.path()); // the next time, then
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_comes_back_and_never_from_the_future() {
        let (dir, id) = (tempfile::tempdir().unwrap(), Uuid::from_u128(1));
        let open = |newest| Cursor::open(dir.path(), id, 5, newest);
        let mut cursor = open(100);
        assert_eq!(cursor.seq(), 5);
        cursor.advance(70).unwrap();
        cursor.advance(80).unwrap();
        assert_eq!((open(100).seq(), open(60).seq()), (80, 60));
        std::fs::write(path(dir.path(), id), "garbage").unwrap();
        assert_eq!(open(100).seq(), 5);
        sweep(dir.path(), |_| false);
        assert!(std::fs::read_dir(dir.path()).unwrap().next().is_none());
    }
}
