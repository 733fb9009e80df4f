//! The command line. `ps:scale` and `ps scale` are the same.

use clap::{Args, CommandFactory, Parser, Subcommand};
use std::{ffi::OsString, process::ExitCode};

/// Flags of every command.
#[derive(Debug, Args, Clone)]
pub struct Global {
    /// Print JSON
    #[arg(long, global = true)]
    pub json: bool,
    /// The app; else TIDEMILL_APP, HEROKU_APP, or the git remote
    #[arg(short, long, global = true)]
    pub app: Option<String>,
    /// The git remote to take the app from
    #[arg(short, long, global = true)]
    pub remote: Option<String>,
    /// Address of the server; else TIDEMILL_HOST, or the one signed in to
    #[arg(long, global = true)]
    pub host: Option<String>,
    /// Never ask
    #[arg(long, global = true)]
    pub no_input: bool,
}

#[derive(Debug, Parser)]
#[command(name = "tidemill", version, about = "git push to a served app, on a server of your own", max_term_width = 100)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// A parsed command line.
pub struct Invocation {
    /// Flags of every command.
    pub global: Global,
    /// What to do.
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Sign in to a server with an API token
    Login {
        /// Address such as https://paas.example.com
        url: String,
        /// The token; else it is asked for
        #[arg(long, env = "TIDEMILL_API_KEY", hide_env_values = true)]
        token: Option<String>,
    },
    /// Who is signed in
    #[command(name = "whoami", alias = "auth:whoami")]
    Whoami,
    /// Make an app
    #[command(alias = "apps:create")]
    Create {
        /// Name; one is made up without it
        name: Option<String>,
        /// Do not add a git remote
        #[arg(long)]
        no_remote: bool,
    },
    /// List apps
    Apps,
    /// Show an app
    #[command(alias = "apps:info")]
    Info,
    /// Destroy an app with everything in it
    #[command(alias = "apps:destroy", alias = "apps:delete")]
    Destroy {
        /// The app's name again, instead of typing it
        #[arg(long)]
        confirm: Option<String>,
    },
    /// Open the app in a browser, or print its address
    #[command(alias = "apps:open")]
    Open,
    /// Show config vars
    Config {
        /// As a shell would read them
        #[arg(short, long)]
        shell: bool,
    },
    /// Show one config var
    #[command(name = "config:get")]
    ConfigGet {
        /// Key
        key: String,
    },
    /// Set config vars
    #[command(name = "config:set")]
    ConfigSet {
        /// KEY=VALUE; KEY=@file takes the value from a file
        #[arg(required = true)]
        pairs: Vec<String>,
    },
    /// Remove config vars
    #[command(name = "config:unset", alias = "config:remove")]
    ConfigUnset {
        /// Keys
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// List dynos
    Ps,
    /// Change number or size of dynos: web=2 worker=1:Standard-2X web+1
    #[command(name = "ps:scale", alias = "scale", alias = "dyno:scale")]
    PsScale {
        /// TYPE=NUMBER[:SIZE]; nothing shows how it is
        changes: Vec<String>,
    },
    /// Restart all dynos, those of a type, or one
    #[command(name = "ps:restart", alias = "restart")]
    PsRestart {
        /// web or web.1
        dyno: Option<String>,
    },
    /// Stop dynos; those of the formation come back by themselves
    #[command(name = "ps:stop", alias = "stop")]
    PsStop {
        /// web, web.1 or run.1234
        dyno: String,
    },
    /// Run a command in a one-off dyno and talk to it; ends with its exit code
    #[command(alias = "run:attached")]
    Run {
        /// NAME=VALUE for this dyno only
        #[arg(short, long)]
        env: Vec<String>,
        /// Dyno size
        #[arg(short, long)]
        size: Option<String>,
        /// Process type in its name
        #[arg(long = "type")]
        ptype: Option<String>,
        /// Pipes instead of a terminal, as when input or output is none
        #[arg(long)]
        no_tty: bool,
        /// As is always done here: end with the command's exit code
        #[arg(short = 'x', long)]
        exit_code: bool,
        /// The command
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Run a command inside a dyno that runs, and talk to it; ends with its exit code
    #[command(name = "run:inside")]
    RunInside {
        /// web.1
        dyno: String,
        /// Pipes instead of a terminal, as when input or output is none
        #[arg(long)]
        no_tty: bool,
        /// As is always done here: end with the command's exit code
        #[arg(short = 'x', long)]
        exit_code: bool,
        /// The command
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Run a command in a one-off dyno; its output goes to the log
    #[command(name = "run:detached")]
    RunDetached {
        /// NAME=VALUE for this dyno only
        #[arg(short, long)]
        env: Vec<String>,
        /// Dyno size
        #[arg(short, long)]
        size: Option<String>,
        /// Process type in its name
        #[arg(long = "type")]
        ptype: Option<String>,
        /// It is ended after so many seconds
        #[arg(long)]
        ttl: Option<u64>,
        /// The command
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// List features of the app
    Features,
    /// Show a feature
    #[command(name = "features:info")]
    FeaturesInfo {
        /// Its name
        feature: String,
    },
    /// Switch a feature on, from the next release on
    #[command(name = "features:enable")]
    FeaturesEnable {
        /// Its name
        feature: String,
    },
    /// Switch a feature off
    #[command(name = "features:disable")]
    FeaturesDisable {
        /// Its name
        feature: String,
    },
    /// Show what a web dyno must answer before it serves
    #[command(name = "health-check")]
    HealthCheck,
    /// Ask web dynos for a path before they serve: a status of 200 to 399 is a success
    #[command(name = "health-check:set")]
    HealthCheckSet {
        /// Such as /health
        path: String,
        /// So many in a row [default: 2]
        #[arg(long)]
        successes: Option<u32>,
        /// Seconds for each answer [default: 5]
        #[arg(long)]
        timeout: Option<u64>,
        /// Seconds between tries [default: 1]
        #[arg(long)]
        interval: Option<u64>,
    },
    /// An open port is enough again
    #[command(name = "health-check:clear")]
    HealthCheckClear,
    /// List scheduled commands
    Schedule,
    /// Run a command again and again: schedule:add "0 3 * * *" -- COMMAND (UTC; also hourly, daily, "every 10 minutes")
    #[command(name = "schedule:add")]
    ScheduleAdd {
        /// Five fields of cron, or a word
        cron: String,
        /// Dyno size
        #[arg(short, long)]
        size: Option<String>,
        /// The command
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Remove a scheduled command
    #[command(name = "schedule:remove")]
    ScheduleRemove {
        /// Id, as the list shows it
        id: String,
    },
    /// Show the output of a release phase
    #[command(name = "releases:output")]
    ReleaseOutput {
        /// v12; without it the newest
        release: Option<String>,
    },
    /// Show the log
    Logs {
        /// Keep it coming
        #[arg(short, long)]
        tail: bool,
        /// Lines of history
        #[arg(short, long)]
        num: Option<usize>,
        /// Only this dyno or type
        #[arg(short, long, alias = "dyno-name", alias = "process-type", alias = "ps")]
        dyno: Option<String>,
        /// Only this source: app or heroku
        #[arg(short, long)]
        source: Option<String>,
    },
    /// List releases
    Releases {
        /// How many
        #[arg(short, long, default_value_t = 15)]
        num: usize,
    },
    /// Show a release
    #[command(name = "releases:info")]
    ReleaseInfo {
        /// v12
        release: String,
    },
    /// Go back to an older release
    #[command(alias = "releases:rollback")]
    Rollback {
        /// v12; without it the one before
        release: Option<String>,
    },
    /// List builds
    Builds,
    /// Show the output of a build
    #[command(name = "builds:output")]
    BuildOutput {
        /// Id; without it the newest
        build: Option<String>,
    },
    /// List buildpacks
    Buildpacks,
    /// Use one buildpack
    #[command(name = "buildpacks:set")]
    BuildpacksSet {
        /// heroku/NAME, a URL, or a folder of the server
        buildpack: String,
    },
    /// Add a buildpack at the end
    #[command(name = "buildpacks:add")]
    BuildpacksAdd {
        /// heroku/NAME, a URL, or a folder of the server
        buildpack: String,
        /// Place, from 1
        #[arg(short, long)]
        index: Option<usize>,
    },
    /// Go back to detection
    #[command(name = "buildpacks:clear")]
    BuildpacksClear,
    /// List domains
    Domains,
    /// Add a domain
    #[command(name = "domains:add")]
    DomainsAdd {
        /// www.example.com or *.example.com
        hostname: String,
    },
    /// Remove a domain
    #[command(name = "domains:remove")]
    DomainsRemove {
        /// Name
        hostname: String,
    },
    /// Switch maintenance mode on
    #[command(name = "maintenance:on")]
    MaintenanceOn,
    /// Switch maintenance mode off
    #[command(name = "maintenance:off")]
    MaintenanceOff,
    /// Add the app's git remote to this repository
    #[command(name = "git:remote")]
    GitRemote,
    /// Answer git's credential requests
    #[command(name = "git:credentials", hide = true)]
    GitCredentials {
        /// get, store or erase
        action: String,
    },
    /// Print the version
    Version,
    /// Run the platform: see tidemill serve --help
    Serve,
    /// Run the official Heroku CLI on this server: heroku -- ARGS
    Heroku,
    /// Print what lets the official Heroku CLI of this shell work on this server: eval "$(tidemill heroku-env)"
    #[command(name = "heroku-env")]
    HerokuEnv,
    /// Show it all on this machine: daemon, app, push, page
    Demo,
    /// Import a root file system for apps to be built and run on (on the server, as root): stack:import NAME FILE.tar
    #[command(name = "stack:import")]
    StackImport,
    /// List stacks, or show the one of an app
    #[command(name = "stack", alias = "stacks")]
    Stack,
    /// Use another stack from the next build on
    #[command(name = "stack:set")]
    StackSet {
        /// Its name
        stack: String,
    },
    /// Print a one-time link for the first admin (on the server, daemon stopped)
    #[command(name = "setup-link")]
    SetupLink,
}

/// Parses; help, version and mistakes are printed here.
pub fn parse(args: impl Iterator<Item = OsString>) -> Result<Invocation, ExitCode> {
    match Cli::try_parse_from(join_topic(args.collect())) {
        Ok(cli) => Ok(Invocation { global: cli.global, command: cli.command }),
        Err(e) => {
            let _ = e.print(); // nowhere to tell that telling failed
            Err(ExitCode::from(if e.use_stderr() { 2 } else { 0 }))
        }
    }
}

/// Makes `ps scale` into `ps:scale` when there is such a command.
fn join_topic(mut args: Vec<OsString>) -> Vec<OsString> {
    let (Some(topic), Some(verb)) = (args.get(1).and_then(|a| a.to_str()), args.get(2).and_then(|a| a.to_str())) else {
        return args;
    };
    let joined = format!("{topic}:{verb}");
    let known = Cli::command().get_subcommands().any(|c| c.get_name() == joined || c.get_all_aliases().any(|a| a == joined));
    if known {
        args.splice(1..3, [joined.into()]);
    }
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Invocation, ExitCode> {
        parse(words.iter().map(OsString::from))
    }

    #[test]
    fn topics_join_with_a_space_or_a_colon() {
        for words in [&["tidemill", "ps", "scale", "web=2", "-a", "x"][..], &["tidemill", "ps:scale", "web=2", "-a", "x"]] {
            let parsed = parse_words(words).expect("parses");
            assert_eq!(parsed.global.app.as_deref(), Some("x"));
            assert!(matches!(parsed.command, Command::PsScale { changes } if changes == ["web=2"]));
        }
        assert!(matches!(parse_words(&["tidemill", "ps"]).expect("parses").command, Command::Ps));
        assert!(parse_words(&["tidemill", "psss"]).is_err());
    }
}
