//! A bridge for the official Heroku CLI (`ux.md` J13, `cli-contract.md` section 1): one port on 127.0.0.1 that speaks HTTP, TLS
//! and the rendezvous stream, and hands everything on to the server that the user is signed in to.
//!
//! It takes its own random key only and puts the real token in its place, so that the token is in no environment, no argv and
//! no file of ours. It is the proxy for all other hosts, too, and refuses them. This room must not know where tokens are kept,
//! and nothing of the server besides what is on the wire.

mod door;
mod foreign;
mod forward;
mod gate;
mod life;
mod place;
mod rendezvous;
mod upstream;
mod variables;

pub use life::shell_ended;
pub use place::Place;
pub use variables::{Scope, Shell, Variables};

use std::{net::Ipv4Addr, sync::Arc};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// Ports that are tried first: one for each server, so that git remotes of yesterday are right today. Below those that the
/// system gives out.
const PORT_FIRST: u16 = 24_000;
const PORTS: u16 = 8_000;

/// Why there is no bridge.
#[derive(Debug, thiserror::Error)]
pub enum BridgeError {
    /// Its socket or its folder can not be made.
    #[error("The bridge can not start: {0}")]
    Io(#[from] std::io::Error),
    /// It has no certificate.
    #[error("The bridge can not start: {0}")]
    Certificate(#[from] certs::own::OwnError),
    /// The server's address can not be used.
    #[error("{0} is no server address; give one such as https://paas.example.com")]
    Address(String),
    /// The system's certificates can not be read, or it has no randomness.
    #[error("The bridge can not start: {0}")]
    System(String),
}

/// Whom to trust for the server; decided by who knows how the user signed in.
pub struct Trust {
    /// For requests.
    pub config: Arc<rustls::ClientConfig>,
    /// For the one certificate with this SHA-256, in hexadecimal digits: that of attached dynos, which the API tells.
    pub pinned: fn(&str) -> Result<rustls::ClientConfig, rustls::Error>,
}

/// The server, and the token that it takes.
pub struct Target {
    /// Scheme, host and port.
    pub base: String,
    /// Real token of the user.
    pub token: String,
    /// Over TLS.
    pub trust: Trust,
}

/// A bound bridge.
pub struct Bridge {
    /// Its port on 127.0.0.1.
    pub port: u16,
    /// Port that it has when nobody else took it.
    pub usual_port: u16,
    /// What clients show in place of the token.
    pub key: String,
    /// Certificate of its authority (PEM).
    pub authority: String,
    socket: TcpListener,
    inner: Arc<Inner>,
}

/// What every connection needs.
pub(crate) struct Inner {
    pub gate: gate::Gate,
    pub upstream: upstream::Upstream,
    pub tls: TlsAcceptor,
    pub port: u16,
    /// `http://127.0.0.1:PORT`: what the server is to build addresses from.
    pub own_base: String,
}

impl Inner {
    /// Is this address the bridge's own?
    pub(crate) fn is_own(&self, named: &http::uri::Authority) -> bool {
        matches!(named.host(), "127.0.0.1" | "localhost") && named.port_u16() == Some(self.port)
    }
}

impl Bridge {
    /// Takes a port, and makes a key and a certificate.
    ///
    /// # Errors
    /// See [`BridgeError`].
    pub async fn bind(target: Target) -> Result<Self, BridgeError> {
        let upstream = upstream::Upstream::new(&target.base, target.trust)?;
        let usual_port = usual_port(&target.base);
        // Another user's program may sit on it; nothing is sent there, since everybody is told the port that it is.
        let socket = match TcpListener::bind((Ipv4Addr::LOCALHOST, usual_port)).await {
            Ok(socket) => socket,
            Err(_) => TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?,
        };
        let port = socket.local_addr()?.port();
        let key = gate::random_key().map_err(BridgeError::System)?;
        let certs::loopback::Loopback { server, authority } = certs::loopback::loopback()?;
        let inner = Inner {
            gate: gate::Gate::new(&key, target.token),
            upstream,
            tls: server.into(),
            port,
            own_base: format!("http://127.0.0.1:{port}"),
        };
        Ok(Self { port, usual_port, key, authority, socket, inner: Arc::new(inner) })
    }

    /// Serves until the future is dropped.
    pub async fn serve(self) {
        door::serve(self.socket, self.inner).await;
    }
}

/// The same for the same server.
fn usual_port(base: &str) -> u16 {
    let digest = ring::digest::digest(&ring::digest::SHA256, base.as_bytes());
    let number = digest.as_ref().iter().take(2).fold(0u16, |number, byte| number << 8 | u16::from(*byte));
    PORT_FIRST + number % PORTS
}
