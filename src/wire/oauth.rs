//! Authorizations, clients and tokens (`platform-api.md` section 4.7).

use crate::NameRef;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A token as it is shown: whole once, afterwards with its first characters only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct TokenRef {
    pub id: Uuid,
    pub token: String,
    /// Seconds; `null` for no end.
    pub expires_in: Option<u64>,
}

/// Who an authorization belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Owner {
    pub id: Uuid,
    pub email: String,
    pub full_name: Option<String>,
}

/// The client of an authorization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct ClientRef {
    pub id: Uuid,
    pub name: String,
    pub redirect_uri: String,
}

/// An authorization.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Authorization {
    pub id: Uuid,
    pub access_token: TokenRef,
    pub client: Option<ClientRef>,
    pub created_at: String,
    pub description: String,
    /// Always `null`: codes are not shown.
    pub grant: Option<()>,
    pub refresh_token: Option<TokenRef>,
    pub scope: Vec<String>,
    /// Always `null`: tokens have no session.
    pub session: Option<()>,
    pub updated_at: String,
    pub user: Owner,
    /// The only app that the token is good for; ours.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub app: Option<NameRef>,
}

/// An OAuth client.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct OauthClient {
    pub id: Uuid,
    pub name: String,
    pub redirect_uri: String,
    pub secret: String,
    pub ignores_delinquent: Option<bool>,
    pub created_at: String,
    pub updated_at: String,
}

/// A browser session.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Session {
    pub id: Uuid,
    pub description: String,
    pub expires_in: u64,
    pub created_at: String,
}
