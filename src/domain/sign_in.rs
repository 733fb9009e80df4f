//! What people sign in with, and what they are signed in by (`platform-api.md` section 4). Secrets are here only as
//! hashes or sealed.

use crate::{AccountId, Scope, UnixMs};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use uuid::Uuid;

/// What an account signs in with. Keyed by account.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secrets {
    /// PHC string of the password; `None` when none was set yet.
    #[serde(default)]
    pub password: Option<String>,
    /// Time-based codes, if they were asked for.
    #[serde(default)]
    pub second_factor: Option<SecondFactor>,
}

/// Time-based codes of six digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecondFactor {
    /// The shared secret, sealed.
    pub secret: String,
    /// A code was given once; before that it is not asked for.
    pub confirmed: bool,
    /// Step of the newest code that was used. It and older ones are not taken again.
    pub last_step: u64,
    /// Hashes of the recovery codes that are left.
    pub recovery: Vec<String>,
}

/// A browser that is signed in. Keyed by the hash of its cookie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Public id.
    pub id: Uuid,
    /// Whose.
    pub account: AccountId,
    /// What the browser calls itself.
    pub description: String,
    /// Where it signed in.
    pub address: Option<IpAddr>,
    /// When it signed in.
    pub created_at: UnixMs,
    /// Last use, to the hour.
    pub used_at: UnixMs,
}

impl Session {
    /// Ends without use.
    pub const IDLE_MS: u64 = 7 * 24 * 60 * 60 * 1000;
    /// Ends in any case.
    pub const AGE_MS: u64 = 30 * 24 * 60 * 60 * 1000;

    /// When it ends, if it is not used any more.
    pub fn ends_at(&self) -> UnixMs {
        self.used_at.plus_ms(Self::IDLE_MS).min(self.created_at.plus_ms(Self::AGE_MS))
    }
}

/// A program of somebody else's that people may let in by the web flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Key.
    pub id: Uuid,
    /// Who made it.
    pub account: AccountId,
    /// Shown when people are asked.
    pub name: String,
    /// Where people are sent back to.
    pub redirect_uri: String,
    /// Its secret, sealed: the API shows it.
    pub secret: String,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change.
    pub updated_at: UnixMs,
}

/// What a client gets in the browser and turns into tokens. Keyed by the hash of the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizationCode {
    /// Who let the client in.
    pub account: AccountId,
    /// The client.
    pub client: Uuid,
    /// For what.
    pub scopes: Vec<Scope>,
    /// Proof that is to be shown by who turns it in: SHA-256, base64url (RFC 7636).
    pub challenge: Option<String>,
    /// Not good at or after this time.
    pub expires_at: UnixMs,
    /// The authorization that it became; when it comes a second time, that ends.
    pub used: Option<Uuid>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_idle_or_old() {
        let at = |used_at| {
            let session = Session {
                id: Uuid::nil(),
                account: Uuid::nil().into(),
                description: String::new(),
                address: None,
                created_at: UnixMs(0),
                used_at: UnixMs(used_at),
            };
            session.ends_at().0
        };
        assert_eq!(at(0), Session::IDLE_MS);
        assert_eq!(at(5), Session::IDLE_MS + 5);
        assert_eq!(at(Session::AGE_MS - 5), Session::AGE_MS);
    }
}
