//! `tidemill install` and `tidemill uninstall`: what the Debian package does, for other systems and for a tarball.

use crate::{
    config::{Config, Flags},
    serve,
};
use anyhow::{Context, Result, bail};
use clap::Parser;
use domain::DynoId;
use runtime::{Runtime, native::NativeRuntime};
use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::Arc,
};

/// The program's place when no package manager owns it.
const PROGRAM: &str = "/usr/local/bin/tidemill";
const UNITS: &str = "/etc/systemd/system";
const SETTINGS: &str = "/etc/tidemill/tidemill.toml";
/// TERM to KILL for dynos that are ended with the platform (`runtime.md` section 6).
const GRACE_MS: u64 = 30_000;

/// File name, place, content; the same files as in the package.
const FILES: [(&str, &str, &str); 4] = [
    ("tidemill.service", UNITS, include_str!("../../systemd/tidemill.service")),
    ("tidemill.socket", UNITS, include_str!("../../systemd/tidemill.socket")),
    ("tidemill.slice", UNITS, include_str!("../../systemd/tidemill.slice")),
    ("tidemill.conf", "/etc/tmpfiles.d", include_str!("../../systemd/tidemill.tmpfiles.conf")),
];

/// Install this program as a service of systemd: units, settings, program; starts it
#[derive(Debug, Parser)]
#[command(name = "tidemill install", version)]
struct Install {
    /// Write everything below this folder instead of /, and start nothing
    #[arg(long)]
    root: Option<PathBuf>,
}

/// Take the service away; data and settings stay
#[derive(Debug, Parser)]
#[command(name = "tidemill uninstall", version)]
struct Uninstall {
    /// Only end the dynos of a daemon that does not run
    #[arg(long)]
    only_dynos: bool,
    /// Remove data, keys and settings, too; asks nothing
    #[arg(long)]
    purge: bool,
    /// Say nothing but errors
    #[arg(long)]
    quiet: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Entry of `install`.
pub fn install() -> ExitCode {
    match serve::flags::<Install>() {
        Ok(given) => {
            told(installed(given.root.as_deref()), "Nothing more was changed. Are you root? Try: sudo tidemill install")
        }
        Err(code) => code,
    }
}

/// Entry of `uninstall`.
pub fn uninstall() -> ExitCode {
    let given: Uninstall = match serve::flags() {
        Ok(given) => given,
        Err(code) => return code,
    };
    let config = match serve::configuration(given.flags) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let what = Removal { only_dynos: given.only_dynos, purge: given.purge, quiet: given.quiet };
    told(removed(&config, &what), "Mend that and run it again: what is gone already does no harm")
}

fn told(done: Result<()>, next: &str) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!(" !    {e:#}");
            eprintln!(" !    {next}");
            ExitCode::FAILURE
        }
    }
}

fn below(root: Option<&Path>, path: &str) -> PathBuf {
    root.map_or_else(|| PathBuf::from(path), |root| root.join(path.trim_start_matches('/')))
}

/// Whole or not at all, also for who reads it meanwhile.
fn written(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let what = || format!("write {}", path.display());
    fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).with_context(what)?;
    let partial = path.with_extension("partial");
    fs::write(&partial, content).with_context(what)?;
    fs::set_permissions(&partial, fs::Permissions::from_mode(mode)).with_context(what)?;
    // Else a power cut could leave an empty file of that name.
    fs::File::open(&partial).and_then(|file| file.sync_all()).with_context(what)?;
    fs::rename(&partial, path).with_context(what)
}

/// The same for a file that is there already: who may read it stays as it is.
pub fn rewritten(path: &Path, content: &[u8]) -> Result<()> {
    let mode = fs::metadata(path).map_or(0o644, |meta| meta.permissions().mode() & 0o7777);
    written(path, content, mode)
}

fn installed(root: Option<&Path>) -> Result<()> {
    let live = root.is_none();
    if live && Path::new("/var/lib/dpkg/info/tidemill.list").exists() {
        bail!("the Debian package of Tidemill is installed; two would share ports and data");
    }
    let program = fs::read("/proc/self/exe").context("read this program")?;
    written(&below(root, PROGRAM), &program, 0o755)?;
    for (name, place, content) in FILES {
        let content = content.replace("/usr/bin/tidemill", PROGRAM);
        written(&below(root, place).join(name), content.as_bytes(), 0o644)?;
    }
    let settings = below(root, SETTINGS);
    if !settings.exists() {
        written(&settings, include_bytes!("../../systemd/tidemill.toml"), 0o644)?;
    }
    println!("Installed {PROGRAM}, units in {UNITS}, settings in {SETTINGS}");
    if live {
        run("systemctl", &["daemon-reload"])?;
        run("systemctl", &["enable", "--now", "tidemill.socket", "tidemill.service"])?;
        println!("tidemill is running. Next: sudo tidemill init");
    }
    Ok(())
}

fn run(program: &str, args: &[&str]) -> Result<()> {
    let line = format!("{program} {}", args.join(" "));
    let status = Command::new(program).args(args).status().with_context(|| line.clone())?;
    if !status.success() {
        bail!("{line}: {status}");
    }
    Ok(())
}

struct Removal {
    only_dynos: bool,
    purge: bool,
    quiet: bool,
}

fn removed(config: &Config, what: &Removal) -> Result<()> {
    let units = ["tidemill.service", "tidemill.socket"];
    if !what.only_dynos && Path::new("/run/systemd/system").exists() {
        run("systemctl", &[&["disable", "--now", "--quiet"][..], &units].concat())?;
    }
    let ended = end_dynos(config)?;
    if !what.quiet {
        println!("Ended {ended} dyno(s)");
    }
    if what.only_dynos {
        return Ok(());
    }
    for (name, place, _) in FILES {
        gone(fs::remove_file(Path::new(place).join(name)), name)?;
    }
    gone(fs::remove_file(PROGRAM), PROGRAM)?;
    if what.purge {
        gone(fs::remove_dir_all(&config.data_dir), "data")?;
        gone(fs::remove_file(SETTINGS), SETTINGS)?;
    }
    if !what.quiet {
        let kept = if what.purge { "gone, too" } else { "kept; tidemill uninstall --purge removes them" };
        println!("Removed the program and its units. Data in {} and settings are {kept}", config.data_dir.display());
    }
    Ok(())
}

fn gone(done: io::Result<()>, what: &str) -> Result<()> {
    match done {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e).with_context(|| format!("remove {what}")),
        _ => Ok(()),
    }
}

/// Takes the last output of dynos that are ended with the platform: nobody is there to keep it.
struct Unheard;

impl runtime::Sink for Unheard {
    fn output(&self, _end: u64, _time_us: u64, _bytes: &[u8]) {}
    fn dropped(&self, _lines: u64) {}
    fn grace_over(&self) {}
}

/// Ends what outlived the daemon; refuses while one runs, whose business it is.
fn end_dynos(config: &Config) -> Result<usize> {
    let dynos = config.data_dir.join("run/dynos");
    if !dynos.exists() {
        return Ok(0);
    }
    let lock = fs::File::open(config.data_dir.join("store/lock")).ok();
    if lock.is_some_and(|lock| lock.try_lock().is_err()) {
        bail!("the daemon of {} runs; stop it first: systemctl stop tidemill.service", config.data_dir.display());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let native = NativeRuntime::new(&dynos, Path::new("/proc/self/exe"), config.dyno_network, config.public_ports.clone())?;
        let ids: Vec<DynoId> = native.list().await?;
        let native = Arc::new(native);
        let mut ends = tokio::task::JoinSet::new();
        for id in ids.iter().copied() {
            let native = native.clone();
            ends.spawn(async move {
                // One that has ended meanwhile only leaves its folder.
                if native.recover(id, Arc::new(Unheard)).await?.is_some() {
                    native.stop(id, GRACE_MS).await?;
                    native.wait(id).await?;
                }
                native.remove(id).await
            });
        }
        while let Some(ended) = ends.join_next().await {
            ended??;
        }
        Ok(ids.len())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_flags_of_both_verbs_are_sound_and_an_install_elsewhere_is_whole() {
        Install::command().debug_assert();
        Uninstall::command().debug_assert();
        let root = tempfile::tempdir().unwrap();
        let settings = below(Some(root.path()), SETTINGS);
        written(&settings, b"domain = \"kept.example\"\n", 0o644).unwrap();
        installed(Some(root.path())).unwrap();
        let unit = fs::read_to_string(below(Some(root.path()), UNITS).join("tidemill.service")).unwrap();
        assert!(unit.contains("ExecStart=/usr/local/bin/tidemill serve\n"), "{unit}");
        assert!(below(Some(root.path()), UNITS).join("tidemill.socket").exists());
        assert_eq!(fs::read_to_string(settings).unwrap(), "domain = \"kept.example\"\n", "settings of before stay");
        let program = fs::metadata(below(Some(root.path()), PROGRAM)).unwrap();
        assert_eq!(program.permissions().mode() & 0o777, 0o755);
    }
}
