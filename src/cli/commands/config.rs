//! Config vars.

use super::{edit, prelude::*};
use crate::{git::quoted, nearest::did_you_mean};
use std::io::Read;

/// `config`.
pub const TOPIC: Topic = Topic {
    name: "config",
    about: "Config vars of an app",
    verbs: &[
        there("config", "Show config vars", config)
            .aliases(&["config:list"])
            .args(&[switch("shell", "As a shell would read them").short('s')])
            .examples(&["config -a shop", "config -s -a shop > .env", "config --json -a shop"]),
        there("config:get", "Show one config var", get)
            .args(&[some("key", "Key").live(Live::ConfigKeys), switch("shell", "As a shell would read it").short('s')])
            .examples(&["config:get DATABASE_URL -a shop"]),
        there("config:set", "Set config vars", set)
            .aliases(&["config:add"])
            .args(&[
                any("pairs", "KEY=VALUE; KEY=@file takes the value from a file").live(Live::ConfigKeys),
                value("from-file", "A file of KEY=VALUE lines such as .env; - is standard input"),
            ])
            .examples(&[
                "config:set A=1 B=\"two words\" -a shop",
                "config:set --from-file .env -a shop",
                "config:set KEY=@key.pem -a shop",
            ]),
        there("config:unset", "Remove config vars", unset)
            .aliases(&["config:remove"])
            .args(&[some("keys", "Keys").live(Live::ConfigKeys)])
            .examples(&["config:unset A B -a shop"]),
        there("config:edit", "Edit config vars in VISUAL or EDITOR", edit::edit)
            .args(&[maybe("key", "Only this one; its value is the whole file").live(Live::ConfigKeys)])
            .examples(&["config:edit -a shop", "config:edit MOTD -a shop"]),
    ],
};

/// The value of a key, or nothing.
fn value_of<'a>(config: &'a Value, key: &str) -> Option<&'a str> {
    config.get(key).and_then(Value::as_str)
}

fn keys(config: &Value) -> impl Iterator<Item = &str> {
    config.as_object().into_iter().flatten().map(|(key, _)| key.as_str())
}

fn config(s: &Session) -> Result<()> {
    let name = s.app()?;
    let config = s.client.get(&format!("/apps/{name}/config-vars"))?;
    s.show(&config, || {
        let pairs = config.as_object().into_iter().flatten().map(|(k, v)| (k, v.as_str().unwrap_or("")));
        if s.given.is("shell") {
            return pairs.map(|(k, v)| format!("{k}={}\n", quoted(v))).collect();
        }
        let rows: Vec<Vec<String>> = pairs.map(|(k, v)| vec![format!("{k}:"), v.to_string()]).collect();
        format!("{}{}", heading(&format!("{name} Config Vars")), table(&rows))
    });
    Ok(())
}

fn get(s: &Session) -> Result<()> {
    let config = s.client.get(&s.path("/config-vars")?)?;
    let wanted = s.given.all("key");
    if let Some(missing) = wanted.iter().find(|key| value_of(&config, key).is_none() && !s.global.json) {
        return Err(nothing(format!("There is no config var {missing}.{}", did_you_mean(missing, keys(&config)))));
    }
    let found: Map<String, Value> = wanted.iter().map(|k| (k.clone(), config.get(k).cloned().unwrap_or_default())).collect();
    s.show(&Value::Object(found), || {
        let line = |key: &String| match (value_of(&config, key).unwrap_or(""), s.given.is("shell")) {
            (value, true) => format!("{key}={}\n", quoted(value)),
            (value, false) => format!("{value}\n"),
        };
        wanted.iter().map(line).collect()
    });
    Ok(())
}

fn set(s: &Session) -> Result<()> {
    let mut body = Map::new();
    if let Some(file) = s.given.text("from-file") {
        let mut content = String::new();
        let read = match file {
            "-" => std::io::stdin().read_to_string(&mut content).map(|_| content),
            file => std::fs::read_to_string(file),
        };
        body.extend(parsed(&read.map_err(|e| Failure::usage(format!("{file}: {e}")))?, file)?);
    }
    for pair in s.given.all("pairs") {
        let (key, value) =
            pair.split_once('=').ok_or_else(|| Failure::usage(format!("{pair} is invalid. Must be in the format FOO=bar.")))?;
        let value = match value.strip_prefix('@') {
            Some(file) => std::fs::read_to_string(file).map_err(|e| Failure::usage(format!("{file}: {e}")))?,
            None => value.to_string(),
        };
        body.insert(key.into(), value.into());
    }
    if body.is_empty() {
        return Err(Failure::usage("Say what to set: KEY=VALUE, or --from-file FILE."));
    }
    change(s, "Setting", body)
}

fn unset(s: &Session) -> Result<()> {
    let (path, wanted) = (s.path("/config-vars")?, s.given.all("keys"));
    let config = s.client.get(&path)?;
    if let Some(missing) = wanted.iter().find(|key| value_of(&config, key).is_none()) {
        let meant = did_you_mean(missing, keys(&config));
        if !meant.is_empty() {
            return Err(nothing(format!("There is no config var {missing}. Nothing was removed.{meant}")));
        }
    }
    change(s, "Unsetting", wanted.into_iter().map(|k| (k, Value::Null)).collect())
}

/// Changes config vars and tells the release that came of it.
pub fn change(s: &Session, verb: &str, body: Map<String, Value>) -> Result<()> {
    let (name, keys): (String, Vec<String>) = (s.app()?, body.keys().cloned().collect());
    let mut version = 0;
    let config = s.doing_with(
        &format!("{verb} {} and restarting {name}", keys.join(", ")),
        |c| {
            let config = c.send("PATCH", &format!("/apps/{name}/config-vars"), &Value::Object(body))?;
            let releases = c.part(&format!("/apps/{name}/releases"), "version ..; order=desc,max=1")?;
            version = items(&releases).first().map_or(0, |r| r["version"].as_u64().unwrap_or(0));
            Ok(json!({ "config": config, "version": version }))
        },
        |answer| format!("done, v{}", answer["version"]),
    )?;
    let config = &config["config"];
    s.show(config, || {
        table(&keys.iter().filter_map(|k| Some(vec![format!("{k}:"), value_of(config, k)?.to_string()])).collect::<Vec<_>>())
    });
    Ok(())
}

/// `KEY=VALUE` lines as files of variables have them: blank lines, `#`, `export`, single and double quotes over lines.
pub fn parsed(content: &str, file: &str) -> Result<Map<String, Value>> {
    let mut all = Map::new();
    let mut rest = content;
    let mut number = 0;
    while !rest.is_empty() {
        let (line, after) = rest.split_once('\n').unwrap_or((rest, ""));
        number += 1;
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            rest = after;
            continue;
        }
        let wrong = |why: &str| Failure::usage(format!("{file}, line {number}: {why}"));
        let start = line.trim_start();
        let start = start.strip_prefix("export ").unwrap_or(start);
        let (key, value) = start.split_once('=').ok_or_else(|| wrong("this is no KEY=VALUE"))?;
        let key = key.trim();
        let value = value.trim_start();
        match value.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            Some(quote) => {
                let from = rest.len() - (after.len() + usize::from(rest.len() > line.len())) - value.len() + 1;
                let (text, used) = unquoted(&rest[from..], quote).ok_or_else(|| wrong("the quotes are not closed"))?;
                number += text.matches('\n').count();
                all.insert(key.into(), text.into());
                rest = rest[from + used..].split_once('\n').map_or("", |(_, next)| next);
            }
            None => {
                let plain = value.split(" #").next().unwrap_or(value).trim_end();
                all.insert(key.into(), plain.into());
                rest = after;
            }
        }
    }
    Ok(all)
}

/// Text to the closing quote, and how many bytes that took. Double quotes know `\n`, `\r`, `\t`, `\"`, `\\`, `\$`.
fn unquoted(from: &str, quote: char) -> Option<(String, usize)> {
    let mut text = String::new();
    let mut letters = from.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            _ if letter == quote => return Some((text, at + 1)),
            '\\' if quote == '"' => match letters.next()?.1 {
                'n' => text.push('\n'),
                'r' => text.push('\r'),
                't' => text.push('\t'),
                other @ ('"' | '\\' | '$') => text.push(other),
                other => text.extend(['\\', other]),
            },
            _ => text.push(letter),
        }
    }
    None
}

/// The reverse of [`parsed`].
pub fn written(config: &Value) -> String {
    let line = |(key, value): (&String, &Value)| {
        let value = value.as_str().unwrap_or("");
        let plain = !value.is_empty() && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:@%+,=?&".contains(&b));
        if plain {
            return format!("{key}={value}\n");
        }
        let escaped =
            value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n").replace('\r', "\\r").replace('\t', "\\t");
        format!("{key}=\"{}\"\n", escaped.replace('$', "\\$"))
    };
    config.as_object().into_iter().flatten().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_variables_are_read() {
        let file = "# comment\n\nexport A=1\nB = two words # not this\nC=\"a\\nb $X \\\"q\\\"\"\nD='x\ny'\nE=\nF=\"\"\nG=a=b\n";
        let read = parsed(file, ".env").expect("reads");
        let wanted = json!({ "A": "1", "B": "two words", "C": "a\nb $X \"q\"", "D": "x\ny", "E": "", "F": "", "G": "a=b" });
        assert_eq!(Value::Object(read), wanted);
        for (bad, line) in [("A=1\nnonsense\n", "line 2"), ("A=\"open\n", "line 1")] {
            assert!(parsed(bad, ".env").unwrap_err().text.contains(line), "{bad}");
        }
    }

    #[test]
    fn what_is_written_for_the_editor_is_read_as_it_was() {
        for value in
            ["", "plain", "two words", "a\"b'c", "x\ny\r\n\t", "$HOME ${X} \\n \\$", "ünïcode # no comment", " lead and trail "]
        {
            let config = json!({ "KEY": value, "Z": "1" });
            assert_eq!(Value::Object(parsed(&written(&config), "f").expect(value)), config, "{value:?}");
        }
    }
}
