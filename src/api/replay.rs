//! A call that is sent twice happens once (`platform-api.md` section 8): the official command line sends a POST again after
//! a connection was cut, with the very same `Request-Id`. That header is a list which grows by one with every call of a
//! program, so its whole value, together with the body, tells a repetition from a new call. `Idempotency-Key` does the same
//! for clients that choose their own names.

use crate::{contract::Asked, contract::REQUEST_ID, error::Failure};
use axum::{
    body::{Body, Bytes},
    extract::Request,
    http::{HeaderName, HeaderValue, Method, header, response::Parts},
    response::{IntoResponse, Response},
};
use domain::limits::API_BODY_BYTES_MAX;
use ring::digest::{Context, SHA256};
use service::Error;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");
/// Answers are remembered this long.
const KEPT: Duration = Duration::from_secs(300);
/// Calls that are remembered at most.
const CALLS_MAX: usize = 4096;
/// Bytes of answers that are remembered at most; larger ones are not.
const BYTES_MAX: usize = 16 << 20;
const ANSWER_BYTES_MAX: usize = 256 << 10;

type Hash = [u8; 32];

/// What a call is known by.
pub(crate) struct Key {
    call: Hash,
    /// The client named it: the same name with another body is a mistake. Else the body belongs to the name.
    chosen: bool,
}

/// The key of a call that is to happen once; `None` for all others.
pub(crate) fn key_of(asked: &Asked) -> Option<Key> {
    let chosen = asked.headers.get(&IDEMPOTENCY_KEY);
    let posts = asked.method == Method::POST;
    let name = match chosen {
        Some(key) if posts || asked.method == Method::PATCH => key,
        _ if posts => asked.headers.get(&REQUEST_ID)?,
        _ => return None,
    };
    // Without credentials nothing is changed, and nobody may see what others were answered.
    let credential = asked.headers.get(header::AUTHORIZATION)?;
    let mut hash = Context::new(&SHA256);
    let kind: &[u8] = if chosen.is_some() { b"key" } else { b"id" };
    for part in [kind, credential.as_bytes(), asked.method.as_str().as_bytes(), asked.target.as_bytes(), name.as_bytes()] {
        hash.update(&(part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    Some(Key { call: bytes(hash), chosen: chosen.is_some() })
}

fn bytes(hash: Context) -> Hash {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(hash.finish().as_ref());
    bytes
}

struct Stored {
    body: Hash,
    parts: Parts,
    bytes: Bytes,
}

/// Locked while the call is under way, so that its repetitions wait for it.
#[derive(Default)]
struct Call(tokio::sync::Mutex<Option<Stored>>);

struct Entry {
    call: Arc<Call>,
    since: Instant,
    bytes: usize,
}

/// The calls of the last minutes.
#[derive(Default)]
pub(crate) struct Replays(Mutex<HashMap<Hash, Entry>>);

impl Replays {
    /// Runs the call, or answers what it was answered before.
    pub(crate) async fn run<F: Future<Output = Response>>(
        &self,
        key: Key,
        request: Request,
        endpoint: impl FnOnce(Request) -> F,
    ) -> Response {
        let (parts, body) = request.into_parts();
        let Ok(sent) = axum::body::to_bytes(body, API_BODY_BYTES_MAX).await else {
            let text = "The request body is too large or was cut; the limit is 1 MiB.";
            return Failure(Error::limited("body_too_large", text)).into_response();
        };
        let mut hash = Context::new(&SHA256);
        hash.update(&sent);
        let body = bytes(hash);
        let name = if key.chosen { key.call } else { joined(key.call, body) };
        let call = self.call(name);
        let mut stored = call.0.lock().await;
        if let Some(before) = stored.as_ref() {
            return before.again(body);
        }
        let response = endpoint(Request::from_parts(parts, Body::from(sent))).await;
        let (parts, bytes) = match crate::contract::whole(response).await {
            Ok(whole) => whole,
            Err(stream) => return stream,
        };
        // What failed has changed nothing and may be tried again.
        if parts.status.is_success() && bytes.len() <= ANSWER_BYTES_MAX {
            *stored = Some(Stored { body, parts: parts.clone(), bytes: bytes.clone() });
            self.weigh(name, bytes.len());
        } else {
            self.calls().remove(&name);
        }
        Response::from_parts(parts, Body::from(bytes))
    }

    fn calls(&self) -> std::sync::MutexGuard<'_, HashMap<Hash, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, name: Hash) -> Arc<Call> {
        let (mut calls, now) = (self.calls(), Instant::now());
        if let Some(known) = calls.get(&name).filter(|entry| now.duration_since(entry.since) < KEPT) {
            return known.call.clone();
        }
        if calls.len() >= CALLS_MAX {
            make_room(&mut calls, now, CALLS_MAX / 2, BYTES_MAX);
        }
        let call = Arc::new(Call::default());
        calls.insert(name, Entry { call: call.clone(), since: now, bytes: 0 });
        call
    }

    fn weigh(&self, name: Hash, bytes: usize) {
        let mut calls = self.calls();
        if let Some(entry) = calls.get_mut(&name) {
            entry.bytes = bytes;
        }
        if calls.values().map(|entry| entry.bytes).sum::<usize>() > BYTES_MAX {
            make_room(&mut calls, Instant::now(), CALLS_MAX, BYTES_MAX / 2);
        }
    }
}

/// Forgets the oldest until there are at most so many calls and bytes. Whoever waits for a forgotten one still gets its answer.
fn make_room(calls: &mut HashMap<Hash, Entry>, now: Instant, count: usize, bytes: usize) {
    calls.retain(|_, entry| now.duration_since(entry.since) < KEPT);
    let mut by_age: Vec<(Instant, Hash, usize)> = calls.iter().map(|(name, e)| (e.since, *name, e.bytes)).collect();
    by_age.sort_by_key(|(since, ..)| *since);
    let mut weight: usize = by_age.iter().map(|(.., bytes)| bytes).sum();
    for (_, name, size) in by_age {
        if calls.len() <= count && weight <= bytes {
            break;
        }
        calls.remove(&name);
        weight -= size;
    }
}

fn joined(call: Hash, body: Hash) -> Hash {
    let mut hash = Context::new(&SHA256);
    hash.update(&call);
    hash.update(&body);
    bytes(hash)
}

impl Stored {
    fn again(&self, body: Hash) -> Response {
        if self.body != body {
            let text = "This Idempotency-Key was used with another body before; choose a new one for a new call.";
            return Failure(Error::invalid(text)).into_response();
        }
        let mut response = Response::from_parts(self.parts.clone(), Body::from(self.bytes.clone()));
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
        response
    }
}
