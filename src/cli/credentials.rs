//! Servers and tokens of this user: `~/.config/tidemill/credentials.json`, readable by nobody else.

use crate::{
    failure::{Failure, Result},
    tls::Trust,
};
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// What the file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Credentials {
    /// Server signed in to last.
    pub default: Option<String>,
    /// Address to token.
    pub hosts: BTreeMap<String, String>,
    /// Address to authorities, as PEM, that were given at sign-in.
    #[serde(default)]
    pub authorities: BTreeMap<String, String>,
    /// Address to SHA-256 of the certificate that was confirmed at sign-in.
    #[serde(default)]
    pub certificates: BTreeMap<String, String>,
}

/// The folder of this program's settings.
pub fn folder() -> Result<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let base = base.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    base.map(|b| b.join("tidemill"))
        .ok_or_else(|| Failure::usage("HOME is not set; set it or TIDEMILL_HOST and TIDEMILL_API_KEY."))
}

impl Credentials {
    /// Reads the file; a missing one is empty.
    pub fn load() -> Result<Self> {
        let Ok(path) = folder().map(|f| f.join("credentials.json")) else { return Ok(Self::default()) };
        match fs::read(&path) {
            Ok(bytes) => {
                let open = fs::metadata(&path).is_ok_and(|m| m.permissions().mode() & 0o077 != 0);
                if open && fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).is_ok() {
                    crate::output::warn(&format!("{} could be read by others; now it can not.", path.display()));
                }
                serde_json::from_slice(&bytes).map_err(|e| Failure::failed(format!("{} is damaged: {e}", path.display())))
            }
            Err(_) => Ok(Self::default()),
        }
    }

    /// Writes the file whole or not at all.
    pub fn save(&self) -> Result<()> {
        let json = serde_json::to_vec_pretty(self).map_err(|e| Failure::failed(e.to_string()))?;
        write(&folder()?.join("credentials.json"), &json)
    }

    /// Whom to trust for a server.
    pub fn trust(&self, base: &str) -> Trust {
        match (self.authorities.get(base), self.certificates.get(base)) {
            (Some(pem), _) => Trust::Authorities(pem.clone()),
            (None, Some(fingerprint)) => Trust::Certificate(fingerprint.clone()),
            (None, None) => Trust::System,
        }
    }

    /// Forgets a server.
    pub fn forget(&mut self, base: &str) {
        self.hosts.remove(base);
        self.authorities.remove(base);
        self.certificates.remove(base);
        if self.default.as_deref() == Some(base) {
            self.default = self.hosts.keys().next().cloned();
        }
    }
}

/// Writes a file that only this user can read, whole or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |e: std::io::Error| Failure::failed(format!("{}: {e}", path.display()));
    path.parent().map_or(Ok(()), fs::create_dir_all).map_err(failed)?;
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    let _ = fs::remove_file(&partial); // left by a write that was cut short
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial).map_err(failed)?;
    file.write_all(bytes).and_then(|()| fs::rename(&partial, path)).map_err(failed)
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
