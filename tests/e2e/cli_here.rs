//! The command line by itself and beside the daemon: help, completion, man pages, documents, and the verbs whose resources
//! the daemon has.

use crate::{
    schema,
    support::{BIN, Platform, Repo, root_or_skip},
};
use serde_json::Value;
use std::{
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

fn text(output: &Output) -> (i32, String, String) {
    let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), string(&output.stdout), string(&output.stderr))
}

/// Without a server.
fn alone(args: &[&str]) -> (i32, String, String) {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(BIN);
    command.args(args).env_clear().env("PATH", std::env::var("PATH").unwrap()).env("HOME", home.path());
    text(&command.current_dir(home.path()).stdin(Stdio::null()).output().unwrap())
}

fn verbs() -> Vec<String> {
    let (_, out, _) = alone(&["commands", "--json"]);
    let all: Value = serde_json::from_str(&out).unwrap();
    all.as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap().to_string()).collect()
}

#[test]
fn help_is_the_same_by_every_way_and_begins_with_examples() {
    let all = verbs();
    assert!(all.len() > 150, "{}", all.len());
    for verb in all.iter().filter(|v| {
        !["serve", "install", "uninstall", "demo", "init", "setup-link", "machine:swap", "stack:import", "heroku", "heroku-env"]
            .contains(&v.as_str())
    }) {
        let (code, help, err) = alone(&["help", verb]);
        assert_eq!((code, err.as_str()), (0, ""), "{verb}");
        assert_eq!(alone(&[verb, "--help"]).1, help);
        assert_eq!(alone(&[verb, "-h"]).1, help);
        let examples = help.find("EXAMPLES").unwrap_or(0);
        assert!(help.contains(&format!("USAGE\n  tidemill {verb}")) && examples < help.find("USAGE").unwrap(), "{help}");
    }
    let (code, root, _) = alone(&["help"]);
    assert!(code == 0 && root == alone(&["--help"]).1 && root == alone(&["-h"]).1 && root == alone(&[]).1, "{root}");
    assert_eq!(alone(&["help", "ps", "scale"]).1, alone(&["help", "ps:scale"]).1);
    assert!(alone(&["help", "ps"]).1.contains("ps:wait"));
}

#[test]
fn what_is_no_verb_is_answered_with_the_likely_one() {
    for (args, wanted) in [
        (&["ps:scal"][..], "Did you mean ps:scale?"),
        (&["ps", "scal", "web=1"], "ps:scal is no tidemill command.\n !    Did you mean ps:scale?"),
        (&["lgos"], "Did you mean logs"),
        (&["config", "ste"], "Did you mean config:set"),
        (&["help", "pipelnes"], "Did you mean pipelines?"),
    ] {
        let (code, out, err) = alone(args);
        assert!(code == 2 && out.is_empty() && err.contains(wanted), "{args:?}: {out}{err}");
    }
    let (code, _, err) = alone(&["ps:scale", "--nope"]);
    assert!(code == 2 && err.contains("--nope"), "{err}");
    let (code, _, err) = alone(&["apps"]);
    assert!(code == 3 && err.contains("tidemill login URL"), "{err}");
    let (code, _, err) = alone(&["login", "http://127.0.0.1:1", "-i"]);
    assert!(code == 2 && err.contains("--token"), "{err}");
}

#[test]
fn the_page_of_commands_is_up_to_date() {
    let (_, page, _) = alone(&["commands", "--markdown"]);
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/docs/cli.md");
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
        std::fs::write(&golden, &page).unwrap();
    }
    let kept = std::fs::read_to_string(golden).unwrap_or_default();
    assert!(page == kept, "a command changed; look at it, then run with WRITE_GOLDEN=1");
}

#[test]
fn there_is_a_man_page_for_each_topic() {
    let dir = tempfile::tempdir().unwrap();
    let (code, _, err) = alone(&["man", &dir.path().display().to_string()]);
    assert_eq!(code, 0, "{err}");
    let page = std::fs::read_to_string(dir.path().join("tidemill-ps.1")).unwrap();
    assert!(page.starts_with(".TH TIDEMILL\\-PS 1") || page.starts_with(".TH TIDEMILL-PS 1"), "{page}");
    assert!(page.find(".SH EXAMPLES").unwrap() < page.find(".SH COMMANDS").unwrap(), "examples come first");
    let first = std::fs::read_to_string(dir.path().join("tidemill.1")).unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap().flatten() {
        let name = entry.file_name().to_string_lossy().replace(".1", "");
        assert!(first.contains(&name.replace('-', "\\-")), "{name} is named on the first page");
        let page = std::fs::read_to_string(entry.path()).unwrap();
        assert!(page.lines().all(|l| !l.starts_with('\'')), "{name}");
    }
}

#[test]
fn shells_complete_verbs_and_live_names() {
    let platform = Platform::start();
    platform.create("shop");
    assert_eq!(text(&platform.cli(&["config:set", "DATABASE=x", "-a", "shop"])).0, 0);
    let complete = |words: &[&str]| {
        let out = text(&platform.cli(&[&["__complete"], words].concat())).1;
        out.lines().map(|l| l.split('\t').next().unwrap().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(complete(&["ps:sc"]), ["ps:scale"]);
    assert_eq!(complete(&["ps", "sc"]), ["scale"]);
    assert_eq!(complete(&["info", "-a", "s"]), ["shop"]);
    assert_eq!(complete(&["config:get", "-a", "shop", "DA"]), ["DATABASE"]);
    assert_eq!(complete(&["stack:set", "heroku"]), ["heroku-24"]);
    let cache = platform.dir.path().join(".cache/tidemill");
    for entry in std::fs::read_dir(cache).unwrap().flatten() {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!std::fs::read_to_string(entry.path()).unwrap().contains("\"x\""), "no values of config vars are kept");
    }
    // The script in a real bash, where a colon parts words.
    let script = text(&platform.cli(&["completion", "bash"])).1;
    let bin = Path::new(BIN).parent().unwrap().display().to_string();
    for (line, wanted) in [("tidemill ps:sc", "scale"), ("tidemill info -a s", "shop"), ("tidemill rel", "releases")] {
        let test = format!(
            "{script}\nCOMP_LINE='{line}'; COMP_POINT={}; compopt() {{ :; }}; _tidemill; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            line.len()
        );
        let output = Command::new("bash")
            .args(["--norc", "-c", &test])
            .env_clear()
            .env("PATH", format!("{bin}:{}", std::env::var("PATH").unwrap()))
            .env("HOME", platform.dir.path())
            .env("TIDEMILL_HOST", platform.base())
            .env("TIDEMILL_API_KEY", &platform.token)
            .output()
            .unwrap();
        assert!(text(&output).1.lines().any(|l| l == wanted), "{line}: {output:?}");
    }
    assert!(alone(&["completion", "zsh"]).1.starts_with("#compdef tidemill"));
    assert!(alone(&["completion", "fish"]).1.contains("complete -c tidemill"));
    assert_eq!(alone(&["completion", "tcsh"]).0, 2);
}

#[test]
fn config_vars_come_back_as_they_went_in() {
    let platform = Platform::start();
    platform.create("shop");
    let file = platform.dir.path().join("vars.env");
    std::fs::write(&file, "# mine\nexport A=1\nB=\"two\\nlines $X\"\nC='quote \" here'\n").unwrap();
    let (code, _, err) = text(&platform.cli(&["config:set", "--from-file", "vars.env", "D=@vars.env", "-a", "shop"]));
    assert!(code == 0 && err.contains("Setting A, B, C, D and restarting shop... done, v3"), "{err}");
    let get = |key: &str| text(&platform.cli(&["config:get", key, "-a", "shop"])).1;
    assert_eq!((get("B").as_str(), get("C").as_str()), ("two\nlines $X\n", "quote \" here\n"));
    assert_eq!(get("D"), format!("{}\n", std::fs::read_to_string(&file).unwrap()));
    let (code, _, err) = text(&platform.cli(&["config:unset", "D", "-a", "shop"]));
    assert_eq!(code, 0, "{err}");
    let edit = |editor: &str, args: &[&str]| {
        let program = platform.dir.path().join("editor");
        std::fs::write(&program, format!("#!/bin/sh\n{editor}\n")).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let mut command = Command::new(BIN);
        command.args(["config:edit", "-a", "shop"]).args(args).env_clear().env("PATH", std::env::var("PATH").unwrap());
        command.env("HOME", platform.dir.path()).env("TIDEMILL_HOST", platform.base()).env("TIDEMILL_API_KEY", &platform.token);
        // Words of the variable are arguments; no shell reads it.
        command.env("EDITOR", format!("{} $HOME", program.display())).stdin(Stdio::null());
        text(&command.output().unwrap())
    };
    let (code, _, err) =
        edit("test \"$1\" = '$HOME' && sed -i -e 's/^A=1/A=2/' -e '/^C=/d' \"$2\" && echo 'E=new' >> \"$2\"", &[]);
    assert!(code == 0 && err.contains("- A=1\n+ A=2") && err.contains("- C=quote") && err.contains("+ E=new"), "{err}");
    assert_eq!((get("A").as_str(), get("B").as_str(), get("E").as_str()), ("2\n", "two\nlines $X\n", "new\n"));
    assert_eq!(text(&platform.cli(&["config:get", "C", "-a", "shop"])).0, 4);
    let (code, _, err) = edit("true", &[]);
    assert!(code == 0 && err.contains("Nothing was changed"), "{err}");
    let (code, _, err) = edit("exit 1", &[]);
    assert!(code == 1 && err.contains("The editor failed"), "{err}");
    let (code, _, err) = edit("printf 'whole\\nfile\\n' > \"$2\"", &["MOTD"]);
    assert!(code == 0, "{err}");
    assert_eq!(get("MOTD"), "whole\nfile\n");
    let other = format!("\"{BIN}\" config:set F=1 -a shop >/dev/null 2>&1; echo G=1 >> \"$2\"");
    let (code, _, err) = edit(&other, &[]);
    assert!(code == 5 && err.contains("changed the config vars meanwhile"), "{err}");
    assert_eq!(text(&platform.cli(&["config:get", "G", "-a", "shop"])).0, 4);
    let (code, _, err) = text(&platform.cli(&["config:get", "MOTT", "-a", "shop"]));
    assert!(code == 4 && err.contains("Did you mean MOTD?"), "{err}");
    let (code, _, err) = text(&platform.cli(&["config:unset", "MOTT", "-a", "shop"]));
    assert!(code == 4 && err.contains("Nothing was removed"), "{err}");
}

#[test]
fn apps_builds_and_dynos_of_the_daemon() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = Platform::start();
    let run = |args: &[&str]| {
        let (code, out, err) = text(&platform.cli(args));
        assert_eq!(code, 0, "{args:?}: {out}{err}");
        (out, err)
    };
    let json = |args: &[&str]| -> Value { serde_json::from_str(&run(&[args, &["--json"]].concat()).0).unwrap() };
    schema::check("app", &json(&["create", "shop", "--stack", "heroku-24"]));
    schema::check_list("app", &json(&["apps"]));
    schema::check("app", &json(&["info", "-a", "shop"]));
    schema::check("account", &json(&["whoami"]));
    assert_eq!(run(&["apps", "-q"]).0.trim().len(), 36);
    assert!(run(&["info", "-s", "-a", "shop"]).0.contains("name=shop\n"));
    let repo = Repo::of("procfile");
    repo.deploy(&platform, "shop");
    let here = |args: &[&str]| {
        let mut command = Command::new(BIN);
        command.args(args).env_clear().env("PATH", std::env::var("PATH").unwrap()).env("HOME", platform.dir.path());
        command.env("TIDEMILL_HOST", platform.base()).env("TIDEMILL_API_KEY", &platform.token);
        text(&command.current_dir(repo.dir.path()).stdin(Stdio::null()).output().unwrap())
    };
    let (code, out, err) = here(&["git:remote", "-a", "shop"]);
    assert!(code == 0 && out.contains(&format!("{}/shop.git", platform.base())), "{out}{err}");
    assert_eq!(here(&["info", "-q"]).0, 0, "the app comes from the remote");
    run(&["create", "blog", "--no-remote"]);
    assert_eq!(here(&["git:remote", "-r", "other", "-a", "blog"]).0, 0);
    let (code, _, err) = here(&["info"]);
    assert!(code == 2 && err.contains("blog (other), shop (tidemill)"), "{err}");
    assert!(here(&["info", "-r", "other"]).1.contains("=== blog"));
    let (code, _, err) = here(&["info", "-r", "nowhere"]);
    assert!(code == 2 && err.contains("git remote nowhere"), "{err}");
    // Builds without a push.
    let (code, out, err) = here(&["builds:create", "-a", "shop"]);
    assert!(code == 0 && out.contains("Procfile declares types"), "{out}{err}");
    let build = json(&["builds:info", "-a", "shop"]);
    schema::check("build", &build);
    assert_eq!(build["source_blob"]["version"].as_str(), Some(repo.git(&["rev-parse", "HEAD"]).as_str()));
    assert_eq!(json(&["releases", "-a", "shop"])[0]["version"], 4);
    schema::check_list("release", &json(&["releases", "-a", "shop"]));
    schema::check("release", &json(&["releases:info", "-a", "shop"]));
    schema::check_list("build", &json(&["builds", "-a", "shop"]));
    schema::check_list("formation", &json(&["ps:scale", "-a", "shop"]));
    assert!(run(&["ps:wait", "-a", "shop", "-w", "1", "--timeout", "60"]).1.contains("running v4... done"));
    schema::check_list("dyno", &json(&["ps", "-a", "shop"]));
    assert!(run(&["ps:type", "web=Standard-2X", "-a", "shop"]).0.contains("web      Standard-2X  1"));
    assert!(run(&["ps:type", "-a", "shop"]).0.contains("worker   Standard-1X  0"));
    let (code, _, err) = text(&platform.cli(&["ps:scale", "wbe=1", "-a", "shop"]));
    assert!(code == 4 && err.contains("Did you mean web?"), "{err}");
    let (code, out, err) = text(&platform.cli(&["ps:exec", "-a", "shop", "--", "echo", "from inside"]));
    assert!(code == 0 && out == "from inside\n", "{out}{err}");
    let (out, err) = run(&["rollback", "-a", "shop"]);
    assert!(err.contains("Rolling back shop to v3... done, v5 (code of v3, config of v3)") && out.is_empty(), "{err}");
    assert!(err.contains("To undo: tidemill rollback v4 -a shop"), "{err}");
    let log = run(&["logs", "-a", "shop", "--grep", "Release v4", "--since", "1h"]).0;
    assert!(log.lines().count() >= 1 && log.lines().all(|l| l.contains("Release v4")), "{log}");
    assert!(run(&["status"]).0.contains("shop"));
    assert!(run(&["usage"]).0.contains("Standard-2X"));
    assert!(run(&["apps:diff", "shop", "blog"]).0.contains("code"));
    schema::check_list("domain", &json(&["domains", "-a", "shop"]));
    assert!(run(&["domains:add", "www.x.example", "-a", "shop"]).1.contains("Adding www.x.example on shop... done"));
    run(&["domains:clear", "--confirm", "shop", "-a", "shop"]);
    schema::check("app", &json(&["maintenance:on", "-a", "shop"]));
    assert_eq!(run(&["maintenance", "-a", "shop"]).0, "on\n");
    let (out, err) = run(&["rename", "store", "-a", "blog"]);
    assert!(err.contains("Renaming blog to store... done") && out.contains("/store.git"), "{out}{err}");
    let (code, _, err) = text(&platform.cli(&["info", "-a", "stoer"]));
    assert!(code == 4 && err.contains("Did you mean store?"), "{err}");
    assert_eq!(run(&["destroy", "-a", "store", "--confirm", "store", "-q"]).1, "");
}

#[test]
fn a_tail_goes_on_over_a_restart() {
    if !root_or_skip("running dynos") {
        return;
    }
    // A tail is open while the daemon ends.
    let mut platform = Platform::start_with(&["--shutdown-s", "1"]);
    platform.create("shop");
    let file = platform.dir.path().join("tail");
    let mut child = Command::new(BIN)
        .args(["logs", "-t", "-a", "shop"])
        .env_clear()
        .env("HOME", platform.dir.path())
        .env("TIDEMILL_HOST", platform.base())
        .env("TIDEMILL_API_KEY", &platform.token)
        .stdout(std::fs::File::create(&file).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let seen = |needle: &str| {
        crate::support::eventually(&format!("{needle:?} in the tail"), || {
            Some(std::fs::read_to_string(&file).unwrap()).filter(|t| t.contains(needle))
        })
    };
    assert_eq!(text(&platform.cli(&["config:set", "A=1", "-a", "shop"])).0, 0);
    seen("Release v3 created");
    platform.signal("TERM");
    platform.wait_end();
    platform.boot();
    assert_eq!(text(&platform.cli(&["config:set", "B=1", "-a", "shop"])).0, 0);
    let tail = seen("Release v4 created");
    child.kill().unwrap();
    child.wait().unwrap();
    let mut lines: Vec<&str> = tail.lines().collect();
    let count = lines.len();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), count, "no line comes twice: {tail}");
}

#[test]
fn people_and_teams_of_the_daemon() {
    let platform = Platform::start();
    let run = |args: &[&str]| {
        let (code, out, err) = text(&platform.cli(args));
        assert_eq!(code, 0, "{args:?}: {out}{err}");
        (out, err)
    };
    let json = |args: &[&str]| -> Value { serde_json::from_str(&run(&[args, &["--json"]].concat()).0).unwrap() };
    let (out, err) = run(&["members:add", "bo@example.com", "--role", "member"]);
    assert!(out.contains("/invite/") && err.contains("72 hours"), "{out}{err}");
    let (out, _) = run(&["members"]);
    assert!(out.contains("admin@localhost  admin") && out.contains("bo@example.com   member  (invited)"), "{out}");
    assert!(run(&["members", "remove", "bo@example.com"]).1.contains("done"));
    schema::check("team", &json(&["teams:create", "acme"]));
    schema::check_list("team", &json(&["teams"]));
    schema::check_list("team-member", &json(&["members", "-t", "acme"]));
    assert!(run(&["members:add", "cy@example.com", "-t", "acme"]).0.contains("/invite/"));
    assert!(run(&["teams:info", "acme"]).0.contains("Members:    admin@localhost"));
    schema::check("team-app", &json(&["create", "shop", "-t", "acme", "-n"]));
    assert_eq!(run(&["apps", "-t", "acme"]).0, "shop\n");
    assert!(run(&["lock", "-a", "shop"]).1.contains("Locking shop... done"));
    assert!(run(&["unlock", "-a", "shop"]).1.contains("done"));
    let (code, _, err) = text(&platform.cli(&["teams:destroy", "acme", "--confirm", "acme"]));
    assert!(code == 5 && err.contains("shop"), "{err}");
    run(&["destroy", "-a", "shop", "--confirm", "shop"]);
    run(&["teams:rename", "acme", "umbra"]);
    run(&["teams:destroy", "umbra", "--confirm", "umbra"]);
    std::fs::write(
        platform.dir.path().join("key.pub"),
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8g ana@laptop\n",
    )
    .unwrap();
    schema::check("key", &json(&["keys:add", "key.pub"]));
    assert!(run(&["keys"]).0.starts_with("ana@laptop  "));
    assert!(run(&["keys:remove", "ana@laptop"]).1.contains("done"));
    assert!(run(&["regions"]).0.contains("local"));
    run(&["create", "blog"]);
    schema::check_list("collaborator", &json(&["access", "-a", "blog"]));
    assert!(run(&["activity", "-a", "blog"]).0.contains("admin@localhost"));
    assert!(run(&["activity", "-n", "50"]).0.contains("blog"));
    let (code, _, err) = text(&platform.cli(&["members:set", "nobody@example.com", "--role", "admin"]));
    assert!(code == 4 && err.contains("Couldn't find"), "{err}");
}

/// A debug build on a shared machine is slower than the limit of 5 ms for the shipped one, and measured all the same: the
/// best of ten, so that neighbours do not count.
#[test]
fn it_starts_at_once() {
    let best = (0..10)
        .map(|_| {
            let begun = Instant::now();
            assert!(Command::new(BIN).arg("version").output().unwrap().status.success());
            begun.elapsed()
        })
        .min()
        .unwrap();
    println!("tidemill version: {best:?}");
    assert!(best < Duration::from_millis(50), "{best:?}");
}
