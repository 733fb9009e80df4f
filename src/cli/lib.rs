//! The `tidemill` commands: an HTTP client of the API with nothing privileged (`ux.md` section 3).
//!
//! Results go to standard output, talk to standard error. This room must not know any other but `wire`.

mod args;
mod attach;
mod client;
mod commands;
mod complete;
mod credentials;
mod failure;
mod git;
mod help;
mod import;
mod man;
mod nearest;
mod output;
mod session;
mod talk;
mod tls;
mod topics;
mod verb;

use failure::Result;
use std::{process::ExitCode, sync::Arc};

pub use tls::pinned;

/// The server that the user is signed in to.
pub struct SignedIn {
    /// Scheme, host and port.
    pub base: String,
    /// The token.
    pub token: String,
    /// Trusts as the user said: the system's authorities, given ones, or one confirmed certificate.
    pub tls: Arc<rustls::ClientConfig>,
}

/// The server that the user is signed in to: by environment, or by the last sign-in.
///
/// # Errors
/// A text for people and an exit code, when there is none.
pub fn signed_in() -> std::result::Result<SignedIn, (String, u8)> {
    let found = || -> Result<SignedIn> {
        let (base, token) = client::known_server(None)?;
        let tls = Arc::new(tls::client_config(&client::trust(&args::Global::default(), &base)?)?);
        Ok(SignedIn { base, token, tls })
    };
    found().map_err(|failure| (failure.text, failure.exit))
}

/// Asks on the terminal without showing what is typed.
///
/// # Errors
/// A text for people that names `flag`, and an exit code, when there is no terminal.
pub fn ask_secret(question: &str, flag: &str) -> std::result::Result<String, (String, u8)> {
    output::ask_secret(question, false, flag).map_err(|failure| (failure.text, failure.exit))
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    if args.get(1).is_some_and(|a| a == complete::VERB) {
        complete::answer(&args);
        return ExitCode::SUCCESS;
    }
    let invocation = match args::parse(args) {
        Ok(invocation) => invocation,
        Err(code) => return code,
    };
    match run(invocation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text.is_empty() {
                output::warn(&failure.text);
            }
            ExitCode::from(failure.exit)
        }
    }
}

fn run(invocation: args::Invocation) -> Result<()> {
    let args::Invocation { global, verb, given } = invocation;
    match verb.run {
        verb::Run::Here(run) => run(&global, &given),
        verb::Run::There(run) => {
            let client = client::Client::from_environment(&global)?;
            let session = session::Session { global, given, client };
            run(&session).map_err(|failure| session.explained(failure))
        }
        verb::Run::Binary => Err(failure::Failure::usage(format!("Give this verb first: tidemill {}.", verb.name))),
    }
}
