//! Reading an app's log: history filtered before it is counted, then live lines.

use crate::{
    AppLog, Filter, LogLine,
    app_log::Next,
    line::{stamp, stamp_seconds},
    now_us,
    store::{Batch, Found},
};
use bytes::Bytes;
use std::{collections::VecDeque, sync::Arc};
use tokio::{sync::watch, task::JoinHandle};

/// Where a reader begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum History {
    /// With the last so many lines that match, of those before a number if one is given.
    Last(usize, Option<u64>),
    /// With the line after this number.
    After(u64),
    /// With the first line that matches; all are given.
    All,
}

/// What a reader asks for.
#[derive(Clone, Debug)]
pub struct Query {
    /// Which lines.
    pub filter: Filter,
    /// Where it begins.
    pub history: History,
    /// Live lines afterwards.
    pub live: bool,
}

/// A reader: first the history, then what comes.
pub struct Tail {
    log: Arc<AppLog>,
    filter: Filter,
    newest: watch::Receiver<u64>,
    /// Of the history, until it is read.
    history: Option<History>,
    /// A search on its way; it goes on when nobody waits for a moment.
    search: Option<JoinHandle<(Vec<LogLine>, Found)>>,
    ready: VecDeque<LogLine>,
    /// Number of the next line.
    next: u64,
    /// Ends before this number; `None` for a live one.
    end: Option<u64>,
    /// While it has not come up to the newest line once, it may read the disk; after that a gap is its own loss.
    catching_up: bool,
    /// Time of the last line.
    seen_us: u64,
    lost: u64,
}

impl Tail {
    pub(crate) fn new(log: Arc<AppLog>, query: Query) -> Self {
        let newest = log.newest();
        let next = log.last_seq() + 1;
        let ends = !query.live || matches!(query.history, History::Last(_, Some(_)));
        let catching_up = true;
        Self {
            log,
            filter: query.filter,
            newest,
            history: Some(query.history),
            search: None,
            ready: VecDeque::new(),
            next,
            end: ends.then_some(next),
            catching_up,
            seen_us: now_us(),
            lost: 0,
        }
    }

    /// Lines that this reader was told to have lost so far.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The next line; `None` at the end of a tail that is not live.
    pub async fn next(&mut self) -> Option<LogLine> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if !self.fill().await {
                return None;
            }
        }
    }

    /// The next line if it is there already.
    pub fn try_next(&mut self) -> Option<LogLine> {
        self.ready.pop_front()
    }

    /// Gets more lines, or waits for them; false at the end. May be dropped at any time.
    async fn fill(&mut self) -> bool {
        if let Some(history) = self.history {
            self.read_history(history).await;
            self.history = None;
            return true;
        }
        if self.end.is_some_and(|end| self.next >= end) {
            return false;
        }
        match self.log.next(self.next) {
            Next::Batches(batches, next) => {
                self.take(&batches, next);
                if self.ready.is_empty() {
                    // Others have their turn while a filter leaves all of a flood out.
                    tokio::task::yield_now().await;
                }
            }
            Next::Nothing => {
                self.catching_up = false;
                let before = self.next;
                return self.newest.wait_for(|newest| *newest >= before).await.is_ok();
            }
            Next::Behind(_) if self.catching_up => self.read_disk().await,
            Next::Behind(first) => {
                let lost = first - self.next;
                self.lost += lost;
                let since = stamp_seconds(self.seen_us);
                self.notice(format!(
                    "Error L11 (Tail buffer overflow) -> This tail session dropped {lost} messages since {since}"
                ));
                self.next = first;
            }
        }
        true
    }

    fn take(&mut self, batches: &[Arc<Batch>], next: u64) {
        let (from, end) = (self.next, self.end.unwrap_or(u64::MAX));
        for batch in batches {
            self.seen_us = batch.time_us;
            if !self.filter.matches_batch(batch) {
                continue;
            }
            let any = self.filter.takes_any_message();
            let wanted =
                batch.each().filter(|l| (from..end).contains(&l.seq) && (any || self.filter.matches_message(&l.message)));
            self.ready.extend(wanted);
        }
        self.next = next;
    }

    async fn read_disk(&mut self) {
        let mut dealing = self.log.dealing();
        let (batches, next) = self.log.stored(self.next, &self.filter).await;
        if next > self.next {
            self.take(&batches, next);
            return;
        }
        match self.log.next(self.next) {
            // Dealt with and not there: it was lost on the way to the disk, which the log itself tells.
            Next::Behind(first) if self.log.dealt() >= first => self.next = first,
            // On their way to the disk.
            Next::Behind(_) => drop(dealing.changed().await),
            _ => {}
        }
    }

    async fn read_history(&mut self, history: History) {
        match history {
            History::Last(count, before) => {
                let before = before.unwrap_or(self.next).min(self.next);
                let (log, filter) = (&self.log, &self.filter);
                let search = self.search.get_or_insert_with(|| {
                    let (log, filter) = (log.clone(), filter.clone());
                    tokio::spawn(async move { log.last_of(filter, count, before).await })
                });
                let (lines, found) = search.await.unwrap_or_default();
                self.search = None;
                self.warn(found);
                self.ready.extend(lines);
            }
            History::After(seq) => self.next = self.next.min(seq + 1),
            History::All => {
                let since_us = self.filter.since_us.unwrap_or(0);
                self.next = self.log.seq_at(since_us).await.max(1).min(self.next);
            }
        }
    }

    /// What a reader of history must know.
    fn warn(&mut self, found: Found) {
        const L15: &str = "Error L15 (Tail buffer temporarily unavailable) ->";
        if found.unreadable {
            self.notice(format!("{L15} The stored lines can not be read now"));
        }
        if found.damaged > 0 {
            self.notice(format!("{L15} {} stored lines are damaged and left out", found.damaged));
        }
        if let Some(back_us) = found.stopped_us {
            self.notice(format!(
                "{L15} The search was too much work and went back to {} only; go on with --until",
                stamp(back_us)
            ));
        }
    }

    /// A line to this reader alone. It has the number of the line before it, so that a client which comes back with that
    /// number misses nothing.
    fn notice(&mut self, text: String) {
        let (source, ps) = (Bytes::from_static(b"heroku"), Bytes::from_static(b"logplex"));
        let line =
            LogLine { seq: self.next.saturating_sub(1), time_us: now_us(), release: 0, source, ps, message: text.into() };
        self.ready.push_back(line);
    }
}
