//! Smart HTTP (`git-contract.md` sections 1 to 3).

use crate::{
    Receiver, admission, pkt,
    receive::{Fault, receive},
    repository,
};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, DefaultBodyLimit, Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use domain::App;
use futures_util::StreamExt;
use service::{Ctx, Kind};
use std::{io, net::SocketAddr, process::Stdio};
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

/// A compressed request for a fetch, unpacked.
const FETCH_BYTES_MAX: u64 = 64 << 20;

/// The git routes; served on the platform's hosts.
pub fn router(receiver: Receiver) -> Router {
    Router::new()
        .route("/{repo}/info/refs", get(info_refs))
        .route("/{repo}/git-upload-pack", post(upload_pack))
        .route("/{repo}/git-receive-pack", post(receive_pack))
        .layer(DefaultBodyLimit::disable())
        .with_state(receiver)
}

/// A refusal that git shows as `remote:` lines.
fn refused(status: StatusCode, text: &str) -> Response {
    (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text.to_string()).into_response()
}

fn unauthorized() -> Response {
    let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"Tidemill\"")];
    (StatusCode::UNAUTHORIZED, challenge, "Sign in with an API token as the password.\n").into_response()
}

/// Who asks, and for which app. The app is looked up only after the token was found good.
fn admit(receiver: &Receiver, headers: &HeaderMap, repo: &str, writes: bool) -> Result<(Ctx, App), Box<Response>> {
    let basic = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Basic "));
    let text = basic.and_then(|b| STANDARD.decode(b.trim()).ok()).and_then(|b| String::from_utf8(b).ok());
    let token = text.as_deref().and_then(|t| t.split_once(':')).map(|(_, token)| token).filter(|t| !t.is_empty());
    let service = &receiver.inner.service;
    let ctx = token.and_then(|t| service.authenticate(t, None).ok()).ok_or_else(|| Box::new(unauthorized()))?;
    let app = admission::app(receiver, &ctx, repo, writes).map_err(|refusal| {
        let status = match refusal.kind {
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Box::new(refused(status, &refusal.text))
    })?;
    Ok((ctx, app))
}

fn internal(reason: &str) -> Response {
    tracing::error!(%reason, "git.failed");
    refused(StatusCode::INTERNAL_SERVER_ERROR, "!\tThe platform could not run git; it was logged.\n")
}

#[derive(serde::Deserialize)]
struct Asked {
    service: Option<String>,
}

fn typed(kind: &str, service: &str) -> [(header::HeaderName, String); 2] {
    [
        (header::CONTENT_TYPE, format!("application/x-{service}-{kind}")),
        (header::CACHE_CONTROL, "no-cache, max-age=0, must-revalidate".into()),
    ]
}

async fn info_refs(
    State(receiver): State<Receiver>,
    Path(repo): Path<String>,
    Query(asked): Query<Asked>,
    headers: HeaderMap,
) -> Response {
    let service = asked.service.unwrap_or_default();
    let writes = service == "git-receive-pack";
    if !writes && service != "git-upload-pack" {
        return refused(StatusCode::FORBIDDEN, "!\tOnly smart HTTP is served; use a newer git.\n");
    }
    let (_, app) = match admit(&receiver, &headers, &repo, writes) {
        Ok(admitted) => admitted,
        Err(response) => return *response,
    };
    let output = match repository::advertise(&receiver.inner.repositories, app.id, &service[4..], protocol(&headers)).await {
        Ok(output) => output,
        Err(reason) => return internal(&reason),
    };
    let mut body = Vec::new();
    pkt::packet(&mut body, format!("# service={service}\n").as_bytes());
    body.extend_from_slice(b"0000");
    body.extend(output);
    (typed("advertisement", &service), body).into_response()
}

fn protocol(headers: &HeaderMap) -> Option<&str> {
    headers.get("git-protocol").and_then(|v| v.to_str().ok())
}

async fn upload_pack(State(receiver): State<Receiver>, Path(repo): Path<String>, request: Request) -> Response {
    let headers = request.headers().clone();
    let (_, app) = match admit(&receiver, &headers, &repo, false) {
        Ok(admitted) => admitted,
        Err(response) => return *response,
    };
    let path = match repository::ensure(&receiver.inner.repositories, app.id).await {
        Ok(path) => path,
        Err(reason) => return internal(&reason),
    };
    let Ok(body) = axum::body::to_bytes(request.into_body(), usize::try_from(FETCH_BYTES_MAX).unwrap_or(usize::MAX)).await
    else {
        return refused(StatusCode::PAYLOAD_TOO_LARGE, "!\tThe request is too large.\n");
    };
    let body = match unzip(&headers, body) {
        Ok(body) => body,
        Err(e) => return refused(StatusCode::BAD_REQUEST, &format!("!\tThe request body is damaged: {e}\n")),
    };
    let mut command = repository::git(&receiver.inner.repositories);
    repository::protocol(&mut command, protocol(&headers));
    command.args(["upload-pack", "--stateless-rpc"]).arg(path).kill_on_drop(true);
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(e) => return internal(&e.to_string()),
    };
    let (Some(mut input), Some(output)) = (child.stdin.take(), child.stdout.take()) else { return internal("no pipes") };
    tokio::spawn(async move {
        let _ = input.write_all(&body).await; // a git that ended early says so on its output
        drop(input);
        let _ = child.wait().await;
    });
    (typed("result", "git-upload-pack"), Body::from_stream(ReaderStream::new(output))).into_response()
}

fn unzip(headers: &HeaderMap, body: Bytes) -> io::Result<Vec<u8>> {
    use std::io::Read;
    if headers.get(header::CONTENT_ENCODING).is_none_or(|v| v != "gzip") {
        return Ok(body.to_vec());
    }
    let mut plain = Vec::new();
    flate2::read::MultiGzDecoder::new(body.as_ref()).take(FETCH_BYTES_MAX).read_to_end(&mut plain)?;
    Ok(plain)
}

async fn receive_pack(State(receiver): State<Receiver>, Path(repo): Path<String>, request: Request) -> Response {
    let headers = request.headers().clone();
    let (ctx, app) = match admit(&receiver, &headers, &repo, true) {
        Ok(admitted) => admitted,
        Err(response) => return *response,
    };
    if headers.get(header::CONTENT_ENCODING).is_some_and(|v| v == "gzip") {
        return refused(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "!\tCompressed pushes are not served; set http.postBuffer higher.\n",
        );
    }
    let address = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_canonical());
    let ctx = Ctx { address, ..ctx };
    let pieces = Box::pin(request.into_body().into_data_stream().map(|piece| piece.map_err(io::Error::other)));
    let answer = match receive(&receiver, ctx, &app, pieces).await {
        Ok(answer) => answer,
        Err(Fault::Client(text)) => return refused(StatusCode::BAD_REQUEST, &format!("!\t{text}\n")),
        Err(Fault::Internal(reason)) => return internal(&reason),
    };
    let stream = futures_util::stream::unfold(answer, |mut answer| async move {
        answer.recv().await.map(|piece| (Ok::<Bytes, io::Error>(piece), answer))
    });
    (typed("result", "git-receive-pack"), Body::from_stream(stream)).into_response()
}
