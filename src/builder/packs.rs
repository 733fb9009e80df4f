//! Buildpacks: the embedded ones, and third-party ones by git or archive URL or local path.

use crate::{
    archive::{self, Limits, Owner},
    cage::{Cage, Ended, To},
};
use runtime::{Mount, Network};
use rust_embed::RustEmbed;
use std::{
    collections::BTreeMap,
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Downloads a URL into a file; the implementation bounds size, time and addresses.
pub type Fetch = Arc<dyn Fn(&str, &Path) -> Result<(), String> + Send + Sync>;

#[derive(RustEmbed)]
#[folder = "../../buildpacks/"]
struct Embedded;

/// Embedded packs in the order in which they are asked; the first that detects wins (`builds.md` section 3).
pub const DETECTION_ORDER: &[&str] = &["nodejs", "python", "static", "procfile"];

/// Protocols that `git` may use for a pack: no `ext::`, which would run a command.
const GIT_PROTOCOLS: &str = "https:http:git";
const GIT_TIME_LIMIT: Duration = Duration::from_secs(120);
/// No file of a clone may be larger than the first argument, KiB; a pack file of git is one.
const LIMITED_GIT: &str = "ulimit -f \"$1\"; shift; exec git \"$@\" 2>&1";
const PACK_LIMITS: Limits = Limits { bytes: 512 << 20, entries: 50_000, any_links: false };

/// A pack on disk.
#[derive(Debug, Clone)]
pub struct Pack {
    /// As the user wrote it, or `heroku/NAME`.
    pub name: String,
    /// Folder on the host.
    pub dir: PathBuf,
    /// Folder inside the cage.
    pub inside: PathBuf,
}

impl Pack {
    pub fn script(&self, name: &str) -> PathBuf {
        self.inside.join("bin").join(name)
    }

    /// Is there such a script, and can it be executed?
    pub fn has(&self, name: &str) -> Result<bool, String> {
        let path = self.dir.join("bin").join(name);
        match fs::metadata(&path) {
            Err(_) => Ok(false),
            Ok(meta) if meta.is_file() && meta.permissions().mode() & 0o111 != 0 => Ok(true),
            Ok(_) => Err(format!(
                "bin/{name} of buildpack {} is not executable; run: git update-index --chmod=+x bin/{name}",
                self.name
            )),
        }
    }
}

/// Puts pack number `index` into `parent`, owned by the user of the cage.
pub async fn prepare(
    spec: &str,
    parent: &Path,
    index: usize,
    fetch: &Fetch,
    cage: &Cage,
    owner: Owner,
) -> Result<Pack, String> {
    let dir = parent.join(index.to_string());
    // `compile` writes its `export` file into the pack's own root.
    let made = fs::create_dir_all(&dir).and_then(|()| crate::build::own(&dir, owner));
    made.map_err(|e| format!("{}: {e}", dir.display()))?;
    let inside = PathBuf::from(format!("/buildpacks/{index}"));
    let embedded = embedded_name(spec);
    let name = embedded.map_or_else(|| spec.to_string(), |n| format!("heroku/{n}"));
    match embedded {
        Some(name) => unpack_embedded(name, &dir)?,
        None if spec.starts_with('/') => local(Path::new(spec), &dir).await?,
        None if is_archive(spec) => {
            let (spec, dir, fetch) = (spec.to_string(), dir.clone(), fetch.clone());
            let fetched = tokio::task::spawn_blocking(move || archive_pack(&spec, &dir, &fetch));
            fetched.await.map_err(|e| e.to_string())??;
        }
        None if spec.starts_with("file://") => local_git(spec, &dir).await?,
        None => remote_git(spec, &dir, cage).await?,
    }
    let pack = Pack { name, dir, inside };
    if !pack.has("detect")? && !pack.has("compile")? {
        return Err(format!("buildpack {} has no bin/detect and no bin/compile; check the URL and branch", pack.name));
    }
    Ok(pack)
}

/// `heroku/python`, `urn:buildpack:heroku/python` and `python` mean the embedded pack.
pub fn embedded_name(spec: &str) -> Option<&'static str> {
    let name = spec.strip_prefix("urn:buildpack:").unwrap_or(spec);
    let name = name.strip_prefix("heroku/").unwrap_or(name);
    DETECTION_ORDER.iter().find(|known| **known == name).copied()
}

fn is_archive(spec: &str) -> bool {
    let path = spec.split(['#', '?']).next().unwrap_or(spec);
    spec.starts_with("http") && (path.ends_with(".tgz") || path.ends_with(".tar.gz"))
}

fn unpack_embedded(name: &str, dir: &Path) -> Result<(), String> {
    let prefix = format!("{name}/");
    for file in Embedded::iter().filter(|f| f.starts_with(&prefix)) {
        let relative = &file[prefix.len()..];
        let target = dir.join(relative);
        let content = Embedded::get(&file).map(|f| f.data).unwrap_or_default();
        let mode = if relative.starts_with("bin/") { 0o755 } else { 0o644 };
        let written = target
            .parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&target, content))
            .and_then(|()| fs::set_permissions(&target, Permissions::from_mode(mode)));
        written.map_err(|e| format!("{}: {e}", target.display()))?;
    }
    Ok(())
}

fn archive_pack(spec: &str, dir: &Path, fetch: &Fetch) -> Result<(), String> {
    let file = dir.join("pack.tgz");
    fetch(spec, &file)?;
    let unpacked = dir.join("unpacked");
    fs::create_dir(&unpacked).map_err(|e| e.to_string())?;
    let opened = File::open(&file).map_err(|e| e.to_string())?;
    archive::unpack(opened, &unpacked, 0, None, PACK_LIMITS).map_err(|e| e.to_string())?;
    let top = single_folder(&unpacked).unwrap_or(unpacked);
    for entry in fs::read_dir(top).map_err(|e| e.to_string())?.flatten() {
        fs::rename(entry.path(), dir.join(entry.file_name())).map_err(|e| e.to_string())?;
    }
    fs::remove_file(file).map_err(|e| e.to_string())
}

/// The only entry of a folder, when that is a folder too.
pub fn single_folder(dir: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(dir).ok()?.flatten();
    let only = entries.next()?;
    (entries.next().is_none() && only.file_type().ok()?.is_dir()).then(|| only.path())
}

async fn local(source: &Path, dir: &Path) -> Result<(), String> {
    let is_repository = source.join(".git").exists() || (source.join("HEAD").exists() && source.join("objects").exists());
    if is_repository {
        return local_git(&format!("file://{}", source.display()), dir).await;
    }
    let (source, dir) = (source.to_path_buf(), dir.to_path_buf());
    let copied = tokio::task::spawn_blocking(move || crate::build::copy_tree(&source, &dir, None));
    copied.await.map_err(|e| e.to_string())?.map_err(|e| format!("copy buildpack: {e}"))
}

/// Splits URL and branch, and refuses what is no URL: a path without a scheme would be one of the server's.
fn split(spec: &str) -> Result<(&str, Option<&str>), String> {
    let (url, reference) = spec.split_once('#').map_or((spec, None), |(u, r)| (u, Some(r)));
    let known = ["https://", "http://", "git://", "file://"].iter().any(|scheme| url.starts_with(scheme));
    if !known || reference.is_some_and(|r| r.starts_with('-') || r.is_empty()) {
        return Err(format!("buildpack {spec:?} is no valid URL"));
    }
    Ok((url, reference))
}

fn clone_argv(url: &str, reference: Option<&str>, target: &Path) -> Vec<String> {
    let fixed = ["-c", "safe.directory=*", "-c", "core.symlinks=true", "clone", "--quiet", "--depth", "1"];
    let branch = reference.into_iter().flat_map(|name| ["--branch".to_string(), name.to_string()]);
    let place = ["--".to_string(), url.to_string(), target.display().to_string()];
    fixed.map(String::from).into_iter().chain(branch).chain(place).collect()
}

fn git_env(protocols: &str) -> BTreeMap<String, String> {
    let all = [
        ("PATH", "/usr/local/bin:/usr/bin:/bin"),
        ("HOME", "/nonexistent"),
        ("GIT_ALLOW_PROTOCOL", protocols),
        ("GIT_TERMINAL_PROMPT", "0"),
        ("GIT_CONFIG_NOSYSTEM", "1"),
    ];
    all.map(|(k, v)| (k.to_string(), v.to_string())).into()
}

fn fetch_failed(spec: &str, output: &[u8]) -> String {
    let text = String::from_utf8_lossy(output);
    format!("can not fetch buildpack {spec}: {}", text.trim().lines().last().unwrap_or("git failed"))
}

/// A repository on the server, which only an admin may name: read by the daemon, as a cage does not see it.
async fn local_git(spec: &str, dir: &Path) -> Result<(), String> {
    let (url, reference) = split(spec)?;
    let mut command = tokio::process::Command::new("git");
    command.args(clone_argv(url, reference, dir)).env_clear().envs(git_env("file"));
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(GIT_TIME_LIMIT, output)
        .await
        .map_err(|_| format!("fetching buildpack {spec} took longer than {} s", GIT_TIME_LIMIT.as_secs()))?
        .map_err(|e| format!("git: {e}; is git installed on the server?"))?;
    if !output.status.success() {
        return Err(fetch_failed(spec, &output.stderr));
    }
    fs::remove_dir_all(dir.join(".git")).map_err(|e| e.to_string())
}

/// A repository elsewhere: fetched in a cage, with the network of builds, that sees nothing of the build.
async fn remote_git(spec: &str, dir: &Path, cage: &Cage) -> Result<(), String> {
    let (url, reference) = split(spec)?;
    let cage = Cage {
        runtime: cage.runtime.clone(),
        env: git_env(GIT_PROTOCOLS),
        mounts: vec![Mount { source: dir.to_path_buf(), target: "/pack".into(), writable: true, kept: false }],
        user_slot: cage.user_slot,
        limits: cage.limits,
        deadline: cage.deadline.min(Instant::now() + GIT_TIME_LIMIT),
        stopped: cage.stopped.clone(),
        hostname: cage.hostname.clone(),
        root: cage.root.clone(),
    };
    let mut argv: Vec<String> = ["/bin/bash", "-c", LIMITED_GIT, "bash"].map(String::from).to_vec();
    argv.push((PACK_LIMITS.bytes / 1024).to_string());
    argv.extend(clone_argv(url, reference, Path::new("/pack/.fetched")));
    let kept = Arc::new(Mutex::new(Vec::new()));
    match cage.run(argv, To::Memory(kept.clone()), Network::Outbound).await.map_err(|e| e.to_string())? {
        Ended::Exit(exit) if exit.status == 0 => {}
        Ended::Exit(_) => return Err(fetch_failed(spec, &kept.lock().unwrap_or_else(PoisonError::into_inner))),
        Ended::TimedOut => {
            return Err(format!("fetching buildpack {spec} took longer than {} s", GIT_TIME_LIMIT.as_secs()));
        }
        Ended::Stopped => return Err(crate::build::STOPPED.into()),
    }
    let dir = dir.to_path_buf();
    let moved = tokio::task::spawn_blocking(move || {
        let clone = dir.join(".fetched");
        // The cage could write here: what it left must be what git makes, or the daemon would move a folder of the server.
        if !fs::symlink_metadata(&clone)?.is_dir() || fs::symlink_metadata(clone.join(".git"))?.is_symlink() {
            return Err(std::io::Error::other("git left no folder"));
        }
        if crate::build::tree_bytes(&clone)? > PACK_LIMITS.bytes {
            return Err(std::io::Error::other(format!("larger than {} MiB", PACK_LIMITS.bytes >> 20)));
        }
        fs::remove_dir_all(clone.join(".git"))?;
        for entry in fs::read_dir(&clone)?.flatten() {
            fs::rename(entry.path(), dir.join(entry.file_name()))?;
        }
        fs::remove_dir(clone)
    });
    moved.await.map_err(|e| e.to_string())?.map_err(|e| format!("buildpack {spec}: {e}"))
}
