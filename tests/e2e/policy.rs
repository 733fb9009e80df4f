//! Features, health checks, ways of rolling out, and capacity.

use crate::support::{Platform, Repo, eventually, on_both_drivers, root_or_skip};
use serde_json::{Value, json};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Answers with its release; `/health` with the status in the config var HEALTH, `/env` with its environment.
const SERVER: &str = r#"
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path = self.path
        body = json.dumps(dict(os.environ)) if path == "/env" else os.environ.get("REV", "none")
        self.send_response(int(os.environ.get("HEALTH", "200")) if path == "/health" else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
    def log_message(self, *args):
        pass
if os.environ.get("CRASH"):
    raise SystemExit(7)
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"#;

const PROCFILE: &str = "web: exec python3 -u server.py\nworker: echo works with $REV; exec sleep 3600\n";

fn shop(args: &[&str]) -> (Platform, Repo) {
    let platform = Platform::start_with(args);
    let repo = deployed(&platform);
    (platform, repo)
}

fn deployed(platform: &Platform) -> Repo {
    platform.create("shop");
    let repo = Repo::empty();
    repo.write("server.py", SERVER).write("Procfile", PROCFILE);
    repo.commit("first");
    repo.deploy(platform, "shop");
    repo
}

fn set(platform: &Platform, vars: Value) -> u64 {
    let answer = platform.api("PATCH", "/apps/shop/config-vars", Some(vars));
    assert_eq!(answer.status, 200, "{}", answer.text);
    newest(platform)["version"].as_u64().unwrap()
}

fn newest(platform: &Platform) -> Value {
    platform.api("GET", "/apps/shop/releases", None).json().as_array().unwrap().last().unwrap().clone()
}

fn scale(platform: &Platform, updates: Value) {
    let answer = platform.api("PATCH", "/apps/shop/formation", Some(json!({ "updates": updates })));
    assert_eq!(answer.status, 200, "{}", answer.text);
}

fn dynos(platform: &Platform) -> Vec<Value> {
    platform.api("GET", "/apps/shop/dynos", None).json().as_array().unwrap().clone()
}

/// All dynos that people see are up, so many of them, of this release.
fn settled(platform: &Platform, count: usize, version: u64) -> Option<()> {
    let dynos = dynos(platform);
    let good = |d: &Value| d["state"] == "up" && d["release"]["version"] == version;
    (dynos.len() == count && dynos.iter().all(good)).then_some(())
}

/// Cages of the platform, which are the dynos that have processes.
fn cages(platform: &Platform) -> usize {
    platform.cages().len()
}

/// Answers under steady traffic, all of them good, while `work` runs.
fn under_traffic<T>(platform: &Platform, work: impl FnOnce() -> T) -> (T, Vec<String>) {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut seen: Vec<String> = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let answer = platform.web("shop", "/");
                assert_eq!(answer.status, 200, "{}", answer.text);
                if seen.last() != Some(&answer.text) {
                    seen.push(answer.text);
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            seen
        });
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        stop.store(true, Ordering::Relaxed);
        let seen = asking.join().unwrap();
        (done.unwrap_or_else(|e| std::panic::resume_unwind(e)), seen)
    })
}

#[test]
fn features_are_switched_without_a_restart_and_tell_dynos_about_themselves() {
    if !root_or_skip("running dynos") {
        return;
    }
    let (platform, repo) = shop(&[]);
    let list = platform.api("GET", "/apps/shop/features", None).json();
    crate::schema::check_list("app-feature", &list);
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    let expected = [
        "http-strict-transport-security",
        "https-redirect",
        "log-runtime-metrics",
        "preboot",
        "runtime-dyno-build-metadata",
        "runtime-dyno-metadata",
        "two-factor",
    ];
    assert_eq!(names, expected);
    assert!(list.as_array().unwrap().iter().all(|f| f["enabled"] == false));
    let states: Vec<&str> = list.as_array().unwrap().iter().map(|f| f["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["general", "general", "beta", "general", "beta", "beta", "general"], "features, and what labs lists");
    let before = dynos(&platform);
    let metadata = list.as_array().unwrap().iter().find(|f| f["name"] == "runtime-dyno-metadata").unwrap();
    let by_id = format!("/apps/shop/features/{}", metadata["id"].as_str().unwrap());
    let on = platform.api("PATCH", &by_id, Some(json!({ "enabled": true })));
    assert_eq!((on.status, on.json()["enabled"].as_bool()), (200, Some(true)), "{}", on.text);
    crate::schema::check("app-feature", &platform.api("GET", "/apps/shop/features/runtime-dyno-metadata", None).json());
    assert_eq!(platform.api("GET", "/apps/shop/features/nosuch", None).status, 404);
    assert_eq!(platform.api("PATCH", &by_id, Some(json!({}))).status, 422);
    assert_eq!(dynos(&platform), before, "nothing restarts");
    let env = |platform: &Platform| -> Value { serde_json::from_str(&platform.web("shop", "/env").text).unwrap() };
    assert_eq!(env(&platform)["HEROKU_APP_ID"], Value::Null, "from the next release on");
    repo.write("more.txt", "x");
    let commit = repo.commit("second");
    repo.deploy(&platform, "shop");
    let (seen, app, dyno) = (env(&platform), platform.api("GET", "/apps/shop", None).json(), dynos(&platform)[0].clone());
    let release = newest(&platform);
    for (key, value) in [
        ("HEROKU_APP_ID", app["id"].clone()),
        ("HEROKU_APP_NAME", json!("shop")),
        ("HEROKU_APP_DEFAULT_DOMAIN_NAME", json!("shop.localhost")),
        ("HEROKU_DYNO_ID", dyno["id"].clone()),
        ("HEROKU_RELEASE_VERSION", json!(format!("v{}", release["version"]))),
        ("HEROKU_RELEASE_CREATED_AT", release["created_at"].clone()),
        ("HEROKU_SLUG_COMMIT", json!(commit)),
        ("HEROKU_SLUG_DESCRIPTION", json!(format!("Deploy {}", &commit[..8]))),
        ("HEROKU_BUILD_COMMIT", Value::Null),
    ] {
        assert_eq!(seen[key], value, "{key}");
    }
    assert!(platform.cli(&["features:enable", "runtime-dyno-build-metadata", "-a", "shop"]).status.success());
    let version = set(&platform, json!({ "REV": "x" }));
    eventually("the release is there", || settled(&platform, 1, version));
    // The router follows when the dyno is up.
    eventually("requests go to it", || {
        let seen = env(&platform);
        ((&seen["HEROKU_BUILD_COMMIT"], &seen["HEROKU_SLUG_COMMIT"]) == (&json!(commit), &Value::Null)).then_some(())
    });
    let listed = String::from_utf8(platform.cli(&["features", "-a", "shop"]).stdout).unwrap();
    assert!(listed.contains("[+]  runtime-dyno-metadata") && listed.contains("[ ]  preboot"), "{listed}");
    assert!(platform.cli(&["features:disable", "runtime-dyno-metadata", "-a", "shop"]).status.success());
    let info = String::from_utf8(platform.cli(&["features:info", "runtime-dyno-metadata", "-a", "shop"]).stdout).unwrap();
    assert!(info.contains("Enabled:") && info.contains("false"), "{info}");
}

#[test]
fn situation_37_38_preboot_hides_the_old_dynos_holds_the_switch_and_fails_no_request() {
    on_both_drivers(&["--preboot-hold-s", "6"], |platform| preboot(platform));
}

fn preboot(platform: &Platform) {
    deployed(platform);
    scale(platform, json!([{ "type": "worker", "quantity": 1 }]));
    let before = dynos(platform)[0]["id"].clone();
    let answer = platform.api("PATCH", "/apps/shop/features/preboot", Some(json!({ "enabled": true })));
    assert_eq!(answer.status, 200);
    assert_eq!(dynos(platform)[0]["id"], before, "toggling restarts nothing");
    let first = set(platform, json!({ "REV": "one" }));
    eventually("people see the new ones only", || settled(platform, 2, first));
    assert_eq!(platform.web("shop", "/").text, "none", "the old one serves");
    assert!(platform.log("shop").contains("app[worker.1]: works with one"), "other types restart at once");
    // A second one during the hold: the first never serves.
    let ((), seen) = under_traffic(platform, || {
        let second = set(platform, json!({ "REV": "two" }));
        eventually("people see the newest only", || settled(platform, 2, second));
        eventually("it takes over", || (platform.web("shop", "/").text == "two").then_some(()));
        eventually("the old ones are gone", || (cages(platform) == 2).then_some(()));
    });
    assert_eq!(seen, ["none", "two"], "one after the other, and never the one between");
    // What crashes during the hold leaves the old ones where they are.
    let third = set(platform, json!({ "CRASH": "1" }));
    platform.wait_log("shop", &format!("Release v{third} did not start; v{} is still serving", third - 1));
    assert_eq!(newest(platform)["status"], "failed");
    assert_eq!(platform.web("shop", "/").text, "two");
    // A restart is not prebooted.
    let before = dynos(platform)[0]["id"].clone();
    eventually("all is as before", || settled(platform, 2, third - 1));
    platform.api("DELETE", "/apps/shop/dynos", None);
    eventually("restarted", || settled(platform, 2, third - 1).filter(|()| dynos(platform)[0]["id"] != before));
}

#[test]
fn a_push_does_not_wait_for_the_hold_of_preboot() {
    if !root_or_skip("running dynos") {
        return;
    }
    let (platform, repo) = shop(&["--preboot-hold-s", "3600"]);
    platform.api("PATCH", "/apps/shop/features/preboot", Some(json!({ "enabled": true })));
    repo.write("more.txt", "x");
    repo.commit("second");
    let text = repo.deploy(&platform, "shop");
    assert!(text.contains("Preboot: the new dynos are up and take over in 3"), "{text}");
}

#[test]
fn a_health_check_has_to_be_passed_before_a_dyno_serves() {
    if !root_or_skip("running dynos") {
        return;
    }
    let (platform, repo) = shop(&["--boot-timeout-s", "4"]);
    assert_eq!(platform.api("GET", "/apps/shop/health-check", None).status, 404);
    assert_eq!(platform.api("PUT", "/apps/shop/health-check", Some(json!({ "path": "nowhere" }))).status, 422);
    let done = platform.cli(&["health-check:set", "/health", "--successes", "3", "-a", "shop"]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let check = platform.api("GET", "/apps/shop/health-check", None).json();
    assert_eq!(check, json!({ "path": "/health", "successes": 3, "timeout": 5, "interval": 1 }));
    // A config change that makes it ill goes back, config var and all.
    let ill = set(&platform, json!({ "HEALTH": "503", "REV": "ill" }));
    let log = platform.wait_log("shop", &format!("Release v{ill} did not start; v{} is still serving", ill - 1));
    let line = "Error R10 (Boot timeout) -> Web process failed its health check GET /health within 4 seconds of launch: 0 of 3 successes in a row, last: status 503";
    assert!(log.contains(line), "{log}");
    assert!(log.contains("is still serving, with the config vars that it had"), "{log}");
    assert_eq!((newest(&platform)["status"].as_str(), platform.web("shop", "/").text.as_str()), (Some("failed"), "none"));
    assert_eq!(platform.api("GET", "/apps/shop/config-vars", None).json(), json!({}), "as what serves");
    // So does a push, and says so.
    repo.write("server.py", &SERVER.replace("\"HEALTH\", \"200\"", "\"HEALTH\", \"500\""));
    repo.commit("ill");
    let (ok, text) = repo.push(&platform, "shop", "main");
    assert!(!ok && text.contains("still serving; nothing changed for visitors") && text.contains("status 500"), "{text}");
    // Redirects are good, and a good one serves.
    let well = set(&platform, json!({ "HEALTH": "302", "REV": "well" }));
    eventually("well", || settled(&platform, 1, well));
    eventually("it serves", || (platform.web("shop", "/").text == "well").then_some(()));
    assert!(platform.cli(&["health-check:clear", "-a", "shop"]).status.success());
    assert_eq!(platform.api("DELETE", "/apps/shop/health-check", None).status, 404);
}

#[test]
fn a_restart_and_another_size_that_do_not_come_up_leave_the_old_dynos_serving() {
    if !root_or_skip("running dynos") {
        return;
    }
    let (platform, _repo) = shop(&["--boot-timeout-s", "3"]);
    platform.api("PUT", "/apps/shop/health-check", Some(json!({ "path": "/health", "successes": 1 })));
    // The old one passed no check; its successor can not, since there is no release to go back to it is tried again.
    platform.api("PUT", "/apps/shop/health-check", Some(json!({ "path": "/env", "successes": 1 })));
    let release = set(&platform, json!({ "HEALTH": "500", "REV": "old" }));
    eventually("up", || settled(&platform, 1, release));
    let old = dynos(&platform)[0]["id"].clone();
    platform.api("PUT", "/apps/shop/health-check", Some(json!({ "path": "/health", "successes": 1 })));
    let ((), seen) = under_traffic(&platform, || {
        platform.api("DELETE", "/apps/shop/dynos", None);
        platform.wait_log("shop", "Web process failed its health check GET /health");
        scale(&platform, json!([{ "type": "web", "size": "Standard-2X" }]));
        eventually("tried with the new size", || {
            (platform.log("shop").matches("Web process failed its health check GET /health").count() >= 3).then_some(())
        });
    });
    assert_eq!(seen, ["old"]);
    let shown = dynos(&platform);
    assert_eq!((&shown[0]["id"], &shown[0]["state"]), (&old, &json!("up")), "{shown:?}");
    assert!(newest(&platform)["status"] == "succeeded" && newest(&platform)["version"] == release, "no release was made");
    // Well again: the next try comes up and replaces it.
    platform.api("DELETE", "/apps/shop/health-check", None);
    platform.api("DELETE", "/apps/shop/dynos", None);
    eventually("replaced", || settled(&platform, 1, release).filter(|()| dynos(&platform)[0]["id"] != old));
}

#[test]
fn a_restart_and_another_size_fail_no_request_and_leave_no_slot_empty() {
    if !root_or_skip("running dynos") {
        return;
    }
    let (platform, _repo) = shop(&[]);
    scale(&platform, json!([{ "type": "web", "quantity": 2 }, { "type": "worker", "quantity": 1 }]));
    let settled = |size: &str, old: &[Value]| {
        let now = dynos(&platform);
        let good = |d: &Value| d["state"] == "up" && d["size"] == size && !old.contains(&d["id"]);
        (now.len() == 3 && now.iter().all(good) && cages(&platform) == 3).then_some(())
    };
    let ids = || -> Vec<Value> { dynos(&platform).iter().map(|d| d["id"].clone()).collect() };
    eventually("three", || settled("Standard-1X", &[]));
    let ((), seen) = under_traffic(&platform, || {
        let old = ids();
        assert_eq!(platform.api("DELETE", "/apps/shop/dynos", None).status, 202);
        eventually("restarted", || settled("Standard-1X", &old));
        let old = ids();
        scale(&platform, json!(["web", "worker"].map(|t| json!({ "type": t, "size": "standard-2x" }))));
        eventually("resized", || settled("Standard-2X", &old));
    });
    assert_eq!(seen, ["none"]);
    // Each old worker was told to stop only when the next one was up.
    let log = platform.log("shop");
    let of_worker = log.lines().filter(|l| l.contains("heroku[worker.1]: "));
    let steps: Vec<&str> =
        of_worker.filter_map(|l| ["starting to up", "SIGTERM"].into_iter().find(|step| l.contains(step))).collect();
    assert_eq!(steps, ["starting to up", "starting to up", "SIGTERM", "starting to up", "SIGTERM"], "{log}");
}

#[test]
fn a_crash_loop_waits_until_a_restart_a_release_or_scaling_to_0_and_back() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = Platform::start();
    platform.create("shop");
    let repo = Repo::empty();
    repo.write("Procfile", "worker: exit 3\n");
    repo.commit("crashes");
    repo.deploy(&platform, "shop");
    assert_eq!(newest(&platform)["status"], "succeeded", "without a web dyno there is nothing to prove");
    let mut exits = 0;
    let mut two_more = |why: &str| {
        exits += 2; // at once after the first crash; the next try is in 20 minutes
        eventually(why, || {
            let seen = platform.log("shop").matches("heroku[worker.1]: State changed from up to crashed").count();
            assert!(seen <= exits, "{why}: {seen} crashes");
            let waits = dynos(&platform).iter().all(|d| d["state"] == "crashed");
            (seen == exits && waits).then_some(())
        });
    };
    scale(&platform, json!([{ "type": "worker", "quantity": 1 }]));
    two_more("a first start");
    platform.api("DELETE", "/apps/shop/dynos", None);
    two_more("a restart of all");
    platform.api("DELETE", "/apps/shop/dynos/worker.1", None);
    two_more("a restart of one");
    set(&platform, json!({ "A": "1" }));
    two_more("a release");
    // In one go: nobody had time to look in between.
    scale(&platform, json!([{ "type": "worker", "quantity": 0 }]));
    scale(&platform, json!([{ "type": "worker", "quantity": 1 }]));
    two_more("scaling to 0 and back");
}

#[test]
fn where_memory_does_not_allow_two_sets_a_release_is_rolled_out_in_steps() {
    if !root_or_skip("running dynos") {
        return;
    }
    // Room for four dynos: three web dynos and one more.
    let (platform, _repo) = shop(&["--capacity-mb", "2048", "--overcommit-percent", "100"]);
    scale(&platform, json!([{ "type": "web", "quantity": 3 }]));
    eventually("three", || settled(&platform, 3, 3));
    let most = std::sync::atomic::AtomicUsize::new(0);
    let release = |rev: &str, count: usize| {
        let version = set(&platform, json!({ "REV": rev }));
        eventually(rev, || {
            most.fetch_max(cages(&platform), Ordering::Relaxed);
            settled(&platform, count, version).filter(|()| cages(&platform) == count)
        });
    };
    let ((), seen) = under_traffic(&platform, || release("one", 3));
    assert_eq!(seen.last().map(String::as_str), Some("one"));
    platform.wait_log("shop", "Memory does not allow two sets of web dynos: v4 is rolled out in steps");
    assert!(most.load(Ordering::Relaxed) <= 4, "{most:?} dynos at the same time");
    // No room for even one more: one goes first, the others serve.
    scale(&platform, json!([{ "type": "web", "quantity": 4 }]));
    eventually("four", || settled(&platform, 4, 4));
    let ((), seen) = under_traffic(&platform, || release("two", 4));
    assert_eq!(seen.last().map(String::as_str), Some("two"));
    assert!(platform.log("shop").contains("it stops before its replacement starts; the others of its type serve meanwhile"));
    assert!(most.load(Ordering::Relaxed) <= 4, "{most:?} dynos at the same time");
    // A single one can not be doubled: it stops first, and the log says so.
    scale(
        &platform,
        json!([{ "type": "web", "quantity": 1, "size": "standard-2x" }, { "type": "worker", "quantity": 1, "size": "standard-2x" }]),
    );
    eventually("two large ones", || settled(&platform, 2, 5).filter(|()| cages(&platform) == 2));
    release("three", 2);
    assert!(platform.log("shop").contains("nothing serves in its place meanwhile"));
    assert_eq!(platform.web("shop", "/").text, "three");
}

#[test]
fn nothing_stops_first_where_another_app_gives_memory_back_soon() {
    if !root_or_skip("running dynos") {
        return;
    }
    // Room for three: the two apps and one dyno more, which the other one takes while its preboot holds the switch.
    let (platform, repo) = shop(&["--preboot-hold-s", "5", "--capacity-mb", "1536", "--overcommit-percent", "100"]);
    platform.create("other");
    let (ok, text) = repo.push(&platform, "other", "main");
    assert!(ok, "{text}");
    assert_eq!(platform.api("PATCH", "/apps/other/features/preboot", Some(json!({ "enabled": true }))).status, 200);
    assert_eq!(platform.api("PATCH", "/apps/other/config-vars", Some(json!({ "A": "1" }))).status, 200);
    eventually("it holds", || (cages(&platform) == 3).then_some(()));
    let old = dynos(&platform)[0]["id"].clone();
    let ((), seen) = under_traffic(&platform, || {
        platform.api("DELETE", "/apps/shop/dynos", None);
        eventually("restarted", || settled(&platform, 1, 3).filter(|()| dynos(&platform)[0]["id"] != old));
    });
    assert_eq!(seen, ["none"]);
    assert!(!platform.log("shop").contains("stops before its replacement starts"));
}

#[test]
fn asking_for_more_memory_than_there_is_gets_the_numbers() {
    if !root_or_skip("running dynos") {
        return;
    }
    let (platform, repo) = shop(&["--capacity-mb", "512", "--overcommit-percent", "300"]);
    let refused = |answer: crate::support::Answer| {
        assert_eq!((answer.status, answer.json()["id"].as_str()), (422, Some("capacity")), "{}", answer.text);
        answer.json()["message"].as_str().unwrap().to_string()
    };
    let scale = |body: Value| platform.api("PATCH", "/apps/shop/formation/web", Some(body));
    let text = refused(scale(json!({ "quantity": 4 })));
    assert!(text.contains("shop needs 1536 MB more, 1024 of 1536 MB are free; in use: shop 512 MB."), "{text}");
    refused(scale(json!({ "size": "Performance-M" })));
    assert_eq!(scale(json!({ "quantity": 2 })).status, 200);
    let run = |size: &str| platform.api("POST", "/apps/shop/dynos", Some(json!({ "command": "sleep 3600", "size": size })));
    refused(run("standard-2x"));
    assert_eq!(run("standard-1x").status, 201);
    refused(run("standard-1x"));
    // The first web dyno of another app does not start, and the log and the push say so.
    platform.create("late");
    let (ok, text) = repo.push(&platform, "late", "main");
    assert!(ok && text.contains("No web dyno runs"), "{text}");
    let log = platform
        .wait_log("late", "No web dyno is started: late needs 512 MB more, 0 of 1536 MB are free; in use: shop 1536 MB.");
    assert!(log.contains("tidemill ps:scale web=1"), "{log}");
    assert_eq!(platform.api("GET", "/apps/late/formation/web", None).json()["quantity"], 0);
    // Less is always possible, and then there is room.
    assert_eq!(scale(json!({ "quantity": 1 })).status, 200);
    assert_eq!(platform.api("PATCH", "/apps/late/formation/web", Some(json!({ "quantity": 1 }))).status, 200);
    eventually("it serves", || (platform.web("late", "/").status == 200).then_some(()));
}
