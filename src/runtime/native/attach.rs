//! Hands on a process in a cage: input for the main one, and further processes. Each has a connection to the holder of its
//! own, so that a process which does not read holds up nobody else.

use super::{
    connection::connect,
    proto::{self, Decoder},
};
use crate::{Exec, Input, Running, RuntimeError, pass_until};
use bytes::Bytes;
use std::path::Path;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, oneshot},
};

/// Messages on their way in either direction.
const QUEUE: usize = 16;
/// Input is cut into frames of at most this size.
const INPUT_BYTES_MAX: usize = 16 << 10;

fn io(e: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Io(format!("holder: {e}"))
}

/// Opens the input of the main process.
pub async fn input(dir: &Path) -> Result<mpsc::Sender<Input>, RuntimeError> {
    let mut stream = connect(dir).await.map_err(io)?;
    greet(&mut stream, proto::STDIN, &[]).await?;
    let (mut reader, writer) = stream.into_split();
    let (sender, queue) = mpsc::channel(QUEUE);
    tokio::spawn(async move {
        // The holder says nothing here; it closes when the cage ends or somebody else took over.
        let closed = async move { reader.read(&mut [0u8; 1]).await };
        tokio::select! {
            () = write_input(writer, queue) => {}
            _ = closed => {}
        }
    });
    Ok(sender)
}

/// Starts a further process.
pub async fn start(dir: &Path, exec: &Exec) -> Result<Running, RuntimeError> {
    let mut stream = connect(dir).await.map_err(io)?;
    greet(&mut stream, proto::EXEC, &serde_json::to_vec(exec).map_err(io)?).await?;
    let (mut reader, writer) = stream.into_split();
    let mut decoder = Decoder::default();
    match next(&mut reader, &mut decoder).await {
        Some(frame) if frame.kind == proto::STARTED => {}
        Some(frame) => return Err(RuntimeError::Start(String::from_utf8_lossy(&frame.payload).into_owned())),
        None => return Err(io("it closed the connection")),
    }
    let (input, queue) = mpsc::channel(QUEUE);
    let (output_sender, output) = mpsc::channel(QUEUE);
    let (exit_sender, exit) = oneshot::channel();
    tokio::spawn(async move {
        // The two halves end together: the holder hangs the process up when the connection is closed.
        let gone = output_sender.clone();
        let reading = read_output(reader, decoder, output_sender, exit_sender);
        let writing = async {
            pass_until(write_input(writer, queue), gone.closed()).await;
            gone.closed().await;
        };
        tokio::select! {
            () = reading => {}
            () = writing => {}
        }
    });
    Ok(Running { input, output, exit })
}

async fn greet(stream: &mut UnixStream, kind: u8, payload: &[u8]) -> Result<(), RuntimeError> {
    let mut hello = Vec::new();
    proto::push(&mut hello, kind, &[payload]);
    stream.write_all(&hello).await.map_err(io)
}

async fn next(reader: &mut OwnedReadHalf, decoder: &mut Decoder) -> Option<proto::Frame> {
    let mut buffer = [0u8; 16 << 10];
    loop {
        if let Some(frame) = decoder.next_frame().ok()? {
            return Some(frame);
        }
        match reader.read(&mut buffer).await {
            Ok(n) if n > 0 => decoder.feed(&buffer[..n]),
            _ => return None,
        }
    }
}

async fn read_output(mut reader: OwnedReadHalf, mut decoder: Decoder, output: mpsc::Sender<Bytes>, exit: oneshot::Sender<i32>) {
    while let Some(frame) = next(&mut reader, &mut decoder).await {
        if frame.kind == proto::EXITED {
            drop(output);
            // Nobody waiting for it is no failure.
            let _ = exit.send(frame.payload.first_chunk::<4>().map_or(137, |b| i32::from_le_bytes(*b)));
            return;
        }
        if frame.kind == proto::OUTPUT && output.send(frame.payload.into()).await.is_err() {
            return; // nobody listens any more
        }
    }
}

/// Until the queue or the connection is closed.
async fn write_input(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<Input>) {
    while let Some(input) = queue.recv().await {
        let mut frames = Vec::new();
        match input {
            Input::Bytes(bytes) => {
                bytes.chunks(INPUT_BYTES_MAX).for_each(|chunk| proto::push(&mut frames, proto::INPUT, &[chunk]));
            }
            Input::End => proto::push(&mut frames, proto::END, &[]),
            Input::Resize(window) => {
                proto::push(&mut frames, proto::RESIZE, &[&window.rows.to_le_bytes(), &window.columns.to_le_bytes()]);
            }
            Input::Signal(number) => proto::push(&mut frames, proto::SIGNAL, &[&number.to_le_bytes()]),
        }
        if writer.write_all(&frames).await.is_err() {
            return;
        }
    }
}
