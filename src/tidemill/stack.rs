//! `tidemill stack:import`, on the server: the daemon finds the stack by itself.

use crate::{config::Flags, serve, wiring};
use builder::Stacks;
use clap::Parser;
use std::{path::PathBuf, process::ExitCode};

/// Import a root file system for apps to be built and run on
#[derive(Debug, Parser)]
#[command(name = "tidemill stack:import", version)]
struct Import {
    /// Name of the stack; that of the host stack, heroku-24, puts it in the host's place
    name: String,
    /// tar or tar.gz of a root file system with bash, or an OCI image layout (folder or tar)
    file: PathBuf,
    #[command(flatten)]
    flags: Flags,
}

/// Entry of the verb.
pub fn main() -> ExitCode {
    let import: Import = match serve::flags() {
        Ok(import) => import,
        Err(code) => return code,
    };
    let config = match serve::configuration(import.flags) {
        Ok(config) => config,
        Err(code) => return code,
    };
    match Stacks::new(config.data_dir.join(wiring::STACKS)).import(&import.name, &import.file) {
        Ok(imported) => {
            println!("Imported {}: {} entries, {}", import.name, imported.entries, &imported.id[..12]);
            println!("Apps use it from their next build on after: tidemill stack:set {} -a APP", import.name);
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!(" !    {} was not imported: {e}", import.file.display());
            ExitCode::FAILURE
        }
    }
}
