//! Daily cycling: every dyno of the formation is replaced after a day plus a random part of its own (`runtime.md` section
//! 8), so that what leaks is freed and dynos of an app do not go at the same moment.

use crate::{Dyno, DynoKind, DynoState, UnixMs};

/// The random part is at most 216 minutes for 24 hours: 15 %.
const SPREAD_PERCENT: u64 = 15;

/// When a dyno is to be replaced; `None` for one that is not cycled. `after_ms` is the fixed part. The random part comes
/// from the id, so it is the same after a restart of the daemon. What is overdue when a daemon starts is spread over the
/// random part, lest all dynos of the host be doubled at once.
pub fn due(dyno: &Dyno, after_ms: u64, daemon_started_at: UnixMs) -> Option<UnixMs> {
    if dyno.kind != DynoKind::Formation || dyno.state != DynoState::Up || dyno.restart {
        return None;
    }
    let random = u64::from(u16::from_le_bytes([dyno.id.as_bytes()[14], dyno.id.as_bytes()[15]]));
    let spread = after_ms / 100 * SPREAD_PERCENT * random / u64::from(u16::MAX);
    Some(dyno.created_at.plus_ms(after_ms).max(daemon_started_at).plus_ms(spread))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::dyno;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn between_a_day_and_a_day_and_216_minutes(id in any::<u128>(), created in 0u64..1 << 40) {
            const DAY_MS: u64 = 86_400_000;
            let mut dyno = dyno(id, "web", 1, 1, DynoState::Up);
            dyno.created_at = UnixMs(created);
            let age = due(&dyno, DAY_MS, UnixMs(created)).map(|at| at.0 - created);
            prop_assert!(age.is_some_and(|age| (DAY_MS..=DAY_MS + 216 * 60_000).contains(&age)), "{age:?}");
            let late = UnixMs(created + 9 * DAY_MS);
            let spread = due(&dyno, DAY_MS, late).map(|at| at.since_ms(late));
            prop_assert!(spread.is_some_and(|ms| ms <= 216 * 60_000), "{spread:?}");
            for state in [DynoState::Starting, DynoState::Crashed, DynoState::Stopping] {
                dyno.state = state;
                prop_assert_eq!(due(&dyno, DAY_MS, late), None);
            }
        }
    }
}
