//! Who acts, and when.

use domain::{Account, AccountId, UnixMs};

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Somebody with a valid token.
    Account(Account),
    /// The platform itself.
    Platform,
}

/// The context of an operation.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// Who acts.
    pub actor: Actor,
    /// For events and logs.
    pub request_id: Option<String>,
    /// One "now" for the whole operation.
    pub now: UnixMs,
}

impl Ctx {
    /// The platform acts.
    pub fn platform(now: UnixMs) -> Self {
        Self { actor: Actor::Platform, request_id: None, now }
    }

    /// Account of the actor.
    pub fn account(&self) -> Option<AccountId> {
        match &self.actor {
            Actor::Account(account) => Some(account.id),
            Actor::Platform => None,
        }
    }

    /// For log lines that people read.
    pub fn email(&self) -> &str {
        match &self.actor {
            Actor::Account(account) => &account.email,
            Actor::Platform => "tidemill",
        }
    }
}
