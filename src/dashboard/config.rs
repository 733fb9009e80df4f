//! Config vars: values are hidden until asked for, every change is a release; and all of them as one text, with a look at
//! what would change before anything does.

use crate::{
    browser::{Posted, Visitor},
    message, render,
    shell::{self, Head, Outcome, Shell},
    text::{Cli, When},
};
use askama::Template;
use axum::{
    Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use domain::EventBody;
use serde::{Deserialize, Serialize};
use service::{Ctx, Error, Service};
use std::{collections::BTreeMap, fmt::Write};

/// The routes of these pages.
pub fn routes() -> Router<Service> {
    Router::new().route("/apps/{app}/config", get(config).post(change)).route("/apps/{app}/config/raw", get(raw).post(save_raw))
}

#[derive(Serialize)]
struct Row {
    key: String,
    /// Only when it was asked for.
    value: Option<String>,
    long: bool,
    at: Option<When>,
    by: String,
    #[serde(skip)]
    cli: Cli,
}

#[derive(Template, Serialize)]
#[template(path = "config.html")]
struct ConfigPage {
    shell: Shell,
    head: Head,
    rows: Vec<Row>,
    #[serde(skip)]
    all_shown: bool,
    #[serde(skip)]
    edited: Option<(String, String)>,
    #[serde(skip)]
    set_cli: Cli,
}

#[derive(Deserialize, Default)]
struct Asked {
    /// A key, or `*` for all.
    show: Option<String>,
    edit: Option<String>,
}

/// Events that are looked at for who changed a key last.
const EVENTS_MAX: usize = 300;

/// Key to the last change of it.
fn changes(service: &Service, ctx: &Ctx, app: &str) -> Result<BTreeMap<String, (When, String)>, Error> {
    let mut found = BTreeMap::new();
    for event in service.app_events(ctx, app, None, EVENTS_MAX)? {
        if let EventBody::ConfigChanged { keys } = event.body {
            let by = event.actor.map_or_else(|| "the platform".into(), |id| shell::who(service, id));
            for key in keys {
                found.entry(key).or_insert_with(|| (When::new(event.at, ctx.now), by.clone()));
            }
        }
    }
    Ok(found)
}

fn page(
    service: &Service,
    visitor: &Visitor,
    (ctx, outcome): (&Ctx, Outcome),
    name: &str,
    asked: &Asked,
) -> Result<ConfigPage, Error> {
    let (app, head) = Head::new(service, ctx, name, "config")?;
    let config = service.config(ctx, name)?;
    let mut changes = changes(service, ctx, name)?;
    let shows = |key: &str| asked.show.as_deref().is_some_and(|show| show == key || show == "*");
    let edited = asked.edit.as_ref().and_then(|key| config.get(key).map(|value| (key.clone(), value.clone())));
    let row = |(key, value): (String, String)| {
        let (at, by) = changes.remove(&key).map_or((None, String::new()), |(at, by)| (Some(at), by));
        Row {
            value: shows(&key).then(|| value.clone()),
            long: value.contains('\n'),
            cli: Cli::of(&app.name, ["config:unset", &key]),
            key,
            at,
            by,
        }
    };
    Ok(ConfigPage {
        shell: Shell::new(visitor, ctx, "apps", outcome),
        rows: config.into_iter().map(row).collect(),
        all_shown: asked.show.as_deref() == Some("*"),
        edited,
        set_cli: Cli::raw(format!("tidemill config:set KEY=value -a {}", app.name)),
        head,
    })
}

async fn config(
    State(service): State<Service>,
    visitor: Visitor,
    Path(app): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    shell::shown(&visitor, |ctx, outcome| page(&service, &visitor, (ctx, outcome), &app, &asked))
}

/// Browsers send line ends as CR LF, whatever was typed.
fn typed(text: &str) -> String {
    text.replace("\r\n", "\n")
}

async fn change(State(service): State<Service>, Path(app): Path<String>, posted: Posted) -> Response {
    let back = format!("/apps/{app}/config");
    let ctx = match posted.visitor.signed_in(&back) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let change = match posted.filled("unset") {
        Some(key) => BTreeMap::from([(key, None)]),
        None => BTreeMap::from([(posted.field("key").trim().to_string(), Some(typed(posted.field("value"))))]),
    };
    let done = service.change_config(ctx, &app, change).await.map(|_| "config");
    let asked = Asked::default();
    shell::answered(&posted, "config", &back, done, |ctx, outcome| {
        page(&service, &posted.visitor, (ctx, outcome), &app, &asked)
    })
}

#[derive(Serialize)]
struct Change {
    key: String,
    /// `added`, `changed` or `removed`.
    how: &'static str,
    glyph: &'static str,
}

#[derive(Template, Serialize)]
#[template(path = "config_raw.html")]
struct RawPage {
    shell: Shell,
    head: Head,
    #[serde(skip)]
    text: String,
    #[serde(skip)]
    version: u64,
    /// After a look at what would change.
    changes: Option<Vec<Change>>,
    #[serde(skip)]
    cli: Cli,
}

/// One var on a line; what would not stay on one is in quotes as in JSON.
fn written(config: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (key, value) in config {
        let plain = !value.starts_with('"') && value.trim() == value && !value.chars().any(char::is_control);
        let value = if plain { value.clone() } else { serde_json::to_string(value).unwrap_or_default() };
        let _ = writeln!(text, "{key}={value}"); // text can not fail
    }
    text
}

fn parsed(text: &str) -> Result<BTreeMap<String, String>, Error> {
    let mut config = BTreeMap::new();
    for (number, line) in (1..).zip(typed(text).lines().map(String::from)) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let bad = |why: &str| Error::invalid(format!("Line {number}: {why}"));
        let (key, value) = line.split_once('=').ok_or_else(|| bad("there is no = in it; write KEY=value."))?;
        let value = match value.starts_with('"') {
            true => serde_json::from_str(value).map_err(|_| bad("the quoted value does not end, or has a bad escape."))?,
            false => value.to_string(),
        };
        let key = key.trim().to_string();
        domain::names::check_config_key(&key).map_err(|why| bad(&why))?;
        if config.insert(key.clone(), value).is_some() {
            return Err(bad(&format!("{key} is there twice.")));
        }
    }
    Ok(config)
}

fn compared(old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) -> Vec<Change> {
    let mut changes = Vec::new();
    for (key, value) in new {
        let change = |how, glyph| Change { key: key.clone(), how, glyph };
        match old.get(key) {
            None => changes.push(change("added", "+")),
            Some(before) if before != value => changes.push(change("changed", "~")),
            Some(_) => {}
        }
    }
    let gone = old.keys().filter(|key| !new.contains_key(*key));
    changes.extend(gone.map(|key| Change { key: key.clone(), how: "removed", glyph: "−" }));
    changes
}

fn raw_page(
    service: &Service,
    visitor: &Visitor,
    (ctx, outcome): (&Ctx, Outcome),
    name: &str,
    sent: Option<(&str, Option<Vec<Change>>, u64)>,
) -> Result<RawPage, Error> {
    let (app, head) = Head::new(service, ctx, name, "config")?;
    let config = service.config(ctx, name)?;
    let (text, changes, version) = match sent {
        Some((text, changes, version)) => (text.to_string(), changes, version),
        None => (written(&config), None, app.config_version),
    };
    let cli = Cli::of(&app.name, ["config:edit"]);
    Ok(RawPage { shell: Shell::new(visitor, ctx, "apps", outcome), head, text, version, changes, cli })
}

async fn raw(State(service): State<Service>, visitor: Visitor, Path(app): Path<String>) -> Response {
    shell::shown(&visitor, |ctx, outcome| raw_page(&service, &visitor, (ctx, outcome), &app, None))
}

/// Keys with their new values, `None` for those that are to go.
type Wanted = BTreeMap<String, Option<String>>;

/// What the text would change; refused when somebody else changed the config meanwhile.
fn looked_at(service: &Service, ctx: &Ctx, app: &str, posted: &Posted) -> Result<(Wanted, Vec<Change>), Error> {
    let new = parsed(posted.field("text"))?;
    let old = service.config(ctx, app)?;
    if posted.field("version") != service.app(ctx, app)?.config_version.to_string() {
        return Err(Error::conflict(
            "The config was changed by somebody else since you opened this page. Your text is still here; open the page anew, \
             compare, and try again.",
        ));
    }
    let changes = compared(&old, &new);
    let mut change: Wanted = new.into_iter().map(|(key, value)| (key, Some(value))).collect();
    let gone = old.into_keys().filter(|key| !change.contains_key(key)).collect::<Vec<_>>();
    change.extend(gone.into_iter().map(|key| (key, None)));
    Ok((change, changes))
}

async fn save_raw(State(service): State<Service>, Path(app): Path<String>, posted: Posted) -> Response {
    let back = format!("/apps/{app}/config");
    let ctx = match posted.visitor.signed_in(&back) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let version = posted.field("version").parse().unwrap_or(0);
    let text = posted.field("text");
    let result = match looked_at(&service, ctx, &app, &posted) {
        Ok((_, changes)) if changes.is_empty() => return Redirect::to(&format!("{back}?done=config-same")).into_response(),
        Ok((_, changes)) if posted.field("do") != "save" => {
            let sent = Some((text, Some(changes), version));
            return match raw_page(&service, &posted.visitor, (ctx, Outcome::default()), &app, sent) {
                Ok(page) => render::page_or_twin(StatusCode::OK, &posted.visitor, &page),
                Err(e) => message::failed(&e),
            };
        }
        Ok((change, _)) => service.change_config(ctx, &app, change).await.map(|_| "config"),
        Err(e) => Err(e),
    };
    shell::answered(&posted, "raw", &back, result, |ctx, outcome| {
        raw_page(&service, &posted.visitor, (ctx, outcome), &app, Some((text, None, version)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_of_all_vars_comes_back_as_it_was() {
        let values = ["plain", "", " space ", "\"quoted\"", "two\nlines", "a=b", "$HOME 'x' \\", "ü ☃", "tab\there", "#no"];
        let config: BTreeMap<String, String> = (0..).zip(values).map(|(n, value)| (format!("K{n}"), value.into())).collect();
        let text = written(&config).replace('\n', "\r\n");
        assert_eq!(parsed(&text).unwrap_or_default(), config);
    }

    #[test]
    fn a_bad_text_is_told_by_its_line() {
        for (text, word) in [("A=1\nB", "Line 2: there is no ="), ("A=\"x", "Line 1: the quoted"), ("A=1\nA=2", "there twice")]
        {
            let error = parsed(text).err().map(|e| e.public).unwrap_or_default();
            assert!(error.contains(word), "{error}");
        }
    }

    #[test]
    fn a_comparison_names_what_is_new_other_and_gone() {
        let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let changes = compared(&map(&[("A", "1"), ("B", "1"), ("C", "1")]), &map(&[("B", "2"), ("C", "1"), ("D", "1")]));
        let words: Vec<String> = changes.iter().map(|c| format!("{} {}", c.how, c.key)).collect();
        assert_eq!(words, ["changed B", "added D", "removed A"]);
    }
}
