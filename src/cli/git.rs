//! What the command line does with git: remotes and credentials. Git gets an argv.

use crate::failure::{Failure, Result};
use std::{collections::BTreeMap, process::Command};

fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// The app of a remote's address, when the address is one of `base`.
fn app_of(url: &str, base: &str) -> Option<String> {
    let rest = url.strip_prefix(base)?.strip_prefix('/')?;
    let name = rest.strip_suffix(".git").unwrap_or(rest);
    (!name.is_empty() && !name.contains('/')).then(|| name.to_string())
}

/// The app that the repository's remotes name.
pub fn app_from_remotes(base: &str, wanted: Option<&str>) -> Result<Option<String>> {
    let Some(listed) = git(&["remote", "-v"]) else { return Ok(None) };
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for line in listed.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(url)) = (words.next(), words.next())
            && wanted.is_none_or(|w| w == name)
            && let Some(app) = app_of(url, base)
        {
            found.insert(name.to_string(), app);
        }
    }
    let mut apps: Vec<&String> = found.values().collect();
    apps.dedup();
    match apps.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some((*one).clone())),
        _ => {
            let list: Vec<String> = found.iter().map(|(remote, app)| format!("{app} ({remote})")).collect();
            Err(Failure::usage(format!("Several remotes name apps: {}. Choose one with -a APP or -r REMOTE.", list.join(", "))))
        }
    }
}

/// Adds or changes the remote; false outside of a repository.
pub fn set_remote(name: &str, url: &str) -> bool {
    if git(&["rev-parse", "--git-dir"]).is_none() {
        return false;
    }
    git(&["remote", "add", name, url]).or_else(|| git(&["remote", "set-url", name, url])).is_some()
}

/// Tells git to ask this program for the password of `base`.
pub fn use_credential_helper(base: &str) -> bool {
    let Ok(program) = std::env::current_exe() else { return false };
    // Git runs helpers that begin with `!` by a shell; the path is our own, quoted for it.
    let quoted = crate::commands::quoted(&program.display().to_string());
    git(&["config", "--global", &format!("credential.{base}.helper"), &format!("!{quoted} git:credentials")]).is_some()
}
