//! What a client wants: version, compression; and what nobody may keep (`platform-api.md` sections 3, 7 and 8).

use crate::{contract::Asked, error::Failure};
use axum::{
    body::Bytes,
    http::{HeaderMap, Method, header},
};
use flate2::{Compression, write::GzEncoder};
use service::Error;
use std::io::Write;

/// The type of everything in the published schema.
pub(crate) const VENDOR: &str = "application/vnd.heroku+json";
/// Smaller answers gain nothing.
const COMPRESS_BYTES_MIN: usize = 1024;
/// Answers that hold secrets have one of these in their path.
const SECRET: &[&str] = &["config", "oauth", "auth", "token", "credential", "log-sessions", "sources", "sso", "keys"];

/// The version that the Accept header names for the vendor's type, such as `3.sdk`.
pub(crate) fn wanted_version(headers: &HeaderMap) -> Option<&str> {
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok())?;
    let vendor = accept.split(',').find_map(|part| part.trim().strip_prefix(VENDOR))?;
    vendor.split(';').find_map(|p| p.trim().strip_prefix("version="))
}

/// Only an explicit other version is refused.
///
/// # Errors
/// 406 `not_acceptable`.
pub(crate) fn version(headers: &HeaderMap) -> Result<(), Failure> {
    match wanted_version(headers) {
        Some(version) if version != "3" && !version.starts_with("3.") => Err(Failure(Error {
            id: "not_acceptable",
            ..Error::invalid("Only version 3 is served; send Accept: application/vnd.heroku+json; version=3")
        })),
        _ => Ok(()),
    }
}

/// True when the answer must not be kept by anybody: it may hold secrets.
pub(crate) fn is_secret(asked: &Asked) -> bool {
    asked.method != Method::GET || SECRET.iter().any(|word| asked.path.contains(word))
}

/// The body as gzip, when the client asked for it and it gets smaller. The official command line can not decode it and
/// does not ask.
pub(crate) fn compressed(asked: &HeaderMap, answer: &HeaderMap, body: &Bytes) -> Option<Bytes> {
    let encodings = asked.get(header::ACCEPT_ENCODING)?.to_str().ok()?;
    let wants = encodings.split(',').any(|part| {
        let mut words = part.split(';').map(str::trim);
        words.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"))
            && !words.any(|q| q.strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()) == Some(0.0))
    });
    if !wants || body.len() < COMPRESS_BYTES_MIN || answer.contains_key(header::CONTENT_ENCODING) {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name, header::HeaderValue::from_static(value))])
    }

    #[test]
    fn only_another_version_is_refused() {
        for good in [
            "*/*",
            "application/json",
            "application/vnd.heroku+json; version=3",
            "application/vnd.heroku+json;version=3.sdk",
            "application/vnd.heroku+json; version=3.no-such-variant",
            "application/vnd.heroku+json",
            "text/html, application/vnd.heroku+json; version=3.pipelines, */*",
        ] {
            assert!(version(&headers(header::ACCEPT, good)).is_ok(), "{good}");
        }
        assert!(version(&HeaderMap::new()).is_ok());
        for bad in ["application/vnd.heroku+json; version=2", "application/vnd.heroku+json;version=30"] {
            assert!(version(&headers(header::ACCEPT, bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn gzip_comes_when_asked_for_and_not_else() {
        let body = Bytes::from("x".repeat(5000));
        let squeezed = |value| compressed(&headers(header::ACCEPT_ENCODING, value), &HeaderMap::new(), &body);
        assert!(squeezed("gzip, deflate").is_some_and(|b| b.len() < 100));
        assert!(squeezed("br;q=1.0, gzip;q=0.8").is_some());
        assert!(squeezed("gzip;q=0").is_none() && squeezed("identity").is_none());
        assert!(compressed(&HeaderMap::new(), &HeaderMap::new(), &body).is_none());
    }
}
