//! The files of one app.

use super::{
    batch::{Batch, Records, read_records},
    frame::{self, Positions, Span},
    legacy,
};
use bytes::Bytes;
use domain::AppId;
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// A head of this size becomes a frame.
pub(super) const HEAD_BYTES: u64 = 512 << 10;
/// A head that could not become a frame grows no further than this.
const HEAD_BYTES_MAX: u64 = 4 << 20;
const HEAD: &str = "head";
const SUFFIX: &str = ".seg";

/// A segment; its name says where it begins, so that a reader finds its place without opening any other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Segment {
    pub first_seq: u64,
    pub first_us: u64,
    pub bytes: u64,
}

impl Segment {
    pub fn path(&self, dir: &Path) -> PathBuf {
        dir.join(format!("{:020}-{:016}{SUFFIX}", self.first_seq, self.first_us))
    }
}

/// Segments in a folder, oldest first.
pub(super) fn segments(dir: &Path) -> Vec<Segment> {
    let each = fs::read_dir(dir).into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name();
        let (seq, us) = name.to_str()?.strip_suffix(SUFFIX)?.split_once('-')?;
        Some(Segment { first_seq: seq.parse().ok()?, first_us: us.parse().ok()?, bytes: entry.metadata().ok()?.len() })
    });
    let mut all: Vec<_> = each.collect();
    all.sort();
    all
}

pub(super) fn dir_of(root: &Path, app: AppId) -> PathBuf {
    root.join(app.to_string())
}

/// When a file or folder was last changed, microseconds since 1970.
pub(super) fn modified_us(metadata: &fs::Metadata) -> u64 {
    let since = metadata.modified().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    u64::try_from(since.unwrap_or_default().as_micros()).unwrap_or(u64::MAX)
}

/// What an app's reader looks at: what was there at one moment.
pub(crate) struct Snapshot {
    pub dir: Arc<PathBuf>,
    pub segments: Vec<Segment>,
    pub head: Bytes,
}

/// The files of one app. One thread writes, any may read.
pub(crate) struct Files {
    dir: Arc<PathBuf>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    segments: Vec<Segment>,
    head: Option<File>,
    head_len: u64,
    span: Option<Span>,
    next_seq: u64,
    positions: Positions,
}

impl Inner {
    /// Takes note of what is in the head now.
    fn note(&mut self, batch: &Batch) {
        match batch.position {
            Some((dyno, 0)) => drop(self.positions.remove(&dyno)),
            Some((dyno, offset)) => drop(self.positions.insert(dyno, offset)),
            None => {}
        }
        if batch.lines == 0 {
            return; // a mark alone has no place among the numbers
        }
        let first = Span { lines: 0, first_seq: batch.first_seq, end_seq: 0, first_us: batch.time_us, last_us: 0 };
        let span = self.span.get_or_insert(first);
        span.lines = span.lines.saturating_add(batch.lines);
        span.end_seq = span.end_seq.max(batch.end_seq());
        span.last_us = span.last_us.max(batch.time_us);
        self.next_seq = self.next_seq.max(batch.end_seq());
    }
}

impl Files {
    /// Takes over what a former process left: cuts off what it was writing, and converts files of older versions.
    pub fn open(root: &Path, app: AppId) -> io::Result<Self> {
        let dir = dir_of(root, app);
        let mut inner = Inner { segments: segments(&dir), next_seq: 1, ..Inner::default() };
        inner.take_over_segments(&dir)?;
        inner.take_over_head(&dir)?;
        let files = Self { dir: Arc::new(dir), inner: Mutex::new(inner) };
        legacy::convert(root, app, &files)?;
        Ok(files)
    }

    /// Begins anew beside what can not be read.
    pub fn anew(root: &Path, app: AppId) -> Self {
        let dir = dir_of(root, app);
        let _ = fs::rename(&dir, dir.with_extension("unreadable")); // what can not be moved is written to, and fails there
        Self { dir: Arc::new(dir), inner: Mutex::new(Inner { next_seq: 1, ..Inner::default() }) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number for the next line, and up to where the output of dynos is stored.
    pub fn state(&self) -> (u64, Positions) {
        let inner = self.inner();
        (inner.next_seq, inner.positions.clone())
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        let inner = self.inner();
        inner.segments.iter().map(|s| s.bytes).sum::<u64>() + inner.head_len
    }

    /// Appends the records of the batches to the head; all of it or nothing.
    pub fn append<'a>(&self, records: &[u8], batches: impl Iterator<Item = &'a Batch>) -> io::Result<()> {
        let mut inner = self.inner();
        if inner.head_len > HEAD_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::StorageFull, "the head can not become a frame"));
        }
        let at = inner.head_len;
        let head = inner.open_head(&self.dir)?;
        if let Err(e) = head.write_all_at(records, at) {
            let _ = head.set_len(at); // what is left of it has no whole record at its end, and is written over
            return Err(e);
        }
        inner.head_len = at + records.len() as u64;
        batches.for_each(|batch| inner.note(batch));
        Ok(())
    }

    /// Closes the head's file, which is opened again when it is needed.
    pub fn rest(&self) {
        self.inner().head = None;
    }

    /// The head's size is enough for a frame.
    pub fn is_ripe(&self) -> bool {
        self.inner().head_len >= HEAD_BYTES
    }

    /// Makes a frame of the head. A segment that has reached `segment_bytes` is followed by a new one.
    pub fn pack(&self, segment_bytes: u64) -> io::Result<()> {
        let mut inner = self.inner();
        let Some(span) = &inner.span else { return Ok(()) };
        let (first_seq, first_us) = (span.first_seq, span.first_us);
        let mut records = vec![0; usize::try_from(inner.head_len).map_err(io::Error::other)?];
        let at_end = inner.segments.last().is_none_or(|s| s.bytes >= segment_bytes);
        let built = {
            inner.open_head(&self.dir)?.read_exact_at(&mut records, 0)?;
            let Some(span) = &inner.span else { return Ok(()) };
            frame::build(&records, span, &inner.positions)?
        };
        if at_end {
            inner.segments.push(Segment { first_seq, first_us, bytes: 0 });
        }
        if let Err(e) = inner.append_frame(&self.dir, &built) {
            inner.segments.retain(|s| s.bytes > 0);
            return Err(e);
        }
        inner.open_head(&self.dir)?.set_len(0)?;
        inner.head_len = 0;
        inner.span = None;
        Ok(())
    }

    /// Deletes what is older than `cutoff_us`. What the dynos' offsets and the numbers need stays in an empty frame.
    pub fn expire(&self, cutoff_us: u64, segment_bytes: u64) -> io::Result<()> {
        if self.inner().span.as_ref().is_some_and(|span| span.last_us < cutoff_us) {
            self.pack(segment_bytes)?;
        }
        let mut inner = self.inner();
        while inner.segments.len() > 1 && inner.segments[1].first_us < cutoff_us {
            inner.remove_first(&self.dir)?;
        }
        let ([last], None) = (&inner.segments[..], &inner.span) else { return Ok(()) };
        let walk = frame::walk(&File::open(last.path(&self.dir))?)?;
        let Some(newest) = walk.frames.last() else { return Ok(()) };
        if newest.header.last_us >= cutoff_us || walk.frames.iter().all(|f| f.header.lines == 0) {
            return Ok(());
        }
        let (seq, us) = (inner.next_seq, newest.header.last_us);
        let empty = Span { lines: 0, first_seq: seq, end_seq: seq, first_us: us, last_us: us };
        let built = frame::build(&[], &empty, &inner.positions)?;
        inner.segments.push(Segment { first_seq: seq, first_us: us, bytes: 0 });
        inner.append_frame(&self.dir, &built)?;
        inner.remove_first(&self.dir)
    }

    /// Deletes the oldest segments until no more than `bytes` are left; the newest stays.
    pub fn shrink(&self, bytes: u64) -> io::Result<()> {
        let mut inner = self.inner();
        let mut total = inner.segments.iter().map(|s| s.bytes).sum::<u64>() + inner.head_len;
        while total > bytes && inner.segments.len() > 1 {
            total -= inner.segments[0].bytes;
            inner.remove_first(&self.dir)?;
        }
        Ok(())
    }

    /// What there is now. Segments of it may be gone when they are read.
    pub fn snapshot(&self) -> io::Result<Snapshot> {
        let mut inner = self.inner();
        let mut head = vec![0; usize::try_from(inner.head_len).map_err(io::Error::other)?];
        if !head.is_empty() {
            inner.open_head(&self.dir)?.read_exact_at(&mut head, 0)?;
        }
        Ok(Snapshot { dir: self.dir.clone(), segments: inner.segments.clone(), head: head.into() })
    }
}

impl Inner {
    fn open_head(&mut self, dir: &Path) -> io::Result<&File> {
        if self.head.is_none() {
            fs::create_dir_all(dir)?;
            let options = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(dir.join(HEAD));
            self.head = Some(options?);
        }
        self.head.as_ref().ok_or_else(|| io::Error::other("no head"))
    }

    /// To the newest segment; all of it or nothing.
    fn append_frame(&mut self, dir: &Path, frame: &[u8]) -> io::Result<()> {
        let Some(segment) = self.segments.last_mut() else { return Err(io::Error::other("no segment")) };
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(segment.path(dir))?;
        if let Err(e) = file.write_all_at(frame, segment.bytes) {
            let _ = file.set_len(segment.bytes); // cut off at the next open, then
            return Err(e);
        }
        segment.bytes += frame.len() as u64;
        Ok(())
    }

    fn remove_first(&mut self, dir: &Path) -> io::Result<()> {
        match fs::remove_file(self.segments[0].path(dir)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => {
                self.segments.remove(0);
                Ok(())
            }
        }
    }

    /// Numbers and offsets of the newest whole frame; half a frame behind it is cut off.
    fn take_over_segments(&mut self, dir: &Path) -> io::Result<()> {
        let newest = self.segments.len();
        for at in (0..newest).rev() {
            let path = self.segments[at].path(dir);
            let file = match OpenOptions::new().read(true).write(true).open(&path) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue, // it aged out just now
                opened => opened?,
            };
            let walk = frame::walk(&file)?;
            if walk.damaged > 0 {
                tracing::warn!(path = %path.display(), bytes = walk.damaged, "logs.damaged: a part of a segment can not be read");
            }
            if at + 1 == newest && walk.end < self.segments[at].bytes {
                tracing::warn!(path = %path.display(), bytes = self.segments[at].bytes - walk.end, "logs.torn: cut off");
                file.set_len(walk.end)?;
                self.segments[at].bytes = walk.end;
            }
            if let Some(last) = walk.frames.last() {
                self.next_seq = last.header.end_seq.max(1);
                self.positions = last.positions(&file)?;
                break;
            }
        }
        // An empty one would be taken for the place of numbers that are elsewhere.
        let empty = self.segments.iter().filter(|s| s.bytes == 0);
        empty.for_each(|s| drop(fs::remove_file(s.path(dir))));
        self.segments.retain(|s| s.bytes > 0);
        Ok(())
    }

    fn take_over_head(&mut self, dir: &Path) -> io::Result<()> {
        let bytes = match fs::read(dir.join(HEAD)) {
            Ok(bytes) => Bytes::from(bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        let Records { batches, damaged, end } = read_records(&bytes);
        if damaged > 0 {
            tracing::warn!(dir = %dir.display(), bytes = damaged, "logs.damaged: a part of the newest lines can not be read");
        }
        // Stopped between the frame's end and the head's: all of it is in the frame.
        let packed = batches.iter().any(|batch| batch.lines > 0 && batch.end_seq() <= self.next_seq);
        let keep = if packed { 0 } else { end };
        if keep < bytes.len() {
            self.open_head(dir)?.set_len(keep as u64)?;
        }
        self.head_len = keep as u64;
        if !packed {
            batches.iter().for_each(|batch| self.note(batch));
        }
        self.head = None; // most apps are quiet
        Ok(())
    }
}
