//! Servers and tokens of this user: `~/.config/tidemill/credentials.json`, readable by nobody else.

use crate::failure::{Failure, Result};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fs, io::Write, os::unix::fs::OpenOptionsExt, path::PathBuf};

/// What the file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Credentials {
    /// Server signed in to last.
    pub default: Option<String>,
    /// Address to token.
    pub hosts: BTreeMap<String, String>,
}

fn path() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    base.map(|b| b.join("tidemill/credentials.json"))
        .ok_or_else(|| Failure::usage("HOME is not set; set it or TIDEMILL_HOST and TIDEMILL_API_KEY."))
}

impl Credentials {
    /// Reads the file; a missing one is empty.
    pub fn load() -> Result<Self> {
        let path = path()?;
        match fs::read(&path) {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map_err(|e| Failure::failed(format!("{} is damaged: {e}", path.display())))
            }
            Err(_) => Ok(Self::default()),
        }
    }

    /// Writes the file whole or not at all.
    pub fn save(&self) -> Result<()> {
        let path = path()?;
        let failed = |e: std::io::Error| Failure::failed(format!("{}: {e}", path.display()));
        let json = serde_json::to_vec_pretty(self).map_err(|e| Failure::failed(e.to_string()))?;
        path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
        let partial = path.with_extension("partial");
        let _ = fs::remove_file(&partial); // left by a write that was cut short
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial).map_err(failed)?;
        file.write_all(&json).and_then(|()| fs::rename(&partial, &path)).map_err(failed)
    }
}

/// Scheme, host and port, without a slash at the end.
pub fn normal_url(url: &str) -> Result<String> {
    let url = url.trim().trim_end_matches('/');
    let url = if url.contains("://") { url.to_string() } else { format!("https://{url}") };
    let good = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    match good {
        Some(rest) if !rest.is_empty() && !rest.contains(['/', '@', ' ']) => Ok(url),
        _ => Err(Failure::usage(format!("{url} is no server address; give one such as https://paas.example.com"))),
    }
}
