//! `tidemill status` for root on the machine who is not signed in: the control socket tells. Everybody else asks the API.

use crate::{
    config::Places,
    control::{Refusal, call},
    init::check_line,
    serve,
};
use clap::Parser;
use serde_json::Value;
use std::process::ExitCode;

/// Show the machine and its apps on one screen
#[derive(Debug, Parser)]
#[command(name = "tidemill status", version)]
struct Status {
    #[command(flatten)]
    places: Places,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Entry.
pub fn main() -> ExitCode {
    // Flags that only the other way has are for the other way.
    let args = std::env::args_os().take(1).chain(std::env::args_os().skip(2));
    let Some(given) = cli::signed_in().is_err().then(|| Status::try_parse_from(args).ok()).flatten() else {
        return cli::main();
    };
    let config = match serve::configuration(given.places.flags()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match call(&config.data_dir, "GET", "/status", &Value::Null) {
        Ok(status) if given.json => println!("{status:#}"),
        Ok(status) => print!("{}", screen(&status)),
        Err(Refusal::NotThere | Refusal::NotAllowed) => return cli::main(),
        Err(refusal) => return refusal.told(),
    }
    ExitCode::SUCCESS
}

fn mib(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0) >> 20
}

fn screen(status: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("–").to_string();
    let limit = match status["memory"]["limit_bytes"].as_u64() {
        Some(limit) => format!("{} MiB", limit >> 20),
        None => "memory without a limit".into(),
    };
    let mut out = format!(
        "Tidemill {} at {}, {} of {limit} promised to apps\n",
        text(&status["version"]),
        text(&status["server"]),
        mib(&status["memory"]["promised_bytes"]),
    );
    if status["needs_setup"] == true {
        out.push_str("Nobody has an account yet: sudo tidemill init\n");
    }
    let list = |name: &str| status[name].as_array().cloned().unwrap_or_default();
    for check in list("checks") {
        out.push_str(&format!("{}\n", check_line(&check)));
    }
    let apps = list("apps");
    if apps.is_empty() {
        out.push_str("No apps yet.\n");
    }
    for app in apps {
        let release = app["release"].as_u64().map_or_else(|| "–".into(), |v| format!("v{v}"));
        let dynos = format!("{}/{}", app["up"], app["dynos"]);
        out.push_str(&format!(
            "{:<30} {:<11} {dynos:<7} {release:<6} {}\n",
            text(&app["name"]),
            text(&app["state"]),
            text(&app["web_url"])
        ));
    }
    out
}
