//! What users upload: is it a certificate, does the key belong to it, and in which order does the chain go
//! (`acm.md` section 3)?

use crate::serving::certified;
use base64::{Engine, engine::general_purpose::STANDARD};
use domain::{
    UnixMs,
    limits::{CERTIFICATE_CHAIN_BYTES_MAX, PRIVATE_KEY_BYTES_MAX},
    names::check_domain,
    sni::{CertFacts, Inspect},
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use std::net::IpAddr;
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer, public_key::PublicKey};

/// Certificates of one chain.
const CHAIN_MAX: usize = 10;
/// Smallest RSA key.
const RSA_BITS_MIN: usize = 2048;

/// The checks.
pub struct Inspector;

impl Inspect for Inspector {
    fn inspect(&self, chain: &str, key: &str, now: UnixMs) -> Result<CertFacts, String> {
        let all = certificates(chain)?;
        let key = private_key(key)?;
        let parsed = all.iter().map(|der| parse(der)).collect::<Result<Vec<_>, _>>()?;
        let leaf = leaf(&all, &key)?;
        let order = order(&parsed, leaf);
        let leaf = &parsed[leaf];
        check_dates(leaf, now)?;
        check_strength(leaf)?;
        let names = names(leaf);
        if names.is_empty() {
            return Err("The certificate is for no host name; it needs one in its subject alternative names.".into());
        }
        let time = |seconds: i64| UnixMs(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000));
        Ok(CertFacts {
            chain: order.iter().map(|at| pem(&all[*at])).collect(),
            names,
            issuer: leaf.issuer().to_string(),
            subject: leaf.subject().to_string(),
            starts_at: time(leaf.validity().not_before.timestamp()),
            expires_at: time(leaf.validity().not_after.timestamp()),
            self_signed: signed_by(leaf, leaf),
        })
    }
}

fn certificates(chain: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    if chain.len() > CERTIFICATE_CHAIN_BYTES_MAX {
        return Err(format!("The certificate chain is longer than {CERTIFICATE_CHAIN_BYTES_MAX} bytes."));
    }
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let all = all.map_err(|e| format!("The certificate chain is no valid PEM: {e}."))?;
    if all.is_empty() {
        return Err("There is no certificate in the chain; it must be PEM and begin with -----BEGIN CERTIFICATE-----.".into());
    }
    if all.len() > CHAIN_MAX {
        return Err(format!("The chain has {} certificates; at most {CHAIN_MAX}.", all.len()));
    }
    Ok(all)
}

fn private_key(text: &str) -> Result<PrivateKeyDer<'static>, String> {
    if text.len() > PRIVATE_KEY_BYTES_MAX {
        return Err(format!("The private key is longer than {PRIVATE_KEY_BYTES_MAX} bytes."));
    }
    if text.contains("ENCRYPTED") {
        return Err(
            "The private key is encrypted with a passphrase; decrypt it first, for instance with: openssl pkey -in KEY".into(),
        );
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes())
        .map_err(|_| "There is no private key; it must be PEM and begin with -----BEGIN PRIVATE KEY-----.".into())
}

fn parse<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>, String> {
    X509Certificate::from_der(der)
        .map(|(_, parsed)| parsed)
        .map_err(|_| "The chain holds something that is no X.509 certificate.".into())
}

/// The certificate that the key belongs to, wherever it stands in the upload.
fn leaf(all: &[CertificateDer<'static>], key: &PrivateKeyDer<'static>) -> Result<usize, String> {
    for (at, der) in all.iter().enumerate() {
        match certified(vec![der.clone()], key.clone_key()) {
            Ok(_) => return Ok(at),
            Err(rustls::Error::InconsistentKeys(_)) => {}
            Err(e) if at + 1 == all.len() => return Err(format!("The private key can not be used: {e}.")),
            Err(_) => {}
        }
    }
    Err("The private key does not belong to any certificate of the chain.".into())
}

fn signed_by(one: &X509Certificate, by: &X509Certificate) -> bool {
    one.issuer() == by.subject() && one.verify_signature(Some(by.public_key())).is_ok()
}

/// From the leaf upwards. A root is dropped, since clients have it or do not trust it; so is what belongs to nothing.
fn order(parsed: &[X509Certificate], leaf: usize) -> Vec<usize> {
    let mut order = vec![leaf];
    loop {
        let last = order[order.len() - 1];
        let next = (0..parsed.len()).find(|at| !order.contains(at) && signed_by(&parsed[last], &parsed[*at]));
        match next {
            Some(next) if !signed_by(&parsed[next], &parsed[next]) => order.push(next),
            _ => return order,
        }
    }
}

fn check_dates(leaf: &X509Certificate, now: UnixMs) -> Result<(), String> {
    let now = i64::try_from(now.0 / 1000).unwrap_or(i64::MAX);
    let (from, to) = (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
    if to <= now {
        return Err(format!("The certificate expired on {}.", day(to)));
    }
    if from > now {
        return Err(format!("The certificate is not valid before {}.", day(from)));
    }
    Ok(())
}

/// `2026-11-24`, by the civil calendar.
fn day(seconds: i64) -> String {
    let time = x509_parser::time::ASN1Time::from_timestamp(seconds);
    time.map_or_else(
        |_| seconds.to_string(),
        |time| {
            let date = time.to_datetime().date();
            format!("{}-{:02}-{:02}", date.year(), u8::from(date.month()), date.day())
        },
    )
}

fn check_strength(leaf: &X509Certificate) -> Result<(), String> {
    match leaf.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() < RSA_BITS_MIN => {
            Err(format!("The key has {} bits; an RSA key needs at least {RSA_BITS_MIN}.", key.key_size()))
        }
        _ => Ok(()), // the others are those that the server can sign with
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Host names and addresses of the certificate: the alternative names, or where there are none the common name.
fn names(leaf: &X509Certificate) -> Vec<String> {
    let alternative = leaf.subject_alternative_name().ok().flatten();
    let mut found: Vec<String> = alternative
        .iter()
        .flat_map(|names| &names.value.general_names)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            GeneralName::IPAddress(bytes) => address(bytes).map(|address| address.to_string()),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        let common = leaf.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        found.extend(common.map(str::to_ascii_lowercase).filter(|name| check_domain(name).is_ok()));
    }
    found.dedup();
    found
}

/// PEM with lines of 64 characters.
fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut out = String::from("-----BEGIN CERTIFICATE-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str("-----END CERTIFICATE-----\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use certs_rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair};

    const NOW: UnixMs = UnixMs(1_800_000_000_000);

    fn params(name: &str) -> CertificateParams {
        let mut params = CertificateParams::new(vec![name.to_string()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = certs_rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = certs_rcgen::date_time_ymd(2040, 1, 1);
        params
    }

    fn authority(name: &str) -> CertificateParams {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
    }

    #[test]
    fn a_chain_in_any_order_is_put_right_and_its_root_is_dropped() {
        let root = CertifiedIssuer::self_signed(authority("root.test"), KeyPair::generate().unwrap()).unwrap();
        let middle_key = KeyPair::generate().unwrap();
        let middle = authority("middle.test").signed_by(&middle_key, &root).unwrap();
        let issuer = Issuer::new(authority("middle.test"), middle_key);
        let key = KeyPair::generate().unwrap();
        let leaf = params("www.example.com").signed_by(&key, &issuer).unwrap();
        let chain = format!("{}{}{}", root.pem(), middle.pem(), leaf.pem());
        let facts = Inspector.inspect(&chain, &key.serialize_pem(), NOW).unwrap();
        let expected = certificates(&format!("{}{}", leaf.pem(), middle.pem())).unwrap();
        assert_eq!(certificates(&facts.chain).unwrap(), expected);
        assert_eq!((facts.names, facts.self_signed), (vec!["www.example.com".to_string()], false));
        assert_eq!((facts.issuer.as_str(), facts.subject.as_str()), ("CN=middle.test", "CN=www.example.com"));
        assert_eq!(facts.expires_at.0, 2_208_988_800_000);
    }

    #[test]
    fn what_can_not_serve_is_refused_with_its_reason() {
        let key = KeyPair::generate().unwrap();
        let good = params("a.example.com").self_signed(&key).unwrap().pem();
        let refused = |chain: &str, key: &str, now: UnixMs| Inspector.inspect(chain, key, now).unwrap_err();
        let pem = key.serialize_pem();
        assert!(Inspector.inspect(&good, &pem, NOW).unwrap().self_signed);
        assert!(refused("", &pem, NOW).contains("no certificate"));
        assert!(refused(&good, "", NOW).contains("no private key"));
        assert!(refused("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----", &pem, NOW).contains("X.509"));
        assert!(refused(&good, &KeyPair::generate().unwrap().serialize_pem(), NOW).contains("does not belong"));
        assert!(refused(&good, &pem, UnixMs(2_300_000_000_000)).contains("expired on 2040-01-01"));
        assert!(refused(&good, &pem, UnixMs(1_000_000_000_000)).contains("not valid before 2026-01-01"));
        let sealed = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----";
        assert!(refused(&good, sealed, NOW).contains("passphrase"));
    }
}
