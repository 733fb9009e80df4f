//! From the published hyper-schema (draft 4 and words of its own) to the schemas of OpenAPI 3.1 (JSON Schema 2020-12).

use crate::published;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Keywords that mean the same in both, with a plain value.
const KEPT: &[&str] = &[
    "type",
    "format",
    "pattern",
    "enum",
    "default",
    "description",
    "title",
    "readOnly",
    "deprecated",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "uniqueItems",
    "required",
];
/// Types of the published schema that practice has differently (`platform-api.md` sections 13 and 14), by component.
const CORRECTED: &[(&str, &str)] = &[
    // A host name is no URI.
    ("domain.hostname", r#"{"type":"string","description":"full hostname"}"#),
    // An object is what clients read.
    ("app.generation", r#"{"type":"object","properties":{"id":{"type":"string"},"name":{"type":"string"}}}"#),
    // Members of this installation may only look.
    ("team.role", r#"{"enum":["admin","collaborator","member","owner","viewer",null],"description":"role in the team"}"#),
    // Regions of clouds.
    ("region.provider", r#"{"type":"object","properties":{"name":{"type":"string"},"region":{"type":"string"}}}"#),
];

/// Schemas that the document names, found while it is made.
#[derive(Default)]
pub(super) struct Components {
    named: BTreeMap<String, Value>,
    /// Pointers that were named and are not converted yet.
    wanted: Vec<String>,
    seen: BTreeSet<String>,
}

/// `#/definitions/app/definitions/name` as `app.name`.
fn name(pointer: &str) -> String {
    let parts = pointer.trim_start_matches("#/").split('/').filter(|part| *part != "definitions" && *part != "properties");
    let clean = |part: &str| part.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_', "");
    parts.map(clean).collect::<Vec<_>>().join(".")
}

/// The real service's own host names are no rule here.
fn binds(pattern: &str) -> bool {
    !pattern.contains("heroku")
}

impl Components {
    /// A schema of the published file in the new form; what it refers to becomes a component.
    pub(super) fn schema(&mut self, from: &Value) -> Value {
        let Some(from) = from.as_object() else { return from.clone() };
        if let Some(pointer) = from.get("$ref").and_then(Value::as_str) {
            // Draft 4 ignores what stands beside a reference.
            if self.seen.insert(pointer.to_string()) {
                self.wanted.push(pointer.to_string());
            }
            return json!({ "$ref": format!("#/components/schemas/{}", name(pointer)) });
        }
        let mut to = Map::new();
        for (key, value) in from {
            match key.as_str() {
                "pattern" if !value.as_str().is_some_and(binds) => {}
                "required" if value.as_array().is_none_or(Vec::is_empty) => {}
                "example" => drop(to.insert("examples".into(), json!([value]))),
                "properties" | "patternProperties" => {
                    let map = value.as_object().into_iter().flatten();
                    let map: Map<String, Value> = map.map(|(name, schema)| (name.clone(), self.schema(schema))).collect();
                    to.insert(key.clone(), Value::Object(map));
                }
                "anyOf" | "oneOf" | "allOf" => {
                    let all = value.as_array().into_iter().flatten().map(|schema| self.schema(schema)).collect();
                    to.insert(key.clone(), Value::Array(all));
                }
                "items" | "additionalProperties" | "not" => drop(to.insert(key.clone(), self.schema(value))),
                kept if KEPT.contains(&kept) => drop(to.insert(key.clone(), value.clone())),
                _ => {} // identities, links, stability: words of the hyper-schema
            }
        }
        Value::Object(to)
    }

    /// All components that are named, and what those name.
    pub(super) fn finish(mut self) -> Map<String, Value> {
        while let Some(pointer) = self.wanted.pop() {
            let found = published::schemas().iter().find_map(|schema| schema.pointer(pointer.trim_start_matches('#')));
            let name = name(&pointer);
            let corrected = CORRECTED.iter().find(|(known, _)| *known == name);
            let schema = match corrected.and_then(|(_, text)| serde_json::from_str(text).ok()) {
                Some(schema) => schema,
                None => self.schema(found.unwrap_or(&Value::Null)),
            };
            self.named.insert(name, schema);
        }
        self.named.insert("Error".into(), error());
        self.named.insert("Problem".into(), problem());
        self.named.into_iter().collect()
    }
}

fn error() -> Value {
    json!({
        "type": "object",
        "required": ["id", "message"],
        "properties": {
            "id": { "type": "string", "description": "Stable; for programs." },
            "message": { "type": "string", "description": "For people." },
            "resource": { "type": ["string", "null"], "description": "What was not found." },
            "app": { "type": "object", "properties": { "name": { "type": "string" } } },
        },
    })
}

/// RFC 9457, with the fields of the other form.
fn problem() -> Value {
    let mut problem = error();
    problem["required"] = json!(["type", "title", "status", "detail", "id", "message"]);
    for (name, schema) in [
        ("type", json!({ "type": "string", "format": "uri" })),
        ("title", json!({ "type": "string" })),
        ("status", json!({ "type": "integer" })),
        ("detail", json!({ "type": "string" })),
        ("instance", json!({ "type": "string" })),
    ] {
        problem["properties"][name] = schema;
    }
    problem
}
