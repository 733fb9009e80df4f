//! The journal: the truth. Segments named by the sequence number of their first record, each a row of frames.

use crate::{
    StoreError,
    codec::{self, Record},
    frame,
};
use std::{
    fs::{self, File, OpenOptions},
    io::{Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// Where the journal ended in something that is no whole record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// File.
    pub segment: PathBuf,
    /// End of the last whole record in it.
    pub offset: u64,
    /// Bytes that were set aside, later segments included.
    pub bytes: u64,
}

/// The journal, open for appending.
pub struct Journal {
    dir: PathBuf,
    segment_bytes: u64,
    current: Option<Segment>,
    last_seq: u64,
    first_seq: u64,
    /// Set when a failed write could not be undone; the journal takes nothing more until it is reopened.
    poisoned: bool,
}

struct Segment {
    file: File,
    path: PathBuf,
    bytes: u64,
}

const SUFFIX: &str = ".journal";

impl Journal {
    /// Opens the journal at its last whole record. What follows that is moved into a `.cut` file beside it.
    pub fn open(dir: &Path, segment_bytes: u64) -> Result<(Self, Option<Cut>), StoreError> {
        fs::create_dir_all(dir).map_err(|e| StoreError::io("create", dir, e))?;
        let mut journal =
            Self { dir: dir.to_path_buf(), segment_bytes, current: None, last_seq: 0, first_seq: 0, poisoned: false };
        let segments = journal.segments()?;
        let mut cut: Option<Cut> = None;
        for (first, path) in &segments {
            if let Some(cut) = &mut cut {
                cut.bytes += set_aside(path, 0)?;
                continue;
            }
            let expected = if journal.last_seq > 0 { journal.last_seq + 1 } else { *first };
            if *first != expected {
                cut = Some(Cut { segment: path.clone(), offset: 0, bytes: set_aside(path, 0)? });
                continue;
            }
            if journal.first_seq == 0 {
                journal.first_seq = *first;
            }
            let (end, length) = journal.check_segment(path, expected)?;
            if end < length {
                cut = Some(Cut { segment: path.clone(), offset: end, bytes: set_aside(path, end)? });
            }
        }
        if let Some((_, path)) = journal.segments()?.pop() {
            journal.current = Some(open_segment(&path)?);
        }
        Ok((journal, cut))
    }

    /// Walks a segment; gives the end of the last whole record and the length of the file.
    fn check_segment(&mut self, path: &Path, mut expected: u64) -> Result<(u64, u64), StoreError> {
        let bytes = fs::read(path).map_err(|e| StoreError::io("read", path, e))?;
        let mut rest = bytes.as_slice();
        while let frame::Next::Whole(payload, after) = frame::next(rest) {
            let Ok(record) = codec::decode::<Record>(payload) else { break };
            if record.seq != expected {
                break;
            }
            self.last_seq = record.seq;
            expected += 1;
            rest = after;
        }
        Ok(((bytes.len() - rest.len()) as u64, bytes.len() as u64))
    }

    fn segments(&self) -> Result<Vec<(u64, PathBuf)>, StoreError> {
        segments(&self.dir)
    }

    /// Number of the newest record, 0 when there is none.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Number of the oldest record that is still here, 0 when there is none.
    pub fn first_seq(&self) -> u64 {
        self.first_seq
    }

    /// After a cut, when something newer than the journal is known (and was exported): drops what is here, and goes on
    /// after `seq` in a new segment. A gap within the journal would look like damage at the next open.
    pub fn start_over_after(&mut self, seq: u64) -> Result<(), StoreError> {
        self.current = None;
        for (_, path) in self.segments()? {
            fs::remove_file(&path).map_err(|e| StoreError::io("remove", &path, e))?;
        }
        sync_dir(&self.dir)?;
        (self.last_seq, self.first_seq) = (seq, 0);
        Ok(())
    }

    /// Calls `each` with every record after `after`, in order.
    pub fn replay(&self, after: u64, mut each: impl FnMut(Record) -> Result<(), StoreError>) -> Result<u64, StoreError> {
        let mut count = 0;
        for (_, path) in self.segments()? {
            let bytes = fs::read(&path).map_err(|e| StoreError::io("read", &path, e))?;
            let mut rest = bytes.as_slice();
            while let frame::Next::Whole(payload, tail) = frame::next(rest) {
                let record: Record = codec::decode(payload)?;
                rest = tail;
                if record.seq > after {
                    each(record)?;
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    /// Appends the records as one write and one `fdatasync`. On error the file is as it was before.
    pub fn append(&mut self, records: &[Record]) -> Result<(), StoreError> {
        let Some(first) = records.first() else { return Ok(()) };
        if self.poisoned {
            return Err(StoreError::Unavailable("the journal could not undo a failed write; restart the daemon".into()));
        }
        let mut bytes = Vec::with_capacity(records.len() * 512);
        for record in records {
            let payload = codec::encode(record)?;
            if payload.len() > frame::PAYLOAD_BYTES_MAX {
                return Err(StoreError::Corrupt(format!("a transaction of {} bytes is too large", payload.len())));
            }
            frame::push(&mut bytes, &payload);
        }
        let segment = self.segment_for(first.seq)?;
        let written = segment.file.write_all(&bytes).and_then(|()| segment.file.sync_data());
        if let Err(e) = written {
            let error = StoreError::io("write", &segment.path.clone(), e);
            self.undo_write();
            return Err(error);
        }
        segment.bytes += bytes.len() as u64;
        self.last_seq = records.last().map_or(self.last_seq, |r| r.seq);
        if self.first_seq == 0 {
            self.first_seq = first.seq;
        }
        Ok(())
    }

    /// The segment to write to; a new one when the current is full.
    fn segment_for(&mut self, seq: u64) -> Result<&mut Segment, StoreError> {
        if self.current.as_ref().is_none_or(|s| s.bytes >= self.segment_bytes) {
            let path = self.dir.join(format!("{seq:020}{SUFFIX}"));
            let segment = open_segment(&path)?;
            sync_dir(&self.dir)?;
            self.current = Some(segment);
        }
        self.current.as_mut().ok_or_else(|| StoreError::Unavailable("no journal segment".into()))
    }

    /// After a failed write or sync the pages of the file may be in any state: cut it back, sync that, and go on in a
    /// file of its own, since a second `fdatasync` of the same file would not tell about the first failure.
    fn undo_write(&mut self) {
        let Some(segment) = self.current.take() else { return };
        let undone = segment.file.set_len(segment.bytes).and_then(|()| segment.file.sync_all());
        let removed = if segment.bytes == 0 { fs::remove_file(&segment.path) } else { Ok(()) };
        if let Err(e) = undone.and(removed) {
            tracing::error!(path = %segment.path.display(), error = %e, "store.journal_poisoned");
            self.poisoned = true;
        }
    }

    /// Removes segments that hold nothing after `seq`.
    pub fn prune(&mut self, seq: u64) -> Result<(), StoreError> {
        let segments = self.segments()?;
        for pair in segments.windows(2) {
            if pair[1].0 <= seq + 1 {
                fs::remove_file(&pair[0].1).map_err(|e| StoreError::io("remove", &pair[0].1, e))?;
                self.first_seq = pair[1].0;
            }
        }
        Ok(())
    }
}

/// Segments of a folder with the number of their first record, in order.
pub fn segments(dir: &Path) -> Result<Vec<(u64, PathBuf)>, StoreError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(|e| StoreError::io("read", dir, e))? {
        let entry = entry.map_err(|e| StoreError::io("read", dir, e))?;
        let name = entry.file_name();
        let first = name.to_str().and_then(|n| n.strip_suffix(SUFFIX)).and_then(|n| n.parse().ok());
        found.extend(first.map(|f| (f, entry.path())));
    }
    found.sort();
    Ok(found)
}

fn open_segment(path: &Path) -> Result<Segment, StoreError> {
    let io = |e| StoreError::io("open", path, e);
    let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(io)?;
    let bytes = file.seek(SeekFrom::End(0)).map_err(io)?;
    Ok(Segment { file, path: path.to_path_buf(), bytes })
}

/// Moves everything from `offset` on into a `.cut` file; returns how many bytes that were.
fn set_aside(path: &Path, offset: u64) -> Result<u64, StoreError> {
    let io = |e| StoreError::io("cut", path, e);
    let bytes = fs::read(path).map_err(io)?;
    let tail = &bytes[usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len())..];
    let mut aside = path.as_os_str().to_os_string();
    aside.push(format!(".{offset}.cut"));
    fs::write(&aside, tail).map_err(io)?;
    if offset == 0 {
        fs::remove_file(path).map_err(io)?;
    } else {
        let file = OpenOptions::new().write(true).open(path).map_err(io)?;
        file.set_len(offset).and_then(|()| file.sync_all()).map_err(io)?;
    }
    Ok(tail.len() as u64)
}

/// Makes a created or renamed name durable.
pub fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| StoreError::io("sync", dir, e))
}
