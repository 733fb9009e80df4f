//! Starts the real daemon on port 0 in a temporary directory and drives it with real clients.

use serde_json::Value;
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

pub const BIN: &str = env!("CARGO_BIN_EXE_tidemill");
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// True as root; else says that the test is skipped, which CI does not allow.
pub fn root_or_skip(what: &str) -> bool {
    let root = fs::read_dir("/root").is_ok();
    if !root {
        println!("SKIPPED: {what} needs root");
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
    }
    root
}

/// Waits for a condition, with a limit.
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let limit = Instant::now() + WAIT_LIMIT;
    loop {
        if let Some(value) = condition() {
            return value;
        }
        assert!(Instant::now() < limit, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(25));
    }
}

/// A running platform; stopped with all its dynos when dropped.
pub struct Platform {
    pub dir: tempfile::TempDir,
    pub port: u16,
    pub token: String,
    pub output: Arc<Mutex<String>>,
    args: Vec<String>,
    stopped: bool,
    child: Option<Child>,
}

/// Runs `body` natively, and again in containers where there is an engine.
pub fn on_both_drivers(args: &[&str], body: impl Fn(&mut Platform)) {
    if root_or_skip("running dynos") {
        println!("on the native driver");
        body(&mut Platform::start_with(args));
    }
    let engine = std::env::var("TIDEMILL_TEST_DOCKER").ok().zip(std::env::var("TIDEMILL_TEST_IMAGE").ok());
    let Some((socket, image)) = engine else {
        println!("SKIPPED: dynos in containers need an engine; see tests/docker-engine");
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
        return;
    };
    println!("on the Docker driver");
    let docker = ["--runtime", "docker", "--docker-host", &socket, "--docker-image", &image];
    body(&mut Platform::start_with(&[args, &docker].concat()));
}

/// An answer of the API.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub text: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
    }
}

pub fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
    config.timeout_global(Some(Duration::from_secs(180))).build().into()
}

impl Platform {
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    pub fn start_with(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let args = args.iter().map(ToString::to_string).collect();
        let mut platform =
            Self { dir, port: 0, token: String::new(), output: Arc::default(), args, stopped: false, child: None };
        platform.boot();
        platform
    }

    /// Where everything is kept.
    pub fn data_dir(&self) -> PathBuf {
        let own = self.args.iter().position(|a| a == "--data-dir").map(|at| PathBuf::from(&self.args[at + 1]));
        own.unwrap_or_else(|| self.dir.path().join("data"))
    }

    /// Starts the daemon, again on the same port if it ran before.
    pub fn boot(&mut self) {
        self.boot_from(Path::new(BIN));
    }

    /// As [`Platform::boot`], with another file of the program.
    pub fn boot_from(&mut self, program: &Path) {
        let token_file = self.dir.path().join("token");
        let mut command = Command::new(program);
        command.arg("serve");
        if !self.args.iter().any(|a| a == "--data-dir") {
            command.arg("--data-dir").arg(self.data_dir());
        }
        command
            .arg("--http")
            .arg(format!("127.0.0.1:{}", self.port))
            .arg("--admin-token-file")
            .arg(&token_file)
            .args(&self.args);
        command
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .env("RUST_LOG", "info")
            .env("SECRET_OF_THE_DAEMON", "leak");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (output, stderr) = (self.output.clone(), child.stderr.take().unwrap());
        std::thread::spawn(move || collect(stderr, &output));
        let (sender, port) = std::sync::mpsc::channel();
        let (output, stdout) = (self.output.clone(), child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(rest) = line.strip_prefix("Tidemill listens on http://127.0.0.1:") {
                    let _ = sender.send(rest.split(',').next().unwrap_or("").parse::<u16>().unwrap());
                }
                output.lock().unwrap().push_str(&format!("{line}\n"));
            }
        });
        self.child = Some(child);
        let started = port.recv_timeout(Duration::from_secs(30));
        self.port = started.unwrap_or_else(|_| panic!("the daemon does not start:\n{}", self.output.lock().unwrap()));
        self.token = fs::read_to_string(token_file).unwrap().trim().to_string();
    }

    /// Folders of the cages that exist, one for each dyno with processes, of either driver.
    pub fn cages(&self) -> Vec<PathBuf> {
        let runs = ["run/dynos", "run/docker/dynos"].map(|dir| self.data_dir().join(dir));
        runs.iter().filter_map(|run| fs::read_dir(run).ok()).flatten().flatten().map(|entry| entry.path()).collect()
    }

    /// Its dynos are containers.
    pub fn in_containers(&self) -> bool {
        self.args.iter().any(|a| a == "--runtime")
    }

    /// What the daemon has said so far.
    pub fn output(&self) -> String {
        self.output.lock().unwrap().clone()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    pub fn signal(&self, name: &str) {
        let _ = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
    }

    pub fn wait_end(&mut self) -> std::process::ExitStatus {
        self.child.take().unwrap().wait().unwrap()
    }

    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A request to the API with the admin's token.
    pub fn api(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.request(method, path, &[("authorization", &format!("Bearer {}", self.token))], body.map(|b| b.to_string()))
    }

    /// Any request to the platform's host.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<String>) -> Answer {
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base()));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = agent().run(request.body(body.unwrap_or_default()).unwrap());
        answered(answer)
    }

    /// A request to an app.
    pub fn web(&self, app: &str, path: &str) -> Answer {
        let request =
            ureq::http::Request::builder().uri(format!("{}{path}", self.base())).header("host", format!("{app}.localhost"));
        answered(agent().run(request.body(String::new()).unwrap()))
    }

    pub fn create(&self, app: &str) {
        let answer = self.api("POST", "/apps", Some(serde_json::json!({ "name": app })));
        assert_eq!(answer.status, 201, "{}", answer.text);
    }

    /// Address for git with the token in it.
    pub fn git_url(&self, app: &str) -> String {
        format!("http://x:{}@127.0.0.1:{}/{app}.git", self.token, self.port)
    }

    /// The log of an app so far.
    pub fn log(&self, app: &str) -> String {
        let session = self.api("POST", &format!("/apps/{app}/log-sessions"), Some(serde_json::json!({ "lines": 1500 })));
        let url = session.json()["logplex_url"].as_str().unwrap().to_string();
        let path = &url[url.find("/streams").unwrap()..];
        self.request("GET", path, &[], None).text
    }

    pub fn wait_log(&self, app: &str, needle: &str) -> String {
        eventually(&format!("{needle:?} in the log"), || Some(self.log(app)).filter(|log| log.contains(needle)))
    }

    pub fn cli(&self, args: &[&str]) -> Output {
        Command::new(BIN)
            .args(args)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .env("HOME", self.dir.path())
            .env("TIDEMILL_HOST", self.base())
            .env("TIDEMILL_API_KEY", &self.token)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }
}

fn answered(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut answer = answer.unwrap_or_else(|e| panic!("no answer: {e}"));
    let text = answer.body_mut().with_config().limit(256 << 20).read_to_vec().unwrap();
    Answer {
        status: answer.status().as_u16(),
        headers: answer.headers().clone(),
        text: String::from_utf8_lossy(&text).into_owned(),
    }
}

fn collect(mut from: impl Read, to: &Mutex<String>) {
    let mut buffer = [0u8; 4096];
    while let Ok(n) = from.read(&mut buffer) {
        if n == 0 {
            return;
        }
        to.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- daemon ---\n{}", self.output.lock().unwrap());
        }
        if !self.stopped {
            self.stop();
        }
    }
}

impl Platform {
    /// Ends it with all that it runs.
    pub fn stop(&mut self) {
        self.stopped = true;
        if self.child.is_none() {
            self.boot();
        }
        // Everything goes: apps first, which stops their dynos, then the daemon.
        for app in self.api("GET", "/apps", None).json().as_array().into_iter().flatten() {
            self.api("DELETE", &format!("/apps/{}", app["name"].as_str().unwrap_or("")), None);
        }
        let limit = Instant::now() + Duration::from_secs(45);
        while !self.cages().is_empty() && Instant::now() < limit {
            std::thread::sleep(Duration::from_millis(20));
        }
        self.signal("TERM");
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
        }
    }
}

pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/apps")
}

/// A git repository in a temporary directory.
pub struct Repo {
    pub dir: tempfile::TempDir,
}

impl Repo {
    pub fn empty() -> Self {
        let repo = Self { dir: tempfile::tempdir().unwrap() };
        repo.git(&["init", "--quiet", "--initial-branch=main"]);
        repo
    }

    /// A fixture app, committed.
    pub fn of(fixture: &str) -> Self {
        let repo = Self::empty();
        let copied = Command::new("cp")
            .args(["-a"])
            .arg(format!("{}/.", fixtures().join(fixture).display()))
            .arg(repo.dir.path())
            .status();
        assert!(copied.unwrap().success());
        repo.commit("fixture");
        repo
    }

    pub fn write(&self, path: &str, content: &str) -> &Self {
        let file = self.dir.path().join(path);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(&file, content).unwrap();
        if path.starts_with("bin/") {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(file, fs::Permissions::from_mode(0o755)).unwrap();
        }
        self
    }

    pub fn commit(&self, message: &str) -> String {
        self.git(&["add", "-A"]);
        self.git(&["commit", "--quiet", "--allow-empty", "-m", message]);
        self.git(&["rev-parse", "HEAD"])
    }

    pub fn command(&self) -> Command {
        let mut command = Command::new("git");
        command.current_dir(self.dir.path()).env_clear().env("PATH", std::env::var("PATH").unwrap());
        command.env("HOME", self.dir.path()).env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_TERMINAL_PROMPT", "0");
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "Ana").env(format!("GIT_{who}_EMAIL"), "ana@example.com");
        }
        command
    }

    pub fn git(&self, args: &[&str]) -> String {
        let output = self.command().args(args).output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    }

    /// Pushes; success and what the pusher saw.
    pub fn push(&self, platform: &Platform, app: &str, refspec: &str) -> (bool, String) {
        let output = self.command().args(["push", &platform.git_url(app), refspec]).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    pub fn deploy(&self, platform: &Platform, app: &str) -> String {
        let (ok, text) = self.push(platform, app, "main");
        assert!(ok, "{text}");
        assert!(text.contains("Verifying deploy... done."), "{text}");
        text
    }
}

/// A raw request on a connection of its own; gives everything that came back.
pub fn raw(port: u16, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(100))).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer); // a reset after the answer is an answer too
    String::from_utf8_lossy(&answer).into_owned()
}
