//! Who shares apps with whom: teams, their members, collaborators, and the rights that follow.

use crate::{AccountId, AppId, Role, TeamId, UnixMs};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Several people who own apps together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Team {
    /// Key.
    pub id: TeamId,
    /// Unique.
    pub name: String,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change.
    pub updated_at: UnixMs,
}

/// One person's place in a team. Keyed by team and account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// Public id.
    pub id: Uuid,
    /// The team.
    pub team: TeamId,
    /// The person.
    pub account: AccountId,
    /// What the person is to the team.
    pub role: Role,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change.
    pub updated_at: UnixMs,
}

/// A person who works on somebody else's app. Keyed by app and account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collaborator {
    /// Public id.
    pub id: Uuid,
    /// The person.
    pub account: AccountId,
    /// What the person may do.
    pub rights: Rights,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change.
    pub updated_at: UnixMs,
}

/// A person who was asked to come. Keyed by the hash of the secret of its link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invitation {
    /// Public id.
    pub id: Uuid,
    /// Whom.
    pub email: String,
    /// Place on the installation, or in the team.
    pub role: Role,
    /// The team, if it is for one.
    pub team: Option<TeamId>,
    /// Who asked.
    pub by: AccountId,
    /// Creation time.
    pub created_at: UnixMs,
    /// Not valid at or after this time.
    pub expires_at: UnixMs,
}

/// What became of the offer of an app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransferState {
    /// Not answered.
    Pending,
    /// The app has changed hands.
    Accepted,
    /// It has not.
    Declined,
}

impl TransferState {
    /// The word of the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Accepted => "accepted",
            Self::Declined => "declined",
        }
    }
}

/// An app that is offered to somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transfer {
    /// Key.
    pub id: Uuid,
    /// Which app.
    pub app: AppId,
    /// Who has it.
    pub owner: AccountId,
    /// Who shall get it.
    pub recipient: AccountId,
    /// What became of it.
    pub state: TransferState,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change.
    pub updated_at: UnixMs,
}

/// What somebody may do with one app. The words are those of the permissions of team apps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// See the app, its releases, dynos and logs.
    pub view: bool,
    /// Build and release.
    pub deploy: bool,
    /// Scale, configure, see config vars, run commands.
    pub operate: bool,
    /// Rename, share, hand over, destroy.
    pub manage: bool,
}

impl Rights {
    /// Everything.
    pub const ALL: Self = Self { view: true, deploy: true, operate: true, manage: true };
    /// All work, but not the app itself: what a collaborator of a personal app may.
    pub const WORK: Self = Self { view: true, deploy: true, operate: true, manage: false };
    /// Looking only.
    pub const VIEW: Self = Self { view: true, deploy: false, operate: false, manage: false };
    /// Nothing.
    pub const NONE: Self = Self { view: false, deploy: false, operate: false, manage: false };

    /// Words of the wire. Each right includes the right to look.
    ///
    /// # Errors
    /// The word that is none.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let mut rights = Self::VIEW;
        for word in words {
            match word {
                "view" => {}
                "deploy" => rights.deploy = true,
                "operate" => rights.operate = true,
                "manage" => rights.manage = true,
                other => return Err(format!("{other:?} is no permission; there is view, deploy, operate and manage.")),
            }
        }
        Ok(rights)
    }

    /// Words of the wire.
    pub fn words(self) -> Vec<&'static str> {
        let all = [("view", self.view), ("deploy", self.deploy), ("operate", self.operate), ("manage", self.manage)];
        all.into_iter().filter_map(|(word, on)| on.then_some(word)).collect()
    }

    /// What either gives.
    pub fn or(self, other: Self) -> Self {
        Self {
            view: self.view || other.view,
            deploy: self.deploy || other.deploy,
            operate: self.operate || other.operate,
            manage: self.manage || other.manage,
        }
    }

    /// A viewer of the installation never gets more than a look.
    pub fn capped(self, role: Role) -> Self {
        if role == Role::Viewer { Self { view: self.view, ..Self::NONE } } else { self }
    }
}

/// What a place in a team gives with the team's apps. A locked app is worked on only by those who joined it.
pub fn team_rights(role: Role, locked: bool) -> Rights {
    match role {
        Role::Admin => Rights::ALL,
        Role::Member if locked => Rights::VIEW,
        Role::Member => Rights::WORK,
        Role::Viewer => Rights::VIEW,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_words_and_back() {
        assert_eq!(Rights::parse(["deploy"]).unwrap().words(), ["view", "deploy"]);
        assert_eq!(Rights::parse(["view", "deploy", "operate", "manage"]), Ok(Rights::ALL));
        assert!(Rights::parse(["root"]).unwrap_err().contains("root"));
    }

    #[test]
    fn a_viewer_only_looks_whatever_was_shared() {
        assert_eq!(Rights::ALL.capped(Role::Viewer), Rights::VIEW);
        assert_eq!(Rights::NONE.capped(Role::Viewer), Rights::NONE);
        assert_eq!(Rights::ALL.capped(Role::Member), Rights::ALL);
    }
}
