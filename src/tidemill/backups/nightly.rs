//! The backup of every night: the daemon starts a process of its own for it, so that what it needs of memory goes away with
//! it, and that its end is no end of the daemon.

use super::{passphrase, work};
use crate::config::Config;
use backup::{Error, Result};
use domain::{UnixMs, backup::Backup};
use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Hidden verb of the process.
pub const VERB: &str = "backup:nightly";
/// The clock is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// After one that failed the next is tried.
const AGAIN_MS: u64 = 60 * 60 * 1000;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;
const HOUR_MS: u64 = 60 * 60 * 1000;

/// Is it time? At the hour of each day; later when the machine was off then, or when it failed. The first one is made in
/// the first such hour after the installation began.
fn is_due(hour: u64, history: &[Backup], running_since: UnixMs, now: UnixMs) -> bool {
    let today = now.0 / DAY_MS * DAY_MS + hour * HOUR_MS;
    let slot = if now.0 >= today { today } else { today.saturating_sub(DAY_MS) };
    let tries = || history.iter().filter(|backup| backup.scheduled);
    match tries().map(|backup| backup.at.0).max() {
        None => slot >= running_since.0,
        Some(last) if last < slot => true,
        Some(last) => tries().all(|b| b.at.0 < slot || b.error.is_some()) && now.0 >= last + AGAIN_MS,
    }
}

/// Looks at the clock until the daemon ends.
pub fn start(config: Config, now: impl Fn() -> UnixMs + Send + 'static) {
    let since = now();
    if !config.backup_nightly {
        return;
    }
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            if is_due(config.backup_hour, &backup::history(&config.data_dir), since, now()) {
                run(&config).await;
            }
        }
    });
}

async fn run(config: &Config) {
    let mut command = tokio::process::Command::new("/proc/self/exe");
    command.arg(VERB).arg("--data-dir").arg(&config.data_dir).arg("--domain").arg(&config.domain);
    command.arg("--backup-keep").arg(config.backup_keep.to_string());
    let file = Some(config.file.clone()).filter(|file| file.exists());
    let paths = [
        ("--config", &file),
        ("--backup-dir", &config.backup_dir),
        ("--backup-passphrase-file", &config.backup_passphrase_file),
    ];
    for (flag, path) in paths {
        if let Some(path) = path {
            command.arg(flag).arg(path);
        }
    }
    match command.kill_on_drop(true).output().await {
        Ok(output) if output.status.success() => tracing::info!("backup.made"),
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr);
            tracing::error!(why = why.trim(), "backup.failed: trying again in an hour");
        }
        Err(e) => tracing::error!(error = %e, "backup.failed: the process could not be started"),
    }
}

/// What that process does.
pub fn make(config: &Config) -> Result<Backup> {
    // Apps and visitors go first.
    let _ = rustix::process::nice(10); // without it the backup is only less polite
    let folder = config.backup_dir.clone().unwrap_or_else(|| config.data_dir.join("backups"));
    fs::create_dir_all(&folder).map_err(|e| Error::io("make", &folder, &e))?;
    backup::sweep(&folder);
    let secret = match &config.backup_passphrase_file {
        Some(file) => passphrase::read(file)?,
        None => own_passphrase(&config.data_dir)?,
    };
    let to = free_name(&folder, domain::time::Clock::now(&crate::clock::SystemClock));
    let made = work::create(config, &to, &secret, true)?;
    prune(&folder, config.backup_keep)?;
    Ok(made)
}

/// `tidemill-2026-11-25T03-00-07Z.backup`; by name they are in the order of time.
fn free_name(folder: &Path, now: UnixMs) -> PathBuf {
    (now.0 / 1000..)
        .map(|second| folder.join(format!("tidemill-{}.backup", wire::time(second * 1000).replace(':', "-"))))
        .find(|path| !path.exists())
        .unwrap_or_else(|| folder.join("tidemill.backup"))
}

/// Removes all but the newest. Others in the folder stay.
fn prune(folder: &Path, keep: usize) -> Result<()> {
    let entries = fs::read_dir(folder).map_err(|e| Error::io("read", folder, &e))?.flatten();
    let is_ours = |name: &str| name.starts_with("tidemill-") && name.ends_with(".backup");
    let mut ours: Vec<PathBuf> =
        entries.filter(|entry| entry.file_name().to_str().is_some_and(is_ours)).map(|entry| entry.path()).collect();
    ours.sort();
    let over = ours.len().saturating_sub(keep);
    ours[..over].iter().try_for_each(|path| fs::remove_file(path).map_err(|e| Error::io("remove", path, &e)))
}

/// The passphrase in the data folder, made when there is none. It guards copies that go elsewhere; who has the folder has
/// all that is in the backups anyhow. The admin keeps a copy elsewhere: without it they do not open.
fn own_passphrase(data: &Path) -> Result<String> {
    let file = data.join("keys/backup.passphrase");
    if file.exists() {
        return passphrase::read(&file);
    }
    let failed = |e: std::io::Error| Error::io("write", &file, &e);
    let secret = uuid::Uuid::new_v4().simple().to_string();
    let mut out = fs::File::options().write(true).create_new(true).mode(0o600).open(&file).map_err(failed)?;
    writeln!(out, "{secret}").and_then(|()| out.sync_all()).map_err(failed)?;
    eprintln!(" !    Nightly backups are sealed with the passphrase in {}; keep a copy of it elsewhere", file.display());
    Ok(secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_a_day_and_again_when_it_failed_or_was_missed() {
        let at = |days: u64, hours: u64| UnixMs(days * DAY_MS + hours * HOUR_MS);
        let tried = |at: UnixMs, good: bool| Backup {
            at,
            place: String::new(),
            scheduled: true,
            bytes: 0,
            sha256: String::new(),
            millis: 0,
            apps: 0,
            error: (!good).then(|| "full".into()),
        };
        assert!(!is_due(3, &[], at(10, 4), at(10, 5)), "installed after the hour");
        assert!(!is_due(3, &[], at(10, 4), at(11, 2)));
        assert!(is_due(3, &[], at(10, 4), at(11, 3)));
        let good = [tried(at(11, 3), true)];
        assert!(!is_due(3, &good, at(10, 4), at(12, 2)));
        assert!(is_due(3, &good, at(10, 4), at(12, 3)));
        assert!(is_due(3, &good, at(12, 20), at(12, 20)), "the machine was off at the hour");
        let failed = [tried(at(11, 3), true), tried(at(12, 3), false)];
        assert!(!is_due(3, &failed, at(10, 4), UnixMs(at(12, 3).0 + 60_000)));
        assert!(is_due(3, &failed, at(10, 4), at(12, 4)));
        let mended = [tried(at(12, 3), false), tried(at(12, 4), true)];
        assert!(!is_due(3, &mended, at(10, 4), at(12, 6)));
    }
}
