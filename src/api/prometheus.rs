//! The text format of Prometheus. Labels are bounded: names of at most [`APPS_MAX`] apps, the rest is one; classes, codes
//! and buckets are fixed; dynos are those that are there now.

use domain::{App, AppId};
use logs::series::{BUCKETS, Metrics, Snapshot, Work, code_name, upper_us};
use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write,
};

/// Apps beyond this number, by name, are counted together as `_other`.
const APPS_MAX: usize = 500;
const OTHER: &str = "_other";

/// One page of text.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n"); // a String takes all
    }

    fn line(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.0.push_str(name);
        for (n, (key, value)) in labels.iter().enumerate() {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{}{key}=\"{value}\"", if n == 0 { '{' } else { ',' });
        }
        let _ = writeln!(self.0, "{} {value}", if labels.is_empty() { "" } else { "}" });
    }

    /// A family without labels and with one value.
    fn one(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.family(name, kind, help);
        self.line(name, &[], value);
    }
}

/// Everything that is known now.
pub fn text(apps: &[App], series: &Metrics, backup_age_s: Option<u64>) -> String {
    let mut page = Page(String::with_capacity(16 << 10));
    page.family("tidemill_build_info", "gauge", "Version of the platform; the value is always 1.");
    page.line("tidemill_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let mut sorted: Vec<&App> = apps.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let named = |(n, app): (usize, &&App)| (app.id, if n < APPS_MAX { app.name.clone() } else { OTHER.into() });
    let names: HashMap<AppId, String> = sorted.iter().enumerate().map(named).collect();
    page.one("tidemill_apps", "gauge", "Apps of this installation.", apps.len() as f64);
    requests(&mut page, &names, series);
    dynos(&mut page, &names, series);
    work(&mut page, &names, series);
    host(&mut page, series);
    if let Some(age) = backup_age_s {
        let help = "Age of the last good backup; without one, of this installation.";
        page.one("tidemill_backup_age_seconds", "gauge", help, age as f64);
    }
    page.0
}

fn requests(page: &mut Page, names: &HashMap<AppId, String>, series: &Metrics) {
    let mut sums: BTreeMap<&str, Snapshot> = BTreeMap::new();
    for (app, meter) in series.meters().all().iter() {
        let Some(name) = names.get(app) else { continue };
        let (sum, one) = (sums.entry(name).or_default(), meter.snapshot());
        sum.classes.iter_mut().zip(one.classes).for_each(|(a, b)| *a += b);
        sum.codes.iter_mut().zip(one.codes).for_each(|(a, b)| *a = a.wrapping_add(b));
        sum.times.iter_mut().zip(one.times).for_each(|(a, b)| *a = a.wrapping_add(b));
        sum.bytes += one.bytes;
        sum.time_us += one.time_us;
    }
    let name = "tidemill_http_requests_total";
    page.family(name, "counter", "Requests that visitors made, by class of the status that they got.");
    for (app, sum) in &sums {
        for (class, count) in ["1xx", "2xx", "3xx", "4xx", "5xx"].iter().zip(sum.classes) {
            page.line(name, &[("app", app), ("class", class)], count as f64);
        }
    }
    let name = "tidemill_http_response_bytes_total";
    page.family(name, "counter", "Bytes of bodies that visitors got.");
    sums.iter().for_each(|(app, sum)| page.line(name, &[("app", app)], sum.bytes as f64));
    let name = "tidemill_router_errors_total";
    page.family(name, "counter", "Requests that the router answered or cut by itself, by code.");
    for (app, sum) in &sums {
        for (place, count) in sum.codes.iter().enumerate().filter(|(_, count)| **count > 0) {
            page.line(name, &[("app", app), ("code", &code_name(place))], f64::from(*count));
        }
    }
    let name = "tidemill_http_request_duration_seconds";
    page.family(name, "histogram", "Time from the connection to a dyno to the last byte of its answer.");
    for (app, sum) in &sums {
        let mut seen = 0u64;
        for (bucket, count) in sum.times.iter().enumerate() {
            seen += u64::from(*count);
            // Eight buckets are an octave, and the last has no upper end.
            if bucket % 8 == 7 && bucket + 1 < BUCKETS {
                let le = (upper_us(bucket) as f64 / 1e6).to_string();
                page.line(&format!("{name}_bucket"), &[("app", app), ("le", &le)], seen as f64);
            }
        }
        page.line(&format!("{name}_bucket"), &[("app", app), ("le", "+Inf")], seen as f64);
        page.line(&format!("{name}_sum"), &[("app", app)], sum.time_us as f64 / 1e6);
        page.line(&format!("{name}_count"), &[("app", app)], seen as f64);
    }
}

fn dynos(page: &mut Page, names: &HashMap<AppId, String>, series: &Metrics) {
    let all = series.dynos_now();
    let known: Vec<(&str, &str, _)> = all
        .iter()
        .filter_map(|((app, dyno), now)| {
            names.get(app).filter(|name| *name != OTHER).map(|name| (name.as_str(), dyno.as_str(), now.usage))
        })
        .collect();
    type Value = fn(&logs::series::Usage) -> f64;
    let families: [(&str, &str, Value); 7] = [
        ("tidemill_dyno_memory_bytes", "Memory of a dyno without cache.", |u| f64::from(u.memory_kib) * 1024.0),
        ("tidemill_dyno_memory_limit_bytes", "Memory quota of a dyno.", |u| f64::from(u.limit_kib) * 1024.0),
        ("tidemill_dyno_swap_bytes", "Swap of a dyno.", |u| f64::from(u.swap_kib) * 1024.0),
        ("tidemill_dyno_cpu_ratio", "Processors that a dyno kept busy.", |u| {
            f64::from(u.cpu_ms) / 1000.0 / f64::from(u.seconds.max(1))
        }),
        ("tidemill_dyno_throttled_ratio", "Share of time for which a CPU limit held a dyno back.", |u| {
            f64::from(u.throttled_ms) / 1000.0 / f64::from(u.seconds.max(1))
        }),
        ("tidemill_dyno_tasks", "Processes and threads of a dyno.", |u| f64::from(u.tasks)),
        ("tidemill_dyno_up", "1 when the dyno is up, 0 when it starts, crashed or stops.", |u| f64::from(u8::from(u.up_s > 0))),
    ];
    for (name, help, value) in families {
        page.family(name, "gauge", help);
        known.iter().for_each(|(app, dyno, usage)| page.line(name, &[("app", app), ("dyno", dyno)], value(usage)));
    }
}

fn work(page: &mut Page, names: &HashMap<AppId, String>, series: &Metrics) {
    let mut sums: BTreeMap<&str, Work> = BTreeMap::new();
    for (app, work) in series.work_now() {
        if let Some(name) = names.get(&app) {
            let sum = sums.entry(name).or_default();
            *sum = sum.then(&work);
        }
    }
    type Counts = fn(&Work) -> (u32, u32, u32);
    let kinds: [(&str, &str, Counts); 2] = [
        ("build", "Builds", |w| (w.builds, w.builds_failed, w.build_ms)),
        ("release", "Releases", |w| (w.releases, w.releases_failed, w.release_ms)),
    ];
    for (kind, title, counts) in kinds {
        let name = format!("tidemill_{kind}s_total");
        page.family(&name, "counter", &format!("{title} that ended since the daemon started, by result."));
        for (app, work) in &sums {
            let (all, failed, _) = counts(work);
            page.line(&name, &[("app", app), ("result", "failed")], f64::from(failed));
            page.line(&name, &[("app", app), ("result", "succeeded")], f64::from(all.saturating_sub(failed)));
        }
        let name = format!("tidemill_{kind}_duration_seconds");
        page.family(&name, "summary", &format!("Time of {} that ended since the daemon started.", title.to_lowercase()));
        for (app, work) in &sums {
            let (all, _, ms) = counts(work);
            page.line(&format!("{name}_sum"), &[("app", app)], f64::from(ms) / 1000.0);
            page.line(&format!("{name}_count"), &[("app", app)], f64::from(all));
        }
    }
}

fn host(page: &mut Page, series: &Metrics) {
    let host = series.host_now();
    let (kib, mib) = (|n: u32| f64::from(n) * 1024.0, |n: u32| f64::from(n) * 1_048_576.0);
    let part = |ms: u32| f64::from(ms) / 1000.0 / f64::from(host.seconds.max(1));
    let figures = [
        (
            "tidemill_host_cpu_busy_ratio",
            "Share of all processors that is busy.",
            part(host.busy_ms) / f64::from(host.cores.max(1)),
        ),
        ("tidemill_host_load1", "Load of the host over one minute.", f64::from(host.load_milli) / 1000.0),
        ("tidemill_host_memory_bytes", "Memory of the host.", kib(host.memory_kib)),
        ("tidemill_host_memory_used_bytes", "Memory of the host in use.", kib(host.memory_used_kib)),
        ("tidemill_host_swap_used_bytes", "Swap of the host in use.", kib(host.swap_used_kib)),
        ("tidemill_host_disk_bytes", "Disk of the data directory.", mib(host.disk_mib)),
        ("tidemill_host_disk_used_bytes", "Disk of the data directory in use.", mib(host.disk_used_mib)),
        ("tidemill_daemon_memory_bytes", "Resident memory of the daemon.", kib(host.daemon_kib)),
        ("tidemill_daemon_cpu_ratio", "Processors that the daemon keeps busy.", part(host.daemon_ms)),
    ];
    figures.iter().for_each(|(name, help, value)| page.one(name, "gauge", help, *value));
}
