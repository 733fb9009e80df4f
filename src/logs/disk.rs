//! Lines on disk: two files per app, the current and the one before, appended by one thread for all apps.
//!
//! A file is a row of batches, each closed by a mark: `=`, or `= DYNO OFFSET` when its lines are the output of a dyno up
//! to that offset. What follows the last mark was cut short and does not count, so lines and offset always agree.

use crate::{LogLine, Position, line::parse_record};
use domain::{AppId, DynoId, limits::LOG_LINES_KEPT};
use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
};

/// Batches that may wait for the disk; past it they are lost and counted (L13).
const BATCHES_MAX: usize = 4096;
/// The current file becomes the former one at this many lines; so at least the kept number is always on disk.
const ROTATE_LINES: u64 = LOG_LINES_KEPT as u64;
/// Files kept open at once.
const OPEN_FILES_MAX: usize = 256;

enum Command {
    Append(AppId, Vec<u8>, u64, Option<Position>),
    Forget(AppId, DynoId),
    Remove(AppId),
    Flush(SyncSender<()>),
}

/// Handle of the writing thread.
#[derive(Clone)]
pub(crate) struct Disk {
    dir: Arc<PathBuf>,
    commands: SyncSender<Command>,
    lost: Arc<AtomicU64>,
}

impl Disk {
    pub(crate) fn start(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let (commands, queue) = sync_channel(BATCHES_MAX);
        let disk = Self { dir: Arc::new(dir.to_path_buf()), commands, lost: Arc::default() };
        let writer = Writer { dir: dir.to_path_buf(), open: HashMap::new(), lost: disk.lost.clone() };
        std::thread::Builder::new().name("log-writer".into()).spawn(move || writer.run(&queue))?;
        Ok(disk)
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Never waits: a full queue loses the batch.
    pub(crate) fn append(&self, app: AppId, records: Vec<u8>, lines: u64, position: Option<Position>) {
        if let Err(TrySendError::Full(_)) = self.commands.try_send(Command::Append(app, records, lines, position)) {
            // Counted; the position of the next batch covers what was lost here.
            self.lost.fetch_add(lines, Ordering::Relaxed);
        }
    }

    pub(crate) fn forget(&self, app: AppId, dyno: DynoId) {
        let _ = self.commands.send(Command::Forget(app, dyno)); // as below
    }

    pub(crate) fn remove(&self, app: AppId) {
        let _ = self.commands.send(Command::Remove(app)); // the thread ends only with its last handle
    }

    pub(crate) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.commands.send(Command::Flush(done)).is_ok() {
            let _ = wait.recv(); // an error means that the thread is gone, and with it the queue
        }
    }
}

struct Writer {
    dir: PathBuf,
    open: HashMap<AppId, Open>,
    lost: Arc<AtomicU64>,
}

struct Open {
    file: File,
    lines: u64,
    /// Repeated at the start of the next file.
    positions: HashMap<DynoId, u64>,
}

fn settle(position: Option<Position>) {
    if let Some(position) = position {
        position.safe.send_replace(position.offset);
    }
}

fn push_mark(out: &mut Vec<u8>, position: Option<(DynoId, u64)>) {
    match position {
        Some((dyno, offset)) => out.extend_from_slice(format!("= {dyno} {offset}\n").as_bytes()),
        None => out.extend_from_slice(b"=\n"),
    }
}

impl Writer {
    fn run(mut self, queue: &Receiver<Command>) {
        let mut failing = false;
        while let Ok(command) = queue.recv() {
            let result = match command {
                Command::Append(app, records, lines, position) => {
                    let result = self.append(app, records, lines, position.as_ref());
                    settle(position); // also when the disk did not take it: told as lost, see below
                    result
                }
                Command::Forget(app, dyno) => self.forget(app, dyno),
                Command::Remove(app) => self.remove(app),
                Command::Flush(done) => {
                    let _ = done.send(()); // all before it is written
                    Ok(())
                }
            };
            let lost = self.lost.swap(0, Ordering::Relaxed);
            if lost > 0 {
                tracing::warn!(lost, "logs.queue_full: L13 lines were not stored");
            }
            match result {
                Err(e) if !failing => {
                    failing = true;
                    tracing::error!(error = %e, "logs.write_failed: L13 lines are not stored until the disk takes them again");
                }
                Ok(()) => failing = false,
                Err(_) => {}
            }
        }
    }

    fn open(&mut self, app: AppId) -> io::Result<&mut Open> {
        if self.open.len() >= OPEN_FILES_MAX && !self.open.contains_key(&app) {
            self.open.clear();
        }
        match self.open.entry(app) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => Ok(entry.insert(take_over(&self.dir, app)?)),
        }
    }

    /// Offset 0 says that a dyno is gone.
    fn forget(&mut self, app: AppId, dyno: DynoId) -> io::Result<()> {
        if !current(&self.dir, app).exists() {
            return Ok(()); // the app is gone, too
        }
        let open = self.open(app)?;
        if open.positions.remove(&dyno).is_none() {
            return Ok(());
        }
        let mut mark = Vec::new();
        push_mark(&mut mark, Some((dyno, 0)));
        open.file.write_all(&mark)
    }

    fn append(&mut self, app: AppId, mut records: Vec<u8>, lines: u64, position: Option<&Position>) -> io::Result<()> {
        let open = self.open(app)?;
        push_mark(&mut records, position.map(|p| (p.dyno, p.offset)));
        if let Err(e) = open.file.write_all(&records) {
            // Half a batch may be in the file; taking it over again cuts that off.
            self.open.remove(&app);
            return Err(e);
        }
        open.lines += lines;
        open.positions.extend(position.map(|p| (p.dyno, p.offset)));
        if open.lines >= ROTATE_LINES {
            self.rotate(app)?;
        }
        Ok(())
    }

    fn rotate(&mut self, app: AppId) -> io::Result<()> {
        let current = current(&self.dir, app);
        let Some(full) = self.open.remove(&app) else { return Ok(()) };
        let mut marks = b"=\n".to_vec();
        full.positions.iter().for_each(|(dyno, offset)| push_mark(&mut marks, Some((*dyno, *offset))));
        // The next file is whole before it takes its place.
        let next = current.with_extension("next");
        fs::write(&next, marks)?;
        fs::rename(&current, former(&self.dir, app))?;
        fs::rename(next, current)
    }

    fn remove(&mut self, app: AppId) -> io::Result<()> {
        self.open.remove(&app);
        for path in [current(&self.dir, app), former(&self.dir, app)] {
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
        }
        Ok(())
    }
}

fn current(dir: &Path, app: AppId) -> PathBuf {
    dir.join(format!("{app}.log"))
}

fn former(dir: &Path, app: AppId) -> PathBuf {
    dir.join(format!("{app}.log.1"))
}

/// The part of a file that counts. One of a time without marks counts up to its last line end.
fn whole(bytes: &[u8]) -> &[u8] {
    let lines_end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let bytes = &bytes[..lines_end];
    let mut end = lines_end;
    while end > 0 {
        let start = bytes[..end - 1].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        if bytes[start] == b'=' {
            return &bytes[..end];
        }
        end = start;
    }
    bytes
}

/// Goes on with a file of a former process. A stop in the middle of a write leaves half a batch; it is cut off.
fn take_over(dir: &Path, app: AppId) -> io::Result<Open> {
    let path = current(dir, app);
    let file = OpenOptions::new().create(true).append(true).open(&path)?;
    let bytes = fs::read(&path)?;
    let whole = whole(&bytes);
    if whole.len() < bytes.len() {
        file.set_len(whole.len() as u64)?;
    }
    if !whole.split(|b| *b == b'\n').any(|record| record.first() == Some(&b'=')) {
        (&file).write_all(b"=\n")?; // from here on, what has no mark does not count
    }
    let mut positions = HashMap::new();
    if whole.is_empty() {
        // Stopped between the two steps of a rotation, perhaps; a file that is not there has no positions.
        let before = fs::read(former(dir, app)).unwrap_or_default();
        self::whole(&before).split(|b| *b == b'\n').for_each(|record| take_mark(record, &mut positions));
    }
    let mut lines = 0;
    for record in whole.split(|b| *b == b'\n').filter(|r| !r.is_empty()) {
        lines += u64::from(record[0] != b'=');
        take_mark(record, &mut positions);
    }
    Ok(Open { file, lines, positions })
}

/// Applies a record to the positions if it is a mark.
fn take_mark(record: &[u8], positions: &mut HashMap<DynoId, u64>) {
    match parse_mark(record) {
        Some((dyno, 0)) => drop(positions.remove(&dyno)),
        Some((dyno, offset)) => drop(positions.insert(dyno, offset)),
        None => {}
    }
}

fn parse_mark(record: &[u8]) -> Option<(DynoId, u64)> {
    let (dyno, offset) = std::str::from_utf8(record).ok()?.strip_prefix("= ")?.split_once(' ')?;
    Some((dyno.parse().ok()?, offset.parse().ok()?))
}

/// The last `count` lines of an app, and the positions of dynos.
pub(crate) fn load(dir: &Path, app: AppId, count: usize) -> (VecDeque<LogLine>, HashMap<DynoId, u64>) {
    let (mut lines, mut positions) = (VecDeque::new(), HashMap::new());
    for path in [former(dir, app), current(dir, app)] {
        let Ok(bytes) = fs::read(&path) else { continue };
        for record in whole(&bytes).split(|b| *b == b'\n').filter(|r| !r.is_empty()) {
            if record.first() == Some(&b'=') {
                take_mark(record, &mut positions);
                continue;
            }
            if lines.len() == count {
                lines.pop_front();
            }
            lines.extend(parse_record(record));
        }
    }
    (lines, positions)
}
