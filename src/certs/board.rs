//! What is shown to authorities while they look: files for HTTP-01, certificates for TLS-ALPN-01 (`acm.md` section 5).

use crate::serving::Ready;
use certs_rcgen::{CertificateParams, CustomExtension, KeyPair};
use domain::acm::{Challenges, Method, Proof};
use ring::digest::{SHA256, digest};
use rustls::{
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
};

/// The protocol that an authority offers in the handshake of TLS-ALPN-01 (RFC 8737).
pub const ACME_ALPN: &[u8] = b"acme-tls/1";

#[derive(Default)]
struct Shown {
    /// By host and token.
    files: HashMap<(String, String), String>,
    /// By the name in the handshake.
    handshakes: HashMap<String, Ready>,
}

/// The board. Cheap to share; read only when somebody asks for what stands on it.
#[derive(Default)]
pub struct Board(RwLock<Shown>);

impl Board {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Shows a proof of `name`. Those of DNS are shown elsewhere.
    ///
    /// # Errors
    /// The reason, when no certificate can be made for a handshake.
    pub fn show(&self, name: &str, proof: &Proof) -> Result<(), String> {
        let mut shown = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match proof.method {
            Method::Http01 => drop(shown.files.insert((name.into(), proof.token.clone()), proof.authorization.clone())),
            Method::TlsAlpn01 => drop(shown.handshakes.insert(server_name(name), for_handshake(name, proof)?)),
            Method::Dns01 => {}
        }
        Ok(())
    }

    /// Takes down what was shown for `name`.
    pub fn clear(&self, name: &str) {
        let mut shown = self.0.write().unwrap_or_else(PoisonError::into_inner);
        shown.files.retain(|(host, _), _| host != name);
        shown.handshakes.remove(&server_name(name));
    }

    /// The certificate for a handshake of an authority; strangers get none.
    pub fn handshake(&self, server_name: &str) -> Option<Ready> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).handshakes.get(server_name).cloned()
    }
}

impl Challenges for Board {
    fn file(&self, host: &str, token: &str) -> Option<String> {
        let shown = self.0.read().unwrap_or_else(PoisonError::into_inner);
        shown.files.get(&(host.to_string(), token.to_string())).cloned()
    }
}

/// What the handshake calls it; addresses have a name of DNS (RFC 8738, section 6).
fn server_name(name: &str) -> String {
    match name.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => {
            let [a, b, c, d] = ip.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        Ok(IpAddr::V6(ip)) => {
            let nibbles = ip.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
            nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
        }
        Err(_) => name.into(),
    }
}

fn for_handshake(name: &str, proof: &Proof) -> Result<Ready, String> {
    let made = || -> Result<Ready, Box<dyn std::error::Error>> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(vec![name.to_string()])?;
        let hash = digest(&SHA256, proof.authorization.as_bytes());
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(hash.as_ref())];
        let certificate = params.self_signed(&key)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        // Not checked like the others: its extension is critical, and only an authority knows it.
        let key = rustls::crypto::ring::sign::any_supported_type(&key)?;
        Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
    };
    made().map_err(|e| format!("no certificate for the handshake could be made: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_shown_is_answered_and_only_to_its_host() {
        let board = Board::default();
        let proof = |method| Proof { method, token: "tok".into(), authorization: "tok.print".into() };
        board.show("a.example.com", &proof(Method::Http01)).unwrap();
        assert_eq!(board.file("a.example.com", "tok").as_deref(), Some("tok.print"));
        assert!(board.file("b.example.com", "tok").is_none() && board.file("a.example.com", "other").is_none());
        assert!(board.handshake("a.example.com").is_none());
        board.show("a.example.com", &proof(Method::TlsAlpn01)).unwrap();
        board.show("192.0.2.1", &proof(Method::TlsAlpn01)).unwrap();
        assert!(board.handshake("a.example.com").is_some() && board.handshake("1.2.0.192.in-addr.arpa").is_some());
        board.clear("a.example.com");
        assert!(board.file("a.example.com", "tok").is_none() && board.handshake("a.example.com").is_none());
        let long = server_name("2001:db8::1");
        assert!(long.starts_with("1.0.0.0.") && long.ends_with("8.b.d.0.1.0.0.2.ip6.arpa"), "{long}");
    }
}
