//! `import heroku`: an app of another server made anew on this one; the other server is a second platform.

use crate::{matrix::join, support::*};
use serde_json::{Value, json};
use std::process::{Command, Output};

/// A value that must never be shown.
const SECRET: &str = "s3cr3t-value-of-the-source";

fn import(to: &Platform, from: &Platform, flags: &[&str]) -> Output {
    let mut command = Command::new(BIN);
    command.args(["import", "heroku", "--app", "shop", "--from", &from.base(), "--no-input"]).args(flags);
    command.env_clear().env("PATH", std::env::var("PATH").unwrap()).env("HOME", to.dir.path());
    command.env("TIDEMILL_HOST", to.base()).env("TIDEMILL_API_KEY", &to.token).env("HEROKU_API_KEY", &from.token);
    command.output().unwrap()
}

fn text(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
    assert!(!both.contains(SECRET), "a secret is shown: {both}");
    both
}

fn changed(platform: &Platform, method: &str, path: &str, body: Value) {
    let answer = platform.api(method, path, Some(body));
    assert!(answer.status < 300, "{method} {path}: {}", answer.text);
}

fn got(platform: &Platform, path: &str) -> Value {
    platform.api("GET", path, None).json()
}

/// A source with a setting of every kind.
fn furnished() -> Platform {
    let source = Platform::start();
    source.create("shop");
    changed(&source, "PATCH", "/apps/shop/config-vars", json!({ "KEY": SECRET, "MODE": "two words\n$x" }));
    changed(&source, "POST", "/apps/shop/domains", json!({ "hostname": "www.shop.example", "sni_endpoint": null }));
    let packs = json!({ "updates": [{ "buildpack": "heroku/python" }, { "buildpack": "heroku/procfile" }] });
    changed(&source, "PUT", "/apps/shop/buildpack-installations", packs);
    changed(&source, "PATCH", "/apps/shop/features/preboot", json!({ "enabled": true }));
    changed(&source, "PATCH", "/apps/shop", json!({ "maintenance": true }));
    source
}

#[test]
fn an_app_moves_with_its_settings_and_again_does_nothing() {
    let (source, target) = (furnished(), Platform::start());
    let planned = import(&target, &source, &["--dry-run"]);
    let plan = text(&planned);
    assert!(planned.status.success(), "{plan}");
    for line in
        ["+  App shop", "+  Config vars KEY, MODE", "+  Domain www.shop.example", "+  Feature preboot", "Code: push it here"]
    {
        assert!(plan.contains(line), "no {line:?} in {plan}");
    }
    assert_eq!(target.api("GET", "/apps/shop", None).status, 404, "a plan does nothing");
    let done = import(&target, &source, &[]);
    assert!(done.status.success(), "{}", text(&done));
    assert!(text(&done).contains("Next: tidemill git:remote -a shop"));
    assert_eq!(got(&target, "/apps/shop/config-vars"), got(&source, "/apps/shop/config-vars"));
    assert_eq!(got(&target, "/apps/shop/features/preboot")["enabled"], true);
    let names = |p: &Platform, list: &str, field: &str| -> Vec<String> {
        let list = got(p, &format!("/apps/shop/{list}"));
        list.as_array().unwrap().iter().map(|i| i.pointer(field).unwrap().as_str().unwrap().to_string()).collect()
    };
    for (list, field) in [("buildpack-installations", "/buildpack/name"), ("domains", "/hostname")] {
        assert_eq!(names(&target, list, field), names(&source, list, field));
    }
    assert_eq!(got(&target, "/apps/shop")["maintenance"], true);
    let releases = got(&target, "/apps/shop/releases").as_array().unwrap().len();
    let again = import(&target, &source, &["--json"]);
    let answer: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((again.status.code(), &answer["done"]), (Some(0), &json!([])), "{}", text(&again));
    assert_eq!(got(&target, "/apps/shop/releases").as_array().unwrap().len(), releases, "nothing was changed");
}

#[test]
fn what_is_here_and_different_stays_without_force() {
    let (source, target) = (furnished(), Platform::start());
    target.create("shop");
    changed(&target, "PATCH", "/apps/shop/config-vars", json!({ "KEY": "mine", "OWN": "1" }));
    let left = import(&target, &source, &[]);
    assert_eq!(left.status.code(), Some(5), "{}", text(&left));
    assert!(text(&left).contains("Config vars KEY... left, here it is: another value"), "{}", text(&left));
    let vars = got(&target, "/apps/shop/config-vars");
    assert_eq!(vars, json!({ "KEY": "mine", "MODE": "two words\n$x", "OWN": "1" }));
    assert_eq!(got(&target, "/apps/shop")["maintenance"], false, "it serves, and goes on to serve");
    let forced = import(&target, &source, &["--force"]);
    assert_eq!(forced.status.code(), Some(0), "{}", text(&forced));
    assert_eq!(got(&target, "/apps/shop/config-vars")["KEY"], SECRET);
    assert_eq!(got(&target, "/apps/shop/config-vars")["OWN"], "1", "what the source does not have is not touched");
    assert_eq!(got(&target, "/apps/shop")["maintenance"], true);
}

#[test]
fn process_types_wait_for_the_code() {
    if !root_or_skip("running dynos") {
        return;
    }
    let (source, target) = (Platform::start(), Platform::start());
    source.create("shop");
    Repo::of("procfile").deploy(&source, "shop");
    let updates =
        json!({ "updates": [{ "type": "web", "quantity": 2 }, { "type": "worker", "quantity": 1, "size": "Standard-2X" }] });
    changed(&source, "PATCH", "/apps/shop/formation", updates);
    let first = import(&target, &source, &["--to", "moved"]);
    assert!(first.status.success() && text(&first).contains("After the first push"), "{}", text(&first));
    Repo::of("procfile").deploy(&target, "moved");
    // The push has made the types; what they are now is a difference.
    let second = import(&target, &source, &["--to", "moved"]);
    assert!(
        second.status.code() == Some(5) && text(&second).contains("Process type web=2:Standard-1X... left"),
        "{}",
        text(&second)
    );
    assert!(import(&target, &source, &["--to", "moved", "--force"]).status.success());
    let worker = got(&target, "/apps/moved/formation/worker");
    assert_eq!((worker["quantity"].as_u64(), worker["size"].as_str()), (Some(1), Some("Standard-2X")));
    assert_eq!(got(&target, "/apps/moved/formation/web")["quantity"], 2);
}

/// Drain, collaborator and a place in a pipeline: what needs people and things beside the app.
fn connected(platform: &Platform) {
    join(platform, "bo@example.com", "member");
    line(platform);
    changed(platform, "POST", "/apps/shop/log-drains", json!({ "url": "https://logs.shop.example/in" }));
    changed(platform, "POST", "/apps/shop/collaborators", json!({ "user": "bo@example.com" }));
    let pipeline = got(platform, "/pipelines")[0]["id"].clone();
    changed(platform, "POST", "/pipeline-couplings", json!({ "app": "shop", "pipeline": pipeline, "stage": "staging" }));
}

/// A pipeline of the admin's.
fn line(platform: &Platform) {
    let owner = json!({ "id": got(platform, "/account")["id"], "type": "user" });
    changed(platform, "POST", "/pipelines", json!({ "name": "line", "owner": owner }));
}

#[test]
fn drains_collaborators_and_the_place_in_a_pipeline_move_along() {
    let (source, target) = (furnished(), Platform::start());
    connected(&source);
    join(&target, "bo@example.com", "member");
    let plan = text(&import(&target, &source, &["--dry-run"]));
    for part in ["+  Drain https://logs.shop.example/in", "+  Collaborator bo@example.com", "Place in pipeline line, staging"] {
        assert!(plan.contains(part), "no {part:?} in {plan}");
    }
    assert!(plan.contains("there is no pipeline line here; make it, and give this command again"), "{plan}");
    line(&target);
    let done = import(&target, &source, &[]);
    assert!(done.status.success(), "{}", text(&done));
    assert_eq!(got(&target, "/apps/shop/log-drains")[0]["url"], "https://logs.shop.example/in");
    let people = got(&target, "/apps/shop/collaborators");
    assert!(people.as_array().unwrap().iter().any(|one| one["user"]["email"] == "bo@example.com"), "{people}");
    let place = got(&target, "/apps/shop/pipeline-couplings");
    assert_eq!((&place["stage"], &place["pipeline"]["id"]), (&json!("staging"), &got(&target, "/pipelines")[0]["id"]));
    let again = import(&target, &source, &["--json"]);
    let answer: Value = serde_json::from_slice(&again.stdout).unwrap();
    assert_eq!((again.status.code(), &answer["done"]), (Some(0), &json!([])), "{}", text(&again));
}

#[test]
fn wrong_sources_are_told_before_anything_is_made() {
    let (source, target) = (Platform::start(), Platform::start());
    let missing = import(&target, &source, &[]);
    assert_eq!(missing.status.code(), Some(4), "{}", text(&missing));
    assert!(text(&missing).contains("Couldn't find that app."));
    assert_eq!(target.api("GET", "/apps/shop", None).status, 404);
    let same = import(&source, &source, &[]);
    assert!(same.status.code() == Some(2) && text(&same).contains("the same app on the same server"), "{}", text(&same));
    let mut nobody = Command::new(BIN);
    nobody
        .args(["import:heroku", "--app", "shop", "--from", &source.base(), "--no-input"])
        .env_clear()
        .env("HOME", target.dir.path());
    let nobody = nobody.env("TIDEMILL_HOST", target.base()).env("TIDEMILL_API_KEY", &target.token).output().unwrap();
    assert!(nobody.status.code() == Some(2) && text(&nobody).contains("HEROKU_API_KEY"), "{}", text(&nobody));
}
