//! Stopping and forgetting what is no longer wanted.

use super::{Action, Round, WEB, is_current, is_live};
use crate::{Dyno, DynoState};

/// The app sleeps: nothing stays, and crashes are forgotten.
pub(super) fn all(dynos: &[&Dyno]) -> Vec<Action> {
    let action = |d: &&Dyno| match d.state {
        DynoState::Starting | DynoState::Up => Some(Action::Stop(d.id)),
        DynoState::Crashed => Some(Action::Forget(d.id)),
        DynoState::Stopping | DynoState::Idle => None,
    };
    dynos.iter().filter_map(action).collect()
}

impl Round<'_> {
    /// Stops what is no longer wanted, and forgets the rows of crashed dynos that have a successor.
    pub(super) fn retire(&mut self) {
        let gone = |d: &&&Dyno| !is_current(self.wanted, d) || d.state == DynoState::Crashed;
        let actions: Vec<Action> = self.dynos.iter().filter(gone).filter_map(|d| self.end_of(d)).collect();
        // One that goes before its successor comes is on the list already.
        let first = |action: &Action| match action {
            Action::Stop(id) => self.actions.iter().any(|a| matches!(a, Action::StopFirst { dyno, .. } if dyno == id)),
            _ => false,
        };
        let actions: Vec<Action> = actions.into_iter().filter(|a| !first(a)).collect();
        self.actions.extend(actions);
    }

    fn end_of(&self, dyno: &Dyno) -> Option<Action> {
        let slot_wanted = self.wanted.types.iter().any(|t| t.ptype == dyno.ptype && dyno.num <= t.quantity);
        match dyno.state {
            DynoState::Crashed => {
                let replaced = self.slot(&dyno.ptype, dyno.num).any(|d| d.id != dyno.id && d.created_at >= dyno.updated_at);
                (replaced || !slot_wanted).then_some(Action::Forget(dyno.id))
            }
            DynoState::Starting => Some(Action::Stop(dyno.id)),
            DynoState::Up => self.may_go(dyno, slot_wanted).then_some(Action::Stop(dyno.id)),
            DynoState::Stopping | DynoState::Idle => None,
        }
    }

    fn may_go(&self, dyno: &Dyno, slot_wanted: bool) -> bool {
        let is_web = dyno.ptype == WEB;
        let successor_up = self.successor_up(&dyno.ptype, dyno.num);
        match (self.wanted.release, slot_wanted) {
            (None, _) => true,
            // A web dyno of another release serves until all of the new ones do, also when its slot is gone; in steps, and
            // on the way back, until its own successor does.
            (Some(release), _) if is_web && dyno.release != release => {
                let by_slot = self.in_steps || self.wanted.proven;
                self.web_ready || self.is_overtaken(dyno) || (by_slot && successor_up)
            }
            (_, false) => is_web || !self.waits_for_web(&dyno.ptype),
            (_, true) => successor_up,
        }
    }

    /// A newer release came before this dyno's was proven, and the one before both still serves in its slot.
    fn is_overtaken(&self, dyno: &Dyno) -> bool {
        let fallback = self.wanted.fallback.filter(|f| !self.wanted.proven && *f != dyno.release);
        self.slot(WEB, dyno.num).any(|d| Some(d.release) == fallback && d.state == DynoState::Up)
    }

    /// A slot has one current dyno; of two, the one that is up and older stays.
    pub(super) fn stop_doubles(&mut self) {
        let mut current: Vec<&Dyno> = self.dynos.iter().copied().filter(|d| is_live(d) && is_current(self.wanted, d)).collect();
        current.sort_by_key(|d| (&d.ptype, d.num, d.state != DynoState::Up, d.created_at, d.id));
        for pair in current.windows(2) {
            if pair[0].ptype == pair[1].ptype && pair[0].num == pair[1].num {
                self.actions.push(Action::Stop(pair[1].id));
            }
        }
    }
}
