//! The client's end of an attached connection: raw bytes for the official client, frames for ours.

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use router::{HangUp, Stream};
use runtime::{Input, Window};
use std::{io, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};
use wire::attach::{FRAME_BYTES_MAX, ToClient, ToProcess};

/// What the official client sends at the end of its input (`cli-contract.md` section 5).
const END_OF_TRANSMISSION: u8 = 4;
/// A last 0x04 that nothing follows for so long is that end; else it was data. Nothing else tells them apart.
const END_SILENCE: Duration = Duration::from_millis(200);
/// The official client looks for this and the number after it within one piece.
const MARKER: &[u8] = "\u{FFFF} heroku-command-exit-status: ".as_bytes();
/// A status and the end of its line.
const STATUS_BYTES_MAX: usize = 16;
const READ_BYTES: usize = 16 << 10;

/// A client that was let in.
pub struct Client {
    stream: Box<dyn Stream>,
    hang_up: HangUp,
    framed: bool,
}

impl Client {
    /// `framed`: it speaks the messages of [`wire::attach`].
    pub fn new(stream: Box<dyn Stream>, hang_up: HangUp, framed: bool) -> Self {
        Self { stream, hang_up, framed }
    }

    /// Tells why there is no process, and closes.
    pub async fn refuse(self, reason: &str) {
        let (_, mut outgoing, _hang_up) = self.split(true);
        let text = format!(" !    {reason}\r\n");
        let told = async {
            outgoing.output(text.into()).await?;
            outgoing.finish(1).await
        };
        if let Err(e) = told.await {
            tracing::debug!(error = %e, "engine.attach_lost");
        }
    }

    /// Both directions, and the watch on its end. With a terminal every byte is for it; with pipes 0x04 at the end is the
    /// end.
    pub fn split(self, terminal: bool) -> (Incoming, Outgoing, HangUp) {
        let (reader, writer) = tokio::io::split(self.stream);
        if self.framed {
            let codec = || LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).new_codec();
            let (incoming, outgoing) = (FramedRead::new(reader, codec()), FramedWrite::new(writer, codec()));
            return (Incoming::Framed(incoming), Outgoing::Framed(outgoing), self.hang_up);
        }
        let incoming = Incoming::Raw { reader, terminal, held: false };
        (incoming, Outgoing::Raw { writer, held: BytesMut::new() }, self.hang_up)
    }
}

/// From the client.
pub enum Incoming {
    /// See [`wire::attach`].
    Framed(FramedRead<ReadHalf<Box<dyn Stream>>, LengthDelimitedCodec>),
    /// Bytes as they are.
    Raw {
        /// Its half.
        reader: ReadHalf<Box<dyn Stream>>,
        /// Every byte is for the terminal.
        terminal: bool,
        /// A 0x04 came last.
        held: bool,
    },
}

impl Incoming {
    /// The next message; `None` when the client is gone. Nothing is lost when it is not waited for to the end.
    pub async fn next(&mut self) -> Option<Input> {
        match self {
            Self::Framed(frames) => loop {
                match ToProcess::decode(frames.next().await?.ok()?.freeze()) {
                    Some(ToProcess::Input(bytes)) => return Some(Input::Bytes(bytes)),
                    Some(ToProcess::End) => return Some(Input::End),
                    Some(ToProcess::Resize { rows, columns }) => return Some(Input::Resize(Window { rows, columns })),
                    Some(ToProcess::Signal(number)) => return Some(Input::Signal(number)),
                    None => {} // of a newer client
                }
            },
            Self::Raw { reader, terminal, held } => {
                let mut buffer = BytesMut::with_capacity(READ_BYTES);
                let read = if *held {
                    buffer.extend_from_slice(&[END_OF_TRANSMISSION]);
                    match tokio::time::timeout(END_SILENCE, reader.read_buf(&mut buffer)).await {
                        Ok(read) => read,
                        Err(_) => {
                            *held = false;
                            return Some(Input::End);
                        }
                    }
                } else {
                    reader.read_buf(&mut buffer).await
                };
                if read.ok()? == 0 {
                    return None;
                }
                *held = !*terminal && buffer.last() == Some(&END_OF_TRANSMISSION);
                if *held {
                    buffer.truncate(buffer.len() - 1);
                }
                Some(Input::Bytes(buffer.freeze()))
            }
        }
    }
}

/// To the client.
pub enum Outgoing {
    /// See [`wire::attach`].
    Framed(FramedWrite<WriteHalf<Box<dyn Stream>>, LengthDelimitedCodec>),
    /// Bytes as they are, but for a marker that must not be cut.
    Raw {
        /// Its half.
        writer: WriteHalf<Box<dyn Stream>>,
        /// The begin of a marker whose rest has not come.
        held: BytesMut,
    },
}

impl Outgoing {
    /// Passes output on.
    pub async fn output(&mut self, bytes: Bytes) -> io::Result<()> {
        match self {
            Self::Framed(frames) => frames.send(ToClient::Output(bytes).encode()).await,
            Self::Raw { writer, held } => {
                held.extend_from_slice(&bytes);
                let (now, marker) = pieces(held);
                for length in [now, marker] {
                    send(writer, held.split_to(length)).await?;
                }
                Ok(())
            }
        }
    }

    /// The last word.
    pub async fn finish(&mut self, status: i32) -> io::Result<()> {
        match self {
            Self::Framed(frames) => {
                frames.send(ToClient::Exit(status).encode()).await?;
                SinkExt::<Bytes>::close(frames).await
            }
            Self::Raw { writer, held } => {
                send(writer, held.split()).await?;
                writer.shutdown().await
            }
        }
    }
}

/// A piece in a record of its own.
async fn send(writer: &mut WriteHalf<Box<dyn Stream>>, piece: BytesMut) -> io::Result<()> {
    if piece.is_empty() {
        return Ok(());
    }
    writer.write_all(&piece).await?;
    writer.flush().await
}

/// How many bytes go out as they are, and how many follow as a whole marker line; the rest waits.
fn pieces(bytes: &[u8]) -> (usize, usize) {
    let found = bytes.windows(MARKER.len()).rposition(|window| window == MARKER);
    if let Some(at) = found {
        // Longer than any number: it was no marker, or what comes is not for the client to find in it.
        let rest = &bytes[at + MARKER.len()..];
        let whole = rest.contains(&b'\n') || rest.len() > STATUS_BYTES_MAX;
        return (at, if whole { bytes.len() - at } else { 0 });
    }
    let partial = (1..MARKER.len()).rev().find(|n| bytes.ends_with(&MARKER[..*n])).unwrap_or(0);
    (bytes.len() - partial, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_marker_goes_out_whole_wherever_it_is_cut() {
        let line = "out \u{FFFF} and \u{FFFF} heroku-command-exit-status: 17\r\n".as_bytes();
        for cut in 0..line.len() {
            let (mut held, mut sent) = (BytesMut::new(), Vec::new());
            for part in [&line[..cut], &line[cut..]] {
                held.extend_from_slice(part);
                let (now, marker) = pieces(&held);
                sent.extend([held.split_to(now), held.split_to(marker)].into_iter().filter(|p| !p.is_empty()));
            }
            assert!(held.is_empty());
            assert!(sent.iter().any(|p| p.starts_with(MARKER) && p.ends_with(b"17\r\n")), "{cut}: {sent:?}");
            assert_eq!(sent.concat(), line);
        }
        let endless = [MARKER, &[b'x'; 17]].concat();
        assert_eq!(pieces(&endless), (0, endless.len()), "what has no end is not kept");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn nothing_is_lost_or_turned_round(parts in proptest::collection::vec(proptest::collection::vec(prop_oneof![Just(0xefu8), Just(0xbf), any::<u8>()], 0..20), 0..20)) {
            let (mut held, mut sent) = (BytesMut::new(), Vec::new());
            for part in &parts {
                held.extend_from_slice(part);
                let (now, marker) = pieces(&held);
                sent.extend_from_slice(&held.split_to(now));
                sent.extend_from_slice(&held.split_to(marker));
                prop_assert!(held.len() <= MARKER.len() + STATUS_BYTES_MAX);
            }
            sent.extend_from_slice(&held);
            prop_assert_eq!(sent, parts.concat());
        }
    }
}
