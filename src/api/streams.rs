//! Addresses that carry their own secret: log sessions, build output, uploads, slugs. No token is asked for here
//! (`logs.md` section 3, `git-contract.md` section 7).

use crate::{Api, error::Failure, log_stream::log_stream};
use axum::{
    Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, put},
};
use bytes::Bytes;
use domain::limits::SLUG_BYTES_MAX;
use futures_util::{StreamExt, stream};
use service::{Error, Service};
use std::{path::PathBuf, time::Duration};
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

/// A comment this often keeps proxies and clients from giving up.
pub const PING: Duration = Duration::from_secs(15);
/// Largest upload (`builds.md` section 2).
const UPLOAD_BYTES_MAX: u64 = 1 << 30;

pub fn routes() -> Router<Service> {
    Router::new()
        .route("/streams/logs/{key}", get(log_stream))
        .route("/streams/builds/{build}/{key}", get(build_output))
        .route("/streams/releases/{release}/{key}", get(release_output))
        .route("/streams/slugs/{slug}/{key}", get(slug_blob).put(slug_upload).layer(DefaultBodyLimit::disable()))
        .route("/sources/blob/{key}", put(upload).get(download).layer(DefaultBodyLimit::disable()))
}

pub fn wants_events(headers: &HeaderMap) -> bool {
    headers.get(header::ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|v| v.contains("text/event-stream"))
}

pub fn streamed(kind: &'static str, body: Body) -> Response {
    ([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-store")], body).into_response()
}

pub const PLAIN: &str = "text/plain; charset=utf-8";
pub const EVENTS: &str = "text/event-stream";

/// First byte of `bytes=N-`.
fn range_start(headers: &HeaderMap) -> u64 {
    let range = headers.get(header::RANGE).and_then(|v| v.to_str().ok());
    range.and_then(|r| r.strip_prefix("bytes=")?.split('-').next()?.parse().ok()).unwrap_or(0)
}

async fn build_output(
    State(service): Api,
    Path((build, key)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let build = service.build_for_output(&build, &key)?;
    Ok(output_stream(&service, service.outputs().read(build.id.0), &headers))
}

async fn release_output(
    State(service): Api,
    Path((release, key)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let release = service.release_for_output(&release, &key)?;
    Ok(output_stream(&service, service.phase_output(&release)?, &headers))
}

fn output_stream(service: &Service, output: std::sync::Arc<logs::Output>, headers: &HeaderMap) -> Response {
    let events = wants_events(headers);
    let pieces = stream::unfold((output, range_start(headers)), move |(output, offset)| async move {
        let (piece, next) = match tokio::time::timeout(PING, output.next(offset)).await {
            Ok(Ok(Some(piece))) => {
                let next = offset + piece.len() as u64;
                (if events { event_lines(&piece, next) } else { piece }, next)
            }
            Ok(Ok(None)) => return None,
            Ok(Err(e)) => return Some((Err(e), (output, offset))),
            // The service sends NUL bytes as a heartbeat; clients drop them.
            Err(_) => (Bytes::from_static(if events { b": ping\n\n" } else { b"\0" }), offset),
        };
        Some((Ok(piece), (output, next)))
    });
    let pieces = pieces.take_until(Box::pin(service.streams_ended()));
    streamed(if events { EVENTS } else { PLAIN }, Body::from_stream(pieces))
}

fn event_lines(piece: &[u8], id: u64) -> Bytes {
    let text = String::from_utf8_lossy(piece);
    let data: String = text.lines().map(|line| format!("data: {line}\n")).collect();
    Bytes::from(format!("id: {id}\n{data}\n"))
}

async fn file(path: PathBuf, kind: &'static str) -> Result<Response, Failure> {
    let missing = |_| Failure(Error::not_found("blob", "There is nothing at this address yet."));
    let opened = tokio::fs::File::open(path).await.map_err(missing)?;
    let length = opened.metadata().await.map_err(missing)?.len();
    let mut response = streamed(kind, Body::from_stream(ReaderStream::new(opened)));
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    Ok(response)
}

async fn slug_blob(State(service): Api, Path((slug, key)): Path<(String, String)>) -> Result<Response, Failure> {
    file(service.slug_blob(&slug, &key)?, "application/gzip").await
}

async fn download(State(service): Api, Path(key): Path<String>) -> Result<Response, Failure> {
    file(service.source_path(&key)?, "application/gzip").await
}

/// The bytes of a slug that was built elsewhere; they must be those that were announced, in the form that dynos unpack.
async fn slug_upload(
    State(service): Api,
    Path((slug, key)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Failure> {
    let place = service.slug_place(&slug, &key)?;
    let internal = |e: std::io::Error| Error::internal(e.to_string());
    if let Some(dir) = place.path.parent() {
        tokio::fs::create_dir_all(dir).await.map_err(internal)?;
    }
    let partial = place.path.with_extension(format!("{}.partial", uuid::Uuid::new_v4()));
    let (target, expected) = (place.path.clone(), place.checksum.clone());
    let kept = async {
        let (checksum, bytes) = take(request.into_body(), &partial, SLUG_BYTES_MAX).await?;
        if expected.is_some_and(|wanted| !wanted.eq_ignore_ascii_case(&checksum)) {
            return Err(Error::invalid(format!("The upload is not the announced one: its checksum is {checksum}.")));
        }
        let packed = partial.clone();
        let good = tokio::task::spawn_blocking(move || is_gzip(&packed)).await.map_err(|e| Error::internal(e.to_string()))?;
        if !good {
            return Err(Error::invalid("The upload is no whole gzip file; a slug is a tar.gz of a folder named app."));
        }
        // Before the row says so: a row that names a file which is not there would be worse than a file without a row.
        tokio::fs::rename(&partial, &target).await.map_err(internal)?;
        service.slug_filled(place, checksum, bytes).await
    };
    if let Err(e) = kept.await {
        let _ = tokio::fs::remove_file(&partial).await; // the error that counts is already on its way
        return Err(e.into());
    }
    Ok(StatusCode::OK.into_response())
}

fn is_gzip(path: &std::path::Path) -> bool {
    let Ok(file) = std::fs::File::open(path) else { return false };
    std::io::copy(&mut flate2::read::MultiGzDecoder::new(std::io::BufReader::new(file)), &mut std::io::sink()).is_ok()
}

/// Streams to disk under a temporary name; a cut upload leaves nothing.
async fn upload(State(service): Api, Path(key): Path<String>, request: Request) -> Result<Response, Failure> {
    let path = service.source_path(&key)?;
    let partial = path.with_extension(format!("{}.partial", uuid::Uuid::new_v4()));
    let taken = take(request.into_body(), &partial, UPLOAD_BYTES_MAX).await;
    let kept = match taken {
        Ok(_) => tokio::fs::rename(&partial, &path).await.map_err(|e| Error::internal(e.to_string())),
        Err(e) => Err(e),
    };
    if let Err(e) = kept {
        let _ = tokio::fs::remove_file(&partial).await; // the error that counts is already on its way
        return Err(e.into());
    }
    Ok(StatusCode::OK.into_response())
}

/// Checksum (`SHA256:<hex>`) and size of what came; durable when it returns.
async fn take(body: Body, path: &std::path::Path, most: u64) -> Result<(String, u64), Error> {
    let internal = |e: std::io::Error| Error::internal(e.to_string());
    let mut file = tokio::fs::File::create(path).await.map_err(internal)?;
    let mut stream = body.into_data_stream();
    let mut bytes = 0u64;
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|_| Error::invalid("The upload was cut; send it again."))?;
        bytes += piece.len() as u64;
        if bytes > most {
            return Err(Error::limited("upload_too_large", format!("The upload is larger than {most} bytes.")));
        }
        hash.update(&piece);
        file.write_all(&piece).await.map_err(internal)?;
    }
    file.sync_all().await.map_err(internal)?;
    let hex: String = hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok((format!("SHA256:{hex}"), bytes))
}
