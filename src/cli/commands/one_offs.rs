//! Dynos that run once, and talking to one that runs.

use super::prelude::*;
use crate::{
    attach::{self, Terminal},
    git::quoted,
    verb::Arg,
};
use wire::attach::CERTIFICATE_HEADER;

const COMMAND: Arg = rest("command", "The command");
const ENV: Arg = values("env", "NAME=VALUE for this dyno only").short('e');
const SIZE: Arg = value("size", "Dyno size").short('s');
const TYPE: Arg = value("type", "Process type in its name");
const NO_TTY: Arg = switch("no-tty", "Pipes instead of a terminal, as when input or output is none");
const EXIT_CODE: Arg = switch("exit-code", "As is always done here: end with the command's exit code").short('x');

/// `run`.
pub const TOPIC: Topic = Topic {
    name: "run",
    about: "Dynos that run once",
    verbs: &[
        there("run", "Run a command in a one-off dyno and talk to it; ends with its exit code", run)
            .aliases(&["run:attached"])
            .args(&[COMMAND, ENV, SIZE, TYPE, NO_TTY, EXIT_CODE])
            .examples(&[
                "run -a shop -- rails console",
                "run bash -a shop",
                "run -a shop -- ./bin/check --all; echo $?",
                "run -s Standard-2X -a shop -- ./report",
            ]),
        there("run:detached", "Run a command in a one-off dyno; its output goes to the log", run_detached)
            .args(&[COMMAND, ENV, SIZE, TYPE, value("ttl", "It is ended after so many seconds").aliases(&["time-to-live"])])
            .examples(&["run:detached -a shop -- ./bin/import"]),
        there("run:inside", "Run a command inside a dyno that runs, and talk to it; ends with its exit code", run_inside)
            .args(&[need("dyno", "web.1").live(Live::Dynos), COMMAND, NO_TTY, EXIT_CODE])
            .examples(&["run:inside web.1 -a shop -- ls /tmp"]),
    ],
};

fn run_detached(s: &Session) -> Result<()> {
    let name = s.app()?;
    let line = command_line(&s.given.all("command"));
    let body = json!({
        "command": line, "attach": false, "env": variables(s)?, "size": s.given.text("size"), "type": s.given.text("type"),
        "time_to_live": s.given.number::<u64>("ttl")?,
    });
    let ended = |dyno: &Value| format!("done, {}", field(dyno, "name"));
    let dyno =
        s.doing_with(&format!("Running {line} on {name}"), |c| c.send("POST", &format!("/apps/{name}/dynos"), &body), ended)?;
    s.show(&dyno, || format!("Run tidemill logs -a {name} -d {} to view the output.\n", field(&dyno, "name")));
    Ok(())
}

fn run(s: &Session) -> Result<()> {
    let name = s.app()?;
    let (line, terminal) = (command_line(&s.given.all("command")), Terminal::find(s.given.is("no-tty")));
    let mut env = variables(s)?;
    env.extend(terminal.variables());
    let body = json!({
        "command": line, "attach": true, "env": env, "size": s.given.text("size"), "type": s.given.text("type"),
        "force_no_tty": !terminal.is_used(),
    });
    eprintln!("Running {line} on {name}...");
    attached(s, &format!("/apps/{name}/dynos"), &body, terminal)
}

fn inside(s: &Session, dyno: &str, command: &[String]) -> Result<()> {
    let name = s.app()?;
    let (line, terminal) = (command_line(command), Terminal::find(s.given.is("no-tty")));
    let body = json!({ "command": line, "env": terminal.variables(), "force_no_tty": !terminal.is_used() });
    eprintln!("Running {line} in {dyno} on {name}...");
    attached(s, &format!("/apps/{name}/dynos/{}", encoded(dyno)?), &body, terminal)
}

fn run_inside(s: &Session) -> Result<()> {
    inside(s, s.given.need("dyno"), &s.given.all("command"))
}

/// `ps:exec`: the first web dyno, and a shell, when nothing else is said.
pub fn exec(s: &Session) -> Result<()> {
    let command = s.given.all("command");
    let shell = ["bash".to_string()];
    inside(s, s.given.text("dyno").unwrap_or("web.1"), if command.is_empty() { &shell } else { &command })
}

/// Asks for a process and stays with it to its end; its exit code is ours.
fn attached(s: &Session, path: &str, body: &Value, terminal: Terminal) -> Result<()> {
    let dyno = s.client.request("POST", path, &[], Some(body))?;
    let certificate = dyno.header(CERTIFICATE_HEADER);
    let certificate =
        certificate.ok_or_else(|| Failure::failed("The server does not tell its certificate; is it a Tidemill server?"))?;
    let address = field(&dyno.value, "attach_url").strip_prefix("rendezvous://").and_then(|rest| rest.split_once('/'));
    let (address, secret) = address.ok_or_else(|| Failure::failed("The server gave no address to attach to."))?;
    match attach::talk(address, secret, certificate, terminal)? {
        0 => Ok(()),
        status => Err(Failure::silent(u8::try_from(status).unwrap_or(1))),
    }
}

/// `NAME=VALUE` pairs as the API takes them.
fn variables(s: &Session) -> Result<Map<String, Value>> {
    let split = |pair: &String| pair.split_once('=').map(|(key, value)| (key.to_string(), json!(value)));
    let all: Option<Map<_, _>> = s.given.all("env").iter().map(split).collect();
    all.ok_or_else(|| Failure::usage("--env takes NAME=VALUE."))
}

/// One word is a command line of its own; several are a program and its arguments, kept apart.
pub fn command_line(words: &[String]) -> String {
    match words {
        [line] => line.clone(),
        words => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    }
}
