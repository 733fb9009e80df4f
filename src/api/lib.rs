//! Platform API v3 over HTTP: thin handlers, wire types in and out, everything else in `service`.
//!
//! This room must not know the store, the engine or the router. The list of routes with what each needs is
//! [`all_routes`]; a test compares it with a golden file.

mod absent;
mod account;
mod addons;
mod alerts;
mod answer;
mod apps;
mod auth;
mod authorizations;
mod builds;
mod catalog;
mod collaborators;
mod conditional;
mod config;
mod contract;
mod cors;
mod domains;
mod drains;
mod dynos;
mod error;
mod filters;
mod formation;
mod keys;
mod list;
mod log_sessions;
mod log_stream;
mod login;
mod metrics;
mod negotiate;
mod oauth;
mod openapi;
mod people;
mod pipelines;
mod policy;
mod pools;
mod problem;
mod prometheus;
mod promotions;
mod published;
mod refs;
mod refusals;
mod releases;
mod replay;
mod routes;
mod run;
mod schedules;
mod sessions;
mod setups;
mod show;
mod show_people;
mod sni;
mod streams;
mod teams;
mod two_factor;
mod view;
mod volumes;
mod webhooks;

pub use contract::{REQUEST_ID, Settings};
pub use openapi::document as openapi;
pub use published::{Link, links as published_links, schemas as published_schemas, shape};
pub use refusals::{REFUSALS, Refusal, refusal};
pub use routes::{Route, all as all_routes, of_nothing as routes_of_nothing};
pub use view::Connection;
pub use webhooks::shown;

use axum::{
    Router,
    extract::{DefaultBodyLimit, Request, State},
    middleware,
    response::Response,
};
use contract::Contract;
use domain::limits::API_BODY_BYTES_MAX;
use service::Service;
use std::sync::Arc;

/// The routes of the API, ready to be served on the platform's hosts.
pub fn router(service: Service, settings: Settings) -> Router {
    let endpoints = routes::router()
        .merge(oauth::open_routes())
        .fallback(refusals::unknown)
        .method_not_allowed_fallback(refusals::wrong_method)
        .layer(DefaultBodyLimit::max(API_BODY_BYTES_MAX))
        .layer(middleware::from_fn(problem::note_route))
        .with_state(service.clone());
    let contract = Arc::new(Contract::new(endpoints, settings));
    let serve = move |request: Request| {
        let contract = contract.clone();
        async move { contract.serve(request).await }
    };
    // Streams and uploads are no calls with one JSON answer; they only get a request id and CORS.
    streams::routes()
        .merge(login::open_routes())
        .merge(metrics::open_routes())
        .with_state(service)
        .fallback(serve)
        .layer(middleware::from_fn(contract::edge))
}

type Api = State<Service>;
type Out = Result<Response, error::Failure>;
