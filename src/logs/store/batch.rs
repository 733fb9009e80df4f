//! Lines that were read at the same time from the same place, in one piece of memory, and their record on disk.
//!
//! A record: magic, CRC-32 of what follows it, length of what follows that, then number of the first line, time, count of
//! lines, release, flags, lengths of source and name, the dyno's id and offset if the flags say so, source, name, LF, and
//! the messages, each with an LF. Numbers are little-endian. No LF is inside a message, so a search may run over many
//! records at once.

use crate::LogLine;
use bytes::Bytes;
use domain::DynoId;
use uuid::Uuid;

pub(crate) const MAGIC: [u8; 4] = [0xF5, b'T', b'M', b'B'];
/// Magic, CRC and length.
const PREFIX: usize = 12;
const FIXED: usize = 8 + 8 + 4 + 4 + 3;
/// No record is longer; what says so is damage.
const RECORD_BYTES_MAX: usize = 4 << 20;
const HAS_POSITION: u8 = 1;

/// Lines of one moment and one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Batch {
    pub first_seq: u64,
    pub lines: u32,
    pub time_us: u64,
    /// Version of the release that was current, 0 for unknown.
    pub release: u32,
    pub source: Bytes,
    pub ps: Bytes,
    /// The lines are the output of this dyno up to this offset. Offset 0 says that it is gone.
    pub position: Option<(DynoId, u64)>,
    /// The messages, each with an LF after it.
    pub body: Bytes,
}

impl Batch {
    /// Number after that of the last line.
    pub fn end_seq(&self) -> u64 {
        self.first_seq + u64::from(self.lines)
    }

    /// Bytes that it takes in memory, about.
    pub fn weight(&self) -> usize {
        self.body.len() + 160
    }

    /// Its lines; the messages are slices of the body.
    pub fn each(&self) -> impl Iterator<Item = LogLine> + '_ {
        let mut start = 0;
        (self.first_seq..self.end_seq()).map_while(move |seq| {
            let length = memchr::memchr(b'\n', self.body.get(start..)?)?;
            let message = self.body.slice(start..start + length);
            start += length + 1;
            Some(self.line(seq, message))
        })
    }

    fn line(&self, seq: u64, message: Bytes) -> LogLine {
        let (source, ps) = (self.source.clone(), self.ps.clone());
        LogLine { seq, time_us: self.time_us, release: self.release, source, ps, message }
    }

    /// Appends the record.
    pub fn push_record(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let (source, ps) = (short(&self.source), short(&self.ps));
        let position = if self.position.is_some() { 24 } else { 0 };
        let length = FIXED + position + source.len() + ps.len() + 1 + self.body.len();
        out.reserve(PREFIX + length);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(&self.first_seq.to_le_bytes());
        out.extend_from_slice(&self.time_us.to_le_bytes());
        out.extend_from_slice(&self.lines.to_le_bytes());
        out.extend_from_slice(&self.release.to_le_bytes());
        // `short` has made sure that they fit.
        out.extend_from_slice(&[u8::from(self.position.is_some()) * HAS_POSITION, source.len() as u8, ps.len() as u8]);
        if let Some((dyno, offset)) = self.position {
            out.extend_from_slice(dyno.0.as_bytes());
            out.extend_from_slice(&offset.to_le_bytes());
        }
        out.extend_from_slice(source);
        out.extend_from_slice(ps);
        out.push(b'\n');
        out.extend_from_slice(&self.body);
        let crc = crc32fast::hash(&out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads the record that begins at `at`, and tells where it ends; `None` when there is no whole one.
    fn decode(bytes: &Bytes, at: usize) -> Option<(Self, usize)> {
        let prefix = bytes.get(at..at + PREFIX)?;
        let length = word(prefix, 8)? as usize;
        if prefix[..4] != MAGIC || !(FIXED + 1..=RECORD_BYTES_MAX).contains(&length) {
            return None;
        }
        let end = at + PREFIX + length;
        if crc32fast::hash(bytes.get(at + 8..end)?) != word(prefix, 4)? {
            return None;
        }
        let fixed = bytes.get(at + PREFIX..at + PREFIX + FIXED)?;
        let (flags, source, ps) = (fixed[24], usize::from(fixed[25]), usize::from(fixed[26]));
        let mut next = at + PREFIX + FIXED;
        let mut position = None;
        if flags & HAS_POSITION != 0 {
            let dyno = Uuid::from_slice(bytes.get(next..next + 16)?).ok()?;
            position = Some((DynoId::from(dyno), long(bytes, next + 16)?));
            next += 24;
        }
        let body = next + source + ps + 1;
        if body > end {
            return None;
        }
        let batch = Self {
            first_seq: long(fixed, 0)?,
            time_us: long(fixed, 8)?,
            lines: word(fixed, 16)?,
            release: word(fixed, 20)?,
            position,
            source: bytes.slice(next..next + source),
            ps: bytes.slice(next + source..next + source + ps),
            body: bytes.slice(body..end),
        };
        Some((batch, end))
    }
}

pub(super) fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|b| u32::from_le_bytes(*b))
}

pub(super) fn long(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}

fn short(name: &[u8]) -> &[u8] {
    &name[..name.len().min(255)]
}

/// What a row of records holds.
#[derive(Default)]
pub(crate) struct Records {
    pub batches: Vec<Batch>,
    /// Bytes that are no record, with whole ones after them.
    pub damaged: usize,
    /// End of the last whole record.
    pub end: usize,
}

/// Reads all whole records; goes on behind what is damaged.
pub(crate) fn read_records(bytes: &Bytes) -> Records {
    let mut found = Records::default();
    let mut at = 0;
    while at < bytes.len() {
        if let Some((batch, end)) = Batch::decode(bytes, at) {
            found.damaged += at - found.end;
            found.batches.push(batch);
            (at, found.end) = (end, end);
        } else {
            let next = memchr::memmem::find(&bytes[at + 1..], &MAGIC);
            at = next.map_or(bytes.len(), |next| at + 1 + next);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn batch(first_seq: u64, body: &[u8]) -> Batch {
        Batch {
            first_seq,
            lines: u32::try_from(body.iter().filter(|b| **b == b'\n').count()).unwrap(),
            time_us: 1_427_997_642_123_456,
            release: 12,
            source: Bytes::from_static(b"app"),
            ps: Bytes::from_static(b"web.1"),
            position: first_seq.is_multiple_of(2).then(|| (DynoId::from(Uuid::from_u128(7)), 99)),
            body: Bytes::copy_from_slice(body),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn records_come_back_as_they_were(body in proptest::collection::vec(any::<u8>(), 0..200), seq in 0u64..4) {
            let mut bytes = Vec::new();
            let mut body = body;
            body.push(b'\n');
            let batch = batch(seq, &body);
            batch.push_record(&mut bytes);
            let read = read_records(&Bytes::from(bytes.clone()));
            prop_assert_eq!(read.batches, vec![batch]);
            prop_assert_eq!((read.damaged, read.end), (0, bytes.len()));
        }

        #[test]
        fn any_bytes_are_records_or_not_but_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let mut with_magic = MAGIC.to_vec();
            with_magic.extend_from_slice(&bytes);
            let _ = read_records(&Bytes::from(with_magic));
        }
    }

    #[test]
    fn a_flipped_byte_costs_its_record_and_no_other() {
        let mut bytes = Vec::new();
        let all: Vec<Batch> = (0..3).map(|n| batch(n * 2, format!("line {n}\nand more\n").as_bytes())).collect();
        all.iter().for_each(|b| b.push_record(&mut bytes));
        let third = bytes.len() / 3;
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x41;
            let read = read_records(&Bytes::from(bad));
            let expected: Vec<Batch> =
                all.iter().enumerate().filter(|(n, _)| *n != at / third).map(|(_, b)| b.clone()).collect();
            assert_eq!(read.batches, expected, "byte {at}");
            assert_eq!(read.damaged, if at / third < 2 { third } else { 0 }, "byte {at}");
        }
    }

    #[test]
    fn lines_are_slices_in_order() {
        let lines: Vec<_> = batch(4, b"a\n\nb c\n").each().map(|l| (l.seq, l.message)).collect();
        assert_eq!(lines, [(4, Bytes::from("a")), (5, Bytes::new()), (6, Bytes::from("b c"))]);
    }
}
