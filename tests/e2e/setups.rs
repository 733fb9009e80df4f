//! App setups.

use crate::{
    schema::check,
    support::{Platform, eventually, root_or_skip},
};
use serde_json::{Value, json};
use std::process::Command;

/// A tar.gz with these files in one folder, uploaded; its address for builds.
fn upload(platform: &Platform, files: &[(&str, &str)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("app")).unwrap();
    files.iter().for_each(|(name, text)| std::fs::write(dir.path().join("app").join(name), text).unwrap());
    let archive = dir.path().join("app.tgz");
    let packed = Command::new("tar").arg("-czf").arg(&archive).arg("-C").arg(dir.path()).arg("app").status();
    assert!(packed.unwrap().success());
    let source = platform.api("POST", "/sources", Some(json!({}))).json();
    let url = source["source_blob"]["put_url"].as_str().unwrap();
    let put = format!("{}{}", platform.base(), &url[url.find("/sources").unwrap()..]);
    let sent = crate::support::agent().put(&put).send(&std::fs::read(archive).unwrap()[..]).unwrap();
    assert_eq!(sent.status(), 200);
    source["source_blob"]["get_url"].as_str().unwrap().to_string()
}

/// Asks for a setup and waits until it is over.
fn set_up(platform: &Platform, body: Value) -> Value {
    let answer = platform.api("POST", "/app-setups", Some(body));
    assert_eq!(answer.status, 202, "{}", answer.text);
    check("app-setup", &answer.json());
    let path = format!("/app-setups/{}", answer.json()["id"].as_str().unwrap());
    let over = eventually("the setup is over", || {
        Some(platform.api("GET", &path, None).json()).filter(|setup| setup["status"] != "pending")
    });
    check("app-setup", &over);
    over
}

const SERVER: &str = "import http.server, os\nhttp.server.ThreadingHTTPServer(('', int(os.environ['PORT'])), http.server.SimpleHTTPRequestHandler).serve_forever()\n";

#[test]
fn an_app_is_set_up_as_its_manifest_says() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = Platform::start();
    platform.api("POST", "/pipelines", Some(json!({ "name": "line" })));
    let manifest = json!({
        "env": { "PLAIN": "1", "MADE": { "generator": "secret" }, "GIVEN": { "required": true }, "MAYBE": { "required": false } },
        "formation": { "web": { "quantity": 1, "size": "standard-2x" }, "worker": { "quantity": 0 } },
        "scripts": { "postdeploy": "echo ready with $GIVEN" },
        "success_url": "/welcome",
    });
    let files = [
        ("server.py", SERVER),
        ("Procfile", "web: exec python3 -u server.py\nworker: exec sleep 1000\n"),
        ("app.json", &manifest.to_string()),
    ];
    let body = json!({
        "source_blob": { "url": upload(&platform, &files) },
        "app": { "name": "fresh" },
        "overrides": { "env": { "GIVEN": "canary-0815" } },
        "pipeline_coupling": { "pipeline": "line", "stage": "staging" },
    });
    let over = set_up(&platform, body);
    assert_eq!((&over["status"], &over["failure_message"]), (&json!("succeeded"), &Value::Null), "{over}");
    assert_eq!(over["build"]["status"], "succeeded");
    assert_eq!(over["postdeploy"]["exit_code"], 0);
    assert!(over["postdeploy"]["output"].as_str().unwrap().contains("ready with canary-0815"), "{over}");
    assert!(over["resolved_success_url"].as_str().unwrap().ends_with("/welcome"), "{over}");
    let config = platform.api("GET", "/apps/fresh/config-vars", None).json();
    assert_eq!((&config["PLAIN"], &config["GIVEN"], &config["MAYBE"]), (&json!("1"), &json!("canary-0815"), &Value::Null));
    assert_eq!(config["MADE"].as_str().unwrap().len(), 64);
    assert_eq!(platform.api("GET", "/apps/fresh/formation/web", None).json()["size"], "Standard-2X");
    assert_eq!(platform.api("GET", "/apps/fresh/pipeline-couplings", None).json()["stage"], "staging");
    eventually("it serves", || (platform.web("fresh", "/app.json").status == 200).then_some(()));
}

#[test]
fn what_is_wrong_with_a_setup_is_told() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = Platform::start();
    let server = [("server.py", SERVER), ("Procfile", "web: exec python3 -u server.py\n")];
    let with = |manifest: &str| {
        let mut files = server.to_vec();
        files.push(("app.json", manifest));
        set_up(&platform, json!({ "source_blob": { "url": upload(&platform, &files) } }))
    };
    let none = set_up(&platform, json!({ "source_blob": { "url": upload(&platform, &server) } }));
    assert_eq!((&none["status"], &none["failure_message"]), (&json!("failed"), &json!("app.json not found")));
    let required = with(r#"{"env":{"FOO":{"description":"needed"}}}"#);
    assert_eq!(required["manifest_errors"], json!(["config var FOO is required"]), "{required}");
    let addon = with(r#"{"addons":["nosuch:plan"]}"#);
    assert!(addon["manifest_errors"][0].as_str().unwrap().contains("nosuch:plan"), "{addon}");
    let script = with(r#"{"scripts":{"postdeploy":"echo sorry; exit 3"}}"#);
    assert_eq!((&script["status"], &script["postdeploy"]["exit_code"]), (&json!("failed"), &json!(3)), "{script}");
    assert!(script["postdeploy"]["output"].as_str().unwrap().contains("sorry"), "{script}");
    for body in [json!({}), json!({ "source_blob": { "url": "file:///etc/passwd" } })] {
        assert_eq!(platform.api("POST", "/app-setups", Some(body)).status, 422);
    }
    assert_eq!(platform.api("GET", "/app-setups/00000000-0000-4000-8000-000000000000", None).status, 404);
}

/// It goes on from the step that was begun, or says why it can not; what ran is not run again.
#[test]
fn a_killed_daemon_goes_on_with_the_setup() {
    if !root_or_skip("running dynos") {
        return;
    }
    let mut platform = Platform::start();
    let manifest = json!({
        "env": { "MADE": { "generator": "secret" }, "PLAIN": "1" },
        "scripts": { "postdeploy": "echo begun; sleep 2; echo over" },
    });
    let files = [("server.py", SERVER), ("Procfile", "web: exec python3 -u server.py\n"), ("app.json", &manifest.to_string())];
    for moment in ["asked", "build", "script"] {
        let name = format!("fresh-{moment}");
        let body = json!({ "source_blob": { "url": upload(&platform, &files) }, "app": { "name": name } });
        let asked = platform.api("POST", "/app-setups", Some(body));
        assert_eq!(asked.status, 202, "{}", asked.text);
        let path = format!("/app-setups/{}", asked.json()["id"].as_str().unwrap());
        eventually(moment, || {
            let there = match moment {
                "asked" => true,
                "build" => !platform.api("GET", &path, None).json()["build"].is_null(),
                _ => platform.log(&name).lines().any(|line| line.ends_with(": begun")),
            };
            there.then_some(())
        });
        platform.signal("KILL");
        platform.wait_end();
        platform.boot();
        let over = eventually("the setup is over", || {
            Some(platform.api("GET", &path, None).json()).filter(|setup| setup["status"] != "pending")
        });
        check("app-setup", &over);
        let why = over["failure_message"].as_str().unwrap_or_default();
        let told = ["The uploaded source is gone", "Build failed: ", "The postdeploy script was cut off"];
        match over["status"].as_str() {
            Some("succeeded") => {
                assert_eq!(over["postdeploy"]["exit_code"], 0, "{moment}: {over}");
                let config = platform.api("GET", &format!("/apps/{name}/config-vars"), None).json();
                assert_eq!((config["MADE"].as_str().map(str::len), &config["PLAIN"]), (Some(64), &json!("1")), "{moment}");
            }
            _ => assert!(told.iter().any(|text| why.starts_with(text)), "{moment}: {over}"),
        }
        println!("killed when {moment}: {} {why}", over["status"]);
        let log = platform.log(&name);
        let begun = log.lines().filter(|line| line.ends_with(": begun")).count();
        assert!(begun <= 1, "{moment}: the script ran once: {log}");
        let list = |what: &str| platform.api("GET", &format!("/apps/{name}/{what}"), None).json();
        assert!(list("builds").as_array().is_some_and(|all| all.len() <= 1), "{moment}: it was built once");
        let mut versions: Vec<u64> =
            list("releases").as_array().unwrap().iter().filter_map(|r| r["version"].as_u64()).collect();
        versions.sort_unstable();
        assert_eq!(versions, (1..=versions.len() as u64).collect::<Vec<_>>(), "{moment}");
    }
}
