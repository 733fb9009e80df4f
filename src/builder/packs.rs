//! Buildpacks: the embedded ones, and third-party ones by git or archive URL or local path.

use crate::archive::{self, Limits};
use rust_embed::RustEmbed;
use std::{
    fs::{self, File, Permissions},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
};

/// Downloads a URL into a file; the implementation bounds size, time and addresses.
pub type Fetch = Arc<dyn Fn(&str, &Path) -> Result<(), String> + Send + Sync>;

#[derive(RustEmbed)]
#[folder = "../../buildpacks/"]
struct Embedded;

/// Embedded packs in the order in which they are asked; the first that detects wins (`builds.md` section 3).
pub const DETECTION_ORDER: &[&str] = &["nodejs", "python", "static", "procfile"];

/// Protocols that `git` may use for a pack: no `ext::`, which would run a command.
const GIT_PROTOCOLS: &str = "https:http:git:file";
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

/// Puts pack number `index` into `parent` and makes it readable for everybody.
pub async fn prepare(spec: &str, parent: &Path, index: usize, fetch: &Fetch) -> Result<Pack, String> {
    let dir = parent.join(index.to_string());
    fs::create_dir_all(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
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
        None => git(spec, &dir).await?,
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
        return git(&format!("file://{}", source.display()), dir).await;
    }
    let (source, dir) = (source.to_path_buf(), dir.to_path_buf());
    let copied = tokio::task::spawn_blocking(move || crate::build::copy_tree(&source, &dir, None));
    copied.await.map_err(|e| e.to_string())?.map_err(|e| format!("copy buildpack: {e}"))
}

async fn git(spec: &str, dir: &Path) -> Result<(), String> {
    let (url, reference) = spec.split_once('#').map_or((spec, None), |(u, r)| (u, Some(r)));
    // A path without a scheme would be one of the server's.
    let known = ["https://", "http://", "git://", "file://"].iter().any(|scheme| url.starts_with(scheme));
    if !known || reference.is_some_and(|r| r.starts_with('-') || r.is_empty()) {
        return Err(format!("buildpack {spec:?} is no valid URL"));
    }
    let mut command = tokio::process::Command::new("git");
    command.args(["-c", "safe.directory=*", "-c", "core.symlinks=true", "clone", "--quiet", "--depth", "1"]);
    if let Some(reference) = reference {
        command.args(["--branch", reference]);
    }
    command.arg("--").arg(url).arg(dir);
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin").env("HOME", "/nonexistent");
    command.env("GIT_ALLOW_PROTOCOL", GIT_PROTOCOLS).env("GIT_TERMINAL_PROMPT", "0").env("GIT_CONFIG_NOSYSTEM", "1");
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output();
    let output = tokio::time::timeout(std::time::Duration::from_secs(120), output)
        .await
        .map_err(|_| format!("fetching buildpack {spec} took longer than 120 s"))?
        .map_err(|e| format!("git: {e}; is git installed on the server?"))?;
    if !output.status.success() {
        let reason = String::from_utf8_lossy(&output.stderr);
        return Err(format!("can not fetch buildpack {spec}: {}", reason.trim().lines().last().unwrap_or("git failed")));
    }
    fs::remove_dir_all(dir.join(".git")).map_err(|e| e.to_string())
}
