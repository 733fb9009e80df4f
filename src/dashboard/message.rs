//! A page that only says something.

use crate::render;
use askama::Template;
use axum::{http::StatusCode, response::Response};
use service::{Error, Kind};

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    title: &'a str,
    text: &'a str,
}

/// Says `text`.
pub fn page(status: StatusCode, title: &str, text: &str) -> Response {
    render::page(status, &MessagePage { title, text })
}

/// From kinds of errors to pages; the twin of the file in `api`.
pub fn status(error: &Error) -> StatusCode {
    match error.kind {
        Kind::Unauthorized | Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::Conflict | Kind::Invalid | Kind::Limited => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Throttled => StatusCode::TOO_MANY_REQUESTS,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A page for an error.
pub fn failed(error: &Error) -> Response {
    if let Some(private) = &error.private {
        tracing::error!(id = error.id, reason = %private, "dashboard.failed");
    }
    page(status(error), "Not done", &error.public)
}
