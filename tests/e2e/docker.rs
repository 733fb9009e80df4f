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
    ask_to(socket, "GET", path)
}

fn ask_to(socket: &str, method: &str, path: &str) -> String {
    let url = format!("http://engine{path}");
    let args = ["--silent", "--fail", "-X", method, "--unix-socket", socket, &url];
    String::from_utf8_lossy(&Command::new("curl").args(args).output().unwrap().stdout).into_owned()
}

/// As the engine's own tools do.
fn build_image(socket: &str, dockerfile: &str, tag: &str) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("Dockerfile"), dockerfile).unwrap();
    let archive = dir.path().join("context.tar");
    assert!(
        Command::new("tar").arg("-cf").arg(&archive).arg("-C").arg(dir.path()).arg("Dockerfile").status().unwrap().success()
    );
    let url = format!("http://engine/build?t={tag}");
    let mut command = Command::new("curl");
    command.args(["--silent", "--fail", "--unix-socket", socket, "-H", "Content-Type: application/x-tar", "--data-binary"]);
    let output = command.arg(format!("@{}", archive.display())).arg(url).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("Successfully"), "{output:?}");
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

#[test]
fn an_app_of_images_is_built_from_its_dockerfiles_and_runs_as_they_say() {
    let Some((socket, image)) = engine() else { return };
    // Beside the native driver: apps of slugs are not touched.
    let mut platform = Platform::start_with(&["--docker-host", &socket, "--docker-build-network", "none"]);
    for app in ["boxed", "plain"] {
        platform.create(app);
    }
    Repo::of("procfile").deploy(&platform, "plain");
    assert!(platform.cli(&["stack:set", "container", "-a", "boxed"]).status.success());
    let repo = Repo::empty();
    repo.write("server.py", SERVER);
    repo.write("heroku.yml", "build: [");
    repo.commit("nonsense");
    let (pushed, text) = repo.push(&platform, "boxed", "main");
    assert!(!pushed && text.contains("Push rejected, heroku.yml is no valid YAML"), "{text}");
    let dockerfile = |extra: &str| {
        format!(
            "FROM {image}\nARG WORD\nENV FROM_BUILD=$WORD HOME=/srv START=image\nWORKDIR /srv\nCOPY server.py .\nRUN echo made-here > /srv/made\n{extra}"
        )
    };
    repo.write("Dockerfile", &dockerfile("CMD [\"python3\", \"-u\", \"server.py\"]\n"));
    let entry = "ENTRYPOINT [\"/usr/bin/env\", \"BY=entrypoint\"]\nVOLUME /data\nSTOPSIGNAL SIGKILL\nCMD [\"sleep\", \"5\"]\n";
    repo.write("jobs/Dockerfile", &dockerfile(entry).replace("COPY server.py .\n", ""));
    repo.write(
        "heroku.yml",
        "build:\n  docker:\n    web: Dockerfile\n    job: jobs/Dockerfile\n  config:\n    WORD: built\n\
         release:\n  image: job\n  command:\n    - echo released by $BY\n\
         run:\n  job: trap 'echo got-term; exit 0' TERM; echo \"$BY $FROM_BUILD $PWD $(cat /srv/made) $(id -u)\"; while :; do sleep 0.1; done\n",
    );
    repo.commit("images");
    let text = repo.deploy(&platform, "boxed");
    assert!(text.contains("=== Building web (Dockerfile)") && text.contains("RUN echo made-here"), "{text}");
    assert!(text.contains("released by entrypoint"), "{text}");
    assert_eq!(platform.web("boxed", "/").text, "image none");
    assert_eq!(platform.api("PATCH", "/apps/boxed/formation/job", Some(json!({ "quantity": 1 }))).status, 200);
    let log = platform.wait_log("boxed", "app[job.1]: entrypoint built /srv made-here ");
    assert!(!log.contains("made-here 0\n"), "not as root: {log}");
    assert_eq!(platform.api("PATCH", "/apps/boxed/config-vars", Some(json!({ "WORD": "set" }))).status, 200);
    eventually("the config change is there", || (platform.web("boxed", "/").text == "image set").then_some(()));
    platform.wait_log("boxed", "app[job.1]: got-term");
    let run = platform.cli(&["run", "-a", "boxed", "--", "echo $HOME $DYNO; exit 3"]);
    let text = String::from_utf8_lossy(&run.stdout).into_owned();
    assert!(text.starts_with("/srv run.") && run.status.code() == Some(3), "{text}");
    // The daemon is killed: the same container serves.
    let id = |platform: &Platform| platform.api("GET", "/apps/boxed/dynos/web.1", None).json()["id"].clone();
    let before = id(&platform);
    platform.signal("KILL");
    platform.wait_end();
    platform.boot();
    assert_eq!(id(&platform), before);
    assert_eq!(platform.web("boxed", "/").text, "image set");
    assert_eq!(platform.web("plain", "/").status, 200);
    // A build that fails leaves the old release.
    repo.write("Dockerfile", &dockerfile("RUN exit 3\n")).commit("broken");
    let (pushed, text) = repo.push(&platform, "boxed", "main");
    assert!(!pushed && text.contains("Push rejected, web was not built"), "{text}");
    assert_eq!(platform.web("boxed", "/").text, "image set");
    // Its images go with it, those of others stay; what a kill left goes at the next look.
    let app = platform.api("GET", "/apps/boxed", None).json()["id"].as_str().unwrap().to_string();
    let images = |app: &str| ask(&socket, "/images/json").matches(&format!("\"tidemill-app-{app}/")).count();
    assert!(images(&app) >= 2, "{}", ask(&socket, "/images/json"));
    let (left, strange) = (uuid::Uuid::new_v4().to_string(), uuid::Uuid::new_v4().to_string());
    let instance = std::fs::read_to_string(platform.dir.path().join("data/run/docker/instance")).unwrap();
    for (app, instance) in [(&left, instance.trim()), (&strange, "another-platform")] {
        let file = format!("FROM {image}\nLABEL tidemill.built=x tidemill.instance={instance}\n");
        build_image(&socket, &file, &format!("tidemill-app-{app}/web:1"));
    }
    assert_eq!(platform.api("DELETE", "/apps/boxed", None).status, 200);
    eventually("its images are gone", || (images(&app) == 0).then_some(()));
    eventually("and what nobody names", || (images(&left) == 0).then_some(()));
    assert_eq!(images(&strange), 1, "another platform's");
    ask_to(&socket, "DELETE", &format!("/images/tidemill-app-{strange}/web:1"));
    let base: String = ask(&socket, &format!("/images/{image}/json"));
    assert!(base.contains("sha256:"), "what they were made from stays");
}
