//! Time from `start` to the exit of `echo` seen, and starts a second, side by side with fork+exec, `runc` and `crun` when
//! they are installed. Needs root. `cargo bench --bench dyno_starts [SECONDS]`
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
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

const ROUNDS: u32 = 100;

struct Quiet;
impl Sink for Quiet {
    fn output(&self, _end: u64, _time_us: u64, _bytes: &[u8]) {}
    fn dropped(&self, _lines: u64) {}
    fn grace_over(&self) {}
}

fn main() {
    let seconds = std::env::args().filter_map(|a| a.parse().ok()).next_back().unwrap_or(10);
    let dir = tempfile::tempdir().unwrap();
    println!("{:<24} {:>10} {:>8} {:>14}", "", "ms/start", "ratio", "starts/s x2");
    let mut first = None;
    let mut row = |name: &str, ms: f64, rate: f64| {
        let base = *first.get_or_insert(ms);
        println!("{name:<24} {ms:>10.2} {:>8.1} {rate:>14.0}", ms / base);
    };
    for network in [Network::Own, Network::Host] {
        let (ms, rate) = native(dir.path(), network, seconds);
        row(&format!("native, {network:?} network"), ms, rate);
    }
    let echo = || Command::new("/usr/bin/echo").arg("hi").stdout(Stdio::null()).status().unwrap();
    row("fork + exec", timed(|_| assert!(echo().success())), rate_of(seconds, |_| assert!(echo().success())));
    for engine in ["runc", "crun"] {
        if Command::new(engine).arg("--version").stdout(Stdio::null()).status().is_err() {
            println!("{engine:<24} not installed");
            continue;
        }
        let bundle = dir.path().join(engine);
        make_bundle(engine, &bundle);
        let run = |name: String| {
            let status = Command::new(engine)
                .args(["run", &name])
                .current_dir(&bundle)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .status();
            status.unwrap().success()
        };
        if !run(format!("tidemill-bench-{}", std::process::id())) {
            println!("{engine:<24} does not run here");
            continue;
        }
        let prefix = format!("tidemill-bench-{}", std::process::id());
        row(
            &format!("{engine} run"),
            timed(|n| assert!(run(format!("{prefix}-{n}")))),
            rate_of(seconds, |n| assert!(run(format!("{prefix}-r{n}")))),
        );
    }
}

/// Milliseconds of one, on average.
fn timed(mut each: impl FnMut(u32)) -> f64 {
    let start = Instant::now();
    (0..ROUNDS).for_each(&mut each);
    start.elapsed().as_secs_f64() * 1000.0 / f64::from(ROUNDS)
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

fn native(dir: &Path, network: Network, seconds: u64) -> (f64, f64) {
    let program = Path::new(env!("CARGO_BIN_EXE_tidemill"));
    let driver = Arc::new(
        NativeRuntime::new(&dir.join("run"), program, DynoNetwork::Own { subnet: DEFAULT_SUBNET, required: false }, Vec::new())
            .unwrap(),
    );
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let spec = move |slot: u32| Spec {
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
    };
    let ms = runtime.block_on(async {
        let mut spent = Duration::ZERO;
        for _ in 0..ROUNDS {
            let spec = spec(1);
            let id = spec.id;
            let start = Instant::now();
            driver.start(spec, Arc::new(Quiet)).await.unwrap();
            assert_eq!(driver.wait(id).await.unwrap().status, 0);
            spent += start.elapsed();
            driver.remove(id).await.unwrap();
        }
        spent.as_secs_f64() * 1000.0 / f64::from(ROUNDS)
    });
    let end = Instant::now() + Duration::from_secs(seconds);
    let workers: Vec<_> = (0..4u32)
        .map(|worker| {
            let driver = driver.clone();
            runtime.spawn(async move {
                let mut count = 0u32;
                while Instant::now() < end {
                    let spec = spec(worker + 2);
                    let id = spec.id;
                    driver.start(spec, Arc::new(Quiet)).await.unwrap();
                    driver.wait(id).await.unwrap();
                    driver.remove(id).await.unwrap();
                    count += 1;
                }
                f64::from(count)
            })
        })
        .collect();
    let total: f64 = workers.into_iter().map(|w| runtime.block_on(w).unwrap()).sum();
    (ms, total / seconds as f64)
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
