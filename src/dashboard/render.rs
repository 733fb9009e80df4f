//! From templates to answers, with the headers that every page has.

use crate::browser::Visitor;
use askama::Template;
use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{Html, IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use jiff::Timestamp;
use serde::Serialize;
use std::io::Write;

/// Everything from here, nothing from elsewhere, no inline code. Only the module's own policy makes HTML of text.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; form-action 'self'; \
     base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types tidemill",
);

fn with_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// A page. Forms tell our own host, and nobody else, where they come from.
pub fn page(status: StatusCode, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => with_headers((status, Html(html)).into_response()),
        Err(e) => {
            tracing::error!(error = %e, "dashboard.render_failed");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// A page of the dashboard, or its twin: the same facts as JSON.
pub fn page_or_twin<T: Template + Serialize>(status: StatusCode, visitor: &Visitor, template: &T) -> Response {
    if visitor.wants_json {
        return with_headers((status, axum::Json(template)).into_response());
    }
    let mut response = page(status, template);
    if let Ok(rules) = HeaderValue::from_str(&format!("\"{}\"", crate::assets::path("rules.json"))) {
        response.headers_mut().insert("speculation-rules", rules);
    }
    response
}

/// Is the answer to be compressed?
pub fn takes_gzip(headers: &HeaderMap) -> bool {
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|v| v.to_str().ok()).unwrap_or("");
    accepted.split(',').any(|one| {
        let mut words = one.split(';').map(str::trim);
        words.next() == Some("gzip") && !words.any(|word| word == "q=0")
    })
}

/// `bytes` as gzip.
pub fn squeezed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    let _ = encoder.write_all(bytes); // a vector takes everything
    encoder.finish().unwrap_or_default()
}

/// Smaller bodies are sent as they are.
const SQUEEZE_FROM_BYTES: usize = 1024;

/// Compresses pages for browsers that can read that.
pub async fn squeeze(request: Request, next: Next) -> Response {
    let wanted = takes_gzip(request.headers());
    let response = next.run(request).await;
    let fits = response
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|kind| kind.starts_with("text/html") || kind.starts_with("application/json"));
    if !wanted || !fits || response.headers().contains_key(header::CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    parts.headers.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding, cookie"));
    if bytes.len() < SQUEEZE_FROM_BYTES {
        return Response::from_parts(parts, Body::from(bytes));
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Response::from_parts(parts, Body::from(squeezed(&bytes)))
}

/// A page whose address is a secret: nobody is told it.
pub fn secret_page(status: StatusCode, template: &impl Template) -> Response {
    let mut response = page(status, template);
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// A page whose form leads on to `uri`, which the browser must be told.
pub fn page_to(uri: &str, template: &impl Template) -> Response {
    let mut response = page(StatusCode::OK, template);
    let origin = uri.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    let origin = origin.split('?').next().unwrap_or_default();
    let text =
        format!("default-src 'none'; style-src 'self'; form-action 'self' {origin}; base-uri 'none'; frame-ancestors 'none'");
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, value);
    }
    response
}

/// A day and a time for people.
pub fn time(at: domain::UnixMs) -> String {
    let at = i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// The time of day in UTC.
pub fn clock(at: domain::UnixMs) -> String {
    let at = i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    at.strftime("%H:%M:%S UTC").to_string()
}
