//! Standard input of a cage, and further processes in it. Both ends speak lines (`frame.rs`) over the engine's attach and exec.

use super::{
    create::{keep_option, stdio_option},
    engine::Engine,
    frame,
    images::INIT_DIR,
    process,
};
use crate::{Exec, Input, LAST_INPUT_LIMIT, Running, RuntimeError, pass_until};
use bollard::{
    container::AttachContainerResults,
    exec::{StartExecOptions, StartExecResults},
    models::ExecConfig,
    query_parameters::AttachContainerOptionsBuilder,
};
use bytes::Bytes;
use futures_util::StreamExt;
use std::{sync::Arc, time::Duration};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt},
    sync::{mpsc, oneshot},
    task::AbortHandle,
};

/// Pieces of input or output on their way.
const QUEUE: usize = 16;
/// The engine learns of an exit after the output ended; it does not tell.
const EXIT_LIMIT: Duration = Duration::from_secs(10);
const EXIT_LOOK: Duration = Duration::from_millis(20);
/// To a further process's parent in the container: hang it up. Nobody else sends this one.
const HANG_UP: i32 = 34;

/// Opens standard input; the handle cuts it off.
pub async fn attach(engine: &Engine, container: &str) -> Result<(mpsc::Sender<Input>, AbortHandle), RuntimeError> {
    let options = AttachContainerOptionsBuilder::default().stdin(true).stream(true).build();
    let attached = engine.docker()?.attach_container(container, Some(options)).await;
    let AttachContainerResults { mut input, output } = attached.map_err(|e| RuntimeError::Io(format!("attach: {e}")))?;
    // Ends what a former one may have left half-said.
    input.write_all(b"\n").await.map_err(|e| RuntimeError::Io(format!("attach: {e}")))?;
    let (sender, mut receiver) = mpsc::channel(QUEUE);
    let task = tokio::spawn(async move {
        let _open = output; // the connection lives as long as both halves
        while let Some(item) = receiver.recv().await {
            if input.write_all(&frame::encode(&item)).await.is_err() || input.flush().await.is_err() {
                return;
            }
        }
    });
    Ok((sender, task.abort_handle()))
}

/// Starts a further process.
pub async fn exec(engine: &Arc<Engine>, container: &str, exec: Exec) -> Result<Running, RuntimeError> {
    let docker = engine.docker()?;
    let failed = |e: bollard::errors::Error| RuntimeError::Start(format!("exec: {e}"));
    let mut command = vec![format!("{INIT_DIR}/init"), "exec".into(), "--stdio".into(), stdio_option(exec.stdio)];
    command.extend(keep_option(&exec.env));
    command.push("--".into());
    command.extend(exec.argv.clone());
    let config = ExecConfig {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        env: Some(exec.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        cmd: Some(command),
        working_dir: Some(exec.cwd.display().to_string()),
        ..ExecConfig::default()
    };
    let id = docker.create_exec(container, config).await.map_err(failed)?.id;
    let started = docker.start_exec(&id, None::<StartExecOptions>).await.map_err(failed)?;
    let StartExecResults::Attached { output: mut from, input: to } = started else {
        return Err(RuntimeError::Start("exec: the engine attached nothing".into()));
    };
    let (input, queue) = mpsc::channel(QUEUE);
    let (output, receiver) = mpsc::channel(QUEUE);
    let (exit_sender, exit) = oneshot::channel();
    let talk = tokio::spawn(talk(queue, to, output.clone(), hang_up(engine.clone(), id.clone(), container.to_string())));
    let engine = engine.clone();
    tokio::spawn(async move {
        let mut listens = true;
        while let Some(Ok(piece)) = from.next().await {
            listens = listens && output.send(piece.into_bytes()).await.is_ok();
        }
        drop(output);
        let status = status(&engine, &id).await;
        talk.abort();
        if let Some(status) = status {
            let _ = exit_sender.send(status); // nobody may be interested
        }
    });
    Ok(Running { input, output: receiver, exit })
}

/// Passes input on. When both ends were dropped the connection is closed, by which the process is hung up. Where it takes no
/// input, that end may stand behind what is not taken, in whichever buffer: then it is told by `hang_up`. The caller ends this
/// when the process has ended.
async fn talk(
    mut queue: mpsc::Receiver<Input>,
    mut to: impl AsyncWrite + Unpin,
    output: mpsc::Sender<Bytes>,
    hang_up: impl Future<Output = ()>,
) {
    let passing = async {
        while let Some(item) = queue.recv().await {
            if to.write_all(&frame::encode(&item)).await.is_err() || to.flush().await.is_err() {
                return;
            }
        }
    };
    let passed = pass_until(passing, output.closed()).await;
    output.closed().await;
    let _ = to.shutdown().await; // closed is closed
    if passed {
        tokio::time::sleep(LAST_INPUT_LIMIT).await;
    }
    hang_up.await;
}

async fn hang_up(engine: Arc<Engine>, id: String, container: String) {
    let Ok(docker) = engine.docker() else { return };
    let about = docker.inspect_exec(&id).await.ok().filter(|about| about.running == Some(true));
    let pid = about.and_then(|about| about.pid).and_then(|pid| i32::try_from(pid).ok());
    if !pid.is_some_and(|pid| process::send(pid, &container, HANG_UP)) {
        tracing::debug!(%container, "runtime.hang_up: it has ended, or is not on this host");
    }
}

/// Its status, once it has ended; `None` when the cage is gone.
async fn status(engine: &Engine, id: &str) -> Option<i32> {
    let limit = tokio::time::Instant::now() + EXIT_LIMIT;
    loop {
        let about = engine.docker().ok()?.inspect_exec(id).await.ok()?;
        if about.running == Some(false) {
            return about.exit_code.and_then(|code| i32::try_from(code).ok());
        }
        if tokio::time::Instant::now() > limit {
            return None;
        }
        tokio::time::sleep(EXIT_LOOK).await;
    }
}
