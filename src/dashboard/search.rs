//! Looking for apps, pages, actions, config keys and releases; the palette asks the twin of this page.

use crate::{
    browser::Visitor,
    shell::{self, Outcome, Shell},
};
use askama::Template;
use axum::{
    Router,
    extract::{Query, State},
    response::Response,
    routing::get,
};
use domain::App;
use serde::{Deserialize, Serialize};
use service::{Ctx, Error, Service};

/// The route of this page.
pub fn routes() -> Router<Service> {
    Router::new().route("/search", get(search))
}

#[derive(Serialize)]
struct Hit {
    title: String,
    link: String,
    /// The same in a terminal.
    cli: String,
    /// Keys that lead there.
    keys: &'static str,
}

#[derive(Template, Serialize)]
#[template(path = "search.html")]
struct SearchPage {
    shell: Shell,
    query: String,
    hits: Vec<Hit>,
}

#[derive(Deserialize, Default)]
struct Asked {
    #[serde(default)]
    q: String,
}

const HITS_MAX: usize = 30;
/// Apps whose config keys and releases are looked through, the best first.
const LOOKED_AT_MAX: usize = 5;

/// Pages of an app: path, name, keys, command.
const TABS: &[(&str, &str, &str, &str)] = &[
    ("", "Overview", "g o", "ps"),
    ("/activity", "Activity", "g t", "releases"),
    ("/resources", "Resources", "g r", "ps:scale"),
    ("/metrics", "Metrics", "g e", "info"),
    ("/logs", "Logs", "g l", "logs -t"),
    ("/config", "Config", "g c", "config"),
    ("/domains", "Domains", "g d", "domains"),
    ("/access", "Access", "", "access"),
    ("/settings", "Settings", "", "info"),
];

/// Actions of an app: words, page, command.
const ACTIONS: &[(&str, &str, &str)] = &[
    ("Restart dynos of", "", "ps:restart"),
    ("Roll back", "/activity", "rollback"),
    ("Scale", "/resources", "ps:scale web=2"),
    ("Set config vars of", "/config", "config:set KEY=value"),
    ("Add a domain to", "/domains", "domains:add HOSTNAME"),
    ("Share", "/access", "access:add EMAIL"),
    ("Maintenance of", "", "maintenance:on"),
    ("Rename", "/settings", "rename NEWNAME"),
    ("Destroy", "/settings#destroy", "destroy"),
];

/// Pages without an app.
const PAGES: &[(&str, &str, &str, &str)] = &[
    ("Apps", "/", "g a", "tidemill apps"),
    ("New app", "/apps/new", "", "tidemill create NAME"),
    ("Machine", "/machine", "g m", ""),
    ("Activity", "/activity", "", "tidemill activity"),
    ("Members and teams", "/members", "", "tidemill members"),
    ("Account, tokens, keys, look", "/account/settings", "", "tidemill whoami"),
];

/// Each word must be in the text, in any order.
fn fits(text: &str, words: &[String]) -> bool {
    let text = text.to_lowercase();
    words.iter().all(|word| text.contains(word.as_str()))
}

fn of_app(app: &App, may_write: bool, words: &[String], hits: &mut Vec<Hit>) {
    let name = &app.name;
    let mut push = |title: String, path: &str, cli: &str, keys: &'static str| {
        if fits(&title, words) {
            let cli = format!("tidemill {cli} -a {name}");
            hits.push(Hit { title, link: format!("/apps/{name}{path}"), cli, keys });
        }
    };
    for (path, tab, keys, cli) in TABS {
        push(format!("{name} · {tab}"), path, cli, keys);
    }
    for (what, path, cli) in ACTIONS.iter().filter(|_| may_write) {
        push(format!("{what} {name}"), path, cli, "");
    }
}

/// Names of config vars, never values; and releases.
fn inside(service: &Service, ctx: &Ctx, app: &App, words: &[String], hits: &mut Vec<Hit>) -> Result<(), Error> {
    let (id, name) = (app.id.to_string(), &app.name);
    if service.rights(ctx, app)?.operate {
        for key in service.config(ctx, &id)?.into_keys().filter(|key| fits(&format!("{name} config {key}"), words)) {
            let link = format!("/apps/{name}/config#{}", crate::text::url_escaped(&key));
            hits.push(Hit {
                title: format!("{name} · config {key}"),
                link,
                cli: format!("tidemill config:get {key} -a {name}"),
                keys: "",
            });
        }
    }
    for release in service.releases(ctx, &id)?.1.into_iter().rev().take(20) {
        let title = format!("{name} · v{} {}", release.version, release.description);
        if fits(&title, words) {
            let cli = format!("tidemill releases:info v{} -a {name}", release.version);
            hits.push(Hit { title, link: format!("/apps/{name}/activity#v{}", release.version), cli, keys: "" });
        }
    }
    Ok(())
}

fn hits(service: &Service, ctx: &Ctx, query: &str) -> Result<Vec<Hit>, Error> {
    let words: Vec<String> = query.to_lowercase().split_whitespace().map(String::from).collect();
    let mut apps = service.apps(ctx)?;
    let mut hits = Vec::new();
    // An app that is named comes first; without words the ones that were released last do.
    apps.sort_by_key(|app| {
        let named = words.iter().any(|word| app.name.contains(word.as_str()));
        (!named, std::cmp::Reverse(app.released_at))
    });
    if words.is_empty() {
        for app in apps.iter().take(8) {
            hits.push(Hit {
                title: app.name.clone(),
                link: format!("/apps/{}", app.name),
                cli: format!("tidemill info -a {}", app.name),
                keys: "",
            });
        }
    }
    for (title, link, keys, cli) in PAGES.iter().filter(|page| fits(page.0, &words)) {
        hits.push(Hit { title: (*title).into(), link: (*link).into(), cli: (*cli).into(), keys });
    }
    for app in apps.iter().filter(|_| !words.is_empty()) {
        let rights = service.rights(ctx, app)?;
        of_app(app, rights.operate, &words, &mut hits);
    }
    for app in apps.iter().take(LOOKED_AT_MAX).filter(|_| !words.is_empty()) {
        inside(service, ctx, app, &words, &mut hits)?;
    }
    hits.truncate(HITS_MAX);
    Ok(hits)
}

fn page(service: &Service, visitor: &Visitor, ctx: &Ctx, outcome: Outcome, query: &str) -> Result<SearchPage, Error> {
    let query: String = query.chars().take(200).collect();
    Ok(SearchPage { hits: hits(service, ctx, &query)?, shell: Shell::new(visitor, ctx, "search", outcome), query })
}

async fn search(State(service): State<Service>, visitor: Visitor, Query(asked): Query<Asked>) -> Response {
    shell::shown(&visitor, |ctx, outcome| page(&service, &visitor, ctx, outcome, &asked.q))
}
