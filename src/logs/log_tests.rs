//! The bus, the store and readers together.

use crate::{AppLog, Filter, Grep, History, Limits, Lines, LogLine, Logs, Place, Position, Query, now_us};
use bytes::Bytes;
use domain::{AppId, DynoId};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::sync::watch;
use uuid::Uuid;

const APP: u128 = 1;

fn open_with(dir: &Path, limits: Limits) -> (Logs, Arc<AppLog>) {
    let logs = Logs::open(dir, limits).expect("logs");
    let app = logs.app(AppId::from(Uuid::from_u128(APP)));
    (logs, app)
}

fn open(dir: &Path) -> (Logs, Arc<AppLog>) {
    open_with(dir, Limits::default())
}

/// Lines of any time stay.
const FOREVER: Limits = Limits { age: Duration::from_secs(1 << 40), app_bytes: 256 << 20, host_bytes: 8 << 30, free_bytes: 0 };

fn folder(dir: &Path) -> PathBuf {
    dir.join(Uuid::from_u128(APP).to_string())
}

fn web() -> Place {
    Place { source: "app", ps: Bytes::from_static(b"web.1"), release: 3 }
}

fn lines(texts: impl Iterator<Item = String>) -> Lines {
    let mut lines = Lines::default();
    texts.for_each(|text| lines.push(text.as_bytes()));
    lines
}

fn texts(lines: &[LogLine]) -> Vec<String> {
    lines.iter().map(LogLine::text).collect()
}

fn history(app: &AppLog, filter: &Filter, count: usize) -> Vec<String> {
    texts(&app.last(filter, count, None).0)
}

fn all(app: &AppLog) -> Vec<LogLine> {
    app.last(&Filter::default(), 1_000_000, None).0
}

/// Batches of 100 lines of some length; returns the number of lines.
fn fill(logs: &Logs, app: &AppLog, batches: u32, first_us: u64) -> u64 {
    for batch in 0..batches {
        let text = |n| format!("batch {batch} line {n} {}", fastrand::u64(..));
        app.write_lines(&web(), first_us + u64::from(batch) * 1_000_000, lines((0..100).map(text)), None);
        if batch % 100 == 0 {
            logs.flush();
        }
    }
    logs.flush();
    u64::from(batches) * 100
}

#[tokio::test]
async fn lines_survive_a_restart_in_order_and_numbers_go_on() {
    let dir = tempfile::tempdir().expect("dir");
    let (logs, app) = open(dir.path());
    let written = fill(&logs, &app, 500, now_us());
    assert!(fs::read_dir(folder(dir.path())).expect("folder").count() > 1, "frames were made");
    drop((logs, app));
    let (logs, app) = open(dir.path());
    let got = all(&app);
    assert!(got.iter().map(|l| l.seq).eq(1..=written));
    assert_eq!((got[0].release, got[0].text().starts_with("app[web.1]: batch 0 line 0 ")), (3, true));
    app.write("app", "web.1", "after");
    assert_eq!(app.last(&Filter::default(), 1, None).0[0].seq, written + 1);
    // Forwards, across frames, head and memory.
    let mut tail = app.tail(Query { filter: Filter::default(), history: History::All, live: false });
    for seq in 1..=written + 1 {
        assert_eq!(tail.next().await.map(|l| l.seq), Some(seq));
    }
    assert_eq!(tail.next().await, None);
    logs.flush();
    assert_eq!(app.counts(), crate::Counts { written: 1, stored: 1, lost: 0 });
}

#[test]
fn lines_and_their_position_are_stored_together_or_not_at_all() {
    let dir = tempfile::tempdir().expect("dir");
    let (first, second) = (DynoId::from(Uuid::from_u128(7)), DynoId::from(Uuid::from_u128(8)));
    let file = folder(dir.path()).join("head");
    let safe = Arc::new(watch::channel(0).0);
    let position = |dyno, offset| Some(Position { dyno, offset, safe: safe.clone() });
    let numbers = |from: u32, to: u32| lines((from..to).map(|n| n.to_string()));
    let (logs, app) = open_with(dir.path(), FOREVER);
    app.write_lines(&web(), 1, numbers(0, 10), position(first, 20));
    logs.flush();
    let one = fs::metadata(&file).expect("head").len() as usize;
    app.write_lines(&web(), 1, numbers(10, 15), position(first, 35));
    logs.flush();
    assert_eq!(*safe.borrow(), 35);
    drop((logs, app));
    let whole = fs::read(&file).expect("log");
    for cut in 0..=whole.len() {
        fs::write(&file, &whole[..cut]).expect("cut");
        let (_logs, app) = open_with(dir.path(), FOREVER);
        let expected = match cut {
            cut if cut == whole.len() => (15, 35),
            cut if cut >= one => (10, 20),
            _ => (0, 0),
        };
        assert_eq!((all(&app).len(), app.position(first)), expected, "cut at {cut}");
    }
    // Positions outlive the files that they were written to, until they are forgotten.
    let (logs, app) = open_with(dir.path(), FOREVER);
    app.write_lines(&web(), 1, numbers(0, 1), position(second, 5));
    fill(&logs, &app, 200, now_us());
    app.forget(second);
    fill(&logs, &app, 200, now_us());
    drop((logs, app));
    let (_logs, app) = open_with(dir.path(), FOREVER);
    assert_eq!((app.position(first), app.position(second)), (35, 0));
}

/// Small frames, so that every byte can have its turn.
fn small(dir: &Path) -> (Vec<u8>, PathBuf) {
    let (logs, app) = open(dir);
    for batch in 0..4u32 {
        let dyno = DynoId::from(Uuid::from_u128(7));
        let position = Position { dyno, offset: u64::from(batch + 1) * 10, safe: Arc::new(watch::channel(0).0) };
        app.write_lines(&web(), now_us(), lines((0..5).map(|n| format!("batch {batch} line {n}"))), Some(position));
        logs.flush();
        app.pack_now().expect("pack");
    }
    app.write("app", "web.1", "in the head");
    logs.flush();
    drop((logs, app));
    let entries = fs::read_dir(folder(dir)).expect("folder").flatten().map(|e| e.path());
    let segment = entries.into_iter().find(|p| p.extension().is_some_and(|e| e == "seg")).expect("a segment");
    (fs::read(&segment).expect("segment"), segment)
}

#[test]
fn a_segment_that_is_cut_anywhere_opens_and_serves_what_is_whole() {
    let dir = tempfile::tempdir().expect("dir");
    let (whole, segment) = small(dir.path());
    for cut in 0..whole.len() {
        fs::write(&segment, &whole[..cut]).expect("cut");
        let (_logs, app) = open(dir.path());
        let got = all(&app);
        assert!(got.len() < 21 && got.len() % 5 == 1, "cut at {cut}: {}", got.len());
        assert!(got.windows(2).all(|two| two[0].seq < two[1].seq), "cut at {cut}");
        assert_eq!(got.last().expect("head").seq, 21, "cut at {cut}: numbers go on");
        let frames = (got.len() - 1) / 5;
        let expected = if cut == 0 { 0 } else { frames as u64 * 10 };
        assert_eq!(app.position(DynoId::from(Uuid::from_u128(7))), expected, "cut at {cut}");
        if cut == 0 {
            // It was empty, and is gone.
            assert!(!segment.exists());
        }
    }
}

#[test]
fn a_segment_with_any_byte_flipped_serves_all_but_one_frame_and_tells() {
    let dir = tempfile::tempdir().expect("dir");
    let (whole, segment) = small(dir.path());
    for at in 0..whole.len() {
        let mut bad = whole.clone();
        bad[at] ^= 0x41;
        fs::write(&segment, &bad).expect("flip");
        let (_logs, app) = open(dir.path());
        let (got, found) = app.last(&Filter::default(), 100, None);
        assert_eq!(got.len(), 16, "byte {at}");
        assert_eq!(got.last().expect("head").seq, 21, "byte {at}");
        let seen: u64 = got.windows(2).map(|two| two[1].seq - two[0].seq - 1).sum::<u64>() + got[0].seq - 1;
        // A frame that can be found but not read is told; what can not even be found is a gap in the numbers.
        assert!(seen == 5 && (found.damaged == 5 || found.damaged == 0), "byte {at}: {seen} {found:?}");
    }
}

#[test]
fn files_of_the_former_kind_are_taken_over_once() {
    let dir = tempfile::tempdir().expect("dir");
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/lines-v1");
    let copy = || {
        for entry in fs::read_dir(&fixture).expect("fixture").flatten() {
            fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("copy");
        }
    };
    copy();
    for round in 0..3 {
        let (logs, app) = open_with(dir.path(), FOREVER);
        let got = texts(&all(&app));
        assert_eq!(got.len(), 8, "round {round}: {got:?}");
        assert_eq!((got[0].as_str(), got[5].as_str()), ("app[web.1]: former 1", "app[web.1]: current 6"));
        assert_eq!(got[6], "heroku[router]: at=info with spaces");
        let position = |n| app.position(DynoId::from(Uuid::from_u128(n)));
        assert_eq!((position(7), position(8)), (60, 0));
        assert_eq!(fs::read_dir(dir.path()).expect("dir").count(), 1, "the old files are gone");
        drop((logs, app));
        if round == 1 {
            copy(); // as if it had been killed before they were deleted
        }
    }
}

#[test]
fn limits_of_bytes_and_age_take_the_oldest_and_keep_numbers_and_positions() {
    let dir = tempfile::tempdir().expect("dir");
    let limits = Limits { app_bytes: 1 << 20, ..Limits::default() };
    let (logs, app) = open_with(dir.path(), limits);
    let dyno = DynoId::from(Uuid::from_u128(7));
    let position = Position { dyno, offset: 99, safe: Arc::new(watch::channel(0).0) };
    let old = now_us() - 8 * 86_400 * 1_000_000;
    app.write_lines(&web(), old, lines(std::iter::once("old".into())), Some(position));
    let written = fill(&logs, &app, 2000, old) + 1;
    let bytes: u64 =
        fs::read_dir(folder(dir.path())).expect("folder").flatten().map(|e| e.metadata().expect("file").len()).sum();
    assert!(bytes < (1 << 20) + (600 << 10), "{bytes}");
    let got = all(&app);
    assert!(got[0].seq > 1 && got.last().expect("newest").seq == written);
    drop((logs, app));
    // Too old, all of it: with the next start only what must stay does.
    let (logs, app) = open_with(dir.path(), limits);
    app.expire_now(now_us() - 3600 * 1_000_000).expect("expire");
    assert_eq!(all(&app), []);
    app.write("app", "web.1", "after");
    logs.flush();
    drop((logs, app));
    let (_logs, app) = open_with(dir.path(), limits);
    let got = all(&app);
    assert_eq!((got.len(), got[0].seq, app.position(dyno)), (1, written + 1, 99));
}

#[test]
fn filters_come_before_the_count_and_a_type_matches_with_a_dot_only() {
    let dir = tempfile::tempdir().expect("dir");
    let (_logs, app) = open(dir.path());
    for (source, ps) in [("app", "web.1"), ("app", "web.2"), ("app", "webhook.1"), ("heroku", "router"), ("heroku", "web.1")] {
        app.write(source, ps, "x");
    }
    let ps = |ps: &str| Filter { ps: Some(ps.into()), ..Filter::default() };
    assert_eq!(history(&app, &ps("web"), 100), ["app[web.1]: x", "app[web.2]: x", "heroku[web.1]: x"]);
    assert_eq!(history(&app, &ps("web.1"), 1), ["heroku[web.1]: x"]);
    let filter = Filter { source: Some("heroku".into()), ..ps("web") };
    assert_eq!(history(&app, &filter, 100), ["heroku[web.1]: x"]);
}

#[test]
fn searches_find_the_same_in_memory_and_in_frames() {
    let dir = tempfile::tempdir().expect("dir");
    let (logs, app) = open(dir.path());
    app.write("app", "web.1", "needle first");
    app.set_release(9);
    app.write("heroku", "router", "at=info request_id=abc-1 needle");
    fill(&logs, &app, 300, now_us());
    app.write("app", "web.1", "last needle");
    let found = |filter: &Filter| history(&app, filter, 100);
    let grep = |pattern: &str| Filter { grep: Some(Grep::new(pattern).expect("pattern")), ..Filter::default() };
    let (first, router, last) =
        ("app[web.1]: needle first", "heroku[router]: at=info request_id=abc-1 needle", "app[web.1]: last needle");
    for _ in 0..2 {
        assert_eq!(found(&grep("needle")), [first, router, last]);
        assert_eq!(found(&grep("^needle")), [first]);
        assert_eq!(found(&grep(r"\Aneedle")), [first]);
        assert_eq!(found(&grep(r"(?i)NEEDLE$")), [router, last]);
        assert_eq!(found(&grep(r"needle\s+batch")), [""; 0], "never over the end of a line");
        assert_eq!(found(&Filter { contains: Some("abc-1".into()), ..Filter::default() }), [router]);
        assert_eq!(found(&Filter { release: Some(9), ..Filter::default() }).first().map(String::as_str), Some(router));
        app.pack_now().expect("pack");
    }
    assert!(Grep::new("(").is_err() && Grep::new("a{1000}{1000}{1000}").is_err() && Grep::new(&"x".repeat(1001)).is_err());
    // Pages backwards.
    let mut before = None;
    let mut seen = 0;
    loop {
        let (page, _) = app.last(&Filter::default(), 1000, before);
        let Some(first) = page.first() else { break };
        assert!(before.is_none_or(|b| page.last().expect("line").seq + 1 == b));
        (before, seen) = (Some(first.seq), seen + page.len());
    }
    assert_eq!(seen, 30_003);
}

#[tokio::test]
async fn a_tail_has_no_gap_at_the_seam_and_a_slow_one_is_told_what_it_lost() {
    let dir = tempfile::tempdir().expect("dir");
    let (logs, app) = open(dir.path());
    app.write("app", "web.1", "before");
    let mut tail = app.tail(Query { filter: Filter::default(), history: History::Last(100, None), live: true });
    assert_eq!(tail.next().await.map(|l| l.text()).as_deref(), Some("app[web.1]: before"));
    app.write("app", "web.1", "seam");
    assert_eq!(tail.next().await.map(|l| l.text()).as_deref(), Some("app[web.1]: seam"));
    // It has caught up; from now on it is on its own.
    assert!(tokio::time::timeout(Duration::from_millis(20), tail.next()).await.is_err());
    let written = fill(&logs, &app, 1000, now_us()) + 2;
    let notice = tail.next().await.expect("notice");
    assert!(notice.text().starts_with("heroku[logplex]: Error L11 (Tail buffer overflow) -> This tail session dropped "));
    assert_eq!(notice.seq, 2, "one that comes back with it misses nothing");
    let mut expected = 3 + tail.lost();
    assert!(tail.lost() > 0);
    while expected <= written {
        assert_eq!(tail.next().await.map(|l| l.seq), Some(expected));
        expected += 1;
    }
    // One that comes back with a number gets all from the disk.
    let mut again = app.tail(Query { filter: Filter::default(), history: History::After(2), live: true });
    for seq in 3..=written {
        assert_eq!(again.next().await.map(|l| l.seq), Some(seq));
    }
}

#[test]
fn nobody_can_forge_a_line() {
    let dir = tempfile::tempdir().expect("dir");
    let (logs, app) = open(dir.path());
    app.write("app", "api", "a\n9 9 heroku router forged");
    logs.flush();
    drop((logs, app));
    let (_logs, app) = open(dir.path());
    assert_eq!(history(&app, &Filter::default(), 100), ["app[api]: a 9 9 heroku router forged"]);
}

#[test]
fn what_the_disk_does_not_take_is_counted_and_told() {
    let dir = tempfile::tempdir().expect("dir");
    // More space must stay free than there is.
    let (logs, app) = open_with(dir.path(), Limits { free_bytes: u64::MAX, ..Limits::default() });
    app.write("app", "web.1", "lost");
    logs.flush();
    assert_eq!(app.counts(), crate::Counts { written: 1, stored: 0, lost: 1 });
    app.write("app", "web.1", "next");
    let got = history(&app, &Filter::default(), 100);
    assert!(got[1].starts_with("app[log-shuttle]: Error L13: 1 messages lost since 2"), "{got:?}");
    logs.flush();
    assert_eq!(app.counts().written, app.counts().lost);
}
