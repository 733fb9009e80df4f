//! Damage to journal and working copy (issue: store, crash tests b and c), and the fixture of this version.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};
use store::{Options, ReadRows, Store, StoreError, tables};

fn write_some(dir: &Path, from: u64, to: u64) {
    let store = common::open(dir);
    for n in from..to {
        let done: Result<u64, StoreError> = store.commit_blocking(move |tx| common::write(tx, n));
        done.expect("commit");
    }
}

fn wait_closed(dir: &Path) {
    fs::File::open(dir.join("lock")).expect("lock").lock().expect("free");
}

fn journal_file(dir: &Path) -> PathBuf {
    let mut files: Vec<_> = fs::read_dir(dir.join("journal")).expect("journal").map(|e| e.expect("entry").path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "journal"));
    files.sort();
    files.pop().expect("a segment")
}

/// A store made only of the first `bytes` of a journal.
fn store_from_journal(bytes: &[u8], name: &std::ffi::OsStr) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("dir");
    fs::create_dir(dir.path().join("journal")).expect("mkdir");
    fs::write(dir.path().join("journal").join(name), bytes).expect("write");
    let store = common::open(dir.path());
    (dir, store)
}

/// Ends of the whole records in a journal.
fn record_ends(bytes: &[u8]) -> Vec<usize> {
    let mut ends = vec![0];
    let mut at = 0;
    while at + 8 <= bytes.len() {
        at += 8 + u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes")) as usize;
        ends.push(at);
    }
    ends
}

#[test]
fn a_journal_cut_at_every_byte_of_its_last_records_opens_at_the_last_whole_one() {
    let dir = tempfile::tempdir().expect("dir");
    write_some(dir.path(), 0, 6);
    wait_closed(dir.path());
    let file = journal_file(dir.path());
    let bytes = fs::read(&file).expect("read");
    let ends = record_ends(&bytes);
    assert_eq!(*ends.last().expect("some"), bytes.len());
    let mut cuts = 0;
    for length in ends[ends.len() - 3]..=bytes.len() {
        let (dir, store) = store_from_journal(&bytes[..length], file.file_name().expect("name"));
        let whole = ends.iter().filter(|e| **e <= length).count() - 1;
        // The first record is the migration's, each later one is an app.
        assert_eq!(common::check(&store).len(), whole - 1, "cut at {length}");
        let cut_expected = !ends.contains(&length);
        assert_eq!(store.report().cut.is_some(), cut_expected, "the report tells of the cut at {length}");
        let more: Result<u64, StoreError> = store.commit_blocking(|tx| common::write(tx, 77));
        more.expect("it works on");
        drop(store);
        wait_closed(dir.path());
        if length % 8 == 0 {
            assert!(common::check(&common::open(dir.path())).contains(&77));
        }
        cuts += 1;
    }
    println!("{cuts} cuts");
}

#[test]
fn flipped_bytes_are_found_and_told() {
    let dir = tempfile::tempdir().expect("dir");
    write_some(dir.path(), 0, 6);
    wait_closed(dir.path());
    let file = journal_file(dir.path());
    let bytes = fs::read(&file).expect("read");
    let ends = record_ends(&bytes);
    for at in (ends[ends.len() - 3]..bytes.len()).step_by(3) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x41;
        let (_dir, store) = store_from_journal(&damaged, file.file_name().expect("name"));
        let whole = ends.iter().filter(|e| **e <= at).count() - 1;
        assert_eq!(common::check(&store).len(), whole - 1, "flip at {at}");
        assert!(store.report().cut.is_some(), "the report tells of the flip at {at}");
    }
}

#[test]
fn a_working_copy_ahead_of_a_damaged_journal_keeps_its_rows() {
    let dir = tempfile::tempdir().expect("dir");
    let store = common::open(dir.path());
    for n in 0..6 {
        let done: Result<u64, StoreError> = store.commit_blocking(move |tx| common::write(tx, n));
        done.expect("commit");
    }
    drop(store);
    wait_closed(dir.path());
    let file = journal_file(dir.path());
    let bytes = fs::read(&file).expect("read");
    fs::write(&file, &bytes[..bytes.len() - 5]).expect("cut");
    let store = common::open(dir.path());
    assert!(store.report().cut.is_some());
    assert_eq!(common::check(&store), vec![0, 1, 2, 3, 4, 5]);
    let more: Result<u64, StoreError> = store.commit_blocking(|tx| common::write(tx, 6));
    more.expect("numbers go on after the working copy's");
    drop(store);
    wait_closed(dir.path());
    let store = common::open(dir.path());
    assert_eq!(common::check(&store).len(), 7);
    assert!(store.report().cut.is_none(), "the gap is no damage");
    let more: Result<u64, StoreError> = store.commit_blocking(|tx| common::write(tx, 7));
    more.expect("commit");
    drop(store);
    wait_closed(dir.path());
    fs::remove_dir_all(dir.path().join("sled")).expect("rm");
    assert_eq!(common::check(&common::open(dir.path())).len(), 8, "rows from before and after the gap");
}

#[test]
fn a_missing_working_copy_is_rebuilt_from_the_export_even_when_the_journal_is_shorter() {
    let dir = tempfile::tempdir().expect("dir");
    write_some(dir.path(), 0, 10);
    wait_closed(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    let store = common::open(dir.path());
    runtime.block_on(store.export()).expect("export");
    drop(store);
    wait_closed(dir.path());
    let file = journal_file(dir.path());
    let bytes = fs::read(&file).expect("read");
    let ends = record_ends(&bytes);
    fs::write(&file, &bytes[..ends[ends.len() - 4]]).expect("cut");
    fs::remove_dir_all(dir.path().join("sled")).expect("rm");
    let store = common::open(dir.path());
    assert_eq!(common::check(&store), (0..10).collect::<Vec<_>>());
    let more: Result<u64, StoreError> = store.commit_blocking(|tx| common::write(tx, 10));
    more.expect("commit");
    drop(store);
    wait_closed(dir.path());
    assert_eq!(common::check(&common::open(dir.path())).len(), 11);
}

#[test]
fn a_destroyed_working_copy_is_rebuilt_from_export_and_journal() {
    let dir = tempfile::tempdir().expect("dir");
    write_some(dir.path(), 0, 20);
    wait_closed(dir.path());
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    let store = common::open(dir.path());
    runtime.block_on(store.export()).expect("export");
    drop(store);
    wait_closed(dir.path());
    write_some(dir.path(), 20, 40);
    wait_closed(dir.path());
    let sled = dir.path().join("sled");
    type Damage = Box<dyn Fn(&Path)>;
    let damages: Vec<(&str, Damage)> = vec![
        ("removed", Box::new(|p: &Path| fs::remove_dir_all(p).expect("rm"))),
        (
            "a file in its place",
            Box::new(|p: &Path| {
                fs::remove_dir_all(p).expect("rm");
                fs::write(p, b"x").expect("write");
            }),
        ),
        ("garbage in conf", Box::new(|p: &Path| fs::write(p.join("conf"), b"garbage").expect("write"))),
        ("garbage in db", Box::new(|p: &Path| fs::write(p.join("db"), vec![0xa5; 700_000]).expect("write"))),
    ];
    for (name, damage) in damages {
        damage(&sled);
        let store = common::open(dir.path());
        assert_eq!(common::check(&store), (0..40).collect::<Vec<_>>(), "{name}");
        // sled itself gets over a damaged `conf`; whatever it does not get over is rebuilt and told.
        assert!(store.report().rebuilt.is_some() || name == "garbage in conf", "{name}: the operator is told");
        drop(store);
        wait_closed(dir.path());
    }
}

#[test]
fn a_working_copy_that_fails_or_panics_at_open_is_rebuilt() {
    let dir = tempfile::tempdir().expect("dir");
    write_some(dir.path(), 0, 10);
    wait_closed(dir.path());
    let openers: Vec<store::Opener> =
        vec![Arc::new(|_| Err("injected failure".into())), Arc::new(|_| panic!("injected panic"))];
    for opener in openers {
        let store = Store::open(Options { opener, ..Options::new(dir.path()) }).expect("opens");
        assert_eq!(common::check(&store), (0..10).collect::<Vec<_>>());
        assert!(store.report().rebuilt.as_ref().is_some_and(|r| r.contains("injected")), "{:?}", store.report());
        drop(store);
        wait_closed(dir.path());
    }
    assert!(dir.path().join("sled.bad-1").exists() && dir.path().join("sled.bad-2").exists(), "the bad ones are kept aside");
}

#[test]
fn a_second_process_is_refused() {
    let dir = tempfile::tempdir().expect("dir");
    let _store = common::open(dir.path());
    assert!(matches!(Store::open(Options::new(dir.path())), Err(StoreError::InUse(_))));
}

#[test]
fn a_failed_or_panicking_transaction_leaves_nothing() {
    let dir = tempfile::tempdir().expect("dir");
    let store = common::open(dir.path());
    let failed: Result<(), StoreError> = store.commit_blocking(|tx| {
        common::write(tx, 1)?;
        Err(StoreError::Closed)
    });
    assert_eq!(failed, Err(StoreError::Closed));
    let panicked: Result<(), StoreError> = store.commit_blocking(|tx| {
        common::write(tx, 2)?;
        panic!("a bug")
    });
    assert!(panicked.is_err());
    let good: Result<u64, StoreError> = store.commit_blocking(|tx| common::write(tx, 3));
    assert_eq!(good, Ok(1), "event numbers have no gap");
    assert_eq!(common::check(&store), vec![3]);
}

#[test]
fn sealed_values_open_only_in_their_place_with_their_key_and_stay_small() {
    let dir = tempfile::tempdir().expect("dir");
    let key = dir.path().join("key");
    let sealer = store::Sealer::load_or_create(&key).expect("key");
    let secret = vec![0x5a; 64 * 1024];
    let sealed = sealer.seal(b"app 1", &secret).expect("seal");
    assert!(sealed.iter().all(|c| c.0.len() < 16 * 1024));
    assert_eq!(sealer.open(b"app 1", &sealed).expect("open"), secret);
    assert!(sealer.open(b"app 2", &sealed).is_err());
    let again = store::Sealer::load_or_create(&key).expect("same key");
    assert_eq!(again.open(b"app 1", &sealed).expect("open"), secret);
    let other = store::Sealer::load_or_create(&dir.path().join("other")).expect("key");
    assert!(other.open(b"app 1", &sealed).is_err());
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(&key).expect("key").permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).expect("chmod");
    assert!(store::Sealer::load_or_create(&key).is_err(), "a key that others may read is refused");
}

/// Data of version 1 opens in every later version; rows are compared one by one with what was written then.
#[test]
fn the_fixture_of_version_1_opens() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fixtures/store-v1");
    let dir = tempfile::tempdir().expect("dir");
    copy_dir(&fixture, dir.path());
    let store = common::open(dir.path());
    assert_eq!(store.report().rebuilt, None, "the old working copy is read as it is");
    assert_eq!(common::check(&store), (0..30).collect::<Vec<_>>());
    let stored = store.get(&tables::APPS, &common::app(7).id).expect("read").expect("there");
    assert_eq!(stored, common::app(7));
    drop(store);
    wait_closed(dir.path());
    fs::remove_dir_all(dir.path().join("sled")).expect("rm");
    let store = common::open(dir.path());
    assert_eq!(common::check(&store), (0..30).collect::<Vec<_>>(), "old export and old journal are read too");
}

/// Writes the fixture when asked to; run once for each released format, never again.
#[test]
fn write_fixture_when_asked() {
    let Ok(target) = std::env::var("WRITE_STORE_FIXTURE") else { return };
    let target = Path::new(&target);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    write_some(target, 0, 20);
    wait_closed(target);
    let store = common::open(target);
    runtime.block_on(store.export()).expect("export");
    drop(store);
    wait_closed(target);
    write_some(target, 20, 30);
    wait_closed(target);
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("mkdir");
    for entry in fs::read_dir(from).expect("fixture") {
        let entry = entry.expect("entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("type").is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copy");
        }
    }
}
