//! The API's own description, and random calls that are made from it.

use crate::support::Platform;
use serde_json::Value;
use std::collections::BTreeSet;

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
