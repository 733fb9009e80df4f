//! The one thread that writes the lines of all apps, and keeps them within their limits.

use super::{
    batch::Batch,
    files::{self, Files, Segment},
    legacy,
};
use crate::{Position, now_us};
use domain::AppId;
use std::{
    collections::{HashMap, HashSet},
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// Batches that may wait for the disk.
const BATCHES_MAX: usize = 16_384;
/// Bytes of one app that may wait for the disk, and of all; past it lines are lost and counted (L13).
pub(crate) const WAITING_BYTES_APP: usize = 8 << 20;
const WAITING_BYTES_ALL: usize = 64 << 20;
/// Lines of the platform find this much more room: a flood of the app does not push them out.
const WAITING_BYTES_RESERVED: usize = 1 << 20;
/// Batches written with one call.
const TOGETHER_MAX: usize = 256;
/// Files kept open at once.
const OPEN_FILES_MAX: usize = 256;
/// Age and total size are looked at this often.
const SWEEP: Duration = Duration::from_secs(60);
/// Free space is looked at after so many bytes, or so long.
const SPACE_BYTES: u64 = 32 << 20;
const SPACE_TIME: Duration = Duration::from_secs(1);
/// Segments deleted at once to make room.
const ROOM_SEGMENTS: usize = 8;

/// What is kept of the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Older lines are deleted.
    pub age: Duration,
    /// Bytes on disk of one app, compressed; the oldest lines give way.
    pub app_bytes: u64,
    /// Bytes on disk of all apps; the oldest lines of the host give way.
    pub host_bytes: u64,
    /// Space that stays free: lines never take the last of the disk.
    pub free_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { age: Duration::from_secs(7 * 86_400), app_bytes: 256 << 20, host_bytes: 8 << 30, free_bytes: 64 << 20 }
    }
}

impl Limits {
    /// Segments are deleted whole, so they are a small part of what is kept.
    fn segment_bytes(&self) -> u64 {
        (self.app_bytes / 16).clamp(64 << 10, 4 << 20)
    }
}

/// What the bus and the writer know of an app together.
pub(crate) struct Feed {
    app: AppId,
    pub files: Files,
    waiting: AtomicUsize,
    /// All numbers below it are stored or lost. Readers that wait for the disk are woken by it.
    dealt: watch::Sender<u64>,
    /// Lines that are stored, since this process began.
    stored: AtomicU64,
    /// Lines that the disk did not take, since this process began.
    lost: AtomicU64,
}

impl Feed {
    pub fn new(app: AppId, files: Files) -> Self {
        let dealt = watch::Sender::new(files.state().0);
        Self { app, files, waiting: AtomicUsize::new(0), dealt, stored: AtomicU64::new(0), lost: AtomicU64::new(0) }
    }

    /// All numbers below it are stored or lost.
    pub fn dealt(&self) -> u64 {
        *self.dealt.borrow()
    }

    /// A change of [`Self::dealt`] from now on.
    pub fn dealing(&self) -> watch::Receiver<u64> {
        self.dealt.subscribe()
    }

    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Relaxed)
    }

    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// The disk keeps up.
    pub fn is_relaxed(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) < WAITING_BYTES_APP / 2
    }
}

/// The apps whose files are in use.
type Feeds = Arc<Mutex<HashMap<AppId, Arc<Feed>>>>;

fn locked(feeds: &Feeds) -> MutexGuard<'_, HashMap<AppId, Arc<Feed>>> {
    feeds.lock().unwrap_or_else(PoisonError::into_inner)
}

enum Command {
    Append(Arc<Feed>, Arc<Batch>, Option<Position>),
    Remove(AppId),
    Flush(SyncSender<()>),
}

/// Handle of the writing thread.
#[derive(Clone)]
pub(crate) struct Disk {
    dir: Arc<PathBuf>,
    commands: SyncSender<Command>,
    waiting: Arc<AtomicUsize>,
    feeds: Feeds,
}

impl Disk {
    pub fn start(dir: &Path, limits: Limits) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let (commands, queue) = sync_channel(BATCHES_MAX);
        let disk = Self { dir: Arc::new(dir.to_path_buf()), commands, waiting: Arc::default(), feeds: Arc::default() };
        let writer = Writer {
            root: dir.to_path_buf(),
            limits,
            feeds: disk.feeds.clone(),
            open: HashSet::new(),
            waiting: disk.waiting.clone(),
            failing: false,
            looked_at: None,
            unlooked: 0,
            full: false,
        };
        std::thread::Builder::new().name("log-writer".into()).spawn(move || writer.run(&queue))?;
        Ok(disk)
    }

    /// What there is of an app; its files are taken over when it is asked for first.
    pub fn feed(&self, app: AppId) -> Arc<Feed> {
        let open = || {
            let files = Files::open(&self.dir, app).unwrap_or_else(|e| {
                // Lines are taken in any case. What is there is set aside, since numbers begin anew.
                tracing::error!(%app, error = %e, "logs.open_failed: kept lines can not be read and were set aside");
                Files::anew(&self.dir, app)
            });
            Arc::new(Feed::new(app, files))
        };
        locked(&self.feeds).entry(app).or_insert_with(open).clone()
    }

    /// Never waits: lines that find no room are lost and counted.
    pub fn append(&self, feed: &Arc<Feed>, batch: &Arc<Batch>, position: Option<Position>) {
        let (weight, lines) = (batch.weight(), u64::from(batch.lines));
        let own = feed.waiting.fetch_add(weight, Ordering::Relaxed);
        let all = self.waiting.fetch_add(weight, Ordering::Relaxed);
        let reserved = if &batch.source[..] == b"heroku" || position.is_none() { WAITING_BYTES_RESERVED } else { 0 };
        let room = own < WAITING_BYTES_APP + reserved && all < WAITING_BYTES_ALL + 8 * reserved;
        let command = Command::Append(feed.clone(), batch.clone(), position);
        if !room || matches!(self.commands.try_send(command), Err(TrySendError::Full(_))) {
            // The position of the next batch covers what was lost here.
            feed.lost.fetch_add(lines, Ordering::Relaxed);
            feed.waiting.fetch_sub(weight, Ordering::Relaxed);
            self.waiting.fetch_sub(weight, Ordering::Relaxed);
        }
    }

    pub fn remove(&self, app: AppId) {
        let _ = self.commands.send(Command::Remove(app)); // the thread ends only with its last handle
    }

    pub fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.commands.send(Command::Flush(done)).is_ok() {
            let _ = wait.recv(); // an error means that the thread is gone, and with it the queue
        }
    }
}

struct Writer {
    root: PathBuf,
    limits: Limits,
    feeds: Feeds,
    /// Apps whose heads may be open.
    open: HashSet<AppId>,
    waiting: Arc<AtomicUsize>,
    failing: bool,
    looked_at: Option<Instant>,
    /// Bytes written since free space was looked at.
    unlooked: u64,
    full: bool,
}

type Taken = (Arc<Batch>, Option<Position>);

impl Writer {
    fn run(mut self, queue: &Receiver<Command>) {
        let mut swept = None;
        loop {
            if swept.is_none_or(|at: Instant| at.elapsed() >= SWEEP) {
                self.sweep();
                swept = Some(Instant::now());
            }
            let first = match queue.recv_timeout(SWEEP) {
                Ok(command) => command,
                Err(RecvTimeoutError::Timeout) => continue,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let mut together: Vec<(Arc<Feed>, Vec<Taken>)> = Vec::new();
            for command in std::iter::once(first).chain(queue.try_iter()).take(TOGETHER_MAX) {
                match command {
                    Command::Append(feed, batch, position) => {
                        match together.iter_mut().find(|(one, _)| Arc::ptr_eq(one, &feed)) {
                            Some((_, taken)) => taken.push((batch, position)),
                            None => together.push((feed, vec![(batch, position)])),
                        }
                        continue;
                    }
                    Command::Remove(app) => {
                        self.write_all(&mut together);
                        let removed = self.remove(app);
                        self.judge(&removed);
                    }
                    Command::Flush(done) => {
                        self.write_all(&mut together);
                        let _ = done.send(()); // who asked may have gone
                    }
                }
            }
            self.write_all(&mut together);
        }
    }

    fn write_all(&mut self, together: &mut Vec<(Arc<Feed>, Vec<Taken>)>) {
        for (feed, taken) in together.drain(..) {
            let result = self.write(&feed, &taken);
            self.judge(&result);
            let lines = taken.iter().map(|(batch, _)| u64::from(batch.lines)).sum();
            let counted = if result.is_ok() { &feed.stored } else { &feed.lost };
            counted.fetch_add(lines, Ordering::Relaxed);
            for (batch, position) in taken {
                feed.waiting.fetch_sub(batch.weight(), Ordering::Relaxed);
                self.waiting.fetch_sub(batch.weight(), Ordering::Relaxed);
                let end = batch.end_seq();
                feed.dealt.send_if_modified(|dealt| std::mem::replace(dealt, end.max(*dealt)) < end);
                // Also when the disk did not take it: it is told as lost, and the dyno must not be held up.
                if let Some(position) = position {
                    position.safe.send_replace(position.offset);
                }
            }
        }
    }

    /// The first failure in a row is told.
    fn judge(&mut self, result: &io::Result<()>) {
        match result {
            Err(e) if !self.failing => {
                tracing::error!(error = %e, "logs.write_failed: L13 lines are not stored until the disk takes them again");
                self.failing = true;
            }
            Err(_) => {}
            Ok(()) => self.failing = false,
        }
    }

    fn write(&mut self, feed: &Arc<Feed>, taken: &[Taken]) -> io::Result<()> {
        self.open.insert(feed.app);
        if self.open.len() > OPEN_FILES_MAX {
            let feeds = locked(&self.feeds);
            self.open.drain().filter_map(|app| feeds.get(&app)).for_each(|feed| feed.files.rest());
        }
        let mut records = Vec::new();
        taken.iter().for_each(|(batch, _)| batch.push_record(&mut records));
        self.look_at_space(records.len() as u64);
        let full = || io::Error::new(io::ErrorKind::StorageFull, "no space is left for lines");
        let appended = if self.full { Err(full()) } else { append(feed, &records, taken) };
        match appended {
            Err(e) if is_full(&e) && self.make_room()? => append(feed, &records, taken)?,
            other => other?,
        }
        // They are stored, whatever becomes of the frame.
        if feed.files.is_ripe()
            && let Err(e) = self.pack(feed)
        {
            tracing::warn!(error = %e, app = %feed.app, "logs.pack_failed: tried again with the next lines");
        }
        Ok(())
    }

    fn pack(&mut self, feed: &Feed) -> io::Result<()> {
        match feed.files.pack(self.limits.segment_bytes()) {
            Err(e) if is_full(&e) && self.make_room()? => feed.files.pack(self.limits.segment_bytes())?,
            other => other?,
        }
        feed.files.shrink(self.limits.app_bytes)
    }

    /// Notes whether the disk has the space that must stay free.
    fn look_at_space(&mut self, bytes: u64) {
        self.unlooked += bytes;
        if self.unlooked < SPACE_BYTES && self.looked_at.is_some_and(|at| at.elapsed() < SPACE_TIME) {
            return;
        }
        (self.unlooked, self.looked_at) = (0, Some(Instant::now()));
        // What can not be looked at is found out by writing.
        self.full =
            rustix::fs::statvfs(&self.root).is_ok_and(|s| s.f_bavail.saturating_mul(s.f_frsize) < self.limits.free_bytes);
    }

    /// All apps with folders.
    fn apps(&self) -> Vec<AppId> {
        let names = fs::read_dir(&self.root).into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.filter_map(|name| name.to_str()?.parse().ok()).collect()
    }

    /// Segments of the host that may go: all but the newest of each app, oldest first.
    fn removable(&self) -> Vec<(AppId, Segment)> {
        let of = |app: AppId| {
            let mut all = files::segments(&files::dir_of(&self.root, app));
            all.pop();
            all.into_iter().map(move |segment| (app, segment))
        };
        let mut all: Vec<_> = self.apps().into_iter().flat_map(of).collect();
        all.sort_by_key(|(_, segment)| segment.first_us);
        all
    }

    /// Deletes the oldest segments of the host; false when there are none.
    fn make_room(&mut self) -> io::Result<bool> {
        let oldest: Vec<_> = self.removable().into_iter().take(ROOM_SEGMENTS).collect();
        for (app, segment) in &oldest {
            self.drop_segment(*app, segment)?;
        }
        self.looked_at = None;
        if !oldest.is_empty() {
            tracing::warn!(segments = oldest.len(), "logs.disk_full: the oldest lines of the host were deleted");
        }
        Ok(!oldest.is_empty())
    }

    fn drop_segment(&self, app: AppId, segment: &Segment) -> io::Result<()> {
        let feed = locked(&self.feeds).get(&app).cloned();
        match feed {
            Some(feed) => feed.files.shrink(feed.files.bytes().saturating_sub(1)),
            None => fs::remove_file(segment.path(&files::dir_of(&self.root, app))),
        }
    }

    /// Age and total size.
    fn sweep(&mut self) {
        let cutoff = now_us().saturating_sub(u64::try_from(self.limits.age.as_micros()).unwrap_or(u64::MAX));
        let swept = self.sweep_before(cutoff);
        self.judge(&swept);
    }

    fn sweep_before(&mut self, cutoff_us: u64) -> io::Result<()> {
        let mut total = 0;
        for app in self.apps() {
            let feed = locked(&self.feeds).get(&app).cloned();
            total += match feed {
                Some(feed) => self.keep_within(&feed.files, cutoff_us)?,
                None => self.sweep_unused(app, cutoff_us)?,
            };
        }
        for (app, segment) in self.removable() {
            if total <= self.limits.host_bytes {
                break;
            }
            self.drop_segment(app, &segment)?;
            total = total.saturating_sub(segment.bytes);
        }
        Ok(())
    }

    /// Applies the limits of an app; gives the bytes that are left.
    fn keep_within(&self, files: &Files, cutoff_us: u64) -> io::Result<u64> {
        files.expire(cutoff_us, self.limits.segment_bytes())?;
        files.shrink(self.limits.app_bytes)?;
        files.rest();
        Ok(files.bytes())
    }

    /// An app of which nobody has asked for anything since the start.
    fn sweep_unused(&self, app: AppId, cutoff_us: u64) -> io::Result<u64> {
        let feeds = locked(&self.feeds); // nobody takes the files over meanwhile
        let dir = files::dir_of(&self.root, app);
        let old = || fs::metadata(&dir).is_ok_and(|m| files::modified_us(&m) < cutoff_us);
        let all = files::segments(&dir);
        if feeds.contains_key(&app) || !(old() || all.first().is_some_and(|s| s.first_us < cutoff_us)) {
            return Ok(all.iter().map(|s| s.bytes).sum());
        }
        self.keep_within(&Files::open(&self.root, app)?, cutoff_us)
    }

    fn remove(&mut self, app: AppId) -> io::Result<()> {
        locked(&self.feeds).remove(&app);
        legacy::remove(&self.root, app)?;
        match fs::remove_dir_all(files::dir_of(&self.root, app)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

fn append(feed: &Feed, records: &[u8], taken: &[Taken]) -> io::Result<()> {
    feed.files.append(records, taken.iter().map(|(batch, _)| &**batch))
}

fn is_full(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
