//! What the router counts: numbers that only grow, added to without a lock.

use super::{
    record::{CODES, Requests},
    sketch::{BUCKETS, bucket},
};
use arc_swap::ArcSwap;
use domain::AppId;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
};

/// The place of an H-code among [`CODES`]. Codes of later days share the last.
fn code_place(number: u16) -> usize {
    match number {
        10..=28 => usize::from(number - 10),
        31 => 19,
        80..=89 => usize::from(number - 80) + 20,
        99 => 30,
        _ => CODES - 1,
    }
}

/// `H12`, for the place of a code in [`Requests::codes`].
pub fn code_name(place: usize) -> String {
    match place {
        0..=18 => format!("H{}", place + 10),
        19 => "H31".into(),
        20..=29 => format!("H{}", place + 60),
        30 => "H99".into(),
        _ => "other".into(),
    }
}

/// Counts requests of an app.
pub struct Meter {
    classes: [AtomicU64; 5],
    codes: [AtomicU32; CODES],
    bytes: AtomicU64,
    time_us: AtomicU64,
    times: [AtomicU32; BUCKETS],
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            classes: Default::default(),
            codes: std::array::from_fn(|_| AtomicU32::new(0)),
            bytes: AtomicU64::new(0),
            time_us: AtomicU64::new(0),
            times: std::array::from_fn(|_| AtomicU32::new(0)),
        }
    }
}

impl Meter {
    /// Counts a request: what the visitor got, the number of the H-code if there is one, body bytes, and the time of the
    /// dyno if it reached one. A handful of additions.
    pub fn count(&self, status: u16, code: Option<u16>, bytes: u64, service_us: Option<u64>) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.classes[class].fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        if let Some(code) = code {
            self.codes[code_place(code)].fetch_add(1, Relaxed);
        }
        if let Some(us) = service_us {
            self.times[bucket(us)].fetch_add(1, Relaxed);
            self.time_us.fetch_add(us, Relaxed);
        }
    }

    /// All that was counted so far.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            classes: std::array::from_fn(|n| self.classes[n].load(Relaxed)),
            codes: std::array::from_fn(|n| self.codes[n].load(Relaxed)),
            bytes: self.bytes.load(Relaxed),
            time_us: self.time_us.load(Relaxed),
            times: std::array::from_fn(|n| self.times[n].load(Relaxed)),
        }
    }
}

/// What a [`Meter`] had counted at a moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Answers by the first digit of their status, from 1 on.
    pub classes: [u64; 5],
    /// Router errors by the place of their code.
    pub codes: [u32; CODES],
    /// Body bytes.
    pub bytes: u64,
    /// Time of dynos, all together, microseconds.
    pub time_us: u64,
    /// Times by bucket.
    pub times: [u32; BUCKETS],
}

impl Default for Snapshot {
    fn default() -> Self {
        Self { classes: [0; 5], codes: [0; CODES], bytes: 0, time_us: 0, times: [0; BUCKETS] }
    }
}

impl Snapshot {
    /// What was counted since an earlier one; `None` when nothing was.
    pub fn since(&self, earlier: &Self) -> Option<Requests> {
        if self.classes == earlier.classes {
            return None;
        }
        let narrow = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        let mut requests = Requests {
            classes: std::array::from_fn(|n| narrow(self.classes[n].wrapping_sub(earlier.classes[n]))),
            codes: std::array::from_fn(|n| self.codes[n].wrapping_sub(earlier.codes[n])),
            bytes: self.bytes.wrapping_sub(earlier.bytes),
            ..Requests::default()
        };
        requests.times.0 = std::array::from_fn(|n| self.times[n].wrapping_sub(earlier.times[n]));
        Some(requests)
    }
}

/// The meters of all apps. Looking one up takes no lock.
#[derive(Clone, Default)]
pub struct Meters {
    apps: Arc<ArcSwap<HashMap<AppId, Arc<Meter>>>>,
}

impl Meters {
    /// Counts with the meter of an app, which is made when it is the first time.
    pub fn with(&self, app: AppId, count: impl FnOnce(&Meter)) {
        if let Some(meter) = self.apps.load().get(&app) {
            return count(meter);
        }
        self.apps.rcu(|apps| {
            let mut apps = HashMap::clone(apps);
            apps.entry(app).or_default();
            apps
        });
        if let Some(meter) = self.apps.load().get(&app) {
            count(meter);
        }
    }

    /// All of them.
    pub fn all(&self) -> Arc<HashMap<AppId, Arc<Meter>>> {
        self.apps.load_full()
    }

    /// The app is gone. A request that ends after it makes a new meter, which the next sweep removes.
    pub fn remove(&self, app: AppId) {
        if self.apps.load().contains_key(&app) {
            self.apps.rcu(|apps| {
                let mut apps = HashMap::clone(apps);
                apps.remove(&app);
                apps
            });
        }
    }
}
