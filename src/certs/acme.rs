//! The authority's side of an order (RFC 8555), one call at a time; what comes when is decided elsewhere.
//!
//! `rustls-acme` drives a fixed list of names per configuration and keeps its order in memory; its lower `acme` module knows
//! neither a refused nonce, nor `Retry-After`, ARI, profiles, or an order of yesterday. Here names come and go at run time,
//! each with its own state in the store, and an order is to be taken up again after a kill. `instant-acme` has all of that
//! in parts that can be called one by one, so it is used in its place.

mod client;

pub use client::Trust;

use client::{Client, Limited};
use domain::acm::{Method, Proof};
use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, Identifier, Key, NewOrder, Order, OrderStatus,
    Problem, RetryPolicy,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject};
use std::{net::IpAddr, time::Duration};

/// The authority looks at a proof within this time, or the order is looked at again later.
const WATCH: RetryPolicy = RetryPolicy::new().initial_delay(Duration::from_millis(100)).timeout(Duration::from_secs(60));
/// A refused nonce is no failure; beyond what the library tries itself.
const NONCE_TRIES: u32 = 8;

/// Why the authority could not be brought to something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Too much was asked of it.
    Limited {
        /// It says how long to wait, if it does.
        after: Option<Duration>,
        /// What it says.
        text: String,
    },
    /// It did not answer, or not sensibly. What is in progress may go on later.
    Away(String),
    /// It does not know the account, as after a loss of its data.
    NoAccount(String),
    /// It did not accept the proof.
    Rejected(String),
    /// It says no to the order or to a part of it.
    Refused(String),
}

impl Failure {
    /// The sentence in it.
    pub fn text(&self) -> &str {
        match self {
            Self::Limited { text, .. }
            | Self::Away(text)
            | Self::NoAccount(text)
            | Self::Rejected(text)
            | Self::Refused(text) => text,
        }
    }
}

fn said(problem: &Problem) -> String {
    let detail = problem.detail.clone().unwrap_or_else(|| "no reason".into());
    let parts: Vec<String> = problem.subproblems.iter().filter_map(|sub| sub.detail.clone()).collect();
    if parts.is_empty() { detail } else { format!("{detail} {}", parts.join(" ")) }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        match error {
            Error::Api(problem) => {
                let kind = problem.r#type.as_deref().unwrap_or_default();
                let text = format!("The authority says: {}", said(&problem));
                match kind.rsplit(':').next().unwrap_or_default() {
                    "rateLimited" => Self::Limited { after: None, text },
                    "accountDoesNotExist" => Self::NoAccount(text),
                    "badNonce" | "serverInternal" | "orderNotReady" => Self::Away(text),
                    _ if problem.status.is_some_and(|status| status >= 500) => Self::Away(text),
                    _ => Self::Refused(text),
                }
            }
            Error::Other(e) => match e.downcast::<Limited>() {
                Ok(limited) => Self::Limited { after: limited.after, text: format!("The authority says: {}", limited.detail) },
                Err(e) => Self::Away(format!("The authority can not be asked: {e}.")),
            },
            e => Self::Away(format!("The authority can not be asked: {e}.")),
        }
    }
}

fn refused_nonce(error: &Error) -> bool {
    matches!(error, Error::Api(problem) if problem.r#type.as_deref().is_some_and(|kind| kind.ends_with(":badNonce")))
}

/// Calls again while only the nonce was refused.
macro_rules! steady {
    ($call:expr) => {{
        let mut tries = 0;
        loop {
            match $call {
                Err(e) if refused_nonce(&e) && tries < NONCE_TRIES => tries += 1,
                result => break result,
            }
        }
    }};
}

/// What an authority tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Names that stand for it in CAA records.
    pub identities: Vec<String>,
    /// Kinds of certificates that it offers by name.
    pub profiles: Vec<String>,
}

/// A new private key for an account, PKCS#8.
///
/// # Errors
/// When the system has no randomness to give.
pub fn new_account_key() -> Result<Vec<u8>, Failure> {
    let (_, der) = Key::generate_pkcs8()?;
    Ok(der.secret_pkcs8_der().to_vec())
}

/// An account at an authority. Cheap to clone.
#[derive(Clone)]
pub struct Session {
    account: Account,
    about: About,
}

impl Session {
    /// Finds the account of a key, or makes it. With it the terms of the authority are agreed to.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn open(directory: &str, trust: &Trust, key: &[u8], contact: Option<&str>) -> Result<Self, Failure> {
        let client = Client::new(trust).map_err(Failure::Away)?;
        let about = about(&client, directory).await?;
        let (account, _) = steady!({
            let der = PrivatePkcs8KeyDer::from(key.to_vec());
            let pair = (Key::from_pkcs8_der(der.clone_key())?, PrivateKeyDer::Pkcs8(der));
            Account::builder_with_http(Box::new(client.clone())).create_from_key(pair, directory.to_string()).await
        })?;
        if let Some(contact) = contact {
            let contact = format!("mailto:{contact}");
            steady!(account.update_contacts(&[contact.as_str()]).await)?;
        }
        Ok(Self { account, about })
    }

    /// What the authority tells of itself.
    pub fn about(&self) -> &About {
        &self.about
    }

    /// Makes an order for one name or address. `replaces` is the chain of the certificate that it takes the place of.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn order(&self, name: &str, profile: Option<&str>, replaces: Option<&str>) -> Result<Ordered, Failure> {
        let identifiers = [name.parse::<IpAddr>().map_or_else(|_| Identifier::Dns(name.into()), Identifier::Ip)];
        let leaf = replaces.and_then(|chain| CertificateDer::from_pem_slice(chain.as_bytes()).ok());
        let replaced = leaf.as_ref().and_then(|leaf| CertificateIdentifier::try_from(leaf).ok());
        let order = |replaced: Option<CertificateIdentifier<'static>>| {
            let mut order = NewOrder::new(&identifiers);
            if let Some(profile) = profile {
                order = order.profile(profile);
            }
            if let Some(replaced) = replaced {
                order = order.replaces(replaced);
            }
            order
        };
        if let Some(replaced) = replaced {
            let replaced = replaced.into_owned();
            // Not every authority knows this, or knows the old certificate: then it is an order like any other.
            if let Ok(made) = steady!(self.account.new_order(&order(Some(replaced.clone()))).await) {
                return Ok(Ordered(made));
            }
        }
        Ok(Ordered(steady!(self.account.new_order(&order(None)).await)?))
    }

    /// An order that was made before.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn take_up(&self, url: &str) -> Result<Ordered, Failure> {
        Ok(Ordered(steady!(self.account.order(url.to_string()).await)?))
    }

    /// When the authority wants the certificate of `chain` to be renewed, in milliseconds since 1970, from and to; `None` when
    /// it does not say.
    pub async fn renewal_window(&self, chain: &str) -> Option<(u64, u64)> {
        let leaf = CertificateDer::from_pem_slice(chain.as_bytes()).ok()?;
        let (info, _) = self.account.renewal_info(&CertificateIdentifier::try_from(&leaf).ok()?).await.ok()?;
        let ms = |seconds: i64| u64::try_from(seconds).ok()?.checked_mul(1000);
        Some((ms(info.suggested_window.start.unix_timestamp())?, ms(info.suggested_window.end.unix_timestamp())?))
    }
}

async fn about(client: &Client, directory: &str) -> Result<About, Failure> {
    let found = client.get_json(directory).await.map_err(Failure::Away)?;
    let texts = |value: &serde_json::Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(String::from)).collect()
    };
    let profiles = found["meta"]["profiles"].as_object().into_iter().flat_map(|all| all.keys().cloned()).collect();
    Ok(About { identities: texts(&found["meta"]["caaIdentities"]), profiles })
}

/// What an order waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// For proofs.
    Proofs,
    /// For the request with the key.
    Request,
    /// For the authority.
    Authority,
    /// For nothing: the certificate can be fetched.
    Done,
    /// It came to nothing.
    Over,
}

/// An order at an authority.
pub struct Ordered(Order);

impl Ordered {
    /// Where it is, to take it up again.
    pub fn url(&self) -> &str {
        self.0.url()
    }

    /// What it waits for.
    pub fn stage(&mut self) -> Stage {
        match self.0.state().status {
            OrderStatus::Pending => Stage::Proofs,
            OrderStatus::Ready => Stage::Request,
            OrderStatus::Processing => Stage::Authority,
            OrderStatus::Valid => Stage::Done,
            OrderStatus::Invalid => Stage::Over,
        }
    }

    /// The proof by the first of `methods` that the authority offers; `None` when the name needs none any more.
    ///
    /// # Errors
    /// [`Failure::Refused`] when it offers none of them, and others.
    pub async fn proof(&mut self, methods: &[Method]) -> Result<Option<Proof>, Failure> {
        let mut all = self.0.authorizations();
        let Some(first) = all.next().await else { return Ok(None) };
        let mut authorization = first?;
        if authorization.status == AuthorizationStatus::Valid {
            return Ok(None);
        }
        let offered = methods.iter().find(|method| authorization.challenges.iter().any(|c| c.r#type == kind(**method)));
        if let Some(method) = offered
            && let Some(challenge) = authorization.challenge(kind(*method))
        {
            let authorization = challenge.key_authorization().as_str().to_string();
            return Ok(Some(Proof { method: *method, token: challenge.token.clone(), authorization }));
        }
        let wanted: Vec<&str> = methods.iter().map(|method| method.word()).collect();
        Err(Failure::Refused(format!("The authority offers none of these ways to prove the name: {}.", wanted.join(", "))))
    }

    /// Tells the authority to look, and waits until it did.
    ///
    /// # Errors
    /// [`Failure::Rejected`] with what it saw, and others.
    pub async fn prove(&mut self, method: Method) -> Result<(), Failure> {
        {
            let mut all = self.0.authorizations();
            if let Some(first) = all.next().await {
                let mut authorization = first?;
                if authorization.status == AuthorizationStatus::Pending
                    && let Some(mut challenge) = authorization.challenge(kind(method))
                {
                    match steady!(challenge.set_ready().await) {
                        Ok(()) => {}
                        Err(Error::Api(problem)) if problem.status.is_none_or(|status| status < 500) => {
                            tracing::debug!(%problem, "acme.challenge"); // looked at already: the order tells
                        }
                        Err(e) => return Err(e.into()),
                    }
                }
            }
        }
        let status = match steady!(self.0.poll_ready(&WATCH).await) {
            Ok(status) => status,
            Err(Error::Api(problem)) if self.stage() == Stage::Over => {
                return Err(Failure::Rejected(self.what_it_saw().await.unwrap_or_else(|| said(&problem))));
            }
            Err(e) => return Err(e.into()),
        };
        if status == OrderStatus::Ready {
            return Ok(());
        }
        Err(Failure::Rejected(self.what_it_saw().await.unwrap_or_else(|| "The authority did not accept the proof.".into())))
    }

    /// What the authority found when it looked.
    async fn what_it_saw(&mut self) -> Option<String> {
        let mut all = self.0.authorizations();
        let mut authorization = all.next().await?.ok()?;
        let found = steady!(authorization.refresh().await).ok()?;
        let error = found.challenges.iter().find_map(|challenge| challenge.error.as_ref())?;
        Some(format!("The authority did not accept the proof: {}", said(error)))
    }

    /// Hands in the request, waits for the certificate and fetches it. The chain, PEM.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn certificate(&mut self, request: &[u8]) -> Result<String, Failure> {
        if self.stage() == Stage::Request {
            match steady!(self.0.finalize_csr(request).await) {
                // Handed in before, and the answer was lost.
                Err(Error::Api(problem)) if problem.r#type.as_deref().is_some_and(|kind| kind.ends_with(":orderNotReady")) => {}
                result => result?,
            }
        }
        Ok(steady!(self.0.poll_certificate(&WATCH).await)?)
    }
}

fn kind(method: Method) -> ChallengeType {
    match method {
        Method::Http01 => ChallengeType::Http01,
        Method::TlsAlpn01 => ChallengeType::TlsAlpn01,
        Method::Dns01 => ChallengeType::Dns01,
    }
}

/// The text of the record for DNS-01.
pub fn record_text(proof: &Proof) -> String {
    use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
    URL_SAFE_NO_PAD.encode(ring::digest::digest(&ring::digest::SHA256, proof.authorization.as_bytes()))
}

/// A fresh private key for a certificate, PEM.
///
/// # Errors
/// The reason, when the system has no randomness to give.
pub fn new_key() -> Result<String, String> {
    certs_rcgen::KeyPair::generate().map(|key| key.serialize_pem()).map_err(|e| e.to_string())
}

/// The request for a certificate of `key` (PEM) for one name or address.
///
/// # Errors
/// The reason, when there can be none for it.
pub fn request(key: &str, name: &str) -> Result<Vec<u8>, String> {
    let made = || -> Result<Vec<u8>, certs_rcgen::Error> {
        let key = certs_rcgen::KeyPair::from_pem(key)?;
        let mut params = certs_rcgen::CertificateParams::new(vec![name.to_string()])?;
        params.distinguished_name = certs_rcgen::DistinguishedName::new();
        Ok(params.serialize_request(&key)?.der().to_vec())
    };
    made().map_err(|e| e.to_string())
}
