//! A certificate authority of the platform's own, for its own names: attached clients and `git` speak TLS even where nothing
//! else does (`cli-contract.md` section 1.1). Users trust `ca.pem` once, by copying it from the server.

use certs_rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use ring::digest::{SHA256, digest};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
};
use std::{fs, io::Write, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// A file can not be read or written.
    #[error("certs_io: {path}: {reason}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        reason: String,
    },
    /// Making or reading one failed.
    #[error("certs_own: {0}")]
    Made(String),
}

/// What the listener needs.
pub struct Own {
    /// For TLS on the platform's port; HTTP/1.1 only.
    pub server: Arc<ServerConfig>,
    /// SHA-256 of the certificate, in hexadecimal digits.
    pub fingerprint: String,
}

fn made(e: impl std::fmt::Display) -> OwnError {
    OwnError::Made(e.to_string())
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> OwnError {
    move |e| OwnError::Io { path: path.display().to_string(), reason: e.to_string() }
}

/// Names that the certificate is for.
fn names(domain: &str) -> Vec<String> {
    let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
    if domain != "localhost" {
        names.push(domain.into());
    }
    names.extend(["api", "git", "*"].map(|label| format!("{label}.{domain}")));
    names
}

/// Reads the certificate in `dir`, or makes it when there is none for `domain`. `ca.pem` stays the same for ever.
///
/// # Errors
/// See [`OwnError`].
pub fn load_or_create(dir: &Path, domain: &str) -> Result<Own, OwnError> {
    fs::create_dir_all(dir).map_err(io(dir))?;
    let names = names(domain);
    let noted = dir.join("names");
    if fs::read_to_string(&noted).unwrap_or_default() != names.join("\n") {
        let (authority, authority_key) = authority(dir)?;
        let issuer = CertifiedIssuer::self_signed(authority, authority_key).map_err(made)?;
        let key = KeyPair::generate().map_err(made)?;
        let mut params = CertificateParams::new(names.clone()).map_err(made)?;
        params.distinguished_name.push(DnType::CommonName, domain);
        params.not_after = certs_rcgen::date_time_ymd(2046, 1, 1);
        let certificate = params.signed_by(&key, &issuer).map_err(made)?;
        write(&dir.join("key.pem"), &key.serialize_pem(), 0o600)?;
        write(&dir.join("cert.pem"), &certificate.pem(), 0o644)?;
        // Last: without it all is made anew.
        write(&noted, &names.join("\n"), 0o644)?;
    }
    let read = |name: &str| fs::read(dir.join(name)).map_err(io(&dir.join(name)));
    let certificate = CertificateDer::from_pem_slice(&read("cert.pem")?).map_err(made)?;
    let key = PrivatePkcs8KeyDer::from_pem_slice(&read("key.pem")?).map_err(made)?;
    let fingerprint = digest(&SHA256, &certificate).as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().map_err(made)?;
    let server = builder.with_no_client_auth().with_single_cert(vec![certificate], PrivateKeyDer::Pkcs8(key)).map_err(made)?;
    Ok(Own { server: Arc::new(server), fingerprint })
}

/// The authority: its key is kept, and its certificate is written once, since users have copied it.
fn authority(dir: &Path) -> Result<(CertificateParams, KeyPair), OwnError> {
    let (key_file, file) = (dir.join("ca.key"), dir.join("ca.pem"));
    let key = match fs::read_to_string(&key_file) {
        Ok(pem) => KeyPair::from_pem(&pem).map_err(made)?,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let key = KeyPair::generate().map_err(made)?;
            // One of another key is of no use to anybody.
            let _ = fs::remove_file(&file); // usually there is none
            write(&key_file, &key.serialize_pem(), 0o600)?;
            key
        }
        Err(e) => return Err(io(&key_file)(e)),
    };
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Tidemill on this server");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_after = certs_rcgen::date_time_ymd(2046, 1, 1);
    if !file.exists() {
        write(&file, &params.self_signed(&key).map_err(made)?.pem(), 0o644)?;
    }
    Ok((params, key))
}

fn write(path: &Path, text: &str, mode: u32) -> Result<(), OwnError> {
    let partial = path.with_extension("partial");
    let written = || -> std::io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&partial)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    written().map_err(io(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_stays_when_the_domain_changes() {
        let dir = tempfile::tempdir().expect("dir");
        let first = load_or_create(dir.path(), "localhost").expect("made");
        let ca = fs::read(dir.path().join("ca.pem")).expect("ca");
        assert_eq!(load_or_create(dir.path(), "localhost").expect("read").fingerprint, first.fingerprint);
        assert_ne!(load_or_create(dir.path(), "paas.example.com").expect("made").fingerprint, first.fingerprint);
        assert_eq!(fs::read(dir.path().join("ca.pem")).expect("ca"), ca);
    }
}
