//! A consistent copy of a store that may be in use: the newest export and the journal after it, cut at a whole record. The
//! journal is the truth and only grows, so that no lock is needed and nobody waits.

use crate::{StoreError, codec, export, frame, journal};
use std::{
    fs::File,
    io::{self, Read},
    path::Path,
};

/// The files of a copy, open: what the daemon removes meanwhile stays readable.
pub struct Snapshot {
    export: Option<(u64, File)>,
    segments: Vec<(u64, File)>,
}

/// One file of a copy.
pub struct SnapshotFile {
    /// Place in the folder of the store.
    pub path: String,
    /// Content.
    pub bytes: Vec<u8>,
}

/// Between listing and opening the daemon may remove a file; then it is listed again.
const TRIES: u32 = 10;

impl Snapshot {
    /// Takes hold of the files of the store in `dir`.
    ///
    /// # Errors
    /// When they can not be read, or do not belong together.
    pub fn take(dir: &Path) -> Result<Self, StoreError> {
        for _ in 0..TRIES {
            match Self::hold(dir) {
                Err(StoreError::Unavailable(_)) => {}
                held => return held,
            }
        }
        Err(StoreError::Unavailable(format!("the files of {} change all the time; try again", dir.display())))
    }

    fn hold(dir: &Path) -> Result<Self, StoreError> {
        let open = |path: &Path| match File::open(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Err(StoreError::Unavailable("a file is gone".into())),
            opened => opened.map_err(|e| StoreError::io("open", path, e)),
        };
        let export = export::list(&dir.join("exports")).pop().map(|(seq, path)| Ok((seq, open(&path)?))).transpose()?;
        let reach = export.as_ref().map_or(0, |(seq, _)| *seq);
        let all = journal::segments(&dir.join("journal"))?;
        // The last one that begins at or before what comes after the export, and those after it.
        let from = all.iter().rposition(|(first, _)| *first <= reach + 1).unwrap_or(0);
        let mut segments = Vec::new();
        for (first, path) in &all[from..] {
            segments.push((*first, open(path)?));
        }
        if segments.first().is_some_and(|(first, _)| *first > reach + 1) {
            return Err(StoreError::Corrupt("the journal begins after the newest export ends".into()));
        }
        Ok(Self { export, segments })
    }

    /// Calls `each` with every file; gives the number of the last record that is inside.
    ///
    /// # Errors
    /// When a file can not be read, and those of `each`.
    pub fn files<E: From<StoreError>>(self, mut each: impl FnMut(SnapshotFile) -> Result<(), E>) -> Result<u64, E> {
        let mut last = 0;
        if let Some((seq, file)) = self.export {
            let path = format!("exports/{seq:020}.export");
            each(SnapshotFile { bytes: content(&path, file)?, path })?;
            last = seq;
        }
        let mut expected = None;
        for (first, file) in self.segments {
            if expected.is_some_and(|expected| expected != first) {
                break; // the one before was still being written when it was read
            }
            let path = format!("journal/{first:020}.journal");
            let mut bytes = content(&path, file)?;
            let (whole, next) = whole_records(&bytes, first);
            bytes.truncate(whole);
            expected = Some(next);
            last = last.max(next - 1);
            each(SnapshotFile { path, bytes })?;
        }
        Ok(last)
    }
}

fn content(path: &str, mut file: File) -> Result<Vec<u8>, StoreError> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|e| StoreError::io("read", Path::new(path), e))?;
    Ok(bytes)
}

/// End of the last whole record, and the number after it.
fn whole_records(bytes: &[u8], first: u64) -> (usize, u64) {
    let (mut rest, mut expected) = (bytes, first);
    while let frame::Next::Whole(payload, after) = frame::next(rest) {
        if !codec::decode::<codec::Record>(payload).is_ok_and(|record| record.seq == expected) {
            break;
        }
        expected += 1;
        rest = after;
    }
    (bytes.len() - rest.len(), expected)
}
