//! The daemon's end of the socket to a holder.

use super::proto::{self, Decoder};
use crate::{Exit, Sink};
use std::{
    fs::{self, File},
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
};

/// What can be asked of a holder.
#[derive(Debug, Clone, Copy)]
pub enum Command {
    Signal(i32),
    Stop { grace_ms: u64 },
    Collect,
}

/// A connected holder.
pub struct Live {
    commands: mpsc::Sender<Command>,
    exit: watch::Receiver<Option<Exit>>,
}

impl Live {
    /// Hands a command over; a holder that is gone needs none.
    pub async fn send(&self, command: Command) {
        let _ = self.commands.send(command).await;
    }

    /// Waits until the holder has closed the connection, which it does when it was told to go.
    pub async fn gone(&self) {
        self.commands.closed().await;
    }

    /// The end, if it has come.
    pub fn ended(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    /// Waits for the end.
    pub async fn exit(&self) -> Exit {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await.ok().and_then(|e| e.clone());
        ended.unwrap_or_else(|| lost("its connection task ended"))
    }
}

fn lost(why: &str) -> Exit {
    Exit { status: 137, oom: false, platform_error: Some(format!("the holder was lost: {why}")) }
}

/// Connects, greets, and starts serving.
pub async fn open(dir: &Path, sink: Arc<dyn Sink>) -> std::io::Result<Arc<Live>> {
    let stream = match connect_control(dir).await {
        Ok(stream) => Some(stream),
        // The holder is gone but wrote down how the dyno ended.
        Err(e) if dir.join(proto::EXIT_FILE).exists() => {
            tracing::debug!(error = %e, dir = %dir.display(), "runtime.exit_record: found");
            None
        }
        Err(e) => return Err(e),
    };
    let (commands, queue) = mpsc::channel(16);
    let (exit_sender, exit) = watch::channel(None);
    let task = Serve { dir: dir.to_path_buf(), sink, exit: exit_sender };
    tokio::spawn(task.run(stream, queue));
    Ok(Arc::new(Live { commands, exit }))
}

/// Through `/proc/self/fd`, because the path of a unix socket is limited to 108 bytes.
pub async fn connect(dir: &Path) -> std::io::Result<UnixStream> {
    let handle = File::open(dir)?;
    UnixStream::connect(format!("/proc/self/fd/{}/{}", handle.as_raw_fd(), proto::SOCKET)).await
}

/// As the daemon.
async fn connect_control(dir: &Path) -> std::io::Result<UnixStream> {
    let mut stream = connect(dir).await?;
    let mut hello = Vec::new();
    proto::push(&mut hello, proto::HELLO, &[&proto::VERSION.to_le_bytes()]);
    stream.write_all(&hello).await?;
    Ok(stream)
}

/// Waits for the next offset that is safe; for ever when the sink tells none.
async fn changed(stored: Option<&mut watch::Receiver<u64>>) -> u64 {
    if let Some(stored) = stored
        && stored.changed().await.is_ok()
    {
        return *stored.borrow_and_update();
    }
    std::future::pending().await
}

struct Serve {
    dir: PathBuf,
    sink: Arc<dyn Sink>,
    exit: watch::Sender<Option<Exit>>,
}

impl Serve {
    async fn run(self, stream: Option<UnixStream>, mut queue: mpsc::Receiver<Command>) {
        let why = match stream {
            Some(stream) => {
                let (reader, writer) = stream.into_split();
                self.serve(reader, writer, &mut queue).await
            }
            None => "it had ended before".into(),
        };
        if self.exit.borrow().is_none() {
            let recorded = fs::read(self.dir.join(proto::EXIT_FILE)).ok().and_then(|b| serde_json::from_slice(&b).ok());
            self.exit.send_replace(Some(recorded.unwrap_or_else(|| lost(&why))));
        }
        queue.close(); // nothing is left to command; see `Live::gone`
    }

    /// Returns why it ended.
    async fn serve(
        &self,
        mut reader: OwnedReadHalf,
        mut writer: OwnedWriteHalf,
        queue: &mut mpsc::Receiver<Command>,
    ) -> String {
        let mut decoder = Decoder::default();
        let mut buffer = vec![0u8; 64 << 10];
        let mut stored = self.sink.safe();
        loop {
            let mut answer = Vec::new();
            let mut safe = None;
            tokio::select! {
                offset = changed(stored.as_mut()) => safe = Some(offset),
                read = reader.read(&mut buffer) => match read {
                    Ok(0) => return "it closed the connection".into(),
                    Ok(n) => decoder.feed(&buffer[..n]),
                    Err(e) => return e.to_string(),
                },
                command = queue.recv() => match command {
                    Some(Command::Signal(number)) => proto::push(&mut answer, proto::SIGNAL, &[&number.to_le_bytes()]),
                    Some(Command::Stop { grace_ms }) => proto::push(&mut answer, proto::STOP, &[&grace_ms.to_le_bytes()]),
                    Some(Command::Collect) => proto::push(&mut answer, proto::COLLECT, &[]),
                    None => return "the daemon let go".into(),
                },
            }
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => {
                        let end = self.frame(&frame);
                        safe = end.filter(|_| stored.is_none()).or(safe);
                    }
                    Ok(None) => break,
                    Err(e) => return e,
                }
            }
            if let Some(offset) = safe {
                proto::push(&mut answer, proto::ACK, &[&offset.to_le_bytes()]);
            }
            if !answer.is_empty() && writer.write_all(&answer).await.is_err() {
                return "it takes no commands".into();
            }
        }
    }

    /// Handles one frame; gives the offset up to which output has come.
    fn frame(&self, frame: &proto::Frame) -> Option<u64> {
        match frame.kind {
            proto::LOG => {
                let (offset, rest) = (proto::number(&frame.payload)?, frame.payload.get(8..)?);
                let (time_us, bytes) = (proto::number(rest)?, rest.get(8..)?);
                let end = offset + bytes.len() as u64;
                self.sink.output(end, time_us, bytes);
                return Some(end);
            }
            proto::DROPPED => self.sink.dropped(proto::number(&frame.payload)?),
            proto::GRACE_OVER => self.sink.grace_over(),
            proto::EXIT => {
                let exit = serde_json::from_slice(&frame.payload).unwrap_or_else(|e| lost(&format!("exit record: {e}")));
                self.exit.send_replace(Some(exit));
            }
            _ => {}
        }
        None
    }
}
