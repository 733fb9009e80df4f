//! The API's own description, and random calls that are made from it.

use crate::{matrix::join, support::Platform};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
};

/// All references in `value`.
fn references<'a>(value: &'a Value, into: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(map) => {
            into.extend(map.get("$ref").and_then(Value::as_str));
            map.values().for_each(|value| references(value, into));
        }
        Value::Array(all) => all.iter().for_each(|value| references(value, into)),
        _ => {}
    }
}

fn operations(document: &Value) -> Vec<(String, String, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    let all = paths.flat_map(|(path, item)| item.as_object().unwrap().iter().map(move |(m, o)| (m.clone(), path.clone(), o)));
    all.collect()
}

#[test]
fn the_document_has_every_route_and_nothing_else() {
    let document = ::api::openapi();
    let routes: BTreeSet<(String, String)> =
        ::api::all_routes().iter().map(|(method, path, _)| (method.to_string(), path.to_string())).collect();
    let all = operations(&document);
    let described: BTreeSet<(String, String)> = all.iter().map(|(method, path, _)| (method.clone(), path.clone())).collect();
    assert_eq!(described, routes);
    let ids: BTreeSet<&str> = all.iter().map(|(.., o)| o["operationId"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), all.len(), "an operation id is there twice");
    for (method, path, operation) in &all {
        let said = operation["summary"].as_str().unwrap_or_default();
        assert!(!said.is_empty(), "{method} {path} is not described; see src/api/schema/own.json");
        for name in path.split('/').filter_map(|part| part.strip_prefix('{')) {
            let name = name.trim_end_matches('}');
            let known = operation["parameters"].as_array().unwrap().iter().any(|p| p["name"] == name && p["in"] == "path");
            assert!(known, "{method} {path}: {name}");
        }
    }
    let own: Value = serde_json::from_str(include_str!("../../src/api/schema/own.json")).unwrap();
    for key in own["operations"].as_object().unwrap().keys() {
        let (method, path) = key.split_once(' ').unwrap();
        assert!(routes.contains(&(method.to_lowercase(), path.into())), "{key} is no route (any more)");
    }
}

#[test]
fn what_the_document_names_is_in_it_and_is_a_schema() {
    let document = ::api::openapi();
    let mut names = BTreeSet::new();
    references(&document, &mut names);
    for name in &names {
        assert!(document.pointer(&name[1..]).is_some_and(Value::is_object), "{name} is not there");
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let reference = format!("#/components/schemas/{name}");
        assert!(names.contains(reference.as_str()), "{name} is named by nothing");
        jsonschema::draft202012::meta::validate(schema).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
}

#[test]
fn the_document_is_served_to_everybody_and_kept_by_its_tag() {
    let platform = Platform::start();
    let answer = platform.request("GET", "/api/openapi.json", &[], None);
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    assert_eq!(answer.json(), ::api::openapi());
    let again = platform.request("GET", "/api/openapi.json", &[("if-none-match", answer.header("etag"))], None);
    assert_eq!((again.status, again.text.len()), (304, 0));
}

/// Where `tests/run` puts it.
fn fuzzer() -> Option<PathBuf> {
    let cache = std::env::var("TIDEMILL_CACHE").unwrap_or_else(|_| "/var/tmp/tidemill-tests".into());
    let found = Some(Path::new(&cache).join("fuzz-1/bin")).filter(|path| path.join("schemathesis").exists());
    if found.is_none() {
        println!("SKIPPED: schemathesis is needed; tests/run installs it");
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
    }
    found
}

/// Calls that would end the token or the account that the others are made with.
const SPARED: &str = "^delete(Oauth|Members|Account$|Users)|RegenerateTokens";

/// Random calls of one caller for so many seconds; nothing may fail and nothing that is hidden may be shown.
fn random_calls(platform: &Platform, tool: &Path, seed: u32, (caller, token, seconds): (&str, &str, u32), seen: (&str, &str)) {
    let hooks = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clients/schemathesis_hooks.py");
    let mut command = Command::new(tool.join("schemathesis"));
    command.arg("run").arg(format!("{}/api/openapi.json", platform.base()));
    if !token.is_empty() {
        command.arg("-H").arg(format!("Authorization: Bearer {token}"));
    }
    command.args(["--checks", "not_a_server_error,nothing_leaks,status_code_conformance,response_schema_conformance"]);
    command.args(["--max-time", &seconds.to_string(), "--seed", &seed.to_string(), "--phases", "coverage,fuzzing"]);
    command.args(["--exclude-operation-id-regex", SPARED, "--suppress-health-check", "all", "--no-color", "--no-shrink"]);
    command.env("SCHEMATHESIS_HOOKS", hooks).env("KNOWN", seen.0).env("HIDDEN", seen.1).current_dir(platform.dir.path());
    let output = command.env_remove("HTTP_PROXY").env_remove("http_proxy").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let cases = text.lines().find(|line| line.contains("generated")).unwrap_or_default().trim().to_string();
    println!("{caller}, seed {seed}: {cases}");
    assert!(output.status.success() && !cases.is_empty(), "{caller}, seed {seed}: {text}");
}

#[test]
fn random_calls_neither_break_it_nor_see_secrets() {
    let Some(tool) = fuzzer() else { return };
    let platform = Platform::start_with(&["--rate-limit-per-hour", "100000000"]);
    let document = platform.dir.path().join("openapi.json");
    std::fs::write(&document, platform.request("GET", "/api/openapi.json", &[], None).text).unwrap();
    let valid = Command::new(tool.join("openapi-spec-validator")).arg(&document).output().unwrap();
    assert!(valid.status.success(), "{}", String::from_utf8_lossy(&valid.stdout));
    let viewer = join(&platform, "vic@example.com", "viewer");
    let id = |path: &str, body: Value| {
        let made = platform.api("POST", path, Some(body));
        assert_eq!(made.status, 201, "{}", made.text);
        made.json()["id"].clone()
    };
    let apps = [id("/apps", json!({ "name": "shop" })), id("/apps", json!({ "name": "vault" }))];
    for app in ["shop", "vault"] {
        platform.api("PATCH", &format!("/apps/{app}/config-vars"), Some(json!({ "SECRET": format!("hidden-value-{app}") })));
    }
    platform.api("POST", "/apps/shop/collaborators", Some(json!({ "user": "vic@example.com" })));
    let hook = json!({ "url": "https://example.com/", "include": ["api:app"], "level": "notify", "secret": "hidden-hook" });
    id("/apps/shop/webhooks", hook);
    let (team, pipeline) = (id("/teams", json!({ "name": "crew" })), id("/pipelines", json!({ "name": "line" })));
    let known = json!({ "app": apps, "team": [team], "pipeline": [pipeline], "user": ["~"], "account": ["~"] }).to_string();
    let seed = std::env::var("TIDEMILL_SEED").ok().and_then(|s| s.parse().ok()).unwrap_or_else(|| fastrand::u32(1..1 << 30));
    let hidden = format!("hidden-value-shop,hidden-value-vault,hidden-hook,{}", platform.token);
    random_calls(&platform, &tool, seed, ("without a token", "", 8), (&known, &format!("{hidden},{viewer}")));
    random_calls(&platform, &tool, seed, ("a viewer", &viewer, 10), (&known, &hidden));
    random_calls(&platform, &tool, seed, ("an admin", &platform.token, 20), (&known, ""));
    let answer = platform.api("GET", "/account", None);
    assert_eq!(answer.status, 200, "the calls ended the token that they were made with: {}", answer.text);
}
