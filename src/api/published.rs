//! The published schemas: what they say is there, and what is our own.

use flate2::read::GzDecoder;
use serde_json::Value;
use std::{collections::BTreeSet, io::Read, sync::OnceLock};

/// Compressed JSON of the variant that present clients are made for.
pub(crate) const SDK: &[u8] = include_bytes!("schema/3.sdk.json.gz");
/// Compressed JSON of plain version 3.
pub(crate) const PLAIN: &[u8] = include_bytes!("schema/3.json.gz");
/// What is said in the same way of endpoints that are in neither.
pub(crate) const OWN: &str = include_str!("schema/own.json");

/// Endpoints of the real service that are in no schema, but that clients call (`platform-api.md` section 15).
pub(crate) const OUTSIDE: &[(&str, &str)] = &[
    ("GET", "/schema"),
    ("POST", "/account/keys"),
    ("DELETE", "/account/keys/{key}"),
    ("GET", "/oauth/sessions"),
    ("DELETE", "/oauth/sessions/{session}"),
    ("GET", "/oauth/authorize"),
    ("POST", "/oauth/authorize"),
    ("POST", "/oauth/token"),
    ("POST", "/auth"),
    ("PUT", "/apps/{app}/pre-authorizations"),
    ("GET", "/accounts/{account}/actions/get-quota"),
    ("GET", "/apps/{app}/builds/{build}/result"),
    ("GET", "/spaces/{space}/dynos"),
    ("GET", "/pipelines/{pipeline}/repo"),
    ("GET", "/pipelines/{pipeline}/repo/branches/{branch}"),
    ("GET", "/favorites"),
    ("GET", "/user/notifications"),
    ("PATCH", "/user/notifications"),
    ("GET", "/apps/{app}/router-metrics/{metric}"),
    ("GET", "/apps/{app}/formation/{type}/metrics/{metric}"),
    ("GET", "/apps/{app}/formation/{type}/monitors"),
    ("GET", "/buildpacks"),
    ("GET", "/buildpacks/{buildpack}"),
    ("GET", "/buildpacks/{buildpack}/revisions"),
    ("GET", "/buildpacks/{buildpack}/readme"),
    ("GET", "/api/v4/current-status"),
];

/// One link of a schema.
#[derive(Clone, Debug)]
pub struct Link {
    /// Upper case.
    pub method: String,
    /// With names in braces, such as `/apps/{app}`.
    pub path: String,
    /// For people.
    pub title: String,
    /// The resource that it belongs to.
    pub resource: String,
    /// The link itself: body, answer, relation.
    pub json: &'static Value,
}

/// A schema file as JSON; `None` when it does not open, which a test rules out.
fn read(packed: &[u8]) -> Option<Value> {
    let mut text = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Both schemas, the one of present clients first.
pub fn schemas() -> &'static [Value] {
    static READ: OnceLock<Vec<Value>> = OnceLock::new();
    READ.get_or_init(|| [SDK, PLAIN].into_iter().filter_map(read).collect())
}

/// `/apps/{(%23%2Fdefinitions%2Fapp%2Fdefinitions%2Fidentity)}` as `/apps/{app}`.
fn plain_path(href: &str) -> String {
    let mut path = String::new();
    for part in href.split('/').filter(|p| !p.is_empty()) {
        let name = part.strip_prefix("{(").and_then(|rest| rest.strip_suffix(")}")).map(|r| r.replace("%2F", "/"));
        let name = name.as_deref().and_then(|reference| reference.split('/').nth(2).map(String::from));
        path.push('/');
        path.push_str(&name.map_or_else(|| part.to_string(), |name| format!("{{{name}}}")));
    }
    path
}

/// Every link of both schemas, sorted by path and method; of those that are in both, that of present clients.
pub fn links() -> Vec<Link> {
    let mut links: Vec<Link> = Vec::new();
    let mut seen = BTreeSet::new();
    for schema in schemas() {
        for (resource, definition) in schema["definitions"].as_object().into_iter().flatten() {
            for link in definition["links"].as_array().into_iter().flatten() {
                let text = |name: &str| link[name].as_str().unwrap_or_default().to_string();
                let (method, path) = (text("method").to_uppercase(), plain_path(&text("href")));
                if !seen.insert((method.clone(), shape(&path))) {
                    continue;
                }
                links.push(Link { method, path, title: text("title"), resource: resource.clone(), json: link });
            }
        }
    }
    links.sort_by(|a, b| (&a.path, &a.method).cmp(&(&b.path, &b.method)));
    links
}

/// A path whose parts are compared: what is in braces may be called differently, and `~` is an identity too.
pub fn shape(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

/// Methods and shapes of all that the real service has.
fn published() -> &'static BTreeSet<(String, String)> {
    static PUBLISHED: OnceLock<BTreeSet<(String, String)>> = OnceLock::new();
    PUBLISHED.get_or_init(|| {
        let links = links().into_iter().map(|link| (link.method, shape(&link.path)));
        links.chain(OUTSIDE.iter().map(|(method, path)| (method.to_string(), shape(path)))).collect()
    })
}

/// True when `path` has the form of `pattern`: `{}` is one part, `**` at the end is any rest.
pub(crate) fn fits(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (Some("**"), _) | (None, None) => return true,
            (Some("{}"), Some(part)) if !part.is_empty() => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

/// True when the real service has this call; `path` is that of a request.
pub(crate) fn has(method: &str, path: &str) -> bool {
    published().iter().any(|(known, pattern)| known == method && fits(pattern, path))
}

/// True for a path that the real service does not have, with any method; `path` is that of a route.
pub(crate) fn is_own(path: &str) -> bool {
    // `~` is the caller in a place where the schema has an identity.
    let shapes = [shape(path), shape(&path.replace("/~", "/{}"))];
    !published().iter().any(|(_, known)| shapes.contains(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schemas_open_and_their_links_are_found() {
        assert_eq!(schemas().len(), 2);
        let links = links();
        assert!(links.len() >= 340, "{}", links.len());
        let apps = links.iter().find(|l| l.method == "GET" && l.path == "/apps").expect("a link");
        assert_eq!(apps.resource, "app");
        assert!(!is_own("/apps/{name}") && !is_own("/users/~/apps") && !is_own("/account/keys"));
        assert!(is_own("/apps/{app}/schedules") && is_own("/apps/{app}/health-check"));
    }
}
