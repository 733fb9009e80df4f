//! Time from `start` to the first byte of `echo` and to its exit seen, and starts a second on two threads, side by side with
//! fork+exec, `runc`, `crun` and `docker run` when they are there; then how long 200 dynos take to be taken back, and what
//! their holders cost. Needs root. `cargo bench --bench dyno_starts [SECONDS]`, with `TIDEMILL_TEST_DOCKER` (see
//! `tests/docker-engine`) for the engine.
#![allow(missing_docs, clippy::unwrap_used)]

use domain::DynoId;
use runtime::{
    Limits, Network, Root, Runtime, Sink, Spec,
    native::{
        NativeRuntime,
        network::{DEFAULT_SUBNET, DynoNetwork},
    },
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    io::Read,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

const ROUNDS: u32 = 100;

/// Remembers when the first byte came.
#[derive(Default)]
struct Quiet(std::sync::OnceLock<Instant>);
impl Sink for Quiet {
    fn output(&self, _end: u64, _time_us: u64, _bytes: &[u8]) {
        let _ = self.0.set(Instant::now()); // only the first counts
    }
    fn dropped(&self, _lines: u64) {}
    fn grace_over(&self) {}
}

fn main() {
    let seconds = std::env::args().filter_map(|a| a.parse().ok()).next_back().unwrap_or(10);
    let dir = tempfile::tempdir().unwrap();
    println!("{:<34} {:>11} {:>9} {:>7} {:>12}", "", "ms to byte", "ms to end", "ratio", "starts/s x2");
    let mut base = None;
    let mut row = |name: &str, (byte, end): (f64, f64), rate: f64| {
        let base = *base.get_or_insert(end);
        println!("{name:<34} {byte:>11.2} {end:>9.2} {:>7.1} {rate:>12.0}", end / base);
    };
    for network in [Network::Host, Network::Own] {
        let (times, rate) = native(dir.path(), network, seconds);
        row(&format!("native, {network:?} network"), times, rate);
    }
    let mut peer = |name: &str, command: &(dyn Fn(String) -> Command + Sync)| {
        let id = |n: String| format!("tidemill-bench-{}-{n}", std::process::id());
        if !run(&mut command(id("try".into()))) {
            println!("{name:<34} is not there or does not run here");
            return;
        }
        let times = timed(|n| first_byte_and_end(&mut command(id(n.to_string()))));
        row(name, times, rate_of(seconds, |n| assert!(run(&mut command(id(n))))));
    };
    peer("fork + exec", &|_| {
        let mut command = Command::new("/usr/bin/echo");
        command.arg("hi");
        command
    });
    // Here crun refuses the host's mix of control group versions, so it goes without any, which is an advantage.
    for (engine, options) in [("runc", &[][..]), ("crun", &["--cgroup-manager=disabled"])] {
        let bundle = dir.path().join(engine);
        if Command::new(engine).arg("--version").stdout(Stdio::null()).status().is_ok() {
            make_bundle(engine, &bundle);
        }
        peer(&format!("{engine} run"), &|name| {
            let mut command = Command::new(engine);
            command.args(options).args(["run", &name]).current_dir(&bundle);
            command
        });
    }
    for network in ["host", "none"] {
        peer(&format!("docker run, network {network}"), &|name| {
            let mut command = Command::new("docker");
            let socket = std::env::var("TIDEMILL_TEST_DOCKER").unwrap_or("/var/run/docker.sock".into());
            let image = std::env::var("TIDEMILL_TEST_IMAGE").unwrap_or("tidemill-test:base".into());
            command.args([
                "-H",
                &format!("unix://{socket}"),
                "run",
                "--rm",
                "--network",
                network,
                "--name",
                &name,
                &image,
                "echo",
                "hi",
            ]);
            command
        });
    }
    taken_back(dir.path());
}

fn run(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

fn ms(from: Instant) -> f64 {
    from.elapsed().as_secs_f64() * 1000.0
}

fn first_byte_and_end(command: &mut Command) -> (f64, f64) {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    child.stdout.take().unwrap().read_exact(&mut [0u8; 1]).unwrap();
    let byte = ms(start);
    assert!(child.wait().unwrap().success());
    (byte, ms(start))
}

/// A daemon that comes back to 200 dynos.
fn taken_back(dir: &Path) {
    const DYNOS: u32 = 200;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let first = driver(dir);
        let mut ids = Vec::new();
        for slot in 0..DYNOS {
            let mut spec = spec(slot + 1, Network::Own);
            spec.argv = vec!["/usr/bin/sleep".into(), "600".into()];
            ids.push(spec.id);
            first.start(spec, Arc::new(Quiet::default())).await.unwrap();
        }
        let private: u64 = ids.iter().map(|id| private_kib(dir, *id)).sum();
        drop(first);
        let second = driver(dir);
        let start = Instant::now();
        for id in &ids {
            assert!(second.recover(*id, Arc::new(Quiet::default())).await.unwrap().is_some());
        }
        println!("{DYNOS} dynos taken back in {:.0} ms, one after the other", ms(start));
        println!("a holder has {} KiB of its own", private / u64::from(DYNOS));
        for id in ids {
            second.remove(id).await.unwrap();
        }
    });
}

/// Memory that nobody shares with the holder of a dyno.
fn private_kib(dir: &Path, id: DynoId) -> u64 {
    let pid = fs::read_to_string(dir.join("run").join(id.to_string()).join("holder")).unwrap();
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.trim())).unwrap();
    let of = |name: &str| {
        text.lines().filter_map(|l| l.strip_prefix(name)?.trim().strip_suffix(" kB")?.parse::<u64>().ok()).sum::<u64>()
    };
    of("Private_Dirty:") + of("Private_Clean:")
}

/// Milliseconds to the first byte and to the end, on average.
fn timed(each: impl FnMut(u32) -> (f64, f64)) -> (f64, f64) {
    let (byte, end) = (0..ROUNDS).map(each).fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    (byte / f64::from(ROUNDS), end / f64::from(ROUNDS))
}

/// How many a second on two threads.
fn rate_of(seconds: u64, each: impl Fn(String) + Sync) -> f64 {
    let end = Instant::now() + Duration::from_secs(seconds);
    let count = |thread: u32| {
        let mut n = 0u32;
        while Instant::now() < end {
            each(format!("{thread}-{n}"));
            n += 1;
        }
        f64::from(n)
    };
    let total: f64 = std::thread::scope(|s| {
        let threads = [s.spawn(|| count(0)), s.spawn(|| count(1))];
        threads.into_iter().map(|t| t.join().unwrap()).sum()
    });
    total / seconds as f64
}

fn driver(dir: &Path) -> Arc<NativeRuntime> {
    let program = Path::new(env!("CARGO_BIN_EXE_tidemill"));
    let network = DynoNetwork::Own { subnet: DEFAULT_SUBNET, required: false };
    Arc::new(NativeRuntime::new(&dir.join("run"), program, network, Vec::new()).unwrap())
}

fn spec(slot: u32, network: Network) -> Spec {
    Spec {
        id: DynoId::from(uuid::Uuid::new_v4()),
        argv: vec!["/usr/bin/echo".into(), "hi".into()],
        env: BTreeMap::new(),
        cwd: "/app".into(),
        hostname: "bench".into(),
        mounts: Vec::new(),
        user_slot: slot,
        limits: Limits { memory_bytes: 512 << 20, memory_hard: false, tasks_max: 256, cpu_share: 1, cores: None },
        network,
        lossless: false,
        root: Root::default(),
        stdio: runtime::Stdio::default(),
    }
}

fn native(dir: &Path, network: Network, seconds: u64) -> ((f64, f64), f64) {
    let driver = driver(dir);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let times = timed(|_| {
        runtime.block_on(async {
            let (spec, sink) = (spec(1, network), Arc::new(Quiet::default()));
            let id = spec.id;
            let start = Instant::now();
            driver.start(spec, sink.clone()).await.unwrap();
            assert_eq!(driver.wait(id).await.unwrap().status, 0);
            let end = ms(start);
            driver.remove(id).await.unwrap();
            ((*sink.0.get().unwrap() - start).as_secs_f64() * 1000.0, end)
        })
    });
    let end = Instant::now() + Duration::from_secs(seconds);
    let workers: Vec<_> = (0..4u32)
        .map(|worker| {
            let driver = driver.clone();
            runtime.spawn(async move {
                let mut count = 0u32;
                while Instant::now() < end {
                    let spec = spec(worker + 2, network);
                    let id = spec.id;
                    driver.start(spec, Arc::new(Quiet::default())).await.unwrap();
                    driver.wait(id).await.unwrap();
                    driver.remove(id).await.unwrap();
                    count += 1;
                }
                f64::from(count)
            })
        })
        .collect();
    let total: f64 = workers.into_iter().map(|w| runtime.block_on(w).unwrap()).sum();
    (times, total / seconds as f64)
}

/// A bundle that sees the host's programs, as a dyno does.
fn make_bundle(engine: &str, bundle: &Path) {
    let root = bundle.join("rootfs");
    fs::create_dir_all(root.join("usr")).unwrap();
    for link in ["bin", "lib", "lib64", "sbin"] {
        std::os::unix::fs::symlink(format!("usr/{link}"), root.join(link)).unwrap();
    }
    assert!(Command::new(engine).arg("spec").current_dir(bundle).status().unwrap().success());
    let file = bundle.join("config.json");
    let mut config: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    config["process"]["args"] = json!(["/usr/bin/echo", "hi"]);
    config["process"]["terminal"] = json!(false);
    let usr = json!({ "destination": "/usr", "source": "/usr", "type": "bind", "options": ["rbind", "ro"] });
    config["mounts"].as_array_mut().unwrap().push(usr);
    fs::write(file, config.to_string()).unwrap();
}
