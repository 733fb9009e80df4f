use super::*;
use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;
use std::io::Write;
use tar::{Builder, Header};

type Item<'a> = (&'a str, EntryType, &'a str);

fn tar_of(items: &[Item<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (path, kind, content) in items {
        let mut header = Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o4755);
        // Written by hand, because the crate refuses to make the bad ones.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        if matches!(kind, EntryType::Symlink | EntryType::Link) {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
            header.set_size(0);
            header.set_cksum();
            builder.append(&header, io::empty()).unwrap();
        } else {
            header.set_size(content.len() as u64);
            header.set_cksum();
            builder.append(&header, content.as_bytes()).unwrap();
        }
    }
    builder.into_inner().unwrap()
}

fn take(bytes: &[u8], limits: Limits) -> (tempfile::TempDir, Result<(), ArchiveError>) {
    let dir = tempfile::tempdir().unwrap();
    let result = unpack(bytes, dir.path(), 0, None, limits);
    (dir, result)
}

fn refused(items: &[Item<'_>]) -> ArchiveError {
    take(&tar_of(items), Limits::default()).1.expect_err("refused")
}

const FILE: EntryType = EntryType::Regular;
const LINK: EntryType = EntryType::Symlink;

#[test]
fn good_archives_arrive_without_setuid() {
    let items = [
        ("./app/", EntryType::Directory, ""),
        ("app/a b\nc.txt", FILE, "x"),
        ("app/deep/er/file", FILE, "y"),
        ("app/rel", LINK, "deep/er/file"),
        ("app/abs", LINK, "/app/vendor/x"),
        ("app/hard", EntryType::Link, "app/deep/er/file"),
    ];
    let (dir, result) = take(&tar_of(&items), Limits::default());
    result.unwrap();
    assert_eq!(fs::read_to_string(dir.path().join("app/a b\nc.txt")).unwrap(), "x");
    assert_eq!(fs::read_to_string(dir.path().join("app/rel")).unwrap(), "y");
    assert_eq!(fs::read_to_string(dir.path().join("app/hard")).unwrap(), "y");
    assert_eq!(fs::read_link(dir.path().join("app/abs")).unwrap(), Path::new("/app/vendor/x"));
    let mode = fs::metadata(dir.path().join("app/a b\nc.txt")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
}

#[test]
fn paths_that_lead_out_are_refused() {
    for path in ["../x", "a/../../x", "/etc/x"] {
        assert!(matches!(refused(&[(path, FILE, "x")]), ArchiveError::Path(_)), "{path}");
    }
}

#[test]
fn links_that_lead_out_are_refused_and_nothing_is_written_through_a_link() {
    for to in ["/etc/passwd", "../x", "a/../../x", "/app/../etc"] {
        assert!(matches!(refused(&[("l", LINK, to)]), ArchiveError::Link(_)), "{to}");
    }
    assert!(matches!(
        refused(&[("d/", EntryType::Directory, ""), ("l", LINK, "d"), ("l/x", FILE, "x")]),
        ArchiveError::Path(_)
    ));
    assert!(matches!(refused(&[("h", EntryType::Link, "../../etc/passwd")]), ArchiveError::Path(_)));
    assert!(matches!(refused(&[("l", LINK, "/app/x"), ("h", EntryType::Link, "l")]), ArchiveError::Link(_)));
}

#[test]
fn devices_and_pipes_are_refused() {
    for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo] {
        assert!(matches!(refused(&[("dev", kind, "")]), ArchiveError::Type(_)));
    }
}

#[test]
fn bombs_end_at_the_limits() {
    let small = Limits { bytes: 1000, entries: 3, any_links: false };
    let many: Vec<String> = (0..5).map(|n| format!("f{n}")).collect();
    let items: Vec<Item<'_>> = many.iter().map(|n| (n.as_str(), FILE, "")).collect();
    assert!(matches!(take(&tar_of(&items), small).1, Err(ArchiveError::Limit(_))));
    let big = "x".repeat(2000);
    assert!(matches!(take(&tar_of(&[("f", FILE, &big)]), small).1, Err(ArchiveError::Limit(_))));
    let mut zip = GzEncoder::new(Vec::new(), Compression::best());
    zip.write_all(&vec![0u8; 64 << 20]).unwrap();
    let (dir, result) = take(&zip.finish().unwrap(), small);
    // 64 MiB of zeros are an empty archive; what counts is that it ends and leaves nothing.
    assert!(result.is_ok() || matches!(result, Err(ArchiveError::Unreadable(_))));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_damage_is_an_error_or_harmless(at in 0usize..3000, byte in any::<u8>(), cut in 0usize..4000) {
        let mut bytes = tar_of(&[("a/b", FILE, "hello"), ("l", LINK, "a/b"), ("c", FILE, "x")]);
        let index = at.min(bytes.len() - 1);
        bytes[index] = byte;
        bytes.truncate(cut.max(1));
        let parent = tempfile::tempdir().unwrap();
        let target = parent.path().join("t");
        fs::create_dir(&target).unwrap();
        let _ = unpack(bytes.as_slice(), &target, 0, None, Limits { bytes: 10_000, entries: 10, any_links: false });
        prop_assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 1, "nothing outside of the target");
    }
}
