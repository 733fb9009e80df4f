//! Server-rendered pages: thin handlers over the same service calls as the API. First cut: the start page and the
//! one-time set-up page; the rest comes with the issue "The appliance".
//!
//! This room must not know the store, the engine or the router. Pages work without JavaScript.

use askama::Template;
use axum::{
    Form, Router,
    extract::{Path, State},
    http::{HeaderValue, StatusCode, header},
    response::{Html, IntoResponse, Response},
    routing::get,
};
use rust_embed::RustEmbed;
use service::{Error, Kind, Service};

#[derive(RustEmbed)]
#[folder = "../../web/static/"]
struct Static;

/// Everything from here, nothing from elsewhere, no inline code.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// The pages, ready to be served on the platform's hosts.
pub fn router(service: Service) -> Router {
    Router::new()
        .route("/", get(start))
        .route("/setup/{secret}", get(setup).post(use_setup))
        .route("/static/{file}", get(asset))
        .with_state(service)
}

#[derive(Template)]
#[template(path = "start.html")]
struct StartPage {
    domain: String,
    url: String,
    needs_setup: bool,
}

#[derive(Template)]
#[template(path = "setup.html")]
struct SetupPage {
    secret: String,
    email: String,
    problem: Option<String>,
    valid: bool,
}

#[derive(Template)]
#[template(path = "ready.html")]
struct ReadyPage {
    email: String,
    token: String,
    url: String,
}

fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => {
            let mut response = (status, Html(html)).into_response();
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
            headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
            headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
            response
        }
        Err(e) => {
            tracing::error!(error = %e, "dashboard.render_failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// From kinds of errors to pages; the twin of the file in `api`.
fn status(error: &Error) -> StatusCode {
    match error.kind {
        Kind::Unauthorized | Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::Conflict | Kind::Invalid | Kind::Limited => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

async fn start(State(service): State<Service>) -> Response {
    let addresses = service.addresses();
    let template = StartPage {
        domain: addresses.domain.clone(),
        url: addresses.url(&addresses.domain),
        needs_setup: service.needs_setup().unwrap_or(false),
    };
    page(StatusCode::OK, &template)
}

/// Opening the link changes nothing: mail scanners open links.
async fn setup(State(service): State<Service>, Path(secret): Path<String>) -> Response {
    let valid = service.setup_link_is_valid(&secret).unwrap_or(false);
    let status = if valid { StatusCode::OK } else { StatusCode::NOT_FOUND };
    page(status, &SetupPage { secret, email: String::new(), problem: None, valid })
}

#[derive(serde::Deserialize)]
struct SetupForm {
    email: String,
}

async fn use_setup(State(service): State<Service>, Path(secret): Path<String>, Form(form): Form<SetupForm>) -> Response {
    match service.use_setup_link(&secret, &form.email).await {
        Ok((account, token)) => {
            let addresses = service.addresses();
            page(StatusCode::OK, &ReadyPage { email: account.email, token, url: addresses.url(&addresses.domain) })
        }
        Err(e) => {
            let valid = e.kind != Kind::Unauthorized;
            page(status(&e), &SetupPage { secret, email: form.email, problem: Some(e.public), valid })
        }
    }
}

async fn asset(Path(file): Path<String>) -> Response {
    let Some(found) = Static::get(&file) else { return StatusCode::NOT_FOUND.into_response() };
    let kind = if file.ends_with(".css") { "text/css; charset=utf-8" } else { "application/octet-stream" };
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=3600")];
    (headers, found.data.into_owned()).into_response()
}
