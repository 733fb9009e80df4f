#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = logs::parse_record(bytes);
    let mut reader = logs::LineReader::default();
    reader.push(bytes, |line| assert!(line.len() <= 10_000 && !line.contains(&b'\n')));
    reader.finish(|line| assert!(line.len() <= 10_000));
});
