//! Every command of the official CLI is in a table, or here with the reason why not.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

/// The tables' own text: a command is in one when a line of it begins so.
pub(super) const TABLES: &[&str] = &[
    include_str!("apps.rs"),
    include_str!("data.rs"),
    include_str!("dynos.rs"),
    include_str!("elsewhere.rs"),
    include_str!("oauth.rs"),
    include_str!("people.rs"),
    include_str!("pipelines.rs"),
    include_str!("services.rs"),
    include_str!("settings.rs"),
];

const LOCAL: &str = "works on the user's computer only and asks no server";
const ASKS: &str = "asks its questions at a terminal before it asks the server anything";
const GITHUB: &str = "asks for a connection to GitHub, as pipelines:connect does, which is in the table";
const BROWSER: &str = "opens a page of Heroku in a browser and asks no server";
const DOCKER: &str = "runs docker, which is to sign in to a registry; images are made here from heroku.yml, and there is none";

/// Commands that are in no table, and why.
const NOT_HERE: &[(&str, &str)] = &[
    ("accounts:add", LOCAL),
    ("certs:generate", "makes a certificate with openssl on the user's computer, which certs:add uploads"),
    ("ci:debug", GITHUB),
    ("ci:migrate-manifest", LOCAL),
    ("ci:open", BROWSER),
    ("commands", "lists the commands; this test runs it"),
    ("config:edit", "needs an editor; config:set and config:unset make the same calls"),
    ("container:login", DOCKER),
    ("container:logout", DOCKER),
    ("data:pg:docs", BROWSER),
    ("data:pg:migrate", ASKS),
    ("local", LOCAL),
    ("local:run", LOCAL),
    ("local:version", LOCAL),
    ("mcp:start", "waits for another program's words at its input"),
    ("orgs:open", BROWSER),
    ("apps:open", "opens the app in a browser"),
    ("pipelines:open", BROWSER),
    ("pipelines:setup", GITHUB),
    ("plugins", LOCAL),
    ("plugins:inspect", LOCAL),
    ("plugins:install", "asks the registry of packages, not the server"),
    ("plugins:link", LOCAL),
    ("plugins:reset", LOCAL),
    ("plugins:uninstall", LOCAL),
    ("plugins:update", "asks the registry of packages, not the server"),
    ("repl", ASKS),
    ("search", ASKS),
    ("update", "asks where the CLI came from, not the server"),
    ("version:info", "asks the CLI's own list of changes"),
];

/// Commands with the other names that the same code has.
fn commands(table: &Table) -> BTreeMap<String, BTreeSet<String>> {
    let output = table.output("commands --json");
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for command in list.as_array().unwrap() {
        let id = command["id"].as_str().unwrap().to_string();
        let names = command["aliases"].as_array().into_iter().flatten().filter_map(Value::as_str).map(String::from);
        all.entry(id.clone()).or_default().extend(names.chain([id]));
    }
    all
}

#[test]
fn heroku_cli_every_command_is_in_a_table_or_has_a_reason_not_to() {
    let Some(table) = Table::start("commands") else { return };
    let all = commands(&table);
    assert!(all.len() > 350, "{} commands", all.len());
    let tables = TABLES.concat();
    let in_table = |name: &String| ["\"", " "].iter().any(|end| tables.contains(&format!("\"{name}{end}")));
    let reasons: BTreeMap<&str, &str> = NOT_HERE.iter().copied().collect();
    let mut lacking = Vec::new();
    let (mut here, mut not) = (0, 0);
    for names in all.values() {
        // An alias is listed as a command, and its original knows it as an alias.
        let same: BTreeSet<&String> = all.values().filter(|other| !other.is_disjoint(names)).flatten().collect();
        if same.iter().any(|name| in_table(name)) {
            here += 1;
        } else if same.iter().any(|name| reasons.contains_key(name.as_str())) {
            not += 1;
        } else {
            lacking.push(names);
        }
    }
    println!("official CLI, commands: {here} of {} are in a table, {not} are not, each with a reason", all.len());
    assert!(lacking.is_empty(), "in no table and without a reason: {lacking:?}");
    let stale: Vec<&&str> = reasons.keys().filter(|name| !all.contains_key(**name) || in_table(&name.to_string())).collect();
    assert!(stale.is_empty(), "these have a reason not to be in a table, and are in one or do not exist: {stale:?}");
}
