//! Which certificate answers a handshake: by the name that the client asks for, from an immutable snapshot.

use crate::board::{ACME_ALPN, Board};
use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{collections::HashMap, sync::Arc};

/// A certificate that is ready to serve; cheap to clone.
pub type Ready = Arc<CertifiedKey>;

/// What answers for which name.
#[derive(Default)]
pub struct Snapshot {
    /// By host name. `None` says that the platform's own certificate answers, whatever wildcard there is: the name is
    /// another app's.
    pub hosts: HashMap<String, Option<Ready>>,
    /// By what follows the first label.
    pub wildcards: HashMap<String, Ready>,
    /// For clients that name nobody, as those do that go to an address.
    pub bare: Option<Ready>,
}

/// Chain and key, checked to belong together.
pub(crate) fn certified(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, rustls::Error> {
    CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider())
}

/// Makes a stored certificate ready.
///
/// # Errors
/// The reason; it holds nothing of the key.
pub fn ready(chain: &str, key: &str) -> Result<Ready, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| "the private key does not parse".to_string())?;
    certified(chain.map_err(|e| e.to_string())?, key).map(Arc::new).map_err(|e| e.to_string())
}

/// The choice; handshakes in progress keep what they chose.
pub struct Certificates {
    snapshot: ArcSwap<Snapshot>,
    own: Arc<dyn ResolvesServerCert>,
    board: Arc<Board>,
}

impl Certificates {
    /// Nothing but the platform's own certificate, that of `own`, and what stands on `board` for authorities.
    pub fn new(own: &ServerConfig, board: Arc<Board>) -> Arc<Self> {
        Arc::new(Self { snapshot: ArcSwap::default(), own: own.cert_resolver.clone(), board })
    }

    /// From now on `snapshot` answers.
    pub fn publish(&self, snapshot: Snapshot) {
        self.snapshot.store(Arc::new(snapshot));
    }

    /// `own` with this choice in place of its one certificate. Session tickets are sealed with keys that change by
    /// themselves and are never written down. Whoever speaks [`ACME_ALPN`] is to be hung up on after the handshake.
    ///
    /// # Errors
    /// The reason, when the system has no randomness to give.
    pub fn server(self: &Arc<Self>, own: &ServerConfig) -> Result<Arc<ServerConfig>, String> {
        let mut server = own.clone();
        server.cert_resolver = self.clone();
        server.ticketer = rustls::crypto::ring::Ticketer::new().map_err(|e| e.to_string())?;
        if server.alpn_protocols.is_empty() {
            server.alpn_protocols.push(b"http/1.1".to_vec());
        }
        server.alpn_protocols.push(ACME_ALPN.to_vec());
        Ok(Arc::new(server))
    }

    /// Does another certificate than the platform's own, which it signed itself, answer for this name?
    pub fn has(&self, host: &str) -> bool {
        self.find(host).is_some()
    }

    fn find(&self, host: &str) -> Option<Ready> {
        let snapshot = self.snapshot.load();
        if let Some(found) = snapshot.hosts.get(host) {
            return found.clone();
        }
        snapshot.wildcards.get(host.split_once('.')?.1).cloned()
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Certificates")
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Ready> {
        if hello.alpn().is_some_and(|offered| offered.eq([ACME_ALPN])) {
            return self.board.handshake(hello.server_name()?);
        }
        // The library gives the name in lower case.
        let chosen = match hello.server_name() {
            Some(host) => self.find(host),
            None => self.snapshot.load().bare.clone(),
        };
        chosen.or_else(|| self.own.resolve(hello))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use certs_rcgen::{CertificateParams, KeyPair};

    fn certificate(name: &str) -> Ready {
        let key = KeyPair::generate().unwrap();
        let made = CertificateParams::new(vec![name.to_string()]).unwrap().self_signed(&key).unwrap();
        ready(&made.pem(), &key.serialize_pem()).unwrap()
    }

    #[test]
    fn the_exact_name_goes_before_the_wildcard_and_a_foreign_name_gets_neither() {
        let dir = tempfile::tempdir().unwrap();
        let own = crate::own::load_or_create(dir.path(), "localhost").unwrap();
        let certificates = Certificates::new(&own.server, Board::new());
        let (exact, wild) = (certificate("a.example.com"), certificate("*.example.com"));
        assert!(certificates.find("a.example.com").is_none());
        certificates.publish(Snapshot {
            hosts: HashMap::from([("a.example.com".into(), Some(exact.clone())), ("b.example.com".into(), None)]),
            wildcards: HashMap::from([("example.com".into(), wild.clone())]),
            bare: None,
        });
        let same = |host: &str, expected: &Ready| certificates.find(host).is_some_and(|found| Arc::ptr_eq(&found, expected));
        assert!(same("a.example.com", &exact) && same("c.example.com", &wild));
        for none in ["b.example.com", "x.y.example.com", "example.com", "localhost"] {
            assert!(certificates.find(none).is_none(), "{none}");
        }
    }
}
