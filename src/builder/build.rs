//! One build, from archive to slug (`builds.md` section 2).

use crate::{
    archive::{self, Limits as ArchiveLimits, Owner},
    cage::{Cage, Ended, To},
    images::CONTAINER,
    packs::{self, Fetch, Pack},
    slug::{self, PackedSlug},
    stacks::Stacks,
    tree::remove_tree,
    yaml,
};
use domain::{AppId, BuildId, app::HOST_STACK, procfile};
use ignore::gitignore::GitignoreBuilder;
use logs::Output;
use runtime::{Exit, Limits, Mount, Network, Root, Runtime};
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt, lchown, symlink},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::time::Instant;

/// Makes slugs.
pub struct Builder {
    /// Runs the scripts.
    pub runtime: Arc<dyn Runtime>,
    /// Folders of running builds.
    pub work_dir: PathBuf,
    /// One cache per app.
    pub cache_dir: PathBuf,
    /// Builds images, where an engine is.
    pub images: Arc<dyn Runtime>,
    /// Network of those builds.
    pub image_network: String,
    /// Imported root file systems.
    pub stacks: Stacks,
    /// For packs given as an archive URL.
    pub fetch: Fetch,
    /// Cage of every script.
    pub limits: Limits,
    /// Wall clock for the whole build.
    pub time_limit: Duration,
    /// Largest source tree, bytes.
    pub tree_bytes_max: u64,
}

/// Headline of a build that was told to end.
pub(crate) const STOPPED: &str = "build was cancelled";

/// What to build.
pub struct BuildRequest {
    /// Names the work folder.
    pub id: BuildId,
    /// Names the cache.
    pub app: AppId,
    /// tar or tar.gz.
    pub source: PathBuf,
    /// `SHA256:<hex>` of the archive, checked when given.
    pub checksum: Option<String>,
    /// True when a single top folder is to be stripped (API builds).
    pub strip_single: bool,
    /// For SOURCE_VERSION.
    pub commit: String,
    /// Root file system.
    pub stack: String,
    /// Configured packs; empty to detect.
    pub buildpacks: Vec<String>,
    /// Config vars; they reach the packs as files only.
    pub config: BTreeMap<String, String>,
    /// User of the cage.
    pub user_slot: u32,
    /// For REQUEST_ID.
    pub request_id: String,
    /// Where the slug goes.
    pub slug_path: PathBuf,
    /// Turns true when the build is to end.
    pub stopped: tokio::sync::watch::Receiver<bool>,
}

/// What came out.
#[derive(Debug)]
pub struct BuildResult {
    /// Type to command.
    pub process_types: procfile::ProcessTypes,
    /// The file; `None` for an app of images.
    pub slug: Option<PackedSlug>,
    /// Process type to image, for an app of images.
    pub images: BTreeMap<String, String>,
    /// What the last pack calls the app.
    pub detected: String,
    /// Set on the first release only.
    pub config_vars: BTreeMap<String, String>,
}

/// Why it failed. `headline` is for the line `Push rejected, …`; the reasons were already written to the output.
#[derive(Debug, thiserror::Error)]
#[error("{headline}")]
pub struct BuildError {
    /// One line.
    pub headline: String,
}

pub(crate) fn failed(headline: impl Into<String>) -> BuildError {
    BuildError { headline: headline.into() }
}

fn io_failed(what: &'static str) -> impl Fn(io::Error) -> BuildError {
    move |e| failed(format!("{what}: {e}"))
}

/// In a cache: the stack that it was made on.
const STACK_FILE: &str = ".stack";
/// A cache above this size is dropped instead of kept.
const CACHE_BYTES_MAX: u64 = 2 << 30;
const BUILD_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Sources what earlier packs exported, then becomes the script. All names come as arguments.
const WITH_EXPORTS: &str = "script=$1 build=$2 cache=$3 env=$4; shift 4; for f in \"$@\"; do . \"$f\"; done; \
                            exec \"$script\" \"$build\" \"$cache\" \"$env\"";

struct Dirs {
    work: PathBuf,
    tmp: PathBuf,
    source: PathBuf,
    inside: String,
    cache: PathBuf,
    env: PathBuf,
    packs: PathBuf,
}

impl Builder {
    /// Builds; everything the user shall see goes to `output` as it happens.
    ///
    /// # Errors
    /// [`BuildError`]; the cache is as before then, and no slug is left.
    pub async fn build(&self, request: BuildRequest, output: Arc<Output>) -> Result<BuildResult, BuildError> {
        let work = self.work_dir.join(request.id.to_string());
        let result = self.build_in(&work, &request, &output).await;
        let removed = tokio::task::spawn_blocking(move || remove_tree(&work)).await;
        if let Ok(Err(e)) = removed {
            tracing::warn!(error = %e, build = %request.id, "builder.work_left: the work folder could not be removed");
        }
        result
    }

    async fn build_in(&self, work: &Path, request: &BuildRequest, output: &Arc<Output>) -> Result<BuildResult, BuildError> {
        let owner = self.runtime.host_user(request.user_slot);
        let stack = capitalised(&request.stack);
        output.line(&format!("-----> Building on the {stack} stack"));
        if request.stack == CONTAINER {
            let dirs = self.prepare(work, request, None).await?;
            return self.build_images(&dirs.source, request, output).await;
        }
        let root = self.stacks.choose(&request.stack).ok_or_else(|| {
            failed(format!("stack_missing: the server has no stack {}; an operator can import it", request.stack))
        })?;
        let dirs = self.prepare(work, request, owner).await?;
        let cage = self.cage(&dirs, request, root);
        let (packs, detected) = self.choose(&dirs, request, &cage, output).await?;
        self.compile(&dirs, &packs, &detected, &cage, output).await?;
        let release = self.release(&dirs, &packs, &cage, output).await?;
        output.line("-----> Discovering process types");
        let process_types = process_types(&dirs.source, release.default_process_types, output)?;
        output.line("");
        output.line("-----> Compressing...");
        let (source, slug_path) = (dirs.source.clone(), request.slug_path.clone());
        let packed = tokio::task::spawn_blocking(move || slug::pack(&source, &slug_path)).await;
        let packed = packed.map_err(|e| failed(e.to_string()))?.map_err(|e| failed(e.to_string()))?;
        output.line(&format!("       Done: {}", megabytes(packed.bytes)));
        let (kept, cache) = (self.cache_dir.join(request.app.to_string()), dirs.cache.clone());
        let stack = request.stack.clone();
        let swapped = tokio::task::spawn_blocking(move || {
            fs::write(cache.join(STACK_FILE), stack)?;
            keep_cache(&cache, &kept)
        })
        .await;
        if let Ok(Err(e)) = swapped {
            tracing::warn!(error = %e, "builder.cache_lost: the build cache could not be kept");
        }
        Ok(BuildResult {
            process_types,
            slug: Some(packed),
            images: BTreeMap::new(),
            detected,
            config_vars: release.config_vars,
        })
    }

    /// Unpacks the source and copies the cache, so that a failed build leaves the old one as it was.
    async fn prepare(&self, work: &Path, request: &BuildRequest, owner: Owner) -> Result<Dirs, BuildError> {
        let name = format!("build_{}", &request.id.to_string()[..8]);
        let tmp = work.join("tmp");
        let dirs = Dirs {
            work: work.to_path_buf(),
            // A mount of its own: inside the cage it can neither be moved nor replaced by a link, and its parent on the
            // host belongs to the daemon.
            source: work.join("source"),
            tmp,
            inside: format!("/tmp/{name}"),
            cache: work.join("cache"),
            env: work.join("env"),
            packs: work.join("packs"),
        };
        let (archive, checksum, strip) = (request.source.clone(), request.checksum.clone(), request.strip_single);
        let limits = ArchiveLimits { bytes: self.tree_bytes_max, ..ArchiveLimits::default() };
        let kept_cache = self.cache_dir.join(request.app.to_string());
        let (config, stack) = (request.config.clone(), request.stack.clone());
        let (tmp, source, cache, env, app) =
            (dirs.tmp.clone(), dirs.source.clone(), dirs.cache.clone(), dirs.env.clone(), work.join("app"));
        let prepared = tokio::task::spawn_blocking(move || -> Result<(), BuildError> {
            let io = io_failed("build_io");
            for dir in [&tmp, &env, &app, &cache] {
                fs::create_dir_all(dir).map_err(&io)?;
                own(dir, owner).map_err(&io)?;
            }
            if let Some(expected) = checksum {
                let actual = slug::file_checksum(&archive).map_err(&io)?;
                if !actual.eq_ignore_ascii_case(&expected) {
                    return Err(failed(format!("source_checksum: expected {expected}, the archive has {actual}")));
                }
            }
            take_source(&archive, &source, strip, owner, limits)?;
            // A cache of another stack holds programs that may not run on this one (`builds.md` section 1).
            let known = fs::read_to_string(kept_cache.join(STACK_FILE)).unwrap_or_else(|_| HOST_STACK.into());
            if kept_cache.is_dir() && known == stack {
                copy_tree(&kept_cache, &cache, owner).map_err(&io)?;
            }
            for (key, value) in config {
                fs::write(env.join(key), value).map_err(&io)?;
            }
            Ok(())
        });
        prepared.await.map_err(|e| failed(e.to_string()))??;
        Ok(dirs)
    }

    fn cage(&self, dirs: &Dirs, request: &BuildRequest, root: Root) -> Cage {
        let mount = |source: PathBuf, target: &str, writable| Mount { source, target: target.into(), writable, kept: false };
        let own_program =
            mount(PathBuf::from("/proc/self/exe").canonicalize().unwrap_or_default(), "/opt/tidemill/tidemill", false);
        let env = [
            ("PATH", BUILD_PATH),
            ("HOME", "/app"),
            ("STACK", &request.stack),
            ("SOURCE_VERSION", &request.commit),
            ("REQUEST_ID", &request.request_id),
        ];
        Cage {
            runtime: self.runtime.clone(),
            env: env.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect(),
            mounts: vec![
                mount(dirs.tmp.clone(), "/tmp", true),
                mount(dirs.source.clone(), &dirs.inside, true),
                mount(dirs.work.join("app"), "/app", true),
                mount(dirs.cache.clone(), "/cache", true),
                mount(dirs.env.clone(), "/env", false),
                mount(dirs.packs.clone(), "/buildpacks", true),
                own_program,
            ],
            user_slot: request.user_slot,
            limits: self.limits,
            deadline: Instant::now() + self.time_limit,
            stopped: request.stopped.clone(),
            hostname: request.id.to_string(),
            root,
        }
    }

    /// The packs to run, and what the last of them calls the app.
    async fn choose(
        &self,
        dirs: &Dirs,
        request: &BuildRequest,
        cage: &Cage,
        output: &Output,
    ) -> Result<(Vec<Pack>, String), BuildError> {
        fs::create_dir_all(&dirs.packs).map_err(io_failed("build_io"))?;
        let configured = configured_packs(request, &dirs.source);
        let owner = self.runtime.host_user(request.user_slot);
        if configured.is_empty() {
            output.line("-----> Determining which buildpack to use for this app");
            for name in packs::DETECTION_ORDER {
                let pack = self.one_pack(name, dirs, 0, cage, owner).await?;
                if let Some(detected) = self.detect(&pack, dirs, cage).await? {
                    output.line(&format!("-----> {detected} app detected"));
                    return Ok((vec![pack], detected));
                }
                fs::remove_dir_all(&pack.dir).map_err(io_failed("build_io"))?;
            }
            output.line(" !     No default language could be detected for this app.");
            output.line("                        HINT: This occurs when Tidemill cannot detect the buildpack to use for this application automatically.");
            output.line("                        Add a Procfile, or set one: tidemill buildpacks:set heroku/NAME");
            output.line("");
            return Err(failed("No default language could be detected for this app."));
        }
        if let [only] = configured.as_slice() {
            output.line(&format!("-----> Using buildpack: {only}"));
        } else {
            output.line("-----> Using buildpacks:");
            configured.iter().enumerate().for_each(|(n, name)| output.line(&format!("       {}. {name}", n + 1)));
        }
        let mut chosen = Vec::new();
        let mut last = String::new();
        for (index, spec) in configured.iter().enumerate() {
            let pack =
                self.one_pack(spec, dirs, index, cage, owner).await.inspect_err(|e| output.line(&format!(" !     {e}")))?;
            let Some(detected) = self.detect(&pack, dirs, cage).await? else {
                output.line(&format!(" !     Buildpack {} does not detect this app.", pack.name));
                return Err(failed(format!("App not compatible with buildpack: {}", pack.name)));
            };
            output.line(&format!("-----> {detected} app detected"));
            last = detected;
            chosen.push(pack);
        }
        Ok((chosen, last))
    }

    async fn one_pack(&self, spec: &str, dirs: &Dirs, index: usize, cage: &Cage, owner: Owner) -> Result<Pack, BuildError> {
        packs::prepare(spec, &dirs.packs, index, &self.fetch, cage, owner).await.map_err(failed)
    }

    async fn detect(&self, pack: &Pack, dirs: &Dirs, cage: &Cage) -> Result<Option<String>, BuildError> {
        if !pack.has("detect").map_err(failed)? {
            return Ok(Some(pack.name.clone()));
        }
        let (ended, text) = cage.capture(&pack.script("detect"), &dirs.inside).await.map_err(|e| failed(e.to_string()))?;
        match ended {
            Ended::Exit(Exit { status: 0, .. }) => {
                let name = text.lines().next().unwrap_or("").trim();
                Ok(Some(if name.is_empty() { pack.name.clone() } else { name.chars().take(80).collect() }))
            }
            Ended::Exit(Exit { platform_error: Some(e), .. }) => Err(failed(e)),
            Ended::Exit(_) => Ok(None),
            Ended::TimedOut => Err(failed("build timed out while detecting")),
            Ended::Stopped => Err(failed(STOPPED)),
        }
    }

    async fn compile(
        &self,
        dirs: &Dirs,
        packs: &[Pack],
        detected: &str,
        cage: &Cage,
        output: &Arc<Output>,
    ) -> Result<(), BuildError> {
        let mut exports: Vec<String> = Vec::new();
        for pack in packs {
            if !pack.has("compile").map_err(failed)? {
                return Err(failed(format!("buildpack {} has no bin/compile", pack.name)));
            }
            let mut argv: Vec<String> = ["/bin/bash", "-c", WITH_EXPORTS, "bash"].map(String::from).to_vec();
            argv.extend([pack.script("compile").display().to_string(), dirs.inside.clone(), "/cache".into(), "/env".into()]);
            argv.extend(exports.iter().cloned());
            match cage.run(argv, To::User(output.clone()), Network::Outbound).await.map_err(|e| failed(e.to_string()))? {
                Ended::Exit(Exit { status: 0, .. }) => {}
                Ended::Exit(exit) => {
                    if exit.oom {
                        let limit = self.limits.memory_bytes >> 20;
                        output.line(&format!(" !     The build ran out of memory ({limit} MiB limit). Raise build_memory_mb in the configuration."));
                    }
                    return Err(failed(format!("failed to compile {detected} app.")));
                }
                Ended::TimedOut => return Err(failed(format!("build timed out after {} s.", self.time_limit.as_secs()))),
                Ended::Stopped => return Err(failed(STOPPED)),
            }
            if pack.dir.join("export").is_file() {
                exports.push(pack.inside.join("export").display().to_string());
            }
        }
        Ok(())
    }

    /// Only the last pack's `release` counts.
    async fn release(
        &self,
        dirs: &Dirs,
        packs: &[Pack],
        cage: &Cage,
        output: &Output,
    ) -> Result<yaml::ReleaseYaml, BuildError> {
        let Some(last) = packs.last() else { return Ok(yaml::ReleaseYaml::default()) };
        if !last.has("release").map_err(failed)? {
            return Ok(yaml::ReleaseYaml::default());
        }
        let (ended, text) = cage.capture(&last.script("release"), &dirs.inside).await.map_err(|e| failed(e.to_string()))?;
        if !matches!(ended, Ended::Exit(Exit { status: 0, .. })) {
            return Err(failed(format!("bin/release of buildpack {} failed", last.name)));
        }
        let release = yaml::parse(&text).map_err(failed)?;
        for addon in &release.addons {
            output.line(&format!(" !     The buildpack suggests the add-on {addon}, which is not offered; set its config var, such as DATABASE_URL, yourself."));
        }
        Ok(release)
    }
}

/// The configured list, else BUILDPACK_URL, else the lines of `.buildpacks`.
fn configured_packs(request: &BuildRequest, source: &Path) -> Vec<String> {
    if !request.buildpacks.is_empty() {
        return request.buildpacks.clone();
    }
    // What comes with the code or the config must not name folders of the server; only an admin's setting may.
    let foreign = |spec: &&str| !spec.starts_with('/') && !spec.starts_with("file:");
    if let Some(url) = request.config.get("BUILDPACK_URL").map(String::as_str).filter(|u| !u.is_empty()).filter(foreign) {
        return vec![url.to_string()];
    }
    let listed = read_plain(&source.join(".buildpacks"), 64 << 10).unwrap_or_default();
    let lines = String::from_utf8_lossy(&listed).into_owned();
    lines.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')).filter(foreign).map(String::from).collect()
}

/// Reads a regular file, following no link: the tree belongs to strangers.
fn read_plain(path: &Path, bytes_max: u64) -> Option<Vec<u8>> {
    let meta = fs::symlink_metadata(path).ok()?;
    if !meta.is_file() || meta.len() > bytes_max {
        return None;
    }
    fs::read(path).ok()
}

/// Procfile over the pack's defaults.
fn process_types(
    source: &Path,
    defaults: BTreeMap<String, String>,
    output: &Output,
) -> Result<procfile::ProcessTypes, BuildError> {
    let path = source.join("Procfile");
    let declared = match fs::symlink_metadata(&path) {
        Err(_) => procfile::ProcessTypes::new(),
        Ok(meta) if !meta.is_file() => return Err(failed("Procfile is not a regular file.")),
        Ok(_) => {
            let bytes = read_plain(&path, 1 << 20).unwrap_or_else(|| vec![b'x'; 1 << 20]);
            procfile::parse(&bytes).map_err(|e| {
                output.line(&format!(" !     {e}"));
                failed(e)
            })?
        }
    };
    let names = |types: &BTreeMap<String, String>| types.keys().cloned().collect::<Vec<_>>().join(", ");
    let none = |text: String| if text.is_empty() { "(none)".into() } else { text };
    output.line(&format!("       Procfile declares types     -> {}", none(names(&declared))));
    let mut all = defaults;
    all.retain(|name, _| domain::names::is_process_type(name) && !declared.contains_key(name));
    if !all.is_empty() {
        output.line(&format!("       Default types for buildpack -> {}", names(&all)));
    }
    all.extend(declared);
    Ok(all)
}

/// Unpacks, strips a single top folder, drops what `.slugignore` names.
fn take_source(
    archive: &Path,
    source: &Path,
    strip_single: bool,
    owner: Owner,
    limits: ArchiveLimits,
) -> Result<(), BuildError> {
    let io = io_failed("build_io");
    fs::create_dir(source).map_err(&io)?;
    own(source, owner).map_err(&io)?;
    let opened = File::open(archive).map_err(&io)?;
    archive::unpack(opened, source, 0, owner, limits).map_err(|e| failed(e.to_string()))?;
    if strip_single && let Some(top) = packs::single_folder(source) {
        let aside = source.with_extension("top");
        fs::rename(&top, &aside).map_err(&io)?;
        fs::remove_dir(source).map_err(&io)?;
        fs::rename(&aside, source).map_err(&io)?;
    }
    if let Some(rules) = read_plain(&source.join(".slugignore"), 64 << 10) {
        apply_slugignore(source, &String::from_utf8_lossy(&rules)).map_err(&io)?;
    }
    Ok(())
}

/// gitignore globs without negation (`builds.md` section 2).
fn apply_slugignore(root: &Path, rules: &str) -> io::Result<()> {
    let mut builder = GitignoreBuilder::new(root);
    for line in rules.lines().filter(|l| !l.trim_start().starts_with('!')) {
        let _ = builder.add_line(None, line); // a glob that does not parse matches nothing
    }
    let matcher = builder.build().map_err(io::Error::other)?;
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            let (path, is_dir) = (entry.path(), entry.file_type()?.is_dir());
            if matcher.matched(&path, is_dir).is_ignore() {
                if is_dir { fs::remove_dir_all(&path)? } else { fs::remove_file(&path)? }
            } else if is_dir {
                folders.push(path);
            }
        }
    }
    Ok(())
}

pub fn own(path: &Path, owner: Owner) -> io::Result<()> {
    owner.map_or(Ok(()), |(uid, gid)| lchown(path, Some(uid), Some(gid)))
}

/// Copies a tree with modes, times and links into an existing folder. Times matter: Python compares them.
pub fn copy_tree(from: &Path, to: &Path, owner: Owner) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target, meta) = (entry.path(), to.join(entry.file_name()), entry.metadata()?);
        if meta.is_dir() {
            fs::create_dir(&target)?;
            copy_tree(&source, &target, owner)?;
            fs::set_permissions(&target, meta.permissions())?;
        } else if meta.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
        } else if meta.is_file() {
            fs::copy(&source, &target)?;
            File::open(&target)?.set_modified(meta.modified()?)?; // a read-only file takes a time as well
        } else {
            continue;
        }
        own(&target, owner)?;
    }
    Ok(())
}

/// Puts the cache of a successful build in place of the old one, unless it grew too large.
fn keep_cache(cache: &Path, kept: &Path) -> io::Result<()> {
    fs::create_dir_all(kept.parent().unwrap_or(kept))?;
    if tree_bytes(cache)? > CACHE_BYTES_MAX {
        tracing::warn!(path = %kept.display(), "builder.cache_dropped: larger than 2 GiB");
        return remove_tree(kept);
    }
    let old = kept.with_extension("old");
    let had_one = fs::rename(kept, &old).is_ok();
    fs::rename(cache, kept)?;
    if had_one { remove_tree(&old) } else { Ok(()) }
}

pub fn tree_bytes(dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += if meta.is_dir() { tree_bytes(&entry.path())? } else { meta.size() };
    }
    Ok(sum)
}

fn capitalised(stack: &str) -> String {
    stack.split_at_checked(1).map_or_else(String::new, |(first, rest)| first.to_uppercase() + rest)
}

/// `33.1M`, as users know it.
fn megabytes(bytes: u64) -> String {
    let tenths = bytes * 10 / (1 << 20);
    if tenths == 0 { format!("{}K", bytes.div_ceil(1024)) } else { format!("{}.{}M", tenths / 10, tenths % 10) }
}
