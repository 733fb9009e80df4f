//! Cuts a byte stream into lines (`logs.md` section 2).

use bytes::Bytes;
use domain::limits::LOG_LINE_BYTES_MAX;

/// Finished lines of one moment, in one piece of memory.
#[derive(Debug, Default)]
pub struct Lines {
    /// Messages, each with an LF after it.
    body: Vec<u8>,
    count: u32,
}

impl Lines {
    /// Adds a line. A line end inside it becomes a space, so nobody can forge a line.
    pub fn push(&mut self, message: &[u8]) {
        let start = self.body.len();
        self.body.extend_from_slice(message);
        self.body[start..].iter_mut().filter(|b| **b == b'\n').for_each(|b| *b = b' ');
        self.end();
    }

    /// True when there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How many, and their messages, each with an LF after it.
    pub fn into_parts(self) -> (u32, Bytes) {
        (self.count, self.body.into())
    }

    fn end(&mut self) {
        self.body.push(b'\n');
        self.count += 1;
    }
}

/// Keeps the unfinished line of one stream; never more than [`LOG_LINE_BYTES_MAX`] bytes.
#[derive(Default)]
pub struct LineReader {
    partial: Vec<u8>,
}

impl LineReader {
    /// Takes bytes, adds each finished line to `out`. A line that grows too long is cut, at a UTF-8 boundary if one is
    /// within 4 bytes.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Lines) {
        out.body.reserve(self.partial.len() + bytes.len() + 1);
        while !bytes.is_empty() {
            if self.partial.is_empty() {
                bytes = copy_whole(bytes, out);
                if bytes.is_empty() {
                    return;
                }
            }
            let room = LOG_LINE_BYTES_MAX - self.partial.len();
            let window = &bytes[..bytes.len().min(room + 1)];
            if let Some(end) = memchr::memchr(b'\n', window) {
                self.partial.extend_from_slice(&bytes[..end]);
                bytes = &bytes[end + 1..];
                self.emit(out);
            } else if bytes.len() > room {
                self.partial.extend_from_slice(&bytes[..room]);
                bytes = &bytes[room..];
                let keep = utf8_boundary(&self.partial);
                out.body.extend_from_slice(&self.partial[..keep]);
                out.end();
                self.partial.drain(..keep);
            } else {
                self.partial.extend_from_slice(bytes);
                bytes = &[];
            }
        }
    }

    /// Bytes of the unfinished line.
    pub fn pending(&self) -> usize {
        self.partial.len()
    }

    /// The stream ended: the unfinished line is a line.
    pub fn finish(&mut self, out: &mut Lines) {
        if !self.partial.is_empty() {
            self.emit(out);
        }
    }

    fn emit(&mut self, out: &mut Lines) {
        out.body.extend_from_slice(self.partial.strip_suffix(b"\r").unwrap_or(&self.partial));
        out.end();
        self.partial.clear();
    }
}

/// Copies the lines at the start that are whole, short enough and end in LF alone: nearly always all but the last. Gives
/// what follows them.
fn copy_whole<'a>(bytes: &'a [u8], out: &mut Lines) -> &'a [u8] {
    let (mut start, mut count) = (0, 0);
    for end in memchr::memchr_iter(b'\n', bytes) {
        if end - start > LOG_LINE_BYTES_MAX || (end > start && bytes[end - 1] == b'\r') {
            break;
        }
        start = end + 1;
        count += 1;
    }
    out.body.extend_from_slice(&bytes[..start]);
    out.count += count;
    &bytes[start..]
}

/// End of the last whole character, when the cut one began within the last 4 bytes.
fn utf8_boundary(bytes: &[u8]) -> usize {
    for back in 1..=4.min(bytes.len()) {
        let at = bytes.len() - back;
        let lead = bytes[at];
        if lead & 0b1100_0000 == 0b1000_0000 {
            continue; // the middle of a character
        }
        let length = match lead {
            0xf0..=0xf7 => 4,
            0xe0..=0xef => 3,
            0xc0..=0xdf => 2,
            _ => 1,
        };
        return if length > back { at } else { bytes.len() };
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(chunks: &[&[u8]]) -> Vec<Vec<u8>> {
        let mut reader = LineReader::default();
        let mut out = Lines::default();
        chunks.iter().for_each(|c| reader.push(c, &mut out));
        reader.finish(&mut out);
        let (count, body) = out.into_parts();
        let all: Vec<Vec<u8>> = body.split_inclusive(|b| *b == b'\n').map(|l| l[..l.len() - 1].to_vec()).collect();
        assert_eq!(all.len(), count as usize);
        all
    }

    #[test]
    fn lengths_around_the_limit() {
        let lengths = |n: usize| lines(&[&vec![b'x'; n], b"\n"]).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(9_999), [9_999]);
        assert_eq!(lengths(10_000), [10_000]);
        assert_eq!(lengths(10_001), [10_000, 1]);
        assert_eq!(lengths(25_000), [10_000, 10_000, 5_000]);
    }

    #[test]
    fn line_ends_and_the_missing_one() {
        assert_eq!(lines(&[b"a\r\nb\n\nc"]), [b"a".to_vec(), b"b".to_vec(), vec![], b"c".to_vec()]);
        assert_eq!(lines(&[b"a", b"b\nc", b"d"]), [b"ab".to_vec(), b"cd".to_vec()]);
    }

    #[test]
    fn a_character_is_not_cut_in_two() {
        let mut text = vec![b'x'; 9_998];
        text.extend_from_slice("€y".as_bytes());
        let got = lines(&[&text]);
        assert_eq!(got[0].len(), 9_998);
        assert_eq!(got[1], "€y".as_bytes());
    }

    #[test]
    fn a_return_before_the_limit_does_not_count() {
        let lengths = |text: &[u8]| lines(&[text]).iter().map(Vec::len).collect::<Vec<_>>();
        let mut text = vec![b'x'; 9_999];
        text.extend_from_slice(b"\r\n");
        assert_eq!(lengths(&text), [9_999]);
        assert_eq!(lengths(b"a\nb\r\nc\rd\n"), [1, 1, 3]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn the_way_it_is_chopped_up_does_not_matter(text in "[a-z\r\n]{0,300}", cut in 0usize..300) {
            let cut = cut.min(text.len());
            let (a, b) = text.as_bytes().split_at(cut);
            prop_assert_eq!(lines(&[a, b]), lines(&[text.as_bytes()]));
        }
    }
}
