//! A writer process is killed at random moments; every acknowledged write must be there (issue: store, crash test a).
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};
use store::{Options, Store, StoreError};

const KILLS: usize = 120;
const CHILD_DIR: &str = "STORE_CRASH_CHILD_DIR";

/// Not a test of its own: the process that is killed. It does nothing unless the parent names a directory.
#[test]
fn crash_child() {
    let Ok(dir) = std::env::var(CHILD_DIR) else { return };
    let mut options = Options::new(&dir);
    options.segment_bytes = 64 << 10; // rotation, exports and pruning happen often
    options.export_every_bytes = 256 << 10;
    let store = Arc::new(Store::open(options).expect("opens after every kill"));
    println!("\nopened");
    let threads: Vec<_> = (0..4u64)
        .map(|thread| {
            let store = store.clone();
            std::thread::spawn(move || {
                let base: u64 = std::env::var("STORE_CRASH_BASE").ok().and_then(|b| b.parse().ok()).unwrap_or(0);
                for n in 0.. {
                    let number = base + n * 4 + thread;
                    let done: Result<u64, StoreError> = store.commit_blocking(move |tx| common::write(tx, number));
                    done.expect("commit");
                    let mut out = std::io::stdout().lock();
                    writeln!(out, "ack {number}").and_then(|()| out.flush()).expect("report");
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("runs until it is killed");
    }
}

#[test]
fn nothing_acknowledged_is_lost_in_120_kills() {
    let seed = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}; run again with SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let dir = tempfile::tempdir().expect("dir");
    let mut acknowledged = BTreeSet::new();
    for round in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().expect("self"))
            .args(["--exact", "crash_child", "--nocapture", "--test-threads=1"])
            .env(CHILD_DIR, dir.path())
            .env("STORE_CRASH_BASE", (round * 1_000_000).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("child starts");
        let reader = BufReader::new(child.stdout.take().expect("piped"));
        let lines = std::thread::spawn(move || reader.lines().map_while(Result::ok).collect::<Vec<_>>());
        std::thread::sleep(Duration::from_millis(random.u64(5..120)));
        child.kill().expect("kill -9");
        child.wait().expect("gone");
        let lines = lines.join().expect("reader");
        acknowledged.extend(lines.iter().filter_map(|l| l.strip_prefix("ack ")).filter_map(|n| n.parse::<u64>().ok()));
        if round % 20 == 19 {
            verify(dir.path(), &acknowledged);
        }
    }
    verify(dir.path(), &acknowledged);
    assert!(acknowledged.len() > KILLS, "the child got some work done");
    println!("{KILLS} kills, {} acknowledged writes, 0 lost", acknowledged.len());
}

fn verify(dir: &std::path::Path, acknowledged: &BTreeSet<u64>) {
    let store = common::open(dir);
    assert!(store.report().rebuilt.is_none(), "sled opened: {:?}", store.report());
    let present: BTreeSet<u64> = common::check(&store).into_iter().collect();
    let lost: Vec<_> = acknowledged.difference(&present).collect();
    assert!(lost.is_empty(), "lost: {lost:?}");
    drop(store);
    wait_until_closed(dir);
}

/// The writer thread lets go of the lock a moment after the last handle is dropped.
fn wait_until_closed(dir: &std::path::Path) {
    let lock = std::fs::File::open(dir.join("lock")).expect("lock file");
    lock.lock().expect("free");
}
