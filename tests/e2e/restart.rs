//! The daemon ends, by signal or by force; dynos do not notice, nothing acknowledged is lost.

use crate::support::{Platform, Repo, eventually, root_or_skip};
use serde_json::json;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

/// Answers with the time of its start, slowly at `/slow`, and prints a numbered line all the time.
const SERVER: &str = r#"
import http.server, os, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(2 if self.path == "/slow" else 0)
        body = os.environ["START"].encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
def tick():
    for n in range(10**9):
        print("tick", n)
        time.sleep(0.02)
threading.Thread(target=tick, daemon=True).start()
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"#;

fn deployed() -> Platform {
    let platform = Platform::start();
    platform.create("shop");
    let repo = Repo::empty();
    repo.write("server.py", SERVER);
    repo.write("Procfile", "web: export START=$(date +%s%N); exec python3 -u server.py\n");
    repo.commit("ticks");
    repo.deploy(&platform, "shop");
    platform
}

#[test]
fn kill_9_of_the_daemon_loses_no_dyno_no_line_and_no_change() {
    if !root_or_skip("running dynos") {
        return;
    }
    let mut platform = deployed();
    let id = platform.api("GET", "/apps/shop/dynos/web.1", None).json()["id"].clone();
    let start = platform.web("shop", "/").text;
    for round in 0..5 {
        let changed = platform.api("POST", "/apps", Some(json!({ "name": format!("kept-{round}") })));
        assert_eq!(changed.status, 201);
        platform.signal("KILL");
        platform.wait_end();
        platform.boot();
        assert_eq!(platform.api("GET", &format!("/apps/kept-{round}"), None).status, 200, "an acknowledged change is there");
        eventually("routed again", || (platform.web("shop", "/").status == 200).then_some(()));
        assert_eq!(platform.web("shop", "/").text, start, "the same process serves");
        assert_eq!(platform.api("GET", "/apps/shop/dynos/web.1", None).json()["id"], id);
    }
    // Every tick that was printed is in the log, in order and once.
    let ticks = eventually("200 ticks", || {
        let log = platform.log("shop");
        let ticks: Vec<u64> = log.lines().filter_map(|l| l.split("app[web.1]: tick ").nth(1)?.parse().ok()).collect();
        (ticks.len() > 200).then_some(ticks)
    });
    let wrong: Vec<_> = ticks.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
    assert!(wrong.is_empty(), "lines are missing or come twice at {wrong:?}");
    println!("5 kills, {} ticks in the log", ticks.len());
}

#[test]
fn what_a_kill_left_of_destroyed_apps_and_dynos_is_removed_at_the_next_start() {
    if !root_or_skip("running dynos") {
        return;
    }
    let mut platform = deployed();
    let data = platform.dir.path().join("data");
    let app = platform.api("GET", "/apps/shop", None).json()["id"].as_str().unwrap().to_string();
    let dyno = platform.api("GET", "/apps/shop/dynos/web.1", None).json()["id"].as_str().unwrap().to_string();
    platform.signal("KILL");
    platform.wait_end();
    let gone = "5a1a7b6c-7a57-4d25-bb73-4a0a6f6f1d11";
    let left = ["slugs", "cache", "repositories", "dynos", "builds", "run/dynos"].map(|dir| data.join(dir).join(gone));
    left.iter().for_each(|dir| std::fs::create_dir_all(dir.join("deep")).unwrap());
    std::fs::write(data.join("uploads/half.tar"), "x").unwrap();
    let kept = [data.join("slugs").join(&app), data.join("dynos").join(&dyno), data.join("run/dynos").join(&dyno)];
    assert!(kept.iter().all(|path| path.exists()), "{kept:?}");
    platform.boot();
    eventually("all is swept", || left.iter().all(|dir| !dir.exists()).then_some(()));
    assert!(!data.join("uploads/half.tar").exists());
    assert!(kept.iter().all(|path| path.exists()), "what rows name stays: {kept:?}");
    eventually("served again", || (platform.web("shop", "/").status == 200).then_some(()));
}

#[test]
fn sigterm_finishes_the_request_in_flight_and_leaves_dynos_running() {
    if !root_or_skip("running dynos") {
        return;
    }
    let mut platform = deployed();
    let start = platform.web("shop", "/").text;
    let slow = std::thread::scope(|scope| {
        let slow = scope.spawn(|| platform.web("shop", "/slow"));
        std::thread::sleep(std::time::Duration::from_millis(500)); // the request is in flight now, for 2 s
        platform.signal("TERM");
        slow.join().unwrap()
    });
    assert_eq!((slow.status, &slow.text), (200, &start));
    assert!(platform.wait_end().success());
    platform.boot();
    eventually("routed again", || (platform.web("shop", "/").status == 200).then_some(()));
    assert_eq!(platform.web("shop", "/").text, start);
}

#[test]
fn a_build_that_was_cut_short_is_failed_and_the_push_can_be_repeated() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let mut platform = Platform::start();
    platform.create("shop");
    let pack = Repo::empty();
    let mark = format!("3{}", std::process::id()); // seconds that no other process sleeps
    pack.write("bin/detect", "#!/bin/sh\necho Slow\n").write("bin/compile", &format!("#!/bin/sh\nexec sleep {mark}\n"));
    pack.commit("pack");
    let set = |spec: &str| json!({ "updates": [{ "buildpack": spec }] });
    platform.api("PUT", "/apps/shop/buildpack-installations", Some(set(&format!("file://{}", pack.dir.path().display()))));
    let repo = Repo::of("procfile");
    let mut push =
        repo.command().args(["push", &platform.git_url("shop"), "main"]).stderr(std::process::Stdio::null()).spawn().unwrap();
    eventually("the build runs", || {
        let found = std::process::Command::new("pgrep").args(["-f", &format!("^sleep {mark}")]).status().unwrap();
        found.success().then_some(())
    });
    platform.signal("KILL");
    platform.wait_end();
    assert!(!push.wait().unwrap().success());
    platform.boot();
    let left = std::process::Command::new("pgrep").args(["-f", &format!("^sleep {mark}")]).output().unwrap();
    assert!(left.stdout.is_empty(), "a build that nobody waits for does not go on");
    let build = platform.api("GET", "/apps/shop/builds", None).json()[0].clone();
    assert_eq!(build["status"], "failed");
    platform.api("PUT", "/apps/shop/buildpack-installations", Some(set("heroku/procfile")));
    repo.deploy(&platform, "shop");
    let cages = std::fs::read_dir(platform.dir.path().join("data/run/dynos")).unwrap().count();
    assert_eq!(cages, 1, "the cage of the cut build is gone, the dyno is there");
}

#[test]
fn a_second_daemon_on_the_same_folder_is_refused_and_touches_nothing() {
    let platform = Platform::start();
    let upload = platform.dir.path().join("data/uploads/in-progress");
    std::fs::write(&upload, "x").unwrap();
    let second = std::process::Command::new(crate::support::BIN)
        .args(["serve", "--http", "127.0.0.1:0", "--data-dir"])
        .arg(platform.dir.path().join("data"))
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("store_in_use"), "{second:?}");
    assert!(upload.exists(), "the running daemon's work is untouched");
}

/// A tail has no end of its own, and the daemon waits for what is open only as long as that may end by itself.
#[test]
fn sigterm_ends_open_log_tails_at_once() {
    let mut platform = Platform::start_with(&["--shutdown-s", "60"]);
    platform.create("shop");
    let mut tails: Vec<_> = ["text/plain", "text/event-stream"]
        .into_iter()
        .map(|kind| {
            let session = platform.api("POST", "/apps/shop/log-sessions", Some(json!({ "lines": 10, "tail": true }))).json();
            let url = session["logplex_url"].as_str().unwrap();
            let path = &url[url.find("/streams").unwrap()..];
            let mut tail = BufReader::new(TcpStream::connect(("127.0.0.1", platform.port)).unwrap());
            tail.get_mut().set_read_timeout(Some(Duration::from_secs(30))).unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: localhost:{}\r\nAccept: {kind}\r\n\r\n", platform.port);
            tail.get_mut().write_all(request.as_bytes()).unwrap();
            let mut line = String::new();
            while !line.contains("Initial release") {
                line.clear();
                assert_ne!(tail.read_line(&mut line).unwrap(), 0, "{kind} ended before its first line of the log");
            }
            tail
        })
        .collect();
    let begun = Instant::now();
    platform.signal("TERM");
    for tail in &mut tails {
        let mut rest = String::new();
        tail.read_to_string(&mut rest).unwrap();
        assert!(rest.ends_with("0\r\n\r\n"), "it ends in good order: {rest:?}");
    }
    assert!(platform.wait_end().success());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
}
