//! The API as an OpenAPI 3.1 document, made from the same table of routes that is served: paths, methods, who may call,
//! bodies and answers. Those of the published schema come from it, those of our own from `schema/own.json`.

mod convert;

use crate::{
    Out, conditional,
    error::Failure,
    published,
    routes::{Route, all, routes},
};
use axum::{
    body::Bytes,
    http::{HeaderValue, header},
    response::IntoResponse,
};
use convert::Components;
use serde_json::{Map, Value, json};
use service::Error;
use std::sync::OnceLock;

routes! {
    get "/api/openapi.json" => serve, "nobody";
}

/// Status of a success where it is not 200, or 201 of a POST (`platform-api.md` section 11).
const STATUSES: &[(&str, &str, u16)] = &[
    ("post", "/app-setups", 202),
    ("post", "/filters/apps", 200),
    ("post", "/actions/addons/resolve", 200),
    ("post", "/actions/addon-attachments/resolve", 200),
    ("post", "/apps/{app}/acm", 200),
    ("delete", "/apps/{app}/dynos", 202),
    ("delete", "/apps/{app}/dynos/{dyno}", 202),
    ("delete", "/apps/{app}/formations/{dyno}", 202),
    ("post", "/apps/{app}/dynos/{dyno}/actions/stop", 202),
    ("post", "/apps/{app}/formations/{dyno}/actions/stop", 202),
    ("post", "/teams/invitations/{token}/accept", 200),
];

/// What an operation is, from whichever source.
struct Said {
    title: String,
    tag: String,
    body: Option<Value>,
    /// `None` where the answer is always an error.
    answer: Option<Value>,
    status: u16,
    content: &'static str,
    own: bool,
}

fn status(method: &str, path: &str) -> u16 {
    let known = STATUSES.iter().find(|(m, p, _)| *m == method && *p == path).map(|(.., status)| *status);
    known.unwrap_or(if method == "post" { 201 } else { 200 })
}

/// The link of the published schema that a route serves. `~` is the caller in a place where the schema may have an identity.
fn link_of<'a>(links: &'a [published::Link], method: &str, path: &str) -> Option<&'a published::Link> {
    let find =
        |wanted: String| links.iter().find(|l| l.method.eq_ignore_ascii_case(method) && published::shape(&l.path) == wanted);
    find(published::shape(path)).or_else(|| find(published::shape(&path.replace("/~", "/{}"))))
}

fn published_call(link: &published::Link, (method, path, _): Route, parts: &mut Components) -> Said {
    let relation = link.json["rel"].as_str().unwrap_or_default();
    let resource = json!({ "$ref": format!("#/definitions/{}", link.resource) });
    let answer = match link.json.get("targetSchema") {
        Some(schema) => parts.schema(schema),
        // Whatever else stands in such an answer is not promised.
        None if relation == "empty" => json!({ "type": "object" }),
        None if relation == "instances" => json!({ "type": "array", "items": parts.schema(&resource) }),
        None => parts.schema(&resource),
    };
    Said {
        title: format!("{}: {}", link.resource, link.title.to_lowercase()),
        tag: link.resource.clone(),
        body: link.json.get("schema").filter(|_| method != "get").map(|schema| parts.schema(schema)),
        answer: Some(answer),
        status: status(method, path),
        content: "application/json",
        own: published::is_own(path),
    }
}

/// From `schema/own.json`, where the schemas are in the form of the document already.
fn own_call(said: &Value, path: &str) -> Said {
    let tag = path.split('/').find(|part| !part.is_empty() && !part.starts_with('{')).unwrap_or("api");
    Said {
        title: said["summary"].as_str().unwrap_or_default().to_string(),
        tag: tag.to_string(),
        body: said.get("body").cloned(),
        answer: said.get("answer").cloned(),
        status: said["status"].as_u64().and_then(|n| u16::try_from(n).ok()).unwrap_or(200),
        content: if said.get("type").is_some() { "application/schema+json" } else { "application/json" },
        own: published::is_own(path),
    }
}

/// `get /apps/{app}/builds` as `getAppsByAppBuilds`.
fn operation_id(method: &str, path: &str) -> String {
    let mut id = method.to_string();
    for part in path.split('/') {
        let (lead, name) = match part.strip_prefix('{') {
            Some(name) => ("By", name.trim_end_matches('}')),
            None => ("", part),
        };
        id.push_str(lead);
        let name = if name == "~" { "self" } else { name };
        for word in name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()) {
            id.push_str(&word[..1].to_ascii_uppercase());
            id.push_str(&word[1..]);
        }
    }
    id
}

fn answers(said: &Said, list: bool) -> Value {
    let mut answers = Map::new();
    if let Some(schema) = &said.answer {
        let mut good = json!({ "description": "Success.", "content": { said.content: { "schema": schema } } });
        if list {
            let next = json!({ "description": "A part of the list.", "content": good["content"],
                "headers": { "Next-Range": { "description": "The Range of the next page.", "schema": { "type": "string" } } } });
            answers.insert("206".into(), next);
        }
        good["headers"] = json!({ "Request-Id": { "schema": { "type": "string", "format": "uuid" } } });
        answers.insert(said.status.to_string(), good);
    }
    let form = json!({ "$ref": if said.own { "#/components/responses/Problem" } else { "#/components/responses/Error" } });
    answers.insert("4XX".into(), form);
    Value::Object(answers)
}

fn operation(said: &Said, (method, path, needs): Route) -> Value {
    let list = method == "get" && said.answer.as_ref().is_some_and(|schema| schema["type"] == "array");
    let names = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut parameters: Vec<Value> = names
        .map(|name| {
            let text = json!({ "type": "string", "minLength": 1 });
            json!({ "name": name, "in": "path", "required": true, "description": "Id or natural key.", "schema": text })
        })
        .collect();
    if list {
        parameters.push(json!({ "$ref": "#/components/parameters/Range" }));
    }
    let mut operation = json!({
        "operationId": operation_id(method, path),
        "summary": said.title,
        "description": format!("The caller needs: {needs}."),
        "tags": [said.tag],
        "parameters": parameters,
        "responses": answers(said, list),
    });
    if let Some(body) = &said.body {
        // A body that asks for nothing may be left out.
        let required = body["required"].as_array().is_some_and(|names| !names.is_empty());
        operation["requestBody"] = json!({ "required": required, "content": { "application/json": { "schema": body } } });
    }
    if needs == "nobody" {
        operation["security"] = json!([]);
    }
    operation
}

/// The document, as JSON. It is built anew; what is served is [`packed`].
pub fn document() -> Value {
    let own: Value = serde_json::from_str(published::OWN).unwrap_or_default();
    let links = published::links();
    let mut parts = Components::default();
    let mut paths: Map<String, Value> = Map::new();
    for route in all() {
        let (method, path, _) = route;
        let said = match link_of(&links, method, path) {
            Some(link) => published_call(link, route, &mut parts),
            None => own_call(&own["operations"][format!("{} {path}", method.to_uppercase())], path),
        };
        paths.entry(path).or_insert_with(|| json!({}))[method] = operation(&said, route);
    }
    let mut schemas = parts.finish();
    schemas.extend(own["schemas"].as_object().cloned().unwrap_or_default());
    let error = |form: &str, kind: &str| {
        let schema = json!({ "$ref": format!("#/components/schemas/{form}") });
        json!({ "description": "What happened, why, and the next step.", "content": { kind: { "schema": schema } } })
    };
    json!({
        "openapi": "3.1.1",
        "jsonSchemaDialect": "https://json-schema.org/draft/2020-12/schema",
        "info": {
            "title": "Tidemill Platform API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Version 3 of the Platform API, and endpoints of this platform's own. Errors of the latter are \
                application/problem+json, unless the Accept header names application/vnd.heroku+json.",
        },
        "servers": [{ "url": "/" }],
        "security": [{ "bearer": [] }, { "basic": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "parameters": { "Range": {
                "name": "Range", "in": "header", "required": false, "schema": { "type": "string" },
                "description": "The part of a list, such as `id ..; max=200, order=desc`.",
            } },
            "responses": { "Error": error("Error", "application/json"), "Problem": error("Problem", "application/problem+json") },
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer" },
                "basic": { "type": "http", "scheme": "basic", "description": "Any user name; the token is the password." },
            },
        },
    })
}

/// The bytes that are served and their tag; the routes do not change while the program runs.
fn packed() -> &'static (Bytes, HeaderValue) {
    static PACKED: OnceLock<(Bytes, HeaderValue)> = OnceLock::new();
    PACKED.get_or_init(|| {
        let bytes = Bytes::from(document().to_string());
        let tag = conditional::tag(&bytes);
        (bytes, tag)
    })
}

async fn serve() -> Out {
    // The first call takes a moment of work, which must not hold up others.
    let packed = tokio::task::spawn_blocking(packed).await;
    let (bytes, tag) = packed.map_err(|e| Failure(Error::internal(e.to_string())))?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json")), (header::ETAG, tag.clone())], bytes.clone())
        .into_response())
}
