//! The `tidemill` commands: an HTTP client of the API with nothing privileged (`ux.md` section 3).
//!
//! Results go to standard output, talk to standard error. This room must not know any other but `wire`.

mod args;
mod attach;
mod client;
mod commands;
mod credentials;
mod failure;
mod git;
mod output;

use std::process::ExitCode;

/// Address and token of the server that the user is signed in to: by environment, or by the last sign-in.
///
/// # Errors
/// A text for people and an exit code, when there is none.
pub fn signed_in() -> Result<(String, String), (String, u8)> {
    client::known_server(None).map_err(|failure| (failure.text, failure.exit))
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let invocation = match args::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(code) => return code,
    };
    match commands::run(invocation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.text.is_empty() {
                eprintln!(" !    {}", failure.text);
            }
            ExitCode::from(failure.exit)
        }
    }
}
