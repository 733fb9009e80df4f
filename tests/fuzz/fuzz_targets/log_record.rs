#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let (mut reader, mut lines) = (logs::LineReader::default(), logs::Lines::default());
    reader.push(bytes, &mut lines);
    reader.finish(&mut lines);
    let (count, body) = lines.into_parts();
    let all: Vec<&[u8]> = body.split_inclusive(|b| *b == b'\n').collect();
    assert_eq!(all.len(), count as usize);
    assert!(all.iter().all(|line| line.len() <= 10_001));
});
