//! One ordered stream per app: the newest lines in memory, all of them on disk.
//!
//! Readers pull: each has a number, and takes what follows it. A reader that is slow costs nothing and finds a gap.

use crate::{
    Filter, Lines, LogLine, Tail, now_us,
    store::{Batch, Budget, Disk, Feed, Files, Found, Limits, Positions},
    tail::Query,
};
use bytes::Bytes;
use domain::{AppId, DynoId};
use std::{
    collections::{HashMap, VecDeque},
    path::Path,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};
use tokio::sync::{Semaphore, watch};

/// Newest lines of an app in memory: so much in any case …
const RING_BYTES: usize = 64 << 10;
/// … so much while they are young …
const RING_BYTES_YOUNG: usize = 2 << 20;
const YOUNG_US: u64 = 10_000_000;
/// … and so much while the disk has not got them.
const RING_BYTES_MAX: usize = 12 << 20;
/// Bytes that a reader takes at once.
const TAKE_BYTES: usize = 256 << 10;
/// Readers that may look on disk at the same time; others wait their turn.
const DISK_READERS: usize = 4;
/// L13 is told at most this often.
const NOTICE_EVERY_US: u64 = 1_000_000;
/// Work of a search backwards.
const SEARCH_TIME: Duration = Duration::from_secs(20);
const SEARCH_BYTES: u64 = 8 << 30;

/// All logs of the host.
#[derive(Clone)]
pub struct Logs {
    inner: Arc<LogsInner>,
}

struct LogsInner {
    apps: Mutex<HashMap<AppId, Arc<AppLog>>>,
    disk: Disk,
    readers: Arc<Semaphore>,
}

impl Logs {
    /// Logs kept under `dir`.
    ///
    /// # Errors
    /// When the directory can not be made or the writer thread does not start.
    pub fn open(dir: &Path, limits: Limits) -> std::io::Result<Self> {
        let disk = Disk::start(dir, limits)?;
        let readers = Arc::new(Semaphore::new(DISK_READERS));
        Ok(Self { inner: Arc::new(LogsInner { apps: Mutex::default(), disk, readers }) })
    }

    /// The log of an app; what a former process left of it is taken over when it is asked for first.
    pub fn app(&self, id: AppId) -> Arc<AppLog> {
        let mut apps = self.inner.apps.lock().unwrap_or_else(PoisonError::into_inner);
        apps.entry(id).or_insert_with(|| Arc::new(AppLog::open(id, &self.inner))).clone()
    }

    /// Removes the log of an app for good.
    pub fn remove(&self, id: AppId) {
        self.inner.apps.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.inner.disk.remove(id);
    }

    /// Waits until every line that was written is on its way to the disk; for a clean stop.
    pub fn flush(&self) {
        self.inner.disk.flush();
    }
}

/// The log of one app.
pub struct AppLog {
    disk: Disk,
    feed: Arc<Feed>,
    readers: Arc<Semaphore>,
    state: Mutex<State>,
    newest: watch::Sender<u64>,
    release: AtomicU32,
}

/// Up to where the output of a dyno is in the log.
#[derive(Clone, Debug)]
pub struct Position {
    /// The dyno.
    pub dyno: DynoId,
    /// Bytes of its output since its start.
    pub offset: u64,
    /// Told when the lines up to `offset` are in the file: they survive the end of this process then.
    pub safe: Arc<watch::Sender<u64>>,
}

/// Where lines come from.
#[derive(Clone, Debug)]
pub struct Place {
    /// `app` or `heroku`.
    pub source: &'static str,
    /// Name of the dyno.
    pub ps: Bytes,
    /// Version of the release, 0 for unknown.
    pub release: u32,
}

/// What became of lines since this process began; counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Lines that came.
    pub written: u64,
    /// Lines that are stored.
    pub stored: u64,
    /// Lines that the disk did not take.
    pub lost: u64,
}

struct State {
    next_seq: u64,
    /// As found on disk; see [`AppLog::position`].
    positions: Positions,
    ring: VecDeque<Arc<Batch>>,
    ring_bytes: usize,
    written: u64,
    /// Lost lines that were told.
    told: u64,
    told_us: u64,
}

/// What follows a number.
pub(crate) enum Next {
    /// Lines of the first may come before it. The second is the number to go on with.
    Batches(Vec<Arc<Batch>>, u64),
    /// Nothing yet.
    Nothing,
    /// It is no longer in memory; this is the first that is.
    Behind(u64),
}

impl AppLog {
    fn open(id: AppId, logs: &LogsInner) -> Self {
        let feed = logs.disk.feed(id);
        let (next_seq, positions) = feed.files.state();
        let (newest, _) = watch::channel(next_seq - 1);
        let state = State { next_seq, positions, ring: VecDeque::new(), ring_bytes: 0, written: 0, told: 0, told_us: 0 };
        let (disk, readers, release) = (logs.disk.clone(), logs.readers.clone(), AtomicU32::new(0));
        Self { disk, feed, readers, state: Mutex::new(state), newest, release }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lines of the platform are of this release from now on.
    pub fn set_release(&self, version: u64) {
        self.release.store(u32::try_from(version).unwrap_or(0), Ordering::Relaxed);
    }

    /// Adds one line. `message` may hold anything; a line end inside it becomes a space, so nobody can forge a line.
    /// Never waits.
    pub fn write(&self, source: &'static str, ps: &str, message: impl AsRef<[u8]>) {
        let release = self.release.load(Ordering::Relaxed);
        self.write_at(&Place { source, ps: Bytes::copy_from_slice(ps.as_bytes()), release }, message.as_ref());
    }

    /// Adds one line of that place and release.
    pub fn write_at(&self, place: &Place, message: &[u8]) {
        let mut lines = Lines::default();
        lines.push(message);
        self.write_lines(place, now_us(), lines, None);
    }

    /// Bytes of a dyno's output that a former process of ours had stored; zero for one that is not known.
    pub fn position(&self, dyno: DynoId) -> u64 {
        self.state().positions.get(&dyno).copied().unwrap_or(0)
    }

    /// The dyno is gone for good; its position is kept no longer.
    pub fn forget(&self, dyno: DynoId) {
        let mut state = self.state();
        state.positions.remove(&dyno);
        let (none, time_us) = (Bytes::new(), now_us());
        let gone = Batch {
            first_seq: state.next_seq,
            lines: 0,
            time_us,
            release: 0,
            source: none.clone(),
            ps: none.clone(),
            position: Some((dyno, 0)),
            body: none,
        };
        self.disk.append(&self.feed, &Arc::new(gone), None);
    }

    /// Adds lines that were read at the same time. `position` is stored together with them: after a `kill -9` either both
    /// are there or none. Never waits.
    pub fn write_lines(&self, place: &Place, time_us: u64, lines: Lines, position: Option<Position>) {
        if lines.is_empty() {
            return;
        }
        let mut state = self.state();
        let untold = self.feed.lost() - state.told;
        if untold > 0 && self.feed.is_relaxed() && time_us.saturating_sub(state.told_us) >= NOTICE_EVERY_US {
            let since = crate::line::stamp_seconds(if state.told_us == 0 { time_us } else { state.told_us });
            let mut notice = Lines::default();
            notice.push(format!("Error L13: {untold} messages lost since {since}.").as_bytes());
            state.told += untold;
            state.told_us = time_us;
            let shuttle = Place { source: "app", ps: Bytes::from_static(b"log-shuttle"), release: 0 };
            self.add(&mut state, &shuttle, time_us, notice, None);
        }
        self.add(&mut state, place, time_us, lines, position);
        // Also under the lock: a reader that sees the number finds the line.
        self.newest.send_replace(state.next_seq - 1);
    }

    fn add(&self, state: &mut State, place: &Place, time_us: u64, lines: Lines, position: Option<Position>) {
        let (count, body) = lines.into_parts();
        let batch = Arc::new(Batch {
            first_seq: state.next_seq,
            lines: count,
            time_us,
            release: place.release,
            source: Bytes::from_static(place.source.as_bytes()),
            ps: place.ps.clone(),
            position: position.as_ref().map(|p| (p.dyno, p.offset)),
            body,
        });
        state.next_seq += u64::from(count);
        state.written += u64::from(count);
        state.ring_bytes += batch.weight();
        // Under the lock, so that the file has the order of the numbers. It never waits.
        self.disk.append(&self.feed, &batch, position);
        state.ring.push_back(batch);
        self.evict(state, time_us);
    }

    fn evict(&self, state: &mut State, now_us: u64) {
        let dealt = self.feed.dealt();
        while let Some(oldest) = state.ring.front() {
            let old = now_us.saturating_sub(oldest.time_us) > YOUNG_US;
            let limit = match (oldest.end_seq() <= dealt, old) {
                (true, true) => RING_BYTES,
                (true, false) => RING_BYTES_YOUNG,
                (false, _) => RING_BYTES_MAX,
            };
            if state.ring_bytes <= limit {
                return;
            }
            state.ring_bytes -= oldest.weight();
            state.ring.pop_front();
        }
    }

    /// Number of the newest line, and a way to wait for the next.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Number of the newest line.
    pub fn last_seq(&self) -> u64 {
        *self.newest.borrow()
    }

    /// What became of the lines of this app.
    pub fn counts(&self) -> Counts {
        let written = self.state().written;
        Counts { written, stored: self.feed.stored(), lost: self.feed.lost() }
    }

    /// What follows number `seq` in memory, the line of that number included.
    pub(crate) fn next(&self, seq: u64) -> Next {
        let state = self.state();
        if seq >= state.next_seq {
            return Next::Nothing;
        }
        let from = state.ring.partition_point(|batch| batch.end_seq() <= seq);
        match state.ring.front() {
            Some(first) if first.first_seq <= seq => {}
            first => return Next::Behind(first.map_or(state.next_seq, |first| first.first_seq)),
        }
        let (mut bytes, mut taken) = (0, Vec::new());
        for batch in state.ring.range(from..) {
            if bytes >= TAKE_BYTES {
                break;
            }
            bytes += batch.weight();
            taken.push(batch.clone());
        }
        let next = taken.last().map_or(seq, |last| last.end_seq());
        Next::Batches(taken, next)
    }

    /// What follows number `seq` on disk, up to what is in memory: batches that may match, and the number to go on with.
    /// When it is the same number, nothing is there although `next` says that it should be: those lines are lost, or the
    /// disk is late.
    pub(crate) async fn stored(self: &Arc<Self>, seq: u64, filter: &Filter) -> (Vec<Arc<Batch>>, u64) {
        let filter = filter.clone();
        let read = self.on_disk(move |files| {
            let mut budget = Budget::new(Duration::from_millis(500), 64 << 20);
            files.forward(seq, &filter, &mut budget)
        });
        match read.await {
            Some(piece) => (piece.batches.into_iter().map(Arc::new).collect(), piece.next_seq),
            None => (Vec::new(), seq),
        }
    }

    /// All numbers below it are stored or lost.
    pub(crate) fn dealt(&self) -> u64 {
        self.feed.dealt()
    }

    /// A change of [`Self::dealt`] from now on: taken before the disk is read, nothing is missed.
    pub(crate) fn dealing(&self) -> watch::Receiver<u64> {
        self.feed.dealing()
    }

    /// A number from which on lines of that time are found.
    pub(crate) async fn seq_at(self: &Arc<Self>, since_us: u64) -> u64 {
        self.on_disk(move |files| files.seq_at(since_us)).await.unwrap_or(0)
    }

    async fn on_disk<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Files) -> std::io::Result<T> + Send + 'static,
    ) -> Option<T> {
        let turn = self.readers.clone().acquire_owned().await;
        let log = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let read = read(&log.feed.files);
            drop(turn);
            read
        });
        match read.await {
            Ok(Ok(found)) => Some(found),
            Ok(Err(e)) => {
                tracing::warn!(error = %e, "logs.read_failed");
                None
            }
            Err(_) => None, // the process ends
        }
    }

    /// The last `count` lines before number `before` that match, oldest first. Reads the disk.
    pub fn last(&self, filter: &Filter, count: usize, before: Option<u64>) -> (Vec<LogLine>, Found) {
        let (ring, before) = {
            let state = self.state();
            let before = before.unwrap_or(state.next_seq);
            (state.ring.iter().filter(|batch| batch.first_seq < before).cloned().collect::<Vec<_>>(), before)
        };
        let mut lines = Vec::new();
        for batch in ring.iter().rev().filter(|batch| filter.matches_batch(batch)) {
            let wanted = batch.each().filter(|l| l.seq < before && filter.matches_message(&l.message)).collect::<Vec<_>>();
            lines.extend(wanted.into_iter().rev());
        }
        lines.truncate(count);
        let mut found = Found::default();
        if lines.len() < count {
            let before = ring.first().map_or(before, |first| first.first_seq);
            let mut budget = Budget::new(SEARCH_TIME, SEARCH_BYTES);
            let read = self.feed.files.backward(before, filter, &mut budget, |line| {
                lines.push(line);
                lines.len() < count
            });
            found = read.unwrap_or_else(|e| {
                tracing::warn!(error = %e, "logs.read_failed");
                Found { unreadable: true, ..Found::default() }
            });
        }
        lines.reverse();
        (lines, found)
    }

    /// As `last`, without blocking the task.
    pub(crate) async fn last_of(self: &Arc<Self>, filter: Filter, count: usize, before: u64) -> (Vec<LogLine>, Found) {
        let turn = self.readers.clone().acquire_owned().await;
        let log = self.clone();
        let read = tokio::task::spawn_blocking(move || {
            let last = log.last(&filter, count, Some(before));
            drop(turn);
            last
        });
        read.await.unwrap_or_default()
    }

    /// Reads the log as `query` says.
    pub fn tail(self: &Arc<Self>, query: Query) -> Tail {
        Tail::new(self.clone(), query)
    }

    #[cfg(test)]
    pub(crate) fn pack_now(&self) -> std::io::Result<()> {
        self.feed.files.pack(64 << 10)
    }

    #[cfg(test)]
    pub(crate) fn expire_now(&self, cutoff_us: u64) -> std::io::Result<()> {
        self.feed.files.expire(cutoff_us, 64 << 10)
    }
}
