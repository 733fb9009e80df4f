//! ps, run, logs, releases: what needs code that runs.

use super::*;
use std::io::Write;

/// A platform with an app that serves, deployed by git through the bridge.
fn deployed(family: &'static str) -> Option<Table> {
    if !root_or_skip("running dynos") {
        return None;
    }
    let mut table = Table::start(family)?;
    let repo = Repo::of("procfile");
    let to = table.platform.dir.path().join("code");
    std::fs::rename(repo.dir.path(), &to).unwrap();
    table.dir = to;
    table.platform.create("shop");
    table.shows("git:remote -a shop", &["set git remote heroku"]);
    let mut shell = Command::new("bash");
    let script = format!("eval \"$({BIN} heroku-env)\" && git push heroku main");
    shell.args(["-c", &script]).env_clear().current_dir(&table.dir);
    table.environment(&mut shell);
    let pushed = shell.stdin(Stdio::null()).output().unwrap();
    table.judge("git push heroku main", &pushed.into(), 0, &["Verifying deploy... done.", "main -> main"]);
    Some(table)
}

fn quantity(platform: &Platform, ptype: &str) -> i64 {
    got(platform, &format!("/apps/shop/formation/{ptype}"))["quantity"].as_i64().unwrap_or(-1)
}

#[test]
fn heroku_cli_ps_and_releases() {
    let Some(mut table) = deployed("ps and releases") else { return };
    eventually("it is up", || has(&table.platform, "/apps/shop/dynos", "state", "up").then_some(()));
    table.shows("ps", &["=== web (Standard-1X): ./bin/server (1)", "web.1: up"]);
    table.shows("ps --json", &["\"name\": \"web.1\""]);
    table.shows("ps:scale", &["web=1:Standard-1X", "worker=0:Standard-1X"]);
    table.line("ps:scale web=2 worker+1", 0, &["Scaling dynos... done", "web at 2:Standard-1X"], |p| {
        (quantity(p, "web"), quantity(p, "worker")) == (2, 1)
    });
    table.line("ps:scale worker=0:Standard-2X", 0, &["worker at 0:Standard-2X"], |p| {
        got(p, "/apps/shop/formation/worker")["size"] == "Standard-2X"
    });
    table.refused("ps:scale nothere=1", 2, &["Couldn't find that process type (nothere)."]);
    table.shows("ps:type", &["Process Types", "web", "Standard-1X"]);
    table.line("ps:type web=standard-2x", 0, &["Standard-2X"], |p| got(p, "/apps/shop/formation/web")["size"] == "Standard-2X");
    table.line("ps:scale web=1", 0, &["web at 1"], |p| quantity(p, "web") == 1);
    table.line("ps:wait", 0, &[], |p| has(p, "/apps/shop/dynos", "state", "up"));
    let first = got(&table.platform, "/apps/shop/dynos/web.1")["id"].clone();
    table.line("ps:restart web.1", 0, &["Restarting dyno web.1", "done"], |p| {
        eventually("it is another", || Some(got(p, "/apps/shop/dynos/web.1")["id"].clone()).filter(|id| *id != first));
        true
    });
    table.shows("ps:restart --process-type web", &["Restarting all web dynos", "done"]);
    table.shows("ps:restart", &["Restarting all dynos", "done"]);
    table.line("ps:stop web.1", 0, &["Stopping dyno web.1 on shop... done"], |_| true);
    table.refused("ps:stop web.9", 2, &["Error ID: not_found"]);
    table.refused("ps:autoscale:enable --min 1 --max 2", 1, &["Autoscaling is only available with"]);

    table.shows("releases", &["v3", "Deploy", "admin@localhost"]);
    table.shows("releases --json -n 1", &["\"version\": 3"]);
    table.shows("releases:info v3", &["Release v3", "admin@localhost"]);
    table.line("config:set A=1", 0, &["v4"], |p| newest_release(p, "shop")["version"] == 4);
    table.line("rollback v3", 0, &["Rolling back shop to v3... done, v5"], |p| {
        newest_release(p, "shop")["description"] == "Rollback to v3"
    });
    table.line("releases:rollback v4", 0, &["Rolling back shop to v4... done, v6"], |p| {
        newest_release(p, "shop")["description"] == "Rollback to v4"
    });
    table.refused("rollback v99", 2, &["Error ID: not_found"]);
    table.shows("releases:output v5", &["Release v5 has no release output available"]);
    table.refused("releases:retry", 2, &["App must have a release-phase command to use this command."]);
    table.end();
}

#[test]
fn heroku_cli_run_and_logs() {
    let Some(mut table) = deployed("run and logs").map(Table::apart) else { return };
    table.shows("logs -n 200", &["app[api]: Initial release", "heroku[web.1]: State changed from starting to up"]);
    table.shows("logs -n 200 --source app --dyno-name api", &["app[api]: Release v3 created"]);
    table.shows("run echo 'hello there'", &["hello there", "Running echo"]);
    table.line("run -x 'sh -c \"exit 4\"'", 4, &["Process exited with code 4"], |_| true);
    table.shows("run -x -e 'X=from;Y=env' -- 'echo $X-$Y-$DYNO'", &["from-env-run."]);
    table.shows("run --no-tty --size standard-2x -- 'cat /proc/self/comm'", &["cat"]);
    table.refused("run -s nothere ls", 2, &["Error ID: invalid_params"]);
    let mut fed = table.command("run --no-tty cat").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let child = fed.as_mut().unwrap();
    child.stdin.take().unwrap().write_all(b"one\ntwo\n").unwrap();
    let output = fed.unwrap().wait_with_output().unwrap();
    table.judge("run --no-tty cat < two lines", &output.into(), 0, &["one two"]);
    table.line("run:detached 'echo detached-$DYNO'", 0, &["Running", "done", "heroku logs"], |p| {
        p.wait_log("shop", "]: detached-run.");
        true
    });
    table.shows("run:inside web.1 -x -- 'echo in-$DYNO'", &["in-web.1"]);
    table.refused("run:inside web.9 ls", 2, &["Error ID: not_found"]);
    table.line("ps:stop --process-type web", 0, &["Stopping"], |_| true);
    the_tail_lasts(&mut table);
    table.end();
}

/// A tail shows what comes after it was opened, and ends by a signal.
fn the_tail_lasts(table: &mut Table) {
    let mut tail = table.command("logs --tail -n 1").stdout(Stdio::piped()).stdin(Stdio::null()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(tail.stdout.take().unwrap()));
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains('['), "{first}");
    table.platform.api("PATCH", "/apps/shop/config-vars", Some(serde_json::json!({ "TAILED": "1" })));
    let found = lines.map_while(Result::ok).any(|line| line.contains("Set TAILED config vars"));
    let stopped = Command::new("kill").arg("-TERM").arg(tail.id().to_string()).status().unwrap();
    tail.wait().unwrap();
    table.lines += 1;
    if !found || !stopped.success() {
        table.failures.push("heroku logs --tail: the tail lacks what came later".into());
    }
}
