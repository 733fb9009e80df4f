//! `tidemill serve` and `tidemill setup-link`.

use crate::{
    config::{self, Config, Flags, Places},
    control,
    machine::Host,
    wiring::{self, Platform},
};
use anyhow::{Context, Result};
use clap::Parser;
use std::{
    fs,
    io::Write,
    os::unix::{
        fs::{MetadataExt, OpenOptionsExt},
        process::CommandExt,
    },
    path::Path,
    process::{Command, ExitCode},
    sync::Arc,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
};
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

/// Logging of the daemon: to standard error, `RUST_LOG` decides. Where that is the journal, fields stay fields
/// (`journalctl F_APP=…`).
pub fn start_logging(default: &str) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| default.into());
    let registry = tracing_subscriber::registry().with(filter);
    match is_journal().then(tracing_journald::layer) {
        Some(Ok(journal)) => registry.with(journal).init(),
        _ => registry.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false)).init(),
    }
}

/// Does standard error lead to the journal? The variable alone says nothing: who redirects it leaves that as it was.
fn is_journal() -> bool {
    let told = std::env::var("JOURNAL_STREAM").ok();
    let own = fs::metadata("/proc/self/fd/2").map(|m| format!("{}:{}", m.dev(), m.ino()));
    told.is_some_and(|told| own.is_ok_and(|own| own == told))
}

/// Flags of a verb of the server.
pub fn flags<T: Parser>() -> Result<T, ExitCode> {
    let args = std::env::args_os().take(1).chain(std::env::args_os().skip(2));
    T::try_parse_from(args).map_err(|e| {
        let _ = e.print(); // nowhere to tell that telling failed
        ExitCode::from(if e.use_stderr() { 2 } else { 0 })
    })
}

/// Reads the configuration; all problems are told.
pub fn configuration(flags: Flags) -> Result<Config, ExitCode> {
    config::read(flags).map_err(|problems| {
        eprintln!(" !    The configuration has {} problem(s):", problems.len());
        problems.iter().for_each(|p| eprintln!(" !      {p}"));
        ExitCode::from(2)
    })
}

/// Entry of `serve`.
pub fn main() -> ExitCode {
    let config = match flags().and_then(configuration) {
        Ok(config) => config,
        Err(code) => return code,
    };
    start_logging("info");
    let runtime = tokio::runtime::Builder::new_multi_thread().thread_name("control").enable_all().build();
    let served = runtime.context("start the control plane's threads").and_then(|runtime| runtime.block_on(serve(config)));
    match served {
        Ok(End::Over) => ExitCode::SUCCESS,
        Ok(End::Anew) => anew(),
        Err(e) => {
            eprintln!(" !    Tidemill can not start: {e:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config) -> Result<End> {
    let mut term = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let token_file = config.admin_token_file.clone();
    let restart = Arc::new(Notify::new());
    let platform = wiring::start(config, restart.clone()).await?;
    if let Some(file) = &token_file {
        write_token(&platform, file).await?;
    }
    if platform.service.needs_setup()? {
        println!("Nobody has an account yet. On this machine: sudo tidemill init"); // never the link: this is a log
    }
    println!("Tidemill listens on http://{}, apps are at {}", platform.address, platform.service.addresses().app_url("APP"));
    println!("Git over SSH: {}, host key {}", platform.ssh.url("APP"), platform.ssh.fingerprint());
    // Not under systemd, there is nobody to notify.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let end = tokio::select! {
        _ = term.recv() => End::Over,
        _ = interrupt.recv() => End::Over,
        () = restart.notified() => End::Anew,
    };
    tracing::info!("tidemill.stopping");
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    platform.stop().await;
    Ok(end)
}

/// What is to follow when the daemon has ended.
enum End {
    Over,
    /// With the settings as they are now.
    Anew,
}

/// Starts the daemon again. systemd does it by itself and keeps the sockets; else this process becomes the new one.
fn anew() -> ExitCode {
    if std::env::var_os("INVOCATION_ID").is_some() && std::env::var_os("NOTIFY_SOCKET").is_some() {
        return ExitCode::SUCCESS;
    }
    let name = std::env::args_os().next().unwrap_or_default();
    let failed = Command::new("/proc/self/exe").arg0(name).args(std::env::args_os().skip(1)).exec();
    eprintln!(" !    Tidemill has stopped, and can not start anew: {failed}. Start it again as before.");
    ExitCode::FAILURE
}

/// Keeps a token in the file that still works; else writes a new one, readable by the owner only.
pub async fn write_token(platform: &Platform, file: &Path) -> Result<String> {
    let kept = fs::read_to_string(file).map(|t| t.trim().to_string()).unwrap_or_default();
    if !kept.is_empty() && platform.service.authenticate(&kept, None).is_ok() {
        return Ok(kept);
    }
    let token = platform.service.create_admin_token().await?;
    let partial = file.with_extension("partial");
    let _ = fs::remove_file(&partial); // left by a start that was cut short
    let write = || -> std::io::Result<()> {
        let mut out = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
        writeln!(out, "{token}")?;
        out.sync_all()?;
        fs::rename(&partial, file)
    };
    write().with_context(|| format!("write the admin token to {}", file.display()))?;
    Ok(token)
}

/// Print a one-time link that makes an admin
#[derive(Debug, Parser)]
#[command(name = "tidemill setup-link", version)]
struct SetupLink {
    #[command(flatten)]
    places: Places,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Entry of `setup-link`: asks the daemon; one that does not run has left its store to us.
pub fn setup_link() -> ExitCode {
    let given: SetupLink = match flags() {
        Ok(given) => given,
        Err(code) => return code,
    };
    let config = match configuration(given.places.flags()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match control::call(&config.data_dir, "POST", "/setup-link", &serde_json::Value::Null) {
        Err(control::Refusal::NotThere) => {}
        Ok(answer) => return told_link(answer["url"].as_str().unwrap_or_default(), given.json),
        Err(refusal) => return refusal.told(),
    }
    let made = || -> Result<String> {
        let host = Arc::new(Host::new(config.clone(), Arc::default(), Vec::new()));
        let addresses = wiring::addresses(&config, &[config.http.port()], None);
        let (service, store, ..) = wiring::open_service(&config, addresses, Arc::default(), host)?;
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let secret = runtime.block_on(service.create_setup_link(&service::Ctx::root(service.now())))?;
        runtime.block_on(store.close())?;
        let addresses = service.addresses();
        Ok(format!("{}/setup/{secret}", addresses.url(&addresses.domain)))
    };
    match made() {
        Ok(link) => told_link(&link, given.json),
        Err(e) => {
            eprintln!(" !    No link could be made: {e:#}");
            eprintln!(" !    Run it as root on the machine: sudo tidemill setup-link");
            ExitCode::FAILURE
        }
    }
}

fn told_link(link: &str, json: bool) -> ExitCode {
    if json {
        println!("{}", serde_json::json!({ "url": link, "valid_s": 3600 }));
    } else {
        println!("{link}");
        eprintln!("It works once, for 60 minutes.");
    }
    ExitCode::SUCCESS
}
