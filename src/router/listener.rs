//! Accepting connections, and ending them in order.

use crate::{
    Router,
    proxy::{Body, Peer},
};
use http::Response;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::task::TaskTracker;

/// Time for the whole head of a request, and for a kept connection to send its next one.
const HEAD_LIMIT: Duration = Duration::from_secs(60);
/// Request line and headers together.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Header lines of one request (`router.md` section 5).
const HEADERS_MAX: usize = 1000;
/// After a failed accept (no descriptors left) the next try waits this long, as there is nothing to wait on.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Tells the listener to end.
#[derive(Clone)]
pub struct Shutdown(watch::Sender<bool>);

impl Shutdown {
    /// A signal that was not given yet.
    pub fn new() -> Self {
        Self(watch::channel(false).0)
    }

    /// Gives it.
    pub fn start(&self) {
        self.0.send_replace(true);
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

/// A bound socket.
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// `http` or `https`, as dynos are told.
    pub proto: &'static str,
    /// Port, as dynos are told.
    pub port: u16,
}

impl Listener {
    /// Serves until `shutdown`, then lets requests in flight finish for at most `grace`. Returns how it ended.
    pub async fn serve(self, router: Arc<Router>, shutdown: Shutdown, grace: Duration) -> bool {
        let connections = TaskTracker::new();
        let mut end = shutdown.0.subscribe();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                _ = end.wait_for(|end| *end) => break,
            };
            match accepted {
                Ok((stream, address)) => {
                    let peer = Peer { address, proto: self.proto, port: self.port };
                    connections.spawn(connection(stream, peer, router.clone(), end.clone()));
                }
                Err(e) => {
                    tracing::warn!(error = %e, "router.accept_failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.socket);
        connections.close();
        tokio::time::timeout(grace, connections.wait()).await.is_ok()
    }
}

/// Serves one connection; after `end` the request in progress is its last.
async fn connection(stream: TcpStream, peer: Peer, router: Arc<Router>, mut end: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true); // only a matter of speed
    let service = service_fn(move |request| {
        let router = router.clone();
        async move { Ok::<Response<Body>, Infallible>(router.serve(request, peer).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .title_case_headers(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let ended = async move { end.wait_for(|end| *end).await.is_ok() };
    let finished = tokio::select! {
        result = connection.as_mut() => Some(result),
        _ = ended => None,
    };
    let result = match finished {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(e) = result {
        tracing::trace!(error = %e, "router.connection_ended");
    }
}
