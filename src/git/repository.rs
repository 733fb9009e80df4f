//! Repositories on disk, one bare one per app, named by id.

use domain::AppId;
use std::{
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::Command;

/// A `git` with nothing of the host's or a user's configuration.
pub fn git(home: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", home)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("LC_ALL", "C");
    command
}

/// Passes the client's protocol version on, if it is one.
pub fn protocol(command: &mut Command, version: Option<&str>) {
    let good = |v: &str| v.len() < 64 && v.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'=' || b == b':');
    if let Some(version) = version.filter(|v| good(v)) {
        command.env("GIT_PROTOCOL", version);
    }
}

/// Refs and abilities that `git VERB` (`receive-pack` or `upload-pack`) offers a client first.
///
/// # Errors
/// When `git` is not installed or fails.
pub async fn advertise(dir: &Path, app: AppId, verb: &str, version: Option<&str>) -> Result<Vec<u8>, String> {
    let path = ensure(dir, app).await?;
    let mut command = git(dir);
    protocol(&mut command, version);
    command.arg(verb).args(["--stateless-rpc", "--http-backend-info-refs"]).arg(path);
    let output = command.stdin(Stdio::null()).output().await.map_err(|e| e.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_string());
    }
    Ok(output.stdout)
}

/// Path of an app's repository.
pub fn path(dir: &Path, app: AppId) -> PathBuf {
    dir.join(format!("{app}.git"))
}

/// Makes the repository when it is not there.
///
/// # Errors
/// When `git` is not installed or fails.
pub async fn ensure(dir: &Path, app: AppId) -> Result<PathBuf, String> {
    let path = path(dir, app);
    if path.join("HEAD").exists() {
        return Ok(path);
    }
    std::fs::create_dir_all(dir).map_err(|e| e.to_string())?;
    let mut command = git(dir);
    command.args(["init", "--quiet", "--bare", "--initial-branch=main"]).arg(&path);
    let output = command.stdin(Stdio::null()).output().await.map_err(|e| format!("git: {e}; is git installed?"))?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_string());
    }
    Ok(path)
}
