//! The native driver with real processes (situations of `runtime.md` section 14; the number stands in the test).
//! Needs root, as in CI; elsewhere it says so.
#![allow(missing_docs, clippy::unwrap_used)]

use domain::DynoId;
use runtime::{
    Exit, Limits, Mount, Network, Root, Runtime, Sink, Spec, Stdio,
    native::{
        NativeRuntime,
        network::{DEFAULT_SUBNET, DynoNetwork},
    },
};
use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};
use uuid::Uuid;

#[derive(Default)]
struct Recorder {
    text: Mutex<String>,
    changed: Condvar,
    grace_over: Mutex<u32>,
    dropped: Mutex<u64>,
}

impl Sink for Recorder {
    fn output(&self, _end: u64, _time_us: u64, bytes: &[u8]) {
        self.text.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
        self.changed.notify_all();
    }
    fn dropped(&self, lines: u64) {
        *self.dropped.lock().unwrap() += lines;
    }
    fn grace_over(&self) {
        *self.grace_over.lock().unwrap() += 1;
    }
}

impl Recorder {
    fn text(&self) -> String {
        self.text.lock().unwrap().clone()
    }

    /// Waits until the output contains `needle`.
    fn wait_for(&self, needle: &str) {
        let text = self.text.lock().unwrap();
        let (text, limit) = self.changed.wait_timeout_while(text, Duration::from_secs(20), |t| !t.contains(needle)).unwrap();
        assert!(!limit.timed_out(), "no {needle:?} in:\n{text}");
    }
}

fn driver(dir: &Path, program: &Path) -> Result<NativeRuntime, runtime::RuntimeError> {
    NativeRuntime::new(&dir.join("run"), program, DynoNetwork::Own { subnet: DEFAULT_SUBNET, required: true }, Vec::new())
}

struct World {
    dir: tempfile::TempDir,
    driver: NativeRuntime,
    program: std::path::PathBuf,
}

fn world() -> Option<World> {
    // SAFETY: geteuid has no preconditions.
    if unsafe { libc::geteuid() } != 0 {
        println!("SKIPPED: the native driver's tests need root");
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
        return None;
    }
    let dir = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_runtime-test-holder")).to_path_buf();
    let driver = driver(dir.path(), &program).unwrap();
    Some(World { dir, driver, program })
}

impl World {
    fn spec(&self, script: &str) -> Spec {
        let id = DynoId::from(Uuid::new_v4());
        let slot = u32::from(id.as_bytes()[0]) + 1;
        let app = self.dir.path().join(format!("app-{id}"));
        let tmp = self.dir.path().join(format!("tmp-{id}"));
        for dir in [&app, &tmp] {
            fs::create_dir(dir).unwrap();
            std::os::unix::fs::chown(dir, Some(200_000 + slot), Some(200_000 + slot)).unwrap();
        }
        let mount = |source, target: &str| Mount { source, target: target.into(), writable: true };
        Spec {
            id,
            argv: vec!["/bin/bash".into(), "-c".into(), script.into()],
            env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into()), ("HOME".into(), "/app".into())]),
            cwd: "/app".into(),
            hostname: id.to_string(),
            mounts: vec![mount(app, "/app"), mount(tmp, "/tmp")],
            user_slot: slot,
            limits: Limits { memory_bytes: 64 << 20, memory_hard: true, tasks_max: 64, cpu_share: 1, cores: None },
            network: Network::Own,
            lossless: false,
            root: Root::default(),
            stdio: Stdio::default(),
        }
    }

    async fn start(&self, script: &str) -> (DynoId, Arc<Recorder>) {
        let (id, sink, _) = self.start_at(script).await;
        (id, sink)
    }

    async fn start_at(&self, script: &str) -> (DynoId, Arc<Recorder>, IpAddr) {
        let spec = self.spec(script);
        let (id, sink) = (spec.id, Arc::new(Recorder::default()));
        let address = self.driver.start(spec, sink.clone()).await.unwrap();
        (id, sink, address)
    }

    async fn run(&self, script: &str) -> (Exit, String) {
        let (id, sink) = self.start(script).await;
        let exit = self.driver.wait(id).await.unwrap();
        self.driver.remove(id).await.unwrap();
        (exit, sink.text())
    }
}

macro_rules! world {
    () => {
        match world() {
            Some(world) => world,
            None => return,
        }
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_3_4_the_cage_is_what_the_contract_says() {
    let world = world!();
    let script = r#"
        echo "cwd=$PWD uid_is_private=$(( $(id -u) > 200000 )) name=$(id -un) host=$(hostname | wc -c)"
        echo "env=$(env | cut -d= -f1 | sort | tr '\n' ' ')"
        touch /usr/x 2>/dev/null || echo usr-read-only
        touch /x 2>/dev/null || echo root-read-only
        touch /tmp/x && touch /app/x && echo app-and-tmp-writable
        echo "root=$(ls / | tr '\n' ' ')"
        echo "sigs=$(grep -E 'SigIgn|SigBlk' /proc/self/status | awk '{print $2}' | sort -u | tr '\n' ' ')"
        echo "fds=$(ls /proc/self/fd | tr '\n' ' ')"
        echo "caps=$(grep -E 'Cap(Prm|Eff|Bnd|Amb)' /proc/self/status | awk '{print $2}' | sort -u)"
        echo "nnp=$(grep NoNewPrivs /proc/self/status | awk '{print $2}') seccomp=$(grep Seccomp: /proc/self/status | awk '{print $2}')"
        echo "quota=$(cat /sys/fs/cgroup/memory/memory.limit_in_bytes) tasks=$(ulimit -u)"
        echo "init=$(tr '\0' ' ' < /proc/1/cmdline) procs=$(ls /proc | grep -c '^[0-9]')"
        echo via-dev-stdout > /dev/stdout
    "#;
    let (exit, text) = world.run(script).await;
    assert_eq!(exit.status, 0, "{text}");
    for expected in [
        "cwd=/app uid_is_private=1 name=dyno host=37",
        "env=HOME PATH PWD SHLVL _ ",
        "usr-read-only",
        "root-read-only",
        "app-and-tmp-writable",
        "sigs=0000000000000000 ",
        "fds=0 1 2 3 ", // 3 is the folder that ls itself reads
        "caps=0000000000000000",
        "nnp=1 seccomp=2",
        "quota=67108864 tasks=64",
        "via-dev-stdout",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in:\n{text}");
    }
    let root = text.lines().find_map(|l| l.strip_prefix("root=")).unwrap();
    assert!(!root.contains("root") && !root.contains("work"), "{root}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn start_7_a_missing_command_is_127_and_exit_codes_come_through() {
    let world = world!();
    assert_eq!(world.run("no-such-command").await.0.status, 127);
    assert_eq!(world.run("exit 3").await.0.status, 3);
    assert_eq!(world.run("kill -9 $$").await.0.status, 137);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_9_11_every_process_gets_term_once_daemons_too() {
    let world = world!();
    let script = r#"
        trap 'echo main-term; sleep 0.3; exit 0' TERM
        for n in 1 2; do bash -c "trap 'echo child-$n-term; exit 0' TERM; echo ready-$n; while :; do sleep 0.05; done" & done
        setsid bash -c "trap 'echo daemon-term; sleep 1; echo last-words; exit 0' TERM; echo ready-3; while :; do sleep 0.05; done" &
        echo ready-4
        while :; do sleep 0.05; done
    "#;
    let (id, sink) = world.start(script).await;
    (1..=4).for_each(|n| sink.wait_for(&format!("ready-{n}")));
    world.driver.stop(id, 30_000).await.unwrap();
    let exit = world.driver.wait(id).await.unwrap();
    world.driver.remove(id).await.unwrap();
    let text = sink.text();
    for word in ["main-term", "child-1-term", "child-2-term", "daemon-term", "last-words"] {
        assert_eq!(text.matches(word).count(), 1, "{word} in:\n{text}");
    }
    assert_eq!(exit.status, 0, "the main process handled TERM");
    assert_eq!(*sink.grace_over.lock().unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_12_14_who_ignores_term_is_killed_after_the_grace() {
    let world = world!();
    let (id, sink) =
        world.start("trap '' TERM; (trap '' TERM; while :; do :; done) & echo ready; while :; do sleep 0.1; done").await;
    sink.wait_for("ready");
    let begun = Instant::now();
    world.driver.stop(id, 1000).await.unwrap();
    let exit = world.driver.wait(id).await.unwrap();
    assert_eq!(exit.status, 137);
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert_eq!(*sink.grace_over.lock().unwrap(), 1);
    world.driver.remove(id).await.unwrap();

    let (exit, _) = world.run(":(){ :|:& };: 2>/dev/null; sleep 0.5; exit 5").await;
    assert_eq!(exit.status, 5, "a fork bomb is bounded and ends with its main process");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_10_a_shell_that_dies_at_once_does_not_cut_its_child_short() {
    let world = world!();
    let (id, sink) = world
        .start("bash -c \"trap 'sleep 1.5; echo child-done; exit 0' TERM; echo ready; while :; do sleep 0.05; done\"; true")
        .await;
    sink.wait_for("ready");
    world.driver.stop(id, 30_000).await.unwrap();
    let exit = world.driver.wait(id).await.unwrap();
    assert_eq!(exit.status, 143);
    assert!(sink.text().contains("child-done"), "{}", sink.text());
    world.driver.remove(id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipe_19_25_a_flood_arrives_whole_and_in_order() {
    let world = world!();
    let (exit, text) =
        world.run("yes | head -1; seq 1 50000; head -c 1000000 /dev/zero | tr '\\0' x; echo; exec 1>&-; echo err >&2").await;
    assert_eq!(exit.status, 0);
    let mut expected = String::from("y\n");
    (1..=50_000).for_each(|n| expected.push_str(&format!("{n}\n")));
    assert!(text.starts_with(&expected), "the numbers are there, in order");
    assert_eq!(text.len(), expected.len() + 1_000_001 + 4);
    assert!(text.ends_with("err\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipe_17_a_new_daemon_takes_the_dyno_back() {
    let world = world!();
    let (id, sink, address) = world.start_at("echo one; while [ ! -e /tmp/go ]; do sleep 0.05; done; echo two; exit 4").await;
    sink.wait_for("one");
    let again = driver(world.dir.path(), &world.program).unwrap();
    let second = Arc::new(Recorder::default());
    assert_eq!(again.list().await.unwrap(), vec![id]);
    assert_eq!(again.recover(id, second.clone()).await.unwrap(), Some(address), "the same address");
    fs::write(world.dir.path().join(format!("tmp-{id}/go")), "").unwrap();
    let exit = again.wait(id).await.unwrap();
    assert_eq!(exit.status, 4);
    // What the first daemon had not acknowledged yet comes again; nothing is lost.
    assert!(["two\n", "one\ntwo\n"].contains(&second.text().as_str()), "{}", second.text());
    again.remove(id).await.unwrap();
    assert_eq!(again.recover(id, second).await.unwrap(), None);
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
    assert!(!world.driver.capabilities().missing.iter().any(|m| m.contains("network")), "the host can do it");
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
        world.driver.start(spec, sink.clone()).await.unwrap();
        world.driver.wait(id).await.unwrap();
        world.driver.remove(id).await.unwrap();
        let expected: String = refused.iter().map(|place| format!("{place} no\n")).collect();
        assert_eq!(sink.text(), format!("{expected}{name_server}:53 yes\n"), "{network:?}");
    }
    world.driver.stop(server, 0).await.unwrap();
    world.driver.wait(server).await.unwrap();
    world.driver.remove(server).await.unwrap();
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
async fn crash_30_32_memory_and_zombies() {
    let world = world!();
    let (exit, text) = world
        .run("python3 -c 'x = bytearray(200 << 20)'; echo \"child=$?\"; for n in $(seq 20); do (sleep 0.01 &); done; sleep 0.5; ps -e -o stat= | grep -c Z; echo main-lives")
        .await;
    assert!(text.contains("child=137") && text.contains("\n0\n") && text.contains("main-lives"), "{text}");
    assert!(exit.oom, "the kill is reported");
    assert_eq!(exit.status, 0, "a child's death is no crash");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_behind() {
    let world = world!();
    let groups = || {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let mut found = 0;
        for line in own.lines() {
            let mut parts = line.splitn(3, ':');
            let (_, names, path) = (parts.next(), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            let base = if names.is_empty() { "/sys/fs/cgroup".to_string() } else { format!("/sys/fs/cgroup/{names}") };
            // On version 2 the groups may stand at the top of the tree.
            let places = [format!("{base}{path}/tidemill"), format!("{base}/tidemill")];
            let dirs = places.iter().flat_map(|p| fs::read_dir(p).into_iter().flatten().flatten());
            found += dirs.filter(|e| e.path().is_dir()).count();
        }
        found
    };
    let mounts = || {
        fs::read_to_string("/proc/self/mounts")
            .unwrap()
            .lines()
            .filter(|l| l.contains(&*world.dir.path().to_string_lossy()))
            .count()
    };
    let mut ids = Vec::new();
    for _ in 0..5 {
        let (id, _) = world.start("sleep 60").await;
        ids.push(id);
    }
    for id in &ids {
        assert!(world.driver.stats(*id).await.is_some(), "limits are in force");
    }
    let with_dynos = groups();
    for id in ids {
        world.driver.remove(id).await.unwrap();
    }
    assert!(groups() < with_dynos, "control groups are gone");
    assert_eq!(mounts(), 0, "mounts stay in the dyno's name space");
    let marker = world.dir.path().to_string_lossy().into_owned();
    let holders = fs::read_dir("/proc").unwrap().flatten().filter(|process| {
        let fds = fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
        let name = fs::read_to_string(process.path().join("cmdline")).unwrap_or_default();
        name.contains("hold")
            && fds.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|to| to.to_string_lossy().contains(&marker))
    });
    assert_eq!(holders.count(), 0, "holders are gone");
    assert_eq!(world.driver.list().await.unwrap(), vec![]);
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
        echo finished
    "#;
    let (_, text) = world.run(script).await;
    assert!(text.contains("finished"), "{text}");
    assert!(!text.contains("ESCAPED"), "{text}");
    assert_eq!(text.matches("refused").count(), 26, "{text}");
}
