//! Typed identifiers. Everything internal is keyed by id, never by name (`architecture.md` section 5).

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The sixteen bytes, in the order used for keys.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0.hyphenated())
            }
        }
        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                parse_uuid(text).map(Self)
            }
        }
    };
}

id!(
    /// A person or machine that may sign in.
    AccountId
);
id!(
    /// An app; stays the same when the app is renamed.
    AppId
);
id!(
    /// One run of the builder.
    BuildId
);
id!(
    /// One running container; a restart makes a new one (`runtime.md` section 2).
    DynoId
);
id!(
    /// A public key of an account.
    KeyId
);
id!(
    /// A release; people use its version.
    ReleaseId
);
id!(
    /// A scheduled command.
    ScheduleId
);
id!(
    /// A built, compressed app.
    SlugId
);
id!(
    /// Several people who own apps together.
    TeamId
);

/// Accepts only the hyphenated form, so that an app name can not be mistaken for an id (`platform-api.md` section 9).
pub fn parse_uuid(text: &str) -> Result<Uuid, uuid::Error> {
    if text.len() != 36 {
        return Uuid::parse_str("");
    }
    Uuid::parse_str(text)
}
