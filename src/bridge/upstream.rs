//! Ways to the server: by HTTP or HTTPS as its address says, and by TLS for attached clients.

use crate::{BridgeError, Trust};
use rustls::{ClientConfig, pki_types::ServerName};
use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A connection, whatever it goes through.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// The server.
pub(crate) struct Upstream {
    /// Address as given.
    pub base: String,
    /// Host and port as in a `Host` header.
    pub authority: String,
    host: String,
    port: u16,
    secure: bool,
    name: ServerName<'static>,
    trust: Trust,
    /// SHA-256 of the certificate behind attach addresses, as the API told it last.
    pinned: Mutex<Option<String>>,
}

impl Upstream {
    pub(crate) fn new(base: &str, trust: Trust) -> Result<Self, BridgeError> {
        let wrong = || BridgeError::Address(base.to_string());
        let uri: http::Uri = base.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        let secure = uri.scheme_str() == Some("https");
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_string();
        Ok(Self {
            base: base.to_string(),
            authority: authority.as_str().to_string(),
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            secure,
            name: ServerName::try_from(host.clone()).map_err(|_| wrong())?,
            host,
            trust,
            pinned: Mutex::default(),
        })
    }

    /// The API's word on the certificate behind the attach addresses that it gives out.
    pub(crate) fn pin(&self, fingerprint: &str) {
        *self.pinned.lock().unwrap_or_else(PoisonError::into_inner) = Some(fingerprint.to_string());
    }

    async fn tcp(&self) -> io::Result<TcpStream> {
        let stream = timeout(CONNECT_LIMIT, TcpStream::connect((self.host.as_str(), self.port))).await??;
        let _ = stream.set_nodelay(true); // only a matter of speed
        Ok(stream)
    }

    /// For requests.
    pub(crate) async fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let stream = self.tcp().await?;
        if !self.secure {
            return Ok(Box::new(stream));
        }
        Ok(Box::new(self.secured(self.trust.config.clone(), stream).await?))
    }

    /// For attached clients: always TLS. The certificate is the one that the API told, for its authority is the server's own.
    pub(crate) async fn connect_attached(&self) -> io::Result<TlsStream<TcpStream>> {
        let told = self.pinned.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let config = match told {
            Some(fingerprint) => Arc::new((self.trust.pinned)(&fingerprint).map_err(io::Error::other)?),
            None => self.trust.config.clone(),
        };
        let stream = self.tcp().await?;
        self.secured(config, stream).await
    }

    async fn secured(&self, config: Arc<ClientConfig>, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        timeout(CONNECT_LIMIT, TlsConnector::from(config).connect(self.name.clone(), stream)).await?
    }
}
