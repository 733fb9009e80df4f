//! From kinds of errors to HTTP; the only file that knows both.

use crate::problem::Told;
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use service::{Error, Kind};
use wire::ErrorBody;

/// An error on its way out.
pub struct Failure(pub Error);

impl From<Error> for Failure {
    fn from(e: Error) -> Self {
        Self(e)
    }
}

fn status(error: &Error) -> StatusCode {
    match error.kind {
        Kind::Limited if error.id == "rate_limit" => StatusCode::TOO_MANY_REQUESTS,
        Kind::Conflict if error.id == "precondition_failed" => StatusCode::PRECONDITION_FAILED,
        Kind::Invalid if error.id == "not_acceptable" => StatusCode::NOT_ACCEPTABLE,
        Kind::Unauthorized => StatusCode::UNAUTHORIZED,
        Kind::Forbidden => StatusCode::FORBIDDEN,
        Kind::NotFound => StatusCode::NOT_FOUND,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Invalid if error.id == "bad_request" => StatusCode::BAD_REQUEST,
        Kind::Invalid if error.id == "requested_range_not_satisfiable" => StatusCode::RANGE_NOT_SATISFIABLE,
        Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::Limited => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(error) = self;
        if let Some(private) = &error.private {
            tracing::error!(id = error.id, reason = %private, "api.failed");
        }
        let body = ErrorBody { id: error.id.into(), message: error.public.clone(), resource: error.resource.map(String::from) };
        answer(status(&error), body)
    }
}

/// An error answer; its form may be changed on its way out.
pub(crate) fn answer(status: StatusCode, body: ErrorBody) -> Response {
    let mut response = (status, Json(&body)).into_response();
    response.extensions_mut().insert(Told(body));
    response
}

/// The answer for a path that does not exist.
pub fn not_found_route() -> Failure {
    let text = "The requested API endpoint was not found. Are you using the right HTTP verb and path?";
    Failure(Error { resource: None, ..Error::not_found("route", text) })
}

/// 400 for a body that is no JSON object.
pub fn bad_request(text: impl Into<String>) -> Failure {
    Failure(Error { id: "bad_request", ..Error::invalid(text) })
}

/// 416 for a Range that is not understood.
pub fn bad_range(text: impl Into<String>) -> Failure {
    Failure(Error { id: "requested_range_not_satisfiable", ..Error::invalid(text) })
}
