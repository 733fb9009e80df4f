//! The own account: tokens, browsers, password, second factor.

use crate::{
    browser::{Posted, Visitor},
    message, qr, render,
    shell::{Outcome, Shell},
};
use askama::Template;
use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use domain::{Scope, Token};
use service::{Ctx, Enrolment, Error, NewAuthorization, Service};

/// The routes of these pages.
pub fn routes() -> Router<Service> {
    Router::new()
        .route("/account", get(to_settings))
        .route("/account/settings", get(account))
        .route("/account/settings/keys", post(keys))
        .route("/account/settings/token", post(revoke))
        .route("/account/settings/tokens", post(make_token))
        .route("/account/settings/browser", post(end))
        .route("/account/settings/password", post(password))
        .route("/account/settings/two-factor", post(two_factor))
}

/// Where the page is; `/account` is the API's.
pub const PATH: &str = "/account/settings";

#[derive(serde::Serialize)]
struct TokenRow {
    id: String,
    description: String,
    prefix: String,
    use_for: String,
    created: String,
    ends: String,
}

#[derive(serde::Serialize)]
struct BrowserRow {
    id: String,
    description: String,
    address: String,
    created: String,
    is_this: bool,
}

#[derive(serde::Serialize)]
struct KeyRow {
    comment: String,
    sha256: String,
}

#[derive(Template, serde::Serialize)]
#[template(path = "account.html")]
struct AccountPage {
    shell: Shell,
    email: String,
    role: &'static str,
    tokens: Vec<TokenRow>,
    browsers: Vec<BrowserRow>,
    keys: Vec<KeyRow>,
    #[serde(skip)]
    has_password: bool,
    two_factor: bool,
    #[serde(skip)]
    enrolment: Option<Enrolment>,
    #[serde(skip)]
    qr: Option<qr::Code>,
    #[serde(skip)]
    codes: Vec<String>,
    /// A token that was just made; it is shown once.
    #[serde(skip)]
    made: Option<String>,
    /// What a new token may be for.
    #[serde(skip)]
    apps: Vec<String>,
    problem: Option<(&'static str, String)>,
    done: Option<&'static str>,
}

impl AccountPage {
    /// What went wrong in one of its forms.
    fn problem_of(&self, form: &str) -> Option<&str> {
        self.problem.as_ref().filter(|(name, _)| *name == form).map(|(_, text)| text.as_str())
    }
}

fn use_for(service: &Service, token: &Token) -> String {
    let scopes = token.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ");
    let app = token.app.and_then(|id| service.app_by_id(id).ok().flatten());
    match app {
        Some((_, name)) => format!("{scopes} on {name}"),
        None if token.scopes == [Scope::Global] => "everything".into(),
        None => scopes,
    }
}

fn drawn(service: &Service, visitor: &Visitor, ctx: &Ctx) -> Result<AccountPage, Error> {
    let account = ctx.account().ok_or_else(Error::unauthorized)?;
    let account = service.account(account)?;
    let mut tokens = service.authorizations(ctx)?;
    tokens.sort_by_key(|token| std::cmp::Reverse(token.created_at));
    let mut browsers = service.sessions(ctx)?;
    browsers.sort_by_key(|session| std::cmp::Reverse(session.used_at));
    let enrolment = service.waiting_two_factor(ctx)?;
    let row = |token: &Token| TokenRow {
        id: token.id.to_string(),
        description: token.description.clone(),
        prefix: token.prefix.clone(),
        use_for: use_for(service, token),
        created: render::time(token.created_at),
        ends: token.expires_at.filter(|_| token.refresh.is_none()).map_or_else(|| "never".into(), render::time),
    };
    Ok(AccountPage {
        shell: Shell::new(visitor, ctx, "account", Outcome::default()),
        keys: service.keys(ctx)?.into_iter().map(|key| KeyRow { comment: key.comment, sha256: key.sha256 }).collect(),
        email: account.email,
        role: account.role.as_str(),
        tokens: tokens.iter().map(row).collect(),
        browsers: browsers
            .into_iter()
            .map(|session| BrowserRow {
                id: session.id.to_string(),
                is_this: ctx.session == Some(session.id),
                description: session.description,
                address: session.address.map(|address| address.to_string()).unwrap_or_default(),
                created: render::time(session.created_at),
            })
            .collect(),
        has_password: service.has_password(ctx)?,
        two_factor: account.two_factor,
        qr: enrolment.as_ref().and_then(|new| qr::Code::of(&new.url)),
        enrolment,
        codes: Vec::new(),
        made: None,
        apps: service.apps(ctx)?.into_iter().map(|app| app.name).collect(),
        problem: None,
        done: None,
    })
}

/// The page as it is now, with a word on what was just done or what went wrong.
fn answered(
    service: &Service,
    visitor: &Visitor,
    ctx: &Ctx,
    form: &'static str,
    done: Result<&'static str, Error>,
) -> Response {
    let mut page = match drawn(service, visitor, ctx) {
        Ok(page) => page,
        Err(e) => return message::failed(&e),
    };
    let status = match done {
        Ok(text) => {
            page.done = Some(text);
            StatusCode::OK
        }
        Err(e) if e.private.is_some() => return message::failed(&e),
        Err(e) => {
            page.problem = Some((form, e.public.clone()));
            message::status(&e)
        }
    };
    render::page(status, &page)
}

async fn account(State(service): State<Service>, visitor: Visitor) -> Response {
    match visitor.signed_in(PATH) {
        Ok(ctx) => match drawn(&service, &visitor, ctx) {
            Ok(page) => render::page_or_twin(StatusCode::OK, &visitor, &page),
            Err(e) => message::failed_for(&visitor, &e),
        },
        Err(way) => *way,
    }
}

async fn to_settings() -> Redirect {
    Redirect::to(PATH)
}

async fn keys(State(service): State<Service>, posted: Posted) -> Response {
    let ctx = match posted.visitor.signed_in(PATH) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let done = match posted.filled("remove") {
        Some(key) => service.remove_key(ctx, &key).await.map(|_| "The key was removed."),
        None => service.add_key(ctx, posted.field("key")).await.map(|_| "The key was added."),
    };
    answered(&service, &posted.visitor, ctx, "keys", done)
}

async fn make_token(State(service): State<Service>, posted: Posted) -> Response {
    let ctx = match posted.visitor.signed_in(PATH) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let new = NewAuthorization {
        description: posted.filled("description"),
        scopes: posted.filled("scope").map(|scope| vec![scope]),
        expires_in_s: posted.filled("days").and_then(|days| days.parse::<u64>().ok()).map(|days| days.saturating_mul(86_400)),
        app: posted.filled("app"),
    };
    let made = match service.create_authorization(ctx, new).await {
        Ok((_, made)) => made,
        Err(e) => return answered(&service, &posted.visitor, ctx, "tokens", Err(e)),
    };
    match drawn(&service, &posted.visitor, ctx) {
        Ok(page) => render::page(StatusCode::OK, &AccountPage { made: Some(made), ..page }),
        Err(e) => message::failed(&e),
    }
}

async fn revoke(State(service): State<Service>, posted: Posted) -> Response {
    let ctx = match posted.visitor.signed_in(PATH) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    match service.revoke_authorization(ctx, posted.field("id")).await {
        Ok(_) => Redirect::to(PATH).into_response(),
        Err(e) => message::failed(&e),
    }
}

async fn end(State(service): State<Service>, posted: Posted) -> Response {
    let ctx = match posted.visitor.signed_in(PATH) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    match service.end_session(ctx, posted.field("id")).await {
        Ok(_) => Redirect::to(PATH).into_response(),
        Err(e) => message::failed(&e),
    }
}

async fn password(State(service): State<Service>, posted: Posted) -> Response {
    let ctx = match posted.visitor.signed_in(PATH) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let (old, new) = (posted.field("password").to_string(), posted.field("new_password").to_string());
    let done = service.change_password(ctx, Some(old), new).await;
    let done = done.map(|()| "The password was changed; other browsers were signed out.");
    answered(&service, &posted.visitor, ctx, "password", done)
}

async fn two_factor(State(service): State<Service>, posted: Posted) -> Response {
    let ctx = match posted.visitor.signed_in(PATH) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let code = posted.field("code");
    let done = match posted.field("do") {
        "start" => service.start_two_factor(ctx).await.map(|_| "Now add the secret to your app and type its first code."),
        "stop" => service.stop_two_factor(ctx, code).await.map(|()| "The second factor is off."),
        _ => match service.confirm_two_factor(ctx, code).await {
            Ok(codes) => return confirmed(&service, &posted.visitor, ctx, codes),
            Err(e) => Err(e),
        },
    };
    answered(&service, &posted.visitor, ctx, "two-factor", done)
}

/// The only time that the recovery codes are shown.
fn confirmed(service: &Service, visitor: &Visitor, ctx: &Ctx, codes: Vec<String>) -> Response {
    match drawn(service, visitor, ctx) {
        Ok(page) => {
            let done = Some("The second factor is on. Keep the recovery codes: they are shown only now.");
            render::page(StatusCode::OK, &AccountPage { codes, done, ..page })
        }
        Err(e) => message::failed(&e),
    }
}
