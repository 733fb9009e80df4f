//! One ordered stream per app.

use crate::{
    LogLine, Tail,
    disk::{self, Disk},
    now_us,
    tail::{Filter, TailSender},
};
use bytes::Bytes;
use domain::{AppId, DynoId, limits::LOG_LINES_KEPT};
use std::{
    collections::{HashMap, VecDeque},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;

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
    newest: watch::Sender<u64>,
}

/// Up to where the output of a dyno is in the log.
#[derive(Clone, Debug)]
pub struct Position {
    /// The dyno.
    pub dyno: DynoId,
    /// Bytes of its output since its start.
    pub offset: u64,
    /// Told when the lines up to `offset` are in the file: they survive the end of this process then.
    pub safe: Arc<watch::Sender<u64>>,
}

struct State {
    next_seq: u64,
    /// As found on disk; see [`AppLog::position`].
    positions: HashMap<DynoId, u64>,
    lines: VecDeque<LogLine>,
    tails: Vec<TailSender>,
}

impl AppLog {
    fn load(id: AppId, disk: &Disk) -> Self {
        let (lines, positions) = disk::load(disk.dir(), id, LOG_LINES_KEPT);
        let next_seq = lines.iter().map(|l| l.seq).max().map_or(1, |seq| seq + 1);
        let (newest, _) = watch::channel(next_seq - 1);
        let state = Mutex::new(State { next_seq, positions, lines, tails: Vec::new() });
        Self { id, disk: disk.clone(), state, newest }
    }

    /// Adds one line. `message` may hold anything; a line end inside it becomes a space, so nobody can forge a line.
    /// Never waits.
    pub fn write(&self, source: &'static str, ps: &str, message: impl Into<Bytes>) {
        self.write_all(source, ps, now_us(), std::iter::once(message.into()), None);
    }

    /// Bytes of a dyno's output that a former process of ours had stored; zero for one that is not known.
    pub fn position(&self, dyno: DynoId) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).positions.get(&dyno).copied().unwrap_or(0)
    }

    /// The dyno is gone for good; its position is kept no longer.
    pub fn forget(&self, dyno: DynoId) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).positions.remove(&dyno);
        self.disk.forget(self.id, dyno);
    }

    /// Adds lines that were read at the same time. `position` is stored together with them: after a `kill -9` either both
    /// are there or none.
    pub fn write_all(
        &self,
        source: &'static str,
        ps: &str,
        time_us: u64,
        messages: impl Iterator<Item = Bytes>,
        position: Option<Position>,
    ) {
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
            if count > 0 {
                // Under the lock, so that the file has the order of the numbers. It never waits.
                self.disk.append(self.id, records, count, position);
                self.newest.send_replace(state.next_seq - 1);
            }
        }
    }

    /// Number of the newest line, and a way to wait for the next.
    pub fn newest(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Number of the newest line.
    pub fn last_seq(&self) -> u64 {
        *self.newest.borrow()
    }

    /// Kept lines after number `seq`, oldest first, until their messages have `bytes` bytes. Does not wait.
    pub(crate) fn after(&self, seq: u64, bytes: usize) -> Vec<LogLine> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let from = state.lines.partition_point(|line| line.seq <= seq);
        let mut total = 0;
        let fits = |line: &&LogLine| {
            let room = total < bytes;
            total += line.message.len();
            room
        };
        state.lines.range(from..).take_while(fits).cloned().collect()
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
    async fn lines_and_their_position_are_stored_together_or_not_at_all() {
        let dir = tempfile::tempdir().expect("dir");
        let (first, second) = (DynoId::from(Uuid::from_u128(7)), DynoId::from(Uuid::from_u128(8)));
        let file = dir.path().join(format!("{}.log", Uuid::from_u128(1)));
        let safe = Arc::new(watch::channel(0).0);
        let position = |dyno, offset| Some(Position { dyno, offset, safe: safe.clone() });
        let texts = |from: u32, to: u32| (from..to).map(|n| Bytes::from(n.to_string())).collect::<Vec<_>>().into_iter();
        let (logs, app) = open(dir.path());
        app.write_all("app", "web.1", 1, texts(0, 10), position(first, 20));
        app.write_all("app", "web.1", 1, texts(10, 15), position(first, 35));
        logs.flush();
        assert_eq!(*safe.borrow(), 35);
        drop((logs, app));
        let whole = std::fs::read(&file).expect("log");
        let ends: Vec<usize> = whole.iter().enumerate().filter(|(_, b)| **b == b'\n').map(|(at, _)| at + 1).collect();
        for cut in ends[0]..=whole.len() {
            std::fs::write(&file, &whole[..cut]).expect("cut");
            let (_logs, app) = open(dir.path());
            let expected = match cut {
                cut if cut == whole.len() => (15, 35),
                cut if cut >= ends[11] => (10, 20), // the first mark, ten lines and theirs
                _ => (0, 0),
            };
            assert_eq!((history(&app, Filter::default(), 100).await.len(), app.position(first)), expected, "cut at {cut}");
        }
        // Positions outlive the files that they were written to, until they are forgotten.
        let (logs, app) = open(dir.path());
        app.write_all("app", "web.1", 1, texts(0, 1), position(second, 5));
        (0..4000).for_each(|n| app.write("app", "web.2", format!("line {n}")));
        app.forget(second);
        (0..4000).for_each(|n| app.write("app", "web.2", format!("line {n}")));
        logs.flush();
        drop((logs, app));
        let (_logs, app) = open(dir.path());
        assert_eq!((app.position(first), app.position(second)), (35, 0));
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
