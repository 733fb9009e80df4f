//! From a cage's bytes to the app's log.

use crate::attach::Pieces;
use bytes::Bytes;
use domain::{Dyno, DynoId};
use logs::{AppLog, LineReader, Lines, Output, Place, Position, now_us};
use runtime::Sink;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// The last lines of a dyno are in the file within this time, or the disk is in trouble.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);
/// L12 is told at most this often.
const L12_EVERY_US: u64 = 1_000_000;

/// The log of one dyno. Lines are stored with the offset of their end in the dyno's output, so that a later daemon goes on
/// where this one was killed: no line is lost, none comes twice.
pub struct DynoSink {
    log: Arc<AppLog>,
    dyno: DynoId,
    place: Place,
    state: Mutex<State>,
    safe: Arc<watch::Sender<u64>>,
    copy: Option<Arc<Output>>,
    /// Of an attached dyno: output goes to its client, not to the log.
    attached: bool,
}

struct State {
    reader: LineReader,
    /// Bytes of output that have come.
    received: u64,
    /// The client's end; `None` when it is gone.
    pieces: Option<mpsc::UnboundedSender<(u64, Bytes)>>,
    dropped: Dropped,
}

/// Lines that the holder had to let go of, and what of them was told.
#[derive(Default)]
struct Dropped {
    untold: u64,
    since_us: u64,
    told_us: u64,
}

impl State {
    fn new(received: u64, pieces: Option<mpsc::UnboundedSender<(u64, Bytes)>>) -> Self {
        Self { reader: LineReader::default(), received, pieces, dropped: Dropped::default() }
    }
}

fn place(dyno: &Dyno) -> Place {
    Place { source: "app", ps: dyno.name().into(), release: u32::try_from(dyno.release).unwrap_or(0) }
}

impl DynoSink {
    /// Lines go to `log` under the dyno's name, with its release.
    pub fn new(log: Arc<AppLog>, dyno: &Dyno) -> Arc<Self> {
        Self::with_copy(log, dyno, None)
    }

    /// The bytes go to `copy`, too, as they are.
    pub fn with_copy(log: Arc<AppLog>, dyno: &Dyno, copy: Option<Arc<Output>>) -> Arc<Self> {
        let received = log.position(dyno.id);
        let (state, safe) = (Mutex::new(State::new(received, None)), Arc::new(watch::channel(received).0));
        Arc::new(Self { log, dyno: dyno.id, place: place(dyno), state, safe, copy, attached: false })
    }

    /// The output goes to a client, and only what the platform says of the dyno to the log (`logs.md`, attached one-offs).
    /// The client gets it from the second part; when that is dropped, it goes nowhere.
    pub fn attached(log: Arc<AppLog>, dyno: &Dyno) -> (Arc<Self>, Pieces) {
        let (sender, pieces) = mpsc::unbounded_channel(); // bounded by what the holder sends without being told that it is safe
        let (state, safe) = (Mutex::new(State::new(0, Some(sender))), Arc::new(watch::channel(0).0));
        let sink = Self { log, dyno: dyno.id, place: place(dyno), state, safe, copy: None, attached: true };
        (Arc::new(sink), pieces)
    }

    /// Where to tell how much of the output is safe.
    pub fn safe_offset(&self) -> Arc<watch::Sender<u64>> {
        self.safe.clone()
    }

    /// The client is gone: what it had not got is for nobody, and must not hold the process up.
    pub fn client_gone(&self) {
        let mut state = self.state();
        state.pieces = None;
        self.safe.send_replace(state.received);
    }

    /// Output of an attached dyno.
    fn pass_on(&self, end: u64, bytes: &[u8]) {
        let mut state = self.state();
        let fresh = usize::try_from(end.saturating_sub(state.received)).unwrap_or(usize::MAX).min(bytes.len());
        state.received = state.received.max(end);
        let piece = Bytes::copy_from_slice(&bytes[bytes.len() - fresh..]);
        let sent = state.pieces.as_ref().is_some_and(|pieces| pieces.send((end, piece)).is_ok());
        if !sent {
            state.pieces = None;
            self.safe.send_replace(end); // nobody listens; do not hold the process up
        }
    }

    /// The dyno ended: its unfinished line is a line. Returns when all of it is stored.
    pub async fn finish(&self) {
        if self.attached {
            self.state().pieces = None; // the client's task comes to its end
            return;
        }
        let received = {
            let mut state = self.state();
            let mut lines = Lines::default();
            state.reader.finish(&mut lines);
            self.write(now_us(), lines, state.received);
            self.tell_dropped(&mut state, u64::MAX);
            state.received
        };
        let mut safe = self.safe.subscribe();
        if tokio::time::timeout(SETTLE_LIMIT, safe.wait_for(|offset| *offset >= received)).await.is_err() {
            tracing::warn!(dyno = %self.dyno, "engine.log_late: the last lines are not on disk yet");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, time_us: u64, lines: Lines, offset: u64) {
        let position = Position { dyno: self.dyno, offset, safe: self.safe.clone() };
        self.log.write_lines(&self.place, time_us, lines, Some(position));
    }

    /// At most once a second (`logs.md` section 8).
    fn tell_dropped(&self, state: &mut State, now_us: u64) {
        let dropped = &mut state.dropped;
        if dropped.untold == 0 || now_us.saturating_sub(dropped.told_us) < L12_EVERY_US {
            return;
        }
        let since = logs::stamp_seconds(dropped.since_us);
        let text = format!("Error L12: {} messages dropped since {since}.", std::mem::take(&mut dropped.untold));
        dropped.told_us = now_us;
        self.log.write_at(&Place { ps: Bytes::from_static(b"log-shuttle"), ..self.place.clone() }, text.as_bytes());
    }

    /// A line of the platform about this dyno.
    pub fn platform(&self, text: &str) {
        self.log.write_at(&Place { source: "heroku", ..self.place.clone() }, text.as_bytes());
    }
}

impl Sink for DynoSink {
    fn output(&self, end: u64, time_us: u64, bytes: &[u8]) {
        if self.attached {
            return self.pass_on(end, bytes);
        }
        let mut state = self.state();
        // What a former daemon had stored comes again when the holder was not told in time.
        let fresh = usize::try_from(end.saturating_sub(state.received)).unwrap_or(usize::MAX).min(bytes.len());
        let mut lines = Lines::default();
        if end.saturating_sub(state.received) > bytes.len() as u64 {
            state.reader.finish(&mut lines); // lines are missing between; do not glue what is around them
        }
        if let Some(copy) = &self.copy {
            copy.write(&bytes[bytes.len() - fresh..]);
        }
        state.reader.push(&bytes[bytes.len() - fresh..], &mut lines);
        state.received = state.received.max(end);
        self.write(time_us, lines, end - state.reader.pending() as u64);
        self.tell_dropped(&mut state, time_us);
    }

    fn safe(&self) -> Option<watch::Receiver<u64>> {
        Some(self.safe.subscribe())
    }

    fn dropped(&self, lines: u64) {
        let mut state = self.state();
        if state.dropped.untold == 0 {
            state.dropped.since_us = now_us();
        }
        state.dropped.untold += lines;
    }

    fn grace_over(&self) {
        self.platform("Error R12 (Exit timeout) -> At least one process failed to exit within 30 seconds of SIGTERM");
        self.platform("Stopping remaining processes with SIGKILL");
    }
}
