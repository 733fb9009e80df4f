//! What metrics cost: nanoseconds to count a request, from one and two threads, and milliseconds to write a minute of
//! 1,000 apps with two dynos each.
//!
//! `cargo bench --bench metrics_cost` (add `--profile dev` where no release build is wanted; it is several times slower).

#![allow(missing_docs)]

use domain::AppId;
use logs::series::{Host, Kind, Metrics, Query, Requests, Usage};
use std::{hint::black_box, time::Instant};

const APPS: usize = 1000;
const REQUESTS: u64 = 1_000_000;

fn rss_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<u64> =
        stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().map(|f| f.parse().unwrap_or(0)).collect();
    (fields.get(11).unwrap_or(&0) + fields.get(12).unwrap_or(&0)) * 10
}

fn count(metrics: &Metrics, apps: &[AppId], requests: u64) {
    for n in 0..requests {
        let app = apps[n as usize % apps.len()];
        metrics.meters().with(app, |meter| meter.count(200, None, 1024, Some(black_box(900 + n % 50_000))));
    }
}

fn main() {
    let dir = tempfile::tempdir().expect("a directory");
    let metrics = Metrics::open(dir.path()).expect("series");
    let apps: Vec<AppId> = (0..APPS).map(|_| uuid::Uuid::new_v4().into()).collect();
    let before = rss_kib();
    count(&metrics, &apps, APPS as u64); // makes the meters
    println!("memory of the meters of {APPS} apps    {:>8} KiB", rss_kib() - before);
    for (name, among) in [("one app", &apps[..1]), ("1,000 apps", &apps[..])] {
        let begun = Instant::now();
        count(&metrics, among, REQUESTS);
        println!("a request, {name:<10} one thread    {:>8.0} ns", begun.elapsed().as_nanos() as f64 / REQUESTS as f64);
        let begun = Instant::now();
        std::thread::scope(|scope| (0..2).for_each(|_| drop(scope.spawn(|| count(&metrics, among, REQUESTS)))));
        println!("a request, {name:<10} two threads   {:>8.0} ns", begun.elapsed().as_nanos() as f64 / REQUESTS as f64);
    }
    let minute = 29_000_040;
    for (name, at) in [("first", 0), ("second", 1), ("tenth", 9)] {
        let (begun, cpu) = (Instant::now(), cpu_ms());
        for app in &apps {
            let mut requests = Requests { classes: [0, 600, 0, 20, 1], bytes: 1 << 20, ..Requests::default() };
            (0..600).for_each(|n| requests.times.add(900 + n * 80));
            metrics.add_requests(*app, minute + at, &requests).expect("written");
            for dyno in ["web.1", "worker.1"] {
                let usage = Usage { seconds: 60, memory_kib: 90_000, cpu_ms: 800, ..Usage::default() };
                metrics.add_usage(*app, dyno, minute + at, &usage).expect("written");
            }
        }
        metrics.add_host(minute + at, &Host { seconds: 60, ..Host::default() }).expect("written");
        let wall = begun.elapsed().as_secs_f64() * 1000.0;
        println!("{name} minute of 3,001 series         {wall:>8.0} ms, {} ms of CPU", cpu_ms() - cpu);
    }
    let (from_s, query) = (u64::from(minute) * 60, |kind, from_s, to_s| Query { kind, process: None, from_s, to_s, step_s: 0 });
    for (name, span) in [("2 h in minutes", 7200), ("7 d in 2 h", 7 * 86_400), ("90 d in 6 h", 90 * 86_400)] {
        let begun = Instant::now();
        for app in &apps[..100] {
            black_box(metrics.query(
                Some(*app),
                &query(Kind::ResponseTime, from_s.saturating_sub(span), from_s + 600),
                from_s + 600,
            ));
        }
        println!("read p50, p95, p99, {name:<15} {:>9.2} ms", begun.elapsed().as_secs_f64() * 10.0);
    }
}
