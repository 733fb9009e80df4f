//! The stream of a log session (`logs.md` section 3): plain lines, events, or objects.

use crate::{Api, error::Failure, streams};
use axum::{
    body::Body,
    extract::{Path, State},
    http::HeaderMap,
    response::Response,
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use logs::{LogLine, Tail};
use serde_json::json;
use std::{convert::Infallible, time::Duration};

/// Bytes sent at once; a longer line comes in several pieces.
const PIECE_BYTES: usize = 4096;
/// A live stream ends in good order after this time; clients come back.
const LIFE: Duration = Duration::from_secs(3 * 3600);
const OBJECTS: &str = "application/x-ndjson";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Plain,
    Events,
    Objects,
}

pub async fn log_stream(State(service): Api, Path(key): Path<String>, headers: HeaderMap) -> Result<Response, Failure> {
    let after = headers.get("last-event-id").and_then(|id| id.to_str().ok()?.trim().parse::<u64>().ok());
    let (tail, json) = service.open_log_session(&key, after)?;
    let form = match (streams::wants_events(&headers), json) {
        (true, _) => Form::Events,
        (false, true) => Form::Objects,
        (false, false) => Form::Plain,
    };
    let end = tokio::time::Instant::now() + LIFE;
    let pieces = stream::unfold((tail, Bytes::new()), move |(mut tail, mut rest)| async move {
        while rest.is_empty() {
            rest = tokio::time::timeout_at(end, next(&mut tail, form, json)).await.ok()??;
        }
        let piece = rest.split_to(rest.len().min(PIECE_BYTES));
        Some((Ok::<_, Infallible>(piece), (tail, rest)))
    });
    // An open tail must not hold the end of the daemon.
    let pieces = pieces.take_until(Box::pin(service.streams_ended()));
    let kind = match form {
        Form::Plain => streams::PLAIN,
        Form::Events => streams::EVENTS,
        Form::Objects => OBJECTS,
    };
    Ok(streams::streamed(kind, Body::from_stream(pieces)))
}

/// The lines that are there, as far as they fit into a piece. `None` at the end.
async fn next(tail: &mut Tail, form: Form, json: bool) -> Option<Bytes> {
    let Ok(first) = tokio::time::timeout(streams::PING, tail.next()).await else {
        // Plain text has no comments, so it stays silent.
        return Some(Bytes::from_static(if form == Form::Events { b": ping\n\n" } else { b"" }));
    };
    let mut out = Vec::with_capacity(PIECE_BYTES);
    push(&mut out, &first?, form, json);
    while out.len() < PIECE_BYTES / 2
        && let Some(line) = tail.try_next()
    {
        push(&mut out, &line, form, json);
    }
    Some(out.into())
}

fn push(out: &mut Vec<u8>, line: &LogLine, form: Form, json: bool) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if form == Form::Events {
        out.extend_from_slice(format!("id: {}\ndata: ", line.seq).as_bytes());
    }
    if json {
        let object = json!({
            "seq": line.seq, "time": logs::stamp(line.time_us), "source": text(&line.source), "ps": text(&line.ps),
            "release": (line.release > 0).then_some(line.release), "message": text(&line.message),
        });
        out.extend_from_slice(object.to_string().as_bytes());
    } else {
        let start = out.len();
        line.push_display(out);
        if std::str::from_utf8(&out[start..]).is_err() {
            let valid = text(&out[start..]);
            out.truncate(start);
            out.extend_from_slice(valid.as_bytes());
        }
        if form == Form::Events {
            // Would be the end of the field.
            out[start..].iter_mut().filter(|b| **b == b'\r').for_each(|b| *b = b' ');
        }
    }
    out.extend_from_slice(if form == Form::Events { b"\n\n" } else { b"\n" });
}
