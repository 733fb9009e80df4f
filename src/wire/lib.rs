//! The JSON of Platform API v3: types, error body, list ranges. No logic, and nothing of the rooms that fill them
//! (`platform-api.md` section 13).

pub mod attach;
mod metrics;
mod network;
pub mod oauth;
mod pipelines;
mod range;
mod setups;
mod teams;
mod types;
mod volumes;
mod webhooks;

pub use metrics::*;
pub use network::*;
pub use pipelines::*;
pub use range::{Order, Range};
pub use setups::*;
pub use teams::*;
pub use types::*;
pub use volumes::*;
pub use webhooks::*;

use jiff::Timestamp;

/// Seconds since 1970 of a time as [`time`] writes it, or in any other form of RFC 3339.
pub fn unix_s(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<Timestamp>().ok()?.as_second()).ok()
}

/// `YYYY-MM-DDTHH:MM:SSZ`, whole seconds (`platform-api.md` section 9).
pub fn time(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(0);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH).strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
