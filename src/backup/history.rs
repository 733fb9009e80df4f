//! What became of backups: a small file in the data folder, since they are made with and without the daemon.

use crate::{Error, Result};
use domain::backup::{Backup, KEPT};
use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

const FOLDER: &str = "backups";
const FILE: &str = "history.json";

/// All that are remembered, the oldest first. A file that can not be read is an empty one: it is no reason to make no more.
pub fn history(data_dir: &Path) -> Vec<Backup> {
    let text = fs::read(data_dir.join(FOLDER).join(FILE)).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Adds one.
///
/// # Errors
/// When it can not be written.
pub fn remember(data_dir: &Path, backup: Backup) -> Result<()> {
    let folder = data_dir.join(FOLDER);
    let failed = |e: io::Error| Error::io("write", &folder, &e);
    fs::create_dir_all(&folder).map_err(failed)?;
    let lock = File::create(folder.join(".lock")).map_err(failed)?;
    lock.lock().map_err(failed)?;
    let mut all = history(data_dir);
    all.push(backup);
    let over = all.len().saturating_sub(KEPT);
    all.drain(..over);
    let text = serde_json::to_vec_pretty(&all).map_err(|e| Error::Unsound(e.to_string()))?;
    let mut partial = tempfile::NamedTempFile::new_in(&folder).map_err(failed)?;
    partial.write_all(&text).and_then(|()| partial.as_file().sync_all()).map_err(failed)?;
    partial.persist(folder.join(FILE)).map_err(|e| failed(e.error))?;
    Ok(())
}
