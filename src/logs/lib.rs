//! Logs: the line reader, one ordered stream per app, the lines kept on disk, live tails, and build output.
//!
//! Nothing here ever pushes back on a dyno: every queue is bounded and loses lines with a count
//! (`logs.md` section 1). This room must not know who may read what; that is `service`.

mod app_log;
pub mod drains;
mod filter;
mod line;
#[cfg(test)]
mod log_tests;
mod output;
mod reader;
pub mod series;
mod store;
mod tail;

pub use app_log::{AppLog, Counts, Logs, Place, Position};
pub use filter::{Filter, GREP_BYTES_MAX, Grep};
pub use line::{LogLine, parse_stamp, stamp, stamp_seconds};
pub use output::{Output, Outputs};
pub use reader::{LineReader, Lines};
pub use store::{Found, Limits};
pub use tail::{History, Query, Tail};

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970-01-01 UTC, as log lines carry them.
pub fn now_us() -> u64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}
