//! The event stream of a tab (`ux.md` section 5): pieces of the page as they change, lines of logs, output of builds.
//!
//! A piece stands in its page between `<!--live-->` and `<!--/live-->` and is one element with an id. When something
//! happens the page is made again, with the rights of that moment, and the pieces that are new are sent.

use crate::{browser::Visitor, log_lines, logs_page::Asked};
use axum::{
    Router,
    body::Body,
    extract::{Query, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use bytes::Bytes;
use domain::{App, AppId};
use futures_util::stream;
use logs::{Output, Tail};
use serde::Deserialize;
use service::Service;
use std::{
    collections::{HashMap, VecDeque, hash_map::DefaultHasher},
    convert::Infallible,
    hash::{Hash, Hasher},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout_at},
};
use tower::ServiceExt;

/// Tabs that may be open at once.
const TABS_MAX: usize = 1000;
/// A comment this often keeps proxies from giving up.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// What happens at once is shown at once, but a page is made again at most this often.
const PAUSE: Duration = Duration::from_millis(250);
/// Times and numbers move on without events.
const AGAIN: Duration = Duration::from_secs(30);
/// Lines of a log are sent together.
const BATCH: Duration = Duration::from_millis(100);
const BATCH_LINES_MAX: usize = 500;
/// Largest page that is made again.
const PAGE_BYTES_MAX: usize = 1 << 20;
const OPENS: &str = "<!--live-->";
const CLOSES: &str = "<!--/live-->";

/// The route of the stream, over pages that it makes again.
pub fn routes(service: Service, pages: Router) -> Router {
    let open = Arc::new(AtomicUsize::new(0));
    let answer = move |state: State<Service>, visitor: Visitor, query: Query<Wanted>, headers: HeaderMap| {
        let (pages, open) = (pages.clone(), open.clone());
        async move { events(state, visitor, query, headers, pages, open).await }
    };
    Router::new().route("/events", get(answer)).with_state(service)
}

#[derive(Deserialize)]
struct Wanted {
    /// The page of the tab.
    topics: String,
    /// The last id that the tab has seen, when it opens the stream anew.
    after: Option<String>,
}

/// Counts a tab for as long as its stream is open.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(open: &Arc<AtomicUsize>) -> Option<Self> {
        let before = open.fetch_add(1, Ordering::Relaxed);
        let place = Self(open.clone());
        (before < TABS_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What else comes beside the pieces of the page.
enum Feed {
    None,
    Log(Box<Lines>),
    /// The output, bytes that were sent, number of the next line, and the beginning of a line that has no end yet.
    Build(Arc<Output>, u64, usize, String),
}

/// Lines of a log that are on their way into one event.
struct Lines {
    tail: Tail,
    asked: Asked,
    /// Number of the last line that was looked at.
    last: u64,
    html: String,
    count: usize,
    due: Instant,
}

struct Tab {
    service: Service,
    pages: Router,
    path: String,
    headers: HeaderMap,
    app: Option<AppId>,
    seen: HashMap<String, u64>,
    events: watch::Receiver<u64>,
    event: u64,
    again_at: Instant,
    beat_at: Instant,
    feed: Feed,
    queue: VecDeque<String>,
    over: bool,
    _place: Place,
}

/// Cookies and the like go on, so that the page is made for the same person.
fn kept(headers: &HeaderMap) -> HeaderMap {
    let names = [header::COOKIE, header::USER_AGENT, header::HOST];
    let mut kept: HeaderMap = names.into_iter().filter_map(|name| Some((name.clone(), headers.get(&name)?.clone()))).collect();
    kept.insert(header::ACCEPT, HeaderValue::from_static("text/html"));
    kept
}

async fn events(
    State(service): State<Service>,
    visitor: Visitor,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
    pages: Router,
    open: Arc<AtomicUsize>,
) -> Response {
    let ours = wanted.topics.starts_with('/') && !wanted.topics.starts_with("//") && !wanted.topics.starts_with("/events");
    let Some(ctx) = visitor.ctx.as_ref() else { return StatusCode::UNAUTHORIZED.into_response() };
    if !ours {
        return StatusCode::UNPROCESSABLE_ENTITY.into_response();
    }
    let Some(place) = Place::take(&open) else { return StatusCode::SERVICE_UNAVAILABLE.into_response() };
    let parts: Vec<&str> = wanted.topics.split(['/', '?']).collect();
    let app = match parts.as_slice() {
        ["", "apps", name, ..] if *name != "new" => match service.app(ctx, name) {
            Ok(app) => Some(app),
            Err(e) => return crate::message::status(&e).into_response(),
        },
        _ => None,
    };
    let last = headers.get("last-event-id").and_then(|v| v.to_str().ok()).map(String::from).or(wanted.after);
    let feed = feed(&service, ctx, app.as_ref(), &wanted.topics, last.as_deref());
    let events = service.newest_event();
    let event = *events.borrow();
    let now = Instant::now();
    let tab = Tab {
        service,
        pages,
        path: wanted.topics,
        headers: kept(&headers),
        app: app.map(|app| app.id),
        seen: HashMap::new(),
        events,
        event,
        again_at: now,
        beat_at: now + HEARTBEAT,
        feed,
        queue: VecDeque::from(["retry: 2000\n:ok\n\n".to_string()]),
        over: false,
        _place: place,
    };
    let stream =
        stream::unfold(
            tab,
            |mut tab| async move { tab.next().await.map(|text| (Ok::<_, Infallible>(Bytes::from(text)), tab)) },
        );
    let headers = [(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")];
    (headers, Body::from_stream(stream)).into_response()
}

fn feed(service: &Service, ctx: &service::Ctx, app: Option<&App>, path: &str, last: Option<&str>) -> Feed {
    let Some(app) = app else { return Feed::None };
    let parts: Vec<&str> = path.split('?').next().unwrap_or("").split('/').collect();
    match parts.as_slice() {
        ["", "apps", _, "logs"] => {
            let uri = path.parse().unwrap_or_default();
            let asked = Query::<Asked>::try_from_uri(&uri).map(|query| query.0).unwrap_or_default();
            let after = last.and_then(|last| last.parse().ok()).unwrap_or(u64::MAX);
            let log = service.logs().app(app.id);
            let after = after.min(log.last_seq());
            let tail = log.tail(logs::Query { filter: asked.filter(), history: logs::History::After(after), live: true });
            Feed::Log(Box::new(Lines { tail, asked, last: after, html: String::new(), count: 0, due: Instant::now() }))
        }
        ["", "apps", name, "builds", id] => match service.build(ctx, name, id) {
            Ok((_, build)) if build.status == domain::BuildStatus::Pending => {
                let seen = last.and_then(|last| last.split_once(':'));
                let (bytes, line) = seen.and_then(|(b, l)| Some((b.parse().ok()?, l.parse().ok()?))).unwrap_or((0, 1));
                Feed::Build(service.outputs().live(build.id.0), bytes, line, String::new())
            }
            _ => Feed::None,
        },
        _ => Feed::None,
    }
}

/// An event: the data on as many lines as it has.
fn event(name: &str, id: Option<String>, html: &str) -> String {
    let mut text = format!("event: {name}\n");
    if let Some(id) = id {
        text.push_str(&format!("id: {id}\n"));
    }
    for line in html.lines() {
        text.push_str("data: ");
        text.push_str(line);
        text.push('\n');
    }
    text.push('\n');
    text
}

/// The pieces of a page, each with the id of its element.
fn pieces(html: &str) -> Vec<(&str, &str)> {
    let mut found = Vec::new();
    for part in html.split(OPENS).skip(1) {
        let Some((piece, _)) = part.split_once(CLOSES) else { continue };
        let id = piece.split_once("id=\"").and_then(|(_, rest)| rest.split('"').next());
        found.extend(id.map(|id| (id, piece.trim())));
    }
    found
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

impl Tab {
    /// The next part of the stream; `None` when it is over.
    async fn next(&mut self) -> Option<String> {
        loop {
            if let Some(text) = self.queue.pop_front() {
                return Some(text);
            }
            if self.over {
                return None;
            }
            tokio::select! {
                changed = self.events.changed() => {
                    if changed.is_err() {
                        return None;
                    }
                    self.touched();
                }
                () = sleep_until(self.again_at) => self.look_again().await,
                () = sleep_until(self.beat_at) => {
                    self.beat_at = Instant::now() + HEARTBEAT;
                    self.queue.push_back(": beat\n\n".into());
                }
                text = self.feed.next() => match text {
                    Some(text) => self.queue.push_back(text),
                    None => {
                        self.feed = Feed::None;
                        self.again_at = Instant::now();
                    }
                },
            }
        }
    }

    /// Something happened; is it time to look?
    fn touched(&mut self) {
        let newest = *self.events.borrow_and_update();
        if self.service.is_touched(self.app, self.event).unwrap_or(true) {
            self.again_at = self.again_at.min(Instant::now() + PAUSE);
        }
        self.event = newest;
    }

    /// Makes the page again and sends what is new in it.
    async fn look_again(&mut self) {
        self.again_at = Instant::now() + AGAIN;
        let mut request = Request::new(Body::empty());
        let Ok(uri) = self.path.parse() else {
            self.over = true;
            return;
        };
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.clone();
        let Ok(response) = self.pages.clone().oneshot(request).await;
        if response.status() != StatusCode::OK {
            // Signed out, the app is gone, or the right to it: the page itself tells.
            self.queue.push_back(event("gone", None, "gone"));
            self.over = true;
            return;
        }
        let Ok(bytes) = axum::body::to_bytes(response.into_body(), PAGE_BYTES_MAX).await else { return };
        let html = String::from_utf8_lossy(&bytes);
        for (id, piece) in pieces(&html) {
            let now = hash(piece);
            if self.seen.insert(id.to_string(), now) != Some(now) {
                self.queue.push_back(event("piece", None, piece));
            }
        }
    }
}

impl Feed {
    async fn next(&mut self) -> Option<String> {
        match self {
            Self::None => std::future::pending().await,
            Self::Log(lines) => lines.next().await,
            Self::Build(output, offset, line, rest) => {
                let piece = output.next(*offset).await.ok().flatten()?;
                *offset += piece.len() as u64;
                rest.push_str(&String::from_utf8_lossy(&piece));
                let end = rest.rfind('\n').map_or(0, |at| at + 1);
                let whole: String = rest.drain(..end).collect();
                let html = log_lines::output(&whole, *line);
                *line += whole.matches('\n').count();
                let sent = *offset - rest.len() as u64;
                Some(event("lines", Some(format!("{sent}:{line}")), &html))
            }
        }
    }
}

impl Lines {
    /// What has come in the last moment. May be dropped at any wait: what was taken stays in `self`.
    async fn next(&mut self) -> Option<String> {
        loop {
            if self.count > 0 && (self.count >= BATCH_LINES_MAX || Instant::now() >= self.due) {
                self.count = 0;
                return Some(event("lines", Some(self.last.to_string()), &std::mem::take(&mut self.html)));
            }
            let line = if self.count == 0 {
                self.tail.next().await?
            } else {
                match timeout_at(self.due, self.tail.next()).await {
                    Ok(line) => line?,
                    Err(_) => continue,
                }
            };
            if line.seq > self.last && self.asked.matches(&line) {
                if self.count == 0 {
                    self.due = Instant::now() + BATCH;
                }
                self.html.push_str(&log_lines::html(&line).0);
                self.count += 1;
            }
            self.last = self.last.max(line.seq);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_found_by_their_ids() {
        let html =
            "<p>a</p><!--live--><div id=\"one\">1</div><!--/live--> <!--live-->\n<p class=\"x\" id=\"two\">2</p>\n<!--/live-->";
        assert_eq!(pieces(html), [("one", "<div id=\"one\">1</div>"), ("two", "<p class=\"x\" id=\"two\">2</p>")]);
    }

    #[test]
    fn an_event_has_its_data_on_lines() {
        assert_eq!(event("piece", Some("7".into()), "a\nb"), "event: piece\nid: 7\ndata: a\ndata: b\n\n");
    }
}
