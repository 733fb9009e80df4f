//! From a cage's bytes to the app's log.

use logs::{AppLog, LineReader, now_us};
use runtime::Sink;
use std::sync::{Arc, Mutex, PoisonError};

/// The log of one dyno.
pub struct DynoSink {
    log: Arc<AppLog>,
    ps: String,
    reader: Mutex<LineReader>,
}

impl DynoSink {
    /// Lines go to `log` under the name `ps`.
    pub fn new(log: Arc<AppLog>, ps: String) -> Arc<Self> {
        Arc::new(Self { log, ps, reader: Mutex::default() })
    }

    /// The dyno ended: its unfinished line is a line.
    pub fn finish(&self) {
        let mut lines = Vec::new();
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).finish(|line| lines.push(line));
        self.log.write_all("app", &self.ps, now_us(), lines.into_iter());
    }

    /// A line of the platform about this dyno.
    pub fn platform(&self, text: &str) {
        self.log.write("heroku", &self.ps, text.to_string());
    }
}

impl Sink for DynoSink {
    fn output(&self, time_us: u64, bytes: &[u8]) {
        let mut lines = Vec::new();
        self.reader.lock().unwrap_or_else(PoisonError::into_inner).push(bytes, |line| lines.push(line));
        self.log.write_all("app", &self.ps, time_us, lines.into_iter());
    }

    fn dropped(&self, lines: u64) {
        self.log.write("app", "log-shuttle", format!("Error L12: {lines} messages dropped."));
    }

    fn grace_over(&self) {
        self.platform("Error R12 (Exit timeout) -> At least one process failed to exit within 30 seconds of SIGTERM");
        self.platform("Stopping remaining processes with SIGKILL");
    }
}
