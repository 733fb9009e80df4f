//! Bytes both ways between a client and a process.

use super::{Client, Pieces, client::Incoming};
use bytes::Bytes;
use domain::limits::RENDEZVOUS_IDLE_MS;
use router::HangUp;
use runtime::Input;
use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

/// A client closes its end within this time after ours was.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

/// Input that may wait for a process which does not read. A client that leaves behind it is noticed by the way.
const AHEAD_BYTES_MAX: usize = 256 << 10;
/// What a message counts besides its bytes, so that empty ones have an end too.
const MESSAGE_BYTES: usize = 64;
/// How long a process may take what its client said before it left.
const LAST_INPUT_LIMIT: Duration = Duration::from_secs(1);

/// Where output comes from.
pub enum Output {
    /// A dyno's main process; what the client has got is safe.
    Dyno {
        /// Its output.
        pieces: Pieces,
        /// Where to tell.
        safe: Arc<watch::Sender<u64>>,
    },
    /// A further process.
    Process(mpsc::Receiver<Bytes>),
}

/// Who ended it.
pub enum Parted {
    /// The process, and the client has got everything.
    ProcessEnded,
    /// The client.
    ClientGone,
}

impl Output {
    /// The next piece, with what is to be told once it is delivered.
    async fn next(&mut self) -> Option<(Bytes, Option<u64>)> {
        match self {
            Self::Dyno { pieces, .. } => pieces.recv().await.map(|(end, bytes)| (bytes, Some(end))),
            Self::Process(pieces) => pieces.recv().await.map(|bytes| (bytes, None)),
        }
    }

    fn delivered(&self, end: Option<u64>) {
        if let (Self::Dyno { safe, .. }, Some(end)) = (self, end) {
            safe.send_replace(end);
        }
    }
}

/// Passes input on until the client is gone, also when the process takes none.
async fn pass_on(incoming: &mut Incoming, hang_up: &HangUp, input: mpsc::Sender<Input>, active: &watch::Sender<Instant>) {
    let (mut ahead, mut bytes) = (VecDeque::new(), 0);
    let size = |message: &Input| MESSAGE_BYTES + if let Input::Bytes(bytes) = message { bytes.len() } else { 0 };
    loop {
        let full = bytes >= AHEAD_BYTES_MAX;
        tokio::select! {
            message = incoming.next(), if !full => {
                let Some(message) = message else { break };
                active.send_replace(Instant::now());
                // A process that takes no input any more may still have something to say.
                if !input.is_closed() {
                    bytes += size(&message);
                    ahead.push_back(message);
                }
            }
            () = hang_up.happened(), if full => break,
            permit = input.reserve(), if !ahead.is_empty() => {
                let message = ahead.pop_front();
                bytes -= message.as_ref().map_or(0, size);
                if let (Ok(permit), Some(message)) = (permit, message) {
                    permit.send(message);
                }
            }
        }
    }
    let rest = async {
        for message in ahead {
            let _ = input.send(message).await; // ended: nobody wants it
        }
    };
    let _ = tokio::time::timeout(LAST_INPUT_LIMIT, rest).await; // it takes none
}

/// Connects the two until one ends, or both are silent for an hour.
pub async fn connect(
    client: Client,
    terminal: bool,
    input: mpsc::Sender<Input>,
    mut output: Output,
    exit: &mut oneshot::Receiver<i32>,
) -> Parted {
    let (mut incoming, mut outgoing, hang_up) = client.split(terminal);
    let active = watch::channel(Instant::now()).0;
    let ended = AtomicBool::new(false);
    let to_client = async {
        while let Some((piece, end)) = output.next().await {
            active.send_replace(Instant::now());
            outgoing.output(piece).await?;
            output.delivered(end);
        }
        // Without a word the cage was lost, which counts as killed.
        let status = (&mut *exit).await.unwrap_or(137);
        ended.store(true, Ordering::Relaxed);
        outgoing.finish(status).await
    };
    let silence = async {
        let limit = Duration::from_millis(RENDEZVOUS_IDLE_MS);
        loop {
            let until = *active.borrow() + limit;
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    };
    let sent_all = tokio::select! {
        sent = to_client => sent.is_ok(),
        () = pass_on(&mut incoming, &hang_up, input, &active) => false,
        () = silence => false,
    };
    if sent_all {
        // Closing with something unread would throw away what the client has not read yet.
        tokio::spawn(tokio::time::timeout(CLOSE_LIMIT, async move { while incoming.next().await.is_some() {} }));
    }
    if ended.load(Ordering::Relaxed) { Parted::ProcessEnded } else { Parted::ClientGone }
}
