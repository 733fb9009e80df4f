//! The official Heroku CLI by way of the bridge: a table of command lines for every family (`cli-contract.md` section 2). Each line
//! says how it ends and what it prints, and its effect is looked up through the API.

mod apps;
mod coverage;
mod data;
mod dynos;
mod elsewhere;
mod oauth;
mod people;
mod pipelines;
mod quiet;
mod services;
mod settings;
mod warm;

use crate::support::*;
use serde_json::Value;
use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// The version that the table was written for.
const VERSION: &str = "11.10.0";

/// Where `tests/run` puts it.
fn installed() -> Option<PathBuf> {
    let cache = std::env::var("TIDEMILL_CACHE").unwrap_or_else(|_| "/var/tmp/tidemill-tests".into());
    Some(Path::new(&cache).join(format!("heroku-{VERSION}/node_modules/.bin"))).filter(|bin| bin.join("heroku").exists())
}

/// The CLI; else says that the test is skipped, which CI does not allow.
fn cli_or_skip(what: &str) -> Option<PathBuf> {
    let found = installed();
    if found.is_none() {
        println!("SKIPPED: {what} needs the official CLI; tests/run installs it");
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
    }
    found
}

/// How a line ended, and both outputs.
struct Ran {
    code: Option<i32>,
    printed: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let printed = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).join("\n");
        Self { code: output.status.code(), printed }
    }
}

/// Command lines against one platform.
struct Table {
    family: &'static str,
    platform: Platform,
    bin: PathBuf,
    /// Where the CLI is run.
    dir: PathBuf,
    /// The token that the CLI signs in with, if it is not the admin's.
    token: Option<String>,
    /// The CLI that runs many lines; `None` before the second one, and for a table whose lines need processes of their own.
    warm: Option<warm::Warm>,
    apart: bool,
    since: std::time::Instant,
    lines: usize,
    failures: Vec<String>,
}

/// Words of a command line; what stands in single quotes is one.
pub fn words(line: &str) -> Vec<String> {
    let quoted = line.split('\'').enumerate();
    let all = quoted.flat_map(|(n, part)| match n % 2 {
        0 => part.split_whitespace().map(String::from).collect(),
        _ => vec![part.to_string()],
    });
    all.collect()
}

/// The CLI breaks lines at the width of a terminal and puts marks before them.
fn folded(text: &str) -> String {
    text.replace(['›', '▸'], " ").split_whitespace().collect::<Vec<_>>().join(" ")
}

impl Table {
    fn start(family: &'static str) -> Option<Self> {
        let bin = cli_or_skip(family)?;
        let platform = Platform::start();
        let dir = platform.dir.path().join("work");
        std::fs::create_dir(&dir).unwrap();
        Some(Self {
            family,
            platform,
            bin,
            dir,
            token: None,
            warm: None,
            apart: false,
            since: std::time::Instant::now(),
            lines: 0,
            failures: Vec::new(),
        })
    }

    /// A table whose lines are processes of their own: they read what they are given, write as they go, or end by signals.
    fn apart(mut self) -> Self {
        self.apart = true;
        self
    }

    /// From here on the CLI is somebody else's.
    fn signed_in(&mut self, token: &str) {
        (self.token, self.warm) = (Some(token.to_string()), None);
    }

    /// `heroku LINE` by way of a bridge.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(BIN);
        command.args(["heroku", "--"]).args(words(line)).env_clear().current_dir(&self.dir);
        self.environment(&mut command);
        command
    }

    fn environment(&self, command: &mut Command) {
        let path = format!("{}:{}", self.bin.display(), std::env::var("PATH").unwrap());
        command.env("PATH", path).env("HOME", self.platform.dir.path()).env("COLUMNS", "200").env("TERM", "dumb");
        command
            .env("TIDEMILL_HOST", self.platform.base())
            .env("TIDEMILL_API_KEY", self.token.as_ref().unwrap_or(&self.platform.token));
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
    }

    fn output(&self, line: &str) -> Output {
        self.command(line).stdin(Stdio::null()).output().unwrap()
    }

    /// How a line ends and what it prints. The first of a table is a process of its own, as the user's are; the others are
    /// run by a CLI that is loaded already, since its start takes twenty times as long as most of its commands.
    fn ran(&mut self, line: &str) -> Ran {
        if self.apart || self.lines == 0 {
            return self.output(line).into();
        }
        if self.warm.is_none() {
            self.warm = Some(warm::Warm::start(self));
        }
        self.warm.as_mut().unwrap().run(&words(line))
    }

    /// One line of the table: how it ends, what both outputs together hold, and what is true afterwards.
    fn line(&mut self, line: &str, exit: i32, holds: &[&str], effect: impl FnOnce(&Platform) -> bool) -> String {
        let ran = self.ran(line);
        self.judge(line, &ran, exit, holds);
        if !effect(&self.platform) {
            self.failures.push(format!("heroku {line}: it did not do it"));
        }
        ran.printed
    }

    /// One that changes nothing: what it shows is its effect.
    fn shows(&mut self, line: &str, holds: &[&str]) -> String {
        assert!(!holds.is_empty(), "{line}: nothing would be tested");
        self.line(line, 0, holds, |_| true)
    }

    /// One that is refused, with this in its message.
    fn refused(&mut self, line: &str, exit: i32, holds: &[&str]) {
        assert!(exit != 0 && !holds.is_empty(), "{line}: nothing would be tested");
        self.line(line, exit, holds, |_| true);
    }

    fn judge(&mut self, line: &str, ran: &Ran, exit: i32, holds: &[&str]) {
        self.lines += 1;
        let text = folded(&ran.printed);
        let missing: Vec<&&str> = holds.iter().filter(|part| !text.contains(&folded(part))).collect();
        if ran.code != Some(exit) || !missing.is_empty() {
            self.failures.push(format!("heroku {line}: ended with {:?}, lacks {missing:?}:\n{}", ran.code, ran.printed));
        }
    }

    /// Says how many lines of the table are true; all must be.
    fn end(self) {
        println!("official CLI, {}: the lines took {:.1?}", self.family, self.since.elapsed());
        let wrong: std::collections::BTreeSet<&str> =
            self.failures.iter().filter_map(|failure| failure.split(": ").next()).collect();
        println!("official CLI, {}: {} of {}", self.family, self.lines - wrong.len(), self.lines);
        assert!(self.failures.is_empty(), "{}", self.failures.join("\n"));
    }
}

/// What the API says.
fn got(platform: &Platform, path: &str) -> Value {
    platform.api("GET", path, None).json()
}

fn status(platform: &Platform, path: &str) -> u16 {
    platform.api("GET", path, None).status
}

/// Is there one in this list whose field has this value?
fn has(platform: &Platform, path: &str, field: &str, value: &str) -> bool {
    got(platform, path).as_array().is_some_and(|list| list.iter().any(|item| item[field] == value))
}

fn newest_release(platform: &Platform, app: &str) -> Value {
    let releases = got(platform, &format!("/apps/{app}/releases"));
    releases.as_array().and_then(|all| all.iter().max_by_key(|r| r["version"].as_u64())).cloned().unwrap_or_default()
}
