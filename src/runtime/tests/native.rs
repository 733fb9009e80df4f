//! The native driver with real processes: the contract, and what only this driver has. Needs root, as in CI; elsewhere it
//! says so.
#![allow(missing_docs, clippy::unwrap_used)]

mod contract;

use contract::{Recorder, World, contract, folder};
use domain::DynoId;
use runtime::{
    Network, Runtime, RuntimeError,
    native::{
        NativeRuntime,
        network::{DEFAULT_SUBNET, DynoNetwork},
    },
};
use std::{
    fs,
    net::{TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

fn driver(dir: &Path) -> Result<NativeRuntime, RuntimeError> {
    let program = Path::new(env!("CARGO_BIN_EXE_runtime-test-holder"));
    NativeRuntime::new(&dir.join("run"), program, DynoNetwork::Own { subnet: DEFAULT_SUBNET, required: true }, Vec::new())
}

fn world() -> Option<World> {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        println!("SKIPPED: the native driver's tests need root");
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
        return None;
    }
    let dir = folder();
    let runtime = Arc::new(driver(dir.path()).unwrap());
    let reopen = Box::new(|dir: &Path| Arc::new(driver(dir).unwrap()) as Arc<dyn Runtime>);
    Some(World { dir, runtime, reopen, freeze, traces: Box::new(traces), fake: None })
}

/// Places where a control group of this process's dynos may be, on either version.
fn slices() -> Vec<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let mut found = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':');
        let (_, names, path) = (parts.next(), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
        let base = if names.is_empty() { "/sys/fs/cgroup".to_string() } else { format!("/sys/fs/cgroup/{names}") };
        // On version 2 the groups may stand beside the unit, or at the top of the tree.
        let beside = path.rsplit_once('/').map_or("", |(slice, _)| slice);
        found.extend([path, beside, ""].map(|place| PathBuf::from(format!("{base}{place}/tidemill"))));
    }
    found
}

fn freeze(id: DynoId) {
    let groups: Vec<PathBuf> = slices().into_iter().map(|slice| slice.join(id.to_string())).collect();
    let write = |name: &str, text: &str| {
        groups.iter().any(|group| group.join(name).exists() && fs::write(group.join(name), text).is_ok())
    };
    assert!(write("freezer.state", "FROZEN") || write("cgroup.freeze", "1"), "no freezer in {groups:?}");
}

/// Groups, mounts and holders of the dynos in this folder.
fn traces(dir: &Path) -> Vec<String> {
    let ids: Vec<String> = fs::read_dir(dir)
        .unwrap()
        .flatten()
        .filter_map(|e| e.file_name().to_str()?.strip_prefix("app-").map(String::from))
        .collect();
    let groups = slices().into_iter().flat_map(|slice| ids.iter().map(move |id| slice.join(id)).collect::<Vec<_>>());
    let mut found: Vec<String> = groups.filter(|g| g.exists()).map(|g| g.display().to_string()).collect();
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    found.extend(mounts.lines().filter(|l| l.contains(&*dir.to_string_lossy())).map(String::from));
    let marker = dir.to_string_lossy().into_owned();
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let fds = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let name = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        if name.contains("hold")
            && fds.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|to| to.to_string_lossy().contains(&marker))
        {
            found.push(format!("holder {}", process.file_name().to_string_lossy()));
        }
    }
    found.sort();
    found.dedup();
    found
}

contract!(world);

macro_rules! world {
    () => {
        match world() {
            Some(world) => world,
            None => return,
        }
    };
}

/// Connects to each `ADDRESS PORT` and prints the port with `yes` or `no`.
const REACH: &str = r#"python3 - "$@" <<'PY'
import socket, sys
for place in sys.argv[1:]:
    host, port = place.rsplit(":", 1)
    try:
        socket.create_connection((host, int(port)), 3).close()
        print(place, "yes")
    except OSError as e:
        print(place, "no")
PY"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn escape_cages_reach_the_outside_but_neither_each_other_nor_the_host() {
    let world = world!();
    assert!(!world.runtime.capabilities().missing.iter().any(|m| m.contains("network")), "the host can do it");
    let (server, sink, address) = world
        .start_at("python3 -u -c 'import socket\ns = socket.create_server((\"\", 8000)); print(\"here\")\nwhile 1: s.accept()'")
        .await;
    sink.wait_for("here");
    assert!(TcpStream::connect((address, 8000)).is_ok(), "the host, and so the router, reaches it");
    // Something of the host, on all of its addresses: the loopback, the gateway of the cages, and the one that leads out.
    let daemon = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = daemon.local_addr().unwrap().port();
    let probe = UdpSocket::bind("0.0.0.0:0").unwrap();
    probe.connect("203.0.113.1:9").unwrap();
    let outward = probe.local_addr().unwrap().ip();
    let resolver = fs::read_to_string("/etc/resolv.conf").unwrap();
    let name_server = resolver.lines().find_map(|l| l.strip_prefix("nameserver ")).unwrap().trim();
    let refused: Vec<String> =
        vec![format!("{address}:8000"), format!("127.0.0.1:{port}"), format!("10.209.0.1:{port}"), format!("{outward}:{port}")];
    let places = format!("{} {name_server}:53", refused.join(" "));
    for network in [Network::Own, Network::Outbound] {
        let mut spec = world.spec(&format!("set -- {places}; {REACH}"));
        spec.network = network;
        let (id, sink) = (spec.id, Arc::new(Recorder::default()));
        world.runtime.start(spec, sink.clone()).await.unwrap();
        world.runtime.wait(id).await.unwrap();
        world.runtime.remove(id).await.unwrap();
        let expected: String = refused.iter().map(|place| format!("{place} no\n")).collect();
        assert_eq!(sink.text(), format!("{expected}{name_server}:53 yes\n"), "{network:?}");
    }
    world.runtime.stop(server, 0).await.unwrap();
    world.runtime.wait(server).await.unwrap();
    world.runtime.remove(server).await.unwrap();
}

/// Alone on the host by `.config/nextest.toml`, as other cages would lose their way out for a moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn escape_rules_that_were_flushed_come_back_by_themselves() {
    let world = world!();
    let nft = |args: [&str; 4]| std::process::Command::new("nft").args(args).output().unwrap().status.success();
    let listed = || nft(["list", "table", "inet", "tidemill"]);
    assert!(listed());
    assert!(nft(["delete", "table", "inet", "tidemill"]));
    let limit = Instant::now() + Duration::from_secs(10);
    while !listed() {
        assert!(Instant::now() < limit, "the table does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    if Path::new("/run/tidemill.forwarding").exists() {
        let rules = std::process::Command::new("nft").args(["list", "chain", "inet", "tidemill", "others"]).output().unwrap();
        let rules = String::from_utf8_lossy(&rules.stdout).into_owned();
        assert!(rules.contains("ct state new ct status != dnat drop"), "the host becomes no router: {rules}");
    }
    let server = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = server.local_addr().unwrap().port();
    let (exit, text) = world.run(&format!("set -- 10.209.0.1:{port}; {REACH}")).await;
    assert_eq!((exit.status, text), (0, format!("10.209.0.1:{port} no\n")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn escape_attempts_are_refused() {
    let world = world!();
    let script = r#"
        try() { name=$1; shift; if "$@" >/tmp/out 2>&1; then echo "ESCAPED $name: $(head -c 200 /tmp/out)"; else echo "refused $name"; fi; }
        try mount mount -t tmpfs none /tmp
        try unshare unshare -Ur id
        try unshare-net unshare -n id
        try shadow cat /etc/shadow
        try host-root ls /root
        try host-proc-kcore bash -c 'test "$(head -c 1 /proc/kcore | wc -c)" = 1'
        try sysctl bash -c 'echo 1 > /proc/sys/kernel/sysrq'
        try sysrq bash -c 'test ! -c /proc/sysrq-trigger && echo h > /proc/sysrq-trigger'
        try mknod mknod /tmp/sda b 8 0
        try module bash -c 'python3 -c "import ctypes,sys; sys.exit(0 if ctypes.CDLL(None).syscall(175,0,0,0)==0 else 1)"'
        try keyctl python3 -c 'import ctypes,sys; sys.exit(0 if ctypes.CDLL(None).syscall(250,0,-3,1)>=0 else 1)'
        try raw-socket python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)'
        try kill-holder kill -9 1
        try holder-memory head -c 1 /proc/1/mem
        try holder-fds ls /proc/1/fd/
        try vsock python3 -c 'import socket; socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)'
        try cgroup bash -c 'echo 0 > /sys/fs/cgroup/cgroup.procs'
        try setuid python3 -c 'import os; os.setuid(0)'
        try chroot chroot /tmp true
        try hostname hostname evil
        try dmesg dmesg
        try nice python3 -c 'import os; os.nice(-5)'
        try nofile bash -c 'ulimit -n 1000000'
        try ns-enter nsenter -t 1 -m true
        try write-usr touch /usr/bin/evil
        try write-etc touch /etc/evil
        call() { python3 -c 'import ctypes,sys; sys.exit(0 if ctypes.CDLL(None).syscall(*map(int, sys.argv[1:])) >= 0 else 1)' "$@"; }
        try bpf call 321 0 0 0
        try open-tree call 428 -100 0 0
        try fsopen call 430 0 0
        try io-uring call 425 8 0
        try userfaultfd call 323 0
        try perf call 298 0 0 -1 -1 0
        try mbind call 237 0 0 0 0 0 0
        try personality call 135 262144
        try iopl call 172 3
        try add-key call 248 0 0 0 0 -3
        try process-vm call 310 1 0 0 0 0 0
        try af-alg python3 -c 'import socket; socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)'
        try packet python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'
        try ptrace-holder python3 -c 'import ctypes,sys; sys.exit(0 if ctypes.CDLL(None).ptrace(16,1,0,0)==0 else 1)'
        try other-pids bash -c 'test "$(ls /proc | grep -c "^[0-9]")" -gt 10'
        try release-agent bash -c 'ls /sys/fs/cgroup/*/release_agent'
        try core-pattern bash -c 'echo "|/tmp/x" > /proc/sys/kernel/core_pattern'
        try disk bash -c 'ls /dev/vda /dev/sda /dev/mem /dev/kmsg'
        try daemon-socket bash -c 'ls /var/lib/tidemill /run/docker.sock /var/run/docker.sock'
        try tty-inject python3 -c 'import fcntl,termios,os; m,s=os.openpty(); fcntl.ioctl(s, termios.TIOCSTI, b"x")'
        echo finished
    "#;
    let (_, text) = world.run(script).await;
    assert!(text.contains("finished"), "{text}");
    assert!(!text.contains("ESCAPED"), "{text}");
    assert_eq!(text.matches("refused").count(), 46, "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_3_nothing_of_the_host_is_at_the_top() {
    let world = world!();
    let (_, text) = world.run("ls /; cat /proc/1/cmdline | tr '\\0' ' '").await;
    assert!(!text.contains("root") && !text.contains("work"), "{text}");
}

/// Each takes all that it can get of something; a neighbour and the host go on meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn escape_hogs_are_contained_and_neighbours_answer() {
    let world = world!();
    let (server, sink, address) = world
        .start_at("python3 -u -c 'import socket\ns = socket.create_server((\"\", 8000)); print(\"here\")\nwhile 1: s.accept()'")
        .await;
    sink.wait_for("here");
    // Who is in the way of a bomb or runs out of memory first is chance.
    let hogs = [
        ("forks", ":(){ :|:& };: 2>/dev/null; sleep 1; exit 5", None),
        ("memory", "python3 -c 'x = []\nwhile 1: x.append(bytearray(1 << 20))'", Some(137)),
        ("shared memory", "head -c 40M /dev/zero > /dev/shm/x; head -c 40M /dev/zero >> /dev/shm/x; exit 6", None),
        ("files", "python3 -c 'x = []\nwhile 1: x.append(open(\"/dev/null\"))' 2>/dev/null", None),
        ("processors", "for n in 1 2 3 4; do (timeout 1 bash -c 'while :; do :; done') & done; wait; exit 7", Some(7)),
        ("output", "timeout 1 yes; exit 8", Some(8)),
        ("root", "head -c 200M /dev/zero > /etc/x || head -c 200M /dev/zero > /dev/x || exit 9", Some(9)),
    ];
    for (name, script, status) in hogs {
        let begun = Instant::now();
        let (id, _) = world.start(script).await;
        let wait = world.runtime.wait(id);
        tokio::pin!(wait);
        let mut answers = 0;
        let exit = loop {
            tokio::select! {
                exit = &mut wait => break exit.unwrap(),
                () = tokio::time::sleep(Duration::from_millis(50)) => {
                    TcpStream::connect_timeout(&(address, 8000).into(), Duration::from_secs(5)).unwrap();
                    answers += 1;
                }
            }
        };
        world.runtime.remove(id).await.unwrap();
        assert!(status.is_none_or(|status| status == exit.status), "{name}: {}", exit.status);
        println!("{name}: ended with {} after {:.1?}; the neighbour answered {answers} times", exit.status, begun.elapsed());
    }
    world.runtime.stop(server, 0).await.unwrap();
    world.runtime.wait(server).await.unwrap();
    world.runtime.remove(server).await.unwrap();
}

/// `TIDEMILL_CYCLES=10000` makes it the long one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_grows_over_many_starts_and_stops() {
    let world = world!();
    let cycles: u32 = std::env::var("TIDEMILL_CYCLES").ok().and_then(|n| n.parse().ok()).unwrap_or(200);
    let cycle = async || {
        let mut spec = world.spec("");
        spec.argv = vec!["/bin/true".into()];
        for mount in &spec.mounts {
            fs::remove_dir(&mount.source).unwrap(); // there would be as many as cycles
        }
        spec.mounts.clear();
        spec.cwd = "/".into();
        let id = spec.id;
        world.runtime.start(spec, Arc::new(Recorder::default())).await.unwrap();
        assert_eq!(world.runtime.wait(id).await.unwrap().status, 0);
        world.runtime.remove(id).await.unwrap();
    };
    let measure = || {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let rss: u64 = status.lines().find_map(|l| l.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB")?.parse().ok()).unwrap();
        let fds = fs::read_dir("/proc/self/fd").unwrap().count();
        (rss, fds, (world.traces)(world.dir.path()))
    };
    for _ in 0..50 {
        cycle().await; // what is made once is made now
    }
    let (rss, fds, traces) = measure();
    let begun = Instant::now();
    for _ in 0..cycles {
        cycle().await;
    }
    // One more network may just be in the making, with descriptors that go when it is ready.
    let limit = Instant::now() + *contract::LIMIT;
    let (rss_after, fds_after, traces_after) = loop {
        let after = measure();
        if (after.1, &after.2) == (fds, &traces) || Instant::now() > limit {
            break after;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    println!(
        "{cycles} starts and stops in {:.1?}: memory {rss} to {rss_after} KiB, descriptors {fds} to {fds_after}",
        begun.elapsed()
    );
    assert_eq!((fds_after, &traces_after), (fds, &traces));
    assert!(rss_after < rss + 8192, "memory grows: {rss} to {rss_after} KiB");
    assert_eq!(fs::read_dir(world.dir.path().join("run")).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn life_15_a_nursery_that_was_killed_is_started_anew_and_no_dyno_cares() {
    let world = world!();
    let (id, sink) = world.start("echo one; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo two").await;
    sink.wait_for("one");
    let own = std::process::id();
    let parent = |pid: &str| -> Option<u32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let nurseries: Vec<i32> = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|pid| pid.bytes().all(|b| b.is_ascii_digit()) && parent(pid) == Some(own))
        .filter(|pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c.contains("nursery")))
        .filter_map(|pid| pid.parse().ok())
        .collect();
    assert!(!nurseries.is_empty());
    for nursery in nurseries {
        // SAFETY: kill has no preconditions. Other tests in this process lose theirs, and do not care either.
        assert_eq!(unsafe { libc::kill(nursery, libc::SIGKILL) }, 0);
    }
    assert_eq!(world.run("exit 3").await.0.status, 3);
    fs::write(world.dir.path().join(format!("tmp-{id}/go")), "").unwrap();
    assert_eq!(world.runtime.wait(id).await.unwrap().status, 0);
    assert!(sink.text().contains("two"));
    world.runtime.remove(id).await.unwrap();
}

/// bash and cat with their libraries.
fn small_root(root: &Path) {
    for program in ["/usr/bin/bash", "/usr/bin/cat"] {
        let output = std::process::Command::new("ldd").arg(program).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
        for file in libraries.chain([program]) {
            let to = root.join(file.trim_start_matches('/'));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::copy(file, &to).unwrap();
        }
    }
    std::os::unix::fs::symlink("usr/bin", root.join("bin")).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stack_links_in_an_imported_root_lead_nobody_to_the_host() {
    let Some(world) = world() else { return };
    let (root, outside) = (world.dir.path().join("root"), world.dir.path().join("outside"));
    small_root(&root);
    // The holder writes below these before the system is its root.
    for place in ["dev", "etc", "sys", "proc", "run", "tmp", "var/tmp", "var/lib", "home", "opt", "app"] {
        fs::create_dir_all(root.join(place)).unwrap();
    }
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("kept"), "host").unwrap();
    for (link, target) in
        [("sys/fs", "."), ("dev/shm", "."), ("dev/null", "kept"), ("etc/passwd", "kept"), ("etc/hosts", "kept")]
    {
        std::os::unix::fs::symlink(outside.join(target), root.join(link)).unwrap();
    }
    let mut spec = world.spec("cat /sys/fs/cgroup/memory/memory.limit_in_bytes; echo to-nobody > /dev/null; cat /etc/hosts");
    spec.root = runtime::Root::Imported(root);
    let (id, sink) = (spec.id, Arc::new(Recorder::default()));
    world.runtime.start(spec, sink.clone()).await.unwrap();
    assert_eq!(world.end(id).await.status, 0, "{}", sink.text());
    assert!(sink.text().starts_with("67108864\n") && sink.text().contains("localhost"), "{}", sink.text());
    let left: Vec<_> = fs::read_dir(&outside).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(left, ["kept"], "nothing was written through a link");
    assert_eq!(fs::read_to_string(outside.join("kept")).unwrap(), "host");
}
