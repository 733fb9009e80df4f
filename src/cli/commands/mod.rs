//! What each command does, one file for each family.

pub mod access;
pub mod addons;
pub mod alerts;
pub mod apps;
pub mod auth;
pub mod buildpacks;
pub mod builds;
pub mod certs;
pub mod config;
pub mod doctor;
pub mod domains;
pub mod drains;
pub mod edit;
pub mod features;
pub mod git;
pub mod keys;
pub mod login;
pub mod logs;
pub mod meta;
pub mod metrics;
pub mod oauth;
pub mod one_offs;
pub mod pipelines;
pub mod policy;
pub mod promote;
pub mod ps;
pub mod releases;
pub mod schedules;
pub mod stacks;
pub mod teams;
pub mod usage;
pub mod volumes;
pub mod webhooks;

/// Name of the git remote.
pub const REMOTE: &str = "tidemill";

/// What every family uses.
mod prelude {
    pub use crate::{
        failure::{Failure, Result},
        output::{heading, labelled, table, warn},
        session::{Session, copy, encoded, field, items, own_address, show},
        verb::{Live, Topic, any, here, maybe, need, rest, some, switch, there, value, values},
    };
    pub use serde_json::{Map, Value, json};

    /// `--confirm NAME`.
    pub const CONFIRM: crate::verb::Arg = value("confirm", "The name again, instead of typing it").short('c');

    /// A failure about something that is not there.
    pub fn nothing(text: impl Into<String>) -> Failure {
        Failure { text: text.into(), exit: 4 }
    }

    /// The newest of a list of the app, such as `/releases`.
    pub fn newest(s: &Session, what: &str, key: &str) -> Result<Value> {
        let all = s.client.part(&s.path(&format!("/{what}"))?, &format!("{key} ..; max=1, order=desc"))?;
        items(&all).first().cloned().ok_or_else(|| nothing(format!("There are no {what} yet.")))
    }

    /// Rows of a list, one cell for each field.
    pub fn rows(list: &Value, fields: &[&str]) -> Vec<Vec<String>> {
        items(list).iter().map(|item| fields.iter().map(|f| text(item.pointer(f).unwrap_or(&Value::Null))).collect()).collect()
    }

    /// A value for people.
    pub fn text(value: &Value) -> String {
        match value {
            Value::Null => "–".into(),
            Value::String(text) => text.clone(),
            Value::Array(all) => all.iter().map(text).collect::<Vec<_>>().join(", "),
            other => other.to_string(),
        }
    }

    /// Bytes in a unit that fits.
    pub fn size(value: &Value) -> String {
        match value.as_u64() {
            None => "–".into(),
            Some(bytes) if bytes < 1 << 20 => format!("{} KiB", bytes.div_ceil(1024)),
            Some(bytes) => format!("{}.{} MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20),
        }
    }
}
