//! Who acts, with what right, from where, and when.

use crate::access::Grant;
use domain::{Account, AccountId, Origin, UnixMs};
use std::net::IpAddr;
use uuid::Uuid;

/// Who acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Somebody who signed in.
    Account(Account),
    /// The platform itself.
    Platform,
    /// Root on the machine, by the control socket.
    Root,
}

/// The context of an operation.
#[derive(Clone, Debug)]
pub struct Ctx {
    /// Who acts.
    pub actor: Actor,
    /// What the token in use is for.
    pub grant: Grant,
    /// The browser session that is used, if one is.
    pub session: Option<Uuid>,
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
        Self { actor: Actor::Platform, grant: Grant::default(), session: None, request_id: None, address: None, now }
    }

    /// Root on the machine acts.
    pub fn root(now: UnixMs) -> Self {
        Self { actor: Actor::Root, ..Self::platform(now) }
    }

    /// Somebody acts, without the limits of a token.
    pub fn of(account: Account, now: UnixMs) -> Self {
        Self { actor: Actor::Account(account), ..Self::platform(now) }
    }

    /// Account of the actor.
    pub fn account(&self) -> Option<AccountId> {
        match &self.actor {
            Actor::Account(account) => Some(account.id),
            Actor::Platform | Actor::Root => None,
        }
    }

    /// What an event says about where it comes from.
    pub fn origin(&self) -> Origin {
        Origin {
            actor: self.account(),
            request_id: self.request_id.clone(),
            address: self.address,
            root: self.actor == Actor::Root,
        }
    }

    /// For log lines that people read.
    pub fn email(&self) -> &str {
        match &self.actor {
            Actor::Account(account) => &account.email,
            Actor::Platform => "tidemill",
            Actor::Root => "root on the machine",
        }
    }
}
