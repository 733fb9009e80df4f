//! Dynos in containers: the same journeys as natively, on a real engine.

use crate::support::{Platform, Repo, eventually};
use serde_json::json;
use std::process::Command;

/// The engine's socket and an image of the system that builds run on, if the tests have them.
fn engine() -> Option<(String, String)> {
    let found = std::env::var("TIDEMILL_TEST_DOCKER").ok().zip(std::env::var("TIDEMILL_TEST_IMAGE").ok());
    if found.is_none() {
        println!("SKIPPED: dynos in containers need an engine; see tests/docker-engine");
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
    }
    found
}

/// Answers with its start and a config var, and prints a numbered line all the time.
const SERVER: &str = r#"
import http.server, os, threading, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = (os.environ["START"] + " " + os.environ.get("WORD", "none")).encode()
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

fn ask(socket: &str, path: &str) -> String {
    let url = format!("http://engine{path}");
    let output = Command::new("curl").args(["--silent", "--fail", "--unix-socket", socket, &url]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_app_in_containers_from_push_to_removal() {
    let Some((socket, image)) = engine() else { return };
    let mut platform = Platform::start_with(&["--runtime", "docker", "--docker-host", &socket, "--docker-image", &image]);
    platform.create("crate");
    let repo = Repo::empty();
    repo.write("server.py", SERVER);
    repo.write("Procfile", "web: export START=$(date +%s%N); exec python3 -u server.py\nworker: echo working; sleep 1000\n");
    repo.commit("ticks");
    repo.deploy(&platform, "crate");
    let first = platform.web("crate", "/").text;
    assert!(first.ends_with(" none"), "{first}");
    let id = platform.api("GET", "/apps/crate/dynos/web.1", None).json()["id"].as_str().unwrap().to_string();
    let containers = || ask(&socket, "/containers/json?all=1");
    assert!(containers().contains(&format!("tidemill-{id}")));

    // The daemon is killed: the same process serves, and its log has every line once.
    for _ in 0..3 {
        platform.signal("KILL");
        platform.wait_end();
        platform.boot();
        eventually("routed again", || (platform.web("crate", "/").status == 200).then_some(()));
        assert_eq!(platform.web("crate", "/").text, first, "the same process serves");
        assert_eq!(platform.api("GET", "/apps/crate/dynos/web.1", None).json()["id"], json!(id));
    }
    let ticks = eventually("200 ticks", || {
        let log = platform.log("crate");
        let ticks: Vec<u64> = log.lines().filter_map(|l| l.split("app[web.1]: tick ").nth(1)?.parse().ok()).collect();
        (ticks.len() > 200).then_some(ticks)
    });
    let wrong: Vec<_> = ticks.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
    assert!(wrong.is_empty(), "lines are missing or come twice at {wrong:?}");

    // Scale, config, restart.
    let scaled = platform.api(
        "PATCH",
        "/apps/crate/formation",
        Some(json!({ "updates": [
        { "type": "web", "quantity": 2 }, { "type": "worker", "quantity": 1 }
    ] })),
    );
    assert_eq!(scaled.status, 200, "{}", scaled.text);
    platform.wait_log("crate", "app[worker.1]: working");
    eventually("two answer", || {
        let answers: Vec<String> = (0..8).map(|_| platform.web("crate", "/").text).collect();
        answers.iter().any(|a| *a != answers[0]).then_some(())
    });
    platform.api("PATCH", "/apps/crate/config-vars", Some(json!({ "WORD": "changed" })));
    eventually("the new config serves", || platform.web("crate", "/").text.ends_with(" changed").then_some(()));
    let before = platform.web("crate", "/").text;
    assert_eq!(platform.api("DELETE", "/apps/crate/dynos", None).status, 202);
    eventually("restarted", || {
        let answer = platform.web("crate", "/");
        (answer.status == 200 && answer.text != before).then_some(())
    });
    platform.wait_log("crate", "Process exited with status 143");

    // A further process and a one-off.
    let run = platform.cli(&["run:detached", "-a", "crate", "echo one-off $WORD in $(id -un)"]);
    assert!(run.status.success(), "{run:?}");
    platform.wait_log("crate", "one-off changed in dyno");

    // Nothing is left when the app is gone.
    let data = platform.dir.path().join("data");
    assert_eq!(platform.api("DELETE", "/apps/crate", None).status, 200);
    eventually("all containers are gone", || {
        std::fs::read_dir(data.join("run/docker/dynos")).unwrap().next().is_none().then_some(())
    });
    let instance = std::fs::read_to_string(data.join("run/docker/instance")).unwrap();
    let mine = |text: String| text.matches(&format!("\"tidemill.instance\":\"{instance}\"")).count();
    assert_eq!(mine(containers()), 0);
    let volumes = ask(&socket, "/volumes");
    assert!(!volumes.contains("tidemill.dyno\":") || !volumes.contains(&id), "{volumes}");
    remove_shared(&socket, &instance);
}

/// What a platform shares between its dynos stays with the engine; a test cleans up.
fn remove_shared(socket: &str, instance: &str) {
    let volumes: serde_json::Value = serde_json::from_str(&ask(socket, "/volumes")).unwrap();
    for volume in volumes["Volumes"].as_array().into_iter().flatten() {
        let name = volume["Name"].as_str().unwrap_or_default();
        if volume["Labels"]["tidemill.instance"] == json!(instance) {
            let url = format!("http://engine/volumes/{name}");
            let removed =
                Command::new("curl").args(["--silent", "-X", "DELETE", "--unix-socket", socket, &url]).output().unwrap();
            assert!(removed.stdout.is_empty(), "{name} is in use: {removed:?}");
        }
    }
}
