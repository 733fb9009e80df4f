//! From a daemon that nobody has an account on to its first admin (`ux.md` J1): `init`, `setup-link`, the set-up page.

use crate::support::{BIN, agent, eventually, root_or_skip};
use serde_json::Value;
use std::{
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

/// A daemon without an account, with a settings file of its own.
struct Fresh {
    dir: tempfile::TempDir,
    port: u16,
    child: Child,
    output: Arc<Mutex<String>>,
}

impl Fresh {
    fn start(args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = Command::new(BIN)
            .args(["serve", "--http", &format!("127.0.0.1:{port}"), "--data-dir"])
            .arg(dir.path().join("data"))
            .arg("--config")
            .arg(settings(&dir))
            .args(args)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .env("RUST_LOG", "debug")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let output = Arc::new(Mutex::new(String::new()));
        let pipes: [Box<dyn std::io::Read + Send>; 2] =
            [Box::new(child.stdout.take().unwrap()), Box::new(child.stderr.take().unwrap())];
        for pipe in pipes {
            let output = output.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                    output.lock().unwrap().push_str(&format!("{line}\n"));
                }
            });
        }
        let fresh = Self { dir, port, child, output };
        eventually("the daemon listens", || fresh.said("Tidemill listens on").then_some(()));
        fresh
    }

    fn said(&self, text: &str) -> bool {
        self.output.lock().unwrap().contains(text)
    }

    fn run(&self, args: &[&str], input: &str) -> (i32, String, String) {
        let mut child = Command::new(BIN)
            .args(args)
            .env_clear()
            .env("PATH", std::env::var("PATH").unwrap())
            .env("TIDEMILL_DATA_DIR", self.dir.path().join("data"))
            .env("TIDEMILL_CONFIG", settings(&self.dir))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes()); // it may be refused before it is read
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    /// A link as printed, with the part after the host.
    fn link(&self) -> String {
        let (code, out, err) = self.run(&["setup-link"], "");
        assert_eq!(code, 0, "{err}");
        out[out.find("/setup/").unwrap()..].trim().to_string()
    }

    fn get(&self, path: &str) -> (u16, String, ureq::http::HeaderMap) {
        let request = agent().get(format!("http://127.0.0.1:{}{path}", self.port)).header("accept", "text/html");
        let mut answer = request.call().unwrap();
        let text = answer.body_mut().read_to_string().unwrap();
        (answer.status().as_u16(), text, answer.headers().clone())
    }

    fn post(&self, path: &str, fields: &[(&str, &str)]) -> (u16, String) {
        let request = agent().post(format!("http://127.0.0.1:{}{path}", self.port));
        let mut answer = request.send_form(fields.iter().copied()).unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    }

    fn account(&self, token: &str) -> String {
        let request = agent().get(format!("http://127.0.0.1:{}/account", self.port));
        let answer = request.header("authorization", format!("Bearer {token}")).call();
        answer.unwrap().body_mut().read_to_string().unwrap()
    }
}

fn settings(dir: &tempfile::TempDir) -> PathBuf {
    let file = dir.path().join("tidemill.toml");
    if !file.exists() {
        std::fs::write(&file, "# mine\nlog_keep_days = 3\n").unwrap();
    }
    file
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- daemon ---\n{}", self.output.lock().unwrap());
        }
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

#[test]
fn init_by_flags_sets_domain_and_admin_within_the_limit() {
    if !root_or_skip("init") {
        return;
    }
    let fresh = Fresh::start(&[]);
    let begun = Instant::now();
    let (code, _, err) = fresh.run(&["init", "--no-input"], "");
    assert!(code == 2 && err.contains("--domain"), "{code} {err}");
    let (code, _, err) = fresh.run(&["init", "--no-input", "--domain", "not a name"], "");
    assert!(code == 2 && err.contains("is no domain"), "{code} {err}");
    let flags = ["init", "--domain", "paas.localhost", "--admin-email", "ana@example.com", "--password-stdin", "--no-input"];
    let (code, out, err) = fresh.run(&[&flags[..], &["--json"]].concat(), "correct horse battery\n");
    assert_eq!(code, 0, "{err}");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    for text in ["Checking this machine", "  ok    ", "cores", "GiB memory", "Add these records", "*.paas.localhost."] {
        assert!(err.contains(text), "{text:?} is not in {err}");
    }
    let result: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&result["domain"], &result["admin"]), (&"paas.localhost".into(), &"ana@example.com".into()));
    assert!(result["checks"].as_array().unwrap().iter().all(|c| (c["level"] == "ok") == c["fix"].is_null()), "{result}");
    assert!(fresh.account(result["token"].as_str().unwrap()).contains("ana@example.com"));
    let kept = std::fs::read_to_string(settings(&fresh.dir)).unwrap();
    assert_eq!(kept, "# mine\nlog_keep_days = 3\ndomain = \"paas.localhost\"\n");
    assert!(fresh.said("apps are at http://APP.paas.localhost:"), "the daemon came back with the domain");
    // Again: nothing is asked, nothing is changed.
    let (code, out, err) = fresh.run(&["init", "--no-input", "--json"], "");
    let again: Value = serde_json::from_str(&out).unwrap();
    assert!(code == 0 && again["setup_link"].is_null() && err.contains("There is an admin already"), "{err}");
    // Who did it is told.
    let request = agent().get(format!("http://127.0.0.1:{}/events", fresh.port));
    let token = format!("Bearer {}", result["token"].as_str().unwrap());
    let events: Value = request.header("authorization", token).call().unwrap().body_mut().read_json().unwrap();
    let by_root = |action: &str| events.as_array().unwrap().iter().any(|e| e["action"] == action && e["root"] == true);
    assert!(by_root("platform_domain_changed") && by_root("account_created"), "{events}");
}

#[test]
fn a_domain_that_was_given_otherwise_is_not_changed_behind_its_back() {
    let fresh = Fresh::start(&["--domain", "other.localhost"]);
    let (code, _, err) = fresh.run(&["init", "--no-input", "--domain", "paas.localhost"], "");
    assert!(code == 5 && err.contains("--domain or TIDEMILL_DOMAIN"), "{code} {err}");
    let (code, _, err) = fresh.run(&["init", "--no-input"], "");
    assert!(code == 0 && err.contains("First admin: http://other.localhost:"), "{code} {err}");
}

#[test]
fn the_link_makes_an_admin_once_and_is_in_no_log() {
    let fresh = Fresh::start(&[]);
    let socket = std::fs::metadata(fresh.dir.path().join("data/run/control")).unwrap();
    assert_eq!(socket.permissions().mode() & 0o777, 0o600);
    assert!(fresh.said("sudo tidemill init") && !fresh.said("/setup/"));
    // Nobody has an account: whatever is asked for, the answer is how to get one.
    for path in ["/", "/login", "/apps", "/machine", "/nothing"] {
        let (status, text, _) = fresh.get(path);
        assert!(text.contains("sudo tidemill init") && !text.contains("<form"), "{path} {status} {text}");
    }
    let link = fresh.link();
    assert_eq!(link.trim_start_matches("/setup/").replace('-', "").len(), 12, "60 bits");
    let (status, page, headers) = fresh.get(&link);
    assert!(status == 200 && page.contains("Create admin"), "{page}");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    // A stranger guesses: slower and slower; the right link is taken all the same.
    let wrong = (0..8).map(|_| fresh.post("/setup/AAAA-BBBB-CCCC", &[("email", "a@b.c"), ("password", "correct horse")]).0);
    let wrong: Vec<u16> = wrong.collect();
    assert_eq!((wrong[0], wrong[7]), (404, 429), "{wrong:?}");
    let (status, bad) = fresh.post(&link, &[("email", "<script>@x"), ("password", "short")]);
    assert!(status == 422 && (bad.contains("&#60;script&#62;") || bad.contains("&lt;script&gt;")), "{bad}");
    let (status, ready) = fresh.post(&link, &[("email", "ana@example.com"), ("password", "correct horse")]);
    assert_eq!(status, 200, "{ready}");
    let token = format!("HRKU-{}", ready.split("HRKU-").nth(1).unwrap().split('<').next().unwrap());
    assert!(fresh.account(&token).contains("ana@example.com"));
    let (status, _) = fresh.post(&link, &[("email", "eve@example.com"), ("password", "correct horse")]);
    assert!(status == 404 || status == 429, "once: {status}");
    assert!(fresh.get("/login").1.contains("<form"));
    let secret = link.trim_start_matches("/setup/");
    assert!(!fresh.said(secret) && !fresh.said(&token), "secrets are in no log");
}

#[test]
fn the_page_shows_the_machine_and_takes_a_domain_without_script() {
    let fresh = Fresh::start(&[]);
    let link = fresh.link();
    let (_, page, _) = fresh.get(&link);
    for text in ["This machine", "GiB memory", "Fix: <code>", "*.localhost", "Create admin"] {
        assert!(page.contains(text), "{text:?} is not in {page}");
    }
    let (status, page, headers) = fresh.get(&format!("{link}/domain"));
    assert!(status == 200 && page.contains("127.0.0.1.sslip.io") && !page.contains("http-equiv"), "{page}");
    assert_eq!(headers["referrer-policy"], "no-referrer");
    assert!(headers["content-security-policy"].to_str().unwrap().contains("frame-ancestors 'none'"));
    let (status, page) = fresh.post(&format!("{link}/domain"), &[("choice", "own"), ("domain", "a b\"><script>")]);
    assert!(status == 422 && page.contains("is no domain") && !page.contains("<script"), "{page}");
    let (status, _) = fresh.post(&format!("{link}/domain"), &[("choice", "own"), ("domain", "paas.localhost")]);
    assert_eq!(status, 303);
    eventually("it starts with the domain", || fresh.said("apps are at http://APP.paas.localhost:").then_some(()));
    // The link still works; the records are asked for again and again until they are found.
    let (_, page, _) = fresh.get(&format!("{link}/domain?for=paas.localhost"));
    assert!(page.contains("Apps live at <code>*.paas.localhost") && page.contains("*.paas.localhost."), "{page}");
    let (_, page, _) = fresh.get(&format!("{link}/domain?for=paas.invalid"));
    assert!(page.contains("content=\"5\"") && page.contains("not yet") && page.contains("*.paas.invalid."), "{page}");
    assert!(fresh.get(&link).1.contains("*.paas.localhost"));
    assert_eq!(fresh.post("/setup/AAAA-BBBB-CCCC/domain", &[("domain", "evil.example")]).0, 404);
}

#[test]
fn status_and_doctor_say_how_it_is() {
    let fresh = Fresh::start(&[]);
    let (code, out, err) = fresh.run(&["status"], "");
    assert!(code == 0 && out.contains("sudo tidemill init") && out.contains("No apps yet."), "{out}{err}");
    let (code, out, _) = fresh.run(&["status", "--json"], "");
    let status: Value = serde_json::from_str(&out).unwrap();
    assert!(code == 0 && status["needs_setup"] == true && status["apps"] == serde_json::json!([]), "{status}");
    let begun = Instant::now();
    let (code, out, _) = fresh.run(&["doctor", "--json"], "");
    let found: Value = serde_json::from_str(&out).unwrap();
    let token = found["checks"].as_array().unwrap().iter().find(|c| c["id"] == "token").unwrap().clone();
    assert!(code == 1 && token["level"] == "fail" && token["fix"] == "tidemill login URL", "{found}");

    let platform = crate::support::Platform::start();
    let output = platform.cli(&["doctor", "--json"]);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks = found["checks"].as_array().unwrap();
    let level = |id: &str| checks.iter().find(|c| c["id"] == id).map(|c| c["level"].as_str().unwrap().to_string());
    for id in ["git", "settings", "token", "dns", "port", "answer", "clock"] {
        let all: Vec<_> = checks.iter().filter(|c| c["id"] == id && c["part"] != "Server").collect();
        assert!(level(id).as_deref() == Some("ok"), "{id}: {all:?} {found}");
    }
    assert!(level("memory").is_some() && checks.iter().all(|c| (c["level"] == "ok") == c["fix"].is_null()), "{found}");
    let failed = checks.iter().any(|c| c["level"] == "fail");
    assert_eq!(output.status.code(), Some(i32::from(failed)));
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    let shown = String::from_utf8(platform.cli(&["status"]).stdout).unwrap();
    assert!(shown.contains("fix:") || shown.contains("checks are ok"), "{shown}");
}

#[test]
fn without_a_daemon_each_verb_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| {
        let output = Command::new(BIN).args(args).arg("--data-dir").arg(dir.path()).stdin(Stdio::null()).output().unwrap();
        (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, err) = run(&["init", "--domain", "sslip.io", "--no-input"]);
    assert!(code == 6 && err.contains("sudo systemctl start tidemill"), "{code} {err}");
    let (code, err) = run(&["init", "--no-input", "--admin-email", "a@b.c"]);
    assert!(code == 2 && err.contains("--password-stdin"), "{code} {err}");
}
