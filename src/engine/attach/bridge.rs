//! Bytes both ways between a client and a process.

use super::{Client, Pieces};
use bytes::Bytes;
use domain::limits::RENDEZVOUS_IDLE_MS;
use runtime::Input;
use std::{
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

/// Connects the two until one ends, or both are silent for an hour.
pub async fn connect(
    client: Client,
    terminal: bool,
    input: mpsc::Sender<Input>,
    mut output: Output,
    exit: &mut oneshot::Receiver<i32>,
) -> Parted {
    let (mut incoming, mut outgoing) = client.split(terminal);
    let active = watch::channel(Instant::now()).0;
    let ended = AtomicBool::new(false);
    let to_process = async {
        while let Some(message) = incoming.next().await {
            active.send_replace(Instant::now());
            // A process that takes no input any more may still have something to say.
            let _ = input.send(message).await;
        }
    };
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
        () = to_process => false,
        () = silence => false,
    };
    if sent_all {
        // Closing with something unread would throw away what the client has not read yet.
        tokio::spawn(tokio::time::timeout(CLOSE_LIMIT, async move { while incoming.next().await.is_some() {} }));
    }
    if ended.load(Ordering::Relaxed) { Parted::ProcessEnded } else { Parted::ClientGone }
}
