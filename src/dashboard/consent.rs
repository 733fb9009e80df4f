//! The page on which a person lets somebody else's program in: the web flow (`platform-api.md` section 4.7).

use crate::{
    browser::{Posted, Visitor},
    message, render,
};
use askama::Template;
use axum::{
    Router,
    extract::{Query, State},
    http::Uri,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use domain::Scope;
use service::{Request, Service};

/// The routes of this page.
pub fn routes() -> Router<Service> {
    Router::new().route("/oauth/authorize", get(ask).post(answer))
}

#[derive(serde::Deserialize, Default)]
struct Asked {
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    response_type: String,
    #[serde(default)]
    scope: String,
    redirect_uri: Option<String>,
    state: Option<String>,
    code_challenge: Option<String>,
    code_challenge_method: Option<String>,
}

#[derive(Template)]
#[template(path = "consent.html")]
struct ConsentPage {
    token: String,
    name: String,
    site: String,
    email: String,
    scopes: Vec<&'static str>,
    fields: Vec<(&'static str, String)>,
}

fn words(scope: Scope) -> &'static str {
    match scope {
        Scope::Global => "do everything that you may do",
        Scope::Identity => "see your name and e-mail address",
        Scope::Read => "see your apps and their logs, but no config vars",
        Scope::Write => "change your apps, but not see or set config vars",
        Scope::ReadProtected => "see your apps with their config vars",
        Scope::WriteProtected => "change your apps and their config vars",
    }
}

impl Asked {
    fn request(&self) -> Request {
        Request {
            client_id: self.client_id.clone(),
            response_type: self.response_type.clone(),
            scope: self.scope.clone(),
            redirect_uri: self.redirect_uri.clone(),
            code_challenge: self.code_challenge.clone(),
            code_challenge_method: self.code_challenge_method.clone(),
        }
    }

    /// The same again, for the form.
    fn fields(&self) -> Vec<(&'static str, String)> {
        let some = |name, value: &str| Some((name, value.to_string()));
        let maybe = |name, value: &Option<String>| value.clone().map(|value| (name, value));
        [
            some("client_id", &self.client_id),
            some("response_type", &self.response_type),
            some("scope", &self.scope),
            maybe("redirect_uri", &self.redirect_uri),
            maybe("state", &self.state),
            maybe("code_challenge", &self.code_challenge),
            maybe("code_challenge_method", &self.code_challenge_method),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    fn of(posted: &Posted) -> Self {
        Self {
            client_id: posted.field("client_id").into(),
            response_type: posted.field("response_type").into(),
            scope: posted.field("scope").into(),
            redirect_uri: posted.filled("redirect_uri"),
            state: posted.filled("state"),
            code_challenge: posted.filled("code_challenge"),
            code_challenge_method: posted.filled("code_challenge_method"),
        }
    }
}

async fn ask(State(service): State<Service>, visitor: Visitor, uri: Uri, Query(asked): Query<Asked>) -> Response {
    let consent = match service.consent(&asked.request()) {
        Ok(consent) => consent,
        Err(e) => return message::failed(&e),
    };
    let ctx = match visitor.signed_in(&uri.path_and_query().map(ToString::to_string).unwrap_or_default()) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let page = ConsentPage {
        token: visitor.token(),
        site: consent.client.redirect_uri.split('/').nth(2).unwrap_or_default().into(),
        email: ctx.email().into(),
        scopes: consent.scopes.iter().map(|scope| words(*scope)).collect(),
        fields: asked.fields(),
        name: consent.client.name,
    };
    render::page_to(&consent.client.redirect_uri, &page)
}

async fn answer(State(service): State<Service>, posted: Posted) -> Response {
    let asked = Asked::of(&posted);
    let consent = match service.consent(&asked.request()) {
        Ok(consent) => consent,
        Err(e) => return message::failed(&e),
    };
    let ctx = match posted.visitor.signed_in(crate::account::PATH) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let back = consent.client.redirect_uri.clone();
    let result = if posted.field("answer") == "approve" {
        match service.grant_code(ctx, consent).await {
            Ok(code) => format!("code={code}"),
            Err(e) => return message::failed(&e),
        }
    } else {
        "error=access_denied".into()
    };
    let mark = if back.contains('?') { '&' } else { '?' };
    let state = asked.state.map(|state| format!("&state={}", escaped(&state))).unwrap_or_default();
    Redirect::to(&format!("{back}{mark}{result}{state}")).into_response()
}

fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}
