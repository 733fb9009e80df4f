//! Many who change one app at once: one order, nothing lost.

use crate::support::{Platform, Repo, eventually, root_or_skip};
use serde_json::{Value, json};
use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

/// Versions of all releases, oldest first, with their descriptions.
fn releases(platform: &Platform, app: &str) -> Vec<(u64, String)> {
    let headers = [("authorization", &*format!("Bearer {}", platform.token)), ("range", "version ..; max=1000")];
    let list = platform.request("GET", &format!("/apps/{app}/releases"), &headers, None).json();
    let row = |r: &Value| (r["version"].as_u64().unwrap(), r["description"].as_str().unwrap().to_string());
    list.as_array().unwrap().iter().map(row).collect()
}

fn without_gap(releases: &[(u64, String)]) {
    let versions: Vec<u64> = releases.iter().map(|(version, _)| *version).collect();
    let all: Vec<u64> = (1..=versions.len() as u64).collect();
    assert_eq!(versions, all, "a gap or a repeat");
}

#[test]
fn sixty_four_writers_on_one_app_lose_nothing() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = Platform::start();
    platform.create("busy");
    Repo::of("procfile").deploy(&platform, "busy");
    let before = releases(&platform, "busy").len();
    let slug = platform.api("GET", "/apps/busy/releases/3", None).json()["slug"]["id"].clone();
    let (platform, slug) = (&platform, &slug);
    std::thread::scope(|scope| {
        for n in 0..64 {
            scope.spawn(move || {
                let (method, path, body) = match n % 4 {
                    0 if n < 32 => ("PATCH", "/apps/busy/formation/worker", json!({ "quantity": "+1" })),
                    1 => ("POST", "/apps/busy/releases", json!({ "slug": slug })),
                    _ => ("PATCH", "/apps/busy/config-vars", json!({ format!("KEY_{n}"): n.to_string() })),
                };
                let answer = platform.api(method, path, Some(body));
                assert!(answer.status < 300, "{n}: {} {}", answer.status, answer.text);
            });
        }
    });
    let after = releases(platform, "busy");
    without_gap(&after);
    assert_eq!(after.len() - before, 40 + 16, "each config change and each release made one");
    let config = platform.api("GET", "/apps/busy/config-vars", None).json();
    let set = |n: &i32| n % 4 != 1 && !(n % 4 == 0 && *n < 32);
    let lost: Vec<i32> =
        (0..64).filter(set).filter(|n| config[format!("KEY_{n}")].as_str() != Some(n.to_string().as_str())).collect();
    assert!(lost.is_empty(), "acknowledged and not there: {lost:?}");
    let workers = platform.api("GET", "/apps/busy/formation/worker", None).json()["quantity"].as_u64();
    assert_eq!(workers, Some(8), "each step counts");
    let described: BTreeSet<&str> = after.iter().map(|(_, d)| d.as_str()).filter(|d| d.starts_with("Set KEY_")).collect();
    assert_eq!(described.len(), 40);
    println!("64 of 64 changes by 64 writers are there; {} releases without a gap", after.len());
}

#[test]
fn pushes_config_and_rollback_at_once_have_one_order_everywhere() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = Platform::start();
    platform.create("race");
    let (first, second) = (Repo::of("procfile"), Repo::of("procfile"));
    first.deploy(&platform, "race");
    first.commit("one more");
    second.git(&["pull", "--quiet", "--rebase=false", "--allow-unrelated-histories", &platform.git_url("race"), "main"]);
    second.commit("another");
    let (platform, pushed) = (&platform, &AtomicUsize::new(0));
    std::thread::scope(|scope| {
        // Of two pushes from the same base the later one is told to fetch first, if it came before the ref moved.
        for repo in [&first, &second] {
            scope.spawn(move || {
                let (ok, text) = repo.push(platform, "race", "+main");
                assert!(ok || text.contains("another push moved the branch meanwhile"), "{text}");
                pushed.fetch_add(usize::from(ok), Ordering::SeqCst);
            });
        }
        scope.spawn(|| assert_eq!(platform.api("PATCH", "/apps/race/config-vars", Some(json!({ "A": "1" }))).status, 200));
        scope.spawn(|| assert_eq!(platform.api("POST", "/apps/race/releases", Some(json!({ "release": 3 }))).status, 201));
    });
    let list = releases(platform, "race");
    without_gap(&list);
    let pushed = pushed.load(Ordering::SeqCst);
    assert!(pushed >= 1, "no push came through");
    assert_eq!(list.len(), 3 + 2 + pushed, "{list:?}");
    let events = platform.request(
        "GET",
        "/apps/race/events",
        &[("authorization", &format!("Bearer {}", platform.token)), ("range", "seq ..; max=1000")],
        None,
    );
    let made = |e: &&Value| e["action"] == "release_created";
    let mut told: Vec<u64> =
        events.json().as_array().unwrap().iter().filter(made).map(|e| e["data"]["version"].as_u64().unwrap()).collect();
    told.reverse();
    let versions: Vec<u64> = list.iter().map(|(version, _)| *version).collect();
    assert_eq!(told, versions, "events");
    let log = eventually("all releases in the log", || {
        Some(platform.log("race")).filter(|log| log.contains(&format!("Release v{} created", versions.len())))
    });
    let lines = log.lines().filter_map(|line| line.split_once("Release v")?.1.split_once(" created"));
    let logged: Vec<u64> = lines.map(|(version, _)| version.parse().unwrap()).collect();
    assert_eq!(logged, versions, "log");
    for (version, description) in &list {
        assert!(log.contains(&format!("{description} by user")), "v{version} {description}");
    }
}
