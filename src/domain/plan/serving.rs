//! Which web dynos serve.

use super::{WEB, Wanted, is_current};
use crate::{Dyno, DynoKind, DynoState, UnixMs};

/// Up, of the formation, and routed by its type.
fn is_up_web(dyno: &Dyno) -> bool {
    dyno.kind == DynoKind::Formation && dyno.ptype == WEB && dyno.state == DynoState::Up
}

/// Every web slot of the wanted release has a dyno that is up, and the hold of preboot is over. True also when no web dyno
/// is wanted.
pub(super) fn web_is_ready(wanted: &Wanted, dynos: &[&Dyno], now: UnixMs) -> bool {
    let up = |num| dynos.iter().any(|d| d.num == num && is_up_web(d) && is_current(wanted, d));
    let all_up = wanted.types.iter().filter(|t| t.ptype == WEB).all(|t| (1..=t.quantity).all(up));
    // Nobody is kept waiting when no old one serves, or when there was no memory for a second set.
    let old_serves = dynos.iter().any(|d| is_up_web(d) && Some(d.release) != wanted.release);
    let held = wanted.hold_until.is_some_and(|at| !wanted.proven && !wanted.in_steps && old_serves && now < at);
    all_up && !held
}

/// The web dynos that requests go to: those that are up, but visitors meet one release at a time. While a release is neither
/// proven nor ready only the old dynos serve, then only its own; in steps, and of what is left over, one in each slot.
pub fn serving<'a>(wanted: &Wanted, actual: &'a [Dyno], now: UnixMs) -> Vec<&'a Dyno> {
    let up: Vec<&Dyno> = actual.iter().filter(|d| is_up_web(d)).collect();
    let of = |release: Option<u64>| move |d: &Dyno| Some(d.release) == release;
    let (is_wanted, is_fallback) = (of(wanted.release), of(wanted.fallback));
    let alone = |d: &Dyno, rival: &dyn Fn(&Dyno) -> bool| !up.iter().any(|other| other.num == d.num && rival(other));
    let serves = |d: &Dyno| {
        if wanted.proven || wanted.in_steps {
            is_wanted(d) || alone(d, &is_wanted)
        } else if web_is_ready(wanted, &up, now) {
            is_wanted(d)
        } else {
            // A release between the two never served, unless it had begun to replace the proven one in steps.
            is_fallback(d) || (!is_wanted(d) && alone(d, &is_fallback))
        }
    };
    let serving: Vec<&Dyno> = up.iter().copied().filter(|d| serves(d)).collect();
    if serving.is_empty() { up } else { serving }
}
