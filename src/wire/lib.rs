//! The JSON of Platform API v3: types, error body, list ranges. No logic, and nothing of the rooms that fill them
//! (`platform-api.md` section 13).

pub mod attach;
mod range;
mod teams;
mod types;

pub use range::{Order, Range};
pub use teams::*;
pub use types::*;

use jiff::Timestamp;

/// `YYYY-MM-DDTHH:MM:SSZ`, whole seconds (`platform-api.md` section 9).
pub fn time(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(0);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
