//! Requests go to the server as they came, with the real token in the key's place; answers come back piece by piece.

use crate::{Inner, gate::Pass};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, CONNECTION, CONTENT_TYPE, EXPECT, HOST, TE, TRAILER, UPGRADE, WWW_AUTHENTICATE},
};
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use std::io;

/// Of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, hyper::Error>;

/// Tells the server where its client sees it: what it builds addresses from.
const BASE: HeaderName = HeaderName::from_static("x-tidemill-base");
/// After a stream the CLI has nothing more to ask, but would wait for seconds until its connection has been idle for long enough.
const STREAMS: &str = "/streams/";
/// What `heroku logout` ends.
const OWN_SESSION: &str = "/oauth/sessions/~";
const PROXY_AUTHORIZATION: HeaderName = HeaderName::from_static("proxy-authorization");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");

/// An error answer of the bridge itself.
pub(crate) fn refused(status: StatusCode, id: &str, message: &str) -> Response<Body> {
    error(status, wire::ErrorBody { id: id.into(), message: message.into(), resource: None, app: None })
}

fn error(status: StatusCode, body: wire::ErrorBody) -> Response<Body> {
    let text = serde_json::to_string(&body).unwrap_or_default();
    let mut response = Response::new(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Asks the server.
pub(crate) async fn forward(inner: &Inner, mut request: Request<Incoming>) -> Response<Body> {
    let path = request.uri().path().to_string();
    let authorization = match inner.gate.pass(&path, request.headers()) {
        Pass::With(authorization) => authorization,
        Pass::Refused => return unauthorized(&path),
    };
    if request.method() == Method::DELETE && path == OWN_SESSION {
        return not_ours_to_end();
    }
    if let Ok(relative) = request.uri().path_and_query().map_or("/", |p| p.as_str()).parse() {
        *request.uri_mut() = relative;
    }
    let headers = request.headers_mut();
    without_hops(headers);
    headers.remove(AUTHORIZATION);
    if let Some(authorization) = authorization {
        headers.insert(AUTHORIZATION, authorization);
    }
    for (name, value) in [(HOST, &inner.upstream.authority), (BASE, &inner.own_base)] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    match answered(inner, request).await {
        Ok(mut answer) => {
            if path.starts_with(STREAMS) {
                answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            answer
        }
        Err(e) => {
            let text = format!("Can not reach {}: {e}. Is the daemon running, and is the address right?", inner.upstream.base);
            refused(StatusCode::SERVICE_UNAVAILABLE, "unreachable", &text)
        }
    }
}

async fn answered(inner: &Inner, request: Request<Incoming>) -> io::Result<Response<Body>> {
    let stream = inner.upstream.connect().await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    tokio::spawn(connection); // ends with the answer's body
    let mut answer = sender.send_request(request).await.map_err(io::Error::other)?;
    if let Some(fingerprint) = answer.headers().get(wire::attach::CERTIFICATE_HEADER).and_then(|value| value.to_str().ok()) {
        inner.upstream.pin(fingerprint);
    }
    without_hops(answer.headers_mut());
    Ok(answer.map(BodyExt::boxed_unsync))
}

/// What concerns one connection only (RFC 9110, 7.6.1). `Expect` is answered by the bridge when the body is read.
fn without_hops(headers: &mut HeaderMap) {
    let named = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> = named.flat_map(|text| text.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
    let fixed = [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, PROXY_AUTHORIZATION, TE, TRAILER, UPGRADE, EXPECT];
    for name in fixed.into_iter().chain(named) {
        headers.remove(name);
    }
}

/// `heroku logout` ends the session of its key. The token behind it is not for the CLI to end, which takes this answer for none
/// to end (`platform-api.md` section 4.5).
fn not_ours_to_end() -> Response<Body> {
    let text = "The key of a bridge has no session; it ends with the bridge.";
    error(
        StatusCode::NOT_FOUND,
        wire::ErrorBody { id: "not_found".into(), message: text.into(), resource: Some("session".into()), app: None },
    )
}

/// Git and container clients show their key only after they were asked for it; API clients would ask their users.
fn unauthorized(path: &str) -> Response<Body> {
    let text = "This is a bridge of Tidemill, and only its own key opens it. Use it by: tidemill heroku -- COMMAND";
    let mut response = refused(StatusCode::UNAUTHORIZED, "unauthorized", text);
    let asks = path.ends_with("/info/refs") || path.contains(".git/") || path.starts_with("/v2/");
    if asks {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"Tidemill\""));
    }
    response
}
