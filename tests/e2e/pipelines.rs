//! Pipelines and promotions.

use crate::{
    schema::{check, check_list},
    support::{Platform, Repo, eventually, root_or_skip},
};
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Answers with what it is and with a config var; slow to start, so that a switch is seen.
const SERVER: &str = r#"
import http.server, os, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = open("rev").read().strip() + " " + os.environ.get("PLACE", "none")
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *args):
        pass
time.sleep(0.3)
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"#;

fn send(platform: &Platform, method: &str, path: &str, body: Value, status: u16) -> Value {
    let answer = platform.api(method, path, Some(body));
    assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
    answer.json()
}

fn get(platform: &Platform, path: &str) -> Value {
    let answer = platform.api("GET", path, None);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json()
}

/// A pipeline with these apps; its id.
fn pipeline(platform: &Platform, apps: &[(&str, &str)]) -> String {
    let made = send(platform, "POST", "/pipelines", json!({ "name": "line" }), 201);
    let id = made["id"].as_str().unwrap().to_string();
    for (app, stage) in apps {
        platform.create(app);
        let body = json!({ "app": app, "pipeline": { "id": id }, "stage": stage });
        check("pipeline-coupling", &send(platform, "POST", "/pipeline-couplings", body, 201));
    }
    id
}

#[test]
fn pipelines_and_couplings_follow_the_schema() {
    let platform = Platform::start();
    let id = pipeline(&platform, &[("stage-one", "staging"), ("prod-one", "production")]);
    let account = get(&platform, "/account")["id"].clone();
    let shown = get(&platform, &format!("/pipelines/{id}"));
    check("pipeline", &shown);
    assert_eq!(shown["owner"], json!({ "id": account, "type": "user" }));
    assert_eq!(get(&platform, "/pipelines/line"), shown, "by name, too");
    platform.api("POST", "/pipelines", Some(json!({ "name": "other" })));
    check_list("pipeline", &get(&platform, "/pipelines"));
    for query in ["eq[name]=line", "eq%5Bname%5D=line"] {
        assert_eq!(get(&platform, &format!("/pipelines?{query}")), json!([shown]), "{query}");
    }
    assert_eq!(get(&platform, "/pipelines?eq[name]=nosuch"), json!([]));
    let couplings = get(&platform, &format!("/pipelines/{id}/pipeline-couplings"));
    check_list("pipeline-coupling", &couplings);
    assert_eq!(couplings.as_array().unwrap().len(), 2);
    assert_eq!(get(&platform, "/users/~/pipeline-couplings"), get(&platform, "/pipeline-couplings"));
    let one = get(&platform, "/apps/stage-one/pipeline-couplings");
    check("pipeline-coupling", &one);
    let at = format!("/pipeline-couplings/{}", one["id"].as_str().unwrap());
    assert_eq!(get(&platform, &at), one);
    let apps: Vec<&Value> = couplings.as_array().unwrap().iter().map(|c| &c["app"]["id"]).collect();
    let found = send(&platform, "POST", "/filters/apps", json!({ "in": { "id": apps } }), 200);
    check_list("app", &found);
    assert_eq!(found.as_array().unwrap().len(), 2);
    assert_eq!(send(&platform, "POST", "/filters/apps", json!({ "in": { "id": [] } }), 200), json!([]));
    check("pipeline-stack", &get(&platform, &format!("/pipelines/{id}/pipeline-stack")));
    check_list("release", &get(&platform, &format!("/pipelines/{id}/latest-releases")));
    assert_eq!(get(&platform, &format!("/pipelines/{id}/latest-deployments")), json!([]));
    assert_eq!(get(&platform, &format!("/pipelines/{id}/latest-builds")), json!([]));
    // One pipeline per app; another stage; out of it.
    let again = json!({ "app": "stage-one", "pipeline": "other", "stage": "staging" });
    send(&platform, "POST", "/pipeline-couplings", again.clone(), 422);
    assert_eq!(send(&platform, "PATCH", &at, json!({ "stage": "development" }), 200)["stage"], "development");
    send(&platform, "PATCH", &at, json!({ "stage": "prod" }), 422);
    check("pipeline-coupling", &send(&platform, "DELETE", &at, json!({}), 200));
    let gone = platform.api("GET", "/apps/stage-one/pipeline-couplings", None);
    assert_eq!((gone.status, gone.json()["id"].as_str()), (404, Some("not_found")));
    send(&platform, "POST", "/pipeline-couplings", again, 201);
    // Names, and the end.
    send(&platform, "POST", "/pipelines", json!({ "name": "line" }), 422);
    send(&platform, "POST", "/pipelines", json!({ "name": "No Name" }), 422);
    assert_eq!(send(&platform, "PATCH", &format!("/pipelines/{id}"), json!({ "name": "renamed" }), 200)["name"], "renamed");
    send(&platform, "DELETE", "/apps/prod-one", json!({}), 200);
    assert_eq!(get(&platform, &format!("/pipelines/{id}/pipeline-couplings")), json!([]), "gone with the app");
    check("pipeline", &send(&platform, "DELETE", &format!("/pipelines/{id}"), json!({ "name": "renamed" }), 200));
    assert_eq!(platform.api("GET", "/pipelines/renamed", None).status, 404);
}

#[test]
fn config_vars_of_stages_are_kept_apart_and_not_in_the_open() {
    let platform = Platform::start();
    let id = pipeline(&platform, &[]);
    let at = |stage: &str| format!("/pipelines/{id}/stage/{stage}/config-vars");
    let set = send(&platform, "PATCH", &at("test"), json!({ "KEY": "canary-0815", "N": 1 }), 200);
    assert_eq!(set, json!({ "KEY": "canary-0815", "N": "1" }));
    assert_eq!(get(&platform, &at("review")), json!({}));
    assert_eq!(send(&platform, "PATCH", &at("test"), json!({ "N": null }), 200), json!({ "KEY": "canary-0815" }));
    send(&platform, "PATCH", &at("nosuch"), json!({}), 422);
    send(&platform, "PATCH", &at("test"), json!({ "BAD KEY": "x" }), 422);
    let output = std::process::Command::new("grep").args(["-rl", "canary-0815"]).arg(platform.data_dir()).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "in plain text");
}

fn server(rev: &str) -> Repo {
    let repo = Repo::empty();
    repo.write("server.py", SERVER).write("Procfile", "web: exec python3 -u server.py\n").write("rev", rev);
    repo.commit(rev);
    repo
}

fn promote(platform: &Platform, pipeline: &str, from: &str, to: &[&str]) -> Value {
    let id = |app: &str| get(platform, &format!("/apps/{app}"))["id"].clone();
    let targets: Vec<Value> = to.iter().map(|app| json!({ "app": { "id": id(app) } })).collect();
    let body = json!({ "pipeline": { "id": pipeline }, "source": { "app": { "id": id(from) } }, "targets": targets });
    let promotion = send(platform, "POST", "/pipeline-promotions", body, 201);
    check("pipeline-promotion", &promotion);
    promotion
}

/// Targets, when none of them is open.
fn targets(platform: &Platform, promotion: &Value) -> Value {
    let path = format!("/pipeline-promotions/{}/promotion-targets", promotion["id"].as_str().unwrap());
    let open = |targets: &Value| targets.as_array().unwrap().iter().any(|t| t["status"] == "pending");
    let targets = eventually("the promotion is over", || Some(get(platform, &path)).filter(|targets| !open(targets)));
    check_list("pipeline-promotion-target", &targets);
    targets
}

#[test]
fn code_is_promoted_under_traffic_and_outlives_its_source() {
    if !root_or_skip("running dynos") {
        return;
    }
    let mut platform = Platform::start();
    let id = pipeline(&platform, &[("stage-one", "staging"), ("prod-one", "production"), ("prod-two", "production")]);
    send(&platform, "PATCH", "/apps/prod-one/config-vars", json!({ "PLACE": "one" }), 200);
    let nothing = json!({ "pipeline": { "id": id }, "source": { "app": "stage-one" }, "targets": [{ "app": "prod-one" }] });
    assert_eq!(platform.api("POST", "/pipeline-promotions", Some(nothing)).status, 422, "no code");
    let repo = server("first");
    repo.deploy(&platform, "stage-one");
    let promotion = promote(&platform, &id, "stage-one", &["prod-one", "prod-two"]);
    let over = targets(&platform, &promotion);
    assert!(over.as_array().unwrap().iter().all(|t| t["status"] == "succeeded"), "{over}");
    assert_eq!(get(&platform, &format!("/pipeline-promotions/{}", promotion["id"].as_str().unwrap()))["status"], "completed");
    assert_eq!(platform.web("prod-one", "/").text, "first one", "its own config");
    assert_eq!(platform.web("prod-two", "/").text, "first none");
    repo.write("rev", "second");
    let commit = repo.commit("second");
    repo.deploy(&platform, "stage-one");
    let version = get(&platform, "/apps/stage-one/releases").as_array().unwrap().last().unwrap()["version"].clone();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut seen = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let answer = platform.web("prod-one", "/");
                assert_eq!(answer.status, 200, "{}", answer.text);
                seen.push(answer.text);
                std::thread::sleep(Duration::from_millis(5));
            }
            seen
        });
        let over = targets(&platform, &promote(&platform, &id, "stage-one", &["prod-one"]));
        assert_eq!(over[0]["status"], "succeeded", "{over}");
        eventually("the new code serves", || (platform.web("prod-one", "/").text == "second one").then_some(()));
        stop.store(true, Ordering::Relaxed);
        let seen = asking.join().unwrap();
        assert!(seen.first().is_some_and(|text| text == "first one") && seen.len() > 10);
    });
    let releases = get(&platform, "/apps/prod-one/releases");
    let newest = releases.as_array().unwrap().last().unwrap().clone();
    assert_eq!(newest["description"], json!(format!("Promote stage-one v{version} {}", &commit[..8])));
    let slug = get(&platform, &format!("/apps/prod-one/slugs/{}", newest["slug"]["id"].as_str().unwrap()));
    assert_eq!(slug["commit"], json!(commit));
    check_list("release", &get(&platform, &format!("/pipelines/{id}/latest-deployments")));
    check_list("pipeline-build", &get(&platform, &format!("/pipelines/{id}/latest-builds")));
    // The source goes; the target starts anew from its own copy, and goes back to the older one.
    send(&platform, "DELETE", "/apps/stage-one", json!({}), 200);
    let slugs = platform.data_dir().join("slugs");
    eventually("its files are gone", || (std::fs::read_dir(&slugs).unwrap().count() == 2).then_some(()));
    platform.signal("KILL");
    platform.wait_end();
    platform.boot();
    send(&platform, "DELETE", "/apps/prod-one/dynos", json!({}), 202);
    eventually("a new dyno serves", || (platform.web("prod-one", "/").text == "second one").then_some(()));
    let first = newest["version"].as_u64().unwrap() - 1;
    send(&platform, "POST", "/apps/prod-one/releases", json!({ "release": first }), 201);
    eventually("the older code serves", || (platform.web("prod-one", "/").text == "first one").then_some(()));
}

#[test]
fn a_promotion_tells_of_a_failed_release_command_and_goes_on_after_a_kill() {
    if !root_or_skip("running dynos") {
        return;
    }
    let mut platform = Platform::start();
    let id = pipeline(&platform, &[("stage-one", "staging"), ("prod-one", "production")]);
    send(&platform, "PATCH", "/apps/stage-one/config-vars", json!({ "GOOD": "1" }), 200);
    let repo = server("first");
    repo.write("Procfile", "web: exec python3 -u server.py\nrelease: test -n \"$GOOD\"\n");
    repo.commit("with a release command");
    repo.deploy(&platform, "stage-one");
    let over = targets(&platform, &promote(&platform, &id, "stage-one", &["prod-one"]));
    assert_eq!(over[0]["status"], "failed", "{over}");
    assert!(over[0]["error_message"].as_str().unwrap().contains("release command"), "{over}");
    assert!(over[0]["release"]["id"].is_string(), "{over}");
    send(&platform, "PATCH", "/apps/prod-one/config-vars", json!({ "GOOD": "1" }), 200);
    let promotion = promote(&platform, &id, "stage-one", &["prod-one"]);
    platform.signal("KILL");
    platform.wait_end();
    platform.boot();
    // Wherever it was cut: it is over, and says how. A release command that was cut failed, as always.
    let over = targets(&platform, &promotion);
    if over[0]["status"] == "failed" {
        assert!(over[0]["error_message"].as_str().unwrap().contains("release command"), "{over}");
        let over = targets(&platform, &promote(&platform, &id, "stage-one", &["prod-one"]));
        assert_eq!(over[0]["status"], "succeeded", "{over}");
    }
    eventually("it serves", || (platform.web("prod-one", "/").text == "first none").then_some(()));
}
