//! From rows to the drains that run.

use crate::Parts;
use domain::{LogDrain, drain::DrainUrl};
use logs::drains::DrainSpec;
use store::{ReadRows, tables};

/// Reads all anew. One whose URL can not be read is told and left out.
pub fn refresh(parts: &Parts) -> Result<(), service::Error> {
    let rows = parts.store.scan(&tables::DRAINS, &())?;
    let wanted = rows.iter().filter_map(|row| match spec(parts, row) {
        Ok(spec) => Some(spec),
        Err(reason) => {
            tracing::error!(drain = %row.id, %reason, "engine.drain_unusable");
            None
        }
    });
    parts.service.log_drains().set(wanted.collect());
    Ok(())
}

fn spec(parts: &Parts, row: &LogDrain) -> Result<DrainSpec, String> {
    let url = service::read_drain_url(&parts.sealer, row).map_err(|e| e.to_string())?;
    let url = DrainUrl::parse(&url)?;
    let app = parts.store.get(&tables::APPS, &row.app).map_err(|e| e.to_string())?;
    let service = app.map(|app| app.name).unwrap_or_default();
    Ok(DrainSpec { id: row.id, app: row.app, token: row.token.clone(), service, url, after_seq: row.after_seq })
}
