//! Lines on disk: two files per app, the current and the one before, appended by one thread for all apps.

use crate::{LogLine, line::parse_record};
use domain::{AppId, limits::LOG_LINES_KEPT};
use std::{
    collections::{HashMap, VecDeque},
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
    Append(AppId, Vec<u8>, u64),
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
    pub(crate) fn append(&self, app: AppId, records: Vec<u8>, lines: u64) {
        if let Err(TrySendError::Full(_)) = self.commands.try_send(Command::Append(app, records, lines)) {
            self.lost.fetch_add(lines, Ordering::Relaxed);
        }
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
}

impl Writer {
    fn run(mut self, queue: &Receiver<Command>) {
        let mut failing = false;
        while let Ok(command) = queue.recv() {
            let result = match command {
                Command::Append(app, records, lines) => self.append(app, &records, lines),
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

    fn append(&mut self, app: AppId, records: &[u8], lines: u64) -> io::Result<()> {
        if self.open.len() >= OPEN_FILES_MAX && !self.open.contains_key(&app) {
            self.open.clear();
        }
        let current = current(&self.dir, app);
        let open = match self.open.entry(app) {
            std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::hash_map::Entry::Vacant(entry) => {
                let file = OpenOptions::new().create(true).append(true).open(&current)?;
                let lines = cut_torn_tail(&current, &file)?;
                entry.insert(Open { file, lines })
            }
        };
        open.file.write_all(records)?;
        open.lines += lines;
        if open.lines >= ROTATE_LINES {
            self.open.remove(&app);
            fs::rename(&current, former(&self.dir, app))?;
        }
        Ok(())
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

/// A stop in the middle of a write leaves half a line; the next one must not be glued to it. Returns the line count.
fn cut_torn_tail(path: &Path, file: &File) -> io::Result<u64> {
    let bytes = fs::read(path)?;
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    if whole < bytes.len() {
        file.set_len(whole as u64)?;
    }
    Ok(bytes[..whole].iter().filter(|b| **b == b'\n').count() as u64)
}

/// The last `count` whole lines of an app.
pub(crate) fn load(dir: &Path, app: AppId, count: usize) -> VecDeque<LogLine> {
    let mut lines = VecDeque::new();
    for path in [former(dir, app), current(dir, app)] {
        let Ok(bytes) = fs::read(&path) else { continue };
        let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        for record in bytes[..whole].split(|b| *b == b'\n').filter(|r| !r.is_empty()) {
            if lines.len() == count {
                lines.pop_front();
            }
            lines.extend(parse_record(record));
        }
    }
    lines
}
