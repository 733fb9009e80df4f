//! The form of an error: that of the published schema, or `application/problem+json` (RFC 9457) at endpoints of our own.

use crate::{contract::Asked, negotiate::VENDOR, published};
use axum::{
    Json,
    extract::{MatchedPath, Request},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use serde_json::json;
use wire::ErrorBody;

/// The error in an answer, for whoever changes its form.
#[derive(Clone)]
pub(crate) struct Told(pub ErrorBody);

/// The route of an answer, for the same.
#[derive(Clone)]
pub(crate) struct Matched(MatchedPath);

/// Notes on the answer which route it is from.
pub(crate) async fn note_route(request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(matched) = matched {
        response.extensions_mut().insert(Matched(matched));
    }
    response
}

/// An error in the form that this client and endpoint use. What the framework refuses by itself gets a body, too.
pub(crate) fn told(asked: &Asked, response: Response) -> Response {
    let status = response.status();
    let body = match response.extensions().get::<Told>() {
        Some(told) => told.0.clone(),
        None if response.headers().get(header::CONTENT_TYPE).is_some_and(|t| t.as_bytes().ends_with(b"json")) => {
            return response;
        }
        None => refused_by_the_framework(status),
    };
    let vendor = asked.header(&header::ACCEPT).is_some_and(|accept| accept.contains(VENDOR));
    let matched = response.extensions().get::<Matched>().map(|m| m.0.as_str());
    let own = matched.is_some_and(|path| published::is_own(asked.method.as_str(), path));
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    if own && !vendor {
        let problem = json!({
            "type": format!("urn:tidemill:error:{}", body.id),
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "detail": body.message,
            "instance": asked.path,
            "id": body.id,
            "message": body.message, // for clients that know only the other form
            "resource": body.resource,
        });
        parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        return (parts, problem.to_string()).into_response();
    }
    parts.headers.remove(header::CONTENT_TYPE);
    (parts, Json(body)).into_response()
}

fn refused_by_the_framework(status: StatusCode) -> ErrorBody {
    let (id, message) = match status {
        StatusCode::BAD_REQUEST => ("bad_request", "The address or a header of the request can not be read."),
        StatusCode::PAYLOAD_TOO_LARGE => ("body_too_large", "The request body is too large; the limit is 1 MiB."),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ("bad_request", "The request body must be JSON."),
        StatusCode::METHOD_NOT_ALLOWED => {
            ("method_not_allowed", "This endpoint has other methods; the Allow header lists them.")
        }
        _ if status.is_client_error() => ("bad_request", "The request can not be served as it is."),
        _ => ("internal_server_error", "Something went wrong on our side; it was logged under the request id."),
    };
    ErrorBody { id: id.into(), message: message.into(), resource: None }
}
