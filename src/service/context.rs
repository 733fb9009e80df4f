//! Who acts, with what right, from where, and when.

use crate::access::Grant;
use domain::{Account, AccountId, Origin, UnixMs};
use std::net::IpAddr;

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Somebody who signed in.
    Account(Account),
    /// The platform itself.
    Platform,
}

/// The context of an operation.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// Who acts.
    pub actor: Actor,
    /// What the token in use is for.
    pub grant: Grant,
    /// For events and logs.
    pub request_id: Option<String>,
    /// Where the request came from, for the audit list.
    pub address: Option<IpAddr>,
    /// One "now" for the whole operation.
    pub now: UnixMs,
}

impl Ctx {
    /// The platform acts.
    pub fn platform(now: UnixMs) -> Self {
        Self { actor: Actor::Platform, grant: Grant::default(), request_id: None, address: None, now }
    }

    /// Somebody acts, without the limits of a token.
    pub fn of(account: Account, now: UnixMs) -> Self {
        Self { actor: Actor::Account(account), ..Self::platform(now) }
    }

    /// Account of the actor.
    pub fn account(&self) -> Option<AccountId> {
        match &self.actor {
            Actor::Account(account) => Some(account.id),
            Actor::Platform => None,
        }
    }

    /// What an event says about where it comes from.
    pub fn origin(&self) -> Origin {
        Origin { actor: self.account(), request_id: self.request_id.clone(), address: self.address }
    }

    /// For log lines that people read.
    pub fn email(&self) -> &str {
        match &self.actor {
            Actor::Account(account) => &account.email,
            Actor::Platform => "tidemill",
        }
    }
}
