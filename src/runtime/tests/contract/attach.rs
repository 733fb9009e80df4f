//! Standard input of a cage, terminals, and further processes in it.

use super::{LIMIT, Recorder, World, needs};
use domain::DynoId;
use runtime::{Exec, Input, Running, Stdio, Window};
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::timeout;

async fn start(world: &World, script: &str, stdio: Stdio) -> (DynoId, Arc<Recorder>) {
    let mut spec = world.spec(script);
    spec.stdio = stdio;
    spec.lossless = true;
    let (id, sink) = (spec.id, Arc::new(Recorder::default()));
    world.runtime.start(spec, sink.clone()).await.unwrap();
    (id, sink)
}

fn command(script: &str, stdio: Stdio) -> Exec {
    let env = BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into()), ("EXTRA".into(), "1".into())]);
    Exec { argv: vec!["/bin/bash".into(), "-c".into(), script.into()], env, cwd: "/app".into(), stdio }
}

/// All output, and the status.
async fn finish(mut running: Running) -> (String, Option<i32>) {
    let mut text = Vec::new();
    while let Some(piece) = timeout(*LIMIT, running.output.recv()).await.expect("output or its end") {
        text.extend_from_slice(&piece);
    }
    let status = timeout(*LIMIT, running.exit).await.expect("the status").ok();
    (String::from_utf8_lossy(&text).into_owned(), status)
}

pub async fn attach_41_pipes_carry_any_bytes_and_their_end(world: &World) {
    needs!(world, processes);
    let (id, sink) = start(world, "cat | od -An -tu1 -v | tr -d ' \\n'; echo; echo over; exit 5", Stdio::Pipes).await;
    let input = world.runtime.attach(id).await.unwrap();
    let bytes: Vec<u8> = (0..=255).collect();
    for piece in bytes.chunks(100) {
        input.send(Input::Bytes(piece.to_vec().into())).await.unwrap();
    }
    input.send(Input::End).await.unwrap();
    assert_eq!(world.end(id).await.status, 5);
    let expected: String = bytes.iter().map(ToString::to_string).collect();
    assert_eq!(sink.text(), format!("{expected}\nover\n"));
    let (id, _) = world.start("exec sleep 300").await;
    if let Ok(input) = world.runtime.attach(id).await {
        timeout(*LIMIT, input.closed()).await.expect("a cage that writes to the log reads nothing");
    }
    world.runtime.remove(id).await.unwrap();
}

pub async fn attach_40_a_terminal_has_its_size_and_takes_another(world: &World) {
    needs!(world, processes);
    let script = "stty size; test -t 0 && test -t 1 && tty >/dev/null && echo is-terminal; trap 'stty size' WINCH; read line; echo \"got=$line\"; stty size; cat; echo over";
    let (id, sink) = start(world, script, Stdio::Terminal(Window { rows: 30, columns: 100 })).await;
    let input = world.runtime.attach(id).await.unwrap();
    sink.wait_for("is-terminal");
    assert!(sink.text().starts_with("30 100\r\n"), "{}", sink.text());
    input.send(Input::Resize(Window { rows: 41, columns: 121 })).await.unwrap();
    input.send(Input::Bytes("word\n".into())).await.unwrap();
    sink.wait_for("got=word");
    sink.wait_for("41 121");
    input.send(Input::End).await.unwrap();
    sink.wait_for("over");
    assert_eq!(world.end(id).await.status, 0);
    let (id, sink) = start(world, "echo ready; sleep 300", Stdio::Terminal(Window::default())).await;
    let input = world.runtime.attach(id).await.unwrap();
    sink.wait_for("ready");
    input.send(Input::Bytes(b"\x03".to_vec().into())).await.unwrap();
    assert_eq!(world.end(id).await.status, 130, "the terminal makes a signal of it");
}

pub async fn attach_the_next_one_cuts_the_former_off(world: &World) {
    needs!(world, processes);
    let (id, sink) = start(world, "while read line; do echo \"got=$line\"; done", Stdio::Pipes).await;
    let first = world.runtime.attach(id).await.unwrap();
    first.send(Input::Bytes("one\n".into())).await.unwrap();
    sink.wait_for("got=one");
    let second = world.runtime.attach(id).await.unwrap();
    timeout(*LIMIT, first.closed()).await.expect("the former one is told");
    drop(second); // without an end: the process goes on and waits for the next
    let next = (world.reopen)(world.dir.path());
    let heard = Arc::new(Recorder::default());
    next.recover(id, heard.clone()).await.unwrap();
    let third = next.attach(id).await.unwrap();
    third.send(Input::Bytes("two\n".into())).await.unwrap();
    heard.wait_for("got=two");
    third.send(Input::Signal(libc::SIGINT)).await.unwrap();
    assert_eq!(next.wait(id).await.unwrap().status, 130);
    next.remove(id).await.unwrap();
}

pub async fn exec_runs_inside_and_tells_its_status(world: &World) {
    needs!(world, processes);
    let (id, _) = world.start("echo $$ > /tmp/main; exec sleep 300").await;
    let script = "cat; id -un; pwd; env | cut -d= -f1 | sort | tr '\\n' ' '; test -d /proc/$(cat /tmp/main) && echo same-space; grep -E 'SigIgn|SigBlk|CapEff' /proc/self/status | awk '{print $2}' | sort -u; echo problem >&2; exit 7";
    let running = world.runtime.exec(id, command(script, Stdio::Pipes)).await.unwrap();
    running.input.send(Input::Bytes("some\n".into())).await.unwrap();
    running.input.send(Input::End).await.unwrap();
    let (text, status) = finish(running).await;
    assert_eq!(status, Some(7), "{text}");
    assert_eq!(text, "some\ndyno\n/app\nEXTRA PATH PWD SHLVL _ same-space\n0000000000000000\nproblem\n");
    let window = Stdio::Terminal(Window { rows: 10, columns: 20 });
    let running = world.runtime.exec(id, command("stty size; exit 3", window)).await.unwrap();
    assert_eq!(finish(running).await, ("10 20\r\n".into(), Some(3)));
    let running = world.runtime.exec(id, command("kill -9 $$", Stdio::Pipes)).await.unwrap();
    assert_eq!(finish(running).await.1, Some(137));
    let mut missing = command("", Stdio::Pipes);
    missing.argv = vec!["/no/such/program".into()];
    let running = world.runtime.exec(id, missing).await;
    assert!(running.is_err() || finish(running.unwrap()).await.1 == Some(127));
    world.runtime.remove(id).await.unwrap();
}

pub async fn exec_who_goes_away_hangs_it_up(world: &World) {
    needs!(world, processes);
    let (id, _) = world.start("exec sleep 300").await;
    // The shell says what its `sleep` died of; with nobody to hear it that would be SIGPIPE, which may come before the trap.
    let script = "trap 'touch /tmp/hung-up; exit' HUP; echo ready; exec > /dev/null 2>&1; while :; do sleep 0.05; done";
    let terminal = Stdio::Terminal(Window::default());
    // Nothing; what a queue on the way takes, which then stands still before the end of it; and more than all of them take.
    const PIECE_BYTES: usize = 16 << 10;
    let sent = [(Stdio::Pipes, 0), (terminal, 0), (Stdio::Pipes, 14), (Stdio::Pipes, 24), (Stdio::Pipes, usize::MAX)];
    for (stdio, pieces) in sent {
        let mut running = world.runtime.exec(id, command(script, stdio)).await.unwrap();
        assert!(running.output.recv().await.unwrap().starts_with(b"ready"));
        // It reads nothing.
        let input = vec![b'x'; PIECE_BYTES];
        for _ in 0..pieces {
            let sent = running.input.send(Input::Bytes(input.clone().into()));
            if timeout(Duration::from_millis(300), sent).await.is_err() {
                break;
            }
        }
        drop(running);
        let script = "for n in $(seq 200); do [ -e /tmp/hung-up ] && rm /tmp/hung-up && exit 0; sleep 0.05; done; exit 1";
        let running = world.runtime.exec(id, command(script, Stdio::Pipes)).await.unwrap();
        assert_eq!(finish(running).await.1, Some(0), "{stdio:?}, {pieces} pieces");
    }
    world.runtime.remove(id).await.unwrap();
}

pub async fn exec_ends_with_the_cage(world: &World) {
    needs!(world, processes);
    let (id, _) = world.start("trap 'exit 0' TERM; while :; do sleep 0.05; done").await;
    let mut running = world
        .runtime
        .exec(id, command("trap '' TERM HUP; echo ready; while :; do sleep 0.05; done", Stdio::Pipes))
        .await
        .unwrap();
    assert!(running.output.recv().await.unwrap().starts_with(b"ready"));
    world.runtime.stop(id, 500).await.unwrap();
    assert_eq!(world.end(id).await.status, 0, "the main process's status counts");
    while timeout(*LIMIT, running.output.recv()).await.expect("its output ends").is_some() {}
    assert!(timeout(*LIMIT, running.exit).await.is_ok());
}
