//! One-off dynos and release phases (`runtime.md` sections 11 and 13; the numbers are those of its section 14).

use crate::support::*;
use serde_json::{Value, json};

fn deployed() -> (Platform, Repo) {
    let platform = Platform::start();
    let repo = deploy(&platform);
    (platform, repo)
}

fn deploy(platform: &Platform) -> Repo {
    platform.create("shop");
    let repo = Repo::of("procfile");
    repo.deploy(platform, "shop");
    repo
}

fn start(platform: &Platform, body: Value) -> String {
    let answer = platform.api("POST", "/apps/shop/dynos", Some(body));
    assert_eq!(answer.status, 201, "{}", answer.text);
    let dyno = answer.json();
    assert_eq!((dyno["state"].as_str(), dyno["attach_url"].is_null()), (Some("starting"), true));
    dyno["name"].as_str().unwrap().to_string()
}

fn count(log: &str, needle: &str) -> usize {
    log.lines().filter(|line| line.contains(needle)).count()
}

#[test]
fn one_off_44_45_46_runs_once_writes_to_the_log_and_ends() {
    on_both_drivers(&[], |platform| runs_once_and_ends(platform));
}

fn runs_once_and_ends(platform: &Platform) {
    deploy(platform);
    let name = start(platform, json!({ "command": "echo \"hi $X from $DYNO\"; exit 3", "env": { "X": "there" } }));
    let number: u32 = name.strip_prefix("run.").unwrap().parse().unwrap();
    assert!((1000..10_000).contains(&number));
    let log = platform.wait_log("shop", &format!("heroku[{name}]: State changed from up to complete"));
    assert!(log.contains(&format!("app[{name}]: hi there from {name}")), "{log}");
    assert!(log.contains(&format!("heroku[{name}]: Process exited with status 3")), "{log}");
    assert!(
        log.contains("app[api]: Starting process with command `echo \"hi $X from $DYNO\"; exit 3` by user admin@localhost")
    );
    eventually("it is gone", || (platform.api("GET", &format!("/apps/shop/dynos/{name}"), None).status == 404).then_some(()));

    let short = start(platform, json!({ "command": "sleep 100", "time_to_live": 1 }));
    platform.wait_log("shop", &format!("heroku[{short}]: Process exited with status 143"));
    let stopped = start(platform, json!({ "command": "sleep 100", "type": "console", "size": "standard-2x" }));
    assert!(stopped.starts_with("console."), "{stopped}");
    eventually("up", || {
        (platform.api("GET", &format!("/apps/shop/dynos/{stopped}"), None).json()["state"] == "up").then_some(())
    });
    assert_eq!(platform.api("POST", &format!("/apps/shop/dynos/{stopped}/actions/stop"), None).status, 202);
    platform.wait_log("shop", &format!("heroku[{stopped}]: Process exited with status 143"));
    eventually("not restarted", || {
        let left = platform.api("GET", "/apps/shop/dynos", None).json();
        left.as_array().unwrap().iter().all(|d| d["type"] == "web").then_some(())
    });

    platform.create("empty");
    for (app, body) in [
        ("empty", json!({ "command": "ls" })),
        ("shop", json!({ "command": " " })),
        ("shop", json!({ "command": "ls", "time_to_live": 100_000 })),
        ("shop", json!({ "command": "ls", "type": "web" })),
        ("shop", json!({ "command": "ls", "size": "huge" })),
        ("shop", json!({ "command": "ls", "env": { "A B": "x" } })),
    ] {
        let answer = platform.api("POST", &format!("/apps/{app}/dynos"), Some(body.clone()));
        assert_eq!((answer.status, answer.json()["id"].as_str()), (422, Some("invalid_params")), "{body}");
    }
    for _ in 0..50 {
        start(platform, json!({ "command": "sleep 100" }));
    }
    let one_more = platform.api("POST", "/apps/shop/dynos", Some(json!({ "command": "ls" })));
    assert_eq!(one_more.json()["id"], "one_offs", "{}", one_more.text);
}

#[test]
fn one_off_survives_a_kill_of_the_daemon_and_runs_once() {
    if !root_or_skip("running dynos") {
        return;
    }
    let (mut platform, _) = deployed();
    let name = start(&platform, json!({ "command": "echo begin; sleep 3; echo \"end\"" }));
    platform.wait_log("shop", &format!("app[{name}]: begin"));
    platform.signal("KILL");
    platform.wait_end();
    platform.boot();
    let log = platform.wait_log("shop", &format!("heroku[{name}]: State changed from up to complete"));
    assert_eq!((count(&log, &format!("app[{name}]: begin")), count(&log, &format!("app[{name}]: end"))), (1, 1), "{log}");
    // A row that was written just before the kill is started by the next daemon, once.
    for round in 0..5 {
        let name = start(&platform, json!({ "command": format!("echo round-{round}") }));
        platform.signal("KILL");
        platform.wait_end();
        platform.boot();
        let log = platform.wait_log("shop", &format!("app[{name}]: round-{round}"));
        assert_eq!(count(&log, &format!("app[{name}]: round-{round}")), 1, "{log}");
        eventually("gone", || (platform.api("GET", &format!("/apps/shop/dynos/{name}"), None).status == 404).then_some(()));
        assert_eq!(count(&platform.log("shop"), &format!("app[{name}]: round-{round}")), 1);
    }
}

#[test]
fn release_33_36_phase_decides_whether_a_release_goes_live() {
    on_both_drivers(&[], |platform| phase_decides(platform));
}

fn phase_decides(platform: &Platform) {
    let repo = deploy(platform);
    let with = |command: &str| {
        repo.write("Procfile", &format!("release: {command}\nweb: ./bin/server\n"));
        repo.commit("release command");
    };
    with("echo \"migrating in $DYNO\" && test \"${GOOD:-yes}\" = yes");
    let text = repo.deploy(platform, "shop");
    assert!(text.contains("Release command declared: this new release will not be available until the command succeeds."));
    assert!(text.contains("Running release command...") && text.contains("migrating in release."), "{text}");
    let release = platform.api("GET", "/apps/shop/releases/v4", None).json();
    assert_eq!((release["status"].as_str(), release["current"].as_bool()), (Some("succeeded"), Some(true)));
    let output =
        agent().get(release["output_stream_url"].as_str().unwrap()).call().unwrap().into_body().read_to_string().unwrap();
    assert!(output.starts_with("migrating in release."), "{output}");
    assert!(platform.log("shop").contains("app[release."));
    let phase = platform.api("GET", "/apps/shop/formation/release", None).json();
    assert_eq!(phase["quantity"], 0, "listed, never scaled");

    // A phase that fails: the push is not rejected, the dynos are never touched, the config stays in the failed release.
    let serving = platform.api("GET", "/apps/shop/dynos/web.1", None).json()["id"].clone();
    with("echo broken-migration; exit 7");
    let (pushed, text) = repo.push(platform, "shop", "main");
    assert!(
        pushed && text.contains("broken-migration") && text.contains("Release command failed. v4 is still serving"),
        "{text}"
    );
    assert_eq!(platform.api("GET", "/apps/shop/releases/v5", None).json()["status"], "failed");
    let set = platform.api("PATCH", "/apps/shop/config-vars", Some(json!({ "GOOD": "no" })));
    assert_eq!(set.status, 200);
    let status = |v: u32| platform.api("GET", &format!("/apps/shop/releases/v{v}"), None).json()["status"].clone();
    eventually("the phase of the config change fails", || (status(6) == "failed").then_some(()));
    assert_eq!(platform.api("GET", "/apps/shop/dynos/web.1", None).json()["id"], serving);

    // A phase that is told to stop failed, whatever it answers; meanwhile there is no other.
    with("trap 'echo stopping; exit 0' TERM; echo phase-waits; while :; do sleep 0.1; done");
    let push = repo.command().args(["push", &platform.git_url("shop"), "main"]).stderr(std::process::Stdio::null()).spawn();
    let log = platform.wait_log("shop", "]: phase-waits");
    let name = log.lines().rev().find_map(|l| l.strip_suffix("]: phase-waits")?.rsplit('[').next()).unwrap().to_string();
    let refused = platform.api("PATCH", "/apps/shop/config-vars", Some(json!({ "B": "2" })));
    assert_eq!((refused.status, refused.json()["id"].as_str()), (409, Some("conflict")), "one phase at a time");
    assert_eq!(platform.api("POST", &format!("/apps/shop/dynos/{name}/actions/stop"), None).status, 202);
    push.unwrap().wait().unwrap();
    assert_eq!(status(7), "failed", "{}", platform.log("shop"));
    assert_eq!(platform.api("GET", "/apps/shop/dynos/web.1", None).json()["id"], serving);

    // A rollback runs it, too, with code and config of then.
    let back = platform.api("POST", "/apps/shop/releases", Some(json!({ "release": "v4" }))).json();
    assert_eq!(
        (back["version"].as_u64(), back["status"].as_str(), back["current"].as_bool()),
        (Some(8), Some("pending"), Some(false))
    );
    eventually("live", || (status(8) == "succeeded").then_some(()));
    eventually("switched", || (platform.api("GET", "/apps/shop/dynos/web.1", None).json()["id"] != serving).then_some(()));
    assert_eq!(platform.web("shop", "/").status, 200);
    assert!(platform.api("GET", "/apps/shop/config-vars", None).json()["GOOD"].is_null(), "the config of then is the app's");

    // A config change whose phase fails stays stored, with all that was set before, until it is taken back.
    with("test -z \"${BAD:-}\"");
    repo.deploy(platform, "shop");
    assert_eq!(platform.api("PATCH", "/apps/shop/config-vars", Some(json!({ "C": "kept" }))).status, 200);
    eventually("v10 is live", || (status(10) == "succeeded").then_some(()));
    let set = platform.api("PATCH", "/apps/shop/config-vars", Some(json!({ "BAD": "1" })));
    assert_eq!(set.status, 200);
    eventually("v11 fails", || (status(11) == "failed").then_some(()));
    assert_eq!(platform.api("PATCH", "/apps/shop/config-vars", Some(json!({ "BAD": null }))).status, 200);
    eventually("v12 is live", || (status(12) == "succeeded").then_some(()));
    assert_eq!(platform.api("GET", "/apps/shop/config-vars", None).json()["C"], "kept");
}

#[test]
fn release_35_phase_that_a_killed_daemon_left_is_failed() {
    on_both_drivers(&[], phase_of_a_killed_daemon);
}

fn phase_of_a_killed_daemon(platform: &mut Platform) {
    let repo = deploy(platform);
    repo.write("Procfile", "release: echo phase-begins; sleep 60\nweb: ./bin/server\n");
    repo.commit("slow phase");
    let push = repo.command().args(["push", &platform.git_url("shop"), "main"]).stderr(std::process::Stdio::null()).spawn();
    platform.wait_log("shop", "]: phase-begins");
    platform.signal("KILL");
    platform.wait_end();
    assert!(!push.unwrap().wait().unwrap().success());
    platform.boot();
    let releases = platform.api("GET", "/apps/shop/releases/v4", None).json();
    assert_eq!((releases["status"].as_str(), releases["current"].as_bool()), (Some("failed"), Some(false)));
    eventually("its dyno is gone", || {
        let dynos = platform.api("GET", "/apps/shop/dynos", None).json();
        dynos.as_array().unwrap().iter().all(|d| d["type"] == "web").then_some(())
    });
    eventually("the old one serves", || (platform.web("shop", "/").status == 200).then_some(()));
}

#[test]
fn one_off_of_a_schedule_runs_once_for_its_slot_however_often_the_daemon_is_killed() {
    if !root_or_skip("running dynos") {
        return;
    }
    let (mut platform, _) = deployed();
    let add = |cron: &str| {
        platform.api("POST", "/apps/shop/schedules", Some(json!({ "cron": cron, "command": "echo slot-$(date +%M)" })))
    };
    for bad in ["", "* * * *", "61 * * * *", "0 0 30 2 *", "$(reboot) * * * *"] {
        assert_eq!((add(bad).status, add(bad).json()["id"].as_str()), (422, Some("invalid_params")), "{bad:?}");
    }
    let daily = add("daily").json();
    assert_eq!((daily["cron"].as_str(), daily["last_run_at"].is_null()), (Some("0 0 * * *"), true));
    let removed = platform.api("DELETE", &format!("/apps/shop/schedules/{}", daily["id"].as_str().unwrap()), None);
    assert_eq!(removed.status, 200);
    // Begin well before a full minute, so that the schedule's first slot is known.
    let into_minute_ms = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        u64::try_from(now.as_millis()).unwrap() % 60_000
    };
    if into_minute_ms() > 50_000 {
        std::thread::sleep(std::time::Duration::from_millis(60_100 - into_minute_ms()));
    }
    let schedule = add("* * * * *").json();
    let slot = schedule["next_run_at"].as_str().unwrap().to_string();
    std::thread::sleep(std::time::Duration::from_millis(59_300 - into_minute_ms()));
    let mut kills = 0;
    while !(4_000..50_000).contains(&into_minute_ms()) {
        platform.signal("KILL");
        platform.wait_end();
        platform.boot();
        std::thread::sleep(std::time::Duration::from_millis(fastrand::u64(0..150)));
        kills += 1;
    }
    let log = platform.wait_log("shop", "]: slot-");
    let name = log
        .lines()
        .find_map(|l| l.split("app[").find(|p| p.contains("]: slot-"))?.split(']').next().map(String::from))
        .unwrap();
    assert!(name.starts_with("scheduler."), "{name}");
    platform.wait_log("shop", &format!("heroku[{name}]: State changed from up to complete"));
    assert_eq!(count(&platform.log("shop"), "]: slot-"), 1, "once, after {kills} kills: {}", platform.log("shop"));
    let after = platform.api("GET", "/apps/shop/schedules", None).json()[0].clone();
    assert_eq!(after["last_run_at"].as_str(), Some(slot.as_str()));
    assert_ne!(after["next_run_at"].as_str(), Some(slot.as_str()));
    println!("{kills} kills around the slot, one run");
}
