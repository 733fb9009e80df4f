//! Headers in both directions (`router.md` section 4).

use http::{
    HeaderMap, HeaderName, HeaderValue, Version,
    header::{CONNECTION, HOST, TE, TRANSFER_ENCODING, UPGRADE, VIA},
};
use std::net::IpAddr;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_REQUEST_START: HeaderName = HeaderName::from_static("x-request-start");
const CONNECT_TIME: HeaderName = HeaderName::from_static("connect-time");
const TOTAL_ROUTE_TIME: HeaderName = HeaderName::from_static("total-route-time");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_AUTHORIZATION: HeaderName = HeaderName::from_static("proxy-authorization");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const VIA_NAME: &str = "1.1 heroku-router";

/// The one host of a request, or why it is refused.
pub fn host(headers: &HeaderMap, target: &http::Uri) -> Result<String, &'static str> {
    let mut hosts = headers.get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() {
        return Err("More than one Host header.");
    }
    let host = first.ok_or("No Host header.")?.to_str().map_err(|_| "The Host header is not valid.")?;
    // An absolute target names the host itself, and wins (RFC 9112, 3.2.2).
    let host = target.authority().map_or(host, http::uri::Authority::as_str);
    domain::names::normal_host(host).ok_or("The Host header is not valid.")
}

/// The client's request id when it has 20 to 200 characters of the alphabet, else a new one.
pub fn request_id(headers: &HeaderMap) -> String {
    let good = |id: &&str| {
        (20..=200).contains(&id.len())
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=' | b'-'))
    };
    let given = headers.get(X_REQUEST_ID).and_then(|v| v.to_str().ok()).filter(good);
    given.map_or_else(|| uuid::Uuid::new_v4().to_string(), String::from)
}

/// X-Forwarded-For as it is sent on: what was given, and the peer.
pub fn forwarded_for(headers: &HeaderMap, peer: IpAddr) -> String {
    let mut parts: Vec<&str> = headers.get_all(X_FORWARDED_FOR).iter().filter_map(|v| v.to_str().ok()).collect();
    let peer = peer.to_canonical().to_string();
    parts.push(&peer);
    parts.join(", ")
}

/// True when the request asks for another protocol.
pub fn wants_upgrade(headers: &HeaderMap) -> bool {
    let named = headers.get_all(CONNECTION).iter().filter_map(|v| v.to_str().ok());
    headers.contains_key(UPGRADE) && named.flat_map(|v| v.split(',')).any(|t| t.trim().eq_ignore_ascii_case("upgrade"))
}

/// Removes what is meant for one hop only, and what `Connection` names.
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .filter(|name: &HeaderName| *name != TRANSFER_ENCODING && *name != http::header::CONTENT_LENGTH && *name != HOST)
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [&CONNECTION, &KEEP_ALIVE, &TE, &PROXY_AUTHORIZATION, &PROXY_CONNECTION, &UPGRADE] {
        headers.remove(name);
    }
}

/// What the dyno side needs to know of a request.
pub struct Towards<'a> {
    /// As sent on.
    pub request_id: &'a str,
    /// As sent on.
    pub forwarded: &'a str,
    /// `http` or `https`.
    pub proto: &'static str,
    /// Port that the client used.
    pub port: u16,
    /// Receipt, milliseconds since 1970.
    pub start_ms: u64,
    /// Milliseconds to connect.
    pub connect_ms: u64,
    /// Milliseconds to choose.
    pub route_ms: u64,
}

/// Rewrites the headers of a request for the dyno.
pub fn towards_dyno(headers: &mut HeaderMap, facts: &Towards<'_>, upgrade: bool) {
    let protocol = if upgrade { headers.get(UPGRADE).cloned() } else { None };
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(http::header::CONTENT_LENGTH); // chunked wins: no smuggling (`router.md` section 5)
    }
    drop_hop_by_hop(headers);
    if let Some(protocol) = protocol {
        headers.insert(UPGRADE, protocol);
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    let text = |value: &str| HeaderValue::from_str(value).ok();
    let values = [
        (X_FORWARDED_FOR, text(facts.forwarded)),
        (X_FORWARDED_PROTO, text(facts.proto)),
        (X_FORWARDED_PORT, Some(HeaderValue::from(facts.port))),
        (X_REQUEST_ID, text(facts.request_id)),
        (X_REQUEST_START, Some(HeaderValue::from(facts.start_ms))),
        (CONNECT_TIME, Some(HeaderValue::from(facts.connect_ms))),
        (TOTAL_ROUTE_TIME, Some(HeaderValue::from(facts.route_ms))),
    ];
    for (name, value) in values {
        headers.remove(&name);
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
    append_via(headers);
}

/// Rewrites the headers of an answer for the client.
pub fn towards_client(headers: &mut HeaderMap, upgraded: bool) {
    let protocol = if upgraded { headers.get(UPGRADE).cloned() } else { None };
    drop_hop_by_hop(headers);
    if let Some(protocol) = protocol {
        headers.insert(UPGRADE, protocol);
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    }
    append_via(headers);
    if !headers.contains_key(http::header::SERVER) {
        headers.insert(http::header::SERVER, HeaderValue::from_static("Heroku"));
    }
}

fn append_via(headers: &mut HeaderMap) {
    let given: Vec<&str> = headers.get_all(VIA).iter().filter_map(|v| v.to_str().ok()).chain([VIA_NAME]).collect();
    if let Ok(value) = HeaderValue::from_str(&given.join(", ")) {
        headers.insert(VIA, value);
    }
}

/// Only 1.0 and 1.1 come here.
pub fn is_http_10(version: Version) -> bool {
    version == Version::HTTP_10
}
