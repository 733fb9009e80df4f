//! What a person prefers; clients keep notes here that the platform does not act on.

use crate::{Ctx, Error, Result, Service};
use domain::EventBody;
use serde_json::Value;
use std::collections::BTreeMap;
use store::{ReadRows, tables};

/// Names of the published schema, with the kind of their value.
const KNOWN: &[(&str, Kind)] = &[
    ("timezone", Kind::Text),
    ("default-organization", Kind::Text),
    ("dismissed-github-banner", Kind::Flag),
    ("dismissed-getting-started", Kind::Flag),
    ("dismissed-org-access-controls", Kind::Flag),
    ("dismissed-org-wizard-notification", Kind::Flag),
    ("dismissed-pipelines-banner", Kind::Flag),
    ("dismissed-pipelines-github-banner", Kind::Flag),
    ("dismissed-pipelines-github-banners", Kind::Ids),
    ("dismissed-sms-banner", Kind::Flag),
];
/// Longest text, and most ids in a list.
const TEXT_CHARS_MAX: usize = 200;
const IDS_MAX: usize = 200;

#[derive(Clone, Copy)]
enum Kind {
    Text,
    Flag,
    Ids,
}

impl Kind {
    fn takes(self, value: &Value) -> bool {
        let id = |value: &Value| value.as_str().is_some_and(|text| uuid::Uuid::parse_str(text).is_ok());
        match (self, value) {
            (Self::Text, Value::String(text)) => text.chars().count() <= TEXT_CHARS_MAX,
            (Self::Flag, Value::Bool(_)) | (_, Value::Null) => true,
            (Self::Ids, Value::Array(ids)) => ids.len() <= IDS_MAX && ids.iter().all(id),
            _ => false,
        }
    }
}

fn whole(mut set: BTreeMap<String, Value>) -> BTreeMap<String, Value> {
    for (name, kind) in KNOWN {
        let nothing = if matches!(kind, Kind::Ids) { Value::Array(Vec::new()) } else { Value::Null };
        set.entry((*name).into()).or_insert(nothing);
    }
    set
}

impl Service {
    /// All preferences of `who`, a name of whom may be `~`; `null` where nothing was set.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn preferences(&self, ctx: &Ctx, who: &str) -> Result<BTreeMap<String, Value>> {
        let account = self.account_of(ctx, who)?;
        Ok(whole(self.store().get(&tables::PREFERENCES, &account.id)?.unwrap_or_default()))
    }

    /// Sets some preferences of the caller; `null` unsets. Unknown names are ignored.
    ///
    /// # Errors
    /// `forbidden` for those of others; `invalid_params` for a value of the wrong kind.
    pub async fn set_preferences(
        &self,
        ctx: &Ctx,
        who: &str,
        change: BTreeMap<String, Value>,
    ) -> Result<BTreeMap<String, Value>> {
        let account = self.account_of(ctx, who)?;
        if ctx.account() != Some(account.id) {
            return Err(Error::forbidden("Preferences are set by their owner only."));
        }
        crate::access::check(self.store(), ctx, crate::Action::ManageAccount, crate::On::Platform)?;
        let known = |name: &String| KNOWN.iter().find(|(known, _)| known == name).map(|(_, kind)| *kind);
        for (name, value) in &change {
            if known(name).is_some_and(|kind| !kind.takes(value)) {
                return Err(Error::invalid(format!("{name} has a value of the wrong kind or one that is too long.")));
            }
        }
        let change: Vec<_> = change.into_iter().filter(|(name, _)| known(name).is_some()).collect();
        let (ctx, id) = (ctx.clone(), account.id);
        self.store()
            .commit(move |tx| {
                let mut set = tx.get(&tables::PREFERENCES, &id)?.unwrap_or_default();
                for (name, value) in change {
                    if value.is_null() {
                        set.remove(&name);
                    } else {
                        set.insert(name, value);
                    }
                }
                tx.put(&tables::PREFERENCES, &id, &set)?;
                tx.event(ctx.now, None, ctx.origin(), EventBody::PreferencesChanged)?;
                Ok(whole(set))
            })
            .await
    }
}
