//! The store: what Tidemill knows, kept so that an answer of success means durable.
//!
//! One writer thread takes closures, runs each against a consistent view, and commits them in groups: append to the
//! journal, one `fdatasync`, apply to sled, answer all (`architecture.md` section 3). The journal is the truth, sled is
//! the working copy: when sled does not open it is set aside and rebuilt from the newest export plus the journal.
//!
//! This room owns keys, codec, transactions, events, migrations, secrets at rest, export and rebuild. It must not know
//! what the rows are for: rules live in `service`.

mod codec;
mod error;
mod export;
mod frame;
mod journal;
mod migrate;
mod seal;
mod snapshot;
mod table;
pub mod tables;
mod tx;
mod working;
mod writer;

pub use error::StoreError;
pub use journal::Cut;
pub use seal::Sealer;
pub use snapshot::{Snapshot, SnapshotFile};
pub use table::{Key, Table};
pub use tx::{RawRow, ReadRows, Tx};
pub use working::Opener;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::{mpsc, oneshot, watch};

/// How to open a store.
#[derive(Clone)]
pub struct Options {
    /// Directory of the store; made when missing. Holds `journal/`, `exports/`, `sled/` and `lock`.
    pub dir: PathBuf,
    /// A journal segment is closed at this size.
    pub segment_bytes: u64,
    /// An export is written when the journal grew by this much since the last one.
    pub export_every_bytes: u64,
    /// Opens the working copy; another one than [`working::open_sled`] only to inject faults.
    pub opener: Opener,
}

impl Options {
    /// Defaults: segments of 64 MiB, an export every 64 MiB.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into(), segment_bytes: 64 << 20, export_every_bytes: 64 << 20, opener: Arc::new(working::open_sled) }
    }
}

/// What happened at open; told to the operator when it is not the normal case.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// Journal records that the working copy had not seen.
    pub replayed: u64,
    /// The journal ended in something that is no whole record.
    pub cut: Option<Cut>,
    /// The working copy was rebuilt, and why.
    pub rebuilt: Option<String>,
}

/// Handle of an open store; cheap to clone. The writer ends when the last handle is dropped or at [`Store::close`].
#[derive(Clone)]
pub struct Store {
    jobs: mpsc::Sender<writer::Message>,
    working: working::Shared,
    committed: watch::Receiver<u64>,
    report: Arc<OpenReport>,
}

/// Jobs that may wait for the writer; past it, callers wait.
const QUEUE_MAX: usize = 1024;

impl Store {
    /// Opens the store, replays what the working copy lacks, rebuilds it when it does not open, and migrates.
    ///
    /// # Errors
    /// When the directory is in use by another process, can not be read or written, or is of a newer version.
    pub fn open(options: Options) -> Result<Self, StoreError> {
        std::fs::create_dir_all(&options.dir).map_err(|e| StoreError::io("create", &options.dir, e))?;
        let lock = lock_dir(&options.dir)?;
        let (mut journal, cut) = journal::Journal::open(&options.dir.join("journal"), options.segment_bytes)?;
        if let Some(cut) = &cut {
            tracing::warn!(segment = %cut.segment.display(), offset = cut.offset, lost_bytes = cut.bytes,
                "store.journal_cut: the journal ended in an incomplete record; opened at the last whole one, rest set aside");
        }
        let (working, mut report) = working::recover(&options, &mut journal)?;
        report.cut = cut;
        if let Some(reason) = &report.rebuilt {
            tracing::warn!(%reason, replayed = report.replayed, "store.rebuilt: the working copy was rebuilt from export and journal");
        }
        let last_event = working.last_event()?;
        let shared = working::Shared::new(working);
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        let (notify, committed) = watch::channel(last_event);
        let writer = writer::Writer::new(options, journal, shared.clone(), notify, last_event, lock);
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || writer.run(queue))
            .map_err(|e| StoreError::Unavailable(format!("can not start the writer thread: {e}")))?;
        let store = Self { jobs, working: shared, committed, report: Arc::new(report) };
        migrate::run(&store)?;
        Ok(store)
    }

    /// What happened at open.
    pub fn report(&self) -> &OpenReport {
        &self.report
    }

    /// Runs `work` as one transaction and answers when it is durable. When `work` fails, nothing is written.
    ///
    /// # Errors
    /// Those of `work`; [`StoreError`] (converted) when the transaction could not be made durable: then nothing of it
    /// is visible, now or later.
    pub async fn commit<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, wait) = oneshot::channel();
        let job = writer::TypedJob::boxed(work, answer);
        self.jobs.send(writer::Message::Job(job)).await.map_err(|_| StoreError::Closed)?;
        wait.await.map_err(|_| StoreError::Closed)?
    }

    /// [`Store::commit`] for threads without a runtime.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn commit_blocking<T, E, F>(&self, work: F) -> Result<T, E>
    where
        F: FnOnce(&mut Tx) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let (answer, wait) = oneshot::channel();
        let job = writer::TypedJob::boxed(work, answer);
        self.jobs.blocking_send(writer::Message::Job(job)).map_err(|_| StoreError::Closed)?;
        wait.blocking_recv().map_err(|_| StoreError::Closed)?
    }

    /// The sequence number of the newest committed event, and a way to wait for the next.
    pub fn committed(&self) -> watch::Receiver<u64> {
        self.committed.clone()
    }

    /// Number of the last record that the rows come from.
    ///
    /// # Errors
    /// When the working copy can not be read.
    pub fn last_record(&self) -> Result<u64, StoreError> {
        self.working.current()?.applied()
    }

    /// Writes an export now.
    ///
    /// # Errors
    /// When the file can not be written; the former export stays.
    pub async fn export(&self) -> Result<PathBuf, StoreError> {
        let (answer, wait) = oneshot::channel();
        self.jobs.send(writer::Message::Export(answer)).await.map_err(|_| StoreError::Closed)?;
        wait.await.map_err(|_| StoreError::Closed)?
    }

    /// Finishes what is queued, writes an export if one is due, and ends the writer. Later commits fail.
    ///
    /// # Errors
    /// When the last export could not be written; the data itself is safe in the journal.
    pub async fn close(&self) -> Result<(), StoreError> {
        let (answer, wait) = oneshot::channel();
        self.jobs.send(writer::Message::Close(answer)).await.map_err(|_| StoreError::Closed)?;
        wait.await.map_err(|_| StoreError::Closed)?
    }
}

impl Store {
    /// [`Store::close`] for threads without a runtime.
    ///
    /// # Errors
    /// As [`Store::close`].
    pub fn close_blocking(&self) -> Result<(), StoreError> {
        let (answer, wait) = oneshot::channel();
        self.jobs.blocking_send(writer::Message::Close(answer)).map_err(|_| StoreError::Closed)?;
        wait.blocking_recv().map_err(|_| StoreError::Closed)?
    }
}

impl ReadRows for Store {
    fn raw_get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.working.get(key)
    }

    fn raw_scan(&self, from: &[u8], prefix: &[u8], limit: usize) -> Result<Vec<RawRow>, StoreError> {
        self.working.scan(from, prefix, limit)
    }
}

/// Two daemons on one directory would destroy it.
fn lock_dir(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let file = File::create(&path).map_err(|e| StoreError::io("create", &path, e))?;
    file.try_lock().map_err(|e| match e {
        std::fs::TryLockError::WouldBlock => StoreError::InUse(dir.to_path_buf()),
        std::fs::TryLockError::Error(e) => StoreError::io("lock", &path, e),
    })?;
    Ok(file)
}
