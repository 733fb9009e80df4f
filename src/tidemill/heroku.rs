//! `tidemill heroku -- ARGS` and `eval "$(tidemill heroku-env)"`: the official CLI by way of a bridge (`ux.md` J13).

use bridge::{Bridge, Place, Shell, Target, Trust, Variables, shell_ended};
use std::{
    ffi::OsString,
    future::Future,
    io::{Read, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Command, ExitCode, ExitStatus, Stdio},
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};

/// What the two verbs say about themselves.
const HELP_RUN: &str = "Run the official Heroku CLI on the server that you are signed in to

Usage: tidemill heroku -- ARGS

The CLI must be on PATH. Its exit code is handed on. No token of yours enters its environment, and no other host is asked.
";
const HELP_ENV: &str = "Let the official Heroku CLI of this shell work on the server that you are signed in to

Usage: eval \"$(tidemill heroku-env)\"
       tidemill heroku-env --shell fish | source

Starts a bridge on 127.0.0.1 in the background, which ends with the shell.
";
/// Exit codes of this program (`ux.md` section 3).
const FAILED: u8 = 1;
const USAGE: u8 = 2;
/// The shell's for a program that is not there.
const NOT_FOUND: u8 = 127;
/// A background bridge tells its lines within this time, or it is given up.
const START_LIMIT: Duration = Duration::from_secs(20);
/// First line of what a background bridge tells when it works.
const READY: &str = "ready";

/// A text for people and an exit code.
type Failure = (String, u8);

fn failed(e: impl std::fmt::Display) -> Failure {
    (e.to_string(), FAILED)
}

fn ended(result: Result<ExitCode, Failure>) -> ExitCode {
    result.unwrap_or_else(|(text, exit)| {
        eprintln!(" !    {text}");
        ExitCode::from(exit)
    })
}

fn arguments() -> Vec<OsString> {
    std::env::args_os().skip(2).collect()
}

fn is_help(argument: &OsString) -> bool {
    argument == "--help" || argument == "-h"
}

fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
    runtime.block_on(work)
}

/// A bridge to the server that the user is signed in to, with its folder.
async fn opened() -> Result<(Bridge, Place), Failure> {
    let cli::SignedIn { base, token, tls } = cli::signed_in()?;
    let trust = Trust { config: tls, pinned: cli::pinned };
    let bridge = Bridge::bind(Target { base, token, trust }).await.map_err(failed)?;
    let place = Place::make(&bridge).map_err(failed)?;
    Ok((bridge, place))
}

/// Entry of `heroku`.
pub fn run() -> ExitCode {
    let mut arguments = arguments();
    if arguments.first().is_some_and(|first| first == "--") {
        arguments.remove(0);
    } else if arguments.first().is_none_or(is_help) {
        print!("{HELP_RUN}");
        return ExitCode::SUCCESS;
    }
    ended(block_on(run_beside_a_bridge(arguments)))
}

async fn run_beside_a_bridge(arguments: Vec<OsString>) -> Result<ExitCode, Failure> {
    let (bridge, place) = opened().await?;
    let variables = Variables::new(&bridge, &place);
    let mut command = tokio::process::Command::new("heroku");
    command.args(arguments).env_remove("TIDEMILL_API_KEY");
    for name in variables.removed {
        command.env_remove(name);
    }
    command.envs(variables.set.iter().map(|(_, name, value)| (name, value)));
    // The terminal tells both of us; it is the CLI's to decide what that means. Other signals come to us alone.
    let mut interrupts = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut quits = signal(SignalKind::quit()).map_err(failed)?;
    let mut endings = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hang_ups = signal(SignalKind::hangup()).map_err(failed)?;
    let mut child = command.spawn().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            ("The official CLI is not on PATH. Install it with: npm install --global heroku".to_string(), NOT_FOUND)
        }
        _ => failed(format!("heroku can not be started: {e}")),
    })?;
    let serving = tokio::spawn(bridge.serve());
    let status = loop {
        let given = tokio::select! {
            status = child.wait() => break status.map_err(failed)?,
            _ = interrupts.recv() => continue,
            _ = quits.recv() => continue,
            _ = endings.recv() => "TERM",
            _ = hang_ups.recv() => "HUP",
        };
        pass_on(given, child.id());
    };
    serving.abort();
    Ok(code(status))
}

/// The system's own `kill`: its argv is a number and a word of ours.
fn pass_on(signal: &str, pid: Option<u32>) {
    if let Some(pid) = pid {
        let _ = Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status(); // it may have ended just now
    }
}

fn code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(FAILED))
}

/// Entry of `heroku-env`.
pub fn environment() -> ExitCode {
    let arguments = arguments();
    if arguments.iter().any(is_help) {
        print!("{HELP_ENV}");
        return ExitCode::SUCCESS;
    }
    ended(wanted_shell(&arguments).and_then(|shell| {
        let lines = start_in_background(shell)?;
        print!("{lines}");
        std::io::stdout().flush().map_err(failed)?;
        Ok(ExitCode::SUCCESS)
    }))
}

fn wanted_shell(arguments: &[OsString]) -> Result<&str, Failure> {
    let words: Vec<&str> = arguments.iter().map(|a| a.to_str().unwrap_or("")).collect();
    let shell = match words.as_slice() {
        [] => "posix",
        ["--shell", shell] => shell,
        [one] => one.strip_prefix("--shell=").unwrap_or(""),
        _ => "",
    };
    match shell {
        "posix" | "sh" | "bash" | "zsh" | "dash" | "ksh" => Ok("posix"),
        "fish" => Ok("fish"),
        _ => Err(("Usage: tidemill heroku-env [--shell bash|zsh|sh|fish]".into(), USAGE)),
    }
}

/// Starts this program again, apart from the shell's jobs, and waits until it has told what to print.
fn start_in_background(shell: &str) -> Result<String, Failure> {
    let mut command = Command::new(std::env::current_exe().map_err(failed)?);
    command.args(["heroku-bridge", shell]).process_group(0);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().map_err(failed)?;
    let Some(mut stdout) = child.stdout.take() else { return Err(failed("the bridge says nothing")) };
    let (sender, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stdout.read_to_string(&mut text); // what is missing is noticed below
        let _ = sender.send(text); // nobody waits any more
    });
    let Ok(text) = told.recv_timeout(START_LIMIT) else {
        let _ = child.kill(); // it may have ended just now
        return Err(failed("The bridge does not start."));
    };
    match text.split_once('\n') {
        Some((READY, lines)) => Ok(lines.to_string()),
        _ => {
            let exit = child.wait().ok().and_then(|status| status.code()).and_then(|code| u8::try_from(code).ok());
            Err((text.trim_end().to_string(), exit.unwrap_or(FAILED)))
        }
    }
}

/// Entry of `heroku-bridge`, which `heroku-env` starts.
pub fn background() -> ExitCode {
    let shell = if arguments().first().is_some_and(|shell| shell == "fish") { Shell::Fish } else { Shell::Posix };
    match block_on(serve_a_shell(shell)) {
        Ok(()) => ExitCode::SUCCESS,
        Err((text, exit)) => {
            println!("{text}"); // for the process that started this one
            ExitCode::from(exit)
        }
    }
}

async fn serve_a_shell(shell: Shell) -> Result<(), Failure> {
    let (bridge, place) = opened().await?;
    tell(&format!("{READY}\n{}", Variables::new(&bridge, &place).lines(shell))).map_err(failed)?;
    let mut endings = signal(SignalKind::terminate()).map_err(failed)?;
    let mut hang_ups = signal(SignalKind::hangup()).map_err(failed)?;
    tokio::select! {
        () = bridge.serve() => {}
        () = shell_ended(&place) => {}
        _ = endings.recv() => {}
        _ = hang_ups.recv() => {}
    }
    Ok(())
}

/// Says it, and closes standard output: its reader waits for the end.
fn tell(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    let nowhere = std::fs::File::options().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(nowhere).map_err(std::io::Error::from)
}
