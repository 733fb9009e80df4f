//! `tidemill backup` and `tidemill restore`, on the server (`ux.md` J12). They read the data folder themselves: the daemon
//! may run, and is not asked.

pub mod nightly;
mod passphrase;
pub mod restore;
mod work;

use crate::{
    config::{Config, Flags},
    serve,
};
use backup::{Error, Report};
use clap::{Parser, Subcommand};
use serde_json::json;
use std::{path::PathBuf, process::ExitCode};

/// One sealed file of the whole installation
#[derive(Debug, Parser)]
#[command(name = "tidemill", version)]
struct Line {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make a backup and try it; the platform may run meanwhile
    #[command(name = "backup:create")]
    Create {
        /// The file to make; one that is there is not replaced
        #[arg(long)]
        to: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// Read a backup from end to end, compare every sum, and open the store in it
    #[command(name = "backup:verify")]
    Verify {
        /// The backup
        file: PathBuf,
        #[command(flatten)]
        common: Common,
    },
    /// List the backups that were made, the newest first
    #[command(name = "backup:list")]
    List {
        #[command(flatten)]
        common: Common,
    },
    /// Make the backup of this night, in its folder; the daemon does that by itself
    #[command(name = "backup:nightly", hide = true)]
    Nightly {
        #[command(flatten)]
        common: Common,
    },
    /// Restore a backup into an empty data folder
    #[command(name = "restore")]
    Restore {
        /// The backup
        file: PathBuf,
        #[command(flatten)]
        common: Common,
    },
}

#[derive(Debug, Parser)]
struct Common {
    /// File whose first line is the passphrase [default: asked on the terminal]
    #[arg(long)]
    passphrase_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    flags: Flags,
}

/// Entry of all of them; `backup create` is `backup:create`.
pub fn main() -> ExitCode {
    let mut args: Vec<_> = std::env::args_os().collect();
    // What all verbs have alike, and the topic by itself.
    let is_topic = args.len() == 2 && args[1] == "backup";
    if is_topic || args.iter().any(|arg| arg == "--help" || arg == "-h") {
        return cli::main();
    }
    if args.len() > 2 && args[1] == "backup" {
        let verb = args.remove(2);
        args[1] = format!("backup:{}", verb.to_string_lossy()).into();
    }
    let line = match Line::try_parse_from(args) {
        Ok(line) => line,
        Err(e) => {
            let _ = e.print(); // nowhere to tell that telling failed
            return ExitCode::from(if e.use_stderr() { 2 } else { 0 });
        }
    };
    let (Verb::Create { common, .. }
    | Verb::Verify { common, .. }
    | Verb::List { common }
    | Verb::Nightly { common }
    | Verb::Restore { common, .. }) = &line.verb;
    let flags = common.flags.clone();
    let config = match serve::configuration(flags) {
        Ok(config) => config,
        Err(code) => return code,
    };
    serve::start_logging("error");
    match run(&line.verb, &config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!(" !    {}", sentence(&e));
            ExitCode::from(e.exit())
        }
    }
}

/// With a capital letter and a full stop.
fn sentence(e: &Error) -> String {
    let text = e.to_string();
    let mut letters = text.chars();
    let first = letters.next().map_or(String::new(), |c| c.to_uppercase().to_string());
    format!("{first}{}.", letters.as_str().trim_end_matches('.'))
}

fn run(verb: &Verb, config: &Config) -> Result<(), Error> {
    match verb {
        Verb::Create { to, common } => {
            work::check_data(config)?;
            let passphrase = passphrase::new(common.passphrase_file.as_deref().or(config.backup_passphrase_file.as_deref()))?;
            let made = work::create(config, to, &passphrase, false)?;
            if common.json {
                print_json(&made);
            } else {
                println!("{}", work::told(&made));
            }
            Ok(())
        }
        Verb::Verify { file, common } => {
            let passphrase = passphrase::known(common.passphrase_file.as_deref())?;
            let report = backup::verify(file, &passphrase, &work::probe)?;
            if common.json {
                print_json(&shown(&report));
            } else {
                println!("{} is whole: {}.", file.display(), work::summary(&report));
            }
            Ok(())
        }
        Verb::List { common } => {
            let mut all = backup::history(&config.data_dir);
            all.reverse();
            if common.json {
                print_json(&all);
            } else {
                print!("{}", work::table(&all));
            }
            Ok(())
        }
        Verb::Nightly { .. } => {
            work::check_data(config)?;
            println!("{}", work::told(&nightly::make(config)?));
            Ok(())
        }
        Verb::Restore { file, common } => {
            let passphrase = passphrase::known(common.passphrase_file.as_deref())?;
            let restored = restore::restore(file, &passphrase, config)?;
            if common.json {
                print_json(&json!({ "backup": shown(&restored.report), "dns": restored.records }));
            } else {
                println!("{}", restored.told(config));
            }
            Ok(())
        }
    }
}

fn shown(report: &Report) -> serde_json::Value {
    json!({ "manifest": report.manifest, "sum": report.sum, "counts": report.counts })
}

fn print_json<T: serde::Serialize>(value: &T) {
    println!("{}", serde_json::to_string_pretty(value).unwrap_or_default());
}
