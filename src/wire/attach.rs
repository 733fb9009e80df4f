//! Messages of our own client on an attached connection (`secret?frames=1`). They travel in frames of `length u32, big-endian
//! | kind u8 | rest`; the official client speaks raw bytes instead, without sizes and exit codes (`cli-contract.md` section 5).

use bytes::{BufMut, Bytes, BytesMut};

/// Query of the first line that asks for frames.
pub const FRAMES: &str = "frames=1";
/// First line from the server; the official client throws it away.
pub const BANNER: &str = "rendezvous\r\n";
/// Longest frame.
pub const FRAME_BYTES_MAX: usize = 256 << 10;
/// Header of the answer that tells the SHA-256 of the certificate behind an attach address, in hexadecimal digits.
pub const CERTIFICATE_HEADER: &str = "tidemill-certificate";

/// From the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToProcess {
    /// For its standard input.
    Input(Bytes),
    /// Nothing more comes.
    End,
    /// The terminal has a new size.
    Resize {
        /// Lines.
        rows: u16,
        /// Characters of a line.
        columns: u16,
    },
    /// For the process.
    Signal(i32),
}

/// From the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToClient {
    /// What the process wrote.
    Output(Bytes),
    /// How it ended; the last message.
    Exit(i32),
}

fn tagged(kind: u8, rest: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + rest.len());
    out.put_u8(kind);
    out.put_slice(rest);
    out.freeze()
}

impl ToProcess {
    /// The inside of a frame.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Input(bytes) => tagged(b'I', bytes),
            Self::End => tagged(b'Z', &[]),
            Self::Resize { rows, columns } => tagged(b'W', &[rows.to_be_bytes(), columns.to_be_bytes()].concat()),
            Self::Signal(number) => tagged(b'K', &number.to_be_bytes()),
        }
    }

    /// Reads the inside of a frame; `None` for one that is not known, which is to be ignored.
    pub fn decode(mut frame: Bytes) -> Option<Self> {
        let kind = frame.split_to(1.min(frame.len()));
        match *kind.first()? {
            b'I' => Some(Self::Input(frame)),
            b'Z' => Some(Self::End),
            b'W' => {
                let [a, b, c, d] = *frame.first_chunk::<4>()?;
                Some(Self::Resize { rows: u16::from_be_bytes([a, b]), columns: u16::from_be_bytes([c, d]) })
            }
            b'K' => Some(Self::Signal(i32::from_be_bytes(*frame.first_chunk::<4>()?))),
            _ => None,
        }
    }
}

impl ToClient {
    /// The inside of a frame.
    pub fn encode(&self) -> Bytes {
        match self {
            Self::Output(bytes) => tagged(b'O', bytes),
            Self::Exit(status) => tagged(b'Q', &status.to_be_bytes()),
        }
    }

    /// Reads the inside of a frame; `None` for one that is not known, which is to be ignored.
    pub fn decode(mut frame: Bytes) -> Option<Self> {
        let kind = frame.split_to(1.min(frame.len()));
        match *kind.first()? {
            b'O' => Some(Self::Output(frame)),
            b'Q' => Some(Self::Exit(i32::from_be_bytes(*frame.first_chunk::<4>()?))),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_back_and_nonsense_does_not() {
        let sent = [
            ToProcess::Input(Bytes::from_static(b"\0\x04")),
            ToProcess::End,
            ToProcess::Resize { rows: 50, columns: 300 },
            ToProcess::Signal(15),
        ];
        sent.into_iter().for_each(|m| assert_eq!(ToProcess::decode(m.encode()), Some(m)));
        let sent = [ToClient::Output(Bytes::from_static(b"x")), ToClient::Exit(-1)];
        sent.into_iter().for_each(|m| assert_eq!(ToClient::decode(m.encode()), Some(m)));
        for nonsense in ["", "W", "W123", "K1", "?", "Q"] {
            assert_eq!(ToProcess::decode(Bytes::from_static(nonsense.as_bytes())), None);
            assert_eq!(ToClient::decode(Bytes::from_static(nonsense.as_bytes())), None);
        }
    }
}
