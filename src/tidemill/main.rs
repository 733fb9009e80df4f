//! The binary: configuration, boot order, wiring. The same file is daemon, command line, dyno holder, git hook and the
//! server of static sites; the name it is called by, or the first argument, decides.

mod acme;
mod backups;
mod clock;
mod config;
mod control;
mod demo;
mod heroku;
mod host;
mod init;
mod install;
mod machine;
mod serve;
mod setup_host;
mod sockets;
mod ssh;
mod stack;
mod static_site;
mod status;
mod swap;
mod watchdog;
mod wiring;

use std::{path::Path, process::ExitCode};

fn main() -> ExitCode {
    let mut args = std::env::args_os();
    let called = args.next().unwrap_or_default();
    let name = Path::new(&called).file_name().and_then(|n| n.to_str()).unwrap_or("").to_string();
    let verb = args.next().and_then(|a| a.into_string().ok()).unwrap_or_default();
    match (name.as_str(), verb.as_str()) {
        ("pre-receive", _) => git::hook_main(),
        ("static", _) => static_site::main(),
        (_, "hold") => runtime::native::hold::main(),
        (_, "serve") => serve::main(),
        (_, "init") => init::main(),
        (_, "machine:swap") => swap::main(),
        (_, "status") => status::main(),
        (_, "setup-link") => serve::setup_link(),
        (_, "install") => setup_host::install(),
        (_, "uninstall") => setup_host::uninstall(),
        (_, "stack:import") => stack::main(),
        (_, verb) if verb == "backup" || verb == "restore" || verb.starts_with("backup:") => backups::main(),
        (_, "demo") => demo::main(),
        (_, "heroku") => heroku::run(),
        (_, "heroku-env") => heroku::environment(),
        (_, "heroku-bridge") => heroku::background(),
        _ => cli::main(),
    }
}
