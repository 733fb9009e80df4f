//! Talking to a remote process: standard input there, its output here, sizes of the terminal, and its exit code
//! ([`wire::attach`]).

use crate::{
    failure::{Failure, Result},
    tls::pinned,
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr};
use rustls::pki_types::ServerName;
use serde_json::{Map, Value, json};
use std::{
    io::{IsTerminal, Read, Write},
    sync::Arc,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::TcpStream,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_rustls::TlsConnector;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};
use wire::attach::{FRAME_BYTES_MAX, FRAMES, ToClient, ToProcess};

/// Exit code after the second Ctrl-C.
const INTERRUPTED: i32 = 130;
const TERMINATED: i32 = 143;
const HUNG_UP: i32 = 129;
const SIGINT: i32 = 2;

/// The local terminal, if it is to be used.
pub struct Terminal {
    used: bool,
}

impl Terminal {
    /// It is used when both ends are terminals; else there are pipes, which end and keep bytes as they are.
    pub fn find(no_tty: bool) -> Self {
        Self { used: !no_tty && std::io::stdin().is_terminal() && std::io::stdout().is_terminal() }
    }

    /// Is the remote process to have one?
    pub fn is_used(&self) -> bool {
        self.used
    }

    fn size(&self) -> Option<Winsize> {
        tcgetwinsize(std::io::stdout()).ok().filter(|_| self.used)
    }

    /// What the remote process should know.
    pub fn variables(&self) -> Map<String, Value> {
        let mut all = Map::new();
        if let Some(size) = self.size() {
            all.insert("LINES".into(), json!(size.ws_row));
            all.insert("COLUMNS".into(), json!(size.ws_col));
            all.insert("TERM".into(), json!(std::env::var("TERM").unwrap_or_else(|_| "xterm".into())));
        }
        all
    }

    /// Every key goes to the other side until this is dropped.
    fn raw(&self) -> Option<Raw> {
        let before = tcgetattr(std::io::stdin()).ok().filter(|_| self.used)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Now, &raw).ok()?;
        Some(Raw { before })
    }
}

struct Raw {
    before: Termios,
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.before); // a terminal that is gone needs none
    }
}

/// Connects and stays to the end; gives the exit code.
pub fn talk(address: &str, secret: &str, certificate: &str, terminal: Terminal) -> Result<i32> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| Failure::failed(e.to_string()))?;
    runtime.block_on(connected(address, secret, certificate, terminal))
}

async fn connected(address: &str, secret: &str, certificate: &str, terminal: Terminal) -> Result<i32> {
    let lost = |e: std::io::Error| Failure::unreachable(format!("Can not attach at {address}: {e}"));
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).to_string();
    let name = ServerName::try_from(host).map_err(|e| Failure::failed(format!("{address}: {e}")))?;
    let config = pinned(certificate).map_err(|e| Failure::failed(e.to_string()))?;
    let stream = TcpStream::connect(address).await.map_err(lost)?;
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.map_err(lost)?;
    stream.write_all(format!("{secret}?{FRAMES}\r\n").as_bytes()).await.map_err(lost)?;
    let (reader, writer) = tokio::io::split(stream);
    let mut reader = BufReader::new(reader);
    let mut banner = String::new();
    if reader.read_line(&mut banner).await.map_err(lost)? == 0 {
        return Err(Failure::failed("The server closed the connection; the dyno waited for 30 seconds only."));
    }
    let codec = || LengthDelimitedCodec::builder().max_frame_length(FRAME_BYTES_MAX).new_codec();
    let (mut frames, mut out) = (FramedRead::new(reader, codec()), FramedWrite::new(writer, codec()));
    // A task of its own: while the process takes no input, its output must still be read, or neither would ever go on.
    let (to_server, mut queue) = mpsc::channel::<ToProcess>(4);
    tokio::spawn(async move {
        while let Some(message) = queue.recv().await {
            if out.send(message.encode()).await.is_err() {
                return; // the last frames tell why
            }
        }
    });
    let raw = terminal.raw();
    let mut input = keyboard();
    let failed = |e: std::io::Error| Failure::failed(e.to_string());
    let mut sizes = signal(SignalKind::window_change()).map_err(failed)?;
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    // The terminal must not be left raw.
    let mut endings = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hang_ups = signal(SignalKind::hangup()).map_err(failed)?;
    let mut interrupted = false;
    let ended = loop {
        let message = tokio::select! {
            frame = frames.next() => match frame {
                Some(Ok(frame)) => match ToClient::decode(frame.freeze()) {
                    Some(ToClient::Output(bytes)) => {
                        show(&bytes)?;
                        continue;
                    }
                    Some(ToClient::Exit(status)) => break Ok(status),
                    None => continue, // of a newer server
                },
                Some(Err(e)) => break Err(lost(e)),
                None => break Err(Failure::unreachable("The connection was lost; the process may go on.")),
            },
            // What was typed stays where it is until there is room for it.
            Some(message) = typed(&mut input, &to_server) => message,
            Some(()) = sizes.recv() => match terminal.size() {
                Some(size) => ToProcess::Resize { rows: size.ws_row, columns: size.ws_col },
                None => continue,
            },
            Some(()) = endings.recv() => break Ok(TERMINATED),
            Some(()) = hang_ups.recv() => break Ok(HUNG_UP),
            Some(()) = interrupts.recv() => {
                if std::mem::replace(&mut interrupted, true) {
                    break Ok(INTERRUPTED);
                }
                ToProcess::Signal(SIGINT)
            }
        };
        // A size that finds no room is followed by the next one; input was only taken when there was room.
        let _ = to_server.try_send(message);
    };
    drop(raw);
    ended
}

/// The next input, once there is room on the way to the server. When that way is closed, there is none.
async fn typed(input: &mut mpsc::Receiver<ToProcess>, to_server: &mpsc::Sender<ToProcess>) -> Option<ToProcess> {
    let _room = to_server.reserve().await.ok()?;
    input.recv().await
}

/// A thread of its own, since reading a terminal can not be given up. It ends with the program.
fn keyboard() -> mpsc::Receiver<ToProcess> {
    let (sender, receiver) = mpsc::channel(4);
    std::thread::spawn(move || {
        let mut buffer = [0u8; 16 << 10];
        loop {
            let message = match std::io::stdin().lock().read(&mut buffer) {
                Ok(0) | Err(_) => ToProcess::End,
                Ok(n) => ToProcess::Input(Bytes::copy_from_slice(&buffer[..n])),
            };
            let end = message == ToProcess::End;
            if sender.blocking_send(message).is_err() || end {
                return;
            }
        }
    });
    receiver
}

/// A reader of ours that has gone is no failure of the process, but nobody is left to show it to.
fn show(bytes: &[u8]) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = out.write_all(bytes).and_then(|()| out.flush());
    written.map_err(|_| Failure::silent(141))
}
