//! Connections to receivers: public addresses only, unless an operator allowed others, and over TLS to who they say they are.

use domain::{address::is_public, drain::DrainUrl};
use rustls::{
    ClientConfig, RootCertStore,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// From the look-up to the end of the handshake.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// A connection, with or without TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why a drain could not hand lines over.
#[derive(Debug)]
pub(super) enum Failure {
    /// The receiver is not there; the lines stay.
    Away(String),
    /// It is not who it should be (L14); the lines stay.
    Untrusted(String),
    /// It was asked and did not take them; they stay for a few tries.
    Answer(String),
    /// It does not want them.
    Refused(String),
}

impl Failure {
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Away(text) | Self::Untrusted(text) | Self::Answer(text) | Self::Refused(text) => text,
        }
    }
}

/// Whom drains may talk to, and whom they believe.
#[derive(Clone, Default)]
pub struct Trust {
    allow_private: bool,
    ca_file: Option<PathBuf>,
    checked: Arc<OnceLock<Arc<ClientConfig>>>,
}

impl Trust {
    /// `allow_private` lets drains lead to private addresses; `ca_file` holds authorities besides those of the system.
    pub fn new(allow_private: bool, ca_file: Option<PathBuf>) -> Self {
        Self { allow_private, ca_file, checked: Arc::default() }
    }

    /// See `Drains::check`.
    pub(super) fn check(&self, url: &DrainUrl) -> Result<(), String> {
        let private = url.host == "localhost" || url.host.parse::<IpAddr>().is_ok_and(|ip| !is_public(ip));
        if private && !self.allow_private { Err(private_text(&url.host)) } else { Ok(()) }
    }

    /// Connects.
    pub(super) async fn connect(&self, url: &DrainUrl) -> Result<Box<dyn Stream>, Failure> {
        match timeout(CONNECT_LIMIT, self.connect_without_limit(url)).await {
            Ok(connected) => connected,
            Err(_) => Err(Failure::Away(format!("no connection to {} within {} s", url.shown(), CONNECT_LIMIT.as_secs()))),
        }
    }

    async fn connect_without_limit(&self, url: &DrainUrl) -> Result<Box<dyn Stream>, Failure> {
        let found = lookup_host((url.host.as_str(), url.port)).await;
        let found: Vec<SocketAddr> = found.map_err(|e| Failure::Away(format!("{}: {e}", url.host)))?.collect();
        // All of them, else one answer in two would lead inside.
        if let Some(bad) = found.iter().find(|a| !self.allow_private && !is_public(a.ip())) {
            return Err(Failure::Away(private_text(&bad.ip().to_string())));
        }
        let stream = TcpStream::connect(&found[..]).await.map_err(|e| Failure::Away(format!("connect: {e}")))?;
        let _ = stream.set_nodelay(true); // only a matter of speed
        if !url.tls {
            return Ok(Box::new(stream));
        }
        let config = if url.insecure { anyone() } else { self.system() };
        let name = ServerName::try_from(url.host.clone()).map_err(|e| Failure::Untrusted(e.to_string()))?;
        match TlsConnector::from(config.map_err(Failure::Away)?).connect(name, stream).await {
            Ok(stream) => Ok(Box::new(stream)),
            Err(e) if is_certificate_error(&e) => Err(Failure::Untrusted(e.to_string())),
            Err(e) => Err(Failure::Away(format!("TLS: {e}"))),
        }
    }

    /// Authorities of the system, read when first needed, and the operator's.
    fn system(&self) -> Result<Arc<ClientConfig>, String> {
        if let Some(config) = self.checked.get() {
            return Ok(config.clone());
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if let Some(file) = &self.ca_file {
            let own = CertificateDer::pem_file_iter(file).map_err(|e| format!("{}: {e}", file.display()))?;
            roots.add_parsable_certificates(own.flatten());
        }
        let config = Arc::new(builder()?.with_root_certificates(roots).with_no_client_auth());
        Ok(self.checked.get_or_init(|| config).clone())
    }
}

fn private_text(place: &str) -> String {
    format!("{place} is not a public address; an operator can allow those with allow_private_targets.")
}

fn is_certificate_error(e: &io::Error) -> bool {
    let inner = e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    matches!(inner, Some(rustls::Error::InvalidCertificate(_)))
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(|e| e.to_string())
}

/// For `#insecure`: the user said that any certificate will do.
fn anyone() -> Result<Arc<ClientConfig>, String> {
    let verifier = Arc::new(Anyone(rustls::crypto::ring::default_provider().signature_verification_algorithms));
    Ok(Arc::new(builder()?.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth()))
}

#[derive(Debug)]
struct Anyone(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.supported_schemes()
    }
}
