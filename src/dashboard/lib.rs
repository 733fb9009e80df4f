//! Server-rendered pages: thin handlers over the same service calls as the API.
//!
//! This room must not know the store, the engine or the router. Pages work without JavaScript; one module of script makes
//! them live. Pages share addresses with the API: what a browser asks for as HTML is a page, its address with `.json` at the
//! end the same facts, and everything else is the API's.

mod account;
mod activity;
mod app_access;
mod apps;
mod assets;
mod audit;
mod browser;
mod builds;
mod chart;
mod config;
mod consent;
mod domains;
mod events;
mod log_lines;
mod logs_page;
mod look;
mod machine;
mod members;
mod message;
mod metrics;
mod overview;
mod qr;
mod render;
mod resources;
mod search;
mod settings;
mod setup;
mod share;
mod shell;
mod sign_in;
mod text;

pub use browser::OverTls;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderValue, Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use service::Service;
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tower::ServiceExt;

/// Forms of these pages are small; the largest is the raw text of all config vars.
const FORM_BYTES_MAX: usize = 192 * 1024;
/// First parts of paths that are the API's as well.
const SHARED: &[&str] = &["account", "activity", "addons", "apps", "events", "machine", "members", "metrics", "search"];

/// The pages, with the API behind them.
pub fn router(service: Service, api: Router) -> Router {
    let pages = Router::new()
        .merge(apps::routes())
        .merge(overview::routes())
        .merge(activity::routes())
        .merge(builds::routes())
        .merge(resources::routes())
        .merge(logs_page::routes())
        .merge(metrics::routes())
        .merge(config::routes())
        .merge(domains::routes())
        .merge(app_access::routes())
        .merge(settings::routes())
        .merge(machine::routes())
        .merge(audit::routes())
        .merge(members::routes())
        .merge(search::routes())
        .merge(look::routes())
        .merge(setup::routes())
        .merge(sign_in::routes())
        .merge(account::routes())
        .merge(consent::routes())
        .route("/static/{file}", get(assets::serve))
        .layer(DefaultBodyLimit::max(FORM_BYTES_MAX))
        .with_state(service.clone());
    let live = events::routes(service.clone(), pages.clone());
    let behind = api.clone();
    let unknown = move |request: Request| missing(behind.clone(), request);
    let pages = pages.merge(live).method_not_allowed_fallback(unknown.clone()).fallback(unknown);
    let pages = pages.layer(middleware::from_fn(render::squeeze)).layer(middleware::from_fn(named));
    let ready = Arc::new(AtomicBool::new(false));
    let front = move |request: Request| {
        let (pages, api, service, ready) = (pages.clone(), api.clone(), service.clone(), ready.clone());
        async move {
            match sorted(request) {
                (true, request) if !is_for_setup(&request) && waits_for_setup(&service, &ready) => {
                    let status = if request.uri().path() == "/" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
                    apps::front_page(&service, status)
                }
                (true, request) => answer(pages, request).await,
                (false, request) => answer(api, request).await,
            }
        }
    };
    Router::new().fallback(front)
}

/// What is served before there is an account, besides the page that says how to get one.
fn is_for_setup(request: &Request) -> bool {
    ["/setup/", "/static/"].iter().any(|start| request.uri().path().starts_with(start))
}

/// Nobody has an account. Once somebody has, that is not asked again.
fn waits_for_setup(service: &Service, ready: &AtomicBool) -> bool {
    if ready.load(Ordering::Relaxed) {
        return false;
    }
    let waits = service.needs_setup().unwrap_or(false);
    ready.store(!waits, Ordering::Relaxed);
    waits
}

async fn answer(router: Router, request: Request) -> Response {
    match router.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Every answer has an id that is also in our log; error pages show it.
async fn named(mut request: Request, next: Next) -> Response {
    let id = uuid::Uuid::new_v4().to_string();
    request.extensions_mut().insert(browser::RequestId(id.clone()));
    let mut response = message::REQUEST_ID.scope(id.clone(), next.run(request)).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().entry("request-id").or_insert(value);
    }
    response
}

fn wants_html(request: &Request) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    accept.contains("text/html") && !request.headers().contains_key(header::AUTHORIZATION)
}

/// A form that a browser with a session has sent.
fn is_form(request: &Request) -> bool {
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    request.method() == Method::POST
        && kind.starts_with("application/x-www-form-urlencoded")
        && request.headers().contains_key(header::COOKIE)
        && !request.headers().contains_key(header::AUTHORIZATION)
}

/// Tells what is for the pages, and takes `.json` off the address of a twin.
fn sorted(mut request: Request) -> (bool, Request) {
    let path = request.uri().path();
    let first = path.split('/').nth(1).unwrap_or("");
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    let stem = path.strip_suffix(".json").filter(|_| reads && first != "static").map(String::from);
    let shared = SHARED.contains(&stem.as_deref().map_or(first, |stem| stem.split('/').nth(1).unwrap_or("")));
    if let Some(stem) = stem.filter(|_| shared) {
        let query = request.uri().query().map(|q| format!("?{q}")).unwrap_or_default();
        if let Ok(uri) = format!("{stem}{query}").parse::<Uri>() {
            *request.uri_mut() = uri;
            request.extensions_mut().insert(browser::Twin);
        }
        return (true, request);
    }
    let live = path == "/events" && request.uri().query().is_some_and(|query| query.contains("topics="));
    let for_pages = !shared || live || (reads && wants_html(&request)) || is_form(&request);
    (for_pages, request)
}

/// No page has this address: perhaps the API knows it; else browsers get a page that says so.
async fn missing(api: Router, request: Request) -> Response {
    if request.extensions().get::<browser::Twin>().is_some() {
        return (
            StatusCode::NOT_FOUND,
            axum::Json(serde_json::json!({ "id": "not_found", "message": "There is no such page." })),
        )
            .into_response();
    }
    let html = wants_html(&request);
    let response = answer(api, request).await;
    match response.status() {
        StatusCode::NOT_FOUND | StatusCode::UNAUTHORIZED if html => {
            let text = "There is nothing at this address. Perhaps it was renamed or removed; the list of apps is a good place to start.";
            message::page(StatusCode::NOT_FOUND, "Not found", text)
        }
        _ => response,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;

    fn is_page(method: &str, uri: &str, headers: &[(&str, &str)]) -> bool {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        sorted(request.body(Body::empty()).unwrap_or_default()).0
    }

    #[test]
    fn browsers_get_pages_and_programs_the_api() {
        let html = ("accept", "text/html,application/xhtml+xml");
        let api = ("accept", "application/vnd.heroku+json; version=3");
        let form = ("content-type", "application/x-www-form-urlencoded");
        let cookie = ("cookie", "tidemill_session=x");
        let bearer = ("authorization", "Bearer x");
        for (page, method, uri, headers) in [
            (true, "GET", "/apps/shop", vec![html]),
            (false, "GET", "/apps/shop", vec![api]),
            (false, "GET", "/apps/shop", vec![]),
            (false, "GET", "/apps/shop", vec![html, bearer]),
            (true, "GET", "/apps/shop.json", vec![]),
            (true, "GET", "/apps.json?x=1", vec![api]),
            (false, "PATCH", "/apps/shop", vec![html, cookie]),
            (true, "POST", "/apps/new", vec![form, cookie]),
            (false, "POST", "/apps", vec![form]),
            (false, "POST", "/apps", vec![form, cookie, bearer]),
            (false, "POST", "/apps", vec![("content-type", "application/json"), cookie]),
            (true, "GET", "/events?topics=/", vec![cookie]),
            (false, "GET", "/events?types=dyno", vec![api]),
            (true, "GET", "/login", vec![]),
            (true, "GET", "/streams/logs/x", vec![]),
        ] {
            assert_eq!(is_page(method, uri, &headers), page, "{method} {uri} {headers:?}");
        }
    }
}
