//! References in bodies: a bare text or an object (`platform-api.md` section 9).

use serde::Deserialize;

/// A name, given as text or as `{"name": …}` (`platform-api.md` section 9).
#[derive(Deserialize)]
#[serde(untagged)]
pub(crate) enum Named {
    Text(String),
    Object { name: Option<String>, id: Option<String> },
}

impl Named {
    /// The name, else the id.
    pub(crate) fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Object { name, id } => name.or(id),
        }
    }
}
