//! Ways to the server: by HTTP or HTTPS as its address says, and by TLS for attached clients.

use crate::{BridgeError, Trust};
use ring::digest::{SHA256, digest};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt;
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
    provider: Arc<CryptoProvider>,
    /// Trusts as the user said at sign-in.
    config: Arc<ClientConfig>,
    /// SHA-256 of the certificate behind attach addresses, as the API told it last.
    pinned: Mutex<Option<String>>,
}

impl Upstream {
    pub(crate) fn new(base: &str, trust: &Trust) -> Result<Self, BridgeError> {
        let wrong = || BridgeError::Address(base.to_string());
        let uri: http::Uri = base.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        let secure = uri.scheme_str() == Some("https");
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_string();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = trusting(trust, &provider)?;
        Ok(Self {
            base: base.to_string(),
            authority: authority.as_str().to_string(),
            port: authority.port_u16().unwrap_or(if secure { 443 } else { 80 }),
            secure,
            name: ServerName::try_from(host.clone()).map_err(|_| wrong())?,
            host,
            provider,
            config,
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
        Ok(Box::new(self.secured(self.config.clone(), stream).await?))
    }

    /// For attached clients: always TLS. The certificate is the one that the API told, for its authority is the server's own.
    pub(crate) async fn connect_attached(&self) -> io::Result<TlsStream<TcpStream>> {
        let told = self.pinned.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let config = match told {
            Some(fingerprint) => pinned(fingerprint, &self.provider).map_err(io::Error::other)?,
            None => self.config.clone(),
        };
        let stream = self.tcp().await?;
        self.secured(config, stream).await
    }

    async fn secured(&self, config: Arc<ClientConfig>, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        timeout(CONNECT_LIMIT, TlsConnector::from(config).connect(self.name.clone(), stream)).await?
    }
}

fn trusting(trust: &Trust, provider: &Arc<CryptoProvider>) -> Result<Arc<ClientConfig>, BridgeError> {
    let system = |e: rustls::Error| BridgeError::System(e.to_string());
    let builder = || ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let config = match trust {
        Trust::System => builder().and_then(BuilderVerifierExt::with_platform_verifier).map_err(system)?.with_no_client_auth(),
        Trust::Authorities(pem) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok));
            builder().map_err(system)?.with_root_certificates(roots).with_no_client_auth()
        }
        Trust::Certificate(fingerprint) => return pinned(fingerprint.clone(), provider).map_err(system),
    };
    Ok(Arc::new(config))
}

fn pinned(fingerprint: String, provider: &Arc<CryptoProvider>) -> Result<Arc<ClientConfig>, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let verifier = Arc::new(Pin { fingerprint, provider: provider.clone() });
    Ok(Arc::new(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

#[derive(Debug)]
struct Pin {
    fingerprint: String,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Pin {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found: String = digest(&SHA256, end_entity).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        if found == self.fingerprint {
            return Ok(ServerCertVerified::assertion());
        }
        Err(rustls::Error::General("the server has another certificate than its API says".into()))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
