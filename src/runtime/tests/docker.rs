//! The Docker driver with a real engine: the contract, and what only this driver has. Needs root and an engine
//! (`tests/docker-engine` starts one); elsewhere it says so.
#![allow(missing_docs, clippy::unwrap_used)]

mod contract;

use contract::{World, contract, folder};
use domain::DynoId;
use runtime::{
    Runtime,
    docker::{DockerRuntime, Options, Sweep},
    native::network::{DEFAULT_SUBNET, own::OwnNetwork},
};
use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// The engine's socket and an image with bash and Python.
fn engine() -> Option<(PathBuf, String)> {
    let found = std::env::var_os("TIDEMILL_TEST_DOCKER").zip(std::env::var("TIDEMILL_TEST_IMAGE").ok());
    if found.is_none() {
        println!("SKIPPED: the docker driver's tests need an engine; see tests/docker-engine");
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
    }
    found.map(|(socket, image)| (socket.into(), image))
}

/// One request to the engine, without the driver's help; empty when it does not answer.
fn ask(socket: &Path, method: &str, path: &str) -> String {
    let request = format!("{method} {path} HTTP/1.0\r\nHost: engine\r\nContent-Length: 0\r\n\r\n");
    let mut answer = String::new();
    let asked = UnixStream::connect(socket).and_then(|mut stream| {
        stream.write_all(request.as_bytes())?;
        stream.read_to_string(&mut answer)
    });
    if asked.is_err() {
        return String::new();
    }
    answer.split_once("\r\n\r\n").map(|(_, body)| body.to_string()).unwrap_or_default()
}

fn driver_at(dir: &Path, socket: &Path, image: &str, sweep: Sweep) -> DockerRuntime {
    let options = Options {
        socket: socket.into(),
        run_dir: dir.join("run"),
        base_image: Some(image.into()),
        network: OwnNetwork::set_up(DEFAULT_SUBNET, Vec::new()),
        sweep,
        patience: Duration::from_millis(100),
    };
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(DockerRuntime::new(options))).unwrap()
}

fn driver(dir: &Path) -> Arc<dyn Runtime> {
    let (socket, image) = engine().unwrap();
    Arc::new(driver_at(dir, &socket, &image, Sweep { grace: Duration::from_secs(3600), dry_run: false }))
}

fn world() -> Option<World> {
    engine()?;
    let dir = folder();
    let runtime = driver(dir.path());
    Some(World { dir, runtime, reopen: Box::new(driver), freeze, traces: Box::new(traces), fake: None })
}

fn freeze(id: DynoId) {
    let (socket, _) = engine().unwrap();
    assert_eq!(ask(&socket, "POST", &format!("/containers/tidemill-{id}/pause")), "");
}

/// Containers, volumes and folders of the dynos in this folder.
fn traces(dir: &Path) -> Vec<String> {
    let (socket, _) = engine().unwrap();
    let all = ask(&socket, "GET", "/containers/json?all=1") + &ask(&socket, "GET", "/volumes");
    let names =
        fs::read_dir(dir).unwrap().flatten().filter_map(|e| e.file_name().to_str()?.strip_prefix("app-").map(String::from));
    let mut found: Vec<String> = names.filter(|id| all.contains(id)).collect();
    found.extend(fs::read_dir(dir.join("run/dynos")).unwrap().flatten().map(|e| e.path().display().to_string()));
    found.sort();
    found
}

contract!(world);

/// An engine of a test's own, that is killed and started again.
struct OwnEngine {
    dir: tempfile::TempDir,
    live_restore: bool,
    process: Option<std::process::Child>,
    /// The part that runs containers. Without one of its own an engine takes the host's, where there is one.
    containers: Option<std::process::Child>,
}

impl OwnEngine {
    fn start(live_restore: bool) -> Self {
        let dir = tempfile::Builder::new().prefix("tm-engine").tempdir().unwrap();
        let mut engine = Self { dir, live_restore, process: None, containers: None };
        engine.boot();
        engine
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    fn log(&self) -> fs::File {
        fs::File::options().create(true).append(true).open(self.dir.path().join("log")).unwrap()
    }

    fn boot_containers(&mut self) {
        let dir = self.dir.path();
        let (settings, socket) = (dir.join("containerd.toml"), dir.join("containerd.sock"));
        fs::write(&settings, "version = 2\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n").unwrap();
        let mut command = std::process::Command::new("containerd");
        command.arg("--config").arg(settings).arg("--address").arg(&socket);
        command.arg("--root").arg(dir.join("containerd")).arg("--state").arg(dir.join("exec-containerd"));
        self.containers = Some(command.stdout(self.log()).stderr(self.log()).spawn().unwrap());
        until("the engine's part that runs containers answers", || UnixStream::connect(&socket).is_ok());
    }

    fn kill_containers(&mut self) {
        let mut process = self.containers.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    fn boot(&mut self) {
        self.boot_containers();
        let (dir, log) = (self.dir.path(), self.log());
        let _ = fs::remove_file(dir.join("pid")); // of one that was killed, whose number may live on
        let mut command = std::process::Command::new("dockerd");
        command.arg("--host").arg(format!("unix://{}", self.socket().display()));
        command.arg("--data-root").arg(dir.join("data")).arg("--exec-root").arg(dir.join("exec"));
        command.arg("--pidfile").arg(dir.join("pid")).arg("--containerd").arg(dir.join("containerd.sock"));
        command.args(["--bridge", "none", "--iptables=false", "--ip-masq=false"]);
        command.arg(format!("--live-restore={}", self.live_restore));
        self.process = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
        until("the engine answers", || ask(&self.socket(), "GET", "/_ping") == "OK");
    }

    fn import(&self, archive: &Path) {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        let length = fs::metadata(archive).unwrap().len();
        let path = "/images/create?fromSrc=-&repo=tidemill-test&tag=base";
        write!(stream, "POST {path} HTTP/1.0\r\nHost: engine\r\nContent-Length: {length}\r\n\r\n").unwrap();
        std::io::copy(&mut fs::File::open(archive).unwrap(), &mut stream).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("sha256:"), "{answer}");
    }

    fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        self.kill_containers();
        until("the engine is gone", || UnixStream::connect(self.socket()).is_err());
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            // SAFETY: kill takes numbers; the process is this test's and was not waited for.
            unsafe { libc::kill(i32::try_from(process.id()).unwrap(), libc::SIGTERM) };
            let _ = process.wait();
        }
        if let Some(mut process) = self.containers.take() {
            let _ = process.kill().and_then(|()| process.wait()); // gone is good
        }
        // What a test that failed left running.
        let containers = fs::read_dir(self.dir.path().join("data/containers")).into_iter().flatten().flatten();
        let names: Vec<String> = containers.map(|c| c.file_name().to_string_lossy().into_owned()).collect();
        for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let groups = fs::read_to_string(process.path().join("cgroup")).unwrap_or_default();
            let pid = process.file_name().to_str().and_then(|pid| pid.parse().ok());
            if let Some(pid) = pid.filter(|_| names.iter().any(|name| groups.contains(name))) {
                // SAFETY: kill takes numbers; the process is in a container of this test's engine.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        }
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let here = self.dir.path().to_string_lossy().into_owned();
        for mount in mounts.lines().filter_map(|l| l.split(' ').nth(1)).filter(|m| m.starts_with(&here)) {
            let _ = std::process::Command::new("umount").args(["-l", mount]).status();
        }
    }
}

fn until(what: &str, condition: impl Fn() -> bool) {
    let limit = std::time::Instant::now() + *contract::LIMIT * 2;
    while !condition() {
        assert!(std::time::Instant::now() < limit, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

const SERVER: &str = r#"exec python3 -u -c '
import http.server, threading, time, sys, signal
signal.signal(signal.SIGTERM, lambda *_: sys.exit(9))
def tick():
    for n in range(10**9):
        print("tick", n)
        time.sleep(0.02)
threading.Thread(target=tick, daemon=True).start()
http.server.ThreadingHTTPServer(("", 8000), http.server.SimpleHTTPRequestHandler).serve_forever()
' 2>/dev/null"#;

/// Every tick, in order and once.
fn ticks(text: &str) -> u64 {
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let numbers: Vec<u64> = whole.lines().filter_map(|line| line.strip_prefix("tick ")?.parse().ok()).collect();
    let wrong: Vec<_> = (0..).zip(&numbers).filter(|(wanted, got)| wanted != *got).take(3).collect();
    assert!(wrong.is_empty(), "lines are missing or come twice: {wrong:?}");
    numbers.len() as u64
}

/// What [`engine_restart`] leaves.
struct Restarted {
    world: World,
    /// Runs.
    id: DynoId,
    sink: Arc<contract::Recorder>,
    /// Was told to stop while the engine was down.
    stopped: DynoId,
    /// Of a daemon that was started meanwhile.
    next: DockerRuntime,
    next_sink: Arc<contract::Recorder>,
    own: OwnEngine,
}

/// Kills the engine under a running dyno and starts it again; what happens to the dyno is told by `after`.
async fn engine_restart(live_restore: bool) -> Option<Restarted> {
    let (_, image) = engine()?;
    let archive = std::env::var_os("TIDEMILL_TEST_ROOTFS").expect("tests/docker-engine base prints it");
    let mut own = OwnEngine::start(live_restore);
    own.import(Path::new(&archive));
    let dir = folder();
    let sweep = Sweep { grace: Duration::from_secs(3600), dry_run: false };
    let runtime = Arc::new(driver_at(dir.path(), &own.socket(), &image, sweep));
    let world = World {
        dir,
        runtime,
        reopen: Box::new(|_| unreachable!("not asked for")),
        freeze: |_| {},
        traces: Box::new(|_| Vec::new()),
        fake: None,
    };
    let (id, sink, address) = world.start_at(SERVER).await;
    let answers = || std::net::TcpStream::connect((address, 8000)).is_ok();
    until("the app answers", answers);
    until("it ticks", || ticks(&sink.text()) > 20);
    let (stopped, other) = world.start("trap 'echo bye; exit 11' TERM; echo ready; while :; do sleep 0.05; done").await;
    other.wait_for("ready");
    own.kill();
    assert!(answers(), "the app answers while the engine is down");
    until("the driver knows", || world.runtime.capabilities().missing.iter().any(|m| m.contains("does not answer")));
    let refused = world.start_err().await;
    assert!(refused.contains("does not answer") && refused.contains("start the engine"), "{refused}");
    assert!(world.runtime.stats(id).await.is_some_and(|stats| stats.tasks > 1), "it is still looked after");
    assert!(answers(), "the app still answers");
    assert_eq!(world.runtime.inspect(id).await.unwrap().exit, None, "nothing is reported as ended");
    world.runtime.stop(stopped, 30_000).await.unwrap();
    let next = driver_at(world.dir.path(), &own.socket(), &image, sweep);
    let next_sink = Arc::new(contract::Recorder::default());
    assert_eq!(next.recover(id, next_sink.clone()).await.unwrap(), Some(address), "a daemon that starts now finds it");
    own.boot();
    until("the driver knows", || !world.runtime.capabilities().missing.iter().any(|m| m.contains("does not answer")));
    Some(Restarted { world, id, sink, stopped, next, next_sink, own })
}

impl World {
    async fn start_err(&self) -> String {
        let spec = self.spec("exit 0");
        self.runtime.start(spec, Arc::new(contract::Recorder::default())).await.unwrap_err().to_string()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engine_killed_with_live_restore_dynos_go_on_and_their_log_too() {
    let Some(Restarted { world, id, sink, stopped, next, next_sink, mut own }) = engine_restart(true).await else { return };
    let exit = world.runtime.wait(stopped).await.unwrap();
    assert_eq!((exit.status, exit.platform_error), (11, None), "the signal reached it while the engine was down");
    world.runtime.remove(stopped).await.unwrap();
    let before = ticks(&sink.text());
    until("it ticks again", || ticks(&sink.text()) > before + 50);
    // The part of the engine that runs containers may die alone, too.
    own.kill_containers();
    let before = ticks(&sink.text());
    until("it ticks on", || ticks(&sink.text()) > before + 50);
    own.boot_containers();
    assert_eq!(world.runtime.inspect(id).await.unwrap().exit, None);
    world.runtime.stop(id, 30_000).await.unwrap();
    let exit = world.runtime.wait(id).await.unwrap();
    assert_eq!((exit.status, *sink.dropped.lock().unwrap()), (9, 0), "{exit:?}");
    assert_eq!(*sink.grace_over.lock().unwrap(), 0, "its end was seen at once");
    println!("{} ticks over two restarts", ticks(&sink.text()));
    assert_eq!(next.wait(id).await.unwrap().status, 9);
    let all = sink.text();
    let later = next_sink.text();
    assert!(all.ends_with(&later) && later.contains("tick"), "the later daemon goes on where the former one had stored");
    world.runtime.remove(id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engine_killed_without_live_restore_the_real_end_is_reported() {
    let Some(Restarted { world, id, sink, stopped, next, own: _own, .. }) = engine_restart(false).await else { return };
    drop(next);
    world.runtime.remove(stopped).await.unwrap();
    let exit = tokio::time::timeout(*contract::LIMIT * 2, world.runtime.wait(id)).await.expect("the engine ended it").unwrap();
    println!("{} ticks, then {exit:?}", ticks(&sink.text()));
    assert!([9, 137, 143].contains(&exit.status), "{exit:?}");
    world.runtime.remove(id).await.unwrap();
    let (exit, text) = world.run("echo again").await;
    assert_eq!((exit.status, text.as_str()), (0, "again\n"), "and others can be started");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sweep_removes_what_nobody_knows_after_the_grace_and_not_in_a_dry_run() {
    let Some(world) = world() else { return };
    let (id, _) = world.start("exec sleep 300").await;
    let (socket, image) = engine().unwrap();
    let known = |id: DynoId| ask(&socket, "GET", "/containers/json?all=1").contains(&id.to_string());
    let grace = Duration::from_millis(400);
    let dry = driver_at(world.dir.path(), &socket, &image, Sweep { grace, dry_run: true });
    tokio::time::sleep(grace * 4).await; // long enough for it to have done what it must not do
    assert!(known(id));
    drop(dry);
    let _wet = driver_at(world.dir.path(), &socket, &image, Sweep { grace, dry_run: false });
    until("it is removed", || !known(id));
    until("its volumes, too", || !ask(&socket, "GET", "/volumes").contains(&id.to_string()));
    world.runtime.remove(id).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn image_45_runs_as_it_says_with_a_user_of_its_own() {
    let Some(world) = world() else { return };
    let (socket, _) = engine().unwrap();
    // An image with an entry point, made of the base.
    let changes = [
        "ENTRYPOINT [\"/bin/sh\",\"-c\",\"echo entry $0 $1 $VAR; id -u; pwd; exec /bin/bash -c \\\"$1\\\"\"]",
        "CMD [\"own\",\"echo own\"]",
        "ENV VAR=var",
        "WORKDIR /srv",
        "USER root",
        "VOLUME /data",
    ];
    let name = format!("{}", uuid::Uuid::new_v4());
    let query: String = changes.iter().map(|c| format!("&changes={}", percent(c))).collect();
    let container = format!("tm-commit-{name}");
    let body = "{\"Image\":\"tidemill-test:base\",\"Cmd\":[\"true\"]}";
    let mut stream = UnixStream::connect(&socket).unwrap();
    write!(stream, "POST /containers/create?name={container} HTTP/1.0\r\nHost: e\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    stream.read_to_string(&mut String::new()).unwrap();
    let made = ask(&socket, "POST", &format!("/commit?container={container}&repo=tm-entry&tag={name}{query}"));
    assert!(made.contains("sha256:"), "{made}");
    ask(&socket, "DELETE", &format!("/containers/{container}"));
    let run = async |argv: Vec<String>| {
        let mut spec = world.spec("");
        spec.argv = argv;
        spec.mounts.clear();
        spec.cwd = PathBuf::new();
        spec.root = runtime::Root::Image(format!("tm-entry:{name}"));
        let (id, sink, slot) = (spec.id, Arc::new(contract::Recorder::default()), spec.user_slot);
        world.runtime.start(spec, sink.clone()).await.unwrap();
        let exit = world.end(id).await;
        (exit.status, sink.text().replace(&(200_000 + slot).to_string(), "UID"))
    };
    assert_eq!(run(Vec::new()).await, (0, "entry own echo own var\nUID\n/srv\nown\n".into()));
    let (status, text) = run(vec!["mine".into(), "trap 'echo term; exit 4' TERM; kill -TERM $$; sleep 1; exit 5".into()]).await;
    assert!(status == 4 && text.ends_with("term\n") && text.contains("entry mine"), "{status} {text}");
    let missing = world.start_image("tidemill-test/none:1").await;
    assert!(matches!(missing, Err(runtime::RuntimeError::Start(_))), "{missing:?}");
    ask(&socket, "DELETE", &format!("/images/tm-entry:{name}"));
}

impl World {
    async fn start_image(&self, name: &str) -> Result<std::net::IpAddr, runtime::RuntimeError> {
        let mut spec = self.spec("exit 0");
        spec.root = runtime::Root::Image(name.into());
        self.runtime.start(spec, Arc::new(contract::Recorder::default())).await
    }
}

fn percent(text: &str) -> String {
    text.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stack_an_imported_root_becomes_an_image_once() {
    let Some(world) = world() else { return };
    let (socket, _) = engine().unwrap();
    let stack = world.dir.path().join("stacks/small");
    let id = uuid::Uuid::new_v4().to_string();
    fs::create_dir_all(stack.join("root")).unwrap();
    fs::write(stack.join("id"), format!("{id}\n")).unwrap();
    let archive = std::env::var_os("TIDEMILL_TEST_ROOTFS").expect("tests/docker-engine base prints it");
    let unpacked =
        std::process::Command::new("tar").arg("-xf").arg(archive).arg("-C").arg(stack.join("root")).status().unwrap();
    assert!(unpacked.success());
    fs::write(stack.join("root/etc/small"), "small\n").unwrap();
    for _ in 0..2 {
        let mut spec = world.spec("cat /etc/small; id -un");
        spec.root = runtime::Root::Imported(stack.join("root"));
        let (id, sink) = (spec.id, Arc::new(contract::Recorder::default()));
        world.runtime.start(spec, sink.clone()).await.unwrap();
        assert_eq!((world.end(id).await.status, sink.text().as_str()), (0, "small\ndyno\n"));
        fs::write(stack.join("root/etc/small"), "changed\n").unwrap(); // the same id is the same root
    }
    ask(&socket, "DELETE", &format!("/images/tidemill-stack:{id}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn escape_containers_reach_the_outside_but_neither_each_other_nor_the_host() {
    let Some(world) = world() else { return };
    let (server, sink, address) = world
        .start_at("python3 -u -c 'import socket\ns = socket.create_server((\"\", 8000)); print(\"here\")\nwhile 1: s.accept()'")
        .await;
    sink.wait_for("here");
    assert!(std::net::TcpStream::connect((address, 8000)).is_ok(), "the host, and so the router, reaches it");
    let daemon = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = daemon.local_addr().unwrap().port();
    let probe = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
    probe.connect("203.0.113.1:9").unwrap();
    let outward = probe.local_addr().unwrap().ip();
    let script = format!(
        "python3 - {address}:8000 127.0.0.1:{port} 10.209.0.1:{port} {outward}:{port} 169.254.169.254:80 <<'PY'\nimport socket, sys\nfor place in sys.argv[1:]:\n    host, port = place.rsplit(':', 1)\n    try:\n        socket.create_connection((host, int(port)), 3).close()\n        print(place, 'yes')\n    except OSError:\n        print('no')\nPY\ngrep -c nameserver /etc/resolv.conf"
    );
    let (exit, text) = world.run(&script).await;
    let servers = text.lines().last().unwrap_or_default().to_string();
    assert_eq!((exit.status, text), (0, format!("no\nno\nno\nno\nno\n{servers}\n")));
    assert_ne!(servers, "0");
    world.runtime.remove(server).await.unwrap();
}
