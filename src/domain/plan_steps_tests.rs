//! Rolling out where memory does not allow two sets, in a small world with so much memory and no more.

use super::{tests::*, *};
use proptest::prelude::*;
use uuid::Uuid;

const SMALL: u64 = 512 << 20;

fn memory(dyno: &Dyno) -> u64 {
    if takes_memory(dyno) { size::find_or_default(&dyno.size).memory_bytes } else { 0 }
}

fn used(dynos: &[Dyno]) -> u64 {
    dynos.iter().map(memory).sum()
}

fn web_up(dynos: &[Dyno]) -> usize {
    dynos.iter().filter(|d| d.ptype == WEB && d.state == DynoState::Up).count()
}

fn with_room(w: &Wanted, dynos: &[Dyno], room: u64) -> Vec<Action> {
    plan(w, dynos, &Backoff::default(), Some(room), UnixMs(1000))
}

#[test]
fn with_room_for_both_sets_nothing_is_different() {
    let w = wanted(4, false, Some(3), &[("web", 2)]);
    let dynos = [dyno(1, "web", 1, 3, DynoState::Up), dyno(2, "web", 2, 3, DynoState::Up)];
    assert_eq!(with_room(&w, &dynos, 2 * SMALL), vec![start("web", 1), start("web", 2)]);
}

#[test]
fn with_room_for_some_these_start_and_their_old_ones_stop() {
    let mut w = wanted(4, false, Some(3), &[("web", 3)]);
    let mut dynos: Vec<Dyno> = (1..=3).map(|n| dyno(u128::from(n), "web", n, 3, DynoState::Up)).collect();
    assert_eq!(with_room(&w, &dynos, SMALL), vec![Action::Step(4), start("web", 1)]);
    w.in_steps = true;
    dynos.push(dyno(4, "web", 1, 4, DynoState::Up));
    assert_eq!(with_room(&w, &dynos, 0), vec![stop(1)]);
}

#[test]
fn without_room_one_goes_first_and_only_one() {
    let mut w = wanted(4, false, Some(3), &[("web", 2)]);
    let mut dynos = vec![dyno(1, "web", 1, 3, DynoState::Up), dyno(2, "web", 2, 3, DynoState::Up)];
    let first = |id: u128, alone| Action::StopFirst { dyno: DynoId(Uuid::from_u128(id)), alone, memory: SMALL };
    assert_eq!(with_room(&w, &dynos, SMALL - 1), vec![Action::Step(4), first(1, false)]);
    w.in_steps = true;
    dynos[0].state = DynoState::Stopping;
    assert_eq!(with_room(&w, &dynos, 0), vec![], "it has not left yet");
    dynos.remove(0);
    assert_eq!(with_room(&w, &dynos, SMALL), vec![start("web", 1)]);
    dynos.push(dyno(3, "web", 1, 4, DynoState::Starting));
    assert_eq!(with_room(&w, &dynos, 0), vec![], "the next one waits until it is up");
    let single = [dyno(1, "web", 1, 3, DynoState::Up)];
    let w = Wanted { generation: 1, ..wanted(3, true, None, &[("web", 1)]) };
    assert_eq!(with_room(&w, &single, 0), vec![first(1, true)], "a restart, too");
}

#[test]
fn nothing_that_serves_goes_for_one_that_crashed() {
    let w = Wanted { generation: 1, ..wanted(3, true, None, &[("web", 1)]) };
    let crashed = Dyno { generation: 1, ..dyno(2, "web", 1, 3, DynoState::Crashed) };
    assert_eq!(with_room(&w, &[dyno(1, "web", 1, 3, DynoState::Up), crashed], 0), vec![]);
}

#[test]
fn doubles_and_crashes_are_no_memory_that_stays() {
    let large = Dyno { size: "Standard-2X".into(), ..dyno(2, "web", 1, 4, DynoState::Starting) };
    let dynos = [
        dyno(1, "web", 1, 3, DynoState::Up),
        large,
        dyno(3, "web", 2, 3, DynoState::Stopping),
        dyno(4, "worker", 2, 3, DynoState::Up),
        dyno(5, "worker", 1, 3, DynoState::Crashed),
    ];
    assert_eq!(settled_memory(&dynos), 4 * SMALL);
    assert_eq!(settled_memory(&[]), 0);
}

/// A world where what starts is up and what stops is gone one or two rounds later.
struct World {
    wanted: Wanted,
    dynos: Vec<Dyno>,
    capacity: u64,
    next_id: u128,
    dice: u64,
}

impl World {
    fn roll(&mut self) -> bool {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.dice >> 63 == 1
    }

    /// One round of time; true when nothing moves any more.
    fn turn(&mut self, now: u64) -> bool {
        for mut d in std::mem::take(&mut self.dynos) {
            match d.state {
                DynoState::Stopping if self.roll() => continue,
                DynoState::Starting if self.roll() => d.state = DynoState::Up,
                _ => {}
            }
            self.dynos.push(d);
        }
        let room = self.capacity.saturating_sub(used(&self.dynos));
        let actions = plan(&self.wanted, &self.dynos, &Backoff::default(), Some(room), UnixMs(now));
        let moves = self.dynos.iter().any(|d| d.state != DynoState::Up);
        let settled = actions.is_empty() && !moves;
        actions.into_iter().for_each(|action| self.act(action, now));
        settled
    }

    fn act(&mut self, action: Action, now: u64) {
        match action {
            Action::Start { ptype, num, size, .. } => {
                self.next_id += 1;
                let release = self.wanted.release.unwrap_or(0);
                let mut new = dyno(self.next_id, &ptype, num, release, DynoState::Starting);
                (new.size, new.generation, new.created_at) = (size, self.wanted.generation, UnixMs(now));
                self.dynos.push(new);
            }
            Action::Stop(id) | Action::StopFirst { dyno: id, .. } => {
                self.dynos.iter_mut().filter(|d| d.id == id).for_each(|d| d.state = DynoState::Stopping);
            }
            Action::Forget(id) => self.dynos.retain(|d| d.id != id),
            Action::Step(version) => self.wanted.in_steps = self.wanted.release == Some(version),
            Action::Prove(_) => self.wanted.proven = true,
            Action::Fail(_) => panic!("nothing crashed"),
            Action::WakeAt(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn steps_keep_to_the_memory_and_leave_at_most_one_web_dyno_out(
        web in 1u32..6, workers in 0u32..3, spare in 0u64..4, kind in 0usize..4, seed in any::<u64>(),
    ) {
        let types = [("web", web), ("worker", workers)];
        // A release, a restart of all, a larger and a smaller size.
        let mut w = match kind {
            0 => wanted(3, false, Some(2), &types),
            1 => Wanted { generation: 1, ..wanted(3, true, None, &types) },
            _ => wanted(3, true, None, &types),
        };
        let old_size = if kind == 3 { "Standard-2X" } else { "Standard-1X" };
        if kind == 2 {
            w.types.iter_mut().for_each(|t| t.size = "Standard-2X".into());
        }
        let dynos: Vec<Dyno> = types.iter().flat_map(|(t, n)| (1..=*n).map(move |num| (*t, num))).enumerate()
            .map(|(i, (t, num))| Dyno { size: old_size.into(), ..dyno(i as u128 + 1, t, num, if kind == 0 { 2 } else { 3 }, DynoState::Up) })
            .collect();
        // What the formation needs fits: that was checked when it was asked for.
        let needed: u64 = w.types.iter().map(|t| t.memory() * u64::from(t.quantity)).sum();
        let capacity = needed.max(used(&dynos)) + spare * SMALL;
        let mut world = World { wanted: w, dynos, capacity, next_id: 1000, dice: seed };
        let mut rounds = 0;
        while !world.turn(20_000 + rounds) {
            rounds += 1;
            prop_assert!(rounds < 500, "it does not settle: {:?} {:?}", world.wanted, world.dynos);
            prop_assert!(used(&world.dynos) <= capacity, "{} of {capacity}: {:?}", used(&world.dynos), world.dynos);
            prop_assert!(web_up(&world.dynos) + 1 >= web as usize, "{:?}", world.dynos);
            let routed = serving(&world.wanted, &world.dynos, UnixMs(20_000 + rounds)).len();
            prop_assert!(routed + 1 >= web as usize, "{routed} of {web} are routed: {:?}", world.dynos);
        }
        prop_assert!(world.wanted.proven);
        prop_assert_eq!(world.dynos.len() as u32, web + workers);
        prop_assert!(world.dynos.iter().all(|d| is_current(&world.wanted, d)));
    }
}
