//! What the command line does with git: remotes and credentials. Git gets an argv.

use crate::failure::{Failure, Result};
use std::{collections::BTreeMap, process::Command};

/// Runs git; its output, or nothing when it fails.
pub fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

/// Host, and port if there is one.
fn authority(url: &str) -> Option<(&str, &str)> {
    let rest = ["https://", "http://", "ssh://"].iter().find_map(|scheme| url.strip_prefix(scheme))?;
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    Some((authority.rsplit_once('@').map_or(authority, |(_, host)| host), path))
}

fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// The app of a remote's address, when the address is one of `base`: its scheme may be another, since the platform speaks
/// HTTP and TLS on one port, and SSH on one of its own; its host may be that for git.
fn app_of(url: &str, base: &str) -> Option<String> {
    let scp = url.strip_prefix("git@").and_then(|rest| rest.split_once(':')).filter(|_| !url.contains("://"));
    let (found, path) = scp.map_or_else(|| authority(url), Some)?;
    let (own, _) = authority(base)?;
    let is_ssh = scp.is_some() || url.starts_with("ssh://");
    let (found, own) = if is_ssh { (host_of(found), host_of(own)) } else { (found, own) };
    if found != own && found.strip_prefix("git.") != Some(own) {
        return None;
    }
    let name = path.strip_suffix(".git").unwrap_or(path);
    (!name.is_empty() && !name.contains('/')).then(|| name.to_string())
}

/// Does an address of git belong to `base`, with the same scheme, so that what git was told at sign-in holds for it?
pub fn is_of(url: &str, base: &str) -> bool {
    let scheme = |text: &str| text.split("://").next().unwrap_or_default().to_string();
    scheme(url) == scheme(base) && app_of(url, base).is_some()
}

/// Names of remotes with their apps.
pub fn remotes(base: &str) -> BTreeMap<String, String> {
    let listed = git(&["remote", "-v"]).unwrap_or_default();
    let pairs = listed.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_string(), app_of(words.next()?, base)?))
    });
    pairs.collect()
}

/// The app that the repository's remotes name.
pub fn app_from_remotes(base: &str, wanted: Option<&str>) -> Result<Option<String>> {
    let mut found = remotes(base);
    found.retain(|name, _| wanted.is_none_or(|w| w == name));
    if let (Some(wanted), true) = (wanted, found.is_empty()) {
        return Err(Failure::usage(format!("There is no git remote {wanted} for {base} here. See: git remote -v")));
    }
    let mut apps: Vec<&String> = found.values().collect();
    apps.sort_unstable();
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

/// Both addresses that git may know the server by: it speaks TLS on its HTTP port, too.
fn addresses(base: &str) -> Vec<String> {
    let tls = base.strip_prefix("http://").map(|rest| format!("https://{rest}"));
    std::iter::once(base.to_string()).chain(tls).collect()
}

/// Tells git to ask this program for the password of `base`.
pub fn use_credential_helper(base: &str) -> bool {
    let Ok(program) = std::env::current_exe() else { return false };
    // Git runs helpers that begin with `!` by a shell; the path is our own, quoted for it.
    let quoted = quoted(&program.display().to_string());
    let helper = format!("!{quoted} git:credentials");
    addresses(base).iter().all(|url| git(&["config", "--global", &format!("credential.{url}.helper"), &helper]).is_some())
}

/// Tells git whom to trust for `base`.
pub fn use_certificates(base: &str, file: &str) -> bool {
    git(&["config", "--global", &format!("http.{base}.sslCAInfo"), file]).is_some()
}

/// Takes back what git was told about `base`.
pub fn forget(base: &str) {
    for url in addresses(base) {
        // What is not there needs no removal.
        let _ = git(&["config", "--global", "--remove-section", &format!("credential.{url}")]);
        let _ = git(&["config", "--global", "--unset", &format!("http.{url}.sslCAInfo")]);
    }
}

/// As a shell reads it back unchanged.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remotes_of_this_server_name_their_app() {
        let base = "https://paas.example.com:8443";
        for url in [
            "https://paas.example.com:8443/shop.git",
            "http://x:secret@paas.example.com:8443/shop.git",
            "https://git.paas.example.com:8443/shop.git",
            "ssh://git@paas.example.com:2222/shop.git",
            "git@paas.example.com:shop.git",
        ] {
            assert_eq!(app_of(url, base).as_deref(), Some("shop"), "{url}");
        }
        for url in
            ["https://paas.example.com/shop.git", "https://other:8443/shop.git", "https://paas.example.com:8443/a/b.git", "/x"]
        {
            assert_eq!(app_of(url, base), None, "{url}");
        }
    }
}
