//! Attached clients: bytes both ways, in the pieces in which they came (`cli-contract.md` section 5). The client throws its first
//! piece away and looks for the exit code within one piece, so pieces are neither joined nor cut here.

use crate::Inner;
use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader, ReadBuf};

/// Longer than any record of TLS.
const PIECE_BYTES_MAX: usize = 32 << 10;
/// Longest banner of a server.
const BANNER_BYTES_MAX: usize = 256;

/// Connects a client that said `line` with the server, until one of them ends.
pub(crate) async fn meet(inner: &Inner, line: &str, client: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let (from_client, mut to_client) = tokio::io::split(client);
    let Ok(mut server) = inner.upstream.connect_attached().await else {
        return to_client.shutdown().await; // the client tells it as a lost connection
    };
    server.write_all(format!("{line}\r\n").as_bytes()).await?;
    let (from_server, mut to_server) = tokio::io::split(ByPiece(server));
    let mut from_server = BufReader::with_capacity(PIECE_BYTES_MAX, from_server);
    let out = async {
        banner(&mut from_server, &mut to_client).await?;
        pieces(&mut from_server, &mut to_client).await
    };
    let mut from_client = BufReader::new(from_client);
    let input = pieces(&mut from_client, &mut to_server);
    // The end of the output is the end. The end of the input is not: the process may still have something to say.
    tokio::pin!(out);
    tokio::select! {
        ended = &mut out => ended,
        given = input => match given {
            Ok(()) => out.await,
            Err(e) => Err(e),
        },
    }
}

/// The banner is a piece of its own, even if the server's output has caught up with it on the way.
async fn banner(from: &mut (impl AsyncBufRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut line = Vec::new();
    while line.len() < BANNER_BYTES_MAX && !line.ends_with(b"\n") {
        let available = from.fill_buf().await?;
        if available.is_empty() {
            break;
        }
        let used = available.iter().position(|byte| *byte == b'\n').map_or(available.len(), |at| at + 1);
        line.extend_from_slice(&available[..used]);
        from.consume(used);
    }
    to.write_all(&line).await?;
    to.flush().await
}

async fn pieces(from: &mut (impl AsyncBufRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    loop {
        let piece = from.fill_buf().await?;
        let length = piece.len();
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(piece).await?;
        to.flush().await?;
        from.consume(length);
    }
}

/// One read gives one record, where the stream itself would join all that have come.
struct ByPiece<S>(S);

impl<S: AsyncBufRead + Unpin> AsyncRead for ByPiece<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let piece = ready!(Pin::new(&mut self.0).poll_fill_buf(context))?;
        let length = piece.len().min(buffer.remaining());
        buffer.put_slice(&piece[..length]);
        Pin::new(&mut self.0).consume(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ByPiece<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
