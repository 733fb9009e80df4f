//! Dynos that run once: now, by a schedule, or before a release.

use super::{Session, copy, encoded, field, items, own_address, quoted, show};
use crate::{
    attach::{self, Terminal},
    failure::{Failure, Result},
    output::table,
};
use serde_json::{Map, Value, json};
use wire::attach::CERTIFICATE_HEADER;

impl Session {
    pub(super) fn stop(&self, dyno: &str) -> Result<()> {
        let name = self.app()?;
        let answer = self.client.send("POST", &format!("/apps/{name}/dynos/{}/actions/stop", encoded(dyno)?), &json!({}))?;
        eprintln!("Stopping {dyno} on {name}... done");
        show(&self.global, &answer, String::new);
        Ok(())
    }

    pub(super) fn run_detached(
        &self,
        env: &[String],
        size: Option<String>,
        ptype: Option<String>,
        ttl: Option<u64>,
        command: &[String],
    ) -> Result<()> {
        let name = self.app()?;
        let env = variables(env)?;
        let line = command_line(command);
        let body = json!({ "command": line, "attach": false, "env": env, "size": size, "type": ptype, "time_to_live": ttl });
        let dyno = self.client.send("POST", &format!("/apps/{name}/dynos"), &body)?;
        eprintln!("Running {line} on {name}... done, {}", field(&dyno, "name"));
        show(&self.global, &dyno, || format!("Run tidemill logs -a {name} -d {} to view the output.\n", field(&dyno, "name")));
        Ok(())
    }

    pub(super) fn run(
        &self,
        env: &[String],
        size: Option<String>,
        ptype: Option<String>,
        no_tty: bool,
        command: &[String],
    ) -> Result<()> {
        let name = self.app()?;
        let (line, terminal) = (command_line(command), Terminal::find(no_tty));
        let mut env = variables(env)?;
        env.extend(terminal.variables());
        let body = json!({
            "command": line, "attach": true, "env": env, "size": size, "type": ptype, "force_no_tty": !terminal.is_used(),
        });
        eprintln!("Running {line} on {name}...");
        self.attached(&format!("/apps/{name}/dynos"), &body, terminal)
    }

    pub(super) fn run_inside(&self, dyno: &str, no_tty: bool, command: &[String]) -> Result<()> {
        let name = self.app()?;
        let (line, terminal) = (command_line(command), Terminal::find(no_tty));
        let body = json!({ "command": line, "env": terminal.variables(), "force_no_tty": !terminal.is_used() });
        eprintln!("Running {line} in {dyno} on {name}...");
        self.attached(&format!("/apps/{name}/dynos/{}", encoded(dyno)?), &body, terminal)
    }

    /// Asks for a process and stays with it to its end; its exit code is ours.
    fn attached(&self, path: &str, body: &Value, terminal: Terminal) -> Result<()> {
        let (dyno, certificate) = self.client.post_for_header(path, body, CERTIFICATE_HEADER)?;
        let certificate =
            certificate.ok_or_else(|| Failure::failed("The server does not tell its certificate; is it a Tidemill server?"))?;
        let address = field(&dyno, "attach_url").strip_prefix("rendezvous://").and_then(|rest| rest.split_once('/'));
        let (address, secret) = address.ok_or_else(|| Failure::failed("The server gave no address to attach to."))?;
        match attach::talk(address, secret, &certificate, terminal)? {
            0 => Ok(()),
            status => Err(Failure::silent(u8::try_from(status).unwrap_or(1))),
        }
    }

    pub(super) fn schedules(&self) -> Result<()> {
        let name = self.app()?;
        let rows = self.client.get(&format!("/apps/{name}/schedules"), None)?;
        show(&self.global, &rows, || {
            let cells = |s: &Value| ["id", "cron", "command", "next_run_at"].map(|key| field(s, key).to_string()).to_vec();
            table(&items(&rows).iter().map(cells).collect::<Vec<_>>())
        });
        Ok(())
    }

    pub(super) fn add_schedule(&self, cron: &str, size: Option<String>, command: &[String]) -> Result<()> {
        let name = self.app()?;
        let body = json!({ "cron": cron, "command": command_line(command), "size": size });
        let added = self.client.send("POST", &format!("/apps/{name}/schedules"), &body)?;
        eprintln!("Scheduling {} on {name}... done", field(&added, "command"));
        show(&self.global, &added, || format!("{}  first run {}\n", field(&added, "id"), field(&added, "next_run_at")));
        Ok(())
    }

    pub(super) fn remove_schedule(&self, id: &str) -> Result<()> {
        let name = self.app()?;
        let removed = self.client.delete(&format!("/apps/{name}/schedules/{}", encoded(id)?))?;
        eprintln!("Removing {} from {name}... done", field(&removed, "command"));
        show(&self.global, &removed, String::new);
        Ok(())
    }

    pub(super) fn release_output(&self, release: Option<String>) -> Result<()> {
        let name = self.app()?;
        let release = match release {
            Some(id) => self.client.get(&format!("/apps/{name}/releases/{}", encoded(&id)?), None)?,
            None => {
                let releases = self.client.get(&format!("/apps/{name}/releases"), Some("version ..; max=1, order=desc"))?;
                items(&releases)
                    .first()
                    .cloned()
                    .ok_or_else(|| Failure { text: format!("{name} has no releases."), exit: 4 })?
            }
        };
        if release["output_stream_url"].is_null() {
            eprintln!("Release v{} has no output.", release["version"]);
            return Ok(());
        }
        copy(self.client.stream(&own_address(field(&release, "output_stream_url"), &self.client.base))?)
    }
}

/// `NAME=VALUE` pairs as the API takes them.
fn variables(pairs: &[String]) -> Result<Map<String, Value>> {
    let split = |pair: &String| pair.split_once('=').map(|(key, value)| (key.to_string(), json!(value)));
    let all: Option<Map<_, _>> = pairs.iter().map(split).collect();
    all.ok_or_else(|| Failure::usage("--env takes NAME=VALUE."))
}

/// One word is a command line of its own; several are a program and its arguments, kept apart.
fn command_line(words: &[String]) -> String {
    match words {
        [line] => line.clone(),
        words => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    }
}
