//! When a crashed dyno is tried again (`runtime.md` section 7).

use crate::UnixMs;

/// Waits in milliseconds before try 1, 2, 3 …; the last one repeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// Never empty.
    waits_ms: Vec<u64>,
}

/// A dyno that was up this long resets the count.
pub const GOOD_RUN_MS: u64 = 5 * 60 * 1000;

const MINUTE_MS: u64 = 60_000;

impl Default for Backoff {
    /// The documented table: at once, then 20, 40, 60, 180, 320 minutes, then every 320.
    fn default() -> Self {
        Self { waits_ms: [0, 20, 40, 60, 180, 320].iter().map(|m| m * MINUTE_MS).collect() }
    }
}

impl Backoff {
    /// A table of an operator's own; an empty one means "at once, always".
    pub fn from_seconds(seconds: &[u64]) -> Self {
        let waits_ms: Vec<u64> = seconds.iter().map(|s| s.saturating_mul(1000)).collect();
        Self { waits_ms: if waits_ms.is_empty() { vec![0] } else { waits_ms } }
    }

    /// When a slot that crashed `crashes` times in a row, last at `crashed_at`, is started again.
    pub fn next_start(&self, crashes: u32, crashed_at: UnixMs) -> UnixMs {
        let index = (crashes.max(1) as usize - 1).min(self.waits_ms.len() - 1);
        crashed_at.plus_ms(self.waits_ms[index])
    }
}

/// Crashes in a row after one more crash of a dyno that was up since `up_since` (`None`: never came up).
pub fn count_after_crash(before: u32, up_since: Option<UnixMs>, now: UnixMs) -> u32 {
    match up_since {
        Some(since) if now.since_ms(since) >= GOOD_RUN_MS => 1,
        _ => before.saturating_add(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_documented_table() {
        let table = Backoff::default();
        let at = |n| table.next_start(n, UnixMs(0)).0 / MINUTE_MS;
        assert_eq!([at(1), at(2), at(3), at(4), at(5), at(6), at(7), at(99)], [0, 20, 40, 60, 180, 320, 320, 320]);
    }

    #[test]
    fn a_long_run_resets_the_count_and_a_short_one_does_not() {
        assert_eq!(count_after_crash(4, Some(UnixMs(0)), UnixMs(GOOD_RUN_MS)), 1);
        assert_eq!(count_after_crash(4, Some(UnixMs(0)), UnixMs(GOOD_RUN_MS - 1)), 5);
        assert_eq!(count_after_crash(0, None, UnixMs(0)), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn waits_never_shrink_in_the_default_table(n in 1u32..50, t in 0u64..1_000_000) {
            let table = Backoff::default();
            prop_assert!(table.next_start(n, UnixMs(t)) <= table.next_start(n + 1, UnixMs(t)));
        }
    }
}
