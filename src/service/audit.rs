//! What happened: the audit list is a reader of the event log.

use crate::{Action, Ctx, On, Result, Service, access};
use domain::{AppId, Event};
use store::{ReadRows, tables};

/// Events read at once on the way back in time.
const CHUNK: u64 = 1000;
/// At most this many events are looked through for one page.
const LOOKED_AT_MAX: u64 = 100_000;

impl Service {
    /// Events of an app, newest first, before number `before`, at most `max`. Open to everyone who may see the app.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn app_events(&self, ctx: &Ctx, app: &str, before: Option<u64>, max: usize) -> Result<Vec<Event>> {
        let app = self.app_for(ctx, Action::Read, app)?;
        self.events_before(Some(app.id), before, max)
    }

    /// Events of the whole installation, newest first.
    ///
    /// # Errors
    /// `forbidden` for others than admins.
    pub fn all_events(&self, ctx: &Ctx, before: Option<u64>, max: usize) -> Result<Vec<Event>> {
        access::check(self.store(), ctx, Action::ManagePeople, On::Platform)?;
        self.events_before(None, before, max)
    }

    /// Number of the newest event, and a way to wait for the next.
    pub fn newest_event(&self) -> tokio::sync::watch::Receiver<u64> {
        self.store().committed()
    }

    /// Does an event after number `after` concern `app`, or for `None` anything at all? A hint for who shows pages: it
    /// tells nothing but that it is time to look again.
    ///
    /// # Errors
    /// When the store can not be read.
    pub fn is_touched(&self, app: Option<AppId>, after: u64) -> Result<bool> {
        let Some(app) = app else { return Ok(*self.store().committed().borrow() > after) };
        let chunk = usize::try_from(CHUNK).unwrap_or(usize::MAX);
        let events = self.store().scan_from(&tables::EVENTS, &after.saturating_add(1), chunk)?;
        Ok(events.len() == chunk || events.iter().any(|event| event.app == Some(app)))
    }

    fn events_before(&self, app: Option<AppId>, before: Option<u64>, max: usize) -> Result<Vec<Event>> {
        let newest = *self.store().committed().borrow();
        let mut end = before.unwrap_or(u64::MAX).min(newest.saturating_add(1));
        let (mut found, mut looked_at) = (Vec::new(), 0);
        while end > 1 && found.len() < max && looked_at < LOOKED_AT_MAX {
            let start = end.saturating_sub(CHUNK).max(1);
            let count = usize::try_from(end - start).unwrap_or(usize::MAX);
            let chunk = self.store().scan_from(&tables::EVENTS, &start, count)?;
            let fits = |e: &Event| e.seq < end && app.is_none_or(|id| e.app == Some(id));
            found.extend(chunk.into_iter().rev().filter(fits));
            looked_at += end - start;
            end = start;
        }
        found.truncate(max);
        Ok(found)
    }
}
