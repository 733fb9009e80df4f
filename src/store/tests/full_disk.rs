//! No space left (issue: store, crash test d). Needs root for a small tmpfs of its own.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::{fs, path::Path, process::Command};
use store::{ReadRows, StoreError, tables};

struct Tmpfs(tempfile::TempDir);

impl Tmpfs {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().expect("dir");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"]).arg(dir.path()).status();
        mounted.is_ok_and(|s| s.success()).then_some(Self(dir))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_answers_an_error_changes_nothing_and_heals() {
    let Some(tmpfs) = Tmpfs::new() else {
        println!("SKIPPED: a small file system can only be mounted by root");
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
        return;
    };
    let dir = tmpfs.0.path().join("store");
    let store = common::open(&dir);
    let put = |n: u64| -> Result<u64, StoreError> { store.commit_blocking(move |tx| common::write(tx, n)) };
    (0..50).for_each(|n| assert!(put(n).is_ok()));
    for round in 0..3u64 {
        fill(tmpfs.0.path());
        let mut acknowledged = Vec::new();
        let mut refused = 0;
        for n in 0..200 {
            let number = 1000 + round * 1000 + n;
            match put(number) {
                Ok(_) => acknowledged.push(number),
                Err(StoreError::Full | StoreError::Unavailable(_) | StoreError::Io { .. }) => refused += 1,
                Err(other) => panic!("unexpected error: {other}"),
            }
        }
        assert!(refused > 0, "the disk was full");
        fs::remove_file(tmpfs.0.path().join("filler")).expect("free space");
        assert!(put(5000 + round).is_ok(), "works again when there is space");
        let present = common::check(&store);
        assert!(acknowledged.iter().all(|n| present.contains(n)));
        assert_eq!(
            present.iter().filter(|n| (1000 + round * 1000..2000 + round * 1000).contains(*n)).count(),
            acknowledged.len()
        );
        println!("round {round}: {refused} refused, {} acknowledged while full", acknowledged.len());
    }
    let before = common::check(&store);
    drop(store);
    fs::File::open(dir.join("lock")).expect("lock").lock().expect("free");
    let store = common::open(&dir);
    assert_eq!(common::check(&store), before, "nothing half-applied after a restart either");
    assert!(store.get(&tables::APPS, &common::app(3).id).expect("read").is_some());
}

/// Takes every free byte.
fn fill(dir: &Path) {
    use std::io::Write;
    let mut file = fs::File::create(dir.join("filler")).expect("filler");
    for size in [1 << 20, 4096, 1] {
        let block = vec![0x55; size];
        while file.write_all(&block).is_ok() {}
    }
}
