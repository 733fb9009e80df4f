//! The documents: links lead somewhere, commands exist, settings are those of the program.

use crate::support::BIN;
use serde_json::Value;
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("web/docs")
}

fn pages_in(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().flatten().map(|e| e.path());
    let mut found: Vec<PathBuf> = entries.flat_map(|path| if path.is_dir() { pages_in(&path) } else { vec![path] }).collect();
    found.retain(|path| path.extension().is_some_and(|end| end == "md"));
    found.sort();
    found
}

/// Words of blocks between fences: language and text.
fn blocks(page: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Option<(String, String)> = None;
    for line in page.lines() {
        match (line.trim_start().strip_prefix("```"), open.as_mut()) {
            (Some(language), None) => open = Some((language.trim().into(), String::new())),
            (Some(_), Some(_)) => found.extend(open.take()),
            (None, Some((_, text))) => *text += &format!("{line}\n"),
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a block has no end");
    found
}

fn output(args: &[&str]) -> String {
    let output = Command::new(BIN).args(args).env("COLUMNS", "400").output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The page of settings: flag, key, variable and what it says.
fn settings() -> (String, BTreeSet<String>) {
    let help = output(&["serve", "--help"]);
    let mut page = String::from(
        "# Configuration\n\nMade from the program itself: `WRITE_GOLDEN=1` with the tests writes it anew. Every setting is a key of the file \
         (TOML, `--config FILE`; the package reads `/etc/tidemill/tidemill.toml`), an environment variable, and a flag with `-` for `_`. \
         Flags win over the environment, the environment over the file. A key that does not exist is an error.\n\n\
         | key | variable | what |\n|---|---|---|\n",
    );
    let (mut keys, mut lines) = (BTreeSet::new(), help.lines().map(str::trim));
    while let Some(line) = lines.next() {
        let Some(flag) = line.strip_prefix("--").and_then(|l| l.split(' ').next()) else { continue };
        let Some((what, variable)) = lines.next().and_then(|l| l.split_once(" [env: ")) else { continue };
        let key = flag.replace('-', "_");
        let variable = variable.split(['=', ']']).next().unwrap();
        page += &format!("| `{key}` | `{variable}` | {} |\n", what.replace('|', "\\|").replace('*', "\\*"));
        keys.insert(key);
    }
    (page, keys)
}

#[test]
fn the_page_of_settings_is_up_to_date() {
    let (page, keys) = settings();
    assert!(keys.len() > 40 && keys.contains("data_dir") && keys.contains("shutdown_s"), "{keys:?}");
    let golden = root().join("configuration.md");
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        fs::write(&golden, &page).unwrap();
    }
    assert!(fs::read_to_string(golden).unwrap_or_default() == page, "a setting changed; run with WRITE_GOLDEN=1");
}

#[test]
fn links_of_the_documents_lead_somewhere_and_every_page_is_reached() {
    let (mut wrong, mut reached) = (Vec::new(), BTreeSet::from([root().join("README.md")]));
    for page in pages_in(&root()) {
        let text = fs::read_to_string(&page).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") || link.starts_with('/') {
                continue;
            }
            let file = link.split('#').next().unwrap();
            let target = if file.is_empty() { Ok(page.clone()) } else { page.parent().unwrap().join(file).canonicalize() };
            match target {
                Ok(target) => drop(reached.insert(target)),
                Err(_) => wrong.push(format!("{}: {link}", page.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
    let lost: Vec<_> = pages_in(&root()).into_iter().filter(|page| !reached.contains(page)).collect();
    assert!(lost.is_empty(), "no page leads to {lost:?}");
}

#[test]
fn blocks_of_the_documents_name_what_is_there() {
    let all: Value = serde_json::from_str(&output(&["commands", "--json"])).unwrap();
    let names = |v: &Value| {
        let own = v["name"].as_str().unwrap().to_string();
        v["aliases"].as_array().unwrap().iter().map(|a| a.as_str().unwrap().to_string()).chain([own]).collect::<Vec<_>>()
    };
    let verbs: BTreeSet<String> = all.as_array().unwrap().iter().flat_map(names).collect();
    let (_, keys) = settings();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for page in pages_in(&root()) {
        for (language, text) in blocks(&fs::read_to_string(&page).unwrap()) {
            let place = page.display();
            match language.as_str() {
                "sh" | "console" | "" => {
                    for line in text.lines().filter_map(|l| l.trim_start_matches("$ ").strip_prefix("tidemill ")) {
                        let words: Vec<&str> = line.split_whitespace().collect();
                        let two = words.iter().take(2).copied().collect::<Vec<_>>().join(":");
                        seen += 1;
                        if !verbs.contains(words[0]) && !verbs.contains(&two) {
                            wrong.push(format!("{place}: {line}"));
                        }
                    }
                }
                "toml" => {
                    for line in text.lines().filter(|l| !l.trim().is_empty() && !l.starts_with('#')) {
                        seen += 1;
                        if !line.split_once(" = ").is_some_and(|(key, _)| keys.contains(key)) {
                            wrong.push(format!("{place}: {line}"));
                        }
                    }
                }
                "json" => {
                    seen += 1;
                    if let Err(e) = serde_json::from_str::<Value>(&text) {
                        wrong.push(format!("{place}: {e}"));
                    }
                }
                _ => {}
            }
        }
    }
    assert!(wrong.is_empty() && seen > 20, "{seen} {wrong:#?}");
}
