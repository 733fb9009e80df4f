//! `tidemill demo`: the whole journey on this machine, each step as a user would type it.

use crate::{
    acme::Acme,
    config::{Config, Driver},
    install, serve, wiring,
};
use anyhow::{Context, Result, bail};
use clap::Parser;
use runtime::native::network::{DEFAULT_SUBNET, DynoNetwork};
use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::{Command, ExitCode},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::signal::unix::{SignalKind, signal};

/// Show it all on this machine.
#[derive(Debug, Parser)]
#[command(name = "tidemill demo", about = "Start a daemon in a fresh folder, push a sample to it, serve until Ctrl-C")]
struct Flags {
    /// End and clean up after the sample answered
    #[arg(long)]
    exit: bool,
}

const APP: &str = "demo";
const PAGE: &str = include_str!("../../web/sample/index.html");
const SETTINGS: &str = include_str!("../../web/sample/static.json");
/// The page must answer within this time after the push.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Entry.
pub fn main() -> ExitCode {
    let args = std::env::args_os().take(1).chain(std::env::args_os().skip(2));
    let flags = match Flags::try_parse_from(args) {
        Ok(flags) => flags,
        Err(e) => {
            let _ = e.print(); // nowhere to tell that telling failed
            return ExitCode::from(if e.use_stderr() { 2 } else { 0 });
        }
    };
    serve::start_logging("warn");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.context("start threads").and_then(|runtime| runtime.block_on(run(&flags))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!(" !    The demo failed: {e:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: &Flags) -> Result<()> {
    install::ensure(&[("git", "git"), ("bash", "bash")])?;
    let dir = tempfile::Builder::new().prefix("tidemill-demo-").tempdir().context("make a folder for the demo")?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut term = signal(SignalKind::terminate())?;
    let begun = Instant::now();
    println!("Starting a daemon in {}", dir.path().join("data").display());
    let platform = wiring::start(configuration(&dir.path().join("data")), Arc::default()).await?;
    let token = serve::write_token(&platform, &dir.path().join("token")).await?;
    let base = platform.service.addresses().url("localhost");
    let url = platform.service.addresses().app_url(APP);
    let address = platform.address;
    let shown = tokio::task::spawn_blocking({
        let (home, token, base, url) = (dir.path().to_path_buf(), token.clone(), base.clone(), url.clone());
        move || journey(&home, &base, &token, &url, address)
    });
    let shown = tokio::select! {
        shown = shown => shown?,
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = term.recv() => Err(anyhow::anyhow!("terminated")),
    };
    if shown.is_ok() {
        println!("\nFrom nothing to a served app in {:.1} s.", begun.elapsed().as_secs_f64());
        println!("  page   {url}");
        println!("  server {base}");
        println!("  token  {token}");
        if !flags.exit {
            println!("Serving until Ctrl-C.");
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = term.recv() => {}
            }
        }
    }
    println!("Stopping and cleaning up.");
    platform.stop().await;
    dir.close().context("remove the demo's folder")?;
    shown
}

fn configuration(data_dir: &Path) -> Config {
    Config {
        acme: Acme::nothing(),
        https: None,
        data_dir: data_dir.to_path_buf(),
        http: SocketAddr::from(([127, 0, 0, 1], 0)),
        ssh: None,
        domain: "localhost".into(),
        file: data_dir.join("tidemill.toml"),
        domain_is_fixed: true,
        driver: Driver::Native,
        docker_host: data_dir.join("none"), // the demo leaves engines alone
        docker_image: None,
        docker_build_network: "bridge".into(),
        docker_sweep_after_s: 600,
        docker_sweep_dry_run: true,
        dyno_network: DynoNetwork::Own { subnet: DEFAULT_SUBNET, required: false },
        public_ports: Vec::new(),
        admin_token_file: None,
        boot_timeout_s: 60,
        build_timeout_s: 900,
        build_memory_mb: 2048,
        builds_at_once: 2,
        push_mb_max: 1024,
        tree_mb_max: 2048,
        crash_backoff_s: None,
        cycle_after_s: 0,
        disk_reserve_mb: 0,
        release_timeout_s: 3600,
        sleep_after_s: 0,
        preboot_hold_s: 0,
        capacity_mb: 0,
        overcommit_percent: 100,
        starts_at_once: 4,
        rate_limit_per_hour: 100_000,
        allow_private_sources: false,
        allow_private_targets: false,
        metrics_every_s: 20,
        smtp: None,
        smtp_tls: engine::MailTls::Starttls,
        smtp_user: None,
        smtp_password_file: None,
        mail_from: None,
        drain_ca_file: None,
        log_keep_days: 7,
        log_app_mb: 256,
        log_host_mb: 8192,
        backup_nightly: false,
        backup_hour: 3,
        backup_keep: 7,
        backup_dir: None,
        backup_passphrase_file: None,
        stop_dynos: true,
        shutdown_s: 5,
    }
}

/// What a user would type. Nothing of the user's own configuration is read or changed.
fn journey(home: &Path, base: &str, token: &str, url: &str, address: SocketAddr) -> Result<()> {
    let work = home.join("my-site");
    fs::create_dir_all(work.join("public"))?;
    fs::write(work.join("public/index.html"), PAGE)?;
    fs::write(work.join("static.json"), SETTINGS)?;
    let program = std::env::current_exe()?.display().to_string();
    let step = |shown: &str, program: &str, args: &[&str]| -> Result<()> {
        println!("\n$ {shown}");
        let status = Command::new(program)
            .args(args)
            .current_dir(&work)
            .env("XDG_CONFIG_HOME", home.join("config"))
            .env("GIT_CONFIG_GLOBAL", home.join("gitconfig"))
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("TIDEMILL_API_KEY", token)
            .env_remove("TIDEMILL_HOST")
            .env_remove("TIDEMILL_APP")
            .env_remove("HEROKU_APP")
            .status()
            .with_context(|| format!("run {program}"))?;
        if status.success() { Ok(()) } else { bail!("`{shown}` failed") }
    };
    step(&format!("tidemill login {base}"), &program, &["login", base])?;
    step("git init --initial-branch=main my-site && cd my-site", "git", &["init", "--quiet", "--initial-branch=main", "."])?;
    let identity = ["-c", "user.name=You", "-c", "user.email=you@example.com"];
    step("git add .", "git", &["add", "."])?;
    step("git commit -m \"First page\"", "git", &[&identity[..], &["commit", "--quiet", "-m", "First page"]].concat())?;
    step(&format!("tidemill create {APP}"), &program, &["create", APP])?;
    step("git push tidemill main", "git", &["push", "tidemill", "main"])?;
    step("tidemill ps", &program, &["ps"])?;
    println!("\n$ curl {url}");
    println!("{}", page(address)?);
    Ok(())
}

/// Gets the page through the router. By address, since not every resolver knows names below localhost; browsers do.
fn page(address: SocketAddr) -> Result<String> {
    let limit = Instant::now() + ANSWER_LIMIT;
    loop {
        let answer =
            ureq::get(format!("http://{address}/")).header("Host", format!("{APP}.localhost:{}", address.port())).call();
        match answer {
            Ok(mut answer) => return Ok(answer.body_mut().read_to_string()?.trim_end().to_string()),
            Err(e) if Instant::now() > limit => bail!("the page does not answer: {e}"),
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
