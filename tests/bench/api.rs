//! How fast the API answers over loopback, and how fast the command line starts. `cargo bench --bench api`
//!
//! The official command line is measured beside ours when `TIDEMILL_TEST_HEROKU` names it.
//!
//! On two shared cores, the daemon on one of them, optimised but not linked as a whole (LTO off):
//!
//! ```text
//! GET /apps, 10 apps                             p50 0.20 ms   p99  0.27 ms
//! GET /apps, 1000 apps, the first page of 200    p50 3.61 ms   p99  8.17 ms
//! GET /apps, 1000 apps, all in one page          p50 7.00 ms   p99 12.13 ms
//! GET /apps/A, 1000 apps                         p50 0.14 ms   p99  0.24 ms
//! GET /apps/A/dynos                              p50 0.14 ms   p99  0.20 ms
//! PATCH /apps/A/config-vars, each a release      p50 1.34 ms   p99  8.49 ms
//! GET /account, /apps/A, /apps/A/dynos           11998, 9655, 8878 requests/s
//! start of the command line                      7.3 ms, the official one 1322 ms, 1:181
//! ```
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The program that is measured; another one with `TIDEMILL_BIN`.
fn program() -> String {
    std::env::var("TIDEMILL_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_tidemill").into())
}

/// One latency is measured for so long at most.
const EACH: Duration = Duration::from_secs(5);
const SAMPLES: usize = 2000;

struct Server {
    child: Child,
    base: String,
    token: String,
    _dir: tempfile::TempDir,
}

impl Server {
    /// On its own core where `taskset` is, with so many worker threads as that gives it.
    fn start() -> Self {
        let dir = tempfile::tempdir_in("target").unwrap();
        let token_file = dir.path().join("token");
        let mut command = Command::new("taskset");
        command.args(["-c", "0", &program(), "serve", "--http", "127.0.0.1:0", "--rate-limit-per-hour", "1000000000"]);
        command.arg("--data-dir").arg(dir.path().join("data")).arg("--admin-token-file").arg(&token_file);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let base = lines.find_map(|l| Some(l.strip_prefix("Tidemill listens on ")?.split(',').next()?.to_string())).unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        let token = std::fs::read_to_string(token_file).unwrap().trim().to_string();
        Self { child, base, token, _dir: dir }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// One connection that is kept.
struct Client {
    agent: ureq::Agent,
    base: String,
    bearer: String,
}

impl Client {
    fn of(server: &Server) -> Self {
        let agent = ureq::Agent::config_builder().build().into();
        Self { agent, base: server.base.clone(), bearer: format!("Bearer {}", server.token) }
    }

    fn call(&self, method: &str, path: &str, body: &str) {
        self.page(method, path, body, "");
    }

    fn page(&self, method: &str, path: &str, body: &str, range: &str) {
        let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        let request = request.header("authorization", &self.bearer).header("range", range);
        let request = request.body(body.to_string()).unwrap();
        self.agent.run(request).unwrap().body_mut().read_to_vec().unwrap();
    }
}

fn measure(name: &str, mut call: impl FnMut(usize)) {
    (0..20).for_each(&mut call);
    let (begun, mut taken) = (Instant::now(), Vec::new());
    while taken.len() < SAMPLES && begun.elapsed() < EACH {
        let start = Instant::now();
        call(taken.len());
        taken.push(start.elapsed());
    }
    taken.sort();
    let at = |part: usize| taken[(taken.len() - 1) * part / 100].as_secs_f64() * 1000.0;
    println!("{name:<42} {:>8} {:>10.2} {:>10.2}", taken.len(), at(50), at(99));
}

fn throughput(server: &Server, path: &str) -> f64 {
    let (stop, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (client, stop, count, path) = (Client::of(server), stop.clone(), count.clone(), path.to_string());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    client.call("GET", &path, "");
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let begun = Instant::now();
    std::thread::sleep(Duration::from_secs(4));
    stop.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    count.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64()
}

/// Milliseconds from the start to the end of a program, the middle of ten.
fn start_ms(program: &str) -> f64 {
    let mut taken: Vec<f64> = (0..10)
        .map(|_| {
            let begun = Instant::now();
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
            begun.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    taken.sort_by(f64::total_cmp);
    taken[5]
}

fn main() {
    let server = Server::start();
    let client = Client::of(&server);
    let create = |from: usize, to: usize| {
        (from..to).for_each(|n| client.call("POST", "/apps", &format!("{{\"name\":\"app-{n}\"}}")));
    };
    println!("{:<42} {:>8} {:>10} {:>10}", "call", "calls", "p50 ms", "p99 ms");
    create(0, 10);
    measure("GET /apps, 10 apps", |_| client.call("GET", "/apps", ""));
    measure("GET /apps/A/dynos", |_| client.call("GET", "/apps/app-1/dynos", ""));
    measure("PATCH /apps/A/config-vars, each a release", |n| {
        client.call("PATCH", "/apps/app-1/config-vars", &format!("{{\"A\":\"{n}\"}}"));
    });
    create(10, 1000);
    measure("GET /apps, 1000 apps, the first page of 200", |_| client.call("GET", "/apps", ""));
    measure("GET /apps, 1000 apps, all in one page", |_| client.page("GET", "/apps", "", "name ..; max=1000"));
    measure("GET /apps/A, 1000 apps", |_| client.call("GET", "/apps/app-500", ""));
    for path in ["/account", "/apps/app-500", "/apps/app-500/dynos"] {
        println!("GET {path}: {:.0} requests/s, the server on one core", throughput(&server, path));
    }
    let ours = start_ms(&program());
    print!("start of the command line: {ours:.1} ms");
    match std::env::var("TIDEMILL_TEST_HEROKU") {
        Ok(official) => {
            let theirs = start_ms(&official);
            println!(", the official one {theirs:.1} ms, ratio 1:{:.0}", theirs / ours);
        }
        Err(_) => println!("; set TIDEMILL_TEST_HEROKU to compare"),
    }
}
