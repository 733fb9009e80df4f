#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let parent = tempfile::tempdir().expect("dir");
    let target = parent.path().join("target");
    std::fs::create_dir(&target).expect("mkdir");
    let limits = builder::ArchiveLimits { bytes: 1 << 20, entries: 100, any_links: false };
    let _ = builder::unpack(bytes, &target, 0, None, limits);
    assert_eq!(std::fs::read_dir(parent.path()).expect("read").count(), 1, "nothing outside of the target");
});
