//! Cuts a byte stream into lines (`logs.md` section 2).

use bytes::{Bytes, BytesMut};
use domain::limits::LOG_LINE_BYTES_MAX;

/// A line or a piece of one.
pub type Piece = Bytes;

/// Keeps the unfinished line of one stream; never more than [`LOG_LINE_BYTES_MAX`] bytes.
#[derive(Default)]
pub struct LineReader {
    partial: BytesMut,
}

impl LineReader {
    /// Takes bytes, gives each finished line to `each`. A line that grows too long is cut, at a UTF-8 boundary if one is
    /// within 4 bytes.
    pub fn push(&mut self, mut bytes: &[u8], mut each: impl FnMut(Piece)) {
        while !bytes.is_empty() {
            let room = LOG_LINE_BYTES_MAX - self.partial.len();
            let window = &bytes[..bytes.len().min(room + 1)];
            if let Some(end) = window.iter().position(|b| *b == b'\n') {
                self.partial.extend_from_slice(&bytes[..end]);
                bytes = &bytes[end + 1..];
                self.emit(&mut each);
            } else if bytes.len() > room {
                self.partial.extend_from_slice(&bytes[..room]);
                bytes = &bytes[room..];
                let keep = utf8_boundary(&self.partial);
                let rest = self.partial.split_off(keep);
                each(std::mem::replace(&mut self.partial, rest).freeze());
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
    pub fn finish(&mut self, each: impl FnMut(Piece)) {
        if !self.partial.is_empty() {
            self.emit(each);
        }
    }

    fn emit(&mut self, mut each: impl FnMut(Piece)) {
        let mut line = self.partial.split();
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        each(line.freeze());
    }
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
        let mut out = Vec::new();
        chunks.iter().for_each(|c| reader.push(c, |l| out.push(l.to_vec())));
        reader.finish(|l| out.push(l.to_vec()));
        out
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

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn the_way_it_is_chopped_up_does_not_matter(text in "[a-z\n]{0,300}", cut in 0usize..300) {
            let cut = cut.min(text.len());
            let (a, b) = text.as_bytes().split_at(cut);
            prop_assert_eq!(lines(&[a, b]), lines(&[text.as_bytes()]));
        }
    }
}
