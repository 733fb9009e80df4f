//! When an app with Eco web dynos goes to sleep (`runtime.md` section 8).

use crate::{
    Dyno, DynoKind, UnixMs,
    plan::{WEB, Wanted},
};

/// The size that sleeps.
const SLEEPING_SIZE: &str = "Eco";

/// What the router saw of an app.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Begin or end of the last request, zero for none in the life of this daemon.
    pub last: UnixMs,
    /// Requests and upgraded connections that are open.
    pub open: usize,
}

/// When the app goes to sleep if nobody comes; `None` for one that does not. The clock starts with the daemon, with the
/// newest change of a web dyno, and with the last request, whichever is the latest; while a request is open, now.
pub fn due(
    wanted: &Wanted,
    dynos: &[Dyno],
    traffic: Traffic,
    started_at: UnixMs,
    after_ms: u64,
    now: UnixMs,
) -> Option<UnixMs> {
    let web = wanted.types.iter().find(|t| t.ptype == WEB && t.quantity > 0)?;
    // A release that is still on its way is brought to its end first.
    let settled = wanted.release.is_some() && wanted.proven && !wanted.asleep;
    if after_ms == 0 || web.size != SLEEPING_SIZE || !settled {
        return None;
    }
    // None of them is there when the app was just woken by hand.
    let changed = dynos.iter().filter(|d| d.kind == DynoKind::Formation && d.ptype == WEB).map(|d| d.updated_at).max()?;
    let quiet_since = if traffic.open > 0 { now } else { traffic.last };
    Some(quiet_since.max(started_at).max(changed).plus_ms(after_ms))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        DynoState,
        plan::tests::{dyno, wanted},
    };
    use proptest::prelude::*;

    fn eco(quantity: u32) -> Wanted {
        let mut wanted = wanted(3, true, None, &[("web", quantity), ("worker", 1)]);
        wanted.types[0].size = SLEEPING_SIZE.into();
        wanted
    }

    #[test]
    fn only_apps_with_a_settled_eco_web_dyno_sleep() {
        let web = dyno(1, "web", 1, 3, DynoState::Up);
        let look = |wanted: &Wanted, dynos: &[Dyno], after| due(wanted, dynos, Traffic::default(), UnixMs(5), after, UnixMs(9));
        let at = |wanted: &Wanted, after| look(wanted, std::slice::from_ref(&web), after);
        assert_eq!(look(&eco(1), &[], 100), None, "it was just woken and starts nothing yet");
        assert_eq!(at(&eco(1), 100), Some(UnixMs(105)));
        assert_eq!(at(&eco(1), 0), None, "never");
        assert_eq!(at(&eco(0), 100), None, "no web dyno");
        assert_eq!(at(&wanted(3, true, None, &[("web", 1)]), 100), None, "another size");
        assert_eq!(at(&wanted(3, true, None, &[("worker", 1)]), 100), None, "no web type");
        assert_eq!(at(&Wanted { proven: false, ..eco(1) }, 100), None, "a release is on its way");
        assert_eq!(at(&Wanted { asleep: true, ..eco(1) }, 100), None, "sleeps already");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn never_sooner_than_the_time_after_the_last_sign_of_life(
            last in 0u64..1000, open in 0usize..3, started in 0u64..1000, changed in 0u64..1000, after in 1u64..1000, now in 1000u64..2000,
        ) {
            let mut web = dyno(1, "web", 1, 3, DynoState::Up);
            web.updated_at = UnixMs(changed);
            let traffic = Traffic { last: UnixMs(last), open };
            let at = due(&eco(1), &[web], traffic, UnixMs(started), after, UnixMs(now));
            let at = at.ok_or_else(|| TestCaseError::fail("it sleeps some day"))?;
            prop_assert!([last, started, changed].iter().all(|sign| at.0 >= sign + after));
            if open > 0 {
                prop_assert_eq!(at.0, now + after);
            } else {
                prop_assert!([last, started, changed].iter().any(|sign| at.0 == sign + after), "and no later");
            }
        }
    }
}
