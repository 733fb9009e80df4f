use super::*;
use crate::AppId;
use proptest::prelude::*;
use uuid::Uuid;

pub fn wanted(release: u64, proven: bool, fallback: Option<u64>, types: &[(&str, u32)]) -> Wanted {
    Wanted {
        release: Some(release),
        proven,
        fallback,
        generation: 0,
        asleep: false,
        hold_until: None,
        in_steps: false,
        types: types.iter().map(|(t, n)| WantedType { ptype: (*t).into(), quantity: *n, size: "Standard-1X".into() }).collect(),
    }
}

pub fn dyno(id: u128, ptype: &str, num: u32, release: u64, state: DynoState) -> Dyno {
    Dyno {
        id: DynoId(Uuid::from_u128(id)),
        app: AppId(Uuid::nil()),
        kind: DynoKind::Formation,
        ptype: ptype.into(),
        num,
        command: "x".into(),
        release,
        generation: 0,
        size: "Standard-1X".into(),
        state,
        port: None,
        address: None,
        user_slot: 0,
        crashes: u32::from(state == DynoState::Crashed),
        restart: false,
        time_to_live_s: None,
        attach: None,
        created_at: UnixMs(id as u64),
        updated_at: UnixMs(id as u64),
    }
}

fn run(wanted: &Wanted, dynos: &[Dyno]) -> Vec<Action> {
    plan(wanted, dynos, &Backoff::default(), None, UnixMs(1000))
}

pub fn start(ptype: &str, num: u32) -> Action {
    Action::Start { ptype: ptype.into(), num, size: "Standard-1X".into(), crashes: 0 }
}

pub fn stop(id: u128) -> Action {
    Action::Stop(DynoId(Uuid::from_u128(id)))
}

#[test]
fn first_deploy_starts_web_and_then_the_others() {
    let w = wanted(3, false, None, &[("web", 1), ("worker", 1)]);
    assert_eq!(run(&w, &[]), vec![start("web", 1), start("worker", 1)]);
    let up = [dyno(1, "web", 1, 3, DynoState::Up), dyno(2, "worker", 1, 3, DynoState::Up)];
    assert_eq!(run(&w, &up), vec![Action::Prove(3)]);
}

#[test]
fn old_dynos_serve_until_every_new_web_dyno_is_up() {
    let w = wanted(4, false, Some(3), &[("web", 2), ("worker", 1)]);
    let mut dynos =
        vec![dyno(1, "web", 1, 3, DynoState::Up), dyno(2, "web", 2, 3, DynoState::Up), dyno(3, "worker", 1, 3, DynoState::Up)];
    assert_eq!(run(&w, &dynos), vec![start("web", 1), start("web", 2)]);
    dynos.push(dyno(4, "web", 1, 4, DynoState::Up));
    dynos.push(dyno(5, "web", 2, 4, DynoState::Starting));
    assert_eq!(run(&w, &dynos), vec![]);
    dynos[4].state = DynoState::Up;
    assert_eq!(run(&w, &dynos), vec![start("worker", 1), stop(1), stop(2), Action::Prove(4)]);
}

#[test]
fn a_release_that_does_not_come_up_fails_and_the_old_one_stays() {
    let w = wanted(4, false, Some(3), &[("web", 1)]);
    let dynos = [dyno(1, "web", 1, 3, DynoState::Up), dyno(2, "web", 1, 4, DynoState::Crashed)];
    assert_eq!(run(&w, &dynos), vec![Action::Fail(4)]);
    let back = wanted(3, true, None, &[("web", 1)]);
    assert_eq!(run(&back, &dynos), vec![]);
}

#[test]
fn crashes_wait_and_the_replaced_row_goes() {
    let w = wanted(3, true, None, &[("web", 1)]);
    let mut crashed = dyno(1, "web", 1, 3, DynoState::Crashed);
    crashed.updated_at = UnixMs(500);
    let again = Action::Start { ptype: "web".into(), num: 1, size: "Standard-1X".into(), crashes: 1 };
    assert_eq!(run(&w, std::slice::from_ref(&crashed)), vec![again]);
    crashed.crashes = 2;
    assert_eq!(run(&w, &[crashed.clone()]), vec![Action::WakeAt(UnixMs(500 + 20 * 60_000))]);
    let next = dyno(600, "web", 1, 3, DynoState::Up);
    assert_eq!(run(&w, &[crashed.clone(), next]), vec![Action::Forget(crashed.id)]);
}

#[test]
fn scaling_touches_only_the_difference_and_takes_the_highest_first() {
    let dynos: Vec<Dyno> = (1..=3).map(|n| dyno(u128::from(n), "web", n, 3, DynoState::Up)).collect();
    assert_eq!(run(&wanted(3, true, None, &[("web", 1)]), &dynos), vec![stop(2), stop(3)]);
    assert_eq!(run(&wanted(3, true, None, &[("web", 4)]), &dynos), vec![start("web", 4)]);
    assert_eq!(run(&wanted(3, true, None, &[("web", 0)]), &dynos), vec![stop(1), stop(2), stop(3)]);
}

#[test]
fn a_restart_replaces_first_and_stops_then() {
    let w = wanted(3, true, None, &[("web", 1)]);
    let mut old = dyno(1, "web", 1, 3, DynoState::Up);
    old.restart = true;
    assert_eq!(run(&w, std::slice::from_ref(&old)), vec![start("web", 1)]);
    let new = dyno(2, "web", 1, 3, DynoState::Up);
    assert_eq!(run(&w, &[old, new]), vec![stop(1)]);
}

#[test]
fn a_restart_and_another_size_keep_every_old_dyno_until_its_successor_is_up() {
    let restart = Wanted { generation: 1, ..wanted(3, true, None, &[("web", 2), ("worker", 1)]) };
    let mut resize = wanted(3, true, None, &[("web", 2), ("worker", 1)]);
    resize.types.iter_mut().for_each(|t| t.size = "Standard-2X".into());
    for w in [restart, resize] {
        let mut dynos = vec![
            dyno(1, "web", 1, 3, DynoState::Up),
            dyno(2, "web", 2, 3, DynoState::Up),
            dyno(3, "worker", 1, 3, DynoState::Up),
        ];
        let starts = run(&w, &dynos);
        let all_start = starts.iter().all(|a| matches!(a, Action::Start { .. }));
        assert!(starts.len() == 3 && all_start, "workers do not wait for web dynos: {starts:?}");
        let fresh = |id, ptype, num, state| Dyno {
            generation: w.generation,
            size: w.types[0].size.clone(),
            ..dyno(id, ptype, num, 3, state)
        };
        dynos.push(fresh(4, "web", 1, DynoState::Starting));
        dynos.push(fresh(5, "web", 2, DynoState::Up));
        dynos.push(fresh(6, "worker", 1, DynoState::Up));
        assert_eq!(run(&w, &dynos), vec![stop(2), stop(3)]);
        // It never comes up: there is no older release to go back to, and the old dyno serves on.
        dynos[3].state = DynoState::Crashed;
        dynos[3].crashes = 2;
        dynos.retain(|d| d.id != DynoId(Uuid::from_u128(2)) && d.id != DynoId(Uuid::from_u128(3)));
        assert_eq!(run(&w, &dynos), vec![Action::WakeAt(UnixMs(4 + 20 * 60_000))]);
    }
}

#[test]
fn a_crash_is_forgotten_by_a_release_a_restart_and_scaling_to_0_and_back() {
    let mut crashed = dyno(1, "web", 1, 3, DynoState::Crashed);
    crashed.crashes = 5;
    let now = wanted(3, true, None, &[("web", 1)]);
    assert!(matches!(run(&now, std::slice::from_ref(&crashed))[..], [Action::WakeAt(_)]), "it waits");
    let release = wanted(4, false, Some(3), &[("web", 1)]);
    assert_eq!(run(&release, std::slice::from_ref(&crashed)), vec![start("web", 1)]);
    let restart = Wanted { generation: 1, ..now.clone() };
    assert_eq!(run(&restart, std::slice::from_ref(&crashed)), vec![start("web", 1)]);
    let one = Dyno { restart: true, ..crashed.clone() };
    assert_eq!(run(&now, std::slice::from_ref(&one)), vec![start("web", 1)]);
    let zero = wanted(3, true, None, &[("web", 0)]);
    assert_eq!(run(&zero, std::slice::from_ref(&crashed)), vec![Action::Forget(crashed.id)]);
    let asleep = Wanted { asleep: true, ..now };
    assert_eq!(run(&asleep, std::slice::from_ref(&crashed)), vec![Action::Forget(crashed.id)]);
}

#[test]
fn an_app_that_sleeps_has_no_dyno_of_its_formation() {
    let w = Wanted { asleep: true, ..wanted(3, true, None, &[("web", 1), ("worker", 1)]) };
    let mut dynos = vec![dyno(1, "web", 1, 3, DynoState::Up), dyno(2, "worker", 1, 3, DynoState::Starting)];
    dynos.push(Dyno { kind: DynoKind::OneOff, ..dyno(3, "run", 1000, 3, DynoState::Up) });
    assert_eq!(run(&w, &dynos), vec![stop(1), stop(2)], "what somebody runs by hand goes on");
    assert_eq!(run(&w, &[]), vec![]);
}

#[test]
fn preboot_holds_the_switch_for_web_and_nothing_else() {
    let w = Wanted { hold_until: Some(UnixMs(2000)), ..wanted(4, false, Some(3), &[("web", 1), ("worker", 1)]) };
    let mut dynos = vec![dyno(1, "web", 1, 3, DynoState::Up), dyno(2, "worker", 1, 3, DynoState::Up)];
    let hold = Action::WakeAt(UnixMs(2000));
    assert_eq!(run(&w, &dynos), vec![start("web", 1), start("worker", 1), hold.clone()], "workers restart at once");
    dynos.push(dyno(3, "web", 1, 4, DynoState::Up));
    dynos.push(dyno(4, "worker", 1, 4, DynoState::Up));
    assert_eq!(run(&w, &dynos), vec![stop(2), hold]);
    assert_eq!(served(&w, &dynos, 1999), [1]);
    assert_eq!(served(&w, &dynos, 2000), [3]);
    let over = plan(&w, &dynos, &Backoff::default(), None, UnixMs(2000));
    assert_eq!(over, vec![stop(1), stop(2), Action::Prove(4)]);
    dynos[2].state = DynoState::Crashed;
    assert_eq!(run(&w, &dynos), vec![Action::Fail(4)], "the old ones stay");
}

/// Numbers of the dynos that requests go to.
fn served(w: &Wanted, dynos: &[Dyno], now: u64) -> Vec<u64> {
    serving(w, dynos, UnixMs(now)).iter().map(|d| d.created_at.0).collect()
}

#[test]
fn of_two_deploys_during_preboot_only_the_second_ever_serves() {
    let w = Wanted { hold_until: Some(UnixMs(3000)), ..wanted(5, false, Some(3), &[("web", 2)]) };
    let mut dynos = vec![dyno(1, "web", 1, 3, DynoState::Up), dyno(2, "web", 2, 3, DynoState::Up)];
    dynos.push(dyno(3, "web", 1, 4, DynoState::Up));
    dynos.push(dyno(4, "web", 2, 4, DynoState::Starting));
    let hold = Action::WakeAt(UnixMs(3000));
    assert_eq!(run(&w, &dynos), vec![start("web", 1), start("web", 2), stop(3), stop(4), hold]);
    assert_eq!(served(&w, &dynos, 1000), [1, 2]);
    dynos.truncate(2);
    dynos.push(dyno(5, "web", 1, 5, DynoState::Up));
    dynos.push(dyno(6, "web", 2, 5, DynoState::Up));
    assert_eq!(served(&w, &dynos, 2999), [1, 2]);
    assert_eq!(plan(&w, &dynos, &Backoff::default(), None, UnixMs(3000)), vec![stop(1), stop(2), Action::Prove(5)]);
}

#[test]
fn visitors_meet_a_new_release_only_when_all_of_it_is_up() {
    let w = wanted(4, false, Some(3), &[("web", 2)]);
    let mut dynos = vec![dyno(1, "web", 1, 3, DynoState::Up), dyno(2, "web", 2, 3, DynoState::Up)];
    dynos.push(dyno(3, "web", 1, 4, DynoState::Up));
    assert_eq!(served(&w, &dynos, 1000), [1, 2]);
    assert_eq!(served(&Wanted { in_steps: true, ..w.clone() }, &dynos, 1000), [2, 3]);
    assert_eq!(served(&w, &dynos[2..], 1000), [3], "better than nobody");
    dynos.push(dyno(4, "web", 2, 4, DynoState::Up));
    assert_eq!(served(&w, &dynos, 1000), [3, 4]);
    let back = wanted(3, true, Some(3), &[("web", 2)]);
    assert_eq!(served(&back, &dynos, 1000), [1, 2], "what is left of one that failed serves no more");
    assert_eq!(served(&back, &dynos[1..], 1000), [2, 3], "unless nobody else would");
}

#[test]
fn a_worker_only_release_has_nothing_to_prove_and_does_not_fail() {
    let w = wanted(4, false, Some(3), &[("worker", 1)]);
    let mut dynos = vec![dyno(1, "worker", 1, 3, DynoState::Up)];
    assert_eq!(run(&w, &dynos), vec![start("worker", 1), Action::Prove(4)]);
    dynos.push(dyno(2, "worker", 1, 4, DynoState::Crashed));
    assert!(!run(&w, &dynos).contains(&Action::Fail(4)));
}

#[test]
fn a_destroyed_app_stops_everything() {
    let w = Wanted { release: None, types: vec![], ..wanted(3, true, None, &[]) };
    let dynos = [dyno(1, "web", 1, 3, DynoState::Up), dyno(2, "worker", 1, 3, DynoState::Starting)];
    assert_eq!(run(&w, &dynos), vec![stop(1), stop(2)]);
}

/// Carries the actions out in a small world where every started dyno comes up, and counts the rounds.
fn settle(wanted: &mut Wanted, mut dynos: Vec<Dyno>, seed: u64) -> Vec<Dyno> {
    let mut next_id = 10_000 + u128::from(seed);
    for round in 0..50u64 {
        let actions = plan(wanted, &dynos, &Backoff::from_seconds(&[0]), None, UnixMs(20_000 + round));
        if actions.is_empty() {
            return dynos;
        }
        for action in actions {
            match action {
                Action::Start { ptype, num, .. } => {
                    next_id += 1;
                    let mut new = dyno(next_id, &ptype, num, wanted.release.unwrap_or(0), DynoState::Up);
                    new.created_at = UnixMs(20_000 + round);
                    dynos.push(new);
                }
                Action::Stop(id) | Action::Forget(id) => dynos.retain(|d| d.id != id),
                Action::Prove(_) => wanted.proven = true,
                Action::Fail(_) => {
                    wanted.release = wanted.fallback;
                    wanted.proven = true;
                }
                Action::StopFirst { .. } | Action::Step(_) => panic!("there is room for all"),
                Action::WakeAt(_) => {}
            }
        }
    }
    panic!("the plan does not settle: {wanted:?} {dynos:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_state_settles_in_the_wanted_one_and_web_never_drops_to_nothing(
        old in proptest::collection::vec((0usize..2, 1u32..4, 1u64..4, 0usize..3), 0..8),
        web in 0u32..4, worker in 0u32..3, proven in any::<bool>(), seed in 0u64..1000,
    ) {
        let states = [DynoState::Starting, DynoState::Up, DynoState::Crashed];
        let dynos: Vec<Dyno> = old.iter().enumerate()
            .map(|(i, (t, num, release, s))| dyno(i as u128 + 1, ["web", "worker"][*t], *num, *release, states[*s]))
            .map(|mut d| { if d.state == DynoState::Starting { d.state = DynoState::Up; } d })
            .collect();
        let mut w = wanted(3, proven, Some(2), &[("web", web), ("worker", worker)]);
        let end = settle(&mut w, dynos, seed);
        for t in &w.types {
            for num in 1..=t.quantity {
                prop_assert!(end.iter().any(|d| d.ptype == t.ptype && d.num == num && d.state == DynoState::Up));
            }
        }
        let live = end.iter().filter(|d| d.state == DynoState::Up).count();
        prop_assert_eq!(live as u32, web + worker);
    }
}
