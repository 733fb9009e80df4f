//! Attached processes: a client and a process are connected until one of them ends (`runtime.md` section 13).
//!
//! ```text
//! row, secret -> "Awaiting client" -> client comes (or R13) -> cage -> bytes both ways -> exit told, connection closed
//!                                                           -> client goes -> SIGHUP every 5 s -> R16
//! ```

mod bridge;
mod client;
mod meetings;

pub use client::Client;
pub use meetings::Meetings;

use crate::{Engine, dynos, environment, rows, sinks::DynoSink};
use bridge::{Output, Parted, connect};
use domain::{Attach, Dyno, DynoId};
use meetings::Arrival;
use router::Caller;
use runtime::{Exec, Input, Stdio, Window};
use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};
use store::{ReadRows, tables};
use tokio::{
    io::AsyncWriteExt,
    sync::{mpsc, oneshot},
};

/// Between SIGHUPs to a process whose client has gone, and how many there are before R16.
const HANG_UP_EVERY: Duration = Duration::from_secs(5);
const HANG_UPS: u32 = 3;
/// Its number on every Linux.
const SIGHUP: i32 = 1;

/// Pieces of output with their end offsets, on their way to a client.
pub type Pieces = mpsc::UnboundedReceiver<(u64, bytes::Bytes)>;

/// The runtime's word for it.
pub fn stdio(attach: Option<Attach>) -> Stdio {
    match attach {
        None => Stdio::Log,
        Some(Attach::Pipes) => Stdio::Pipes,
        Some(Attach::Terminal { rows, columns }) => Stdio::Terminal(Window { rows, columns }),
    }
}

impl Engine {
    /// Somebody came with a line: a secret and what follows it. Wrong ones are sent away without a word.
    pub async fn meet(&self, caller: Caller) {
        let Caller { line, mut stream, hang_up } = caller;
        let (secret, query) = line.split_once('?').unwrap_or((&line, ""));
        let Some(arrival) = self.shared.parts.meetings.arrive(secret) else {
            tracing::debug!("engine.attach_refused: an unknown or used secret");
            return;
        };
        // A record of its own: the official client throws the first one away, whatever it holds.
        let greeted = async {
            stream.write_all(wire::attach::BANNER.as_bytes()).await?;
            stream.flush().await
        };
        if let Err(e) = greeted.await {
            tracing::debug!(error = %e, "engine.attach_lost"); // its dyno says R13
            return;
        }
        let client = Client::new(stream, hang_up, query.split('&').any(|part| part == wire::attach::FRAMES));
        match arrival {
            Arrival::Dyno(waiting) => drop(waiting.send(client)), // too late: closed, and R13 was said
            Arrival::Inside { dyno, command, env, attach } => {
                if let Err(reason) = self.run_inside(client, dyno, &command, env, attach).await {
                    tracing::info!(%dyno, %reason, "engine.inside_failed");
                }
            }
        }
    }

    /// A further process in a running dyno, until it or its client ends. Dropping our ends hangs it up.
    async fn run_inside(
        &self,
        client: Client,
        id: DynoId,
        command: &str,
        extra: BTreeMap<String, String>,
        attach: Attach,
    ) -> Result<(), String> {
        let parts = &self.shared.parts;
        let dyno = parts.store.get(&tables::DYNOS, &id).map_err(|e| e.to_string())?.ok_or("the dyno is gone")?;
        let mut env = dynos::variables(self, &dyno).map_err(|e| e.to_string())?;
        env.extend(extra);
        env.insert("DYNO".into(), dyno.name());
        let slug = rows::slug_of(&parts.store, dyno.app, dyno.release).map_err(|e| e.to_string())?;
        let (argv, cwd) = match slug.filter(|slug| !slug.images.is_empty()) {
            Some(_) => (environment::argv_in_image(command), PathBuf::from("/")),
            None => (environment::argv(command), PathBuf::from("/app")),
        };
        let exec = Exec { argv, env, cwd, stdio: stdio(Some(attach)) };
        let started = parts.runtime.exec(id, exec).await;
        let running = match started {
            Ok(running) => running,
            Err(e) => {
                client.refuse(&format!("The process could not be started: {e}")).await;
                return Err(e.to_string());
            }
        };
        let mut exit = running.exit;
        connect(client, attach != Attach::Pipes, running.input, Output::Process(running.output), &mut exit).await;
        Ok(())
    }
}

/// An attached one-off dyno and its client.
pub struct Attached {
    /// Tells the client's task how the process ended.
    pub exit: oneshot::Sender<i32>,
    /// Ends when the client has got everything, or is gone.
    pub task: tokio::task::JoinHandle<()>,
}

/// Connects a dyno that was just started with its client, or with nobody after a restart of the daemon.
pub fn serve(engine: &Engine, dyno: &Dyno, sink: Arc<DynoSink>, client: Option<(Client, Pieces)>) -> Attached {
    let (exit, mut exited) = oneshot::channel();
    let (engine, dyno) = (engine.clone(), dyno.clone());
    let task = tokio::spawn(async move {
        let parted = match client {
            Some((client, pieces)) => talk(&engine, &dyno, &sink, client, pieces, &mut exited).await,
            None => Parted::ClientGone,
        };
        if matches!(parted, Parted::ClientGone) {
            sink.client_gone();
            hang_up(&engine, dyno.id, &sink, exited).await;
        }
    });
    Attached { exit, task }
}

async fn talk(
    engine: &Engine,
    dyno: &Dyno,
    sink: &DynoSink,
    client: Client,
    pieces: Pieces,
    exited: &mut oneshot::Receiver<i32>,
) -> Parted {
    let input: mpsc::Sender<Input> = match engine.shared.parts.runtime.attach(dyno.id).await {
        Ok(input) => input,
        Err(e) => {
            // One that ended at once has output and a status all the same.
            tracing::debug!(error = %e, dyno = %dyno.id, "engine.no_input");
            mpsc::channel(1).0
        }
    };
    let output = Output::Dyno { pieces, safe: sink.safe_offset() };
    connect(client, dyno.attach != Some(Attach::Pipes), input, output, exited).await
}

/// The client is gone: the process is told, and may go on (`runtime.md` section 13).
async fn hang_up(engine: &Engine, id: DynoId, sink: &DynoSink, mut exited: oneshot::Receiver<i32>) {
    sink.platform("Client connection closed. Sending SIGHUP to all processes");
    for _ in 0..HANG_UPS {
        let _ = engine.shared.parts.runtime.signal(id, SIGHUP).await; // ended by itself is as good
        if tokio::time::timeout(HANG_UP_EVERY, &mut exited).await.is_ok() {
            return;
        }
    }
    sink.platform(
        "Error R16 (Detached) -> An attached process is not responding to SIGHUP after its external connection was closed.",
    );
}
