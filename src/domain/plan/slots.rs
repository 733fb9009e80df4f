//! Filling slots.

use super::{Action, Round, WEB, WantedType, is_current, is_live, takes_memory};
use crate::{Dyno, DynoId, DynoState};

impl Round<'_> {
    /// True while the wanted release has to show first that its web dynos come up.
    pub(super) fn waits_for_web(&self, ptype: &str) -> bool {
        ptype != WEB && !self.wanted.proven && !self.web_ready && self.wanted.hold_until.is_none()
    }

    /// A slot that nobody is in has a claim on memory before any double, also when it waits after a crash.
    pub(super) fn keep_room_for_vacant_slots(&mut self) {
        let slots = self.wanted.types.iter().flat_map(|t| (1..=t.quantity).map(move |num| (t, num)));
        let vacant = slots.filter(|(t, num)| self.lacks(t, *num) && !self.is_occupied(t, *num));
        let kept: u64 = vacant.map(|(t, _)| t.memory()).sum();
        // Memory of ours that will be free soon is worth waiting for.
        let doubled = |d: &Dyno| self.slot(&d.ptype, d.num).any(|other| other.id != d.id && takes_memory(other));
        let frees = self.dynos.iter().any(|d| takes_memory(d) && (d.state == DynoState::Stopping || doubled(d)));
        self.vacant_room = self.room.filter(|_| frees);
        self.room = self.room.map(|room| room.saturating_sub(kept));
    }

    /// A second set of web dynos is started whole or in steps.
    pub(super) fn choose_steps(&mut self) {
        let Some(version) = self.wanted.release.filter(|_| !self.wanted.proven && !self.in_steps) else { return };
        let mut needed = 0;
        for web in self.wanted.types.iter().filter(|t| t.ptype == WEB) {
            let doubles = (1..=web.quantity).filter(|num| self.lacks(web, *num) && self.is_occupied(web, *num)).count();
            needed += web.memory() * doubles as u64;
        }
        if self.room.is_some_and(|room| needed > room) {
            self.in_steps = true;
            self.actions.push(Action::Step(version));
        }
    }

    fn lacks(&self, wanted_type: &WantedType, num: u32) -> bool {
        !self.slot(&wanted_type.ptype, num).any(|d| is_live(d) && is_current(self.wanted, d))
    }

    fn is_occupied(&self, wanted_type: &WantedType, num: u32) -> bool {
        self.slot(&wanted_type.ptype, num).any(takes_memory)
    }

    /// Starts what the slots of a type lack.
    pub(super) fn fill(&mut self, wanted_type: &WantedType) {
        if self.wanted.release.is_none() {
            return;
        }
        let mut short = Vec::new();
        for num in 1..=wanted_type.quantity {
            if self.lacks(wanted_type, num) {
                short.extend(self.fill_slot(wanted_type, num));
            }
        }
        self.stop_first(wanted_type, &short);
    }

    /// Starts a dyno unless it is too early; answers the one that is in the way when there is no memory for both.
    fn fill_slot(&mut self, wanted_type: &WantedType, num: u32) -> Option<DynoId> {
        let ptype = &wanted_type.ptype;
        let up = self.slot(ptype, num).find(|d| d.state == DynoState::Up).map(|d| d.id);
        let is_crash = |d: &&Dyno| d.state == DynoState::Crashed && is_current(self.wanted, d);
        let crashed = self.slot(ptype, num).filter(is_crash).max_by_key(|d| d.updated_at).map(|d| (d.crashes, d.updated_at));
        if let Some((crashes, at)) = crashed {
            let next = self.backoff.next_start(crashes, at);
            if next > self.now {
                self.wake_at(next);
                return None;
            }
        } else if up.is_some() && self.waits_for_web(ptype) {
            return None; // the old worker works on until the new web dynos are proven
        }
        let memory = wanted_type.memory();
        let occupied = self.is_occupied(wanted_type, num);
        let room = if occupied { &mut self.room } else { &mut self.vacant_room };
        if room.is_some_and(|room| room < memory) {
            return up.filter(|_| crashed.is_none()); // nothing that serves goes for one that crashed before
        }
        *room = room.map(|room| room - memory);
        self.actions.push(Action::Start {
            ptype: ptype.clone(),
            num,
            size: wanted_type.size.clone(),
            crashes: crashed.map_or(0, |(crashes, _)| crashes),
        });
        None
    }

    /// No room for even one more: one dyno goes before its successor comes, but only while nothing else moves.
    fn stop_first(&mut self, wanted_type: &WantedType, short: &[DynoId]) {
        let moves = |d: &&Dyno| matches!(d.state, DynoState::Starting | DynoState::Stopping);
        if self.dynos.iter().any(moves)
            || self.actions.iter().any(|a| matches!(a, Action::Start { .. } | Action::StopFirst { .. }))
        {
            return; // when that has ended there will be room, or it is looked at again
        }
        let of_type = |d: &&&Dyno| d.ptype == wanted_type.ptype;
        // Dynos whose successor is up already go now anyway, and leave their room.
        let doubled = |d: &&&Dyno| !is_current(self.wanted, d) && self.successor_up(&d.ptype, d.num);
        if self.dynos.iter().any(|d| d.state == DynoState::Up && doubled(&d)) {
            return;
        }
        if let Some(dyno) = short.first() {
            let up = self.dynos.iter().filter(of_type).filter(|d| d.state == DynoState::Up).count();
            self.actions.push(Action::StopFirst { dyno: *dyno, alone: up <= 1, memory: wanted_type.memory() });
        }
    }
}
