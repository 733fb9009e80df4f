//! `app.json`: what an app needs. All that is wrong with it is told at once.

use domain::{names, setup::Plan};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Longest file.
pub const BYTES_MAX: u64 = 256 << 10;

/// What a config var is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Var {
    /// This.
    Value(String),
    /// Random.
    Secret,
    /// Whoever asks for the setup has to say it.
    Required,
    /// Whoever asks for the setup may say it.
    Optional,
}

/// What is read of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    pub env: BTreeMap<String, Var>,
    pub buildpacks: Vec<String>,
    pub addons: Vec<String>,
    pub stack: Option<String>,
    pub plan: Plan,
}

/// Reads the file.
pub fn parse(content: &[u8]) -> Result<Manifest, Vec<String>> {
    let value: Value = serde_json::from_slice(content).map_err(|e| vec![format!("app.json is no valid JSON: {e}")])?;
    let Some(top) = value.as_object() else { return Err(vec!["app.json must be a JSON object".into()]) };
    let mut errors = Vec::new();
    let manifest = Manifest {
        env: env(top, &mut errors),
        buildpacks: texts(top, "buildpacks", "url", &mut errors),
        addons: texts(top, "addons", "plan", &mut errors),
        stack: text(top, "stack", &mut errors),
        plan: Plan {
            formation: formation(top, &mut errors),
            postdeploy: postdeploy(top, &mut errors),
            success_url: text(top, "success_url", &mut errors),
        },
    };
    if errors.is_empty() { Ok(manifest) } else { Err(errors) }
}

fn text(top: &Map<String, Value>, key: &str, errors: &mut Vec<String>) -> Option<String> {
    match top.get(key) {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(_) => {
            errors.push(format!("{key} must be a string"));
            None
        }
    }
}

/// A list of texts, or of objects with a text under `inner`.
fn texts(top: &Map<String, Value>, key: &str, inner: &str, errors: &mut Vec<String>) -> Vec<String> {
    let Some(list) = top.get(key).filter(|v| !v.is_null()) else { return Vec::new() };
    let one = |item: &Value| item.as_str().or_else(|| item.get(inner)?.as_str()).map(String::from);
    let found: Option<Vec<String>> = list.as_array().and_then(|list| list.iter().map(one).collect());
    found.unwrap_or_else(|| {
        errors.push(format!("{key} must be a list of strings or of objects with {inner}"));
        Vec::new()
    })
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

fn env(top: &Map<String, Value>, errors: &mut Vec<String>) -> BTreeMap<String, Var> {
    let mut found = BTreeMap::new();
    let entries = match top.get("env") {
        None | Some(Value::Null) => return found,
        Some(Value::Object(entries)) => entries,
        Some(_) => {
            errors.push("env must be an object".into());
            return found;
        }
    };
    for (key, value) in entries {
        if let Err(e) = names::check_config_key(key) {
            errors.push(e);
            continue;
        }
        let var = match value {
            Value::Object(entry) => {
                let required = entry.get("required").and_then(Value::as_bool).unwrap_or(true);
                let generated = entry.get("generator").is_some_and(|g| g == "secret");
                match entry.get("value").filter(|v| !v.is_null()).map(plain) {
                    Some(Some(text)) => Var::Value(text),
                    Some(None) => {
                        errors.push(format!("config var {key} must have a string as its value"));
                        continue;
                    }
                    None if generated => Var::Secret,
                    None if required => Var::Required,
                    None => Var::Optional,
                }
            }
            other => match plain(other) {
                Some(text) => Var::Value(text),
                None => {
                    errors.push(format!("config var {key} must be a string or an object"));
                    continue;
                }
            },
        };
        found.insert(key.clone(), var);
    }
    found
}

fn formation(top: &Map<String, Value>, errors: &mut Vec<String>) -> Vec<(String, Option<u32>, Option<String>)> {
    let mut found = Vec::new();
    let entries = match top.get("formation") {
        None | Some(Value::Null) => return found,
        Some(Value::Object(entries)) => entries,
        Some(_) => {
            errors.push("formation must be an object".into());
            return found;
        }
    };
    for (ptype, entry) in entries {
        let quantity = entry.get("quantity").filter(|v| !v.is_null());
        let number = quantity.map(|q| q.as_u64().and_then(|n| u32::try_from(n).ok()));
        if !names::is_process_type(ptype) || !entry.is_object() || number == Some(None) {
            errors.push(format!("formation of {ptype} must be an object with quantity and size"));
            continue;
        }
        found.push((ptype.clone(), number.flatten(), entry.get("size").and_then(Value::as_str).map(String::from)));
    }
    found
}

fn postdeploy(top: &Map<String, Value>, errors: &mut Vec<String>) -> Option<String> {
    let script = top.get("scripts")?.get("postdeploy").filter(|v| !v.is_null())?;
    let command = script.as_str().or_else(|| script.get("command")?.as_str());
    if command.is_none_or(|c| c.trim().is_empty()) {
        errors.push("scripts.postdeploy must be a string, or an object with command".into());
        return None;
    }
    command.map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_are_read() {
        let manifest = parse(
            br#"{"name":"x","env":{"A":"1","B":{"required":false},"C":{"generator":"secret"},"D":{"description":"d"},
                "E":{"value":"e","required":true}},"buildpacks":[{"url":"heroku/python"}],"addons":["pg:mini",{"plan":"r:x"}],
                "formation":{"web":{"quantity":2,"size":"standard-2x"}},"scripts":{"postdeploy":{"command":"echo hi"}},
                "stack":"heroku-24","success_url":"/welcome"}"#,
        )
        .unwrap();
        let vars: Vec<Var> = manifest.env.into_values().collect();
        assert_eq!(vars, [Var::Value("1".into()), Var::Optional, Var::Secret, Var::Required, Var::Value("e".into())]);
        assert_eq!(manifest.addons, ["pg:mini", "r:x"]);
        assert_eq!(manifest.plan.formation, [("web".into(), Some(2), Some("standard-2x".into()))]);
        assert_eq!(manifest.plan.postdeploy.as_deref(), Some("echo hi"));
        assert_eq!(parse(b"{}"), Ok(Manifest::default()));
    }

    #[test]
    fn all_errors_come_at_once() {
        let bad =
            br#"{"env":{"1BAD":"x","A":[]},"buildpacks":"x","formation":{"web":{"quantity":-1}},"scripts":{"postdeploy":1}}"#;
        assert_eq!(parse(bad).unwrap_err().len(), 5);
        assert_eq!(parse(b"[]").unwrap_err().len(), 1);
        assert!(parse(b"{").unwrap_err()[0].contains("JSON"));
    }
}
