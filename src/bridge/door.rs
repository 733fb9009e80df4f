//! Accepting connections, and finding out what they speak, as the server's own port does.

use crate::{Inner, foreign, forward, rendezvous, upstream::Stream};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::{convert::Infallible, io, pin::Pin, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    sync::Semaphore,
    time::timeout,
};

/// Connections at once; the CLI needs two or three.
const CONNECTIONS_MAX: usize = 64;
/// Time for the handshake, for the head of a request, and for a kept connection to send its next one. Streams have none.
const HEAD_LIMIT: Duration = Duration::from_secs(60);
const HEAD_BYTES_MAX: usize = 64 << 10;
/// First byte of a TLS handshake.
const TLS_HANDSHAKE: u8 = 0x16;
/// Longest first line that is looked at to tell HTTP from an attached client.
const FIRST_LINE_BYTES_MAX: usize = 8 << 10;
/// After a failed accept the next try waits this long, as there is nothing to wait on.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

pub(crate) async fn serve(socket: TcpListener, inner: Arc<Inner>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok((mut stream, _)) = socket.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = places.clone().try_acquire_owned() else {
            let _ = stream.write_all(FULL).await; // a client that has gone needs no answer
            continue;
        };
        let _ = stream.set_nodelay(true); // only a matter of speed
        let served = connection(Box::new(stream), inner.clone());
        tokio::spawn(async move {
            let _ = served.await; // its end is the answer
            drop(place);
        });
    }
}

/// Finds out what a connection wants. Boxed, since a client may come by a tunnel through another connection.
pub(crate) fn connection(
    mut stream: Box<dyn Stream>,
    inner: Arc<Inner>,
) -> Pin<Box<dyn Future<Output = io::Result<()>> + Send>> {
    Box::pin(async move {
        let mut first = [0u8; 1];
        if timeout(HEAD_LIMIT, stream.read(&mut first)).await?? == 0 {
            return Ok(());
        }
        let stream = after(first.to_vec(), stream);
        if first[0] != TLS_HANDSHAKE {
            http(stream, inner).await;
            return Ok(());
        }
        let (line, stream) = timeout(HEAD_LIMIT, secured(stream, &inner)).await??;
        if line.contains(" HTTP/") {
            http(stream, inner).await;
            return Ok(());
        }
        rendezvous::meet(&inner, &line, stream).await
    })
}

/// A stream that begins with what was read of it already.
fn after(head: Vec<u8>, stream: impl Stream + 'static) -> impl Stream {
    let (reader, writer) = tokio::io::split(stream);
    tokio::io::join(io::Cursor::new(head).chain(reader), writer)
}

/// The handshake, and the first line without its end; the stream of a request still has it.
async fn secured<S: Stream + 'static>(stream: S, inner: &Inner) -> io::Result<(String, impl Stream + use<S>)> {
    let mut stream = inner.tls.accept(stream).await?;
    let mut head = Vec::with_capacity(256);
    let end = loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = head.iter().position(|byte| *byte == b'\n') {
            break end;
        }
        if head.len() > FIRST_LINE_BYTES_MAX {
            break head.len();
        }
    };
    let line = String::from_utf8_lossy(&head[..end]).trim_end_matches('\r').to_string();
    let rest = if line.contains(" HTTP/") { head } else { head.split_off((end + 1).min(head.len())) };
    Ok((line, after(rest, stream)))
}

async fn http(stream: impl Stream + 'static, inner: Arc<Inner>) {
    let service = service_fn(move |request: http::Request<hyper::body::Incoming>| {
        let inner = inner.clone();
        async move {
            let own = request.uri().authority().is_none_or(|named| inner.is_own(named));
            let answer = if request.method() == http::Method::CONNECT {
                foreign::tunnel(request, inner.clone())
            } else if own {
                forward::forward(&inner, request).await
            } else {
                foreign::refusal(request.uri().host().unwrap_or(""))
            };
            Ok::<_, Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let _ = connection.await; // its end is the answer
}
