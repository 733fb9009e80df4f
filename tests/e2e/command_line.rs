//! The command line against a real daemon, and the demo.

use crate::support::{BIN, Platform, Repo, root_or_skip};
use std::process::{Command, Output};

fn text(output: &Output) -> (i32, String, String) {
    let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), string(&output.stdout), string(&output.stderr))
}

#[test]
fn the_journey_of_a_user() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = Platform::start();
    let run = |args: &[&str]| {
        let (code, out, err) = text(&platform.cli(args));
        assert_eq!(code, 0, "{args:?}: {err}");
        (out, err)
    };
    assert!(run(&["login", &platform.base()]).1.contains("as admin@localhost"));
    let (out, err) = run(&["create", "shop"]);
    assert!(err.contains("Creating app... done, shop, stack is heroku-24") && out.contains("/shop.git"), "{out}{err}");
    Repo::of("procfile").deploy(&platform, "shop");
    assert_eq!(run(&["apps"]).0, "shop\n");
    assert!(run(&["info", "-a", "shop"]).0.contains("Web URL:"));
    let (out, err) = run(&["config:set", "A=1", "B=two words", "-a", "shop"]);
    assert!(err.contains("Setting A, B and restarting shop... done, v4") && out.contains("B:  two words"), "{out}{err}");
    assert_eq!(run(&["config:get", "B", "-a", "shop"]).0, "two words\n");
    assert!(run(&["config", "-s", "-a", "shop"]).0.contains("B='two words'"));
    assert!(run(&["config:unset", "A", "-a", "shop"]).1.contains("v5"));
    assert!(run(&["ps", "-a", "shop"]).0.contains("=== web (Standard-1X): ./bin/server (1)"));
    assert!(run(&["ps", "scale", "web=2", "-a", "shop"]).1.contains("web at 2:Standard-1X"));
    assert_eq!(run(&["ps:scale", "-a", "shop"]).0, "web=2:Standard-1X worker=0:Standard-1X\n");
    assert!(run(&["ps:restart", "web.1", "-a", "shop"]).1.contains("done"));
    assert!(run(&["releases", "-a", "shop"]).0.contains("v5 (current)"));
    assert!(run(&["rollback", "v4", "-a", "shop"]).1.contains("done, v6"));
    assert!(run(&["builds", "-a", "shop"]).0.contains("succeeded"));
    assert!(run(&["builds:output", "-a", "shop"]).0.contains("Procfile declares types"));
    run(&["buildpacks:set", "heroku/procfile", "-a", "shop"]);
    run(&["buildpacks:add", "heroku/python", "--index", "1", "-a", "shop"]);
    assert_eq!(run(&["buildpacks", "-a", "shop"]).0, "1. heroku/python\n2. heroku/procfile\n");
    run(&["buildpacks:clear", "-a", "shop"]);
    assert!(run(&["logs", "-n", "500", "-s", "app", "-d", "api", "-a", "shop"]).0.contains("app[api]: Release v3 created"));
    let json: serde_json::Value = serde_json::from_str(&run(&["releases", "-a", "shop", "--json"]).0).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 6);
    let (out, err) = run(&["run:detached", "-e", "X=from env", "-a", "shop", "--", "printf", "%s|%s\\n", "a b", "$X"]);
    assert!(
        err.contains("on shop... done, run.")
            && out.contains("tidemill logs -a shop -d run.")
            && out.ends_with(" to view the output.\n"),
        "{out}{err}"
    );
    platform.wait_log("shop", "]: a b|$X");
    let (_, err) = run(&["run:detached", "-a", "shop", "-e", "X=1", "echo \"x=$X\"; sleep 100"]);
    let name = err.trim().rsplit(' ').next().unwrap().to_string();
    platform.wait_log("shop", &format!("heroku[{name}]: State changed from starting to up"));
    assert!(run(&["ps:stop", &name, "-a", "shop"]).1.contains("done"));
    platform.wait_log("shop", &format!("heroku[{name}]: Process exited with status 143"));
    assert!(run(&["releases:output", "-a", "shop"]).1.contains("has no output"));
    let (out, err) = run(&["schedule:add", "30 4 * * *", "-a", "shop", "--", "./bin/clean", "all of it"]);
    assert!(err.contains("Scheduling './bin/clean' 'all of it' on shop... done") && out.contains("first run 20"), "{out}{err}");
    let id = run(&["schedule", "-a", "shop"]).0.split(' ').next().unwrap().to_string();
    assert!(run(&["schedule:remove", &id, "-a", "shop"]).1.contains("done"));
    assert!(run(&["version"]).0.starts_with("tidemill "));
    let (code, _, err) = text(&platform.cli(&["destroy", "-a", "shop"]));
    assert!(code == 2 && err.contains("--confirm shop"), "{err}");
    let (code, _, err) = text(&platform.cli(&["destroy", "-a", "shop", "--confirm", "other"]));
    assert!(code == 2 && err.contains("Nothing was destroyed"), "{err}");
    assert!(run(&["destroy", "-a", "shop", "--confirm", "shop"]).1.contains("done"));
}

#[test]
fn exit_codes_tell_what_is_wrong() {
    let platform = Platform::start();
    platform.create("shop");
    let code = |args: &[&str]| text(&platform.cli(args)).0;
    assert_eq!(code(&["info", "-a", "nope"]), 4);
    assert_eq!(code(&["info", "-a", "../x"]), 4);
    assert_eq!(code(&["create", "Bad Name"]), 2);
    assert_eq!(code(&["config:set", "novalue", "-a", "shop"]), 2);
    assert_eq!(code(&["nonsense"]), 2);
    assert_eq!(code(&["info"]), 2);
    assert_eq!(code(&["--help"]), 0);
    let output = Command::new(BIN)
        .args(["apps"])
        .env_clear()
        .env("HOME", platform.dir.path())
        .env("TIDEMILL_HOST", platform.base())
        .env("TIDEMILL_API_KEY", "wrong")
        .output();
    assert_eq!(text(&output.unwrap()).0, 3);
    let output = Command::new(BIN)
        .args(["apps"])
        .env_clear()
        .env("HOME", platform.dir.path())
        .env("TIDEMILL_HOST", "http://127.0.0.1:1")
        .env("TIDEMILL_API_KEY", "x")
        .output();
    assert_eq!(text(&output.unwrap()).0, 6);
}

#[test]
fn serve_tells_all_configuration_problems_at_once() {
    let output =
        Command::new(BIN).args(["serve", "--http", "nowhere", "--domain", "UPPER", "--boot-timeout-s", "x"]).output().unwrap();
    let (code, _, err) = text(&output);
    assert_eq!(code, 2);
    for key in ["http =", "domain =", "boot_timeout_s ="] {
        assert!(err.contains(key), "{err}");
    }
}

fn demo(as_nobody: bool) {
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("tidemill");
    std::fs::copy(BIN, &program).unwrap();
    let mut command = if as_nobody {
        use std::os::unix::fs::{PermissionsExt, chown};
        chown(dir.path(), Some(65534), Some(65534)).unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
        command
    } else {
        Command::new(&program)
    };
    let output = command
        .args(["demo", "--exit"])
        .env("TMPDIR", dir.path())
        .env("HOME", dir.path())
        .current_dir(dir.path())
        .output()
        .unwrap();
    let (code, out, err) = text(&output);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("$ git push tidemill main") && out.contains("Hello from Tidemill"), "{out}");
    if as_nobody {
        assert!(
            err.contains("not root") && err.contains("no memory, process and CPU limits"),
            "what is missing is told: {err}"
        );
    }
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().filter(|e| e.file_name() != "tidemill").collect();
    assert!(left.is_empty(), "it cleans up: {left:?}");
}

#[test]
fn the_demo_ends_well_as_root() {
    if root_or_skip("the demo as root") {
        demo(false);
    }
}

#[test]
fn the_demo_ends_well_without_root() {
    demo(root_or_skip("becoming nobody"));
}
