//! The life of a cage, which every driver knows, also one that only plays.

use super::{Recorder, World, needs};
use domain::DynoId;
use runtime::RuntimeError;
use std::sync::Arc;
use uuid::Uuid;

pub async fn life_a_cage_from_start_to_removal(world: &World) {
    let (id, _) = world.start("exec sleep 300").await;
    assert_eq!(world.runtime.list().await.unwrap(), vec![id]);
    let standing = world.runtime.inspect(id).await.unwrap();
    assert_eq!(standing.exit, None);
    world.runtime.stop(id, 30_000).await.unwrap();
    let exit = world.runtime.wait(id).await.unwrap();
    assert_eq!((exit.status, exit.oom, &exit.platform_error), (143, false, &None));
    assert_eq!(world.runtime.inspect(id).await.unwrap().exit.map(|e| e.status), Some(143), "the end stays until it is removed");
    assert_eq!(world.runtime.wait(id).await.unwrap(), exit, "who asks later hears the same");
    world.runtime.remove(id).await.unwrap();
    assert_eq!(world.runtime.list().await.unwrap(), vec![]);
    world.runtime.remove(id).await.unwrap(); // twice is no error
}

pub async fn life_nobody_knows_an_id_that_was_never_started(world: &World) {
    let id = DynoId::from(Uuid::new_v4());
    let unknown = RuntimeError::Unknown(id);
    assert_eq!(world.runtime.stop(id, 0).await.unwrap_err(), unknown);
    assert_eq!(world.runtime.wait(id).await.unwrap_err(), unknown);
    assert_eq!(world.runtime.inspect(id).await.unwrap_err(), unknown);
    assert_eq!(world.runtime.stats(id).await, None);
    assert_eq!(world.runtime.recover(id, Arc::new(Recorder::default())).await.unwrap(), None);
    world.runtime.remove(id).await.unwrap();
}

pub async fn life_a_second_stop_sends_no_second_term(world: &World) {
    let script = "trap 'echo term; sleep 0.5; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
    let (id, sink) = world.start(script).await;
    if let Some(fake) = &world.fake {
        fake.print(id, b"ready\n");
    }
    sink.wait_for("ready");
    world.runtime.stop(id, 30_000).await.unwrap();
    world.runtime.stop(id, 30_000).await.unwrap();
    let next = (world.reopen)(world.dir.path());
    let second = Arc::new(Recorder::default());
    next.recover(id, second.clone()).await.unwrap();
    next.stop(id, 30_000).await.unwrap();
    next.wait(id).await.unwrap();
    let terms = match &world.fake {
        Some(fake) => fake.started().iter().map(|(_, terms)| *terms).sum::<u32>() as usize,
        None => (sink.text() + &second.text()).matches("term").count(),
    };
    // The former daemon and the next may both have read the line, since nothing said that it is stored.
    assert!((1..=2).contains(&terms) && second.text().matches("term").count() <= 1, "{terms}");
    next.remove(id).await.unwrap();
}

pub async fn life_17_a_new_daemon_takes_the_dyno_back(world: &World) {
    needs!(world, processes);
    let script = "trap 'go=1' WINCH; echo one; while [ -z $go ]; do sleep 0.05; done; echo two; exit 4";
    let (id, sink, address) = world.start_at(script).await;
    sink.wait_for("one");
    let next = (world.reopen)(world.dir.path());
    let second = Arc::new(Recorder::default());
    assert_eq!(next.list().await.unwrap(), vec![id]);
    assert_eq!(next.recover(id, second.clone()).await.unwrap(), Some(address), "the same address");
    assert_eq!(next.inspect(id).await.unwrap().address, address);
    next.signal(id, libc::SIGWINCH).await.unwrap();
    let exit = next.wait(id).await.unwrap();
    assert_eq!(exit.status, 4);
    // What the first daemon had not acknowledged yet comes again; nothing is lost.
    assert!(["two\n", "one\ntwo\n"].contains(&second.text().as_str()), "{}", second.text());
    next.remove(id).await.unwrap();
    assert_eq!(next.recover(id, second).await.unwrap(), None);
}

pub async fn life_a_cage_that_ended_meanwhile_tells_the_next_daemon(world: &World) {
    let (id, sink) = world.start("echo out; exit 3").await;
    if let Some(fake) = &world.fake {
        fake.print(id, b"out\n");
        fake.finish(id, 3);
    }
    sink.wait_for("out");
    world.runtime.wait(id).await.unwrap();
    let next = (world.reopen)(world.dir.path());
    assert!(next.recover(id, Arc::new(Recorder::default())).await.unwrap().is_some());
    assert_eq!(next.wait(id).await.unwrap().status, 3);
    next.remove(id).await.unwrap();
}

pub async fn life_nothing_is_left_behind(world: &World) {
    let before = (world.traces)(world.dir.path());
    let mut ids = Vec::new();
    let begun = std::time::Instant::now();
    for _ in 0..5 {
        ids.push(world.start("exec sleep 300").await.0);
    }
    println!("5 starts took {:?}", begun.elapsed());
    if !world.lacks("limits", |c| c.limits) {
        for id in &ids {
            // The kernel counts memory in batches, a moment later.
            let limit = std::time::Instant::now() + *super::LIMIT;
            let in_force = async || world.runtime.stats(*id).await.is_some_and(|s| s.tasks >= 1 && s.memory.rss_bytes > 0);
            while !in_force().await {
                assert!(std::time::Instant::now() < limit, "limits are in force");
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        }
    }
    let mut known = world.runtime.list().await.unwrap();
    known.sort();
    let mut wanted = ids.clone();
    wanted.sort();
    assert_eq!(known, wanted);
    for id in ids {
        world.runtime.remove(id).await.unwrap();
    }
    assert_eq!(world.runtime.list().await.unwrap(), vec![]);
    assert_eq!((world.traces)(world.dir.path()), before);
}
