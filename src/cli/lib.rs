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
