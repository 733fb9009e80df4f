//! What the machine says of itself: checks with a fix each, and the DNS records that lead to it (`ux.md` J1). The port between
//! whoever shows that and whoever looks.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Works, with a limit.
    Warn,
    /// Will not work.
    Fail,
}

impl Level {
    /// The word for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One look at the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Stable name, such as `swap`.
    pub id: String,
    /// How it ended.
    pub level: Level,
    /// What was found, in one line.
    pub text: String,
    /// What to do about it: a command or a sentence; `None` when all is well.
    pub fix: Option<String>,
}

impl Check {
    /// All is well.
    pub fn ok(id: &str, text: impl Into<String>) -> Self {
        Self { id: id.into(), level: Level::Ok, text: text.into(), fix: None }
    }

    /// It is not.
    pub fn bad(id: &str, level: Level, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { id: id.into(), level, text: text.into(), fix: Some(fix.into()) }
    }
}

/// A DNS record that the platform domain needs, and what is seen of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Name, `*.` in front for the wildcard.
    pub name: String,
    /// `A` or `AAAA`.
    pub kind: String,
    /// The address that it should have.
    pub want: IpAddr,
    /// Addresses that it has.
    pub seen: Vec<IpAddr>,
    /// It leads here.
    pub found: bool,
    /// Why nothing was seen, when that is no plain absence.
    pub problem: Option<String>,
}

/// Looks at the machine, and keeps the one setting that is made at the first start. All of it blocks for up to some seconds.
pub trait Machine: Send + Sync {
    /// All checks, in the order in which they are shown.
    fn checks(&self) -> Vec<Check>;
    /// Addresses at which the world finds this machine, as far as is known.
    fn addresses(&self) -> Vec<IpAddr>;
    /// The records of a platform domain, with what DNS says of them now.
    fn records(&self, domain: &str) -> Vec<Record>;
    /// Keeps another platform domain in the settings file and starts the daemon anew, when what is in progress is done.
    ///
    /// # Errors
    /// A sentence with the next step.
    fn set_domain(&self, domain: &str) -> Result<(), String>;
}

/// The domain for machines without one of their own: a public service answers for any name with an address in it.
pub fn sslip_domain(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => format!("{v4}.sslip.io"),
        IpAddr::V6(v6) => format!("{}.sslip.io", v6.to_string().replace(':', "-")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_domains() {
        assert_eq!(sslip_domain([203, 0, 113, 10].into()), "203.0.113.10.sslip.io");
        assert_eq!(sslip_domain("2001:db8::1".parse().unwrap()), "2001-db8--1.sslip.io");
        assert!(Level::Ok < Level::Warn && Level::Warn < Level::Fail);
    }
}
