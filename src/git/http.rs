//! Smart HTTP (`git-contract.md` sections 1 to 3).

use crate::{Receiver, pkt, repository};
use axum::{
    Router,
    body::{Body, Bytes},
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use domain::App;
use futures_util::{Stream, StreamExt};
use service::{Ctx, Kind};
use std::{io, pin::Pin, process::Stdio};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::io::ReaderStream;

/// Commands of a push before the pack; more refs than this in one push are refused.
const PREFACE_BYTES_MAX: usize = 4 << 20;
/// A compressed request for a fetch, unpacked.
const FETCH_BYTES_MAX: u64 = 64 << 20;
const SHALLOW: &str = "Push rejected, source repository is a shallow clone. Unshallow it with `git fetch --all --unshallow` and try pushing again.\n";

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
    let name = repo.strip_suffix(".git").unwrap_or(repo);
    let app = if writes { service.app_to_deploy(&ctx, name) } else { service.app(&ctx, name) };
    // By name only: an id would be a second address of the same repository.
    let app = app.and_then(|app| if app.name == name { Ok(app) } else { Err(service::Error::not_found("app", "")) });
    app.map(|app| (ctx, app)).map_err(|e| {
        Box::new(match e.kind {
            Kind::NotFound => refused(StatusCode::NOT_FOUND, &format!("\n!\tNo such app as {}.\n", name.escape_default())),
            Kind::Forbidden => refused(StatusCode::FORBIDDEN, &format!("!\t{}\n", e.public)),
            _ => refused(StatusCode::SERVICE_UNAVAILABLE, &format!("!\t{}\n", e.public)),
        })
    })
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
    let path = match repository::ensure(&receiver.inner.repositories, app.id).await {
        Ok(path) => path,
        Err(reason) => return internal(&reason),
    };
    let mut command = repository::git(&receiver.inner.repositories);
    protocol(&mut command, &headers);
    command.arg(&service[4..]).args(["--stateless-rpc", "--http-backend-info-refs"]).arg(path);
    let output = match command.stdin(Stdio::null()).output().await {
        Ok(output) if output.status.success() => output.stdout,
        Ok(output) => return internal(&String::from_utf8_lossy(&output.stderr)),
        Err(e) => return internal(&e.to_string()),
    };
    let mut body = Vec::new();
    pkt::packet(&mut body, format!("# service={service}\n").as_bytes());
    body.extend_from_slice(b"0000");
    body.extend(output);
    (typed("advertisement", &service), body).into_response()
}

/// Passes the client's protocol version on, if it is one.
fn protocol(command: &mut tokio::process::Command, headers: &HeaderMap) {
    let version = headers.get("git-protocol").and_then(|v| v.to_str().ok());
    if let Some(version) =
        version.filter(|v| v.len() < 64 && v.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'=' || b == b':'))
    {
        command.env("GIT_PROTOCOL", version);
    }
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
    protocol(&mut command, &headers);
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

type Pieces = Pin<Box<dyn Stream<Item = Result<Bytes, axum::Error>> + Send>>;

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
    let path = match repository::ensure(&receiver.inner.repositories, app.id).await {
        Ok(path) => path,
        Err(reason) => return internal(&reason),
    };
    let mut pieces: Pieces = Box::pin(request.into_body().into_data_stream());
    let (start, preface) = match read_preface(&mut pieces).await {
        Ok(read) => read,
        Err(text) => return refused(StatusCode::BAD_REQUEST, &format!("!\t{text}\n")),
    };
    if preface.shallow {
        let mut bytes = start.len() as u64;
        // The client reads the answer only after it has sent all.
        while let Some(Ok(piece)) = pieces.next().await {
            bytes += piece.len() as u64;
            if bytes > receiver.inner.limits.push_bytes_max {
                break;
            }
        }
        return (typed("result", "git-receive-pack"), pkt::refusal(&preface.refs, SHALLOW, "shallow update not allowed"))
            .into_response();
    }
    run_receive(&receiver, ctx, &app, &path, start, pieces)
}

/// Reads until the commands are there; the bytes read belong to git.
async fn read_preface(pieces: &mut Pieces) -> Result<(Vec<u8>, pkt::Preface), &'static str> {
    let mut start = Vec::new();
    loop {
        match pkt::preface(&start) {
            Some(Ok(preface)) => return Ok((start, preface)),
            Some(Err(())) => return Err("This is no git push."),
            None if start.len() > PREFACE_BYTES_MAX => return Err("The push names too many refs."),
            None => {}
        }
        match pieces.next().await {
            Some(Ok(piece)) => start.extend_from_slice(&piece),
            Some(Err(_)) | None => return Err("The push was cut."),
        }
    }
}

/// Runs `git receive-pack`. It belongs to a task of its own, so that a client who goes away does not stop a build.
fn run_receive(
    receiver: &Receiver,
    ctx: Ctx,
    app: &App,
    path: &std::path::Path,
    start: Vec<u8>,
    mut pieces: Pieces,
) -> Response {
    let push = receiver.begin(ctx, app.id);
    let inner = &receiver.inner;
    let mut command = repository::git(&inner.repositories);
    command
        .arg("-c")
        .arg(format!("core.hooksPath={}", inner.hooks.display()))
        .arg("-c")
        .arg(format!("receive.maxInputSize={}", inner.limits.push_bytes_max))
        .args(["-c", "receive.denyDeleteCurrent=ignore", "-c", "receive.fsckObjects=true", "-c", "receive.autogc=false"])
        .args(["receive-pack", "--stateless-rpc"])
        .arg(path)
        .env(crate::hook::SOCKET_VARIABLE, &inner.socket)
        .env(crate::hook::PUSH_VARIABLE, &push);
    let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(e) => {
            receiver.end(&push);
            return internal(&e.to_string());
        }
    };
    let (Some(mut input), Some(mut output)) = (child.stdin.take(), child.stdout.take()) else { return internal("no pipes") };
    let (sender, receiver_end) = tokio::sync::mpsc::channel::<io::Result<Bytes>>(16);
    tokio::spawn(async move {
        // Git may end before it has read everything, for instance at the size limit; the rest is read and dropped, so
        // that the client comes to read the answer.
        let mut taking = input.write_all(&start).await.is_ok();
        while let Some(Ok(piece)) = pieces.next().await {
            taking = taking && input.write_all(&piece).await.is_ok();
        }
    });
    let receiver = receiver.clone();
    tokio::spawn(async move {
        let mut buffer = vec![0u8; 16 << 10];
        let mut listening = true;
        while let Ok(n) = output.read(&mut buffer).await {
            if n == 0 {
                break;
            }
            listening = listening && sender.send(Ok(Bytes::copy_from_slice(&buffer[..n]))).await.is_ok();
        }
        let _ = child.wait().await; // its report is in its output
        receiver.end(&push);
    });
    let stream = futures_util::stream::unfold(receiver_end, |mut r| async move { r.recv().await.map(|piece| (piece, r)) });
    (typed("result", "git-receive-pack"), Body::from_stream(stream)).into_response()
}
