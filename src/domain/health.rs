//! The health check that an app may ask for: what a web dyno must answer before it counts as up.

use serde::{Deserialize, Serialize};

/// One check; a status of 200 to 399 is a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Path with query, from the slash on.
    pub path: String,
    /// So many in a row.
    pub successes: u32,
    /// Each answer must be there in this time.
    pub timeout_s: u64,
    /// From one try to the next.
    pub interval_s: u64,
}

/// Successes in a row when none are named: one could be luck.
pub const SUCCESSES: u32 = 2;
/// Seconds for an answer when none are named.
pub const TIMEOUT_S: u64 = 5;
/// Seconds between tries when none are named.
pub const INTERVAL_S: u64 = 1;

const PATH_BYTES_MAX: usize = 1024;

impl HealthCheck {
    /// Says what is wrong with it, if something is.
    ///
    /// # Errors
    /// With a sentence for the user.
    pub fn check(&self) -> Result<(), String> {
        let plain = self.path.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
        if !self.path.starts_with('/') || !plain || self.path.len() > PATH_BYTES_MAX {
            return Err(format!("path must begin with / and be at most {PATH_BYTES_MAX} plain characters, such as /health."));
        }
        if !(1..=10).contains(&self.successes) {
            return Err("successes must be a number from 1 to 10.".into());
        }
        if !(1..=60).contains(&self.timeout_s) || !(1..=60).contains(&self.interval_s) {
            return Err("timeout and interval must be 1 to 60 seconds.".into());
        }
        Ok(())
    }
}

/// Counts successes in a row, and remembers what was seen last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// In a row, up to now.
    pub successes: u32,
    /// What the last try saw.
    pub last: Option<String>,
}

impl Tally {
    /// Takes the outcome of a try: the status, or why there was none. True when it is enough.
    pub fn take(&mut self, outcome: Result<u16, String>, check: &HealthCheck) -> bool {
        let good = outcome.as_ref().is_ok_and(|status| (200..400).contains(status));
        self.successes = if good { self.successes + 1 } else { 0 };
        self.last = Some(outcome.map_or_else(|why| why, |status| format!("status {status}")));
        self.successes >= check.successes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check() -> HealthCheck {
        HealthCheck { path: "/health?deep=1".into(), successes: 2, timeout_s: 5, interval_s: 1 }
    }

    #[test]
    fn wrong_checks_are_told() {
        assert_eq!(check().check(), Ok(()));
        for path in ["", "health", "/a b", "/a\r\nX: y", "/#a", "/ü"] {
            assert!(HealthCheck { path: path.into(), ..check() }.check().is_err(), "{path:?}");
        }
        assert!(HealthCheck { successes: 0, ..check() }.check().is_err());
        assert!(HealthCheck { timeout_s: 61, ..check() }.check().is_err());
        assert!(HealthCheck { interval_s: 0, ..check() }.check().is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn it_passes_at_the_first_run_of_successes_that_is_long_enough(
            outcomes in proptest::collection::vec(prop_oneof![Just(Ok(200u16)), Just(Ok(302)), Just(Ok(500)), Just(Err(()))], 0..20),
            successes in 1u32..4,
        ) {
            let check = HealthCheck { successes, ..check() };
            let mut tally = Tally::default();
            let mut run = 0;
            for outcome in outcomes {
                run = if outcome.is_ok_and(|s| s < 400) { run + 1 } else { 0 };
                prop_assert_eq!(tally.take(outcome.map_err(|()| "no answer".into()), &check), run >= successes);
            }
        }
    }
}
