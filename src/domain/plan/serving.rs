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

/// The web dynos that requests go to: those that are up, but while a release is neither proven nor ready, and is not rolled
/// out in steps, only the old ones, so that visitors meet one release at a time.
pub fn serving<'a>(wanted: &Wanted, actual: &'a [Dyno], now: UnixMs) -> Vec<&'a Dyno> {
    let up: Vec<&Dyno> = actual.iter().filter(|d| is_up_web(d)).collect();
    if wanted.proven {
        // What is left of another release, a failed one perhaps, serves only where nothing else does.
        let is_wanted = |d: &Dyno| Some(d.release) == wanted.release;
        let only = |d: &Dyno| !up.iter().any(|other| other.num == d.num && is_wanted(other));
        return up.iter().copied().filter(|d| is_wanted(d) || only(d)).collect();
    }
    if wanted.in_steps || web_is_ready(wanted, &up, now) {
        return up;
    }
    let is_fallback = |d: &Dyno| Some(d.release) == wanted.fallback;
    // A release between the two never served, unless it had begun to replace the proven one in steps.
    let old = |d: &&Dyno| {
        is_fallback(d) || (Some(d.release) != wanted.release && !up.iter().any(|f| f.num == d.num && is_fallback(f)))
    };
    let serving: Vec<&Dyno> = up.iter().copied().filter(old).collect();
    if serving.is_empty() { up } else { serving }
}
