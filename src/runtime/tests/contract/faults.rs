//! Faults of the platform itself.

use super::{Recorder, World, needs};
use runtime::{Mount, RuntimeError, Spec};
use std::sync::Arc;

type Fault<'a> = (&'static str, &'a dyn Fn(&mut Spec));

pub async fn fault_a_start_that_fails_leaves_nothing(world: &World) {
    let before = (world.traces)(world.dir.path());
    let lost = |spec: &mut Spec| {
        let mount = Mount { source: "/no/such/folder".into(), target: "/app/lost".into(), writable: false, kept: false };
        spec.mounts.push(mount);
    };
    let faults: [Fault<'_>; 3] = [
        ("a folder that is not there", &lost),
        ("a working directory that can not be", &|spec| spec.cwd = "/proc/version/no".into()),
        ("no command", &|spec| spec.argv.clear()),
    ];
    for (what, spoil) in faults {
        let mut spec = world.spec("exec sleep 300");
        let id = spec.id;
        spoil(&mut spec);
        if let Some(fake) = &world.fake {
            fake.fail_next_starts(1);
        }
        match world.runtime.start(spec, Arc::new(Recorder::default())).await {
            Err(e) => assert!(matches!(e, RuntimeError::Start(_) | RuntimeError::Io(_)), "{what}: {e:?}"),
            // Seen only when the program was to begin: then it ends as if it could not be executed.
            Ok(_) => assert_eq!(world.runtime.wait(id).await.unwrap().status, 126, "{what}"),
        }
        world.runtime.remove(id).await.unwrap();
        assert_eq!(world.runtime.list().await.unwrap(), vec![], "{what}");
        assert_eq!((world.traces)(world.dir.path()), before, "{what}");
    }
}

pub async fn fault_the_process_that_a_cage_hangs_on_is_killed(world: &World) {
    needs!(world, processes);
    let before = (world.traces)(world.dir.path());
    let (id, sink) = world.start("echo ready; (setsid sleep 300 &); sleep 300").await;
    sink.wait_for("ready");
    let pid = world.runtime.inspect(id).await.unwrap().pid.expect("it hangs on a process");
    // SAFETY: kill takes numbers; the process is the cage's own.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
    let exit = world.end(id).await;
    assert_eq!(exit.status, 137);
    assert_eq!(world.runtime.list().await.unwrap(), vec![]);
    assert_eq!((world.traces)(world.dir.path()), before);
}
