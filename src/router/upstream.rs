//! Connections to dynos: a small pool per dyno.

use crate::proxy::Body;
use domain::limits::CONNECT_MS;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};
use tokio::net::TcpStream;

/// Servers close idle connections after 2 s (gunicorn) or 5 s (Node); be earlier than any of them, since a request on a
/// connection that is just being closed can not be repeated (`router.md` section 3).
const IDLE_LIMIT: Duration = Duration::from_millis(1500);
const IDLE_MAX: usize = 64;

/// Idle connections of one dyno, the last used first.
#[derive(Default)]
pub struct Pool {
    idle: Mutex<Vec<(SendRequest<Body>, Instant)>>,
}

impl Pool {
    /// A connection that looks alive.
    pub fn take(&self) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((sender, since)) = idle.pop() {
            if since.elapsed() > IDLE_LIMIT {
                idle.clear(); // those below are older
                return None;
            }
            if sender.is_ready() && !sender.is_closed() {
                return Some(sender);
            }
        }
        None
    }

    /// Gives a connection back once its answer was read whole.
    pub fn put(&self, sender: SendRequest<Body>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_MAX && !sender.is_closed() {
            idle.push((sender, Instant::now()));
        }
    }

    /// Drops all.
    pub fn clear(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Why there is no connection.
#[derive(Debug)]
pub enum ConnectError {
    Refused,
    Timeout,
}

/// Connects to a dyno.
pub async fn connect(address: SocketAddr) -> Result<SendRequest<Body>, ConnectError> {
    let connecting = tokio::time::timeout(Duration::from_millis(CONNECT_MS), TcpStream::connect(address));
    let stream = connecting.await.map_err(|_| ConnectError::Timeout)?.map_err(|_| ConnectError::Refused)?;
    let _ = stream.set_nodelay(true); // only a matter of speed
    let handshake = http1::Builder::new().title_case_headers(true).handshake::<_, Body>(TokioIo::new(stream)).await;
    let (sender, connection) = handshake.map_err(|_| ConnectError::Refused)?;
    tokio::spawn(async move {
        if let Err(e) = connection.with_upgrades().await {
            tracing::trace!(error = %e, "router.upstream_closed");
        }
    });
    Ok(sender)
}
