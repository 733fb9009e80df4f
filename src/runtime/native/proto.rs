//! The protocol between daemon and holder: frames `kind u8 | length u32 LE | payload` on a unix socket. Holders outlive
//! upgrades of the daemon, so kinds are only ever added, and the daemon's first frame names its version.

/// Version of this protocol.
pub const VERSION: u32 = 2;
/// Since this version a holder takes further connections for input and processes.
pub const ATTACH_SINCE: u32 = 2;
/// Longest payload either side accepts.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// Name of the socket in a dyno's run directory.
pub const SOCKET: &str = "hold.sock";
/// Name of the exit record in a dyno's run directory.
pub const EXIT_FILE: &str = "exit.json";

/// Holder to daemon: `offset u64 | time_us u64 | bytes`.
pub const LOG: u8 = b'L';
/// Holder to daemon: `lines u64` were lost.
pub const DROPPED: u8 = b'D';
/// Holder to daemon: the grace after SIGTERM is over.
pub const GRACE_OVER: u8 = b'G';
/// Holder to daemon: everything ended, JSON of the exit; the last frame.
pub const EXIT: u8 = b'X';
/// Daemon to holder: `version u32`; the first frame.
pub const HELLO: u8 = b'H';
/// Daemon to holder: `offset u64`; everything before it is safe.
pub const ACK: u8 = b'A';
/// Daemon to holder: `signal i32` to all processes.
pub const SIGNAL: u8 = b'K';
/// Daemon to holder: `grace_ms u64`; SIGTERM now, SIGKILL then.
pub const STOP: u8 = b'T';
/// Daemon to holder: the exit was recorded; go.
pub const COLLECT: u8 = b'C';

/// First frame of a connection that brings input for the main process (since version 2).
pub const STDIN: u8 = b'S';
/// First frame of a connection for a further process: JSON of [`crate::Exec`] (since version 2).
pub const EXEC: u8 = b'E';
/// Bytes for a process.
pub const INPUT: u8 = b'I';
/// No more input for a process.
pub const END: u8 = b'Z';
/// `rows u16 | columns u16` of a process's terminal.
pub const RESIZE: u8 = b'W';
/// Holder: the further process runs.
pub const STARTED: u8 = b'R';
/// Holder: it does not, with the reason.
pub const REFUSED: u8 = b'N';
/// Holder: bytes from a further process.
pub const OUTPUT: u8 = b'O';
/// Holder: `status i32` of a further process; the last frame.
pub const EXITED: u8 = b'Q';

/// A frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// One of the constants above; unknown ones are ignored.
    pub kind: u8,
    /// Payload.
    pub payload: Vec<u8>,
}

/// Appends a frame to `out`.
pub fn push(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) {
    let length: usize = parts.iter().map(|p| p.len()).sum();
    out.push(kind);
    out.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    parts.iter().for_each(|p| out.extend_from_slice(p));
}

/// Collects bytes and gives whole frames.
#[derive(Default)]
pub struct Decoder {
    buffer: Vec<u8>,
}

impl Decoder {
    /// Adds what was read.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame.
    ///
    /// # Errors
    /// A frame that is too long; the connection is of no use any more.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, String> {
        let Some((header, rest)) = self.buffer.split_first_chunk::<5>() else { return Ok(None) };
        let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
        if length > PAYLOAD_BYTES_MAX {
            return Err(format!("a frame of {length} bytes"));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let frame = Frame { kind: header[0], payload: rest[..length].to_vec() };
        self.buffer.drain(..5 + length);
        Ok(Some(frame))
    }
}

/// Reads a number from the start of a payload.
pub fn number(payload: &[u8]) -> Option<u64> {
    payload.first_chunk::<8>().map(|b| u64::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn frames_come_back_however_they_are_chopped(payloads in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..6), step in 1usize..9) {
            let mut bytes = Vec::new();
            payloads.iter().for_each(|p| push(&mut bytes, LOG, &[p]));
            let mut decoder = Decoder::default();
            let mut got = Vec::new();
            for piece in bytes.chunks(step) {
                decoder.feed(piece);
                while let Some(frame) = decoder.next_frame().expect("valid") {
                    got.push(frame.payload);
                }
            }
            prop_assert_eq!(got, payloads);
        }

        #[test]
        fn any_bytes_are_refused_or_wait_but_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut decoder = Decoder::default();
            decoder.feed(&bytes);
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
    }
}
