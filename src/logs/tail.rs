//! Reading an app's log: history filtered before it is counted, then live lines.

use crate::{LogLine, line::stamp_seconds};
use bytes::Bytes;
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};
use tokio::sync::mpsc;

/// Which lines a reader wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Exact source.
    pub source: Option<String>,
    /// A dyno (`web.1`) or a type (`web`): equal, or beginning with the value and a dot.
    pub ps: Option<String>,
}

impl Filter {
    /// True when the line is wanted.
    pub fn matches(&self, line: &LogLine) -> bool {
        let source = self.source.as_ref().is_none_or(|s| s.as_bytes() == line.source);
        let ps = self.ps.as_ref().is_none_or(|p| {
            line.ps.strip_prefix(p.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'.'))
        });
        source && ps
    }
}

/// Lines that may wait for one slow reader (L11 when there are more).
const TAIL_LINES_MAX: usize = 1000;

/// The log's side of a tail.
pub(crate) struct TailSender {
    filter: Filter,
    lines: mpsc::Sender<LogLine>,
    lost: Arc<Lost>,
}

#[derive(Default)]
struct Lost {
    count: AtomicU64,
    since_us: AtomicU64,
}

impl TailSender {
    /// Hands a line over without waiting; false when the reader is gone.
    pub(crate) fn send(&self, line: &LogLine) -> bool {
        if !self.filter.matches(line) {
            return !self.lines.is_closed();
        }
        match self.lines.try_send(line.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => false,
            Err(mpsc::error::TrySendError::Full(_)) => {
                if self.lost.count.fetch_add(1, Ordering::Relaxed) == 0 {
                    self.lost.since_us.store(line.time_us, Ordering::Relaxed);
                }
                true
            }
        }
    }
}

/// The reader's side: first the history, then what comes.
pub struct Tail {
    history: std::vec::IntoIter<LogLine>,
    live: Option<mpsc::Receiver<LogLine>>,
    lost: Arc<Lost>,
}

impl Tail {
    pub(crate) fn new(history: Vec<LogLine>, filter: Filter, live: bool) -> (Self, Option<TailSender>) {
        let lost = Arc::new(Lost::default());
        let (sender, receiver) = mpsc::channel(TAIL_LINES_MAX);
        let tail = Self { history: history.into_iter(), live: live.then_some(receiver), lost: lost.clone() };
        (tail, live.then_some(TailSender { filter, lines: sender, lost }))
    }

    /// The history alone.
    pub fn into_history(self) -> impl Iterator<Item = LogLine> {
        self.history
    }

    /// The next line; `None` at the end of the history when the tail is not live.
    pub async fn next(&mut self) -> Option<LogLine> {
        if let Some(line) = self.history.next() {
            return Some(line);
        }
        let line = self.live.as_mut()?.recv().await?;
        let lost = self.lost.count.swap(0, Ordering::Relaxed);
        if lost == 0 {
            return Some(line);
        }
        let since = stamp_seconds(self.lost.since_us.load(Ordering::Relaxed));
        let text = format!("Error L11 (Tail buffer overflow) -> This tail session dropped {lost} messages since {since}");
        // The notice goes first; the line it was found with follows as history.
        self.history = vec![line.clone()].into_iter();
        let (source, ps) = (Bytes::from_static(b"heroku"), Bytes::from_static(b"logplex"));
        Some(LogLine { source, ps, message: Bytes::from(text), ..line })
    }
}
