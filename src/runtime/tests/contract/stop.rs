//! Stopping a cage, and signals.

use super::{World, needs};
use std::time::{Duration, Instant};

pub async fn stop_9_11_every_process_gets_term_once_daemons_too(world: &World) {
    needs!(world, processes);
    let script = r#"
        trap 'echo main-term; sleep 0.3; exit 0' TERM
        for n in 1 2 3; do bash -c "trap 'echo child-$n-term; exit 0' TERM; echo ready-$n; while :; do sleep 0.05; done" & done
        setsid bash -c "trap 'echo daemon-term; sleep 1; echo last-words; exit 0' TERM; echo ready-4; while :; do sleep 0.05; done" &
        (setsid bash -c "trap 'echo orphan-term; exit 0' TERM; echo ready-5; while :; do sleep 0.05; done" &)
        echo ready-6
        while :; do sleep 0.05; done
    "#;
    let (id, sink) = world.start(script).await;
    (1..=6).for_each(|n| sink.wait_for(&format!("ready-{n}")));
    world.runtime.stop(id, 30_000).await.unwrap();
    let exit = world.end(id).await;
    let text = sink.text();
    for word in ["main-term", "child-1-term", "child-2-term", "child-3-term", "daemon-term", "orphan-term", "last-words"] {
        assert_eq!(text.matches(word).count(), 1, "{word} in:\n{text}");
    }
    assert_eq!(exit.status, 0, "the main process handled TERM");
    assert_eq!(*sink.grace_over.lock().unwrap(), 0);
}

pub async fn stop_10_a_shell_that_dies_at_once_does_not_cut_its_child_short(world: &World) {
    needs!(world, processes);
    let script = "bash -c \"trap 'sleep 1.5; echo child-done; exit 0' TERM; echo ready; while :; do sleep 0.05; done\"; true";
    let (id, sink) = world.start(script).await;
    sink.wait_for("ready");
    world.runtime.stop(id, 30_000).await.unwrap();
    let exit = world.end(id).await;
    assert_eq!(exit.status, 143);
    assert!(sink.text().contains("child-done"), "{}", sink.text());
}

pub async fn stop_12_who_ignores_term_is_killed_after_the_grace(world: &World) {
    needs!(world, processes);
    let script = "trap '' TERM; (trap '' TERM; while :; do :; done) & echo ready; while :; do sleep 0.1; done";
    let (id, sink) = world.start(script).await;
    sink.wait_for("ready");
    let begun = Instant::now();
    world.runtime.stop(id, 1000).await.unwrap();
    let exit = world.end(id).await;
    assert_eq!(exit.status, 137);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(*sink.grace_over.lock().unwrap(), 1);
}

pub async fn stop_13_term_during_boot(world: &World) {
    needs!(world, processes);
    for _ in 0..5 {
        let (id, _) = world.start("exec sleep 300").await;
        world.runtime.stop(id, 30_000).await.unwrap();
        assert_eq!(world.end(id).await.status, 143);
    }
    let (id, sink) = world.start("trap '' TERM; echo ready; while :; do sleep 0.1; done").await;
    sink.wait_for("ready");
    world.runtime.stop(id, 0).await.unwrap();
    assert_eq!(world.end(id).await.status, 137);
    assert_eq!(*sink.grace_over.lock().unwrap(), 0, "without a grace there is none that is over");
}

pub async fn stop_14_a_fork_bomb_is_bounded_and_dies(world: &World) {
    needs!(world, limits);
    // The main process forks nothing more itself, since it could not.
    let script = "bomb() { bomb | bomb & }; (bomb 2>/dev/null) & until [ $SECONDS -ge 2 ]; do true; done; exit 5";
    let (exit, _) = world.run(script).await;
    assert_eq!(exit.status, 5, "a fork bomb is bounded and ends with its main process");
    let script = "trap '' TERM; bomb() { bomb & bomb; }; (bomb 2>/dev/null) & echo ready; while :; do :; done";
    let (id, sink) = world.start(script).await;
    sink.wait_for("ready");
    world.runtime.stop(id, 500).await.unwrap();
    assert_eq!(world.end(id).await.status, 137);
}

pub async fn stop_15_a_frozen_cage_is_thawed(world: &World) {
    needs!(world, limits);
    let (id, sink) = world.start("trap 'echo term; exit 0' TERM; echo ready; while :; do sleep 0.05; done").await;
    sink.wait_for("ready");
    (world.freeze)(id);
    world.runtime.stop(id, 30_000).await.unwrap();
    assert_eq!(world.end(id).await.status, 0);
    assert_eq!(sink.said(), "ready\nterm\n");
    let (id, sink) = world.start("echo ready; sleep 300").await;
    sink.wait_for("ready");
    (world.freeze)(id);
    world.runtime.remove(id).await.unwrap();
    assert_eq!(world.runtime.list().await.unwrap(), vec![]);
}

pub async fn signal_reaches_every_process(world: &World) {
    needs!(world, signals_all);
    let script = r#"
        trap 'echo main-hup' HUP
        bash -c "trap 'echo child-hup; exit 0' HUP; echo ready-1; while :; do read -t 0.05 < <(trap '' HUP; sleep 1); done" &
        echo ready-2; wait; wait; echo over; exit 9
    "#;
    let (id, sink) = world.start(script).await;
    (1..=2).for_each(|n| sink.wait_for(&format!("ready-{n}")));
    world.runtime.signal(id, libc::SIGHUP).await.unwrap();
    assert_eq!(world.end(id).await.status, 9);
    let text = sink.text();
    assert!(["main-hup", "child-hup", "over"].iter().all(|word| text.matches(word).count() == 1), "{text}");
}
