//! Man pages and the page of the documents, from the same descriptions as the help.

use crate::{
    args::{GLOBAL, Given, Global},
    failure::{Failure, Result},
    help::{flag, usage},
    topics,
    verb::{Arg, Shape, Topic, Verb},
};
use std::path::Path;

fn shown(topic: &Topic) -> impl Iterator<Item = &Verb> {
    topic.verbs.iter().filter(|v| !v.hidden)
}

/// `man DIR`.
pub fn write_all(_: &Global, given: &Given) -> Result<()> {
    let dir = Path::new(given.need("dir"));
    let failed = |e: std::io::Error| Failure::failed(format!("{}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(failed)?;
    let topics = topics::all().iter().filter(|t| shown(t).next().is_some());
    for topic in topics.clone() {
        std::fs::write(dir.join(format!("tidemill-{}.1", topic.name)), page(topic)).map_err(failed)?;
    }
    let mut names: Vec<&str> = topics.map(|t| t.name).collect();
    names.sort_unstable();
    std::fs::write(dir.join("tidemill.1"), first_page(&names)).map_err(failed)?;
    eprintln!("{} pages in {}", names.len() + 1, dir.display());
    Ok(())
}

/// Text that roff takes as it is.
fn plain(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

fn title(name: &str) -> String {
    format!(".TH {} 1 \"\" \"tidemill {}\" \"Tidemill\"\n", name.to_uppercase(), env!("CARGO_PKG_VERSION"))
}

fn is_place(arg: &Arg) -> bool {
    matches!(arg.shape, Shape::Place { .. } | Shape::Rest)
}

fn argument(arg: &Arg) -> String {
    let name = if is_place(arg) { arg.name.to_uppercase() } else { flag(arg).trim().to_string() };
    format!(".TP\n\\fB{}\\fR\n{}\n", plain(&name), plain(arg.help))
}

fn page(topic: &Topic) -> String {
    let name = format!("tidemill-{}", topic.name);
    let mut out = format!("{}.SH NAME\n{} \\- {}\n", title(&name), plain(&name), plain(topic.about));
    let examples: Vec<&str> = shown(topic).flat_map(|v| v.examples.iter().copied()).collect();
    if !examples.is_empty() {
        out.push_str(".SH EXAMPLES\n");
        examples.iter().for_each(|e| out.push_str(&format!(".PP\n.EX\ntidemill {}\n.EE\n", plain(e))));
    }
    out.push_str(".SH COMMANDS\n");
    for verb in shown(topic) {
        out.push_str(&format!(".SS {}\n{}.\n", plain(&usage(verb)), plain(verb.about)));
        if !verb.aliases.is_empty() {
            out.push_str(&format!("Also called {}.\n", plain(&verb.aliases.join(", "))));
        }
        verb.args.iter().for_each(|arg| out.push_str(&argument(arg)));
    }
    out.push_str(".SH OPTIONS OF EVERY COMMAND\n");
    GLOBAL.iter().for_each(|arg| out.push_str(&argument(arg)));
    out.push_str(".SH SEE ALSO\n.BR tidemill (1)\n");
    out
}

const EXITS: &[(&str, &str)] = &[
    ("0", "done"),
    ("1", "the thing failed"),
    ("2", "wrong usage or input"),
    ("3", "not signed in, or not allowed"),
    ("4", "no such thing"),
    ("5", "conflict, locked or full"),
    ("6", "the server can not be reached, or it took too long"),
    ("130", "ended by Ctrl-C"),
];

const VARIABLES: &[(&str, &str)] = &[
    ("TIDEMILL_HOST", "Address of the server"),
    ("TIDEMILL_API_KEY", "API token"),
    ("TIDEMILL_APP, HEROKU_APP", "The app, when -a is not given"),
    ("TIDEMILL_CA", "File of certificates to trust for the server"),
    ("CI", "When set, nothing is asked"),
    ("NO_COLOR, FORCE_COLOR, TERM, COLUMNS, PAGER", "As everywhere"),
    ("VISUAL, EDITOR", "Editor of config:edit"),
];

fn first_page(names: &[&str]) -> String {
    let mut out = format!("{}.SH NAME\ntidemill \\- git push to a served app, on a server of your own\n", title("tidemill"));
    out.push_str(".SH SYNOPSIS\n.B tidemill\n.I COMMAND\n[ARGUMENTS] [FLAGS]\n.SH TOPICS\nEach one has a page: ");
    let pages: Vec<String> = names.iter().map(|n| format!("\\fBtidemill\\-{}\\fR(1)", plain(n))).collect();
    out.push_str(&format!("{}.\n.SH OPTIONS\n", pages.join(", ")));
    GLOBAL.iter().for_each(|arg| out.push_str(&argument(arg)));
    for (heading, rows) in [("EXIT STATUS", EXITS), ("ENVIRONMENT", VARIABLES)] {
        out.push_str(&format!(".SH {heading}\n"));
        rows.iter().for_each(|(name, about)| out.push_str(&format!(".TP\n\\fB{}\\fR\n{}\n", plain(name), plain(about))));
    }
    out.push_str(".PP\nThe exit code of run and run:inside is that of the command.\n");
    out
}

/// The list of all commands, for the documents.
pub fn markdown() -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let mut out = String::from(
        "# Commands\n\nMade from the program itself: `WRITE_GOLDEN=1` with the tests writes it anew. `ps:scale` and `ps scale` \
         are the same. Every command takes:\n\n| flag | |\n|---|---|\n",
    );
    GLOBAL.iter().for_each(|a| out.push_str(&format!("| `{}` | {} |\n", flag(a).trim(), cell(a.help))));
    out.push_str("\nExit codes: ");
    out.push_str(&EXITS.iter().map(|(code, about)| format!("{code} {about}")).collect::<Vec<_>>().join(" · "));
    out.push_str(". `run` and `run:inside` end with the code of the command.\n");
    for topic in topics::all().iter().filter(|t| shown(t).next().is_some()) {
        out.push_str(&format!("\n## {}\n\n{}.\n\n| command | |\n|---|---|\n", topic.name, topic.about));
        for verb in shown(topic) {
            let usage = usage(verb);
            let usage = usage.trim_start_matches("tidemill ").trim_end_matches(" [FLAGS]");
            let own: Vec<String> = verb.args.iter().filter(|a| !is_place(a)).map(|a| format!("`{}`", flag(a).trim())).collect();
            let flags = if own.is_empty() { String::new() } else { format!(" ({})", own.join(", ")) };
            let also = if verb.aliases.is_empty() { String::new() } else { format!("; also `{}`", verb.aliases.join("`, `")) };
            out.push_str(&format!("| `{}` | {}{}{} |\n", cell(usage), cell(verb.about), cell(&flags), also));
        }
        let examples: Vec<&str> = shown(topic).flat_map(|v| v.examples.iter().copied()).collect();
        if !examples.is_empty() {
            let lines: String = examples.iter().map(|e| format!("tidemill {e}\n")).collect();
            out.push_str(&format!("\n```\n{lines}```\n"));
        }
    }
    out
}
