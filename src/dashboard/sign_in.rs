//! Signing in and out, letting a command line in, and the link of an invitation (`ux.md` J2, J10).

use crate::{
    browser::{Posted, Visitor},
    message, render,
};
use askama::Template;
use axum::{
    Form, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use domain::team::Invitation;
use service::{Attempt, Error, Kind, NewSession, Service};

/// The routes of these pages.
pub fn routes() -> Router<Service> {
    Router::new()
        .route("/login", get(login).post(sign_in))
        .route("/logout", post(sign_out))
        .route("/cli/{code}", get(cli).post(answer_cli))
        .route("/invite/{secret}", get(invite).post(accept))
}

#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    token: String,
    next: String,
    about: Option<String>,
    email: String,
    asks_code: bool,
    problem: Option<String>,
}

#[derive(serde::Deserialize)]
struct Next {
    next: Option<String>,
}

/// Where to after signing in: only to pages of ours.
fn checked(next: &str) -> &str {
    let pages = ["apps", "machine", "activity", "members", "account", "search"];
    let first = next.strip_prefix('/').unwrap_or("").split(['/', '?']).next().unwrap_or("");
    let known = ["/cli/", "/invite/", "/oauth/authorize?"].iter().any(|page| next.starts_with(page)) || pages.contains(&first);
    if known && next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\') { next } else { "/" }
}

/// What it is for, on the sign-in page.
fn about(service: &Service, next: &str) -> Option<String> {
    let login = service.browser_login(next.strip_prefix("/cli/")?).ok()?;
    Some(format!("{}, from {}", login.description, address(login.address)))
}

fn address(address: Option<std::net::IpAddr>) -> String {
    address.map_or_else(|| "an unknown address".into(), |address| address.to_string())
}

async fn login(State(service): State<Service>, visitor: Visitor, Query(query): Query<Next>) -> Response {
    let next = query.next.unwrap_or_default();
    let next = checked(&next).to_string();
    if visitor.ctx.is_some() {
        return Redirect::to(&next).into_response();
    }
    let about = about(&service, &next);
    let page = LoginPage { token: visitor.token(), next, about, email: String::new(), asks_code: false, problem: None };
    visitor.with_cookie(render::page(StatusCode::OK, &page))
}

async fn sign_in(State(service): State<Service>, posted: Posted) -> Response {
    let attempt = Attempt {
        email: posted.field("email").to_string(),
        password: posted.field("password").to_string(),
        code: posted.filled("code"),
        address: posted.visitor.address,
        request_id: None,
    };
    let next = checked(posted.field("next")).to_string();
    let new = NewSession { description: posted.visitor.browser.clone() };
    match service.sign_in_browser(attempt, new).await {
        Ok(secret) => posted.visitor.with_session(Redirect::to(&next).into_response(), &secret),
        Err(e) => {
            let (status, problem) = match e.kind {
                Kind::Unauthorized => (StatusCode::UNPROCESSABLE_ENTITY, "E-mail or password is wrong.".into()),
                _ => (message::status(&e), e.public.clone()),
            };
            let page = LoginPage {
                token: posted.visitor.token(),
                about: about(&service, &next),
                next,
                email: posted.field("email").to_string(),
                asks_code: e.id == "two_factor",
                problem: Some(problem),
            };
            render::page(status, &page)
        }
    }
}

async fn sign_out(State(service): State<Service>, posted: Posted) -> Response {
    if let Some(ctx) = &posted.visitor.ctx
        && let Err(e) = service.end_session(ctx, "~").await
        && e.kind != Kind::NotFound
    {
        return message::failed(&e);
    }
    posted.visitor.without_session(Redirect::to("/login").into_response())
}

#[derive(Template)]
#[template(path = "cli.html")]
struct CliPage {
    token: String,
    code: String,
    description: String,
    address: String,
    email: String,
}

async fn cli(State(service): State<Service>, visitor: Visitor, Path(code): Path<String>) -> Response {
    let login = match service.browser_login(&code) {
        Ok(login) => login,
        Err(e) => return message::failed(&e),
    };
    let ctx = match visitor.signed_in(&format!("/cli/{code}")) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let page = CliPage {
        token: visitor.token(),
        code,
        description: login.description,
        address: address(login.address),
        email: ctx.email().into(),
    };
    render::page(StatusCode::OK, &page)
}

async fn answer_cli(State(service): State<Service>, Path(code): Path<String>, posted: Posted) -> Response {
    let ctx = match posted.visitor.signed_in(&format!("/cli/{code}")) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let approve = posted.field("answer") == "approve";
    match service.answer_login(ctx, &code, approve) {
        Ok(()) if approve => {
            message::page(StatusCode::OK, "Signed in", "The command line is signed in. You can close this page.")
        }
        Ok(()) => message::page(StatusCode::OK, "Denied", "The command line was not signed in."),
        Err(e) => message::failed(&e),
    }
}

/// A new account is ready.
#[derive(Template)]
#[template(path = "ready.html")]
pub struct ReadyPage {
    /// Of the new account.
    pub email: String,
    /// For the command line.
    pub token: String,
    /// Of the platform.
    pub url: String,
}

#[derive(Template)]
#[template(path = "invite.html")]
struct InvitePage {
    secret: String,
    email: String,
    role: &'static str,
    name: String,
    problem: Option<String>,
    /// It is to a team: people with an account may use it, too.
    to_team: bool,
    /// Its person is signed in.
    joins: bool,
}

/// To a team, and its person is here already.
fn joins(visitor: &Visitor, invitation: &Invitation) -> bool {
    invitation.team.is_some() && visitor.ctx.as_ref().is_some_and(|ctx| ctx.email() == invitation.email)
}

fn invite_page(secret: String, visitor: &Visitor, invitation: Invitation, name: String, problem: Option<&Error>) -> Response {
    let page = InvitePage {
        secret,
        role: invitation.role.as_str(),
        to_team: invitation.team.is_some(),
        joins: joins(visitor, &invitation),
        email: invitation.email,
        name,
        problem: problem.map(|e| e.public.clone()),
    };
    render::secret_page(problem.map_or(StatusCode::OK, message::status), &page)
}

/// Opening the link changes nothing here either.
async fn invite(State(service): State<Service>, visitor: Visitor, Path(secret): Path<String>) -> Response {
    match service.invitation(&secret) {
        Ok(invitation) => invite_page(secret, &visitor, invitation, String::new(), None),
        Err(e) => message::failed(&e),
    }
}

#[derive(serde::Deserialize)]
struct InviteForm {
    #[serde(default)]
    name: String,
    #[serde(default)]
    password: String,
}

/// The secret in the address is what makes the form ours.
async fn accept(
    State(service): State<Service>,
    visitor: Visitor,
    Path(secret): Path<String>,
    Form(form): Form<InviteForm>,
) -> Response {
    let invitation = match service.invitation(&secret) {
        Ok(invitation) => invitation,
        Err(e) => return message::failed(&e),
    };
    if let Some(ctx) = visitor.ctx.as_ref().filter(|_| joins(&visitor, &invitation)) {
        return match service.accept_team_invitation(ctx, &secret).await {
            Ok(_) => message::page(StatusCode::OK, "Welcome", "You are in the team now. You can close this page."),
            Err(e) => message::failed(&e),
        };
    }
    match service.accept_invitation(&secret, Some(form.name.clone()), &form.password).await {
        Ok((account, token)) => {
            let addresses = service.addresses();
            let page = ReadyPage { email: account.email, token, url: addresses.url(&addresses.domain) };
            render::secret_page(StatusCode::OK, &page)
        }
        Err(e) if e.private.is_some() || e.kind == Kind::NotFound => message::failed(&e),
        Err(e) => invite_page(secret, &visitor, invitation, form.name, Some(&e)),
    }
}

#[cfg(test)]
mod tests {
    use super::checked;

    #[test]
    fn signing_in_leads_to_our_own_pages_only() {
        for ours in ["/cli/ABCD-1234", "/oauth/authorize?client_id=1&state=%0A", "/apps/shop/logs?dyno=web.1"] {
            assert_eq!(checked(ours), ours);
        }
        for other in
            ["", "//evil.example", "https://evil.example", "/\\evil.example", "/cli/\\a", "/cli/a\r\nb", "/apps\r\n", "/logout"]
        {
            assert_eq!(checked(other), "/", "{other:?}");
        }
    }
}
