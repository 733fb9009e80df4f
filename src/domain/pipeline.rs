//! Pipelines: apps that are stages of one, and the promotion of code from stage to stage (`platform-api.md` section 13).

use crate::{AccountId, AppId, PipelineId, ReleaseId, TeamId, UnixMs};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Whose a pipeline is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Owner {
    /// A person's.
    User(AccountId),
    /// A team's.
    Team(TeamId),
}

impl Owner {
    /// The word of the API.
    pub fn kind(self) -> &'static str {
        match self {
            Self::User(_) => "user",
            Self::Team(_) => "team",
        }
    }

    /// The id of the person or team.
    pub fn id(self) -> Uuid {
        match self {
            Self::User(account) => account.0,
            Self::Team(team) => team.0,
        }
    }
}

/// Several apps that are stages of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pipeline {
    /// Key.
    pub id: PipelineId,
    /// Unique; see [`check_name`].
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change.
    pub updated_at: UnixMs,
}

/// What an app is in its pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum Stage {
    Test,
    Review,
    Development,
    Staging,
    Production,
}

impl Stage {
    /// All, in the order in which code goes through them.
    pub const ALL: [Self; 5] = [Self::Test, Self::Review, Self::Development, Self::Staging, Self::Production];

    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Review => "review",
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }

    /// Number in keys of rows; never changes.
    pub fn number(self) -> u32 {
        match self {
            Self::Test => 0,
            Self::Review => 1,
            Self::Development => 2,
            Self::Staging => 3,
            Self::Production => 4,
        }
    }
}

impl std::str::FromStr for Stage {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|stage| stage.as_str() == text);
        found.ok_or_else(|| {
            format!("Stage {text:?} is not possible; there is test, review, development, staging and production.")
        })
    }
}

/// The place of an app in a pipeline. Keyed by the app, so that it has only one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Coupling {
    /// Public id.
    pub id: Uuid,
    /// The app.
    pub app: AppId,
    /// Its pipeline.
    pub pipeline: PipelineId,
    /// What it is there.
    pub stage: Stage,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change.
    pub updated_at: UnixMs,
}

/// How far a promotion is with one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TargetStatus {
    /// Waiting, in its release phase, or starting.
    Pending,
    /// It serves.
    Succeeded,
    /// It does not, and what served before still does.
    Failed,
}

impl TargetStatus {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

/// One app that gets the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Public id; also that of the target's own copy of the slug.
    pub id: Uuid,
    /// The app.
    pub app: AppId,
    /// How far it is.
    pub status: TargetStatus,
    /// The release, as soon as there is one.
    pub release: Option<(ReleaseId, u64)>,
    /// Why it failed.
    pub error: Option<String>,
}

/// Code of one app on its way to others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    /// Public id.
    pub id: Uuid,
    /// Where it happens.
    pub pipeline: PipelineId,
    /// The app whose code it is.
    pub source: AppId,
    /// Its release with the code.
    pub release: (ReleaseId, u64),
    /// Who asked for it.
    pub user: AccountId,
    /// Who gets it.
    pub targets: Vec<Target>,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change.
    pub updated_at: UnixMs,
}

impl Promotion {
    /// The word of the API.
    pub fn status(&self) -> &'static str {
        if self.targets.iter().any(|t| t.status == TargetStatus::Pending) { "pending" } else { "completed" }
    }
}

/// Checks the name of a pipeline: 3 to 30 characters, `^[a-z][a-z0-9-]{2,29}$`.
///
/// # Errors
/// The text for the user.
pub fn check_name(name: &str) -> Result<(), String> {
    let inner = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let good = (3..=30).contains(&name.len()) && name.as_bytes()[0].is_ascii_lowercase() && name.bytes().all(inner);
    if good && crate::ids::parse_uuid(name).is_err() {
        return Ok(());
    }
    Err("Name of a pipeline must start with a lowercase letter and can only contain lowercase letters, numbers, and dashes; \
         3 to 30 characters."
        .into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_published_pattern() {
        for good in ["abc", "shop-", "a00", "abcdefghijklmnopqrstuvwxyz0123"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "ab", "Shop", "1shop", "sh op", "sh/op", "äbc", "abcdefghijklmnopqrstuvwxyz01234"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn stages_are_words_and_back_and_their_numbers_differ() {
        for stage in Stage::ALL {
            assert_eq!(stage.as_str().parse(), Ok(stage));
        }
        let numbers: std::collections::HashSet<u32> = Stage::ALL.into_iter().map(Stage::number).collect();
        assert_eq!(numbers.len(), Stage::ALL.len());
        assert!("prod".parse::<Stage>().unwrap_err().contains("production"));
    }
}
