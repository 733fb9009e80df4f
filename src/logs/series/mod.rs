//! Series of numbers over time: what apps, dynos and the host used, kept in files of a fixed size.
//!
//! ```text
//! metrics/APP/requests.v1      per app: status classes, times, router errors           884,736 bytes
//! metrics/APP/dyno.web.1.v1    per slot of the formation: memory, CPU, tasks, states   239,616 bytes
//! metrics/APP/work.v1          per app: builds and releases                            184,320 bytes
//! metrics/host/host.v1         the host                                                294,912 bytes
//! ```
//!
//! Each file holds 1 minute for 24 hours, 10 minutes for 7 days and 1 hour for 90 days; the files are sparse, so an app
//! that nobody visits takes next to nothing. Nothing in a file is needed to read the rest of it: there is no header, each
//! slot names its own time and ends in a checksum. A torn or flipped slot is a gap, never an error.

mod file;
mod meter;
mod query;
mod record;
mod sketch;

pub use meter::{Meter, Meters, Snapshot, code_name};
pub use query::{Kind, Line, Query, Series, default_step, unit_of};
pub use record::{Host, Requests, Usage, Work};
pub use sketch::{BUCKETS, Sketch, upper_us};

use domain::AppId;
use file::{append, read};
use record::Record;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

/// A resolution and how many of its steps are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Seconds of a slot.
    pub step_s: u32,
    /// Slots that are kept.
    pub slots: u32,
}

/// From fine to coarse. Each step divides the next, and no block of a coarser slot wraps round the end of a finer ring.
pub const LEVELS: [Level; 3] =
    [Level { step_s: 60, slots: 1440 }, Level { step_s: 600, slots: 1008 }, Level { step_s: 3600, slots: 2160 }];

/// Slots of a file.
pub const SLOTS: u32 = LEVELS[0].slots + LEVELS[1].slots + LEVELS[2].slots;

/// Series of dynos that an app can have at once; further ones are not kept.
pub const DYNO_SERIES_MAX: usize = 100;

/// The newest figures of a dyno.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DynoNow {
    /// What it used in the last few seconds.
    pub usage: Usage,
    /// Load over 1, 5 and 15 minutes.
    pub load: [f64; 3],
    /// When it was looked at, in seconds since 1970.
    pub at_s: u64,
}

/// All series of this host. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    meters: Meters,
    /// Writers one at a time; readers never see half a slot.
    files: RwLock<()>,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    dynos: BTreeMap<(AppId, String), DynoNow>,
    host: Host,
    work: BTreeMap<AppId, Work>,
}

impl Metrics {
    /// Series kept under `dir`.
    ///
    /// # Errors
    /// When the directory can not be made.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let inner =
            Inner { dir: dir.to_path_buf(), meters: Meters::default(), files: RwLock::default(), now: Mutex::default() };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What the router counts.
    pub fn meters(&self) -> &Meters {
        &self.inner.meters
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.inner.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path<R: Record>(&self, app: Option<AppId>, name: &str) -> PathBuf {
        let folder = app.map_or_else(|| "host".to_string(), |app| app.to_string());
        let dot = if name.is_empty() { "" } else { "." };
        self.inner.dir.join(folder).join(format!("{}{dot}{name}.v1", R::NAME))
    }

    fn add<R: Record>(&self, app: Option<AppId>, name: &str, minute: u32, record: &R) -> io::Result<()> {
        let _one = self.inner.files.write().unwrap_or_else(PoisonError::into_inner);
        append(&self.path::<R>(app, name), minute, record)
    }

    fn range<R: Record>(&self, app: Option<AppId>, name: &str, level: usize, from: u32, count: u32) -> Vec<Option<R>> {
        let _many = self.inner.files.read().unwrap_or_else(PoisonError::into_inner);
        read(&self.path::<R>(app, name), level, from, count)
    }

    /// Adds what an app's visitors asked for to a minute (minutes since 1970).
    ///
    /// # Errors
    /// Of the disk.
    pub fn add_requests(&self, app: AppId, minute: u32, requests: &Requests) -> io::Result<()> {
        self.add(Some(app), "", minute, requests)
    }

    /// Adds what a dyno used to a minute. A name that can be no file is not kept, nor is one beyond [`DYNO_SERIES_MAX`].
    ///
    /// # Errors
    /// Of the disk.
    pub fn add_usage(&self, app: AppId, dyno: &str, minute: u32, usage: &Usage) -> io::Result<()> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-.".contains(&b);
        if dyno.is_empty() || dyno.len() > 100 || !dyno.bytes().all(plain) {
            return Ok(());
        }
        let path = self.path::<Usage>(Some(app), dyno);
        if !path.exists() && self.dynos(app).len() >= DYNO_SERIES_MAX {
            return Ok(());
        }
        self.add(Some(app), dyno, minute, usage)
    }

    /// Adds builds and releases that ended to a minute.
    ///
    /// # Errors
    /// Of the disk.
    pub fn add_work(&self, app: AppId, minute: u32, work: &Work) -> io::Result<()> {
        self.now().work.entry(app).or_default().merge(work);
        self.add(Some(app), "", minute, work)
    }

    /// Adds figures of the host to a minute.
    ///
    /// # Errors
    /// Of the disk.
    pub fn add_host(&self, minute: u32, host: &Host) -> io::Result<()> {
        self.add(None, "", minute, host)
    }

    /// Names of dynos that an app has series of, in the order of type and number.
    pub fn dynos(&self, app: AppId) -> Vec<String> {
        let prefix = format!("{}.", Usage::NAME);
        let entries = fs::read_dir(self.inner.dir.join(app.to_string())).into_iter().flatten().flatten();
        let name = |entry: fs::DirEntry| {
            let file = entry.file_name().into_string().ok()?;
            Some(file.strip_prefix(&prefix)?.strip_suffix(".v1")?.to_string())
        };
        let mut names: Vec<String> = entries.filter_map(name).collect();
        let key = |name: &String| {
            let (ptype, number) = name.rsplit_once('.').unwrap_or((name, ""));
            (ptype.to_string(), number.parse::<u64>().unwrap_or(0))
        };
        names.sort_by_key(key);
        names
    }

    /// The app is gone, and with it what was known of it.
    pub fn remove(&self, app: AppId) {
        self.inner.meters.remove(app);
        {
            let mut now = self.now();
            now.dynos.retain(|(of, _), _| *of != app);
            now.work.remove(&app);
        }
        let _one = self.inner.files.write().unwrap_or_else(PoisonError::into_inner);
        let dir = self.inner.dir.join(app.to_string());
        match fs::remove_dir_all(&dir) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(error = %e, path = %dir.display(), "logs.series_left");
            }
            _ => {}
        }
    }

    /// Removes series of apps for which `lives` is false, and files that were not written for 90 days.
    pub fn sweep(&self, lives: impl Fn(AppId) -> bool) {
        const KEPT: std::time::Duration = std::time::Duration::from_secs(90 * 24 * 3600);
        let metered: Vec<AppId> = self.inner.meters.all().keys().copied().collect();
        metered.into_iter().filter(|app| !lives(*app)).for_each(|app| self.remove(app));
        for folder in fs::read_dir(&self.inner.dir).into_iter().flatten().flatten() {
            let Some(app) = folder.file_name().to_str().and_then(|name| name.parse::<AppId>().ok()) else { continue };
            if !lives(app) {
                self.remove(app);
                continue;
            }
            for file in fs::read_dir(folder.path()).into_iter().flatten().flatten() {
                let age = file.metadata().and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
                if age.is_some_and(|age| age > KEPT) {
                    let _ = fs::remove_file(file.path()); // tried again tomorrow
                }
            }
        }
    }

    /// Replaces the newest figures of all dynos.
    pub fn set_dynos(&self, dynos: BTreeMap<(AppId, String), DynoNow>) {
        self.now().dynos = dynos;
    }

    /// The newest figures of dynos.
    pub fn dynos_now(&self) -> BTreeMap<(AppId, String), DynoNow> {
        self.now().dynos.clone()
    }

    /// The newest figures of the dynos of an app.
    pub fn dynos_of(&self, app: AppId) -> Vec<(String, DynoNow)> {
        let now = self.now();
        let own = now.dynos.range((app, String::new())..).take_while(|((of, _), _)| *of == app);
        own.map(|((_, name), figures)| (name.clone(), *figures)).collect()
    }

    /// Replaces the newest figures of the host.
    pub fn set_host(&self, host: Host) {
        self.now().host = host;
    }

    /// The newest figures of the host.
    pub fn host_now(&self) -> Host {
        self.now().host
    }

    /// Builds and releases since the start of this process.
    pub fn work_now(&self) -> BTreeMap<AppId, Work> {
        self.now().work.clone()
    }
}

#[cfg(test)]
mod series_tests;
