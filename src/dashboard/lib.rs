//! Server-rendered pages: thin handlers over the same service calls as the API. So far: the start page, signing in, the
//! own account, letting programs in, and the one-time set-up page.
//!
//! This room must not know the store, the engine or the router. Pages work without JavaScript.

mod account;
mod browser;
mod consent;
mod message;
mod qr;
mod render;
mod sign_in;

pub use browser::OverTls;

use askama::Template;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Path, State},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use rust_embed::RustEmbed;
use service::Service;

#[derive(RustEmbed)]
#[folder = "../../web/static/"]
struct Static;

/// Forms of these pages are small.
const FORM_BYTES_MAX: usize = 64 * 1024;

/// The pages, ready to be served on the platform's hosts.
pub fn router(service: Service) -> Router {
    Router::new()
        .route("/", get(start))
        .merge(sign_in::routes())
        .merge(account::routes())
        .merge(consent::routes())
        .route("/static/{file}", get(asset))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .with_state(service)
}

#[derive(Template)]
#[template(path = "start.html")]
struct StartPage {
    domain: String,
    url: String,
    needs_setup: bool,
}

async fn start(State(service): State<Service>) -> Response {
    let addresses = service.addresses();
    let template = StartPage {
        domain: addresses.domain.clone(),
        url: addresses.url(&addresses.domain),
        needs_setup: service.needs_setup().unwrap_or(false),
    };
    render::page(StatusCode::OK, &template)
}

async fn asset(Path(file): Path<String>) -> Response {
    let Some(found) = Static::get(&file) else { return StatusCode::NOT_FOUND.into_response() };
    let kind = if file.ends_with(".css") { "text/css; charset=utf-8" } else { "application/octet-stream" };
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "public, max-age=3600")];
    (headers, found.data.into_owned()).into_response()
}
