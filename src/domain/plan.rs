//! The planner: wanted and actual in, actions out. No other input, so it may be run twice and has one path for the
//! normal case, for recovery and for the start of the daemon (`architecture.md` section 3).
//!
//! A release that changes (code, config, rollback) is switched like this: start the new web dynos beside the old; when
//! every one of them is up, the release is proven and the old ones are stopped, the other types are replaced; when one
//! of them crashes before that, the release failed and the old ones stay.

use crate::{Dyno, DynoId, DynoKind, DynoState, UnixMs, restart::Backoff};

/// What should run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Version of the wanted release, `None` when nothing was deployed or the app goes away.
    pub release: Option<u64>,
    /// False while the wanted release was never seen to come up.
    pub proven: bool,
    /// An older release that was proven and can serve on.
    pub fallback: Option<u64>,
    /// Raised by "restart all".
    pub generation: u64,
    /// Process types of the wanted release with their formation.
    pub types: Vec<WantedType>,
}

/// One process type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedType {
    /// Its name; `web` is routed.
    pub ptype: String,
    /// Wanted number of dynos.
    pub quantity: u32,
    /// Canonical size name.
    pub size: String,
}

/// What to do. Each may be done twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Fill a slot with a new dyno of the wanted release.
    Start {
        /// Process type.
        ptype: String,
        /// Number of the slot.
        num: u32,
        /// Size name.
        size: String,
        /// Crashes in a row that the slot brings along.
        crashes: u32,
    },
    /// Take it out of routing, then SIGTERM.
    Stop(DynoId),
    /// Remove the row of a dyno that is not alive and that a later one replaced.
    Forget(DynoId),
    /// All web dynos of the wanted release are up.
    Prove(u64),
    /// The wanted release did not come up; go back.
    Fail(u64),
    /// Nothing to do before this time.
    WakeAt(UnixMs),
}

/// The routed process type.
pub const WEB: &str = "web";

/// True when `dyno` is what the wanted state asks for in its slot.
fn is_current(wanted: &Wanted, dyno: &Dyno) -> bool {
    Some(dyno.release) == wanted.release
        && dyno.generation == wanted.generation
        && !dyno.restart
        && wanted.types.iter().any(|t| t.ptype == dyno.ptype && dyno.num <= t.quantity && t.size == dyno.size)
}

fn is_live(dyno: &Dyno) -> bool {
    matches!(dyno.state, DynoState::Starting | DynoState::Up)
}

/// Decides what to do next for one app.
pub fn plan(wanted: &Wanted, actual: &[Dyno], backoff: &Backoff, now: UnixMs) -> Vec<Action> {
    let dynos: Vec<&Dyno> = actual.iter().filter(|d| d.kind == DynoKind::Formation).collect();
    if let Some(failed) = failed_release(wanted, &dynos) {
        return vec![Action::Fail(failed)];
    }
    let mut actions = Vec::new();
    let web_ready = web_is_ready(wanted, &dynos);
    let mut wake: Option<UnixMs> = None;
    for wanted_type in &wanted.types {
        for num in 1..=wanted_type.quantity {
            let holds_back = wanted_type.ptype != WEB && !web_ready;
            if let Some(at) = fill_slot(wanted, wanted_type, num, holds_back, &dynos, backoff, now, &mut actions) {
                wake = Some(wake.map_or(at, |w| w.min(at)));
            }
        }
    }
    retire(wanted, web_ready, &dynos, &mut actions);
    stop_doubles(wanted, &dynos, &mut actions);
    if let Some(version) = wanted.release.filter(|_| web_ready && !wanted.proven) {
        actions.push(Action::Prove(version));
    }
    actions.extend(wake.map(Action::WakeAt));
    actions
}

/// An unproven release with a way back fails as soon as one of its web dynos crashed.
fn failed_release(wanted: &Wanted, dynos: &[&Dyno]) -> Option<u64> {
    let version = wanted.release.filter(|_| !wanted.proven)?;
    wanted.fallback.filter(|f| *f != version)?;
    dynos.iter().any(|d| d.release == version && d.ptype == WEB && d.state == DynoState::Crashed).then_some(version)
}

/// Every web slot of the wanted release has a dyno that is up. True also when no web dyno is wanted.
fn web_is_ready(wanted: &Wanted, dynos: &[&Dyno]) -> bool {
    wanted.types.iter().filter(|t| t.ptype == WEB).all(|t| {
        (1..=t.quantity).all(|num| {
            dynos.iter().any(|d| d.num == num && is_current(wanted, d) && d.ptype == WEB && d.state == DynoState::Up)
        })
    })
}

/// Starts what a slot lacks; returns when to look again.
#[allow(clippy::too_many_arguments)]
fn fill_slot(
    wanted: &Wanted,
    wanted_type: &WantedType,
    num: u32,
    holds_back: bool,
    dynos: &[&Dyno],
    backoff: &Backoff,
    now: UnixMs,
    actions: &mut Vec<Action>,
) -> Option<UnixMs> {
    let slot = || dynos.iter().filter(move |d| d.ptype == wanted_type.ptype && d.num == num);
    if wanted.release.is_none() || slot().any(|d| is_live(d) && is_current(wanted, d)) {
        return None;
    }
    let crashed = slot().filter(|d| d.state == DynoState::Crashed && is_current(wanted, d)).max_by_key(|d| d.updated_at);
    if let Some(dyno) = crashed {
        let at = backoff.next_start(dyno.crashes, dyno.updated_at);
        if at > now {
            return Some(at);
        }
    } else if holds_back && slot().any(|d| d.state == DynoState::Up) {
        return None; // the old worker works on until the new web dynos are proven
    }
    actions.push(Action::Start {
        ptype: wanted_type.ptype.clone(),
        num,
        size: wanted_type.size.clone(),
        crashes: crashed.map_or(0, |d| d.crashes),
    });
    None
}

/// A slot has one current dyno; of two, the one that is up and older stays.
fn stop_doubles(wanted: &Wanted, dynos: &[&Dyno], actions: &mut Vec<Action>) {
    let mut current: Vec<&&Dyno> = dynos.iter().filter(|d| is_live(d) && is_current(wanted, d)).collect();
    current.sort_by_key(|d| (&d.ptype, d.num, d.state != DynoState::Up, d.created_at, d.id));
    for pair in current.windows(2) {
        if pair[0].ptype == pair[1].ptype && pair[0].num == pair[1].num {
            actions.push(Action::Stop(pair[1].id));
        }
    }
}

/// Stops what is no longer wanted, and forgets the rows of crashed dynos that have a successor.
fn retire(wanted: &Wanted, web_ready: bool, dynos: &[&Dyno], actions: &mut Vec<Action>) {
    for dyno in dynos.iter().filter(|d| !is_current(wanted, d) || d.state == DynoState::Crashed) {
        let slot_wanted = wanted.types.iter().any(|t| t.ptype == dyno.ptype && dyno.num <= t.quantity);
        let successor_up = dynos
            .iter()
            .any(|d| d.ptype == dyno.ptype && d.num == dyno.num && is_current(wanted, d) && d.state == DynoState::Up);
        match dyno.state {
            DynoState::Crashed => {
                let replaced = dynos
                    .iter()
                    .any(|d| d.id != dyno.id && d.ptype == dyno.ptype && d.num == dyno.num && d.created_at >= dyno.updated_at);
                if replaced || !slot_wanted {
                    actions.push(Action::Forget(dyno.id));
                }
            }
            DynoState::Starting => actions.push(Action::Stop(dyno.id)),
            DynoState::Up => {
                let may_go = match (wanted.release, slot_wanted) {
                    (None, _) => true,
                    // A web dyno of another release serves until all of the new ones do, also when its slot is gone.
                    _ if dyno.ptype == WEB && Some(dyno.release) != wanted.release => web_ready,
                    (_, false) => web_ready || dyno.ptype == WEB,
                    (_, true) => successor_up,
                };
                if may_go {
                    actions.push(Action::Stop(dyno.id));
                }
            }
            DynoState::Stopping => {}
        }
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
pub(crate) mod tests;
