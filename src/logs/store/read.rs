//! Reading stored lines: backwards for the newest that match, forwards for everything from a number on. Headers are looked
//! at first; only frames that may hold a wanted line are decompressed.

use super::{
    batch::{Batch, Records, read_records},
    files::{Files, Segment, Snapshot},
    frame::{self, Frame},
};
use crate::{Filter, LogLine};
use bytes::Bytes;
use std::{
    fs::File,
    io,
    time::{Duration, Instant},
};

/// A clock that was set back makes times go back between segments; so much of that is looked through.
const CLOCK_SLACK_US: u64 = 3600 * 1_000_000;

/// How much work a search may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Budget {
    until: Instant,
    bytes: u64,
}

impl Budget {
    pub fn new(time: Duration, bytes: u64) -> Self {
        Self { until: Instant::now() + time, bytes }
    }

    /// Takes the work of one frame; false when it is more than is left.
    fn take(&mut self, bytes: u64) -> bool {
        self.bytes = self.bytes.saturating_sub(bytes);
        self.bytes > 0 && Instant::now() < self.until
    }
}

/// What a read found beside lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Lines that are stored and can not be read.
    pub damaged: u64,
    /// The budget was spent when it had come back to this time.
    pub stopped_us: Option<u64>,
    /// The disk can not be read.
    pub unreadable: bool,
}

/// A piece of the log.
#[derive(Default)]
pub(crate) struct Piece {
    pub batches: Vec<Batch>,
    /// Go on from here; all before it was read.
    pub next_seq: u64,
    pub damaged: u64,
}

fn open(snapshot: &Snapshot, segment: &Segment) -> io::Result<Option<File>> {
    match File::open(segment.path(&snapshot.dir)) {
        Ok(file) => Ok(Some(file)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None), // it aged out
        Err(e) => Err(e),
    }
}

/// The batches of a frame, unless no line of it can match.
fn load(file: &File, frame: &Frame, filter: &Filter, damaged: &mut u64) -> io::Result<Vec<Batch>> {
    let records = match frame.records(file) {
        Ok(records) => Bytes::from(records),
        Err(e) if e.kind() == io::ErrorKind::InvalidData => {
            *damaged += u64::from(frame.header.lines);
            return Ok(Vec::new());
        }
        Err(e) => return Err(e),
    };
    if !filter.may_match(&records) {
        return Ok(Vec::new());
    }
    let Records { batches, .. } = read_records(&records);
    let whole: u64 = batches.iter().map(|b| u64::from(b.lines)).sum();
    *damaged += u64::from(frame.header.lines).saturating_sub(whole);
    Ok(batches)
}

impl Files {
    /// Gives lines with numbers below `before` that match to `take`, newest first, until that says false.
    pub fn backward(
        &self,
        before: u64,
        filter: &Filter,
        budget: &mut Budget,
        mut take: impl FnMut(LogLine) -> bool,
    ) -> io::Result<Found> {
        let (snapshot, mut found) = (self.snapshot()?, Found::default());
        let mut give = |batch: &Batch| -> bool {
            if batch.first_seq >= before || !filter.matches_batch(batch) {
                return true;
            }
            let lines: Vec<LogLine> =
                batch.each().filter(|line| line.seq < before && filter.matches_message(&line.message)).collect();
            lines.into_iter().rev().all(&mut take)
        };
        if !read_records(&snapshot.head).batches.iter().rev().all(&mut give) {
            return Ok(found);
        }
        let mut later_us = u64::MAX;
        for segment in snapshot.segments.iter().rev() {
            // All of it is older than what begins after it.
            if filter.since_us.is_some_and(|since| later_us.saturating_add(CLOCK_SLACK_US) < since) {
                return Ok(found);
            }
            later_us = segment.first_us;
            if segment.first_seq >= before
                || filter.until_us.is_some_and(|until| segment.first_us > until.saturating_add(CLOCK_SLACK_US))
            {
                continue;
            }
            let Some(file) = open(&snapshot, segment)? else { continue };
            for frame in frame::walk(&file)?.frames.iter().rev() {
                let header = &frame.header;
                if header.first_seq >= before || header.lines == 0 || !filter.matches_span(header.first_us, header.last_us) {
                    continue;
                }
                if !budget.take(frame.plain_len()) {
                    found.stopped_us = Some(header.last_us);
                    return Ok(found);
                }
                if !load(&file, frame, filter, &mut found.damaged)?.iter().rev().all(&mut give) {
                    return Ok(found);
                }
            }
        }
        Ok(found)
    }

    /// Batches with numbers from `from` on that may match, oldest first: those of one frame, or of the head. The first may
    /// begin earlier. None of them and the same number again: there is no more on disk.
    pub fn forward(&self, from: u64, filter: &Filter, budget: &mut Budget) -> io::Result<Piece> {
        let snapshot = self.snapshot()?;
        let start = snapshot.segments.partition_point(|s| s.first_seq <= from).saturating_sub(1);
        let mut piece = Piece { next_seq: from, ..Piece::default() };
        for segment in &snapshot.segments[start.min(snapshot.segments.len())..] {
            let Some(file) = open(&snapshot, segment)? else { continue };
            for frame in frame::walk(&file)?.frames {
                let header = &frame.header;
                if header.end_seq <= from || header.end_seq <= piece.next_seq {
                    continue;
                }
                piece.next_seq = header.end_seq;
                if header.lines == 0 || !filter.matches_span(header.first_us, header.last_us) {
                    continue;
                }
                let more = budget.take(frame.plain_len());
                let batches = load(&file, &frame, filter, &mut piece.damaged)?;
                piece.batches = batches.into_iter().filter(|b| b.end_seq() > from && filter.matches_batch(b)).collect();
                if !piece.batches.is_empty() || !more {
                    return Ok(piece);
                }
            }
        }
        let head = read_records(&snapshot.head).batches;
        let framed = piece.next_seq;
        for batch in head.into_iter().filter(|b| b.lines > 0 && b.end_seq() > framed) {
            piece.next_seq = batch.end_seq();
            if filter.matches_batch(&batch) {
                piece.batches.push(batch);
            }
        }
        Ok(piece)
    }

    /// A number that is not after that of the first line from this time on, by the index alone.
    pub fn seq_at(&self, since_us: u64) -> io::Result<u64> {
        let snapshot = self.snapshot()?;
        let early = since_us.saturating_sub(CLOCK_SLACK_US);
        let at = snapshot.segments.partition_point(|s| s.first_us <= early).saturating_sub(1);
        let Some(segment) = snapshot.segments.get(at) else { return Ok(0) };
        let Some(file) = open(&snapshot, segment)? else { return Ok(segment.first_seq) };
        let frames = frame::walk(&file)?.frames;
        Ok(frames.iter().find(|f| f.header.last_us >= early).map_or(segment.first_seq, |f| f.header.first_seq))
    }
}
