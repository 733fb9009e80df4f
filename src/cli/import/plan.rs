//! What has to be done, from what is there and what is here.

use super::source::{Source, buildpack_names, or_nothing};
use crate::{
    client::Client,
    failure::Result,
    session::{encoded, field, items},
};
use serde_json::{Map, Value, json};

/// How a thing is here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Same,
    /// Not there yet.
    Missing,
    /// Not there, and it can only be done once the code is: by the same command again.
    AfterCode,
    /// There, and not the same; how it is here. Never a secret.
    Different(String),
}

/// One thing to bring over.
#[derive(Clone, Debug)]
pub struct Step {
    /// For people. Never a secret.
    pub what: String,
    /// How it is here.
    pub state: State,
    /// The request that brings it.
    pub method: &'static str,
    /// Its path.
    pub path: String,
    /// Its body.
    pub body: Value,
}

/// All steps, and what has none.
pub struct Plan {
    /// In the order in which they are done.
    pub steps: Vec<Step>,
    /// What can not move, and why.
    pub left: Vec<(String, String)>,
}

/// What is here of the app, if it is here.
struct Here<'a> {
    client: &'a Client,
    path: String,
    exists: bool,
}

impl Here<'_> {
    fn list(&self, what: &str) -> Result<Value> {
        let nothing = Value::Array(Vec::new());
        if !self.exists {
            return Ok(nothing);
        }
        or_nothing(self.client.list(&format!("{}/{what}", self.path)), nothing)
    }

    fn get(&self, what: &str) -> Result<Value> {
        if !self.exists {
            return Ok(Value::Null);
        }
        or_nothing(self.client.get(&format!("{}{what}", self.path)), Value::Null)
    }
}

impl Plan {
    /// Compares.
    pub fn make(source: &Source, client: &Client, to: &str) -> Result<Self> {
        let path = format!("/apps/{}", encoded(to)?);
        let app = or_nothing(client.get(&path), Value::Null)?;
        let here = Here { client, path, exists: !app.is_null() };
        let mut plan = Self { steps: Vec::new(), left: Vec::new() };
        plan.app(source, &here, &app, to);
        plan.config(source, &here)?;
        plan.buildpacks(source, &here)?;
        plan.members(&here, "domains", "hostname", &source.hostnames(), "Domain")?;
        plan.members(&here, "log-drains", "url", &source.drain_urls(), "Drain")?;
        plan.collaborators(source, &here)?;
        plan.features(source, &here)?;
        plan.formation(source, &here)?;
        plan.pipeline(source, &here, to)?;
        plan.what_stays(source);
        Ok(plan)
    }

    fn step(&mut self, what: String, state: State, method: &'static str, path: String, body: Value) {
        self.steps.push(Step { what, state, method, path, body });
    }

    fn app(&mut self, source: &Source, here: &Here, app: &Value, to: &str) {
        let state = if here.exists { State::Same } else { State::Missing };
        self.step(format!("App {to}"), state, "POST", "/apps".into(), json!({ "name": to }));
        let stack = field(&source.app["build_stack"], "name");
        let stack = if stack.is_empty() { field(&source.app["stack"], "name") } else { stack };
        let now = field(&app["build_stack"], "name");
        let state = match now {
            _ if now == stack => State::Same,
            "" => State::Missing,
            now => State::Different(now.to_string()),
        };
        self.step(format!("Stack {stack}"), state, "PATCH", here.path.clone(), json!({ "build_stack": stack }));
        let wanted = source.app["maintenance"].as_bool().unwrap_or(false);
        // A new app is not in maintenance; one that is here may serve already.
        let state = match app["maintenance"].as_bool() {
            None if wanted => State::Missing,
            Some(now) if now != wanted => State::Different(on(now).into()),
            _ => State::Same,
        };
        self.step(format!("Maintenance {}", on(wanted)), state, "PATCH", here.path.clone(), json!({ "maintenance": wanted }));
    }

    /// One request for all that is missing, so that there is one release; one for all that differs.
    fn config(&mut self, source: &Source, here: &Here) -> Result<()> {
        let now = here.get("/config-vars")?;
        let of_addons = source.of_addons();
        let all = source.config.as_object().cloned().unwrap_or_default();
        let path = format!("{}/config-vars", here.path);
        let (mut same, mut missing, mut different) = (Map::new(), Map::new(), Map::new());
        for (key, value) in all.into_iter().filter(|(key, _)| !of_addons.contains(&key.as_str())) {
            match now.get(&key) {
                Some(found) if *found == value => same.insert(key, value),
                Some(_) => different.insert(key, value),
                None => missing.insert(key, value),
            };
        }
        let other = State::Different("another value".into());
        for (vars, state) in [(same, State::Same), (missing, State::Missing), (different, other)] {
            if !vars.is_empty() {
                let keys: Vec<&str> = vars.keys().map(String::as_str).collect();
                self.step(format!("Config vars {}", keys.join(", ")), state, "PATCH", path.clone(), Value::Object(vars));
            }
        }
        Ok(())
    }

    fn buildpacks(&mut self, source: &Source, here: &Here) -> Result<()> {
        let wanted = source.buildpack_names();
        if wanted.is_empty() {
            return Ok(()); // found by the code
        }
        let now = buildpack_names(&here.list("buildpack-installations")?);
        let state = match now {
            _ if now == wanted => State::Same,
            _ if now.is_empty() => State::Missing,
            now => State::Different(now.join(", ")),
        };
        let updates: Vec<Value> = wanted.iter().map(|buildpack| json!({ "buildpack": buildpack })).collect();
        let path = format!("{}/buildpack-installations", here.path);
        self.step(format!("Buildpacks {}", wanted.join(", ")), state, "PUT", path, json!({ "updates": updates }));
        Ok(())
    }

    /// Things that are there or not, known by one field.
    fn members(&mut self, here: &Here, list: &str, key: &str, wanted: &[&str], called: &str) -> Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        let now = here.list(list)?;
        for value in wanted {
            let found = items(&now).iter().any(|item| field(item, key) == *value);
            let state = if found { State::Same } else { State::Missing };
            let mut body = json!({ key: value });
            if list == "domains" {
                body["sni_endpoint"] = Value::Null;
            }
            self.step(format!("{called} {}", without_password(value)), state, "POST", format!("{}/{list}", here.path), body);
        }
        Ok(())
    }

    fn collaborators(&mut self, source: &Source, here: &Here) -> Result<()> {
        let owner = field(&source.app["owner"], "email");
        let others = items(&source.collaborators).iter().map(|c| field(&c["user"], "email"));
        let wanted: Vec<&str> = others.filter(|email| *email != owner && !email.is_empty()).collect();
        let now = if wanted.is_empty() { Value::Null } else { here.list("collaborators")? };
        for email in wanted {
            let found = items(&now).iter().any(|c| field(&c["user"], "email") == email);
            let state = if found { State::Same } else { State::Missing };
            let path = format!("{}/collaborators", here.path);
            self.step(format!("Collaborator {email}"), state, "POST", path, json!({ "user": email, "silent": true }));
        }
        Ok(())
    }

    fn features(&mut self, source: &Source, here: &Here) -> Result<()> {
        let enabled = items(&source.features).iter().filter(|f| f["enabled"] == true).map(|f| field(f, "name"));
        let enabled: Vec<&str> = enabled.collect();
        if enabled.is_empty() {
            return Ok(());
        }
        // Before the app is here, what there is is known only by trying.
        let now = here.list("features")?;
        for name in enabled {
            let found = items(&now).iter().find(|f| field(f, "name") == name);
            if here.exists && found.is_none() {
                self.left.push((format!("Feature {name}"), "this server has no such feature".into()));
                continue;
            }
            let state = if found.is_some_and(|f| f["enabled"] == true) { State::Same } else { State::Missing };
            let path = format!("{}/features/{}", here.path, encoded(name)?);
            self.step(format!("Feature {name}"), state, "PATCH", path, json!({ "enabled": true }));
        }
        Ok(())
    }

    fn formation(&mut self, source: &Source, here: &Here) -> Result<()> {
        let now = here.list("formation")?;
        for wanted in items(&source.formation) {
            let (ptype, size) = (field(wanted, "type"), field(wanted, "size"));
            let quantity = wanted["quantity"].as_u64().unwrap_or(0);
            let state = match items(&now).iter().find(|f| field(f, "type") == ptype) {
                None => State::AfterCode,
                Some(found) if found["quantity"] == quantity && field(found, "size").eq_ignore_ascii_case(size) => State::Same,
                Some(found) => State::Different(format!("{}:{}", found["quantity"], field(found, "size"))),
            };
            let body = json!({ "updates": [{ "type": ptype, "quantity": quantity, "size": size }] });
            self.step(
                format!("Process type {ptype}={quantity}:{size}"),
                state,
                "PATCH",
                format!("{}/formation", here.path),
                body,
            );
        }
        Ok(())
    }

    fn pipeline(&mut self, source: &Source, here: &Here, to: &str) -> Result<()> {
        let Some(coupling) = &source.coupling else { return Ok(()) };
        let (name, stage) = (field(&coupling["pipeline"], "name"), field(coupling, "stage"));
        let name = if name.is_empty() { field(&coupling["pipeline"], "id") } else { name };
        let found = or_nothing(here.client.list("/pipelines"), Value::Null)?;
        let Some(pipeline) = items(&found).iter().find(|p| field(p, "name") == name) else {
            let why = format!("there is no pipeline {name} here; make it, and give this command again");
            self.left.push((format!("Place in pipeline {name}, {stage}"), why));
            return Ok(());
        };
        let now = here.get("/pipeline-couplings")?;
        let state = match field(&now, "stage") {
            "" => State::Missing,
            found if found == stage && now["pipeline"]["id"] == pipeline["id"] => State::Same,
            found => State::Different(format!("in stage {found}")),
        };
        let (method, path) = match (&state, field(&now, "id")) {
            (State::Different(_), id) => ("PATCH", format!("/pipeline-couplings/{}", encoded(id)?)),
            _ => ("POST", "/pipeline-couplings".into()),
        };
        let body = json!({ "app": to, "pipeline": pipeline["id"], "stage": stage });
        self.step(format!("Place in pipeline {name}, {stage}"), state, method, path, body);
        Ok(())
    }

    fn what_stays(&mut self, source: &Source) {
        let name = field(&source.app, "name");
        self.left.push(("Code".into(), format!("push it here: git push; it is at {}", field(&source.app, "git_url"))));
        self.left
            .push(("Releases and logs".into(), "they belong to the other server; the first push here makes a release".into()));
        for addon in items(&source.addons) {
            let called = format!("Add-on {} ({})", field(addon, "name"), field(&addon["plan"], "name"));
            let vars: Vec<&str> = items(&addon["config_vars"]).iter().filter_map(Value::as_str).collect();
            let why = match vars.as_slice() {
                [] => "its data has to be moved by you".to_string(),
                vars => format!("its data has to be moved by you; {} not set here", vars.join(", ")),
            };
            self.left.push((called, why));
        }
        if source.app["acm"] == true || !source.hostnames().is_empty() {
            let why = format!("certificates are issued here once the names of {name} lead to this server");
            self.left.push(("Certificates".into(), why));
        }
        if !source.app["team"].is_null() {
            let team = field(&source.app["team"], "name");
            self.left.push((format!("Team {team}"), "the app is made for yourself; hand it over with apps:transfer".into()));
        }
    }

    /// For `--json`.
    pub fn as_json(&self) -> Value {
        let steps = self.steps.iter().map(|step| {
            let (state, here) = match &step.state {
                State::Same => ("same", Value::Null),
                State::Missing => ("missing", Value::Null),
                State::AfterCode => ("after the first push", Value::Null),
                State::Different(here) => ("different", json!(here)),
            };
            json!({ "what": step.what, "state": state, "here": here })
        });
        json!({ "steps": steps.collect::<Vec<_>>(), "cannot_move": self.left_as_json() })
    }

    /// What can not move.
    pub fn left_as_json(&self) -> Value {
        self.left.iter().map(|(what, why)| json!({ "what": what, "why": why })).collect()
    }

    /// For people.
    pub fn text(&self, force: bool) -> String {
        let mut out = String::from("To be done:\n");
        for step in &self.steps {
            out += &match &step.state {
                State::Same => format!("  =  {}\n", step.what),
                State::Missing => format!("  +  {}\n", step.what),
                State::AfterCode => format!("  …  {} (after the first push)\n", step.what),
                State::Different(here) if force => format!("  ~  {} (here: {here}; will be changed)\n", step.what),
                State::Different(here) => format!("  !  {} (here: {here}; stays, without --force)\n", step.what),
            };
        }
        out + &self.farewell_of_what_stays()
    }

    fn farewell_of_what_stays(&self) -> String {
        let lines: String = self.left.iter().map(|(what, why)| format!("  {what}: {why}\n")).collect();
        format!("Can not move:\n{lines}")
    }

    /// The last words.
    pub fn farewell(&self, to: &str) -> String {
        let waits = self.steps.iter().any(|step| step.state == State::AfterCode);
        let again = if waits { "After the first push, give this command again for the process types.\n" } else { "" };
        format!("{}{again}Next: tidemill git:remote -a {to}, then git push tidemill main\n", self.farewell_of_what_stays())
    }
}

fn on(yes: bool) -> &'static str {
    if yes { "on" } else { "off" }
}

/// An address may hold a name and a password.
fn without_password(address: &str) -> String {
    match address.split_once("://") {
        Some((scheme, rest)) => match rest.split_once('/').map_or(rest, |(host, _)| host).rsplit_once('@') {
            Some((secret, _)) => format!("{scheme}://…@{}", &rest[secret.len() + 1..]),
            None => address.to_string(),
        },
        None => address.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_shown_without_passwords() {
        assert_eq!(without_password("https://user:pass@logs.example/in@x"), "https://…@logs.example/in@x");
        assert_eq!(without_password("syslog+tls://logs.example:6514"), "syslog+tls://logs.example:6514");
        assert_eq!(without_password("www.shop.example"), "www.shop.example");
    }
}
