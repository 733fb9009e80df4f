//! The way of the output, and ends that nobody asked for.

use super::{Recorder, World, needs};
use runtime::Sink;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// Stores what it gets up to a line end, as the engine's sink does, and says so.
struct Keeper {
    stored: Arc<Mutex<Vec<u8>>>,
    safe: watch::Sender<u64>,
}

impl Keeper {
    fn new(stored: Arc<Mutex<Vec<u8>>>) -> Arc<Self> {
        let safe = watch::channel(stored.lock().unwrap().len() as u64).0;
        Arc::new(Self { stored, safe })
    }
}

impl Sink for Keeper {
    fn output(&self, end: u64, _time_us: u64, bytes: &[u8]) {
        let mut stored = self.stored.lock().unwrap();
        let have = stored.len() as u64;
        let begin = end - bytes.len() as u64;
        assert!(begin <= have, "bytes are missing from {have} to {begin}");
        if end > have {
            stored.extend_from_slice(&bytes[usize::try_from(have - begin).unwrap()..]);
            self.safe.send_replace(end);
        }
    }
    fn safe(&self) -> Option<watch::Receiver<u64>> {
        Some(self.safe.subscribe())
    }
    fn dropped(&self, lines: u64) {
        panic!("{lines} lines were lost");
    }
    fn grace_over(&self) {}
}

pub async fn pipe_17_output_goes_on_under_a_new_daemon_without_loss_or_repeat(world: &World) {
    needs!(world, survives_daemon);
    let spec = world.spec("for n in $(seq 1 3000); do echo \"line $n\"; [ $((n % 100)) = 0 ] && sleep 0.1; done; exit 6");
    let id = spec.id;
    let stored = Arc::new(Mutex::new(Vec::new()));
    world.runtime.start(spec, Keeper::new(stored.clone())).await.unwrap();
    let mut daemons = vec![(world.reopen)(world.dir.path())];
    for round in 1..=4 {
        let limit = std::time::Instant::now() + *super::LIMIT;
        while stored.lock().unwrap().len() < round * 5000 && std::time::Instant::now() < limit {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        // The former one goes on as if it had not noticed: it is slower than death, and harder on the next.
        let next = (world.reopen)(world.dir.path());
        assert!(next.recover(id, Keeper::new(stored.clone())).await.unwrap().is_some());
        daemons.push(next);
    }
    let last = daemons.pop().unwrap();
    assert_eq!(last.wait(id).await.unwrap().status, 6);
    last.remove(id).await.unwrap();
    let expected: String = (1..=3000).map(|n| format!("line {n}\n")).collect();
    assert!(String::from_utf8(stored.lock().unwrap().clone()).unwrap() == expected, "lost, repeated or in disorder");
}

pub async fn pipe_19_21_25_a_flood_arrives_whole_and_in_order(world: &World) {
    needs!(world, processes);
    let (exit, text) = world.run("yes | head -1; seq 1 50000; head -c 1000000 /dev/zero | tr '\\0' x; echo; echo end").await;
    assert_eq!(exit.status, 0);
    let mut expected = String::from("y\n");
    (1..=50_000).for_each(|n| expected.push_str(&format!("{n}\n")));
    assert!(text.starts_with(&expected), "the numbers are there, in order");
    assert_eq!(text.len(), expected.len() + 1_000_001 + 4);
    assert!(text.ends_with("x\nend\n"));
}

pub async fn pipe_19_lines_that_nobody_read_are_counted(world: &World) {
    needs!(world, survives_daemon);
    const LINES: u64 = 5_000_000;
    let spec = world.spec(&format!("echo ready; sleep 1; seq 1 {LINES}; echo end"));
    let (id, first) = (spec.id, Arc::new(Recorder::default()));
    let daemon = (world.reopen)(world.dir.path());
    daemon.start(spec, first.clone()).await.unwrap();
    first.wait_for("ready");
    drop(daemon);
    // What it writes while nobody is there is more than is kept anywhere.
    tokio::time::sleep(std::time::Duration::from_secs(4)).await;
    let next = (world.reopen)(world.dir.path());
    let second = Arc::new(Recorder::default());
    next.recover(id, second.clone()).await.unwrap();
    assert_eq!(next.wait(id).await.unwrap().status, 0, "it was not held up for ever");
    let (text, dropped) = (second.text(), *second.dropped.lock().unwrap());
    let begun = u64::from(text.starts_with("ready\n"));
    let lines = text.matches('\n').count() as u64 - begun;
    println!("{lines} of {LINES} lines came, {dropped} were counted as lost");
    assert_eq!(lines + dropped, LINES + 1);
    assert!(text.ends_with("end\n"));
    next.remove(id).await.unwrap();
}

pub async fn pipe_20_last_lines_of_a_child_arrive(world: &World) {
    needs!(world, processes);
    let script = r#"
        bash -c "trap 'sleep 0.7; for n in 1 2 3; do echo last-\$n; done; printf unfinished; exit 0' TERM; echo ready; while :; do sleep 0.05; done" &
        wait
    "#;
    let (id, sink) = world.start(script).await;
    sink.wait_for("ready");
    world.runtime.stop(id, 30_000).await.unwrap();
    assert_eq!(world.end(id).await.status, 143);
    assert_eq!(sink.said(), "ready\nlast-1\nlast-2\nlast-3\nunfinished");
    assert_eq!(*sink.end.lock().unwrap(), sink.text().len() as u64, "every byte is counted");
}

pub async fn pipe_22_stdout_closed_stderr_goes_on(world: &World) {
    needs!(world, processes);
    let (exit, text) = world.run("echo out; exec 1>&-; sleep 0.2; echo err >&2; echo lost 2>/dev/null; exit 3").await;
    assert_eq!((exit.status, text.as_str()), (3, "out\nerr\n"));
    let (exit, text) = world.run("echo out; exec 1>&- 2>&-; sleep 0.5; exit 4").await;
    assert_eq!((exit.status, text.as_str()), (4, "out\n"), "who closes both is no crash");
}

pub async fn pipe_23_dev_stdout_can_be_opened_again(world: &World) {
    needs!(world, processes);
    let (exit, text) =
        world.run("echo one > /dev/stdout; echo two >> /dev/stderr; echo three > /proc/self/fd/1; echo four").await;
    assert_eq!((exit.status, text.as_str()), (0, "one\ntwo\nthree\nfour\n"));
}

pub async fn crash_28_30_32_memory_zombies_and_left_over_children(world: &World) {
    needs!(world, limits);
    let script = "python3 -c 'x = bytearray(200 << 20)'; echo \"child=$?\"; for n in $(seq 20); do (sleep 0.01 &); done; sleep 0.5; ps -e -o stat= | grep -c Z; echo main-lives";
    let (exit, text) = world.run(script).await;
    assert!(text.contains("child=137") && text.contains("\n0\n") && text.contains("main-lives"), "{text}");
    assert!(exit.oom, "the kill is reported");
    assert_eq!(exit.status, 0, "a child's death is no crash");
    let script = "bash -c \"trap 'echo left-term; exit 0' TERM; echo ready; while :; do sleep 0.05; done\" & until [ -e /tmp/go ]; do sleep 0.05; [ -n \"$(jobs -r)\" ] && sleep 0.5 && touch /tmp/go; done; exit 7";
    let (id, sink) = world.start(script).await;
    let exit = world.end(id).await;
    assert_eq!((exit.status, sink.said().as_str()), (7, "ready\nleft-term\n"), "what a crash leaves behind gets TERM");
    let sink = Arc::new(Recorder::default());
    let spec = world.spec("trap '' TERM; (while :; do sleep 0.1; done) & exit 8");
    let id = spec.id;
    world.runtime.start(spec, sink.clone()).await.unwrap();
    assert_eq!(world.end(id).await.status, 8, "and KILL after a short grace");
    assert_eq!(*sink.grace_over.lock().unwrap(), 0, "nobody had asked it to stop");
}
