//! What is the same for every endpoint (`platform-api.md` sections 2, 3, 7 and 8), in the order in which a request meets it:
//! request id and CORS, path and method put right, version, calls left, `If-Match`, replay of a call that was sent again,
//! the endpoint, the form of an error, `ETag`, compression.

use crate::{
    conditional, cors,
    error::Failure,
    negotiate,
    pools::{Meter, Pools},
    problem,
    replay::Replays,
    view::Connection,
};
use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use std::sync::Arc;
use tower::ServiceExt;

/// Header with the id of a request, in every answer.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const CALLS_LEFT: HeaderName = HeaderName::from_static("ratelimit-remaining");
const OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");
const VARY: HeaderValue = HeaderValue::from_static("Accept, Accept-Encoding, Authorization");
/// Asks for the pool and takes nothing from it.
const FREE: &str = "/account/rate-limits";

/// What an operator can set.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// API calls that an account has in an hour, all at once if it likes.
    pub calls_per_hour: u32,
}

/// Request id of the request in progress.
#[derive(Clone)]
pub(crate) struct RequestId(pub String);

/// The endpoints, and what is remembered between requests.
pub(crate) struct Contract {
    endpoints: Router,
    pools: Arc<Pools>,
    replays: Replays,
    /// One request with `If-Match` at a time looks and writes.
    matching: tokio::sync::Mutex<()>,
}

impl Contract {
    /// Around `endpoints`.
    pub(crate) fn new(endpoints: Router, settings: Settings) -> Self {
        Self {
            endpoints,
            pools: Arc::new(Pools::new(settings.calls_per_hour)),
            replays: Replays::default(),
            matching: tokio::sync::Mutex::default(),
        }
    }

    /// Answers a request of the API.
    pub(crate) async fn serve(&self, mut request: Request) -> Response {
        put_right(&mut request);
        if let Err(refusal) = negotiate::version(request.headers()) {
            return refusal.into_response();
        }
        let asked = Asked::of(&request);
        let meter = Meter::new(self.pools.clone(), asked.peer, asked.path == FREE);
        request.extensions_mut().insert(meter.clone());
        let mut response = self.guarded(&asked, request).await;
        if response.status().is_client_error() || response.status().is_server_error() {
            response = problem::told(&asked, response);
        }
        if response.status() == StatusCode::TOO_MANY_REQUESTS && !response.headers().contains_key(header::RETRY_AFTER) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(meter.wait()));
        }
        response.headers_mut().insert(CALLS_LEFT, HeaderValue::from(meter.left()));
        finished(&asked, response).await
    }

    /// With the look at `If-Match` before it.
    async fn guarded(&self, asked: &Asked, request: Request) -> Response {
        let wanted = asked.headers.get(header::IF_MATCH).filter(|_| asked.changes());
        let Some(wanted) = wanted else { return self.once(asked, request).await };
        let _alone = self.matching.lock().await;
        let mut look = Request::new(Body::empty());
        *look.uri_mut() = request.uri().clone();
        for name in [header::AUTHORIZATION, header::ACCEPT, header::HOST] {
            look.headers_mut().extend(asked.headers.get(&name).map(|value| (name, value.clone())));
        }
        look.extensions_mut().extend(request.extensions().clone());
        let current = conditional::tag_of(self.endpoint(look).await).await;
        if !conditional::matches(wanted, current.as_ref()) {
            return Failure(service::Error {
                id: "precondition_failed",
                ..service::Error::conflict("The resource has changed since you read it; read it again and repeat your change.")
            })
            .into_response();
        }
        self.once(asked, request).await
    }

    /// With the memory of calls that were sent before.
    async fn once(&self, asked: &Asked, request: Request) -> Response {
        match crate::replay::key_of(asked) {
            Some(key) => self.replays.run(key, request, |request| self.endpoint(request)).await,
            None => self.endpoint(request).await,
        }
    }

    async fn endpoint(&self, request: Request) -> Response {
        match self.endpoints.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// What the later steps need to know of a request whose body is gone.
pub(crate) struct Asked {
    /// After an override; HEAD is GET here.
    pub method: Method,
    /// Without its doubled slashes.
    pub path: String,
    /// With the query.
    pub target: String,
    pub headers: HeaderMap,
    pub peer: std::net::IpAddr,
    /// The answer goes without its body.
    pub head: bool,
}

impl Asked {
    fn of(request: &Request) -> Self {
        let uri = request.uri();
        Self {
            method: request.method().clone(),
            path: uri.path().to_string(),
            target: uri.path_and_query().map_or_else(String::new, ToString::to_string),
            headers: request.headers().clone(),
            peer: Connection::of(request.extensions()).peer,
            head: request.extensions().get::<Head>().is_some(),
        }
    }

    fn changes(&self) -> bool {
        [Method::PATCH, Method::PUT, Method::DELETE].contains(&self.method)
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }
}

/// Marks a HEAD that is served as a GET, so that its headers are the same.
#[derive(Clone)]
struct Head;

/// Doubled and trailing slashes, methods by header, HEAD (`platform-api.md` section 2).
fn put_right(request: &mut Request) {
    let wanted = request.headers().get(&OVERRIDE).and_then(|v| v.to_str().ok());
    if request.method() == Method::POST
        && let Some(method) = wanted.and_then(|name| name.trim().to_ascii_uppercase().parse::<Method>().ok())
        && [Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::DELETE].contains(&method)
    {
        *request.method_mut() = method;
    }
    if request.method() == Method::HEAD {
        *request.method_mut() = Method::GET;
        request.extensions_mut().insert(Head);
    }
    let path = request.uri().path();
    if path.len() > 1 && (path.contains("//") || path.ends_with('/')) {
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let query = request.uri().query().map(|q| format!("?{q}")).unwrap_or_default();
        if let Ok(uri) = format!("/{}{query}", parts.join("/")).parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
}

/// The bytes of an answer that is there as a whole; a stream stays one.
pub(crate) async fn whole(response: Response) -> Result<(axum::http::response::Parts, Bytes), Response> {
    if response.body().size_hint().exact().is_none() {
        return Err(response);
    }
    let (parts, body) = response.into_parts();
    match axum::body::to_bytes(body, usize::MAX).await {
        Ok(bytes) => Ok((parts, bytes)),
        Err(e) => Err(Failure(service::Error::internal(e.to_string())).into_response()),
    }
}

async fn finished(asked: &Asked, response: Response) -> Response {
    let (mut parts, mut bytes) = match whole(response).await {
        Ok(whole) => whole,
        Err(stream) => return stream,
    };
    parts.headers.insert(header::VARY, VARY);
    if asked.method == Method::GET && parts.status.is_success() {
        // What is the same for as long as the program runs has its tag already.
        let tag = parts.headers.get(header::ETAG).cloned().unwrap_or_else(|| conditional::tag(&bytes));
        let known = asked.headers.get(header::IF_NONE_MATCH).is_some_and(|seen| conditional::matches(seen, Some(&tag)));
        parts.headers.insert(header::ETAG, tag);
        if known {
            parts.status = StatusCode::NOT_MODIFIED;
            parts.headers.remove(header::CONTENT_TYPE);
            bytes = Bytes::new();
        }
    }
    let cache = if negotiate::is_secret(asked) { "private, no-store" } else { "private, no-cache" };
    parts.headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static(cache));
    let squeezed = negotiate::compressed(&asked.headers, &parts.headers, &bytes);
    if let Some(smaller) = squeezed {
        parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        bytes = smaller;
    }
    parts.headers.remove(header::CONTENT_LENGTH);
    if asked.head {
        parts.headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
        bytes = Bytes::new();
    }
    Response::from_parts(parts, Body::from(bytes))
}

/// The outermost step, also of streams and uploads. Clients send a growing list of ids; ours goes back.
pub(crate) async fn edge(mut request: Request, next: axum::middleware::Next) -> Response {
    let id = uuid::Uuid::new_v4().to_string();
    let theirs = request.headers().get(&REQUEST_ID).and_then(|v| v.to_str().ok()).and_then(|list| list.split(',').next());
    tracing::debug!(id, theirs = theirs.unwrap_or(""), method = %request.method(), path = request.uri().path(), "api.request");
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = if request.method() == Method::OPTIONS { cors::preflight() } else { next.run(request).await };
    cors::open(response.headers_mut());
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}
