//! The planner: wanted and actual in, actions out. No other input, so it may be run twice and has one path for the
//! normal case, for recovery and for the start of the daemon (`architecture.md` section 3).
//!
//! A release that changes (code, config, rollback) is switched like this: start the new web dynos beside the old; when
//! every one of them is up (with preboot: and the hold is over), the release is proven and the old ones are stopped, the
//! other types are replaced; when one of them crashes before that, the release failed and the old ones stay. Where memory
//! does not allow two sets it is rolled out in steps: some start, their old ones stop, the next start.
//!
//! A restart or a change of size has no older release to go back to, and goes slot by slot: new one up, old one stopped.

mod retire;
mod serving;
mod slots;

pub use serving::serving;

use crate::{Dyno, DynoId, DynoKind, DynoState, UnixMs, restart::Backoff, size};
use std::collections::HashMap;

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
    /// It sleeps: nothing of its formation runs.
    pub asleep: bool,
    /// Preboot: before this time the old web dynos go on serving. Other types do not wait for the web dynos then.
    pub hold_until: Option<UnixMs>,
    /// The wanted release is rolled out slot by slot.
    pub in_steps: bool,
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

impl WantedType {
    fn memory(&self) -> u64 {
        size::find_or_default(&self.size).memory_bytes
    }
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
    /// As [`Action::Stop`], before its replacement is started: memory does not allow both.
    StopFirst {
        /// Which.
        dyno: DynoId,
        /// No other dyno of its type is up meanwhile.
        alone: bool,
        /// Bytes that the replacement needs.
        memory: u64,
    },
    /// Remove the row of a dyno that is not alive and that a later one replaced.
    Forget(DynoId),
    /// Two sets of web dynos do not fit: from now on the wanted release is rolled out slot by slot.
    Step(u64),
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

/// Has memory of its own, also on its way out.
pub fn takes_memory(dyno: &Dyno) -> bool {
    !matches!(dyno.state, DynoState::Crashed | DynoState::Idle)
}

/// One round of planning.
struct Round<'a> {
    wanted: &'a Wanted,
    /// Of the formation.
    dynos: Vec<&'a Dyno>,
    backoff: &'a Backoff,
    now: UnixMs,
    /// Bytes that dynos may take on top of what runs; `None` for as many as they like.
    room: Option<u64>,
    /// The same for slots that nobody is in; `None` when nothing of the app's own is about to be free.
    vacant_room: Option<u64>,
    in_steps: bool,
    web_ready: bool,
    actions: Vec<Action>,
    wake: Option<UnixMs>,
}

/// Decides what to do next for one app. `room` is the memory that may be used for dynos that are started beside those they
/// replace; a slot that nobody is in is filled in any case, since the formation was checked when it was asked for.
pub fn plan(wanted: &Wanted, actual: &[Dyno], backoff: &Backoff, room: Option<u64>, now: UnixMs) -> Vec<Action> {
    let dynos: Vec<&Dyno> = actual.iter().filter(|d| d.kind == DynoKind::Formation).collect();
    if wanted.asleep {
        return retire::all(&dynos);
    }
    if let Some(failed) = failed_release(wanted, &dynos) {
        return vec![Action::Fail(failed)];
    }
    let (in_steps, web_ready) = (wanted.in_steps, serving::web_is_ready(wanted, &dynos, now));
    let (actions, wake) = (Vec::new(), None);
    let mut round = Round { wanted, dynos, backoff, now, room, vacant_room: None, in_steps, web_ready, actions, wake };
    round.keep_room_for_vacant_slots();
    round.choose_steps();
    // Web first: what there is of room is for visitors.
    let (web, others): (Vec<_>, Vec<_>) = wanted.types.iter().partition(|t| t.ptype == WEB);
    for wanted_type in web.into_iter().chain(others) {
        round.fill(wanted_type);
    }
    round.retire();
    round.stop_doubles();
    if let Some(version) = wanted.release.filter(|_| round.web_ready && !wanted.proven) {
        round.actions.push(Action::Prove(version));
    }
    if let Some(hold) = wanted.hold_until.filter(|at| !wanted.proven && *at > now) {
        round.wake_at(hold);
    }
    round.actions.extend(round.wake.map(Action::WakeAt));
    round.actions
}

/// Bytes that all of these take when nothing is doubled any more: one dyno in each slot, the larger of two.
pub fn settled_memory(dynos: &[Dyno]) -> u64 {
    let mut slots: HashMap<_, u64> = HashMap::new();
    for dyno in dynos.iter().filter(|d| takes_memory(d)) {
        let memory = size::find_or_default(&dyno.size).memory_bytes;
        let slot = slots.entry((dyno.app, &dyno.ptype, dyno.num)).or_default();
        *slot = memory.max(*slot);
    }
    slots.values().sum()
}

/// True when some of these starts may be beside what is there: then the plan depends on how much memory is left.
pub fn needs_room(actions: &[Action], actual: &[Dyno]) -> bool {
    let there = actual.iter().any(|d| d.kind == DynoKind::Formation && takes_memory(d));
    there && actions.iter().any(|action| matches!(action, Action::Start { .. }))
}

/// An unproven release with a way back fails as soon as one of its web dynos crashed.
fn failed_release(wanted: &Wanted, dynos: &[&Dyno]) -> Option<u64> {
    let version = wanted.release.filter(|_| !wanted.proven)?;
    wanted.fallback.filter(|f| *f != version)?;
    dynos.iter().any(|d| d.release == version && d.ptype == WEB && d.state == DynoState::Crashed).then_some(version)
}

impl Round<'_> {
    fn slot(&self, ptype: &str, num: u32) -> impl Iterator<Item = &Dyno> {
        self.dynos.iter().copied().filter(move |d| d.ptype == ptype && d.num == num)
    }

    /// True when a dyno of the wanted state is up in the slot.
    fn successor_up(&self, ptype: &str, num: u32) -> bool {
        self.slot(ptype, num).any(|d| is_current(self.wanted, d) && d.state == DynoState::Up)
    }

    fn wake_at(&mut self, at: UnixMs) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
pub(crate) mod tests;

#[cfg(test)]
#[path = "plan_steps_tests.rs"]
mod steps_tests;
