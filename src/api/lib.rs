//! Platform API v3 over HTTP: thin handlers, wire types in and out, everything else in `service`.
//!
//! This room must not know the store, the engine or the router. The list of routes with what each needs is
//! [`all_routes`]; a test compares it with a golden file.

mod account;
mod answer;
mod apps;
mod auth;
mod builds;
mod collaborators;
mod config;
mod domains;
mod dynos;
mod error;
mod formation;
mod list;
mod log_sessions;
mod people;
mod policy;
mod refs;
mod releases;
mod routes;
mod run;
mod schedules;
mod show;
mod show_people;
mod streams;
mod teams;

pub use routes::{Route, all as all_routes};

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use domain::limits::API_BODY_BYTES_MAX;
use service::Service;

/// Header with the id of a request, in every answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// The routes of the API, ready to be served on the platform's hosts.
pub fn router(service: Service) -> Router {
    routes::router()
        .fallback(|| async { error::not_found_route() })
        .layer(middleware::from_fn(version))
        .layer(DefaultBodyLimit::max(API_BODY_BYTES_MAX))
        .merge(streams::routes())
        .layer(middleware::from_fn(request_id))
        .with_state(service)
}

/// Request id of the request in progress.
#[derive(Clone)]
pub(crate) struct RequestId(pub String);

/// Clients send a growing list of ids; the first is the request's, ours goes back (`platform-api.md` section 8).
async fn request_id(mut request: Request, next: Next) -> Response {
    let id = uuid::Uuid::new_v4().to_string();
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response.headers_mut().entry("ratelimit-remaining").or_insert(HeaderValue::from_static("4500"));
    response
}

/// Only an explicit other version is refused (`platform-api.md` section 3).
async fn version(request: Request, next: Next) -> Response {
    let accept = request.headers().get(header::ACCEPT).and_then(|v| v.to_str().ok()).unwrap_or("");
    let vendor = accept.split(',').find_map(|part| part.trim().strip_prefix("application/vnd.heroku+json"));
    let wanted = vendor.and_then(|rest| rest.split(';').find_map(|p| p.trim().strip_prefix("version=")));
    if wanted.is_some_and(|v| v != "3" && !v.starts_with("3.")) {
        let body = wire::ErrorBody {
            id: "not_acceptable".into(),
            message: "Only version 3 is served; send Accept: application/vnd.heroku+json; version=3".into(),
            resource: None,
        };
        return (StatusCode::NOT_ACCEPTABLE, axum::Json(body)).into_response();
    }
    next.run(request).await
}

type Api = State<Service>;
type Out = Result<Response, error::Failure>;
