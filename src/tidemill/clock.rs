//! The wall clock.

use domain::{UnixMs, time::Clock};
use std::time::{SystemTime, UNIX_EPOCH};

/// The system's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMs {
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMs(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }
}
