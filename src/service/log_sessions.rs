//! Log sessions: a URL with a secret of its own, open for five minutes (`logs.md` section 3).

use crate::{Action, Ctx, Error, Result, Service, auth::random_key};
use domain::{
    AppId, UnixMs,
    limits::{LOG_LINES_KEPT, LOG_SESSION_MS},
};
use logs::{Filter, History, Query, Tail};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

/// What a reader asks for.
#[derive(Debug, Clone, Default)]
pub struct LogRequest {
    /// Lines of history; 100 when nothing is said, at most 1500.
    pub lines: Option<usize>,
    /// Only lines before this number: the page before one that was read.
    pub before: Option<u64>,
    /// Every line that matches, oldest first, whatever `lines` says.
    pub all: bool,
    /// Which lines.
    pub filter: Filter,
    /// Live lines afterwards.
    pub tail: bool,
    /// An object a line instead of the display form.
    pub json: bool,
}

struct Session {
    app: AppId,
    request: LogRequest,
    end: UnixMs,
}

/// Sessions that may be open at once.
const SESSIONS_MAX: usize = 10_000;
const DEFAULT_LINES: usize = 100;

/// Kept in memory: after a restart clients ask for a new one.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<String, Session>>);

impl Service {
    /// Makes a session; returns the secret of its URL.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `conflict` when there are too many.
    pub fn create_log_session(&self, ctx: &Ctx, app: &str, request: LogRequest) -> Result<String> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let key = random_key()?;
        let mut open = self.inner.sessions.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, session| session.end > ctx.now);
        if open.len() >= SESSIONS_MAX {
            return Err(Error::conflict("Too many log sessions are open; try again in five minutes."));
        }
        open.insert(key.clone(), Session { app: app.id, request, end: ctx.now.plus_ms(LOG_SESSION_MS) });
        Ok(key)
    }

    /// Opens the stream of a session, and tells whether it is one of objects. A reader that comes back names the number of
    /// the last line that it got: it goes on after that.
    ///
    /// # Errors
    /// `not_found` when it is unknown or has expired.
    pub fn open_log_session(&self, key: &str, after: Option<u64>) -> Result<(Tail, bool)> {
        let now = self.parts().clock.now();
        let open = self.inner.sessions.0.lock().unwrap_or_else(PoisonError::into_inner);
        let session = open.get(key).filter(|s| s.end > now);
        let session =
            session.ok_or_else(|| Error::not_found("log_session", "This log session has expired; ask for a new one."))?;
        let request = &session.request;
        let lines = request.lines.unwrap_or(DEFAULT_LINES).min(LOG_LINES_KEPT);
        let history = match after {
            Some(seq) => History::After(seq),
            None if request.all => History::All,
            None => History::Last(lines, request.before),
        };
        let query = Query { filter: request.filter.clone(), history, live: request.tail };
        Ok((self.logs().app(session.app).tail(query), request.json))
    }
}
