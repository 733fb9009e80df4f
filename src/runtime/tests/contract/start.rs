//! Starting a cage.

use super::{Recorder, World, needs};
use std::{fs, sync::Arc};

pub async fn start_3_4_24_26_the_cage_is_what_the_contract_says(world: &World) {
    needs!(world, processes);
    let script = r#"
        echo "cwd=$PWD uid_is_private=$(( $(id -u) > 200000 )) name=$(id -un) host=$(hostname | wc -c) umask=$(umask)"
        echo "env=$(env | cut -d= -f1 | sort | tr '\n' ' ')"
        touch /usr/x 2>/dev/null || echo usr-read-only
        touch /x 2>/dev/null || echo root-read-only
        touch /tmp/x && touch /app/x && touch /dev/shm/x && echo app-and-tmp-writable
        echo "sigs=$(grep -E 'SigIgn|SigBlk' /proc/self/status | awk '{print $2}' | sort -u | tr '\n' ' ')"
        echo "fds=$(ls /proc/self/fd | tr '\n' ' ')"
        echo "caps=$(grep -E 'Cap(Prm|Eff|Bnd|Amb|Inh)' /proc/self/status | awk '{print $2}' | sort -u)"
        echo "nnp=$(grep NoNewPrivs /proc/self/status | awk '{print $2}') seccomp=$(grep Seccomp: /proc/self/status | awk '{print $2}')"
        echo "main=$$ nofile=$(( $(ulimit -Sn) >= 10000 && $(ulimit -Sn) == $(ulimit -Hn) )) core=$(ulimit -c)"
        test $$ != 1 && echo not-pid-1
        test ! -s /dev/stdin && ! read -t 1 line && echo stdin-is-empty
    "#;
    let (exit, text) = world.run(script).await;
    assert_eq!(exit.status, 0, "{text}");
    for expected in [
        "cwd=/app uid_is_private=1 name=dyno host=37 umask=0022",
        "env=HOME PATH PWD SHLVL _ ",
        "usr-read-only",
        "root-read-only",
        "app-and-tmp-writable",
        "sigs=0000000000000000 \n",
        "fds=0 1 2 3 ", // 3 is the folder that ls itself reads
        "caps=0000000000000000",
        "nnp=1 seccomp=2",
        "nofile=1 core=0",
        "not-pid-1",
        "stdin-is-empty",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in:\n{text}");
    }
}

pub async fn start_5_what_buildpack_scripts_measure(world: &World) {
    needs!(world, processes);
    let script = "echo \"quota=$(cat /sys/fs/cgroup/memory/memory.limit_in_bytes) tasks=$(ulimit -u) cores=$(nproc)\"";
    let host = std::thread::available_parallelism().unwrap().get();
    for (memory, hard, tasks, cores) in [(512u64, false, 256u32, None), (1024, false, 512, None), (64, true, 64, Some(1u32))] {
        let mut spec = world.spec(script);
        spec.limits.memory_bytes = memory << 20;
        spec.limits.memory_hard = hard;
        spec.limits.tasks_max = tasks;
        spec.limits.cores = cores;
        let (id, sink) = (spec.id, Arc::new(Recorder::default()));
        world.runtime.start(spec, sink.clone()).await.unwrap();
        world.end(id).await;
        let expected = format!("quota={} tasks={tasks} ", memory << 20);
        assert!(sink.text().starts_with(&expected), "{expected:?}: {}", sink.text());
        if cores.is_none() || !world.lacks("cores", |c| c.cores) {
            let expected = format!(" cores={}\n", cores.map_or(host, |n| n as usize));
            assert!(sink.text().ends_with(&expected), "{expected:?}: {}", sink.text());
        }
    }
}

pub async fn start_7_a_missing_command_is_127_and_exit_codes_come_through(world: &World) {
    needs!(world, processes);
    assert_eq!(world.run("no-such-command").await.0.status, 127);
    assert_eq!(world.run("exit 3").await.0.status, 3);
    assert_eq!(world.run("kill -9 $$").await.0.status, 137);
    let mut spec = world.spec("");
    spec.argv = vec!["/no/such/program".into()];
    let id = spec.id;
    world.runtime.start(spec, Arc::new(Recorder::default())).await.unwrap();
    assert_eq!(world.end(id).await.status, 127);
}

pub async fn start_files_are_the_users_and_die_with_the_cage(world: &World) {
    needs!(world, processes);
    let script = "cat /app/dir/file; cat /app/link; test -x /app/run && /app/run; touch /app/dir/new && echo mine; stat -c %U /app/dir/file";
    let mut spec = world.spec(script);
    let app = spec.mounts[0].source.clone();
    fs::create_dir(app.join("dir")).unwrap();
    fs::write(app.join("dir/file"), "slug\n").unwrap();
    fs::write(app.join("run"), "#!/bin/sh\necho ran\n").unwrap();
    fs::set_permissions(app.join("run"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    std::os::unix::fs::symlink("dir/file", app.join("link")).unwrap();
    let owner = world.runtime.host_user(spec.user_slot);
    for path in ["dir", "dir/file", "run"] {
        owner.into_iter().for_each(|(u, g)| std::os::unix::fs::chown(app.join(path), Some(u), Some(g)).unwrap());
    }
    let fixed = world.dir.path().join("fixed");
    fs::create_dir(&fixed).unwrap();
    fs::write(fixed.join("file"), "fixed\n").unwrap();
    spec.mounts.push(runtime::Mount { source: fixed, target: "/opt/fixed".into(), writable: false, kept: false });
    spec.argv[2].push_str("; cat /opt/fixed/file; touch /opt/fixed/new 2>/dev/null || echo read-only");
    let (id, sink) = (spec.id, Arc::new(Recorder::default()));
    world.runtime.start(spec, sink.clone()).await.unwrap();
    world.end(id).await;
    assert_eq!(sink.text(), "slug\nslug\nran\nmine\ndyno\nfixed\nread-only\n");
}
