//! A push, whichever way it came: the commands before the pack, and `git receive-pack` with the hook.

use crate::{Receiver, pkt, repository};
use bytes::Bytes;
use domain::App;
use futures_util::{Stream, StreamExt};
use service::Ctx;
use std::{io, path::Path, pin::Pin, process::Stdio};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    process::{Child, ChildStdin, ChildStdout},
    sync::mpsc,
};

/// Commands of a push before the pack; more refs than this in one push are refused.
const PREFACE_BYTES_MAX: usize = 4 << 20;
/// Pieces of git's answer that wait for a slow client.
const ANSWER_PIECES: usize = 16;
const OUTPUT_PIECE_BYTES: usize = 16 << 10;
const SHALLOW: &str = "Push rejected, source repository is a shallow clone. Unshallow it with `git fetch --all --unshallow` and try pushing again.\n";

/// What a client sends, as it comes.
pub type Pieces = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Git's answer, as it comes; ends when git has ended.
pub type Answer = mpsc::Receiver<Bytes>;

/// A push that did not come to an answer of git.
pub enum Fault {
    /// What the client sent is no push.
    Client(&'static str),
    /// Git could not be run.
    Internal(String),
}

/// Takes a push. It belongs to tasks of its own, so that a client who goes away does not stop a build.
pub async fn receive(receiver: &Receiver, ctx: Ctx, app: &App, mut pieces: Pieces) -> Result<Answer, Fault> {
    let path = repository::ensure(&receiver.inner.repositories, app.id).await.map_err(Fault::Internal)?;
    let (start, preface) = read_preface(&mut pieces).await.map_err(Fault::Client)?;
    if preface.shallow {
        if preface.has_pack {
            drop_rest(pieces, start.len() as u64, receiver.inner.limits.push_bytes_max).await;
        }
        let (sender, answer) = mpsc::channel(1);
        // The channel is new and has a place.
        let _ = sender.try_send(pkt::refusal(&preface.refs, SHALLOW, "shallow update not allowed").into());
        return Ok(answer);
    }
    let push = receiver.begin(ctx, app.id);
    match spawn(receiver, &path, &push) {
        Ok((child, input, output)) => {
            tokio::spawn(feed(input, start, pieces));
            let (sender, answer) = mpsc::channel(ANSWER_PIECES);
            tokio::spawn(pass_on(receiver.clone(), push, child, output, sender));
            Ok(answer)
        }
        Err(e) => {
            receiver.end(&push);
            Err(Fault::Internal(e.to_string()))
        }
    }
}

/// Reads until the commands are there; the bytes read belong to git.
async fn read_preface(pieces: &mut Pieces) -> Result<(Vec<u8>, pkt::Preface), &'static str> {
    let mut start = Vec::new();
    loop {
        match pkt::preface(&start) {
            Some(Ok(preface)) => return Ok((start, preface)),
            Some(Err(())) => return Err("This is no git push."),
            None if start.len() > PREFACE_BYTES_MAX => return Err("The push names too many refs."),
            None => {}
        }
        match pieces.next().await {
            Some(Ok(piece)) => start.extend_from_slice(&piece),
            Some(Err(_)) | None => return Err("The push was cut."),
        }
    }
}

/// The client reads the answer only after it has sent all.
async fn drop_rest(mut pieces: Pieces, mut bytes: u64, limit: u64) {
    while let Some(Ok(piece)) = pieces.next().await {
        bytes += piece.len() as u64;
        if bytes > limit {
            return;
        }
    }
}

fn spawn(receiver: &Receiver, path: &Path, push: &str) -> io::Result<(Child, ChildStdin, ChildStdout)> {
    let inner = &receiver.inner;
    let mut command = repository::git(&inner.repositories);
    command
        .arg("-c")
        .arg(format!("core.hooksPath={}", inner.hooks.display()))
        .arg("-c")
        .arg(format!("receive.maxInputSize={}", inner.limits.push_bytes_max))
        .args(["-c", "receive.denyDeleteCurrent=ignore", "-c", "receive.fsckObjects=true", "-c", "receive.autogc=false"])
        .args(["receive-pack", "--stateless-rpc"])
        .arg(path)
        .env(crate::hook::SOCKET_VARIABLE, &inner.socket)
        .env(crate::hook::PUSH_VARIABLE, push);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let pipes = child.stdin.take().zip(child.stdout.take());
    let (input, output) = pipes.ok_or_else(|| io::Error::other("no pipes"))?;
    Ok((child, input, output))
}

/// Git may end before it has read everything, for instance at the size limit; the rest is read and dropped, so that the
/// client comes to read the answer.
pub async fn feed(mut input: ChildStdin, start: Vec<u8>, mut pieces: Pieces) {
    let mut taking = input.write_all(&start).await.is_ok();
    while let Some(Ok(piece)) = pieces.next().await {
        taking = taking && input.write_all(&piece).await.is_ok();
    }
}

async fn pass_on(receiver: Receiver, push: String, mut child: Child, mut output: ChildStdout, to: mpsc::Sender<Bytes>) {
    let mut buffer = vec![0u8; OUTPUT_PIECE_BYTES];
    let mut listening = true;
    while let Ok(n) = output.read(&mut buffer).await {
        if n == 0 {
            break;
        }
        listening = listening && to.send(Bytes::copy_from_slice(&buffer[..n])).await.is_ok();
    }
    let _ = child.wait().await; // its report is in its output
    receiver.end(&push);
}
