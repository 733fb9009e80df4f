//! Dynos that run once: now, by a schedule, or before a release.

use super::{Session, copy, encoded, field, items, own_address, quoted, show};
use crate::{
    failure::{Failure, Result},
    output::table,
};
use serde_json::{Value, json};

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
        let pairs: Option<serde_json::Map<_, _>> =
            env.iter().map(|pair| pair.split_once('=').map(|(key, value)| (key.to_string(), json!(value)))).collect();
        let env = pairs.ok_or_else(|| Failure { text: "--env takes NAME=VALUE.".into(), exit: 2 })?;
        let line = command_line(command);
        let body = json!({ "command": line, "attach": false, "env": env, "size": size, "type": ptype, "time_to_live": ttl });
        let dyno = self.client.send("POST", &format!("/apps/{name}/dynos"), &body)?;
        eprintln!("Running {line} on {name}... done, {}", field(&dyno, "name"));
        show(&self.global, &dyno, || format!("Run tidemill logs -a {name} -d {} to view the output.\n", field(&dyno, "name")));
        Ok(())
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

/// One word is a command line of its own; several are a program and its arguments, kept apart.
fn command_line(words: &[String]) -> String {
    match words {
        [line] => line.clone(),
        words => words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "),
    }
}
