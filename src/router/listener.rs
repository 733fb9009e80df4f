//! Accepting connections, and ending them in order.

use crate::{
    HangUp, Router,
    proxy::{Body, Peer},
};
use bytes::BufMut;
use http::Response;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, future::Future, net::SocketAddr, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

/// Time for the whole head of a request, and for a kept connection to send its next one.
const HEAD_LIMIT: Duration = Duration::from_secs(60);
/// Request line and headers together.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Header lines of one request (`router.md` section 5).
const HEADERS_MAX: usize = 1000;
/// After a failed accept (no descriptors left) the next try waits this long, as there is nothing to wait on.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// At the end of the daemon: time for the first byte of a client that has connected just before.
const LAST_WORD: Duration = Duration::from_secs(1);

/// First byte of a TLS handshake. On the same port as HTTP, since clients derive one address from the other
/// (`cli-contract.md` section 1.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// Protocol of an authority that looks at a certificate and says nothing (RFC 8737).
const ACME_ALPN: &[u8] = b"acme-tls/1";
/// Longest first line that is looked at to tell HTTP from an attached client.
const FIRST_LINE_BYTES_MAX: usize = 8 << 10;

/// First bytes of an SSH client, who speaks first (`git-contract.md` section 6). No method of HTTP begins like this.
const SSH_GREETING: &[u8] = b"SSH-";

/// A connection after its handshake.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A client that came over TLS and said a line that is no HTTP: a secret of an attached process.
pub struct Caller {
    /// That line, without its end.
    pub line: String,
    /// What follows it, and the way back.
    pub stream: Box<dyn Stream>,
    /// Tells that it has gone also while nobody reads.
    pub hang_up: HangUp,
}

/// Takes a client that wants to be attached.
pub type Meet = Arc<dyn Fn(Caller) + Send + Sync>;

/// Takes a client that greeted with [`SSH_GREETING`], until it is done.
pub type Pass = Arc<dyn Fn(Box<dyn Stream>, SocketAddr) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What is behind the port besides plain HTTP.
#[derive(Clone)]
pub struct Doors {
    /// For who speaks SSH.
    pub ssh: Pass,
    /// Speaks TLS.
    pub tls: TlsAcceptor,
    /// For who says a secret instead of a request.
    pub meet: Meet,
}

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
    /// Besides plain HTTP, if anything.
    pub doors: Option<Doors>,
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
                    connections.spawn(connection(stream, peer, router.clone(), self.doors.clone(), end.clone()));
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

/// Waits for what a client says first. When the daemon ends meanwhile, for at most [`LAST_WORD`]: its request may be on the
/// way, and nobody else can take the connection over.
async fn first_word<T>(what: impl Future<Output = std::io::Result<T>>, end: &mut watch::Receiver<bool>) -> Option<T> {
    let over = async {
        let _ = end.wait_for(|end| *end).await; // a sender that is gone has ended, too
        tokio::time::sleep(LAST_WORD).await;
    };
    tokio::select! {
        said = tokio::time::timeout(HEAD_LIMIT, what) => said.ok()?.ok(),
        () = over => None,
    }
}

/// Finds out what a connection wants and serves it.
async fn connection(stream: TcpStream, peer: Peer, router: Arc<Router>, doors: Option<Doors>, mut end: watch::Receiver<bool>) {
    let _ = stream.set_nodelay(true); // only a matter of speed
    let mut first = [0u8; 1];
    // None: it went away, or said nothing for too long.
    let Some(1) = first_word(stream.peek(&mut first), &mut end).await else { return };
    match doors {
        Some(doors) if first[0] == TLS_HANDSHAKE => match first_word(secured(stream, &doors), &mut end).await {
            Some(Secured::Http(stream)) => http(stream, Peer { proto: "https", ..peer }, router, end).await,
            Some(Secured::Caller(caller)) => (doors.meet)(caller),
            None => {} // no TLS, or nothing was said
        },
        Some(doors) if first[0] == SSH_GREETING[0] => match first_word(greeted(stream), &mut end).await {
            Some((true, stream)) => (doors.ssh)(Box::new(stream), peer.address).await,
            Some((false, stream)) => http(stream, peer, router, end).await,
            None => {}
        },
        _ => http(stream, peer, router, end).await,
    }
}

/// Is this the greeting of SSH? The stream still has it.
async fn greeted(mut stream: TcpStream) -> std::io::Result<(bool, impl Stream + use<>)> {
    let mut head = Vec::with_capacity(SSH_GREETING.len());
    while head.len() < SSH_GREETING.len() && SSH_GREETING.starts_with(&head) {
        let room = SSH_GREETING.len() - head.len();
        if stream.read_buf(&mut (&mut head).limit(room)).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
    }
    let is_ssh = head == SSH_GREETING;
    Ok((is_ssh, with_start(head, stream)))
}

/// A stream that begins with bytes that were read already.
fn with_start<S: Stream>(start: Vec<u8>, stream: S) -> impl Stream + use<S> {
    let (reader, writer) = tokio::io::split(stream);
    tokio::io::join(std::io::Cursor::new(start).chain(reader), writer)
}

/// What came over TLS.
enum Secured {
    /// The stream still has the first line.
    Http(Box<dyn Stream>),
    Caller(Caller),
}

/// The handshake and the first line.
async fn secured(stream: TcpStream, doors: &Doors) -> std::io::Result<Secured> {
    let mut stream = doors.tls.accept(stream).await?;
    if stream.get_ref().1.alpn_protocol() == Some(ACME_ALPN) {
        // An authority has seen the certificate that it came for; nothing of it is for an app.
        stream.shutdown().await?;
        return Err(std::io::ErrorKind::ConnectionAborted.into());
    }
    let mut head = Vec::with_capacity(256);
    let end = loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = head.iter().position(|b| *b == b'\n') {
            break end;
        }
        if head.len() > FIRST_LINE_BYTES_MAX {
            break head.len();
        }
    };
    let line = String::from_utf8_lossy(&head[..end]).trim_end_matches('\r').to_string();
    let http = line.contains(" HTTP/");
    // A request keeps its line; the secret of an attached client is not for its process.
    let rest = if http { head } else { head.split_off((end + 1).min(head.len())) };
    let hang_up = if http { None } else { Some(HangUp::of(stream.get_ref().0)?) };
    let stream = Box::new(with_start(rest, stream));
    Ok(match hang_up {
        None => Secured::Http(stream),
        Some(hang_up) => Secured::Caller(Caller { line, stream, hang_up }),
    })
}

/// Serves HTTP; after `end` the request in progress is its last.
async fn http(stream: impl Stream + 'static, peer: Peer, router: Arc<Router>, mut end: watch::Receiver<bool>) {
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
