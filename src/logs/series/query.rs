//! From slots to lines of a chart.

use super::{
    LEVELS, Metrics,
    meter::code_name,
    record::{CODES, Host, Record, Requests, Usage, Work},
};
use domain::AppId;
use std::collections::BTreeMap;

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Requests per minute: `2xx`, `3xx`, `4xx`, `5xx`.
    Requests,
    /// `p50`, `p95`, `p99` of the time that dynos took, ms.
    ResponseTime,
    /// Router errors: a line for each code, count.
    RouterErrors,
    /// Body bytes to visitors, bytes per second.
    Traffic,
    /// Memory without cache, a line for each dyno, MiB, with its quota as limit.
    Memory,
    /// The same, the highest of each step.
    MemoryMax,
    /// Swap, a line for each dyno, MiB.
    Swap,
    /// CPU, a line for each dyno, percent of one core.
    Cpu,
    /// Time held back by a CPU limit, a line for each dyno, percent.
    Throttled,
    /// Processes and threads, a line for each dyno.
    Tasks,
    /// State that a dyno was in for most of a step: 0 down, 1 starting, 2 up, 3 crashed.
    States,
    /// Builds: `builds`, `failed` (counts), `mean`, `longest` (s).
    Builds,
    /// Releases: `releases`, `failed` (counts), `mean`, `longest` (s) from the release to its proof.
    Releases,
    /// Processors of the host, percent of all of them.
    HostCpu,
    /// Load of the host.
    HostLoad,
    /// Memory of the host in use, MiB, with its size as limit; `used`, `peak`, `swap`.
    HostMemory,
    /// Disk of the data directory in use, MiB, with its size as limit.
    HostDisk,
    /// Network of the host: `received`, `sent`, bytes per second.
    HostNetwork,
    /// The daemon itself: `memory` (MiB), `cpu` (percent of one core).
    Daemon,
}

const KINDS: &[(Kind, &str, &str)] = &[
    (Kind::Requests, "requests", "req/min"),
    (Kind::ResponseTime, "response-time", "ms"),
    (Kind::RouterErrors, "router-errors", "count"),
    (Kind::Traffic, "traffic", "B/s"),
    (Kind::Memory, "memory", "MiB"),
    (Kind::MemoryMax, "memory-max", "MiB"),
    (Kind::Swap, "swap", "MiB"),
    (Kind::Cpu, "cpu", "%"),
    (Kind::Throttled, "throttled", "%"),
    (Kind::Tasks, "tasks", "count"),
    (Kind::States, "states", "state"),
    (Kind::Builds, "builds", "count, s"),
    (Kind::Releases, "releases", "count, s"),
    (Kind::HostCpu, "host-cpu", "%"),
    (Kind::HostLoad, "host-load", "load"),
    (Kind::HostMemory, "host-memory", "MiB"),
    (Kind::HostDisk, "host-disk", "MiB"),
    (Kind::HostNetwork, "host-network", "B/s"),
    (Kind::Daemon, "daemon", "MiB, %"),
];

impl Kind {
    /// As in the API.
    pub fn as_str(self) -> &'static str {
        KINDS.iter().find(|(kind, ..)| *kind == self).map_or("", |(_, name, _)| name)
    }

    /// Reads the word of the API.
    pub fn parse(text: &str) -> Option<Self> {
        KINDS.iter().find(|(_, name, _)| *name == text).map(|(kind, ..)| *kind)
    }

    /// It is about the host, not about an app.
    pub fn of_host(self) -> bool {
        matches!(self, Self::HostCpu | Self::HostLoad | Self::HostMemory | Self::HostDisk | Self::HostNetwork | Self::Daemon)
    }

    /// The words of those of apps or of the host.
    pub fn names(of_host: bool) -> Vec<&'static str> {
        KINDS.iter().filter(|(kind, ..)| kind.of_host() == of_host).map(|(_, name, _)| *name).collect()
    }
}

/// Unit of the values of a kind.
pub fn unit_of(kind: Kind) -> &'static str {
    KINDS.iter().find(|(of, ..)| *of == kind).map_or("", |(.., unit)| unit)
}

/// A span and how it is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// What.
    pub kind: Kind,
    /// Only dynos of this type, or this dyno (`web`, `web.1`).
    pub process: Option<String>,
    /// From, seconds since 1970; rounded down to a step.
    pub from_s: u64,
    /// Up to (not including), seconds since 1970; rounded up to a step.
    pub to_s: u64,
    /// Wanted seconds of a step; 0 for [`default_step`].
    pub step_s: u32,
}

/// One line of a chart.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// `web.1`, `p95`, `5xx`, `H12`.
    pub name: String,
    /// A value for each step; `None` where nothing is known.
    pub values: Vec<Option<f64>>,
    /// What the values can not pass, such as a memory quota.
    pub limit: Option<f64>,
}

/// Lines over a span.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// What.
    pub kind: Kind,
    /// Begin of the first step, seconds since 1970.
    pub from_s: u64,
    /// Seconds of a step.
    pub step_s: u32,
    /// The lines, all of the same length.
    pub lines: Vec<Line>,
}

/// The step that suits a span: 2 h in minutes, a day in tens of minutes, then 1, 2 and 6 hours (`ux.md` section 6).
pub fn default_step(span_s: u64) -> u32 {
    const HOUR: u64 = 3600;
    // "The last two hours" are a second more when their begin is rounded down and their end up.
    match span_s.saturating_sub(60) {
        s if s <= 2 * HOUR => 60,
        s if s <= 24 * HOUR => 600,
        s if s <= 72 * HOUR => 3600,
        s if s <= 7 * 24 * HOUR => 7200,
        _ => 6 * 3600,
    }
}

/// Values of a line at most.
const POINTS_MAX: u64 = 1500;

/// How a query is answered: level, step, first slot of the level and number of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    level: usize,
    step_s: u32,
    from_s: u64,
    steps: usize,
}

impl Cut {
    fn of(query: &Query, now_s: u64) -> Self {
        let to_s = query.to_s.min(now_s.saturating_add(60)).max(1);
        let from_s = query.from_s.min(to_s.saturating_sub(1));
        let wanted = if query.step_s == 0 { default_step(to_s - from_s) } else { query.step_s };
        let wanted = u64::from(wanted).max((to_s - from_s).div_ceil(POINTS_MAX));
        let age = now_s.saturating_sub(from_s);
        let fits = |n: &usize| {
            let level = LEVELS[*n];
            u64::from(level.step_s) * u64::from(level.slots) > age && u64::from(level.step_s) <= wanted
        };
        // The coarsest that is fine enough: the fewest slots to read. Else the finest that reaches back so far.
        let reaches = |n: &usize| u64::from(LEVELS[*n].step_s) * u64::from(LEVELS[*n].slots) > age;
        let last = LEVELS.len() - 1;
        let level = (0..LEVELS.len()).rev().find(fits).or_else(|| (0..LEVELS.len()).find(reaches)).unwrap_or(last);
        let unit = u64::from(LEVELS[level].step_s);
        let step = wanted.div_ceil(unit).max(1) * unit;
        let from_s = from_s / step * step;
        let steps = usize::try_from((to_s - from_s).div_ceil(step)).unwrap_or(0).min(POINTS_MAX as usize + 1);
        Self { level, step_s: u32::try_from(step).unwrap_or(u32::MAX), from_s, steps }
    }

    /// Sums of the slots of each step.
    fn sums<R: Record>(self, metrics: &Metrics, app: Option<AppId>, name: &str) -> Vec<Option<R>> {
        let unit = LEVELS[self.level].step_s;
        let each = (self.step_s / unit) as usize;
        let first = u32::try_from(self.from_s / u64::from(unit)).unwrap_or(u32::MAX);
        let count = u32::try_from(each * self.steps).unwrap_or(0).min(LEVELS[self.level].slots + self.step_s / unit);
        let mut slots: Vec<Option<R>> = metrics.range(app, name, self.level, first, count);
        slots.resize(each * self.steps, None);
        let sum = |slots: &[Option<R>]| {
            slots.iter().flatten().fold(None, |sum: Option<R>, slot| {
                let mut sum = sum.unwrap_or_default();
                sum.merge(slot);
                Some(sum)
            })
        };
        slots.chunks(each.max(1)).map(sum).collect()
    }
}

fn line<R>(name: impl Into<String>, sums: &[Option<R>], value: impl Fn(&R) -> Option<f64>) -> Line {
    let values = sums.iter().map(|sum| sum.as_ref().and_then(&value)).collect();
    Line { name: name.into(), values, limit: None }
}

fn mib(kib: u32) -> f64 {
    f64::from(kib) / 1024.0
}

/// Part in percent of a time in seconds.
fn percent(ms: u32, seconds: u32) -> Option<f64> {
    (seconds > 0).then(|| f64::from(ms) / 10.0 / f64::from(seconds))
}

fn of_usage(kind: Kind, usage: &Usage) -> Option<f64> {
    match kind {
        Kind::Memory => Some(mib(usage.memory_kib)),
        Kind::MemoryMax => Some(mib(usage.memory_max_kib)),
        Kind::Swap => Some(mib(usage.swap_kib)),
        Kind::Cpu => percent(usage.cpu_ms, usage.seconds),
        Kind::Throttled => percent(usage.throttled_ms, usage.seconds),
        Kind::Tasks => Some(f64::from(usage.tasks)),
        _ => {
            let states = [(3, usage.crashed_s), (1, usage.starting_s), (2, usage.up_s)];
            states.iter().filter(|(_, s)| *s > 0).max_by_key(|(_, s)| *s).map(|(state, _)| f64::from(*state)).or(Some(0.0))
        }
    }
}

fn of_dynos(metrics: &Metrics, app: AppId, query: &Query, cut: Cut) -> Vec<Line> {
    let wanted = |name: &&String| {
        let process = query.process.as_deref();
        process.is_none_or(|process| *name == process || name.strip_prefix(process).is_some_and(|rest| rest.starts_with('.')))
    };
    let names = metrics.dynos(app);
    let lines = names.iter().filter(wanted).map(|name| {
        let sums: Vec<Option<Usage>> = cut.sums(metrics, Some(app), name);
        let limit = sums.iter().flatten().map(|usage| usage.limit_kib).next_back().filter(|kib| *kib > 0).map(mib);
        let bounded = matches!(query.kind, Kind::Memory | Kind::MemoryMax);
        Line { limit: limit.filter(|_| bounded), ..line(name, &sums, |usage| of_usage(query.kind, usage)) }
    });
    lines.filter(|line| line.values.iter().any(Option::is_some)).collect()
}

fn of_requests(metrics: &Metrics, app: AppId, kind: Kind, cut: Cut) -> Vec<Line> {
    let mut sums: Vec<Option<Requests>> = cut.sums(metrics, Some(app), "");
    // While the platform was up, no slot means that nobody came.
    let host: Vec<Option<Host>> = cut.sums(metrics, None, "");
    for (sum, host) in sums.iter_mut().zip(&host) {
        if sum.is_none() && host.is_some() {
            *sum = Some(Requests::default());
        }
    }
    let minutes = f64::from(cut.step_s) / 60.0;
    let class = |place: usize| move |r: &Requests| Some(f64::from(r.classes[place]) / minutes);
    match kind {
        Kind::Requests => {
            let names = ["2xx", "3xx", "4xx", "5xx"];
            names.iter().enumerate().map(|(n, name)| line(*name, &sums, class(n + 1))).collect()
        }
        Kind::ResponseTime => {
            let lines = [("p50", 0.5), ("p95", 0.95), ("p99", 0.99)];
            lines.iter().map(|(name, share)| line(*name, &sums, |r| r.times.quantile_ms(*share))).collect()
        }
        Kind::Traffic => vec![line("sent", &sums, |r| Some(r.bytes as f64 / f64::from(cut.step_s)))],
        _ => {
            let seen = |place: &usize| sums.iter().flatten().any(|r| r.codes[*place] > 0);
            let codes = (0..CODES).filter(seen);
            codes.map(|place| line(code_name(place), &sums, |r| Some(f64::from(r.codes[place])))).collect()
        }
    }
}

fn of_work(metrics: &Metrics, app: AppId, kind: Kind, cut: Cut) -> Vec<Line> {
    let sums: Vec<Option<Work>> = cut.sums(metrics, Some(app), "");
    let numbers = |w: &Work| match kind {
        Kind::Builds => (w.builds, w.builds_failed, w.build_ms, w.build_max_ms),
        _ => (w.releases, w.releases_failed, w.release_ms, w.release_max_ms),
    };
    let seconds = |ms: u32| f64::from(ms) / 1000.0;
    vec![
        line(kind.as_str(), &sums, |w| Some(f64::from(numbers(w).0))),
        line("failed", &sums, |w| Some(f64::from(numbers(w).1))),
        line("mean", &sums, |w| Some(numbers(w)).filter(|n| n.0 > 0).map(|n| seconds(n.2) / f64::from(n.0))),
        line("longest", &sums, |w| Some(numbers(w)).filter(|n| n.0 > 0).map(|n| seconds(n.3))),
    ]
}

fn of_host(metrics: &Metrics, kind: Kind, cut: Cut) -> Vec<Line> {
    let sums: Vec<Option<Host>> = cut.sums(metrics, None, "");
    let last = sums.iter().flatten().next_back().copied().unwrap_or_default();
    let rate = |kib: u32, s: u32| (s > 0).then(|| f64::from(kib) * 1024.0 / f64::from(s));
    let limited = |line: Line, limit: f64| Line { limit: Some(limit).filter(|l| *l > 0.0), ..line };
    match kind {
        Kind::HostCpu => {
            let all = |h: &Host| percent(h.busy_ms, h.seconds).map(|p| p / f64::from(h.cores.max(1)));
            vec![limited(line("busy", &sums, all), 100.0)]
        }
        Kind::HostLoad => {
            let load = line("load", &sums, |h| Some(f64::from(h.load_milli) / 1000.0));
            vec![limited(load, f64::from(last.cores))]
        }
        Kind::HostMemory => vec![
            limited(line("used", &sums, |h| Some(mib(h.memory_used_kib))), mib(last.memory_kib)),
            line("peak", &sums, |h| Some(mib(h.memory_used_max_kib))),
            line("swap", &sums, |h| Some(mib(h.swap_used_kib))),
        ],
        Kind::HostDisk => vec![limited(line("used", &sums, |h| Some(f64::from(h.disk_used_mib))), f64::from(last.disk_mib))],
        Kind::HostNetwork => vec![
            line("received", &sums, |h| rate(h.received_kib, h.seconds)),
            line("sent", &sums, |h| rate(h.sent_kib, h.seconds)),
        ],
        _ => vec![line("memory", &sums, |h| Some(mib(h.daemon_kib))), line("cpu", &sums, |h| percent(h.daemon_ms, h.seconds))],
    }
}

impl Metrics {
    /// Answers a query about an app, or about the host (`None`). The step may come out longer than was asked for: where
    /// the finer slots are gone, and for spans of more than 1,500 steps.
    pub fn query(&self, app: Option<AppId>, query: &Query, now_s: u64) -> Series {
        let cut = Cut::of(query, now_s);
        let lines = match (query.kind, app) {
            (kind, _) if kind.of_host() => of_host(self, kind, cut),
            (_, None) => Vec::new(),
            (kind @ (Kind::Requests | Kind::ResponseTime | Kind::RouterErrors | Kind::Traffic), Some(app)) => {
                of_requests(self, app, kind, cut)
            }
            (kind @ (Kind::Builds | Kind::Releases), Some(app)) => of_work(self, app, kind, cut),
            (_, Some(app)) => of_dynos(self, app, query, cut),
        };
        Series { kind: query.kind, from_s: cut.from_s, step_s: cut.step_s, lines }
    }

    /// What an app's visitors asked for between two moments, minute by minute added up; for rules.
    pub fn requests_between(&self, app: AppId, from_s: u64, to_s: u64) -> Requests {
        let (from, to) = ((from_s / 60) as u32, (to_s / 60) as u32);
        let slots: Vec<Option<Requests>> = self.range(Some(app), "", 0, from, to.saturating_sub(from));
        let mut sum = Requests::default();
        slots.iter().flatten().for_each(|slot| sum.merge(slot));
        sum
    }

    /// All of a query's lines as one, added up at each step: for sparklines and totals.
    pub fn total(series: &Series) -> Vec<Option<f64>> {
        let steps = series.lines.iter().map(|line| line.values.len()).max().unwrap_or(0);
        let at = |n: usize| {
            let values: Vec<f64> = series.lines.iter().filter_map(|line| line.values.get(n).copied().flatten()).collect();
            (!values.is_empty()).then(|| values.iter().sum())
        };
        (0..steps).map(at).collect()
    }

    /// The last value of each line of a query, by name.
    pub fn latest(series: &Series) -> BTreeMap<String, f64> {
        let last = |line: &Line| line.values.iter().rev().find_map(|value| *value);
        series.lines.iter().filter_map(|line| Some((line.name.clone(), last(line)?))).collect()
    }
}
