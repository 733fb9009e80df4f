//! Frames of a segment: records of many batches, compressed together, behind a header that can be read without them.
//!
//! A header: magic, CRC-32 of the header and the state after it, version, length of the state, packed and plain length,
//! CRC-32 of the packed bytes, count of lines, first number, number after the last, first and highest time. The state says
//! up to which offset the output of each living dyno is stored. Headers are the index: they lead from frame to frame.

use super::batch::{long, word};
use domain::DynoId;
use std::{collections::HashMap, fs::File, io, os::unix::fs::FileExt};
use uuid::Uuid;

const MAGIC: [u8; 4] = [0xF5, b'T', b'M', b'F'];
const VERSION: u32 = 1;
const HEADER: usize = 64;
/// Dynos that a state can name; the oldest marks of more are left out.
const STATE_DYNOS_MAX: usize = 1000;
/// Plain bytes of a frame; more is damage.
const PLAIN_BYTES_MAX: u32 = 64 << 20;
/// Fast enough for a flood; what it saves is most of what can be saved on logs.
const LEVEL: i32 = 1;

/// Up to where the output of dynos is stored.
pub(crate) type Positions = HashMap<DynoId, u64>;

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Header {
    state_len: u32,
    packed_len: u32,
    plain_len: u32,
    crc: u32,
    pub lines: u32,
    pub first_seq: u64,
    /// The number after the last one. More numbers than lines: the rest was lost before it came to the disk.
    pub end_seq: u64,
    pub first_us: u64,
    pub last_us: u64,
}

/// A frame in its file.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub offset: u64,
    pub header: Header,
}

impl Frame {
    pub fn end(&self) -> u64 {
        self.offset + HEADER as u64 + u64::from(self.header.state_len) + u64::from(self.header.packed_len)
    }

    /// Plain bytes.
    pub fn plain_len(&self) -> u64 {
        u64::from(self.header.plain_len)
    }

    /// The records in it.
    ///
    /// # Errors
    /// `InvalidData` when they are damaged.
    pub fn records(&self, file: &File) -> io::Result<Vec<u8>> {
        let mut packed = vec![0; self.header.packed_len as usize];
        file.read_exact_at(&mut packed, self.offset + HEADER as u64 + u64::from(self.header.state_len))?;
        if crc32fast::hash(&packed) != self.header.crc {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the frame's checksum is wrong"));
        }
        zstd::bulk::decompress(&packed, self.header.plain_len as usize)
    }

    /// What is stored of each dyno up to this frame.
    pub fn positions(&self, file: &File) -> io::Result<Positions> {
        let mut state = vec![0; self.header.state_len as usize];
        file.read_exact_at(&mut state, self.offset + HEADER as u64)?;
        let each = state
            .chunks_exact(24)
            .filter_map(|mark| Some((DynoId::from(Uuid::from_slice(&mark[..16]).ok()?), long(mark, 16)?)));
        Ok(each.collect())
    }
}

/// What goes into a frame beside the records.
pub(crate) struct Span {
    pub lines: u32,
    pub first_seq: u64,
    pub end_seq: u64,
    pub first_us: u64,
    pub last_us: u64,
}

/// A whole frame, ready to be appended.
pub(crate) fn build(records: &[u8], span: &Span, positions: &Positions) -> io::Result<Vec<u8>> {
    let packed = zstd::bulk::compress(records, LEVEL)?;
    let mut out = Vec::with_capacity(HEADER + packed.len() + positions.len() * 24);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 4]);
    let state = positions.len().min(STATE_DYNOS_MAX) * 24;
    let size = |n: usize| u32::try_from(n).map_err(|_| io::Error::other("too large for a frame"));
    for number in [VERSION, size(state)?, size(packed.len())?, size(records.len())?, crc32fast::hash(&packed), span.lines] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for number in [span.first_seq, span.end_seq, span.first_us, span.last_us] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    for (dyno, offset) in positions.iter().take(STATE_DYNOS_MAX) {
        out.extend_from_slice(dyno.0.as_bytes());
        out.extend_from_slice(&offset.to_le_bytes());
    }
    let crc = crc32fast::hash(&out[8..]);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&packed);
    Ok(out)
}

/// The frame at an offset; `None` when there is no whole one.
fn frame_at(file: &File, offset: u64, length: u64) -> Option<Frame> {
    let mut head = [0; HEADER];
    if offset + HEADER as u64 > length || file.read_exact_at(&mut head, offset).is_err() || head[..4] != MAGIC {
        return None;
    }
    let header = Header {
        state_len: word(&head, 12)?,
        packed_len: word(&head, 16)?,
        plain_len: word(&head, 20)?,
        crc: word(&head, 24)?,
        lines: word(&head, 28)?,
        first_seq: long(&head, 32)?,
        end_seq: long(&head, 40)?,
        first_us: long(&head, 48)?,
        last_us: long(&head, 56)?,
    };
    let fits = header.state_len as usize <= STATE_DYNOS_MAX * 24 && header.plain_len <= PLAIN_BYTES_MAX;
    let frame = Frame { offset, header };
    if word(&head, 8)? != VERSION || !fits || frame.end() > length {
        return None;
    }
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head[8..]);
    let mut state = vec![0; frame.header.state_len as usize];
    file.read_exact_at(&mut state, offset + HEADER as u64).ok()?;
    hasher.update(&state);
    (hasher.finalize() == word(&head, 4)?).then_some(frame)
}

/// The frames of a segment.
#[derive(Default)]
pub(crate) struct Walk {
    pub frames: Vec<Frame>,
    /// Bytes that are no frame, with whole ones after them.
    pub damaged: u64,
    /// End of the last whole frame.
    pub end: u64,
}

/// Goes from header to header; behind what is damaged it looks for the next one.
pub(crate) fn walk(file: &File) -> io::Result<Walk> {
    let length = file.metadata()?.len();
    let mut found = Walk::default();
    let mut at = 0;
    while at < length {
        let frame = match frame_at(file, at, length) {
            Some(frame) => frame,
            None => match next_frame(file, at, length)? {
                Some(frame) => frame,
                None => break,
            },
        };
        found.damaged += frame.offset - found.end;
        (at, found.end) = (frame.end(), frame.end());
        found.frames.push(frame);
    }
    Ok(found)
}

fn next_frame(file: &File, from: u64, length: u64) -> io::Result<Option<Frame>> {
    let mut rest = vec![0; usize::try_from(length - from).map_err(io::Error::other)?];
    file.read_exact_at(&mut rest, from)?;
    let starts = memchr::memmem::find_iter(&rest[1..], &MAGIC);
    Ok(starts.map(|start| from + 1 + start as u64).find_map(|offset| frame_at(file, offset, length)))
}
