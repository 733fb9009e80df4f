//! The working copy: sled. Never trusted to be durable, always able to be thrown away.

use crate::{
    OpenReport, Options, StoreError,
    codec::{Change, Record},
    export,
    journal::Journal,
    tables,
    tx::RawRow,
};
use std::{
    fs,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
};

/// Opens a sled database; may fail or panic.
pub type Opener = Arc<dyn Fn(&Path) -> Result<sled::Db, String> + Send + Sync>;

/// Where the working copy keeps the number of the last record it has seen. No table has the number 0.
const APPLIED: &[u8] = &[0];

/// Memory for sled's cache.
const CACHE_BYTES: u64 = 16 << 20;

const MISSING: &str = "the working copy was missing";

/// The real opener.
pub fn open_sled(path: &Path) -> Result<sled::Db, String> {
    sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(Some(1000)).open().map_err(|e| e.to_string())
}

/// An open working copy.
pub struct Working {
    db: sled::Db,
}

fn sled_error(e: &sled::Error) -> StoreError {
    StoreError::Unavailable(format!("the working copy failed: {e}"))
}

impl Working {
    /// Opens in a thread of its own: an unclean stop can make sled panic (`stack.md`).
    fn open(path: &Path, opener: &Opener) -> Result<Self, String> {
        let (path, opener) = (path.to_path_buf(), opener.clone());
        let thread = std::thread::Builder::new().name("store-open".into()).spawn(move || opener(&path));
        let opened = thread.map_err(|e| e.to_string())?.join().map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).into()));
            format!("panic: {}", text.unwrap_or_default())
        })?;
        opened.map(|db| Self { db })
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get(key).map(|v| v.map(|v| v.to_vec())).map_err(|e| sled_error(&e))
    }

    pub fn scan(&self, from: &[u8], prefix: &[u8], limit: usize) -> Result<Vec<RawRow>, StoreError> {
        let mut rows = Vec::new();
        for row in self.db.range(from.to_vec()..) {
            let (key, value) = row.map_err(|e| sled_error(&e))?;
            if !key.starts_with(prefix) || rows.len() >= limit {
                break;
            }
            rows.push((key.to_vec(), value.to_vec()));
        }
        Ok(rows)
    }

    /// Number of the last record that was applied.
    pub fn applied(&self) -> Result<u64, StoreError> {
        let bytes = self.get(APPLIED)?;
        let array = bytes.map(|b| <[u8; 8]>::try_from(b.as_slice()).map_err(|_| StoreError::Corrupt("applied number".into())));
        Ok(array.transpose()?.map_or(0, u64::from_be_bytes))
    }

    /// Number of the newest event, 0 when there is none.
    pub fn last_event(&self) -> Result<u64, StoreError> {
        let prefix = [tables::EVENTS.prefix];
        let last = self.db.scan_prefix(prefix).keys().next_back().transpose().map_err(|e| sled_error(&e))?;
        let number = last.and_then(|k| k.get(1..9).and_then(|b| <[u8; 8]>::try_from(b).ok()));
        Ok(number.map_or(0, u64::from_be_bytes))
    }

    /// Applies changes and the number of the record that brought them, all or nothing.
    pub fn apply<'c>(&self, changes: impl Iterator<Item = &'c Change>, seq: u64) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        batch.insert(APPLIED, &seq.to_be_bytes());
        self.db.apply_batch(batch).map_err(|e| sled_error(&e))
    }

    /// Every row of the tables, in order.
    pub fn rows(&self) -> impl Iterator<Item = Result<RawRow, StoreError>> {
        self.db.range([1u8].to_vec()..).map(|row| row.map(|(k, v)| (k.to_vec(), v.to_vec())).map_err(|e| sled_error(&e)))
    }
}

/// The working copy as readers and the writer share it. `None` while it is being reopened.
#[derive(Clone)]
pub struct Shared(Arc<RwLock<Option<Arc<Working>>>>);

impl Shared {
    pub fn new(working: Working) -> Self {
        Self(Arc::new(RwLock::new(Some(Arc::new(working)))))
    }

    pub fn current(&self) -> Result<Arc<Working>, StoreError> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner).clone();
        current.ok_or_else(|| StoreError::Unavailable("the working copy is being reopened".into()))
    }

    pub fn replace(&self, working: Option<Working>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = working.map(Arc::new);
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.current()?.get(key)
    }

    pub fn scan(&self, from: &[u8], prefix: &[u8], limit: usize) -> Result<Vec<RawRow>, StoreError> {
        self.current()?.scan(from, prefix, limit)
    }
}

/// Opens the working copy and brings it up to the journal; sets it aside and rebuilds it when that can not be done.
pub fn recover(options: &Options, journal: &mut Journal) -> Result<(Working, OpenReport), StoreError> {
    let path = options.dir.join("sled");
    let reason = if path.exists() {
        match Working::open(&path, &options.opener) {
            Ok(working) => match catch_up(options, &working, journal) {
                Ok(replayed) => return Ok((working, OpenReport { replayed, ..OpenReport::default() })),
                Err(StoreError::Full) => return Err(StoreError::Full),
                Err(reason) => reason.to_string(),
            },
            Err(reason) if is_shortage(&reason) => return Err(StoreError::Unavailable(reason)),
            Err(reason) => reason,
        }
    } else {
        MISSING.into()
    };
    set_aside(&options.dir, &path)?;
    let working = Working::open(&path, &(Arc::new(open_sled) as Opener))
        .map_err(|e| StoreError::Unavailable(format!("a new working copy does not open: {e}")))?;
    let loaded = export::load_newest(&options.dir.join("exports"), &working)?;
    let replayed = catch_up(options, &working, journal)?;
    let is_new = loaded == 0 && replayed == 0;
    Ok((working, OpenReport { replayed, cut: None, rebuilt: (!is_new).then_some(reason) }))
}

/// A lack of space or descriptors says nothing about the data: nothing is set aside for it.
fn is_shortage(reason: &str) -> bool {
    const CODES: [i32; 4] = [libc_codes::ENOSPC, libc_codes::EDQUOT, libc_codes::EMFILE, libc_codes::ENFILE];
    CODES.iter().any(|code| reason.contains(&format!("os error {code})")) || reason.contains(&format!("code: {code},")))
}

/// Numbers of the system's errors; the same on every Linux that we run on.
mod libc_codes {
    pub const ENFILE: i32 = 23;
    pub const EMFILE: i32 = 24;
    pub const ENOSPC: i32 = 28;
    pub const EDQUOT: i32 = 122;
}

/// Replays what is missing. When the journal was cut and ends before what the working copy has, that is exported at
/// once, and the journal starts over after it.
fn catch_up(options: &Options, working: &Working, journal: &mut Journal) -> Result<u64, StoreError> {
    let applied = working.applied()?;
    if journal.first_seq() > applied + 1 {
        return Err(StoreError::Corrupt(format!(
            "the working copy ends at {applied}, the journal begins at {}; restore a backup",
            journal.first_seq()
        )));
    }
    let replayed = journal.replay(applied, |record: Record| working.apply(record.changes.iter(), record.seq))?;
    if applied > journal.last_seq() {
        export::write(&options.dir.join("exports"), working, applied)?;
        journal.start_over_after(applied)?;
    }
    Ok(replayed)
}

fn set_aside(dir: &Path, path: &Path) -> Result<(), StoreError> {
    if !path.exists() {
        return Ok(());
    }
    let aside = (1..).map(|n| dir.join(format!("sled.bad-{n}"))).find(|p| !p.exists());
    let aside = aside.ok_or_else(|| StoreError::Unavailable("no free name for the bad working copy".into()))?;
    fs::rename(path, &aside).map_err(|e| StoreError::io("set aside", path, e))
}

/// Reopens after sled failed while running; the caller has dropped its handle.
pub fn reopen(options: &Options, journal: &mut Journal) -> Result<Working, StoreError> {
    recover(options, journal).map(|(working, _)| working)
}
