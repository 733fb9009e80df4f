//! What happened: on the whole installation for admins, else on the apps that one may see.

use crate::{
    browser::Visitor,
    shell::{self, Outcome, Shell},
    text::{Cli, When},
};
use askama::Template;
use axum::{
    Router,
    extract::{Query, State},
    response::Response,
    routing::get,
};
use domain::Event;
use serde::{Deserialize, Serialize};
use service::{Ctx, Error, Service};

/// The route of this page.
pub fn routes() -> Router<Service> {
    Router::new().route("/activity", get(activity))
}

#[derive(Serialize)]
struct Row {
    seq: u64,
    at: When,
    what: String,
    app: Option<String>,
    by: String,
    from: String,
}

#[derive(Template, Serialize)]
#[template(path = "audit.html")]
struct AuditPage {
    shell: Shell,
    rows: Vec<Row>,
    app: String,
    #[serde(skip)]
    apps: Vec<String>,
    next: Option<u64>,
    #[serde(skip)]
    cli: Cli,
}

#[derive(Deserialize, Default)]
struct Asked {
    app: Option<String>,
    before: Option<u64>,
}

const ROWS: usize = 60;

/// People go by their e-mails; other ids are cut, the whole is in the API.
fn id_or_name(service: &Service, key: &str, text: &str) -> String {
    let is_id = text.len() == 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-');
    match text.parse::<domain::AccountId>() {
        Ok(id) if key == "account" => shell::who(service, id),
        _ if is_id => text.chars().take(8).collect(),
        _ => text.to_string(),
    }
}

/// The kind of an event with its names: never a value, since events have none.
fn words(service: &Service, event: &Event) -> String {
    let Ok(serde_json::Value::Object(mut body)) = serde_json::to_value(&event.body) else { return String::new() };
    let kind = body.remove("type").and_then(|kind| kind.as_str().map(|kind| kind.replace('_', " "))).unwrap_or_default();
    let text = |key: &str, value: &serde_json::Value| match value {
        serde_json::Value::String(text) => id_or_name(service, key, text),
        serde_json::Value::Array(all) => all.iter().filter_map(|one| one.as_str()).collect::<Vec<_>>().join(", "),
        serde_json::Value::Null => "none".into(),
        other => other.to_string(),
    };
    let details: Vec<String> =
        body.iter().map(|(key, value)| format!("{} {}", key.replace('_', " "), text(key, value))).collect();
    let mut kind = kind;
    if let Some(first) = kind.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    if details.is_empty() { kind } else { format!("{kind}: {}", details.join("; ")) }
}

fn events(service: &Service, ctx: &Ctx, admin: bool, asked: &Asked) -> Result<Vec<Event>, Error> {
    if let Some(app) = asked.app.as_ref().filter(|app| !app.is_empty()) {
        return service.app_events(ctx, app, asked.before, ROWS);
    }
    if admin {
        return service.all_events(ctx, asked.before, ROWS);
    }
    let mut all = Vec::new();
    for app in service.apps(ctx)? {
        all.extend(service.app_events(ctx, &app.id.to_string(), asked.before, ROWS)?);
    }
    all.sort_by_key(|event| std::cmp::Reverse(event.seq));
    all.truncate(ROWS);
    Ok(all)
}

fn page(service: &Service, visitor: &Visitor, (ctx, outcome): (&Ctx, Outcome), asked: &Asked) -> Result<AuditPage, Error> {
    let shell = Shell::new(visitor, ctx, "activity", outcome);
    let events = events(service, ctx, shell.admin, asked)?;
    let next = events.last().map(|event| event.seq).filter(|seq| events.len() == ROWS && *seq > 1);
    let row = |event: Event| Row {
        seq: event.seq,
        at: When::new(event.at, ctx.now),
        what: words(service, &event),
        app: event.app.and_then(|id| service.app_by_id(id).ok().flatten()).map(|(_, name)| name),
        by: match event.actor {
            Some(id) => shell::who(service, id),
            None if event.root => "root on the machine".into(),
            None => "the platform".into(),
        },
        from: event.address.map(|address| address.to_string()).unwrap_or_default(),
    };
    let app = asked.app.clone().unwrap_or_default();
    Ok(AuditPage {
        shell,
        rows: events.into_iter().map(row).collect(),
        apps: service.apps(ctx)?.into_iter().map(|app| app.name).collect(),
        cli: if app.is_empty() { Cli::new(["activity"]) } else { Cli::of(&app, ["activity"]) },
        app,
        next,
    })
}

async fn activity(State(service): State<Service>, visitor: Visitor, Query(asked): Query<Asked>) -> Response {
    shell::shown(&visitor, |ctx, outcome| page(&service, &visitor, (ctx, outcome), &asked))
}
