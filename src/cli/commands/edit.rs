//! `config:edit`: an editor, the difference, a question, and no overwriting of what others changed meanwhile.

use super::{
    config::{change, parsed, written},
    prelude::*,
};
use crate::output::{ask, can_ask};
use std::{io::Write, os::unix::fs::OpenOptionsExt, path::Path, process::Command};

pub fn edit(s: &Session) -> Result<()> {
    let path = s.path("/config-vars")?;
    let before = s.client.get(&path)?;
    let key = s.given.text("key");
    let file = std::env::temp_dir().join(format!("tidemill-config-{}-{}", std::process::id(), s.app()?));
    let content = match key {
        Some(key) => field(&before, key).to_string(),
        None => format!("# Config vars of {}. Remove a line to remove the config var.\n{}", s.app()?, written(&before)),
    };
    let edited = in_editor(&file, &content);
    let _ = std::fs::remove_file(&file); // it has secrets
    let edited = edited?;
    let wanted = match key {
        Some(key) => {
            let mut all = before.as_object().cloned().unwrap_or_default();
            let text = if content.ends_with('\n') { edited.as_str() } else { edited.strip_suffix('\n').unwrap_or(&edited) };
            all.insert(key.into(), text.into());
            all
        }
        None => parsed(&edited, "the file")?,
    };
    let body = difference(&before, &wanted);
    if body.is_empty() {
        eprintln!("Nothing was changed.");
        s.show(&before, String::new);
        return Ok(());
    }
    tell(&before, &body);
    if can_ask(s.global.no_input) {
        let answer = ask(&format!("Update {} with these changes? [y/N] ", s.app()?), s.global.no_input, "a terminal")?;
        if !answer.to_lowercase().starts_with('y') {
            return Err(Failure::failed("Nothing was changed."));
        }
    }
    let now = s.client.get(&path)?;
    if now != before {
        let text = "Somebody changed the config vars meanwhile. Nothing was changed by you; edit again: tidemill config:edit";
        return Err(Failure { text: text.into(), exit: 5 });
    }
    change(s, "Setting", body)
}

/// The editor is a program and its arguments; no shell reads them.
fn in_editor(file: &Path, content: &str) -> Result<String> {
    let failed = |e: std::io::Error| Failure::failed(format!("{}: {e}", file.display()));
    let _ = std::fs::remove_file(file); // left by one that was killed
    let mut opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(failed)?;
    opened.write_all(content.as_bytes()).map_err(failed)?;
    let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.trim().is_empty());
    let editor = variable("VISUAL").or_else(|| variable("EDITOR")).unwrap_or_else(|| "vi".into());
    let mut words = editor.split_whitespace();
    let ended = Command::new(words.next().unwrap_or("vi")).args(words).arg(file).status();
    let ended = ended.map_err(|e| Failure::usage(format!("The editor {editor} does not start: {e}. Set VISUAL or EDITOR.")))?;
    if !ended.success() {
        return Err(Failure::failed("The editor failed. Nothing was changed."));
    }
    std::fs::read_to_string(file).map_err(failed)
}

/// What has to be sent: new values, and null for what went.
fn difference(before: &Value, wanted: &Map<String, Value>) -> Map<String, Value> {
    let mut body: Map<String, Value> = wanted
        .iter()
        .filter(|(key, value)| before.get(key.as_str()) != Some(*value))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    let gone = before.as_object().into_iter().flatten().filter(|(key, _)| !wanted.contains_key(*key));
    body.extend(gone.map(|(key, _)| (key.clone(), Value::Null)));
    body
}

fn tell(before: &Value, body: &Map<String, Value>) {
    for (key, value) in body {
        before.get(key).into_iter().for_each(|old| eprintln!("- {key}={}", text(old)));
        value.as_str().into_iter().for_each(|new| eprintln!("+ {key}={new}"));
    }
}
