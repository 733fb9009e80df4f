//! From a cage's bytes to the app's log.

use crate::attach::Pieces;
use bytes::Bytes;
use domain::DynoId;
use logs::{AppLog, LineReader, Output, Position, now_us};
use runtime::Sink;
use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::{mpsc, watch};

/// The last lines of a dyno are in the file within this time, or the disk is in trouble.
const SETTLE_LIMIT: Duration = Duration::from_secs(5);

/// The log of one dyno. Lines are stored with the offset of their end in the dyno's output, so that a later daemon goes on
/// where this one was killed: no line is lost, none comes twice.
pub struct DynoSink {
    log: Arc<AppLog>,
    dyno: DynoId,
    ps: String,
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
}

impl DynoSink {
    /// Lines go to `log` under the name `ps`.
    pub fn new(log: Arc<AppLog>, dyno: DynoId, ps: String) -> Arc<Self> {
        Self::with_copy(log, dyno, ps, None)
    }

    /// The bytes go to `copy`, too, as they are.
    pub fn with_copy(log: Arc<AppLog>, dyno: DynoId, ps: String, copy: Option<Arc<Output>>) -> Arc<Self> {
        let received = log.position(dyno);
        let state = Mutex::new(State { reader: LineReader::default(), received, pieces: None });
        Arc::new(Self { log, dyno, ps, state, safe: Arc::new(watch::channel(received).0), copy, attached: false })
    }

    /// The output goes to a client, and only what the platform says of the dyno to the log (`logs.md`, attached one-offs).
    /// The client gets it from the second part; when that is dropped, it goes nowhere.
    pub fn attached(log: Arc<AppLog>, dyno: DynoId, ps: String) -> (Arc<Self>, Pieces) {
        let (sender, pieces) = mpsc::unbounded_channel(); // bounded by what the holder sends without being told that it is safe
        let state = Mutex::new(State { reader: LineReader::default(), received: 0, pieces: Some(sender) });
        let sink = Self { log, dyno, ps, state, safe: Arc::new(watch::channel(0).0), copy: None, attached: true };
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
            let mut lines = Vec::new();
            state.reader.finish(|line| lines.push(line));
            self.write(now_us(), lines, state.received);
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

    fn write(&self, time_us: u64, lines: Vec<logs::Piece>, offset: u64) {
        let position = Position { dyno: self.dyno, offset, safe: self.safe.clone() };
        self.log.write_all("app", &self.ps, time_us, lines.into_iter(), Some(position));
    }

    /// A line of the platform about this dyno.
    pub fn platform(&self, text: &str) {
        self.log.write("heroku", &self.ps, text.to_string());
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
        let mut lines = Vec::new();
        if end.saturating_sub(state.received) > bytes.len() as u64 {
            state.reader.finish(|line| lines.push(line)); // lines are missing between; do not glue what is around them
        }
        if let Some(copy) = &self.copy {
            copy.write(&bytes[bytes.len() - fresh..]);
        }
        state.reader.push(&bytes[bytes.len() - fresh..], |line| lines.push(line));
        state.received = state.received.max(end);
        self.write(time_us, lines, end - state.reader.pending() as u64);
    }

    fn safe(&self) -> Option<watch::Receiver<u64>> {
        Some(self.safe.subscribe())
    }

    fn dropped(&self, lines: u64) {
        self.log.write("app", "log-shuttle", format!("Error L12: {lines} messages dropped."));
    }

    fn grace_over(&self) {
        self.platform("Error R12 (Exit timeout) -> At least one process failed to exit within 30 seconds of SIGTERM");
        self.platform("Stopping remaining processes with SIGKILL");
    }
}
