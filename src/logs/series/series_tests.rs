//! Tests of the series.

use super::*;
use proptest::prelude::*;

const T: u32 = 29_000_040; // a minute that begins an hour

fn usage(kib: u32) -> Usage {
    Usage {
        seconds: 60,
        memory_kib: kib,
        memory_max_kib: kib,
        cpu_ms: 600,
        limit_kib: 512 * 1024,
        up_s: 60,
        ..Usage::default()
    }
}

fn open() -> (tempfile::TempDir, Metrics, AppId) {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Metrics::open(dir.path()).unwrap();
    (dir, metrics, AppId::from(uuid::Uuid::new_v4()))
}

fn memory(metrics: &Metrics, app: AppId, from_s: u64, to_s: u64, step_s: u32, now_s: u64) -> Series {
    metrics.query(Some(app), &Query { kind: Kind::Memory, process: None, from_s, to_s, step_s }, now_s)
}

#[test]
fn files_have_the_stated_sizes_and_stay_there() {
    let (dir, metrics, app) = open();
    let stated =
        [file::file_bytes::<Requests>(), file::file_bytes::<Usage>(), file::file_bytes::<Work>(), file::file_bytes::<Host>()];
    assert_eq!(stated, [884_736, 239_616, 184_320, 294_912]);
    for minute in (0..5000).map(|n| T + n * 7) {
        metrics.add_usage(app, "web.1", minute, &usage(1000)).unwrap();
    }
    let path = dir.path().join(app.to_string()).join("dyno.web.1.v1");
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 239_616);
    metrics.remove(app);
    assert!(!path.exists() && metrics.dynos(app).is_empty());
}

#[test]
fn coarse_slots_are_the_sums_of_fine_ones_and_outlive_them() {
    let (_dir, metrics, app) = open();
    let start_s = u64::from(T) * 60;
    for n in 0..2 * 1440u32 {
        let requests = Requests { classes: [0, 10, 0, 0, 1], ..Requests::default() };
        metrics.add_requests(app, T + n, &requests).unwrap();
        metrics.add_usage(app, "web.1", T + n, &usage(1024 * (1 + n / 1440))).unwrap();
        metrics.add_host(T + n, &Host { seconds: 60, ..Host::default() }).unwrap();
    }
    let now_s = start_s + 2 * 86_400;
    // The first day is gone in minutes, and there in tens of minutes and hours.
    let first = memory(&metrics, app, start_s, start_s + 3600, 60, now_s);
    assert_eq!((first.step_s, first.lines[0].values.clone()), (600, vec![Some(1.0); 6]));
    assert_eq!(first.lines[0].limit, Some(512.0));
    let whole = memory(&metrics, app, start_s, now_s, 3600, now_s);
    assert_eq!((whole.step_s, whole.lines[0].values.len()), (3600, 48));
    assert_eq!((whole.lines[0].values[0], whole.lines[0].values[47]), (Some(1.0), Some(2.0)));
    let query = Query { kind: Kind::Requests, process: None, from_s: start_s, to_s: now_s, step_s: 7200 };
    let requests = metrics.query(Some(app), &query, now_s);
    assert_eq!(requests.lines[0].values, vec![Some(10.0); 24]);
    assert_eq!(Metrics::latest(&requests)["5xx"], 1.0);
    assert_eq!(metrics.requests_between(app, now_s - 300, now_s).classes[1], 50);
}

#[test]
fn gaps_are_gaps_and_quiet_minutes_are_zero() {
    let (_dir, metrics, app) = open();
    let start_s = u64::from(T) * 60;
    for n in [0, 1, 3] {
        metrics.add_host(T + n, &Host { seconds: 60, ..Host::default() }).unwrap();
    }
    metrics.add_requests(app, T + 1, &Requests { classes: [0, 6, 0, 0, 0], ..Requests::default() }).unwrap();
    let query = Query { kind: Kind::Requests, process: None, from_s: start_s, to_s: start_s + 240, step_s: 60 };
    let series = metrics.query(Some(app), &query, start_s + 240);
    assert_eq!(series.lines[0].values, [Some(0.0), Some(6.0), None, Some(0.0)]);
    let none = memory(&metrics, app, start_s, start_s + 240, 60, start_s + 240);
    assert!(none.lines.is_empty());
}

#[test]
fn a_process_is_chosen_by_type_or_name() {
    let (_dir, metrics, app) = open();
    for name in ["web.10", "web.2", "webhook.1", "run"] {
        metrics.add_usage(app, name, T, &usage(1024)).unwrap();
    }
    metrics.add_usage(app, "../host", T, &usage(1)).unwrap();
    assert_eq!(metrics.dynos(app), ["run", "web.2", "web.10", "webhook.1"]);
    let names = |process: &str| {
        let from_s = u64::from(T) * 60;
        let process = Some(process.to_string());
        let query = Query { kind: Kind::Cpu, process, from_s, to_s: from_s + 60, step_s: 60 };
        let series = metrics.query(Some(app), &query, from_s + 60);
        series.lines.into_iter().map(|line| line.name).collect::<Vec<_>>()
    };
    assert_eq!(
        (names("web"), names("web.2"), names("worker")),
        (vec!["web.2".into(), "web.10".into()], vec!["web.2".into()], vec![])
    );
}

#[test]
fn a_meter_counts_from_many_threads_and_tells_what_is_new() {
    let (_dir, metrics, app) = open();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let meters = metrics.meters().clone();
            scope.spawn(move || {
                for n in 0..1000u64 {
                    meters.with(app, |m| {
                        m.count(if n % 10 == 0 { 503 } else { 200 }, (n % 10 == 0).then_some(12), 5, Some(n * 1000))
                    });
                }
            });
        }
    });
    let all = metrics.meters().all()[&app].snapshot();
    let requests = all.since(&Snapshot::default()).unwrap();
    assert_eq!((requests.classes, requests.bytes, requests.times.count()), ([0, 3600, 0, 0, 400], 20_000, 4000));
    assert_eq!((code_name(2), requests.codes[2]), ("H12".into(), 400));
    let p50 = requests.times.quantile_ms(0.5).unwrap();
    assert!((470.0..530.0).contains(&p50), "{p50}");
    assert!(all.since(&all).is_none());
    let mut body = Vec::new();
    requests.write(&mut body);
    assert_eq!(body.len(), Requests::BYTES);
    let back = Requests::read(&body);
    assert_eq!((back.classes, back.codes, back.bytes), (requests.classes, requests.codes, requests.bytes));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// Whatever happens to the bytes of a file, the untouched slots are as they were, a touched one is a gap, and the next
    /// record is taken.
    #[test]
    fn damage_costs_only_what_it_touches(flips in prop::collection::vec((0usize..239_616, 1u8..=255), 0..8), cut in prop::option::of(0usize..239_616)) {
        let (dir, metrics, app) = open();
        for n in 0..120 {
            metrics.add_usage(app, "web.1", T + n, &usage(1000 + n)).unwrap();
        }
        let path = dir.path().join(app.to_string()).join("dyno.web.1.v1");
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, mask) in &flips {
            bytes[*at] ^= mask;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut);
        }
        std::fs::write(&path, &bytes).unwrap();
        for n in 0..120u32 {
            let slot = ((T + n) % 1440) as usize * 52;
            let touched = flips.iter().any(|(at, _)| (slot..slot + 52).contains(at)) || cut.is_some_and(|cut| cut < slot + 52);
            let found: Option<Usage> = metrics.range(Some(app), "web.1", 0, T + n, 1).pop().unwrap();
            let expected = usage(1000 + n);
            if touched { prop_assert!(found.is_none() || found == Some(expected)); } else { prop_assert_eq!(found, Some(expected)); }
        }
        metrics.add_usage(app, "web.1", T + 120, &usage(7)).unwrap();
        let found: Vec<Option<Usage>> = metrics.range(Some(app), "web.1", 0, T + 120, 1);
        prop_assert_eq!(found[0], Some(usage(7)));
        prop_assert_eq!(std::fs::metadata(&path).unwrap().len(), 239_616);
    }
}
