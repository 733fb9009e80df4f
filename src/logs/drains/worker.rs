//! One drain at work.

use super::{
    DrainSpec, DrainState,
    connect::{Failure, Trust},
    cursor::Cursor,
    frame::Framer,
    http::{Batch, HttpSender},
    syslog::SyslogSender,
};
use crate::{AppLog, Filter, LogLine, app_log::Next, now_us};
use bytes::Bytes;
use domain::drain::{DrainUrl, Protocol};
use std::{
    collections::VecDeque,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{sync::watch, time::timeout};
use uuid::Uuid;

/// Bytes of one request.
const HTTP_BATCH_BYTES: usize = 102_400;
/// Bytes of one write to a stream. The receiver sees no difference to the published 4096.
const SYSLOG_BATCH_BYTES: usize = 64 << 10;
/// A batch is lost when the receiver did not take it so often. Not counted while the receiver is not there at all.
const TRIES: u32 = 3;
/// Wait after the first failure; twice as long after each further one, and a random half of it less.
const BACKOFF: Duration = Duration::from_millis(500);
/// Longest wait.
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A connection without lines is closed after this time and a random part.
const IDLE: Duration = Duration::from_secs(144);
const IDLE_RANDOM_S: u64 = 15;

enum Sender {
    Http(HttpSender),
    Syslog(SyslogSender),
}

impl Sender {
    fn new(spec: &DrainSpec) -> Self {
        match spec.url.protocol {
            Protocol::Http | Protocol::Otlp => Self::Http(HttpSender::new(spec.url.clone(), spec.token.clone())),
            Protocol::Syslog => Self::Syslog(SyslogSender::new(spec.url.clone())),
        }
    }

    async fn send(&mut self, trust: &Trust, batch: &Batch) -> Result<(), Failure> {
        match self {
            Self::Http(sender) => sender.send(trust, batch).await,
            Self::Syslog(sender) => sender.send(trust, &batch.body).await,
        }
    }

    fn close(&mut self) {
        match self {
            Self::Http(sender) => sender.close(),
            Self::Syslog(sender) => sender.close(),
        }
    }
}

fn framer(spec: &DrainSpec) -> Framer {
    Framer { protocol: spec.url.protocol, token: spec.token.clone(), service: spec.service.clone() }
}

fn frame_id() -> String {
    Uuid::new_v4().simple().to_string().to_uppercase()
}

/// Hands one line over on a connection of its own. The reason when it was not taken.
pub(super) async fn test(spec: &DrainSpec, trust: &Trust) -> Result<(), String> {
    let (bytes, framer) = (|text: &'static str| Bytes::from_static(text.as_bytes()), framer(spec));
    let (source, ps, message) = (bytes("heroku"), bytes("logplex"), bytes("This line tests the drain."));
    let mut body = Vec::new();
    framer.begin(&mut body);
    framer.push(&mut body, &LogLine { seq: 0, time_us: now_us(), release: 0, source, ps, message });
    framer.end(&mut body);
    let batch = Batch { body: body.into(), count: 1, frame_id: frame_id() };
    Sender::new(spec).send(trust, &batch).await.map_err(|failure| failure.text().to_string())
}

/// Lines that are lost and not yet told.
#[derive(Clone, Copy, Default)]
struct Lost {
    count: u64,
    since_us: u64,
}

impl Lost {
    fn add(&mut self, count: u64, since_us: u64) {
        if self.count == 0 {
            self.since_us = since_us;
        }
        self.count += count;
    }
}

/// What is being handed over.
struct Taken {
    batch: Batch,
    /// Lines of the log in it.
    lines: u64,
    last_seq: u64,
    first_us: u64,
    last_us: u64,
}

pub(super) struct Worker {
    id: Uuid,
    url: DrainUrl,
    log: Arc<AppLog>,
    trust: Trust,
    framer: Framer,
    sender: Sender,
    cursor: Cursor,
    /// Lines after those of the cursor, read and not handed over.
    pending: VecDeque<LogLine>,
    /// The number to read on from.
    read_on: u64,
    lost: Lost,
    /// Time of the last line that was dealt with, or of the start.
    dealt_us: u64,
    failures: u32,
    state: Arc<Mutex<DrainState>>,
}

impl Worker {
    pub(super) fn new(spec: &DrainSpec, log: Arc<AppLog>, dir: &Path, trust: &Trust, state: Arc<Mutex<DrainState>>) -> Self {
        let cursor = Cursor::open(dir, spec.id, spec.after_seq, log.last_seq());
        state.lock().unwrap_or_else(PoisonError::into_inner).seq = cursor.seq();
        let sender = Sender::new(spec);
        Self {
            id: spec.id,
            url: spec.url.clone(),
            log,
            trust: trust.clone(),
            framer: framer(spec),
            sender,
            read_on: cursor.seq() + 1,
            cursor,
            pending: VecDeque::new(),
            lost: Lost::default(),
            dealt_us: now_us(),
            failures: 0,
            state,
        }
    }

    /// Until it is stopped. A request in progress is never cut off by that.
    pub(super) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut newest = self.log.newest();
        loop {
            let seq = self.cursor.seq();
            let idle = IDLE + Duration::from_secs(fastrand::u64(0..IDLE_RANDOM_S));
            let more = tokio::select! {
                more = timeout(idle, newest.wait_for(|newest| *newest > seq)) => more.map(|seen| seen.is_ok()),
                _ = stop.wait_for(|stop| *stop) => return,
            };
            match more {
                Err(_) => self.sender.close(),
                Ok(false) => return,
                Ok(true) => {
                    let taken = tokio::select! {
                        taken = self.take() => taken,
                        _ = stop.wait_for(|stop| *stop) => return,
                    };
                    let Some(taken) = taken else { continue };
                    if !self.hand_over(taken, &mut stop).await {
                        return;
                    }
                }
            }
        }
    }

    /// Reads on: what was just written from memory, what is older from disk.
    async fn read(&mut self) {
        while self.pending.is_empty() {
            let from = self.read_on;
            let mut dealing = self.log.dealing();
            let (batches, next) = match self.log.next(from) {
                Next::Nothing => return,
                Next::Batches(batches, next) => (batches, next),
                Next::Behind(first) => match self.log.stored(from, &Filter::default()).await {
                    (batches, next) if next > from => (batches, next),
                    _ if self.log.dealt() >= first => (Vec::new(), first),
                    _ => {
                        // On their way to the disk.
                        drop(dealing.changed().await);
                        return;
                    }
                },
            };
            batches.iter().for_each(|batch| self.pending.extend(batch.each().filter(|line| line.seq >= from)));
            self.read_on = next;
        }
    }

    /// Lines up to this number were not there to be read.
    fn missed(&mut self, up_to: u64) {
        let missed = up_to.saturating_sub(self.cursor.seq());
        if missed > 0 {
            self.lost.add(missed, self.dealt_us);
            self.note(|state| state.dropped += missed);
            self.advance(up_to, self.dealt_us);
        }
    }

    /// The next batch; what is no longer kept is lost.
    async fn take(&mut self) -> Option<Taken> {
        self.read().await;
        let Some(first) = self.pending.front().cloned() else {
            self.missed(self.read_on - 1);
            return None;
        };
        self.missed(first.seq - 1);
        let limit = if self.framer.protocol == Protocol::Syslog { SYSLOG_BATCH_BYTES } else { HTTP_BATCH_BYTES };
        let (mut body, mut notices, mut taken) = (Vec::with_capacity(limit.min(16 << 10)), 0, 0);
        self.framer.begin(&mut body);
        if self.lost.count > 0 {
            self.framer.push_lost(&mut body, self.lost.count, self.lost.since_us);
            notices = 1;
        }
        let mut end = (first.seq, first.time_us);
        while let Some(line) = self.pending.front() {
            let before = body.len();
            self.framer.push(&mut body, line);
            // A gap in the numbers begins a batch of its own, with the notice in front.
            if taken > 0 && (body.len() > limit || line.seq != end.0 + 1) {
                body.truncate(before);
                break;
            }
            taken += 1;
            end = (line.seq, line.time_us);
            self.pending.pop_front();
        }
        self.framer.end(&mut body);
        let batch = Batch { body: Bytes::from(body), count: notices + taken, frame_id: frame_id() };
        Some(Taken { batch, lines: taken, last_seq: end.0, first_us: first.time_us, last_us: end.1 })
    }

    /// Tries until the batch is taken or lost; false when it was stopped.
    async fn hand_over(&mut self, taken: Taken, stop: &mut watch::Receiver<bool>) -> bool {
        let mut tries = 0;
        loop {
            let failure = match self.sender.send(&self.trust, &taken.batch).await {
                Ok(()) => {
                    self.delivered(&taken);
                    return true;
                }
                Err(failure) => failure,
            };
            self.failed(&failure);
            tries += u32::from(matches!(failure, Failure::Answer(_)));
            if tries >= TRIES || matches!(failure, Failure::Refused(_)) {
                self.lost.add(taken.lines, taken.first_us);
                self.note(|state| state.dropped += taken.lines);
                self.advance(taken.last_seq, taken.last_us);
                if matches!(failure, Failure::Refused(_)) {
                    return true; // it is there, and may want the next one
                }
            }
            let wait = BACKOFF.saturating_mul(1 << (self.failures - 1).min(10)).min(BACKOFF_MAX);
            let wait = wait.mul_f64(0.5 + fastrand::f64() / 2.0);
            let stopped = stop.wait_for(|stop| *stop);
            if timeout(wait, stopped).await.is_ok() {
                return false;
            }
            if tries >= TRIES {
                return true;
            }
        }
    }

    fn delivered(&mut self, taken: &Taken) {
        self.failures = 0;
        self.lost = Lost::default(); // told with this batch
        self.note(|state| {
            state.delivered += taken.lines;
            state.last_success_us = Some(now_us());
        });
        self.advance(taken.last_seq, taken.last_us);
    }

    fn advance(&mut self, seq: u64, time_us: u64) {
        self.dealt_us = time_us;
        if let Err(e) = self.cursor.advance(seq) {
            tracing::warn!(error = %e, drain = %self.id, "logs.drain_cursor: after a restart lines may come twice");
        }
        self.note(|state| state.seq = seq);
    }

    fn failed(&mut self, failure: &Failure) {
        self.failures = self.failures.saturating_add(1);
        if self.failures == 1 {
            tracing::info!(drain = %self.id, reason = failure.text(), "logs.drain_failed");
            // Once in a row of failures: the line itself goes to this drain, too.
            if let Failure::Untrusted(reason) = failure {
                let reason = reason.replace('"', "'");
                let text = format!("Error L14 (certificate validation): error=\"{reason}\" uri=\"{}\"", self.url.shown());
                self.log.write("heroku", "logplex", text);
            }
        }
        self.note(|state| {
            state.last_error_us = Some(now_us());
            state.last_error = Some(failure.text().into());
        });
    }

    fn note(&self, change: impl FnOnce(&mut DrainState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
