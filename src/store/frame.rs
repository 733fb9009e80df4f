//! One frame on disk: `length u32 | crc32 u32 | payload`, little-endian. The CRC covers length and payload.

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 8;
/// No payload is longer; a length above it is damage.
pub const PAYLOAD_BYTES_MAX: usize = 32 << 20;

/// What stands at a place in a file.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<'a> {
    /// A whole frame and what follows it.
    Whole(&'a [u8], &'a [u8]),
    /// Nothing more.
    End,
    /// Something that is no whole frame.
    Damaged,
}

/// Appends a frame with `payload` to `out`.
pub fn push(out: &mut Vec<u8>, payload: &[u8]) {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    out.extend_from_slice(&length);
    out.extend_from_slice(&checksum(&length, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

/// Reads the frame at the start of `bytes`.
pub fn next(bytes: &[u8]) -> Next<'_> {
    if bytes.is_empty() {
        return Next::End;
    }
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() else { return Next::Damaged };
    let length = [header[0], header[1], header[2], header[3]];
    let crc = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let n = u32::from_le_bytes(length) as usize;
    if n > PAYLOAD_BYTES_MAX || n > rest.len() {
        return Next::Damaged;
    }
    let (payload, rest) = rest.split_at(n);
    if checksum(&length, payload) != crc { Next::Damaged } else { Next::Whole(payload, rest) }
}

fn checksum(length: &[u8; 4], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(length);
    hasher.update(payload);
    hasher.finalize()
}
