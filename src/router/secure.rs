//! What an app may ask of its visitors: come over TLS, and remember to (`acm.md` section 7). Both are off by default, since
//! apps that do it themselves look at `X-Forwarded-Proto`.

use crate::proxy::{Body, BoxError};
use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode, Uri,
    header::{LOCATION, STRICT_TRANSPORT_SECURITY},
};
use http_body_util::{BodyExt, Full};

/// A year; names below the host are left out, since they may be others'.
const REMEMBER: &str = "max-age=31536000";
/// Port of plain HTTP, beside which TLS has the port that needs no telling.
const HTTP_PORT: u16 = 80;

/// Sends a visitor who came without TLS to the same place with it. `port` is where the visitor came to; apart from the
/// usual one, TLS is spoken at the very same.
pub fn redirect(uri: &Uri, host: &str, port: u16) -> Response<Body> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
    let place = if port == HTTP_PORT { format!("https://{host}{path}") } else { format!("https://{host}:{port}{path}") };
    let body = Full::new(Bytes::new()).map_err(|never| -> BoxError { match never {} }).boxed_unsync();
    let mut response = Response::new(body);
    // Keeps method and body.
    *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
    if let Ok(value) = HeaderValue::try_from(place) {
        response.headers_mut().insert(LOCATION, value);
    }
    response
}

/// Tells a visitor who came over TLS to remember it; what the app says itself stays.
pub fn remember<T>(response: &mut Response<T>) {
    response.headers_mut().entry(STRICT_TRANSPORT_SECURITY).or_insert(HeaderValue::from_static(REMEMBER));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_place_over_tls() {
        let place = |host: &str, port: u16| {
            let response = redirect(&Uri::from_static("/a?b=c"), host, port);
            assert_eq!(response.status(), 308);
            response.headers()[LOCATION].to_str().unwrap().to_string()
        };
        assert_eq!(place("a.example.com", 80), "https://a.example.com/a?b=c");
        assert_eq!(place("a.example.com", 8080), "https://a.example.com:8080/a?b=c");
        let mut response = Response::new(());
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=1"));
        remember(&mut response);
        assert_eq!(response.headers()[STRICT_TRANSPORT_SECURITY], "max-age=1");
    }
}
