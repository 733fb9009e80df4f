//! Certificates: which one answers for a name. ACME comes with the issue "Router and certificates"; until then every domain's
//! certificate management is off, and TLS on the platform's port has a certificate of the platform's own authority ([`own`]).
//!
//! This room must not know sockets or the store; it gets names and gives answers.

pub mod loopback;
pub mod own;

/// State of a domain's managed certificate (`acm.md`), in the words of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcmStatus {
    /// Nobody asked for one.
    Disabled,
}

impl AcmStatus {
    /// The word of the API; `None` while managed certificates are off.
    pub fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Disabled => None,
        }
    }
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
