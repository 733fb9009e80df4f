//! Frames on a stream (`logs.md` section 6). A frame is written whole or the connection is thrown away.

use super::connect::{Failure, Stream, Trust};
use domain::drain::DrainUrl;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, WriteHalf},
    task::AbortHandle,
    time::{Instant, timeout},
};

/// For one write.
const SEND_LIMIT: Duration = Duration::from_secs(4);
/// No connection lives longer.
const LIFE: Duration = Duration::from_secs(5 * 3600);

pub(super) struct SyslogSender {
    url: DrainUrl,
    connection: Option<Connection>,
}

struct Connection {
    writer: WriteHalf<Box<dyn Stream>>,
    born: Instant,
    /// The peer said that it is done.
    ended: Arc<AtomicBool>,
    reading: AbortHandle,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl SyslogSender {
    pub(super) fn new(url: DrainUrl) -> Self {
        Self { url, connection: None }
    }

    pub(super) fn close(&mut self) {
        self.connection = None;
    }

    pub(super) async fn send(&mut self, trust: &Trust, frames: &[u8]) -> Result<(), Failure> {
        let kept = self.connection.take().filter(|c| !c.ended.load(Ordering::Relaxed) && c.born.elapsed() < LIFE);
        let mut connection = match kept {
            Some(connection) => connection,
            None => open(trust.connect(&self.url).await?),
        };
        let written = timeout(SEND_LIMIT, async {
            connection.writer.write_all(frames).await?;
            connection.writer.flush().await
        });
        match written.await {
            Ok(Ok(())) => {
                self.connection = Some(connection);
                Ok(())
            }
            Ok(Err(e)) => Err(Failure::Away(format!("write: {e}"))),
            Err(_) => Err(Failure::Away(format!("nothing was taken for {} s", SEND_LIMIT.as_secs()))),
        }
    }
}

/// What the peer says is read and ignored.
fn open(stream: Box<dyn Stream>) -> Connection {
    let (mut reader, writer) = tokio::io::split(stream);
    let ended = Arc::new(AtomicBool::new(false));
    let told = ended.clone();
    let reading = tokio::spawn(async move {
        let mut buffer = [0u8; 512];
        while reader.read(&mut buffer).await.is_ok_and(|n| n > 0) {}
        told.store(true, Ordering::Relaxed);
    });
    Connection { writer, born: Instant::now(), ended, reading: reading.abort_handle() }
}
