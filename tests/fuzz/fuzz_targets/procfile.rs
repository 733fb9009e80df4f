#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(types) = domain::procfile::parse(bytes) {
        assert!(types.keys().all(|name| domain::names::is_process_type(name)));
    }
});
