//! What every command has at hand: its flags and arguments, and the server.

use crate::{
    args::{Given, Global},
    client::Client,
    failure::{Failure, Result},
    git,
    nearest::did_you_mean,
    output::{ask, paged, print},
    talk::Talk,
};
use serde_json::Value;
use std::io::{Read, Write};

/// Flags, arguments and server of one invocation.
pub struct Session {
    /// Flags of every command.
    pub global: Global,
    /// Arguments.
    pub given: Given,
    /// The server.
    pub client: Client,
}

/// Prints a result: JSON, ids, or text.
pub fn show(global: &Global, value: &Value, text: impl FnOnce() -> String) {
    if global.json {
        paged(&format!("{value:#}\n"));
    } else if global.quiet {
        print(&ids(value));
    } else {
        paged(&text());
    }
}

/// What `-q` prints: ids, names of things without one, keys of maps.
fn ids(value: &Value) -> String {
    let id = |v: &Value| ["id", "name", "url"].iter().find_map(|key| v[*key].as_str().map(|id| format!("{id}\n")));
    match value {
        Value::Array(items) => items.iter().filter_map(id).collect(),
        // Lists by kind, as of labs.
        Value::Object(map) if !map.is_empty() && map.values().all(Value::is_array) => map.values().map(ids).collect(),
        Value::Object(map) => id(value).unwrap_or_else(|| map.keys().map(|key| format!("{key}\n")).collect()),
        _ => String::new(),
    }
}

/// A text of an object, or nothing.
pub fn field<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or("")
}

/// Elements of an array.
pub fn items(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Part of a path: what is no letter, digit or `-_.~*@` is escaped.
///
/// # Errors
/// For what would change the path itself.
pub fn encoded(name: &str) -> Result<String> {
    if name.is_empty() || name == "." || name == ".." || name.bytes().any(|b| b.is_ascii_control()) {
        return Err(Failure { text: format!("Couldn't find {name:?}: that is no valid name."), exit: 4 });
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~*@".contains(&b);
    Ok(name.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect())
}

/// The server may know itself by another name than the one it was reached by.
pub fn own_address(url: &str, base: &str) -> String {
    let path = url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
    path.map_or_else(|| url.to_string(), |path| format!("{base}{path}"))
}

/// Copies a stream to standard output.
pub fn copy(mut from: impl Read) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let mut buffer = [0u8; 16 << 10];
    loop {
        let n = from.read(&mut buffer).map_err(|e| Failure::unreachable(format!("The stream was cut: {e}")))?;
        if n == 0 || out.write_all(&buffer[..n]).and_then(|()| out.flush()).is_err() {
            return Ok(()); // the end, or nobody reads on
        }
    }
}

impl Session {
    /// Name of the app: `-a`, the environment, the git remote.
    pub fn app(&self) -> Result<String> {
        let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        if let Some(app) = self.global.app.clone() {
            return encoded(&app);
        }
        if self.global.remote.is_none()
            && let Some(app) = variable("TIDEMILL_APP").or_else(|| variable("HEROKU_APP"))
        {
            return encoded(&app);
        }
        let found = git::app_from_remotes(&self.client.base, self.global.remote.as_deref())?;
        found.ok_or_else(|| Failure::usage("Which app? Use -a APP, or run this in a repository with a tidemill remote."))
    }

    /// `/apps/NAME` and what follows.
    pub fn path(&self, rest: &str) -> Result<String> {
        Ok(format!("/apps/{}{rest}", self.app()?))
    }

    /// Prints a result: JSON, ids, or text.
    pub fn show(&self, value: &Value, text: impl FnOnce() -> String) {
        show(&self.global, value, text);
    }

    /// Sends with talk: `what... ` is printed at once, then how it ended.
    pub fn doing(&self, what: &str, work: impl FnOnce(&Client) -> Result<Value>) -> Result<Value> {
        self.doing_with(what, work, |_| "done".into())
    }

    /// As [`Session::doing`]; how it ended is told by the answer.
    pub fn doing_with(
        &self,
        what: &str,
        work: impl FnOnce(&Client) -> Result<Value>,
        ended: impl FnOnce(&Value) -> String,
    ) -> Result<Value> {
        let talk = Talk::begin(what, &self.client.base, self.global.quiet);
        let answer = work(&self.client)?;
        talk.end(&ended(&answer));
        Ok(answer)
    }

    /// Destroying needs the name typed, or `--confirm NAME`. `losses` says what goes and what stays.
    pub fn confirmed(&self, name: &str, losses: &str) -> Result<()> {
        let typed = match self.given.text("confirm") {
            Some(typed) => typed.to_string(),
            None => {
                crate::output::warn(losses);
                ask(&format!(" !    To go on, type {name}: "), self.global.no_input, &format!("--confirm {name}"))?
            }
        };
        if typed == name { Ok(()) } else { Err(Failure::usage(format!("{typed:?} is not {name}. Nothing was destroyed."))) }
    }

    /// Adds what was likely meant to a failure about an app that is not there.
    pub fn explained(&self, failure: Failure) -> Failure {
        let Some(name) = self.app().ok().filter(|_| failure.exit == 4 && failure.text.contains("find that app")) else {
            return failure;
        };
        let apps = self.client.list("/apps").unwrap_or_default();
        let meant = did_you_mean(&name, items(&apps).iter().map(|a| field(a, "name")));
        Failure { text: format!("{}{meant}", failure.text), ..failure }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_in_paths_can_not_leave_them() {
        assert_eq!(encoded("web.1").expect("fine"), "web.1");
        assert_eq!(encoded("a/b?c@d.e").expect("fine"), "a%2Fb%3Fc@d.e");
        assert_eq!(encoded("../x").expect("fine"), "..%2Fx");
        assert!(["", ".", "..", "a\nb"].iter().all(|bad| encoded(bad).is_err()));
    }

    #[test]
    fn quiet_prints_ids() {
        assert_eq!(ids(&json!([{ "id": "a", "name": "x" }, { "name": "y" }])), "a\ny\n");
        assert_eq!(ids(&json!({ "A": "1", "B": "2" })), "A\nB\n");
    }

    #[test]
    fn addresses_follow_the_server() {
        assert_eq!(own_address("http://paas:5000/streams/x", "http://127.0.0.1:1"), "http://127.0.0.1:1/streams/x");
    }
}
