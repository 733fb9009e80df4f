//! References in bodies: a bare text or an object (`platform-api.md` section 9).

use serde::{Deserialize, Deserializer};

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

    /// The id, else the name.
    pub(crate) fn id(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Object { name, id } => id.or(name),
        }
    }
}

/// For a field where `null` says something else than nothing: `None` is nothing, `Some(None)` is `null`.
pub(crate) fn said<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// True or false; older clients send 1 and 0.
pub(crate) fn flag<'de, D: Deserializer<'de>>(from: D) -> Result<Option<bool>, D::Error> {
    use serde::de::Error;
    match Option::<serde_json::Value>::deserialize(from)? {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::Bool(flag)) => Ok(Some(flag)),
        Some(number) if number == 0 => Ok(Some(false)),
        Some(number) if number == 1 => Ok(Some(true)),
        Some(other) => Err(D::Error::custom(format!("{other} is neither true nor false"))),
    }
}
