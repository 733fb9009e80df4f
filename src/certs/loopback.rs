//! A certificate for this computer only, for as long as one program runs: its keys are never written down, and its authority
//! may speak for `localhost` and the loopback addresses alone, so that whoever trusts it trusts it with nothing else.

use crate::own::OwnError;
use certs_rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CidrSubnet, DnType, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose,
    NameConstraints,
};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

/// How long it is good for: longer than a shell is likely to stay open.
const LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// It begins in the past, since clocks differ.
const BEFORE: Duration = Duration::from_secs(24 * 3600);

/// What a listener and its clients need.
pub struct Loopback {
    /// For the listener; HTTP/1.1 only.
    pub server: Arc<ServerConfig>,
    /// Certificate of the authority, for clients to trust (PEM).
    pub authority: String,
}

fn made(e: impl std::fmt::Display) -> OwnError {
    OwnError::Made(e.to_string())
}

fn params(names: Vec<String>, called: &str) -> Result<CertificateParams, OwnError> {
    let mut params = CertificateParams::new(names).map_err(made)?;
    params.distinguished_name.push(DnType::CommonName, called);
    let now = SystemTime::now();
    params.not_before = (now - BEFORE).into();
    params.not_after = (now + LIFE).into();
    Ok(params)
}

/// Makes an authority and a certificate for `localhost`, `127.0.0.1` and `::1`.
///
/// # Errors
/// [`OwnError::Made`] when the system has no randomness to give.
pub fn loopback() -> Result<Loopback, OwnError> {
    let mut authority = params(Vec::new(), "Tidemill bridge on this computer")?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let permitted_subtrees = vec![
        GeneralSubtree::DnsName("localhost".into()),
        GeneralSubtree::IpAddress(CidrSubnet::V4([127, 0, 0, 1], [255; 4])),
        GeneralSubtree::IpAddress(CidrSubnet::V6(std::net::Ipv6Addr::LOCALHOST.octets(), [255; 16])),
    ];
    authority.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees: Vec::new() });
    let issuer = CertifiedIssuer::self_signed(authority, KeyPair::generate().map_err(made)?).map_err(made)?;
    let key = KeyPair::generate().map_err(made)?;
    let names = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
    let certificate = params(names, "localhost")?.signed_by(&key, &issuer).map_err(made)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(made)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let server = builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).map_err(made)?;
    Ok(Loopback { server: Arc::new(server), authority: issuer.pem() })
}
