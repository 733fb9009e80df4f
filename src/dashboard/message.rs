//! A page that only says something.

use crate::{browser::Visitor, render};
use askama::Template;
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use service::{Error, Kind};

tokio::task_local! {
    /// Id of the request in progress.
    pub static REQUEST_ID: String;
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage<'a> {
    title: &'a str,
    text: &'a str,
    /// For errors.
    request_id: Option<String>,
}

/// Says `text`.
pub fn page(status: StatusCode, title: &str, text: &str) -> Response {
    let id = if status.is_success() { None } else { REQUEST_ID.try_with(Clone::clone).ok() };
    render::page(status, &MessagePage { title, text, request_id: id })
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

fn title(error: &Error) -> &'static str {
    match error.kind {
        Kind::Unauthorized | Kind::NotFound => "Not found",
        Kind::Forbidden => "Not allowed",
        Kind::Unavailable => "Not available just now",
        Kind::Internal => "Something went wrong",
        _ => "Not done",
    }
}

/// A page for an error.
pub fn failed(error: &Error) -> Response {
    if let Some(private) = &error.private {
        let request = REQUEST_ID.try_with(Clone::clone).unwrap_or_default();
        tracing::error!(id = error.id, request, reason = %private, "dashboard.failed");
    }
    page(status(error), title(error), &error.public)
}

/// A page or JSON for an error.
pub fn failed_for(visitor: &Visitor, error: &Error) -> Response {
    if !visitor.wants_json {
        return failed(error);
    }
    let status = if error.kind == Kind::Unauthorized { StatusCode::UNAUTHORIZED } else { status(error) };
    let body = serde_json::json!({ "id": error.id, "message": error.public });
    (status, Json(body)).into_response()
}
