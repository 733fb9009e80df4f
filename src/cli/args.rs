//! The command line. `ps:scale` and `ps scale` are the same.

use crate::{
    failure::{Failure, Result},
    help,
    nearest::did_you_mean,
    topics,
    verb::{Arg, Shape, Verb},
};
use clap::{ArgAction, ArgMatches, Command, builder::PossibleValuesParser};
use std::{ffi::OsString, process::ExitCode, str::FromStr};

/// Flags of every command.
#[derive(Debug, Clone, Default)]
pub struct Global {
    /// Print JSON.
    pub json: bool,
    /// Print ids only.
    pub quiet: bool,
    /// The app.
    pub app: Option<String>,
    /// The git remote to take the app from.
    pub remote: Option<String>,
    /// Address of the server.
    pub host: Option<String>,
    /// Certificates to trust.
    pub ca: Option<String>,
    /// Never ask.
    pub no_input: bool,
}

/// Arguments of one command.
#[derive(Debug, Clone, Default)]
pub struct Given(ArgMatches);

impl Given {
    /// A value, if there is one.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.try_get_one::<String>(name).ok().flatten().map(String::as_str)
    }

    /// A value that the parser has asked for.
    pub fn need(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }

    /// All values.
    pub fn all(&self, name: &str) -> Vec<String> {
        self.0.try_get_many::<String>(name).ok().flatten().into_iter().flatten().cloned().collect()
    }

    /// Was the flag given?
    pub fn is(&self, name: &str) -> bool {
        self.0.try_get_one::<bool>(name).ok().flatten().copied().unwrap_or(false)
    }

    /// A number.
    pub fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>> {
        let Some(text) = self.text(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| Failure::usage(format!("--{name} takes a number, not {text:?}.")))
    }
}

/// A parsed command line.
pub struct Invocation {
    /// Flags of every command.
    pub global: Global,
    /// What to do.
    pub verb: &'static Verb,
    /// With what.
    pub given: Given,
}

/// Flags of every command, as [`Arg`]s.
pub const GLOBAL: &[Arg] = &[
    crate::verb::value("app", "The app; else TIDEMILL_APP, HEROKU_APP, or the git remote")
        .short('a')
        .live(crate::verb::Live::Apps),
    crate::verb::value("remote", "The git remote to take the app from").short('r'),
    crate::verb::switch("json", "Print JSON"),
    crate::verb::switch("quiet", "Print ids only").short('q'),
    crate::verb::switch("no-input", "Never ask"),
    crate::verb::value("host", "Address of the server; else TIDEMILL_HOST, or the one signed in to"),
    crate::verb::value("ca", "File of certificates to trust for the server; else TIDEMILL_CA"),
];

/// Parses; help, version and mistakes are printed here.
pub fn parse(args: Vec<OsString>) -> std::result::Result<Invocation, ExitCode> {
    let usage = |text: String| {
        eprintln!(" !    {text}");
        ExitCode::from(2)
    };
    let mut args = join_topic(args);
    let Some(at) = verb_at(&args) else {
        if args.iter().any(|a| a == "--version" || a == "-V") {
            args.insert(1, "version".into());
            return parse(vec![args[0].clone(), "version".into()]);
        }
        let asked = args.len() < 2 || args.iter().any(|a| a == "--help" || a == "-h");
        if !asked {
            return Err(usage("Which command? See tidemill help.".into()));
        }
        crate::output::print(&help::root());
        return Err(ExitCode::SUCCESS);
    };
    let word = args[at].to_string_lossy().into_owned();
    let Some(verb) = topics::find(&word) else {
        let Some(topic) = topics::all().iter().find(|t| t.name == word) else { return Err(usage(unknown(&word))) };
        // A topic without a verb of its own shows what it has.
        crate::output::print(&help::topic(topic));
        return Err(ExitCode::SUCCESS);
    };
    if let Some(next) = args.get(at + 1).and_then(|a| a.to_str())
        && is_wrong_verb(verb, next)
    {
        return Err(usage(unknown(&format!("{word}:{next}"))));
    }
    if asks_for_help(verb, &args[at + 1..]) {
        crate::output::print(&help::verb(verb));
        return Err(ExitCode::SUCCESS);
    }
    args.remove(at);
    if verb.args.iter().any(|a| a.shape == Shape::Rest) {
        app_comes_first(&mut args, at);
    }
    match command(verb).try_get_matches_from(args) {
        Ok(matches) => {
            let given = Given(matches);
            let text = |name: &str| given.text(name).map(String::from);
            let global = Global {
                json: given.is("json"),
                quiet: given.is("quiet"),
                app: text("app"),
                remote: text("remote"),
                host: text("host"),
                ca: text("ca"),
                no_input: given.is("no-input"),
            };
            Ok(Invocation { global, verb, given })
        }
        Err(e) => {
            let _ = e.print(); // nowhere to tell that telling failed
            Err(ExitCode::from(2))
        }
    }
}

/// `run bash -a shop`: an app or remote named last is not the command's, as people are used to from the official command
/// line. Left alone is what follows `--`, a flag that is there already, and a word that no app or remote could be called.
fn app_comes_first(args: &mut Vec<OsString>, verb: usize) {
    const FLAGS: [&[&str]; 2] = [&["-a", "--app"], &["-r", "--remote"]];
    let is_name = |name: &str| {
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    };
    let texts: Vec<String> = args.iter().map(|a| a.to_string_lossy().into_owned()).collect();
    let is = |word: &str, flags: &[&str]| flags.contains(&word.split_once('=').map_or(word, |(name, _)| name));
    let [before @ .., flag, last] = texts.as_slice() else { return };
    let apart = FLAGS.iter().find(|flags| flags.contains(&flag.as_str()) && is_name(last));
    let joined =
        FLAGS.iter().find(|f| last.starts_with("--") && is(last, f) && is_name(last.split_once('=').unwrap_or_default().1));
    let (flags, words) = match (apart, joined) {
        (Some(flags), _) => (flags, 2),
        (None, Some(flags)) => (flags, 1),
        _ => return,
    };
    let there = before.iter().chain((words == 1).then_some(flag)).any(|word| word == "--" || is(word, flags));
    // The command keeps a word at least.
    if !there && args.len() > verb + words {
        let moved = args.split_off(args.len() - words);
        args.splice(1..1, moved);
    }
}

/// What is said about a word that is no command.
fn unknown(word: &str) -> String {
    let names = topics::all()
        .iter()
        .flat_map(|t| t.verbs)
        .filter(|v| !v.hidden)
        .flat_map(|v| std::iter::once(v.name).chain(v.aliases.iter().copied()));
    format!("{word} is no tidemill command.{}\n !    See: tidemill help", did_you_mean(word, names))
}

/// `ps scal`: a word after a verb that takes none, while its topic has more verbs.
fn is_wrong_verb(verb: &Verb, next: &str) -> bool {
    let takes_words = verb.args.iter().any(|a| matches!(a.shape, Shape::Place { .. } | Shape::Rest));
    let prefix = format!("{}:", verb.name);
    !takes_words && !next.starts_with('-') && topics::all().iter().flat_map(|t| t.verbs).any(|v| v.name.starts_with(&prefix))
}

/// What follows `--`, or is a command for elsewhere, is not ours.
fn asks_for_help(verb: &Verb, args: &[OsString]) -> bool {
    let ours = args.iter().take_while(|a| *a != "--");
    let is_help = |a: &OsString| a == "--help" || a == "-h";
    if verb.args.iter().any(|a| a.shape == Shape::Rest) {
        return ours.take_while(|a| a.to_string_lossy().starts_with('-')).any(is_help);
    }
    let mut ours = ours;
    ours.any(is_help)
}

/// Index of the first word that is neither a flag of every command nor its value.
fn verb_at(args: &[OsString]) -> Option<usize> {
    let mut at = 1;
    while let Some(word) = args.get(at).and_then(|a| a.to_str()) {
        if !word.starts_with('-') {
            return Some(at);
        }
        let takes_value = GLOBAL
            .iter()
            .filter(|g| g.shape == Shape::Value)
            .any(|g| word.strip_prefix("--") == Some(g.name) || g.short.is_some_and(|s| word == format!("-{s}")));
        at += if takes_value { 2 } else { 1 };
    }
    None
}

/// Makes `ps scale` into `ps:scale`, and `certs auto enable` into `certs:auto:enable`, when there is such a command.
pub fn join_topic(mut args: Vec<OsString>) -> Vec<OsString> {
    let Some(at) = verb_at(&args) else { return args };
    // `help ps scale` is about `ps:scale`.
    let at = if args[at] == "help" && args.len() > at + 2 { at + 1 } else { at };
    for words in [3, 2] {
        let Some(parts) = args.get(at..at + words) else { continue };
        let joined = parts.iter().map(|p| p.to_string_lossy()).collect::<Vec<_>>().join(":");
        if topics::find(&joined).is_some() {
            args.splice(at..at + words, [joined.into()]);
            return args;
        }
    }
    args
}

/// The parser of one verb: the others are not even built.
fn command(verb: &'static Verb) -> Command {
    let mut command =
        Command::new(verb.name).bin_name(format!("tidemill {}", verb.name)).disable_help_flag(true).disable_version_flag(true);
    for arg in verb.args.iter().chain(GLOBAL.iter().filter(|g| verb.args.iter().all(|a| a.name != g.name))) {
        command = command.arg(argument(verb, arg));
    }
    command
}

fn argument(verb: &Verb, arg: &'static Arg) -> clap::Arg {
    let taken = |c: char| verb.args.iter().any(|a| a.short == Some(c));
    let is_global = verb.args.iter().all(|a| a.name != arg.name);
    let mut built = clap::Arg::new(arg.name).help(arg.help).value_name(arg.name);
    if !matches!(arg.shape, Shape::Place { .. } | Shape::Rest) {
        built = built.long(arg.name).aliases(arg.aliases);
        // A verb's own letter goes before that of every command.
        if let Some(short) = arg.short.filter(|s| !(is_global && taken(*s))) {
            built = built.short(short);
        }
    }
    if !arg.words.is_empty() {
        built = built.value_parser(PossibleValuesParser::new(arg.words)).ignore_case(true);
    }
    match arg.shape {
        Shape::Place { min, max } if max > 1 => built.required(min > 0).num_args(min..).action(ArgAction::Append),
        Shape::Place { min, .. } => built.required(min > 0),
        Shape::Rest => built.required(true).num_args(1..).trailing_var_arg(true).allow_hyphen_values(true),
        Shape::Value => built.action(ArgAction::Set).allow_hyphen_values(false),
        Shape::Values => built.action(ArgAction::Append),
        Shape::Switch => built.action(ArgAction::SetTrue),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn topics_join_with_a_space_or_a_colon() {
        for line in [
            &["tidemill", "ps", "scale", "web=2", "-a", "x"][..],
            &["tidemill", "ps:scale", "web=2", "-a", "x"],
            &["tidemill", "-a", "x", "ps", "scale", "web=2"],
            &["tidemill", "scale", "--app", "x", "web=2"],
        ] {
            let parsed = parse(words(line)).expect("parses");
            assert_eq!(parsed.global.app.as_deref(), Some("x"));
            assert_eq!((parsed.verb.name, parsed.given.all("changes")), ("ps:scale", vec!["web=2".to_string()]));
        }
        assert_eq!(parse(words(&["tidemill", "ps"])).expect("parses").verb.name, "ps");
        assert_eq!(parse(words(&["tidemill", "certs", "auto", "enable"])).expect("parses").verb.name, "certs:auto:enable");
        for wrong in [&["tidemill", "psss"][..], &["tidemill", "ps", "scal"], &["tidemill", "ps:scale", "--nope"]] {
            assert!(parse(words(wrong)).is_err());
        }
    }

    #[test]
    fn every_verb_has_a_parser_and_one_meaning() {
        let mut names: Vec<&str> = Vec::new();
        for verb in topics::all().iter().flat_map(|t| t.verbs) {
            command(verb).debug_assert();
            assert!(!verb.about.is_empty() && !verb.about.ends_with('.'), "{}", verb.name);
            names.push(verb.name);
            names.extend(verb.aliases);
        }
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "a name is used twice");
    }

    #[test]
    fn a_command_for_elsewhere_keeps_its_flags() {
        let parsed = parse(words(&["tidemill", "run", "-a", "x", "--", "ls", "-l", "--help"])).expect("parses");
        assert_eq!(parsed.given.all("command"), ["ls", "-l", "--help"]);
        let parsed = parse(words(&["tidemill", "run", "-a", "x", "ls", "-h"])).expect("parses");
        assert_eq!(parsed.given.all("command"), ["ls", "-h"]);
        for last in [&["-a", "x"][..], &["--app", "x"], &["--app=x"]] {
            let line = [&["tidemill", "run", "rails", "console"][..], last].concat();
            let parsed = parse(words(&line)).expect("parses");
            assert_eq!(
                (parsed.global.app.as_deref(), parsed.given.all("command").join(" ")),
                (Some("x"), "rails console".into())
            );
        }
        let parsed = parse(words(&["tidemill", "run", "-a", "x", "ls", "-a", "/tmp"])).expect("parses");
        assert_eq!(parsed.given.all("command"), ["ls", "-a", "/tmp"]);
        for line in [&["run", "-a", "x", "--", "ls", "-a", "tmp"][..], &["run", "-a", "x", "ls", "-l", "-a", "tmp"]] {
            let parsed = parse(words(&[&["tidemill"][..], line].concat())).expect("parses");
            assert_eq!(
                (parsed.global.app.as_deref(), parsed.given.all("command").join(" ").ends_with("-a tmp")),
                (Some("x"), true)
            );
        }
    }
}
