//! People, what they may do on this host, and the tokens they do it with.

use crate::{AccountId, AppId, UnixMs};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What someone is to the whole installation (`ux.md` J10).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "StoredRole", rename_all = "snake_case")]
pub enum Role {
    /// May do everything.
    Admin,
    /// Makes apps; works on those and on what was shared.
    #[default]
    Member,
    /// Reads what was shared, never config values.
    Viewer,
}

/// Rows of the first releases had a flag instead of a role.
#[derive(Deserialize)]
#[serde(untagged)]
enum StoredRole {
    Flag(bool),
    Name(RoleName),
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RoleName {
    Admin,
    Member,
    Viewer,
}

impl From<StoredRole> for Role {
    fn from(stored: StoredRole) -> Self {
        match stored {
            StoredRole::Flag(true) | StoredRole::Name(RoleName::Admin) => Self::Admin,
            StoredRole::Flag(false) | StoredRole::Name(RoleName::Member) => Self::Member,
            StoredRole::Name(RoleName::Viewer) => Self::Viewer,
        }
    }
}

impl Role {
    /// The word of the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Member => "member",
            Self::Viewer => "viewer",
        }
    }

    /// Reads the word of the wire.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Admin, Self::Member, Self::Viewer].into_iter().find(|role| role.as_str() == text)
    }
}

/// Someone who may sign in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Key.
    pub id: AccountId,
    /// Unique, lower case.
    pub email: String,
    /// Shown in the account answer.
    pub name: Option<String>,
    /// What the person is to the installation.
    #[serde(alias = "admin")]
    pub role: Role,
    /// Signing in asks for a code, too.
    #[serde(default)]
    pub two_factor: bool,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change by the person or an admin; `None` for rows that were never changed.
    #[serde(default)]
    pub updated_at: Option<UnixMs>,
    /// Last time somebody signed in.
    #[serde(default)]
    pub last_login: Option<UnixMs>,
}

impl Account {
    /// May do everything on this host.
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }
}

/// What a token may be used for (`platform-api.md` section 4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// Everything that its owner may do.
    Global,
    /// Read the account.
    Identity,
    /// Read apps, without config vars.
    Read,
    /// Also change apps.
    Write,
    /// Read apps with config vars.
    ReadProtected,
    /// Change apps and config vars.
    WriteProtected,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Global, Self::Identity, Self::Read, Self::Write, Self::ReadProtected, Self::WriteProtected];

    /// The word of the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Global => "global",
            Self::Identity => "identity",
            Self::Read => "read",
            Self::Write => "write",
            Self::ReadProtected => "read-protected",
            Self::WriteProtected => "write-protected",
        }
    }

    /// Reads the word of the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}

/// An authorization with its access token. Of the token only the hash is kept, which is the key of the row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Public id of the authorization.
    pub id: Uuid,
    /// Whose token it is.
    pub account: AccountId,
    /// What the owner calls it.
    pub description: String,
    /// First characters, to tell tokens apart in a list.
    pub prefix: String,
    /// What it may be used for.
    #[serde(default = "global")]
    pub scopes: Vec<Scope>,
    /// The only app that it is good for, if it is bound to one.
    #[serde(default)]
    pub app: Option<AppId>,
    /// The client that got it by the web flow, if one.
    #[serde(default)]
    pub client: Option<Uuid>,
    /// Hash of the refresh token and its public id, if it has one.
    #[serde(default)]
    pub refresh: Option<(Uuid, String)>,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change of description or token; `None` for never.
    #[serde(default)]
    pub updated_at: Option<UnixMs>,
    /// `None` for no end.
    pub expires_at: Option<UnixMs>,
}

fn global() -> Vec<Scope> {
    vec![Scope::Global]
}

/// A one-time link that lets its holder become the first admin. Keyed by its hash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupLink {
    /// Not valid at or after this time.
    pub expires_at: UnixMs,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_of_the_first_releases_are_read() {
        let old = r#"{"id":"00000000-0000-4000-8000-000000000001","email":"a@b.c","name":null,"admin":true,"created_at":5}"#;
        let account: Account = serde_json::from_str(old).unwrap();
        assert_eq!((account.role, account.two_factor, account.last_login), (Role::Admin, false, None));
        let again: Account = serde_json::from_str(&serde_json::to_string(&account).unwrap()).unwrap();
        assert_eq!(again, account);
    }

    #[test]
    fn tokens_of_the_first_releases_may_do_everything() {
        let old = r#"{"id":"00000000-0000-4000-8000-000000000001","account":"00000000-0000-4000-8000-000000000002",
            "description":"d","prefix":"HRKU-","created_at":5,"expires_at":null}"#;
        let token: Token = serde_json::from_str(old).unwrap();
        assert_eq!((token.scopes, token.app), (vec![Scope::Global], None));
    }

    #[test]
    fn words_come_back_as_they_went_out() {
        assert!(Scope::ALL.into_iter().all(|scope| Scope::parse(scope.as_str()) == Some(scope)));
        assert_eq!((Scope::parse("admin"), Role::parse("viewer")), (None, Some(Role::Viewer)));
    }
}
