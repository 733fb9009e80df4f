//! What the program that is PID 1 of a container (`init/`) and the driver tell each other, one line each, since the engine's
//! log is made of lines. Bytes of users are escaped, so that a line never ends within them.

use crate::{Input, Sink};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

const ESCAPE: u8 = 0x10;
/// Marks of which the sink has not said yet that they are stored; older ones give way.
const MARKS_MAX: usize = 4096;
/// A longer line is not of that program.
const LINE_BYTES_MAX: usize = 64 << 10;

/// A place in the output of a cage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// Bytes since the start.
    pub offset: u64,
    /// Line ends among them.
    pub lines: u64,
    /// When the last of them was read, in µs since 1970.
    pub time_us: u64,
}

/// Reads the engine's log and passes on what is new.
pub struct Decoder {
    line: Vec<u8>,
    seen: Mark,
    /// False after a restart, when the number of lines at [`Mark::offset`] is not known yet.
    lines_known: bool,
    marks: VecDeque<Mark>,
    status: Option<i32>,
}

impl Decoder {
    /// Everything before `from` was delivered before.
    pub fn new(from: Mark, lines_known: bool) -> Self {
        Self { line: Vec::new(), seen: from, lines_known, marks: VecDeque::new(), status: None }
    }

    /// Another reading of the same log begins.
    pub fn rewind(&mut self) {
        self.line.clear();
    }

    /// Status of the main process, once PID 1 has told it.
    pub fn status(&self) -> Option<i32> {
        self.status
    }

    /// How far it is.
    pub fn seen(&self) -> Mark {
        self.seen
    }

    /// Bytes of the log.
    pub fn feed(&mut self, bytes: &[u8], sink: &dyn Sink) {
        for part in bytes.split_inclusive(|b| *b == b'\n') {
            if self.line.len() + part.len() <= LINE_BYTES_MAX {
                self.line.extend_from_slice(part);
            }
            if part.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.frame(line.trim_ascii_end_newline(), sink);
            }
        }
    }

    fn frame(&mut self, line: &[u8], sink: &dyn Sink) {
        if let Some(status) = line.strip_prefix(b"X ") {
            self.status = std::str::from_utf8(status).ok().and_then(|status| status.parse().ok());
        }
        let Some((offset, lines, time_us, rest)) = parse(line) else { return };
        let bytes = unescape(rest);
        let end = Mark {
            offset: offset + bytes.len() as u64,
            lines: lines + bytes.iter().filter(|b| **b == b'\n').count() as u64,
            time_us,
        };
        if end.offset <= self.seen.offset {
            if end.offset == self.seen.offset {
                (self.seen, self.lines_known) = (end, true);
            }
            return;
        }
        if offset > self.seen.offset {
            // Bytes in between gave way in the ring of PID 1, or were rotated away before this daemon came.
            let lost = if self.lines_known { lines.saturating_sub(self.seen.lines) } else { 1 };
            sink.dropped(lost.max(1));
        }
        (self.seen, self.lines_known) = (end, true);
        self.marks.push_back(end);
        if self.marks.len() > MARKS_MAX {
            self.marks.pop_front();
        }
        sink.output(end.offset, time_us, &bytes);
    }

    /// The last place at or before `offset`, if it is a new one.
    pub fn safe(&mut self, offset: u64) -> Option<Mark> {
        let mut found = None;
        while self.marks.front().is_some_and(|mark| mark.offset <= offset) {
            found = self.marks.pop_front();
        }
        found
    }
}

trait TrimEnd {
    fn trim_ascii_end_newline(&self) -> &[u8];
}

impl TrimEnd for Vec<u8> {
    fn trim_ascii_end_newline(&self) -> &[u8] {
        self.strip_suffix(b"\n").unwrap_or(self)
    }
}

/// `T offset lines time bytes`.
fn parse(line: &[u8]) -> Option<(u64, u64, u64, &[u8])> {
    let mut rest = line.strip_prefix(b"T ")?;
    let mut numbers = [0u64; 3];
    for number in &mut numbers {
        let space = rest.iter().position(|b| *b == b' ')?;
        *number = std::str::from_utf8(&rest[..space]).ok()?.parse().ok()?;
        rest = &rest[space + 1..];
    }
    Some((numbers[0], numbers[1], numbers[2], rest))
}

fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut bytes = bytes.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            &ESCAPE => out.push(if bytes.next() == Some(&b'n') { b'\n' } else { ESCAPE }),
            other => out.push(*other),
        }
    }
    out
}

/// A line for PID 1.
pub fn encode(input: &Input) -> Vec<u8> {
    let mut line = match input {
        Input::Bytes(bytes) => {
            let mut line = Vec::with_capacity(bytes.len() + 2);
            line.push(b'B');
            for byte in bytes {
                match *byte {
                    b'\n' => line.extend([ESCAPE, b'n']),
                    ESCAPE => line.extend([ESCAPE, b'd']),
                    other => line.push(other),
                }
            }
            line
        }
        Input::End => b"E".to_vec(),
        Input::Resize(window) => format!("R{} {}", window.rows, window.columns).into_bytes(),
        Input::Signal(number) => format!("S{number}").into_bytes(),
    };
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Mutex;

    #[derive(Default)]
    struct Kept(Mutex<Vec<u8>>, Mutex<u64>);

    impl Sink for Kept {
        fn output(&self, _end: u64, _time_us: u64, bytes: &[u8]) {
            self.0.lock().expect("lock").extend_from_slice(bytes);
        }
        fn dropped(&self, lines: u64) {
            *self.1.lock().expect("lock") += lines;
        }
        fn grace_over(&self) {}
    }

    fn frames(chunks: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let (mut offset, mut lines) = (0, 0);
        let frame = |chunk: &Vec<u8>| {
            let mut frame = format!("T {offset} {lines} 7 ").into_bytes();
            frame.extend(&encode(&Input::Bytes(chunk.clone().into()))[1..]);
            offset += chunk.len();
            lines += chunk.iter().filter(|b| **b == b'\n').count();
            frame
        };
        chunks.iter().map(frame).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_bytes_come_back_however_they_are_chopped_and_often_they_are_read(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6), step in 1usize..9, twice in any::<bool>(),
        ) {
            let log = frames(&chunks).concat();
            let kept = Kept::default();
            let mut decoder = Decoder::new(Mark::default(), true);
            for _ in 0..=usize::from(twice) {
                decoder.rewind();
                log.chunks(step).for_each(|piece| decoder.feed(piece, &kept));
            }
            prop_assert_eq!(kept.0.into_inner().expect("lock"), chunks.concat());
            prop_assert_eq!(kept.1.into_inner().expect("lock"), 0);
        }

        #[test]
        fn any_log_is_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            Decoder::new(Mark::default(), true).feed(&bytes, &Kept::default());
        }
    }

    #[test]
    fn what_was_rotated_away_is_counted_and_what_is_stored_is_left_out() {
        let chunks: Vec<Vec<u8>> = (0..4).map(|n| format!("{n}\n{n}\n").into_bytes()).collect();
        let log = frames(&chunks);
        let kept = Kept::default();
        let mut decoder = Decoder::new(Mark::default(), true);
        decoder.feed(&log[0], &kept);
        decoder.feed(&log[3], &kept);
        assert_eq!((kept.0.lock().expect("lock").as_slice(), *kept.1.lock().expect("lock")), (&b"0\n0\n3\n3\n"[..], 4));
        assert_eq!((decoder.status(), decoder.safe(3)), (None, None));
        decoder.feed(b"X 9\n", &kept);
        assert_eq!(decoder.status(), Some(9));
        assert_eq!(decoder.safe(15).map(|m| (m.offset, m.lines)), Some((4, 2)));
        let kept = Kept::default();
        let mut decoder = Decoder::new(Mark { offset: 8, ..Mark::default() }, false);
        log.iter().for_each(|frame| decoder.feed(frame, &kept));
        assert_eq!((kept.0.lock().expect("lock").as_slice(), *kept.1.lock().expect("lock")), (&b"2\n2\n3\n3\n"[..], 0));
    }
}
