//! Whom to trust: the authorities of this system, those of a file, or one certificate that was confirmed at sign-in.

use crate::failure::{Failure, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::digest::{SHA256, digest};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme, StreamOwned,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt;
use std::{
    io::{Read, Write},
    net::{TcpStream, ToSocketAddrs},
    sync::{Arc, Mutex},
    time::Duration,
};
use ureq::unversioned::{
    resolver::DefaultResolver,
    transport::{
        Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, TcpConnector, Transport, TransportAdapter,
    },
};
use ureq::{Agent, tls};

const CONNECT_LIMIT: Duration = Duration::from_secs(10);
const NO_CERTIFICATE: &str = "The file given by --ca has no certificate in it; it must be a PEM file.";

/// Whom to trust for one server.
#[derive(Clone, Debug, Default)]
pub enum Trust {
    /// What this system trusts.
    #[default]
    System,
    /// The authorities in a PEM text, and no other.
    Authorities(String),
    /// The certificate with this SHA-256, whatever else it says.
    Certificate(String),
}

/// An HTTP client that trusts so.
///
/// # Errors
/// When the PEM text has no certificate.
pub fn agent(trust: &Trust) -> Result<Agent> {
    let builder = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(CONNECT_LIMIT))
        .user_agent(concat!("tidemill/", env!("CARGO_PKG_VERSION")));
    let system = tls::RootCerts::PlatformVerifier;
    Ok(match trust {
        Trust::System => builder.tls_config(tls::TlsConfig::builder().root_certs(system).build()).build().into(),
        Trust::Authorities(pem) => {
            let found = tls::parse_pem(pem.as_bytes()).filter_map(std::result::Result::ok);
            let all: Vec<_> = found.filter_map(|i| if let tls::PemItem::Certificate(c) = i { Some(c) } else { None }).collect();
            if all.is_empty() {
                return Err(Failure::usage(NO_CERTIFICATE));
            }
            let roots = tls::RootCerts::Specific(Arc::new(all));
            builder.tls_config(tls::TlsConfig::builder().root_certs(roots).build()).build().into()
        }
        Trust::Certificate(fingerprint) => {
            let config = pinned(fingerprint).map_err(|e| Failure::failed(e.to_string()))?;
            let connector = Connector::<()>::chain(TcpConnector::default(), Pinned(Arc::new(config)));
            Agent::with_parts(builder.build(), connector, DefaultResolver::default())
        }
    })
}

/// Is it that the server's certificate is not trusted? Then why.
pub fn distrust(e: &ureq::Error) -> Option<String> {
    let found = match e {
        ureq::Error::Rustls(e) => Some(e),
        ureq::Error::Io(e) => e.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()),
        _ => None,
    }?;
    match found {
        rustls::Error::InvalidCertificate(reason) => Some(reason.to_string()),
        rustls::Error::General(reason) if reason.contains("certificate") => Some(reason.clone()),
        _ => None,
    }
}

/// SHA-256 in hexadecimal digits.
pub fn fingerprint(certificate: &[u8]) -> String {
    digest(&SHA256, certificate).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The certificate that a server shows, unchecked: only to be shown to a person.
///
/// # Errors
/// When there is no such server, or it does not speak TLS.
pub fn shown_by(base: &str) -> Result<Vec<u8>> {
    let lost = |e: String| Failure::unreachable(format!("Can not reach {base}: {e}"));
    let authority = base.strip_prefix("https://").unwrap_or(base);
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| lost("the port is no number".into()))?),
        _ => (authority, 443u16),
    };
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_string()).map_err(|e| lost(e.to_string()))?;
    let mut addresses = (host.trim_matches(['[', ']']), port).to_socket_addrs().map_err(|e| lost(e.to_string()))?;
    let address = addresses.next().ok_or_else(|| lost("it has no address".into()))?;
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_LIMIT).map_err(|e| lost(e.to_string()))?;
    stream.set_read_timeout(Some(CONNECT_LIMIT)).map_err(|e| lost(e.to_string()))?;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let check = Check { wanted: Wanted::Any(seen.clone()), provider: provider() };
    let config = config(check).map_err(|e| lost(e.to_string()))?;
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(|e| lost(e.to_string()))?;
    connection.complete_io(&mut stream).map_err(|e| lost(e.to_string()))?;
    let seen = seen.lock().map(|seen| seen.clone()).unwrap_or_default();
    if seen.is_empty() { Err(lost("it showed no certificate".into())) } else { Ok(seen) }
}

/// `-----BEGIN CERTIFICATE-----`, for git.
pub fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).filter_map(|l| std::str::from_utf8(l).ok()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}

/// TLS that trusts so, for connections below HTTP.
///
/// # Errors
/// When the PEM text has no certificate, or the system's authorities can not be read.
pub fn client_config(trust: &Trust) -> Result<ClientConfig> {
    let failed = |e: rustls::Error| Failure::failed(format!("TLS can not be set up: {e}"));
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().map_err(failed)?;
    match trust {
        Trust::System => Ok(builder.with_platform_verifier().map_err(failed)?.with_no_client_auth()),
        Trust::Authorities(pem) => {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(std::result::Result::ok));
            if roots.is_empty() {
                return Err(Failure::usage(NO_CERTIFICATE));
            }
            Ok(builder.with_root_certificates(roots).with_no_client_auth())
        }
        Trust::Certificate(fingerprint) => pinned(fingerprint).map_err(failed),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn config(check: Check) -> std::result::Result<ClientConfig, rustls::Error> {
    let builder = ClientConfig::builder_with_provider(check.provider.clone()).with_safe_default_protocol_versions()?;
    Ok(builder.dangerous().with_custom_certificate_verifier(Arc::new(check)).with_no_client_auth())
}

/// Trusts one certificate; no name and no authority counts besides it.
///
/// # Errors
/// When TLS can not be set up at all.
pub fn pinned(fingerprint: &str) -> std::result::Result<ClientConfig, rustls::Error> {
    config(Check { wanted: Wanted::This(fingerprint.to_string()), provider: provider() })
}

#[derive(Debug)]
enum Wanted {
    This(String),
    Any(Arc<Mutex<Vec<u8>>>),
}

#[derive(Debug)]
struct Check {
    wanted: Wanted,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Check {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, rustls::Error> {
        match &self.wanted {
            Wanted::This(wanted) if fingerprint(end_entity) != *wanted => {
                Err(rustls::Error::General("the server has another certificate than the one that was told".into()))
            }
            Wanted::This(_) => Ok(ServerCertVerified::assertion()),
            Wanted::Any(seen) => {
                if let Ok(mut seen) = seen.lock() {
                    *seen = end_entity.to_vec();
                }
                Ok(ServerCertVerified::assertion())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// TLS with one certificate, below HTTP.
struct Pinned(Arc<ClientConfig>);

impl std::fmt::Debug for Pinned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pinned")
    }
}

impl<In: Transport> Connector<In> for Pinned {
    type Out = Either<In, Secured>;

    fn connect(&self, details: &ConnectionDetails, chained: Option<In>) -> std::result::Result<Option<Self::Out>, ureq::Error> {
        let Some(transport) = chained else { return Ok(None) };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default().trim_matches(['[', ']']).to_string();
        let name = ServerName::try_from(host).map_err(|_| ureq::Error::Tls("the host is no valid name"))?;
        let mut connection = ClientConnection::new(self.0.clone(), name)?;
        let mut socket = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        socket.set_timeout(details.timeout);
        connection.complete_io(&mut socket)?;
        let sizes = (details.config.input_buffer_size(), details.config.output_buffer_size());
        let stream = StreamOwned { conn: connection, sock: socket };
        Ok(Some(Either::B(Secured { buffers: LazyBuffers::new(sizes.0, sizes.1), stream })))
    }
}

/// A connection of [`Pinned`].
pub struct Secured {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl std::fmt::Debug for Secured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secured")
    }
}

impl Transport for Secured {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> std::result::Result<(), ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = &self.buffers.output()[..amount];
        self.stream.write_all(output)?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> std::result::Result<bool, ureq::Error> {
        self.stream.get_mut().set_timeout(timeout);
        let input = self.buffers.input_append_buf();
        let amount = self.stream.read(input)?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pem_is_base64_in_lines() {
        assert_eq!(pem(b"hello!!"), "-----BEGIN CERTIFICATE-----\naGVsbG8hIQ==\n-----END CERTIFICATE-----\n");
        assert_eq!(pem(b"hello!!?").lines().nth(1), Some("aGVsbG8hIT8="));
        assert_eq!(pem(&[0; 60]).lines().nth(1).map(str::len), Some(64));
    }
}
