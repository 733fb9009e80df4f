#![no_main]
libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(range) = wire::Range::parse(text) {
        assert!((1..=1000).contains(&range.max));
    }
});
