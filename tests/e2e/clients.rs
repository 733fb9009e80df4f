//! Other clients of the Platform API: heroku3 (Python) and heroku-client (Node), as they are published.

use crate::support::*;
use std::{
    path::{Path, PathBuf},
    process::Command,
};

/// Where `tests/run` puts them.
fn installed(what: &str) -> Option<PathBuf> {
    let cache = std::env::var("TIDEMILL_CACHE").unwrap_or_else(|_| "/var/tmp/tidemill-tests".into());
    let found = Some(Path::new(&cache).join("clients-1").join(what)).filter(|path| path.exists());
    if found.is_none() {
        println!("SKIPPED: other clients are needed; tests/run installs them");
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
    }
    found
}

/// A platform with an app that serves; runs the client's script against it. Each of its lines must be good.
fn driven(called: &str, mut command: Command, script: &str) {
    let platform = Platform::start();
    platform.create("shop");
    Repo::of("procfile").deploy(&platform, "shop");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clients").join(script);
    command.arg(script).env_remove("HTTP_PROXY").env_remove("http_proxy");
    let output = command.env("SERVER", platform.base()).env("TOKEN", &platform.token).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let good = text.lines().filter(|line| line.starts_with("ok ")).count();
    let all = text.lines().count();
    println!("{called}: {good} of {all}");
    let bad: Vec<&str> = text.lines().filter(|line| !line.starts_with("ok ")).collect();
    assert!(bad.is_empty() && all > 10, "{bad:#?}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn clients_heroku3_of_python() {
    let Some(python) = installed("python/bin/python") else { return };
    if root_or_skip("running dynos") {
        driven("heroku3", Command::new(python), "heroku3_client.py");
    }
}

#[test]
fn clients_heroku_client_of_node() {
    let Some(modules) = installed("node/node_modules") else { return };
    if root_or_skip("running dynos") {
        let mut node = Command::new("node");
        node.env("NODE_PATH", modules);
        driven("heroku-client", node, "heroku_client.js");
    }
}
