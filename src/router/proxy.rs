//! The life of one request.

use crate::{
    AppRoute, Claim, Code, Table,
    access_log::{AccessLog, Start},
    code, headers, secure,
    upstream::{self, ConnectError},
};
use arc_swap::ArcSwap;
use bytes::Bytes;
use domain::limits::{FIRST_BYTE_MS, IDLE_MS, ROUTE_WAIT_MS};
use futures_util::future::BoxFuture;
use http::{Method, Request, Response, StatusCode, header::HOST};
use http_body::Frame;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use hyper::{body::Incoming, client::conn::http1::SendRequest, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use logs::Logs;
use std::{
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{sync::watch, time::Sleep};

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
/// A streamed body.
pub type Body = UnsyncBoxBody<Bytes, BoxError>;
/// The answer of the control plane.
pub type ControlFuture = BoxFuture<'static, Response<Body>>;
/// Answers requests for the platform's own hosts.
pub type Control = Arc<dyn Fn(Request<Incoming>, Client) -> ControlFuture + Send + Sync>;

/// Who asks the control plane, and how.
#[derive(Clone, Copy, Debug)]
pub struct Client {
    /// The other end of the connection.
    pub address: SocketAddr,
    /// True over TLS.
    pub secure: bool,
}

/// Connection attempts for one request (`router.md` section 2).
const ATTEMPTS_MAX: usize = 10;

/// The router.
pub struct Router {
    table: ArcSwap<Table>,
    changed: watch::Sender<u64>,
    domain: String,
    control: Control,
    logs: Logs,
    challenges: crate::challenge::Answers,
}

/// What is known of the connection that a request came by.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    pub address: SocketAddr,
    pub proto: &'static str,
    pub port: u16,
}

impl Router {
    /// A router with an empty table. `domain` and its `api.` and `git.` names, `localhost` and addresses go to `control`.
    pub fn new(domain: String, control: Control, logs: Logs) -> Arc<Self> {
        let challenges = crate::challenge::Answers::default();
        Arc::new(Self { table: ArcSwap::default(), changed: watch::channel(0).0, domain, control, logs, challenges })
    }

    /// Answers the questions of authorities from now on.
    pub fn answer_challenges(&self, challenges: Arc<dyn domain::acm::Challenges>) {
        self.challenges.set(challenges);
    }

    /// Swaps the table; false when it is not newer than the one in use.
    pub fn publish(&self, table: Table) -> bool {
        let generation = table.generation;
        if generation <= self.table.load().generation {
            return false;
        }
        self.table.store(Arc::new(table));
        self.changed.send_replace(generation);
        true
    }

    /// Number of the table in use.
    pub fn generation(&self) -> u64 {
        self.table.load().generation
    }

    fn is_platform(&self, host: &str) -> bool {
        host == self.domain
            || host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok()
            || host.strip_suffix(&self.domain).is_some_and(|rest| rest == "api." || rest == "git.")
    }

    /// Answers one request.
    pub(crate) async fn serve(self: Arc<Self>, request: Request<Incoming>, peer: Peer) -> Response<Body> {
        if request.method() == Method::CONNECT {
            return whole(code::bad_request("CONNECT is not supported."));
        }
        let host = match headers::host(request.headers(), request.uri()) {
            Ok(host) => host,
            Err(why) => return whole(code::bad_request(why)),
        };
        if let Some(answer) = self.challenges.answer(&request, &host) {
            return answer;
        }
        if self.is_platform(&host) {
            let client = Client { address: peer.address, secure: peer.proto == "https" };
            return (self.control)(request, client).await;
        }
        let route = self.table.load().find(&host).cloned();
        match route {
            Some(route) if route.https_redirect && peer.proto == "http" => secure::redirect(request.uri(), &host, peer.port),
            Some(route) => {
                let mut response = self.forward(request, peer, &host, &route).await;
                if route.hsts && peer.proto == "https" {
                    secure::remember(&mut response);
                }
                response
            }
            None => whole(code::no_such_app()),
        }
    }

    async fn forward(&self, request: Request<Incoming>, peer: Peer, host: &str, route: &Arc<AppRoute>) -> Response<Body> {
        let received = Instant::now();
        let start_ms = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let request_id = headers::request_id(request.headers());
        let forwarded = headers::forwarded_for(request.headers(), peer.address.ip());
        let path = request.uri().path_and_query().map_or("/", |p| p.as_str()).to_string();
        let mut log = AccessLog::new(
            &self.logs,
            &Start {
                app: route.app,
                method: request.method().as_str(),
                path: &path,
                host,
                request_id: &request_id,
                forwarded: &forwarded,
                protocol: peer.proto,
            },
        );
        log.open = refusal(route).is_none().then(|| route.traffic.begin());
        let is_head = request.method() == Method::HEAD;
        let result = self.connect(host, route).await;
        let (claim, sender, connect_ms) = match result {
            Ok(connected) => connected,
            Err((code, connected)) => {
                log.dyno = connected.as_ref().map(|(dyno, _)| dyno.clone());
                log.connect_ms = connected.map(|(_, ms)| ms);
                return refuse(log, code, is_head);
            }
        };
        log.dyno = Some(claim.backend().name.clone());
        log.connect_ms = Some(connect_ms);
        log.service_from = Some(Instant::now());
        let route_ms = u64::try_from(received.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_sub(connect_ms);
        let facts = headers::Towards {
            request_id: &request_id,
            forwarded: &forwarded,
            proto: peer.proto,
            port: peer.port,
            start_ms: u64::try_from(start_ms).unwrap_or(0),
            connect_ms,
            route_ms,
        };
        exchange(request, host, &path, claim, sender, &facts, log).await
    }

    /// Chooses and counts a dyno and connects to it. On failure tells which was the last one tried.
    #[allow(clippy::type_complexity)]
    async fn connect(
        &self,
        host: &str,
        route: &Arc<AppRoute>,
    ) -> Result<(Claim, SendRequest<Body>, u64), (Code, Option<(String, u64)>)> {
        let deadline = tokio::time::Instant::now() + Duration::from_millis(ROUTE_WAIT_MS);
        let mut changed = self.changed.subscribe();
        let mut route = route.clone();
        let mut attempts = 0;
        let mut last: Option<(Code, String, u64)> = None;
        loop {
            changed.mark_unchanged();
            if let Some(current) = self.table.load().find(host) {
                route = current.clone();
            }
            if let Some(code) = refusal(&route) {
                return Err((code, None));
            }
            if route.asleep {
                route.traffic.ask_to_wake();
            }
            while let Some(claim) = choose(&route).filter(|_| attempts < ATTEMPTS_MAX) {
                let backend = claim.backend().clone();
                if let Some(sender) = backend.pool.take() {
                    return Ok((claim, sender, 0));
                }
                attempts += 1;
                let begun = Instant::now();
                let elapsed = |from: Instant| u64::try_from(from.elapsed().as_millis()).unwrap_or(u64::MAX);
                match upstream::connect(backend.address).await {
                    Ok(sender) => return Ok((claim, sender, elapsed(begun))),
                    Err(e) => {
                        tracing::debug!(dyno = %backend.id, error = ?e, "router.connect_failed");
                        backend.quarantine();
                        let code = if matches!(e, ConnectError::Timeout) { Code::H19 } else { Code::H21 };
                        last = Some((code, backend.name.clone(), elapsed(begun)));
                    }
                }
            }
            if let Some((code, dyno, ms)) = last {
                return Err((code, Some((dyno, ms))));
            }
            if !route.starting && route.backends.is_empty() {
                return Err((Code::H10, None));
            }
            // Only starting dynos, or all that there were are just being closed: the next table tells. Dynos in quarantine
            // are tried again when it ends.
            let quarantine = route.backends.iter().filter(|b| !b.is_closed()).filter_map(|b| b.quarantine_left()).min();
            let until = quarantine.map_or(deadline, |left| deadline.min(tokio::time::Instant::now() + left));
            let timed_out = tokio::time::timeout_at(until, changed.changed()).await.is_err();
            if timed_out && tokio::time::Instant::now() >= deadline {
                return Err((Code::H20, None));
            }
        }
    }
}

/// What is wrong with the app itself.
fn refusal(route: &AppRoute) -> Option<Code> {
    if route.maintenance {
        Some(Code::H80)
    } else if !route.deployed {
        Some(Code::H81)
    } else if !route.wants_web {
        Some(Code::H14)
    } else {
        None
    }
}

/// Claims a random dyno that is neither closed nor in quarantine.
fn choose(route: &AppRoute) -> Option<Claim> {
    let count = route.backends.len();
    let first = if count > 1 { fastrand::usize(..count) } else { 0 };
    let in_turn = (0..count).map(|n| &route.backends[(first + n) % count]);
    in_turn.filter(|b| !b.is_closed() && !b.is_quarantined()).find_map(|b| b.claim())
}

fn whole(response: Response<Bytes>) -> Response<Body> {
    response.map(|bytes| Full::new(bytes).map_err(|never| match never {}).boxed_unsync())
}

fn refuse(mut log: AccessLog, code: Code, is_head: bool) -> Response<Body> {
    log.code = Some(code);
    log.complete = true;
    let response = code::error_page(code);
    log.status = Some(response.status().as_u16());
    whole(if is_head { response.map(|_| Bytes::new()) } else { response })
}

/// How far the request body is; the first-byte clock starts at its end.
struct Upload {
    done: watch::Sender<bool>,
    client_idle: Arc<Mutex<bool>>,
}

/// The request body on its way to the dyno, with the client's idle limit.
struct RequestBody {
    inner: Incoming,
    upload: Upload,
    idle: Pin<Box<Sleep>>,
}

impl http_body::Body for RequestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let next = tokio::time::Instant::now() + Duration::from_millis(IDLE_MS);
                self.idle.as_mut().reset(next);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(e))) => Poll::Ready(Some(Err(e.into()))),
            Poll::Ready(None) => {
                self.upload.done.send_replace(true);
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(self.idle.as_mut().poll(cx));
                *self.upload.client_idle.lock().unwrap_or_else(PoisonError::into_inner) = true;
                Poll::Ready(Some(Err("the client was silent for 55 s".into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let end = self.inner.is_end_stream();
        if end {
            self.upload.done.send_replace(true);
        }
        end
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}

/// Sends the request and answers with what comes back.
async fn exchange(
    mut request: Request<Incoming>,
    host: &str,
    path: &str,
    claim: Claim,
    mut sender: SendRequest<Body>,
    facts: &headers::Towards<'_>,
    log: AccessLog,
) -> Response<Body> {
    let is_head = request.method() == Method::HEAD;
    let is_10 = headers::is_http_10(request.version());
    let upgrade = headers::wants_upgrade(request.headers()).then(|| hyper::upgrade::on(&mut request));
    let (mut parts, incoming) = request.into_parts();
    if let Some(authority) = parts.uri.authority()
        && let Ok(value) = authority.as_str().parse()
    {
        parts.headers.insert(HOST, value); // an absolute target wins over the header (RFC 9112, 3.2.2)
    }
    headers::towards_dyno(&mut parts.headers, facts, upgrade.is_some());
    parts.uri = path.parse().unwrap_or_default();
    parts.version = http::Version::HTTP_11;
    if parts.headers.get(HOST).is_none_or(http::HeaderValue::is_empty)
        && let Ok(value) = host.parse()
    {
        parts.headers.insert(HOST, value);
    }
    let (done, mut upload_done) = watch::channel(hyper::body::Body::is_end_stream(&incoming));
    let client_idle = Arc::new(Mutex::new(false));
    let upload = Upload { done, client_idle: client_idle.clone() };
    let idle = Box::pin(tokio::time::sleep(Duration::from_millis(IDLE_MS)));
    let body = RequestBody { inner: incoming, upload, idle }.boxed_unsync();

    let first_byte = async {
        // An error means that the body is gone, and with it the upload: the clock runs from then on.
        let _ = upload_done.wait_for(|done| *done).await;
        tokio::time::sleep(Duration::from_millis(FIRST_BYTE_MS)).await;
    };
    let sending = async {
        match sender.try_send_request(Request::from_parts(parts, body)).await {
            Ok(response) => Ok(response),
            Err(mut failed) => match failed.take_message() {
                // The pooled connection was closed before anything was written: a new one, and the dyno sees it once.
                Some(request) => match upstream::connect(claim.backend().address).await {
                    Ok(fresh) => {
                        sender = fresh;
                        sender.send_request(request).await
                    }
                    Err(_) => Err(failed.into_error()),
                },
                None => Err(failed.into_error()),
            },
        }
    };
    let answer = tokio::select! {
        answer = sending => answer,
        () = first_byte => return refuse(log, Code::H12, is_head),
    };
    match answer {
        Ok(response) => relay(response, claim, sender, upgrade, is_10, log),
        Err(e) => {
            let idle = *client_idle.lock().unwrap_or_else(PoisonError::into_inner);
            let uploading = !*upload_done.borrow();
            let code = if idle {
                Code::H28
            } else if e.is_parse() {
                Code::H17
            } else if e.is_user() || e.is_body_write_aborted() {
                Code::H27
            } else if uploading {
                Code::H18
            } else {
                Code::H13
            };
            refuse(log, code, is_head)
        }
    }
}

/// Hands the answer on.
fn relay(
    mut response: Response<Incoming>,
    claim: Claim,
    sender: SendRequest<Body>,
    upgrade: Option<OnUpgrade>,
    is_10: bool,
    mut log: AccessLog,
) -> Response<Body> {
    let status = response.status();
    log.status = Some(status.as_u16());
    log.bytes = Some(0);
    if status == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = upgrade else { return refuse(log, Code::H17, false) };
        let dyno = hyper::upgrade::on(&mut response);
        tokio::spawn(pipe(client, dyno, log));
        drop(claim); // an upgraded connection lives until either side ends it; it does not hold up a deploy
        headers::towards_client(response.headers_mut(), true);
        return response.map(|_| whole(Response::new(Bytes::new())).into_body());
    }
    headers::towards_client(response.headers_mut(), false);
    if is_10 {
        response.headers_mut().remove(http::header::TRANSFER_ENCODING);
    }
    response.map(|incoming| {
        let idle = Box::pin(tokio::time::sleep(Duration::from_millis(IDLE_MS)));
        let mut body = ResponseBody { inner: incoming, idle, sender: Some(sender), claim: Some(claim), log: Some(log) };
        if hyper::body::Body::is_end_stream(&body.inner) {
            body.finish();
        }
        body.boxed_unsync()
    })
}

/// The answer's body on its way to the client: counts, limits silence, gives the connection back at the end.
struct ResponseBody {
    inner: Incoming,
    idle: Pin<Box<Sleep>>,
    sender: Option<SendRequest<Body>>,
    claim: Option<Claim>,
    /// Dropped, and so written, when the body is: whole or not.
    log: Option<AccessLog>,
}

impl ResponseBody {
    fn finish(&mut self) {
        if let Some(mut log) = self.log.take() {
            log.complete = true;
        }
        let (Some(mut sender), Some(claim)) = (self.sender.take(), self.claim.take()) else { return };
        if sender.is_ready() {
            give_back(sender, &claim);
        } else if !sender.is_closed() {
            // The connection task has yet to see the end; it is a matter of one turn of the loop.
            tokio::spawn(async move {
                if tokio::time::timeout(Duration::from_secs(1), sender.ready()).await.is_ok_and(|r| r.is_ok()) {
                    give_back(sender, &claim);
                }
            });
        }
    }

    fn fail(&mut self, code: Code) {
        if let Some(mut log) = self.log.take() {
            log.code = Some(code);
        }
    }
}

fn give_back(sender: SendRequest<Body>, claim: &Claim) {
    let backend = claim.backend();
    if !backend.is_closed() {
        backend.pool.put(sender);
    }
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match Pin::new(&mut self.inner).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                let next = tokio::time::Instant::now() + Duration::from_millis(IDLE_MS);
                self.idle.as_mut().reset(next);
                if let (Some(data), Some(log)) = (frame.data_ref(), self.log.as_mut()) {
                    log.bytes = Some(log.bytes.unwrap_or(0) + data.len() as u64);
                }
                if hyper::body::Body::is_end_stream(&self.inner) {
                    self.finish();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(e))) => {
                self.fail(Code::H18);
                Poll::Ready(Some(Err(e.into())))
            }
            Poll::Ready(None) => {
                self.finish();
                Poll::Ready(None)
            }
            Poll::Pending => {
                ready!(self.idle.as_mut().poll(cx));
                self.fail(Code::H15);
                Poll::Ready(Some(Err("the dyno was silent for 55 s".into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}

/// Bytes both ways until either side ends or 55 s of silence.
async fn pipe(client: OnUpgrade, dyno: OnUpgrade, mut log: AccessLog) {
    let (Ok(client), Ok(dyno)) = (client.await, dyno.await) else { return };
    let (client_read, client_write) = tokio::io::split(TokioIo::new(client));
    let (dyno_read, dyno_write) = tokio::io::split(TokioIo::new(dyno));
    let activity = watch::channel(Instant::now()).0;
    let up = copy(client_read, dyno_write, &activity);
    let down = copy(dyno_read, client_write, &activity);
    let silence = async {
        let limit = Duration::from_millis(IDLE_MS);
        let mut seen = activity.subscribe();
        loop {
            let last = *seen.borrow_and_update();
            if last.elapsed() >= limit {
                return;
            }
            tokio::time::sleep(limit.saturating_sub(last.elapsed())).await;
        }
    };
    log.complete = true;
    tokio::select! {
        _ = up => {}
        bytes = down => log.bytes = Some(bytes),
        () = silence => log.code = Some(Code::H15),
    }
}

async fn copy(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    activity: &watch::Sender<Instant>,
) -> u64 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut buffer = vec![0u8; 16 << 10];
    let mut total = 0;
    while let Ok(n) = from.read(&mut buffer).await {
        if n == 0 || to.write_all(&buffer[..n]).await.is_err() || to.flush().await.is_err() {
            break;
        }
        total += n as u64;
        activity.send_replace(Instant::now());
    }
    let _ = to.shutdown().await; // the other side may be gone already
    total
}
