//! People, teams and shares. Field names are those of the published schema; [`Person`], [`Event`] and `invite_url` are
//! ours.

use crate::{NameRef, UserRef};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// `{id, email, name}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct NamedUser {
    pub id: Uuid,
    pub email: String,
    pub name: Option<String>,
}

/// `{id, email, federated}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct SharedUser {
    pub id: Uuid,
    pub email: String,
    pub federated: bool,
}

/// A team.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Team {
    pub id: Uuid,
    pub name: String,
    pub created_at: String,
    pub credit_card_collections: bool,
    pub default: bool,
    pub enterprise_account: Option<NameRef>,
    pub identity_provider: Option<NameRef>,
    pub membership_limit: Option<f64>,
    pub provisioned_licenses: bool,
    pub role: Option<String>,
    #[serde(rename = "type")]
    pub kind: String,
    pub updated_at: String,
}

/// A member of a team.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct TeamMember {
    pub id: Uuid,
    pub created_at: String,
    pub email: String,
    pub federated: bool,
    pub identity_provider: Option<NameRef>,
    pub role: Option<String>,
    pub two_factor_authentication: bool,
    pub updated_at: String,
    pub user: NamedUser,
}

/// An invitation to a team.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct TeamInvitation {
    pub id: Uuid,
    pub created_at: String,
    pub invited_by: NamedUser,
    pub team: NameRef,
    pub role: Option<String>,
    pub updated_at: String,
    pub user: NamedUser,
    /// Only in the answer that made it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub invite_url: Option<String>,
}

/// A permission with the sentence that explains it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Permission {
    pub name: String,
    pub description: String,
}

/// Somebody who works on an app.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Collaborator {
    pub id: Uuid,
    pub app: NameRef,
    pub created_at: String,
    pub permissions: Vec<Permission>,
    pub role: Option<String>,
    pub updated_at: String,
    pub user: SharedUser,
}

/// An app that is offered to somebody.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct AppTransfer {
    pub id: Uuid,
    pub app: NameRef,
    pub created_at: String,
    pub owner: UserRef,
    pub recipient: UserRef,
    pub state: String,
    pub updated_at: String,
}

/// Somebody on this installation, or an open invitation to it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Person {
    pub id: Uuid,
    pub email: String,
    pub name: Option<String>,
    /// `admin`, `member` or `viewer`.
    pub role: String,
    /// `active` or `invited`.
    pub state: String,
    pub two_factor_authentication: bool,
    pub created_at: String,
    pub last_login: Option<String>,
    /// Only in the answer that made the invitation.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub invite_url: Option<String>,
    /// When an invitation ends.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expires_at: Option<String>,
}

/// One line of the audit list.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Event {
    /// Grows with time; the sort key.
    pub seq: u64,
    pub created_at: String,
    /// `snake_case` word for what happened.
    pub action: String,
    /// What belongs to it; never a secret.
    pub data: serde_json::Value,
    pub app: Option<NameRef>,
    /// Nobody when the platform did it by itself.
    pub actor: Option<UserRef>,
    pub address: Option<String>,
    pub request_id: Option<String>,
    /// True when root on the machine did it, by the control socket.
    #[serde(default)]
    pub root: bool,
}
