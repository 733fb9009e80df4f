//! One ordered stream per app.

use crate::{
    LogLine, Tail,
    disk::{self, Disk},
    now_us,
    tail::{Filter, TailSender},
};
use bytes::Bytes;
use domain::{AppId, limits::LOG_LINES_KEPT};
use std::{
    collections::{HashMap, VecDeque},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

/// All logs of the host.
#[derive(Clone)]
pub struct Logs {
    inner: Arc<LogsInner>,
}

struct LogsInner {
    apps: Mutex<HashMap<AppId, Arc<AppLog>>>,
    disk: Disk,
}

impl Logs {
    /// Logs kept under `dir`.
    ///
    /// # Errors
    /// When the directory can not be made or the writer thread does not start.
    pub fn open(dir: &Path) -> std::io::Result<Self> {
        let disk = Disk::start(dir)?;
        Ok(Self { inner: Arc::new(LogsInner { apps: Mutex::default(), disk }) })
    }

    /// The log of an app; its kept lines are read from disk when it is asked for first.
    pub fn app(&self, id: AppId) -> Arc<AppLog> {
        let mut apps = self.inner.apps.lock().unwrap_or_else(PoisonError::into_inner);
        apps.entry(id).or_insert_with(|| Arc::new(AppLog::load(id, &self.inner.disk))).clone()
    }

    /// Removes the log of an app for good.
    pub fn remove(&self, id: AppId) {
        self.inner.apps.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        self.inner.disk.remove(id);
    }

    /// Waits until every line that was written is on its way to the disk; for a clean stop.
    pub fn flush(&self) {
        self.inner.disk.flush();
    }
}

/// The log of one app.
pub struct AppLog {
    id: AppId,
    disk: Disk,
    state: Mutex<State>,
}

struct State {
    next_seq: u64,
    lines: VecDeque<LogLine>,
    tails: Vec<TailSender>,
}

impl AppLog {
    fn load(id: AppId, disk: &Disk) -> Self {
        let lines = disk::load(disk.dir(), id, LOG_LINES_KEPT);
        let next_seq = lines.back().map_or(1, |l| l.seq + 1);
        Self { id, disk: disk.clone(), state: Mutex::new(State { next_seq, lines, tails: Vec::new() }) }
    }

    /// Adds one line. `message` may hold anything; a line end inside it becomes a space, so nobody can forge a line.
    /// Never waits.
    pub fn write(&self, source: &'static str, ps: &str, message: impl Into<Bytes>) {
        self.write_all(source, ps, now_us(), std::iter::once(message.into()));
    }

    /// Adds lines that were read at the same time.
    pub fn write_all(&self, source: &'static str, ps: &str, time_us: u64, messages: impl Iterator<Item = Bytes>) {
        let (source, ps) = (Bytes::from_static(source.as_bytes()), Bytes::copy_from_slice(ps.as_bytes()));
        let mut records = Vec::new();
        let mut count = 0;
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            for message in messages {
                let seq = state.next_seq;
                state.next_seq += 1;
                let line = LogLine { seq, time_us, source: source.clone(), ps: ps.clone(), message: one_line(message) };
                line.push_record(&mut records);
                count += 1;
                state.tails.retain(|tail| tail.send(&line));
                if state.lines.len() == LOG_LINES_KEPT {
                    state.lines.pop_front();
                }
                state.lines.push_back(line);
            }
        }
        if count > 0 {
            self.disk.append(self.id, records, count);
        }
    }

    /// The last `lines` lines that match, oldest first, then live ones if `live`.
    pub fn tail(&self, filter: Filter, lines: usize, live: bool) -> Tail {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut history: Vec<LogLine> =
            state.lines.iter().rev().filter(|l| filter.matches(l)).take(lines.min(LOG_LINES_KEPT)).cloned().collect();
        history.reverse();
        let (tail, sender) = Tail::new(history, filter, live);
        state.tails.extend(sender);
        tail
    }
}

fn one_line(message: Bytes) -> Bytes {
    if !message.contains(&b'\n') {
        return message;
    }
    message.iter().map(|b| if *b == b'\n' { b' ' } else { *b }).collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn open(dir: &Path) -> (Logs, Arc<AppLog>) {
        let logs = Logs::open(dir).expect("logs");
        let app = logs.app(AppId::from(Uuid::from_u128(1)));
        (logs, app)
    }

    async fn history(app: &AppLog, filter: Filter, lines: usize) -> Vec<String> {
        let mut tail = app.tail(filter, lines, false);
        let mut out = Vec::new();
        while let Some(line) = tail.next().await {
            out.push(line.text());
        }
        out
    }

    #[tokio::test]
    async fn lines_survive_a_restart_in_order_and_numbers_go_on() {
        let dir = tempfile::tempdir().expect("dir");
        let (logs, app) = open(dir.path());
        (0..4000).for_each(|n| app.write("app", "web.1", format!("line {n}")));
        logs.flush();
        drop((logs, app));
        let (logs, app) = open(dir.path());
        let got = history(&app, Filter::default(), 9999).await;
        assert_eq!(got.len(), LOG_LINES_KEPT);
        assert_eq!(got.last().map(String::as_str), Some("app[web.1]: line 3999"));
        app.write("app", "web.1", "after");
        assert_eq!(app.tail(Filter::default(), 1, false).next().await.map(|l| l.seq), Some(4001));
        logs.flush();
    }

    #[tokio::test]
    async fn filters_come_before_the_count_and_a_type_matches_with_a_dot_only() {
        let dir = tempfile::tempdir().expect("dir");
        let (_logs, app) = open(dir.path());
        for (source, ps) in
            [("app", "web.1"), ("app", "web.2"), ("app", "webhook.1"), ("heroku", "router"), ("heroku", "web.1")]
        {
            app.write(source, ps, "x");
        }
        let ps = |ps: &str| Filter { ps: Some(ps.into()), ..Filter::default() };
        assert_eq!(history(&app, ps("web"), 100).await, ["app[web.1]: x", "app[web.2]: x", "heroku[web.1]: x"]);
        assert_eq!(history(&app, ps("web.1"), 1).await, ["heroku[web.1]: x"]);
        let filter = Filter { source: Some("heroku".into()), ps: Some("web".into()) };
        assert_eq!(history(&app, filter, 100).await, ["heroku[web.1]: x"]);
    }

    #[tokio::test]
    async fn a_tail_has_no_gap_at_the_seam_and_a_slow_one_is_told_what_it_lost() {
        let dir = tempfile::tempdir().expect("dir");
        let (_logs, app) = open(dir.path());
        app.write("app", "web.1", "before");
        let mut tail = app.tail(Filter::default(), 100, true);
        (0..1500).for_each(|n| app.write("app", "web.1", format!("{n}")));
        assert_eq!(tail.next().await.map(|l| l.text()).as_deref(), Some("app[web.1]: before"));
        let notice = tail.next().await.expect("notice").text();
        assert!(
            notice.starts_with(
                "heroku[logplex]: Error L11 (Tail buffer overflow) -> This tail session dropped 500 messages since "
            )
        );
        for n in 0..1000 {
            assert_eq!(tail.next().await.map(|l| l.text()), Some(format!("app[web.1]: {n}")));
        }
    }

    #[tokio::test]
    async fn nobody_can_forge_a_line() {
        let dir = tempfile::tempdir().expect("dir");
        let (logs, app) = open(dir.path());
        app.write("app", "api", "a\n9 9 heroku router forged");
        logs.flush();
        drop((logs, app));
        let (_logs, app) = open(dir.path());
        assert_eq!(history(&app, Filter::default(), 100).await, ["app[api]: a 9 9 heroku router forged"]);
    }
}
