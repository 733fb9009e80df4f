//! Uploaded certificates (`acm.md` section 3).

use crate::{AppId, UnixMs};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An uploaded certificate. Its private key is sealed in a table of its own and never shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SniEndpoint {
    /// Public id.
    pub id: Uuid,
    /// Owning app.
    pub app: AppId,
    /// Unique within the app, such as `heron-04217`.
    pub name: String,
    /// What the certificate says.
    pub facts: CertFacts,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change.
    pub updated_at: UnixMs,
}

/// What is known of a certificate that passed the checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertFacts {
    /// PEM, leaf first, then who signed whom.
    pub chain: String,
    /// Host names that it is for; may begin with `*.`.
    pub names: Vec<String>,
    /// Who signed it.
    pub issuer: String,
    /// Whose it is.
    pub subject: String,
    /// Not valid before.
    pub starts_at: UnixMs,
    /// Not valid after.
    pub expires_at: UnixMs,
    /// Signed with its own key.
    pub self_signed: bool,
}

impl CertFacts {
    /// True when the certificate is for `domain`, which may be a wildcard itself.
    pub fn covers(&self, domain: &str) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(domain) || covers(name, domain))
    }
}

/// Reads and checks what users upload; `service` knows no certificates.
pub trait Inspect: Send + Sync {
    /// Checks a chain and its private key, both PEM, and puts the chain in order.
    ///
    /// # Errors
    /// The reason, for the user.
    fn inspect(&self, chain: &str, key: &str, now: UnixMs) -> Result<CertFacts, String>;
}

/// True when a certificate for `pattern` covers `host`: equal, or a wildcard exactly one label deep (RFC 9525, 6.3).
pub fn covers(pattern: &str, host: &str) -> bool {
    match pattern.strip_prefix("*.") {
        Some(parent) => {
            host.split_once('.').is_some_and(|(label, rest)| !label.is_empty() && rest.eq_ignore_ascii_case(parent))
        }
        None => pattern.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_are_one_label_deep() {
        assert!(covers("*.a.com", "x.a.com") && covers("a.com", "A.com"));
        assert!(!covers("*.a.com", "a.com") && !covers("*.a.com", "x.y.a.com") && !covers("*.a.com", ".a.com"));
    }
}
