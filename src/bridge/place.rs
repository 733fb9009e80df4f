//! The bridge's folder, readable by nobody else; it goes with the bridge.

use crate::Bridge;
use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// A folder with what clients have to read.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// Makes it below the user's run-time folder, or the one for temporary files.
    ///
    /// # Errors
    /// What the system says.
    pub fn make(bridge: &Bridge) -> io::Result<Self> {
        let parent = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_dir());
        let mut builder = tempfile::Builder::new();
        builder.prefix("tidemill-bridge-").permissions(fs::Permissions::from_mode(0o700));
        let dir = builder.tempdir_in(parent.unwrap_or_else(std::env::temp_dir))?;
        let place = Self { dir };
        place.write("ca.pem", bridge.authority.as_bytes())?;
        place.write("node-ca.pem", &with_others(&bridge.authority, std::env::var_os("NODE_EXTRA_CA_CERTS")))?;
        place.write("git-ca.pem", &with_others(&bridge.authority, std::env::var_os("GIT_SSL_CAINFO")))?;
        place.write("gitconfig", git_config().as_bytes())?;
        Ok(place)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The authority's certificate.
    pub fn authority(&self) -> PathBuf {
        self.path().join("ca.pem")
    }

    /// The same and what the user's `GIT_SSL_CAINFO` names, where there is one: it comes before all that is configured.
    pub fn git_authorities(&self) -> Option<PathBuf> {
        std::env::var_os("GIT_SSL_CAINFO").map(|_| self.path().join("git-ca.pem"))
    }

    /// The same and what the user's Node was told to trust besides.
    pub fn node_authorities(&self) -> PathBuf {
        self.path().join("node-ca.pem")
    }

    /// The user's git configuration by reference. The CLI writes its credential helper into the global one at every command,
    /// and would leave a line there for every port that a bridge ever had.
    pub fn git_config(&self) -> PathBuf {
        self.path().join("gitconfig")
    }

    /// Where the shell leaves its process id.
    pub fn shell(&self) -> PathBuf {
        self.path().join("shell")
    }

    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(self.path().join(name));
        file?.write_all(bytes)
    }
}

fn with_others(authority: &str, file: Option<OsString>) -> Vec<u8> {
    let mut all = authority.as_bytes().to_vec();
    if let Some(mut others) = file.and_then(|file| fs::read(file).ok()) {
        all.append(&mut others);
    }
    all
}

/// Includes both files that git takes for global ones; one that is not there is passed over by git.
fn git_config() -> String {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let mut files = Vec::new();
    if let Some(file) = variable("GIT_CONFIG_GLOBAL") {
        files.push(file);
    } else if let Some(home) = variable("HOME") {
        let base = variable("XDG_CONFIG_HOME").unwrap_or_else(|| format!("{home}/.config"));
        files.extend([format!("{base}/git/config"), format!("{home}/.gitconfig")]);
    }
    let quoted = |file: &String| file.replace('\\', "\\\\").replace('"', "\\\"");
    files.iter().map(|file| format!("[include]\n\tpath = \"{}\"\n", quoted(file))).collect()
}
