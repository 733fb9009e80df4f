//! What is around every page of somebody who is signed in, and how forms of such pages are answered.

use crate::{
    assets,
    browser::{Posted, Visitor},
    message, render,
    text::{Badge, Cli, When},
};
use askama::Template;
use axum::{
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use domain::{App, Build, BuildStatus, Dyno, DynoState, Role};
use serde::Serialize;
use service::{Actor, Ctx, Error, Service};
use std::collections::BTreeMap;

/// What became of a form, and what was typed into it.
#[derive(Default)]
pub struct Outcome {
    done: Option<&'static str>,
    problem: Option<(&'static str, String)>,
    kept: BTreeMap<String, String>,
}

impl Outcome {
    /// A page that was opened; after a form it says what was done.
    fn asked(visitor: &Visitor) -> Self {
        let code = query_value(&visitor.at, "done");
        Self { done: code.and_then(said), ..Self::default() }
    }
}

/// First value of a key in the query of an address, as it stands there.
pub fn query_value<'a>(at: &'a str, key: &str) -> Option<&'a str> {
    let (_, query) = at.split_once('?')?;
    query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='))
}

/// Only these sentences: an address can not put words into a page.
fn said(code: &str) -> Option<&'static str> {
    let known = [
        ("created", "The app was made."),
        ("restarted", "New dynos are started in place of the old ones."),
        ("maintenance-on", "Maintenance is on: visitors get a 503 page."),
        ("maintenance-off", "Maintenance is off: visitors reach the app again."),
        ("rolled-back", "A new release has the code and config of the older one. Add-ons and data are as they were."),
        ("scaled", "The new numbers and sizes are wanted; dynos follow in a moment."),
        ("config", "The config was changed; dynos are replaced by new ones."),
        ("config-same", "Nothing was changed: the values are the same."),
        ("added", "Added."),
        ("removed", "Removed."),
        ("saved", "Saved."),
        ("destroyed", "The app was destroyed."),
        ("scheduled", "The command was scheduled."),
        ("switched", "Switched; it counts from the next release on."),
        ("looked", "Looking again now."),
    ];
    known.iter().find(|(key, _)| *key == code).map(|(_, text)| *text)
}

/// The frame of a page.
#[derive(Serialize)]
pub struct Shell {
    /// For the forms.
    #[serde(skip)]
    pub token: String,
    #[serde(skip)]
    pub look: &'static str,
    #[serde(skip)]
    pub css: &'static str,
    #[serde(skip)]
    pub js: &'static str,
    /// Address for the event stream, and to look again without script.
    #[serde(skip)]
    pub at: String,
    /// Which part of the main menu it belongs to.
    #[serde(skip)]
    pub section: &'static str,
    /// Who looks.
    pub email: String,
    /// What the person is to the installation.
    pub role: &'static str,
    /// May do everything.
    #[serde(skip)]
    pub admin: bool,
    /// May make apps.
    #[serde(skip)]
    pub creates: bool,
    /// Time of the data.
    pub at_time: When,
    #[serde(skip)]
    pub clock: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<(&'static str, String)>,
    #[serde(skip)]
    kept: BTreeMap<String, String>,
}

impl Shell {
    /// The frame for `visitor`.
    pub fn new(visitor: &Visitor, ctx: &Ctx, section: &'static str, outcome: Outcome) -> Self {
        let role = match &ctx.actor {
            Actor::Account(account) => account.role,
            Actor::Platform | Actor::Root => Role::Viewer,
        };
        let at = visitor.at.split_once("?done=").map_or(visitor.at.as_str(), |(path, _)| path).to_string();
        Self {
            token: visitor.token(),
            look: visitor.look,
            css: assets::path("tidemill.css"),
            js: assets::path("tidemill.js"),
            at,
            section,
            email: ctx.email().into(),
            role: role.as_str(),
            admin: role == Role::Admin,
            creates: role != Role::Viewer,
            at_time: When::new(ctx.now, ctx.now),
            clock: render::clock(ctx.now),
            done: outcome.done,
            problem: outcome.problem,
            kept: outcome.kept,
        }
    }

    /// What went wrong in one of its forms.
    pub fn problem_of(&self, form: &str) -> Option<&str> {
        self.problem.as_ref().filter(|(name, _)| *name == form).map(|(_, text)| text.as_str())
    }

    /// What was typed into a field of the form that went wrong.
    pub fn kept(&self, form: &str, field: &str) -> &str {
        let kept = self.kept.get(field).filter(|_| self.problem_of(form).is_some());
        kept.map_or("", String::as_str)
    }
}

/// What is above every page of an app.
#[derive(Serialize)]
pub struct Head {
    pub name: String,
    pub state: Badge,
    pub url: String,
    #[serde(skip)]
    pub tab: &'static str,
    pub maintenance: bool,
    /// May build and release.
    #[serde(skip)]
    pub deploys: bool,
    /// May scale, restart, set config vars.
    #[serde(skip)]
    pub operates: bool,
    /// May rename, share, destroy.
    #[serde(skip)]
    pub manages: bool,
    #[serde(skip)]
    pub restart_cli: Cli,
    #[serde(skip)]
    pub maintenance_cli: Cli,
}

impl Head {
    /// For a page of `app`.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn new(service: &Service, ctx: &Ctx, name: &str, tab: &'static str) -> Result<(App, Self), Error> {
        let (app, dynos) = service.dynos(ctx, name)?;
        let state = state(&dynos, newest_build(service, ctx, &app)?.as_ref());
        let rights = service.rights(ctx, &app)?;
        let verb = if app.maintenance { "maintenance:off" } else { "maintenance:on" };
        let head = Self {
            state,
            url: service.addresses().app_url(&app.name),
            tab,
            maintenance: app.maintenance,
            deploys: rights.deploy,
            operates: rights.operate,
            manages: rights.manage,
            restart_cli: Cli::of(&app.name, ["ps:restart"]),
            maintenance_cli: Cli::of(&app.name, [verb]),
            name: app.name.clone(),
        };
        Ok((app, head))
    }
}

/// The newest build of an app.
///
/// # Errors
/// `not_found`, `forbidden`.
pub fn newest_build(service: &Service, ctx: &Ctx, app: &App) -> Result<Option<Build>, Error> {
    Ok(service.builds(ctx, &app.id.to_string())?.1.pop())
}

/// One word for a whole app: the worst that is true of it.
pub fn state(dynos: &[Dyno], build: Option<&Build>) -> Badge {
    let any = |state| dynos.iter().any(|dyno| dyno.state == state);
    if any(DynoState::Crashed) {
        Badge::Crashed
    } else if build.is_some_and(|build| build.status == BuildStatus::Pending) {
        Badge::Building
    } else if any(DynoState::Starting) {
        Badge::Starting
    } else if any(DynoState::Up) {
        Badge::Up
    } else if any(DynoState::Idle) {
        Badge::Idle
    } else {
        Badge::Down
    }
}

/// E-mail of somebody; those who left have none.
pub fn who(service: &Service, id: domain::AccountId) -> String {
    service.account(id).map_or_else(|_| "somebody who left".into(), |account| account.email)
}

/// Answers somebody who opens a page.
pub fn shown<T: Template + Serialize>(visitor: &Visitor, made: impl FnOnce(&Ctx, Outcome) -> Result<T, Error>) -> Response {
    let ctx = match visitor.signed_in(&visitor.at) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    match made(ctx, Outcome::asked(visitor)) {
        Ok(page) => render::page_or_twin(StatusCode::OK, visitor, &page),
        Err(e) => message::failed_for(visitor, &e),
    }
}

/// Answers somebody who sent a form: on to `back` when it is done, else the same page again with what was typed and what is
/// wrong with it.
pub fn answered<T: Template + Serialize>(
    posted: &Posted,
    form: &'static str,
    back: &str,
    result: Result<&'static str, Error>,
    made: impl FnOnce(&Ctx, Outcome) -> Result<T, Error>,
) -> Response {
    let error = match result {
        Ok(code) => return Redirect::to(&format!("{back}?done={code}")).into_response(),
        Err(error) => error,
    };
    let hopeless = matches!(error.kind, service::Kind::Forbidden | service::Kind::Unauthorized);
    let Some(ctx) = posted.visitor.ctx.as_ref().filter(|_| error.private.is_none() && !hopeless) else {
        return message::failed(&error);
    };
    let kept = posted.fields().clone();
    let outcome = Outcome { done: None, problem: Some((form, error.public.clone())), kept };
    match made(ctx, outcome) {
        Ok(page) => render::page_or_twin(message::status(&error), &posted.visitor, &page),
        Err(_) => message::failed(&error),
    }
}
