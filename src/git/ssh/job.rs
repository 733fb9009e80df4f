//! The request of one channel: git, or a refusal.

use super::{command::Command, guard::Phase};
use crate::{
    Receiver, admission,
    receive::{Fault, Pieces, feed, receive},
    repository,
};
use bytes::Bytes;
use domain::App;
use russh::{Channel, ChannelMsg, ChannelReadHalf, ChannelWriteHalf, server::Msg};
use service::Ctx;
use std::{process::Stdio, sync::Arc};
use tokio::{io::AsyncReadExt, sync::watch};

/// A fetch whose client says nothing for so many seconds is ended by git.
const FETCH_SILENCE_S: &str = "--timeout=600";
const PIECE_BYTES: usize = 32 << 10;
/// Code of text on the client's standard error.
const STDERR: u32 = 1;

/// What is asked for.
pub enum Ask {
    /// A push or a fetch.
    Git(Command),
    /// An interactive shell.
    Shell,
    /// Anything else.
    Other,
}

/// Somebody's request in progress.
pub struct Job {
    receiver: Receiver,
    /// `None` when the key was removed since the sign-in.
    ctx: Option<Ctx>,
    protocol: Option<String>,
    phase: Arc<watch::Sender<Phase>>,
}

/// How it ended: an exit status, and what is to be said on standard error.
struct End(u32, String);

impl Drop for Job {
    fn drop(&mut self) {
        self.phase.send_modify(|phase| phase.running -= 1);
    }
}

impl Job {
    pub fn new(receiver: Receiver, ctx: Option<Ctx>, protocol: Option<String>, phase: Arc<watch::Sender<Phase>>) -> Self {
        phase.send_modify(|phase| phase.running += 1);
        Self { receiver, ctx, protocol, phase }
    }

    /// Does it, tells the end, and closes the channel. When the connection ends first, nobody is left to be told; a
    /// build that was begun goes on.
    pub async fn run(self, channel: Channel<Msg>, ask: Ask) {
        let (read, write) = channel.split();
        let mut phases = self.phase.subscribe();
        let told = async {
            let End(status, text) = self.serve(read, &write, ask).await;
            // The client may be gone by now.
            let _ = write.extended_data_bytes(STDERR, text.into_bytes()).await;
            let _ = write.exit_status(status).await;
            let _ = write.eof().await;
            let _ = write.close().await;
        };
        tokio::select! {
            () = told => {}
            _ = phases.wait_for(|phase| phase.over) => {}
        }
    }

    async fn serve(&self, read: ChannelReadHalf, write: &ChannelWriteHalf<Msg>, ask: Ask) -> End {
        let Some(ctx) = self.ctx.clone() else {
            return End(1, "This key was removed from its account.\n".into());
        };
        let (repo, writes) = match &ask {
            Ask::Git(Command::Receive(repo)) => (repo, true),
            Ask::Git(Command::Upload(repo)) => (repo, false),
            Ask::Shell => {
                return End(1, format!("Hi {}, you are signed in; Tidemill does not give shells.\n", ctx.email()));
            }
            Ask::Other => return End(1, "Only git push, fetch and clone are served here.\n".into()),
        };
        let app = match admission::app(&self.receiver, &ctx, repo, writes) {
            Ok(app) => app,
            Err(refusal) => return End(1, refusal.text),
        };
        let input = pieces(read);
        let done = if writes { self.push(ctx, &app, input, write).await } else { self.fetch(&app, input, write).await };
        done.unwrap_or_else(|fault| match fault {
            Fault::Client(text) => End(1, format!("!\t{text}\n")),
            Fault::Internal(reason) => {
                tracing::error!(%reason, "git.failed");
                End(1, "!\tThe platform could not run git; it was logged.\n".into())
            }
        })
    }

    /// The two halves of a push over HTTP, one after the other.
    async fn push(&self, ctx: Ctx, app: &App, input: Pieces, write: &ChannelWriteHalf<Msg>) -> Result<End, Fault> {
        let dir = &self.receiver.inner.repositories;
        let offer = repository::advertise(dir, app.id, "receive-pack", self.protocol.as_deref()).await;
        let _ = write.data_bytes(offer.map_err(Fault::Internal)?).await; // a client who left sends no commands
        let mut answer = receive(&self.receiver, ctx, app, input).await?;
        while let Some(piece) = answer.recv().await {
            if write.data_bytes(piece).await.is_err() {
                break;
            }
        }
        Ok(End(0, String::new())) // git's report has told what became of the refs
    }

    async fn fetch(&self, app: &App, input: Pieces, write: &ChannelWriteHalf<Msg>) -> Result<End, Fault> {
        let dir = &self.receiver.inner.repositories;
        let path = repository::ensure(dir, app.id).await.map_err(Fault::Internal)?;
        let mut command = repository::git(dir);
        repository::protocol(&mut command, self.protocol.as_deref());
        command.args(["upload-pack", FETCH_SILENCE_S]).arg(path).kill_on_drop(true);
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let mut child = spawned.map_err(|e| Fault::Internal(e.to_string()))?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (stdin, mut stdout) = pipes.ok_or_else(|| Fault::Internal("no pipes".into()))?;
        tokio::spawn(feed(stdin, Vec::new(), input));
        let mut buffer = vec![0u8; PIECE_BYTES];
        loop {
            let n = stdout.read(&mut buffer).await.map_err(|e| Fault::Internal(e.to_string()))?;
            if n == 0 || write.data_bytes(Bytes::copy_from_slice(&buffer[..n])).await.is_err() {
                break;
            }
        }
        drop(stdout); // of a client who left: git ends at its next word
        let status = child.wait().await.map_err(|e| Fault::Internal(e.to_string()))?;
        Ok(End(status.code().map_or(1, i32::unsigned_abs), String::new()))
    }
}

/// What the client sends on a channel, until it has sent all or is gone.
fn pieces(read: ChannelReadHalf) -> Pieces {
    Box::pin(futures_util::stream::unfold(read, |mut read| async move {
        loop {
            match read.wait().await? {
                ChannelMsg::Data { data } => return Some((Ok(data), read)),
                ChannelMsg::Eof | ChannelMsg::Close => return None,
                _ => {} // requests; the visitor has answered them
            }
        }
    }))
}
