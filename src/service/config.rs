//! Config vars: every change makes a new sealed set and a release.

use crate::{Action, Ctx, Error, ReleaseDraft, Result, Service, add_release, find_app};
use domain::{App, AppId, EventBody, limits::CONFIG_BYTES_MAX, names};
use std::collections::BTreeMap;
use store::{ReadRows, Sealer, Tx, tables};

/// Key to value.
pub type Config = BTreeMap<String, String>;

fn context(app: AppId, version: u64) -> Vec<u8> {
    format!("config {app} {version}").into_bytes()
}

/// Reads the set `version` of an app.
///
/// # Errors
/// When it is not there or does not open.
pub fn read_config(rows: &impl ReadRows, sealer: &Sealer, app: AppId, version: u64) -> Result<Config> {
    let chunks = rows.scan(&tables::CONFIG, &(app, version))?;
    if chunks.is_empty() {
        return Ok(Config::new());
    }
    let plain = sealer.open(&context(app, version), &chunks)?;
    serde_json::from_slice(&plain).map_err(|e| Error::internal(format!("config of {app}: {e}")))
}

/// Writes a set; numbers are never used twice.
///
/// # Errors
/// When it can not be sealed.
pub fn write_config(tx: &mut Tx, sealer: &Sealer, app: AppId, version: u64, config: &Config) -> Result<()> {
    let plain = serde_json::to_vec(config).map_err(|e| Error::internal(e.to_string()))?;
    for (index, chunk) in (0u32..).zip(sealer.seal(&context(app, version), &plain)?) {
        tx.put(&tables::CONFIG, &(app, version, index), &chunk)?;
    }
    Ok(())
}

impl Service {
    /// The newest set.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn config(&self, ctx: &Ctx, app: &str) -> Result<Config> {
        let app = self.app_for(ctx, Action::ReadSecrets, app)?;
        read_config(self.store(), &self.parts().sealer, app.id, app.config_version)
    }

    /// Sets (`Some`) and removes (`None`) config vars and makes a release, unless nothing changes. Answers the whole set.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params` for a key or when all values together are too large.
    pub async fn change_config(&self, ctx: &Ctx, app: &str, change: BTreeMap<String, Option<String>>) -> Result<Config> {
        let app = self.app_for(ctx, Action::WriteSecrets, app)?;
        for (key, value) in &change {
            names::check_config_key(key).map_err(Error::invalid)?;
            if value.as_ref().is_some_and(|v| v.contains('\0')) {
                return Err(Error::invalid(format!("Value of {key} has a NUL character.")));
            }
        }
        let (ctx2, sealer, id) = (ctx.clone(), self.parts().sealer.clone(), app.id);
        let (config, done) = self
            .store()
            .commit(move |tx| {
                let mut app = find_app(tx, &id.to_string())?;
                let before = read_config(tx, &sealer, id, app.config_version)?;
                let mut config = before.clone();
                let (mut set, mut removed) = (Vec::new(), Vec::new());
                for (key, value) in change {
                    match value {
                        Some(value) if before.get(&key) != Some(&value) => {
                            config.insert(key.clone(), value);
                            set.push(key);
                        }
                        None if config.remove(&key).is_some() => removed.push(key),
                        _ => {}
                    }
                }
                check_size(&config)?;
                let Some(description) = describe(&set, &removed) else { return Ok((config, None)) };
                // Each change makes a release, so release numbers are free numbers for sets, also after a rollback.
                app.config_version = app.next_version;
                write_config(tx, &sealer, id, app.config_version, &config)?;
                let keys = set.into_iter().chain(removed).collect();
                tx.event(ctx2.now, Some(id), ctx2.origin(), EventBody::ConfigChanged { keys })?;
                let slug = current_slug(tx, &app)?;
                let release = add_release(
                    tx,
                    &ctx2,
                    &mut app,
                    ReleaseDraft { config_version: None, description: description.clone(), slug },
                )?;
                tx.put(&tables::APPS, &id, &app)?;
                Ok::<_, Error>((config, Some((description, release.version))))
            })
            .await?;
        if let Some((description, version)) = done {
            self.log_action(id, ctx, &description);
            self.log_action(id, ctx, &format!("Release v{version} created"));
        }
        Ok(config)
    }
}

pub(crate) fn check_size(config: &Config) -> Result<()> {
    let bytes: usize = config.iter().map(|(k, v)| k.len() + v.len()).sum();
    if bytes > CONFIG_BYTES_MAX {
        return Err(Error::invalid(format!(
            "Config vars would have {bytes} bytes in all, the limit is {CONFIG_BYTES_MAX}; keep large data in a file or a service."
        )));
    }
    Ok(())
}

/// `None` when nothing changed.
fn describe(set: &[String], removed: &[String]) -> Option<String> {
    match (set.is_empty(), removed.is_empty()) {
        (true, true) => None,
        (false, true) => Some(format!("Set {} config vars", set.join(", "))),
        (true, false) => Some(format!("Remove {} config vars", removed.join(", "))),
        (false, false) => Some(format!("Set {} and remove {} config vars", set.join(", "), removed.join(", "))),
    }
}

/// Slug of the current release.
pub(crate) fn current_slug(rows: &impl ReadRows, app: &App) -> Result<Option<domain::SlugId>> {
    let Some(version) = app.current else { return Ok(None) };
    Ok(rows.get(&tables::RELEASES, &(app.id, version))?.and_then(|r| r.slug))
}
