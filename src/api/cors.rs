//! CORS: the API is open to pages of all origins, which bring a token and no cookies (`platform-api.md` section 8).

use axum::{
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

const ALLOWED: [(HeaderName, HeaderValue); 3] = [
    (header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")),
    (
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "Authorization, Content-Type, Accept, Accept-Expansion, Accept-Inclusion, Range, If-Match, If-None-Match, \
             Heroku-Two-Factor-Code, Idempotency-Key, Request-Id, X-Http-Method-Override, X-Requested-With",
        ),
    ),
    (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400")),
];

/// The answer to OPTIONS, for everybody.
pub(crate) fn preflight() -> Response {
    (StatusCode::NO_CONTENT, ALLOWED).into_response()
}

/// On every answer.
pub(crate) fn open(headers: &mut HeaderMap) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(
        header::ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "Accept-Ranges, Allow, Content-Range, ETag, Heroku-Webhook-Secret, Next-Range, RateLimit-Remaining, Request-Id, \
             Retry-After, X-Heroku-Warning",
        ),
    );
}
