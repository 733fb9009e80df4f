//! Our own command line against the real daemon: each family as text and as JSON, with its exit codes (`ux.md` 3), its
//! completion in real shells, and its man pages by a real reader.

use crate::support::*;
use serde_json::{Value, json};
use std::process::{Command, Output, Stdio};

struct Table {
    platform: Platform,
    lines: usize,
    failures: Vec<String>,
}

impl Table {
    fn start() -> Self {
        let platform = Platform::start();
        platform.create("shop");
        platform.create("next");
        Self { platform, lines: 0, failures: Vec::new() }
    }

    fn run(&mut self, line: &str) -> Output {
        self.lines += 1;
        let words = crate::heroku_cli::words(line);
        self.platform.cli(&words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// How it ends, what both outputs together hold, and what is true afterwards.
    fn line(&mut self, line: &str, exit: i32, holds: &[&str], effect: impl FnOnce(&Platform) -> bool) {
        let output = self.run(line);
        let both = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
        let missing: Vec<&&str> = holds.iter().filter(|part| !both.contains(**part)).collect();
        if output.status.code() != Some(exit) || !missing.is_empty() {
            self.failures.push(format!("tidemill {line}: ended with {:?}, lacks {missing:?}:\n{both}", output.status.code()));
        }
        if !effect(&self.platform) {
            self.failures.push(format!("tidemill {line}: it did not do it"));
        }
    }

    fn says(&mut self, line: &str, exit: i32, holds: &[&str]) {
        self.line(line, exit, holds, |_| true);
    }

    /// The result is JSON alone at the standard output, with this somewhere in it.
    fn json(&mut self, line: &str, holds: impl FnOnce(&Value) -> bool) {
        let output = self.run(&format!("{line} --json"));
        let value =
            serde_json::from_slice::<Value>(&output.stdout).ok().filter(|value| output.status.success() && holds(value));
        if value.is_none() {
            let both = [&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat();
            self.failures.push(format!("tidemill {line} --json: {:?}\n{both}", output.status.code()));
        }
    }

    fn end(self, what: &str) {
        println!("own command line, {what}: {} of {}", self.lines - self.failures.len().min(self.lines), self.lines);
        assert!(self.failures.is_empty(), "{}", self.failures.join("\n"));
    }
}

fn got(platform: &Platform, path: &str) -> Value {
    platform.api("GET", path, None).json()
}

fn has(list: &Value, field: &str, value: &str) -> bool {
    list.as_array().is_some_and(|all| all.iter().any(|one| one[field] == value))
}

#[test]
fn own_cli_pipelines_drains_webhooks_against_the_real_daemon() {
    let mut table = Table::start();
    let stage = |p: &Platform, app: &str| got(p, &format!("/apps/{app}/pipeline-couplings"))["stage"].clone();
    table.line("pipelines:create line -a shop -s staging", 0, &["Creating line pipeline... done"], |p| {
        stage(p, "shop") == "staging"
    });
    table.line("pipelines:add line -a next -s production", 0, &["Adding next to line pipeline"], |p| {
        stage(p, "next") == "production"
    });
    table.json("pipelines", |list| has(list, "name", "line"));
    table.says("pipelines:info line", 0, &["=== line", "shop", "staging", "next", "production"]);
    table.line("pipelines:update -a next -s development", 0, &["Changing next to development... done"], |p| {
        stage(p, "next") == "development"
    });
    table.says("pipelines:promote -a shop", 4, &["There is no app in the stage production."]);
    table.line("pipelines:rename line row", 0, &["Renaming line pipeline to row... done"], |p| {
        has(&got(p, "/pipelines"), "name", "row")
    });
    table.line("pipelines:remove -a next", 0, &["Removing next from its pipeline... done"], |p| stage(p, "next").is_null());
    table.line("pipelines:destroy row --no-input", 2, &["use --confirm row"], |p| has(&got(p, "/pipelines"), "name", "row"));
    table.line("pipelines:destroy row --confirm row", 0, &["Destroying row pipeline... done"], |p| {
        got(p, "/pipelines") == json!([])
    });
    table.says("pipelines:info row", 4, &["pipeline"]);

    let drain = "https://logs.shop.example/";
    table.line(&format!("drains:add {drain} -a shop"), 0, &["to shop... done"], |p| {
        has(&got(p, "/apps/shop/log-drains"), "url", drain)
    });
    table.json("drains -a shop", |list| has(list, "url", drain));
    table.says("drains -a shop", 0, &[drain, "d."]);
    table.says("drains:add nonsense -a shop", 2, &["Url is no URL"]);
    table.line(&format!("drains:remove {drain} -a shop"), 0, &["done"], |p| got(p, "/apps/shop/log-drains") == json!([]));
    table.says(&format!("drains:remove {drain} -a shop"), 4, &["Couldn't find that log drain."]);

    let add = "webhooks:add -a shop -i api:release -l notify -u https://hook.shop.example/";
    table.line(add, 0, &["Adding webhook to shop... done"], |p| {
        got(p, "/apps/shop/webhooks").as_array().map(Vec::len) == Some(1)
    });
    let id = got(&table.platform, "/apps/shop/webhooks")[0]["id"].as_str().unwrap_or_default().to_string();
    table.json("webhooks -a shop", |list| has(list, "id", &id));
    table.says("webhooks:deliveries -a shop", 0, &["There are no deliveries."]);
    table.line(&format!("webhooks:remove {id} -a shop"), 0, &["done"], |p| got(p, "/apps/shop/webhooks") == json!([]));
    table.says("webhooks:remove nothere -a shop", 4, &["Couldn't find that webhook."]);
    table.end("pipelines, drains, webhooks");
}

#[test]
fn own_cli_tokens_people_and_settings_against_the_real_daemon() {
    let mut table = Table::start();
    table.json("authorizations:create -d mine", |made| {
        made["access_token"]["token"].as_str().is_some_and(|t| t.starts_with("HRKU-"))
    });
    table.says("authorizations", 0, &["mine", "global"]);
    let list = got(&table.platform, "/oauth/authorizations");
    let mine = list.as_array().unwrap().iter().find(|one| one["description"] == "mine").map(|one| one["id"].clone());
    let id = mine.as_ref().and_then(Value::as_str).unwrap_or_default().to_string();
    table.line(&format!("authorizations:revoke {id}"), 0, &["done"], |p| {
        !has(&got(p, "/oauth/authorizations"), "description", "mine")
    });
    table.says("authorizations:revoke nothere", 4, &["Couldn't find that authorization."]);
    table.line("clients:create page https://page.example/", 0, &["=== page", "Secret:"], |p| {
        has(&got(p, "/oauth/clients"), "name", "page")
    });
    table.json("clients", |list| has(list, "name", "page"));
    table.json("sessions", |list| *list == json!([]));
    table.says("sessions", 0, &["There are no sessions."]);
    table.line("teams:create crew", 0, &["Creating team crew... done"], |p| has(&got(p, "/teams"), "name", "crew"));
    table.json("teams", |list| has(list, "name", "crew"));
    table.says("members -t crew", 0, &["admin@localhost", "admin"]);
    table.says("access -a shop", 0, &["admin@localhost", "owner"]);
    table.says("access:add nobody@shop.example -a shop", 2, &["There is no account nobody@shop.example"]);
    table.says("certs -a shop", 0, &["There are no certificates."]);
    table.says("certs:add /nothere /nothere -a shop", 2, &["/nothere"]);
    table.line("domains:add www.shop.example -a shop", 0, &["CNAME"], |p| {
        has(&got(p, "/apps/shop/domains"), "hostname", "www.shop.example")
    });
    table.json("domains -a shop", |list| has(list, "hostname", "www.shop.example"));
    let labs = "/apps/shop/features/runtime-dyno-metadata";
    table.line("labs:enable runtime-dyno-metadata -a shop", 0, &["done"], |p| got(p, labs)["enabled"] == true);
    table.json("features -a shop", |list| has(list, "name", "preboot"));
    table.json("maintenance:on -a shop", |app| app["maintenance"] == true);
    table.line("config:set KEY=1 -a shop", 0, &["Setting KEY"], |p| got(p, "/apps/shop/config-vars")["KEY"] == "1");
    table.json("releases -a shop", |list| list.as_array().is_some_and(|all| all.len() >= 3));
    table.says("usage:addons -a shop", 0, &["No add-on is metered."]);
    table.says("keys", 0, &["You have no SSH keys."]);
    table.says("regions", 0, &["This installation"]);
    table.says("stack -a shop", 0, &["* heroku-24"]);
    table.json("whoami", |account| account["email"] == "admin@localhost");
    exit_codes(&mut table);
    table.end("tokens, people, settings, exit codes");
}

#[test]
fn own_cli_builds_schedules_run_logs_hooks_against_the_real_daemon() {
    if !root_or_skip("running dynos") {
        return;
    }
    let mut table = Table::start();
    Repo::of("procfile").deploy(&table.platform, "shop");
    let count = |p: &Platform, what: &str| got(p, &format!("/apps/shop/{what}")).as_array().map(Vec::len);
    table.says("builds -a shop", 0, &["=== shop Builds", "succeeded"]);
    table.says("builds:output -a shop", 0, &["Procfile declares types", "Released v3"]);
    table.line("rebuild -a shop", 2, &["came by git push"], |p| count(p, "builds") == Some(1));
    let page = Repo::of("procfile");
    let made = format!("builds:create --dir {} -a shop", page.dir.path().display());
    table.line(&made, 0, &["Released v4"], |p| count(p, "builds") == Some(2));
    table.line("rebuild -a shop", 0, &["Released v5"], |p| count(p, "builds") == Some(3));
    table.json("builds -n 1 -a shop", |list| list.as_array().is_some_and(|all| all.len() == 1));
    table.says("builds:cancel -a shop", 4, &["No build of shop is running."]);
    table.says("builds:rebuild nothere -a shop", 4, &["Couldn't find that build."]);
    table.says("builds:create --source-url ftp://x -a shop", 2, &["must be an http or https URL"]);
    table.says("builds:create --dir nothere -a shop", 2, &["nothere is no folder."]);
    table.says("releases:info v3 -a shop", 0, &["=== Release v3", "Deploy"]);
    table.says("rollback v99 -a shop", 4, &["Couldn't find that release."]);

    table.line("schedule:add hourly -a shop -- ./bin/mail --all", 0, &["first run"], |p| count(p, "schedules") == Some(1));
    table.json("schedule -a shop", |list| list[0]["command"].as_str().is_some_and(|c| c.contains("--all")));
    table.says("schedule:add never -a shop -- true", 2, &["no cron expression"]);
    let id = got(&table.platform, "/apps/shop/schedules")[0]["id"].as_str().unwrap_or_default().to_string();
    table.line(&format!("schedule:remove {id} -a shop"), 0, &["done"], |p| count(p, "schedules") == Some(0));
    table.says(&format!("schedule:remove {id} -a shop"), 4, &["Couldn't find that schedule."]);

    table.says("run -a shop -- 'echo hello; exit 7'", 7, &["hello"]);
    table.says("run 'echo at the end' -a shop", 0, &["at the end"]);
    table.says("run true -a shpo", 4, &["Did you mean shop?"]);
    table.says("ps:wait -a shop", 0, &["done"]);
    table.says("run:inside web.1 -a shop -- echo inside", 0, &["inside"]);
    table.says("run:inside web.9 -a shop -- true", 4, &["Couldn't find that dyno."]);
    table.line("run:detached -a shop -- 'echo from-afar'", 0, &["view the output"], |p| {
        p.wait_log("shop", ": from-afar").contains("from-afar")
    });
    table.says("logs -a shop --grep from-afar", 0, &["app[run.", ": from-afar"]);
    let lines = table.run("logs -a shop -n 3 --json");
    let objects = String::from_utf8_lossy(&lines.stdout).lines().filter(|l| serde_json::from_str::<Value>(l).is_ok()).count();
    assert_eq!(objects, 3, "one object for each line: {lines:?}");
    table.says("logs -a nothere", 4, &["Couldn't find that app."]);
    hooks(&mut table);
    lists_print_ids(&mut table);
    table.end("builds, schedules, run, logs, webhooks");
}

/// A hook whose receiver is not there: what is due to it is seen all the same.
fn hooks(table: &mut Table) {
    table.says("webhooks:add -a shop -i api:release -l notify -u http://127.0.0.1:9/", 0, &["Webhooks Signing Secret"]);
    table.says("config:set HOOKED=1 -a shop", 0, &["Setting HOOKED"]);
    eventually("a delivery", || (got(&table.platform, "/apps/shop/webhook-deliveries")[0]["id"].is_string()).then_some(()));
    let first =
        |p: &Platform, what: &str| got(p, &format!("/apps/shop/{what}"))[0]["id"].as_str().unwrap_or_default().to_string();
    let (hook, event) = (first(&table.platform, "webhooks"), first(&table.platform, "webhook-events"));
    let delivery = first(&table.platform, "webhook-deliveries");
    table.says("webhooks:deliveries -a shop", 0, &[&delivery, "api:release"]);
    table.says(&format!("webhooks:deliveries:info {delivery} -a shop"), 0, &["status:", "api:release"]);
    table.json("webhooks:events -a shop", |list| has(list, "id", &event));
    table.says(&format!("webhooks:events:info {event} -a shop"), 0, &["\"action\": \"create\""]);
    table.line(&format!("webhooks:update {hook} -a shop -l sync"), 0, &["done"], |p| {
        got(p, "/apps/shop/webhooks")[0]["level"] == "sync"
    });
    table.json(&format!("webhooks:info {hook} -a shop"), |shown| shown["level"] == "sync");
    table.line(&format!("webhooks:remove {hook} -a shop"), 0, &["done"], |p| got(p, "/apps/shop/webhooks") == json!([]));
}

/// `-q` prints an id on each line, and nothing is said beside it.
fn lists_print_ids(table: &mut Table) {
    for verb in
        ["apps", "builds", "releases", "ps", "domains", "access", "features", "labs", "authorizations", "stack", "regions"]
    {
        let output = table.run(&format!("{verb} -q -a shop"));
        let text = String::from_utf8_lossy(&output.stdout);
        let ids = text.lines().filter(|line| line.len() == 36 && line.split('-').count() == 5).count();
        if !output.status.success() || !output.stderr.is_empty() || ids == 0 || ids != text.lines().count() {
            table.failures.push(format!("tidemill {verb} -q: {output:?}"));
        }
    }
}

/// 0 is everywhere above; the others, and what comes near to a word that is wrong.
fn exit_codes(table: &mut Table) {
    table.says("mainteance -a shop", 2, &["mainteance is no tidemill command.", "Did you mean maintenance?"]);
    table.says("ps -a shpo", 4, &["Couldn't find that app.", "Did you mean shop?"]);
    table.says("config:get KYE -a shop", 4, &["There is no config var KYE.", "Did you mean KEY?"]);
    table.line("apps:destroy -a next --no-input", 2, &["use --confirm next"], |p| got(p, "/apps/next")["name"] == "next");
    table.says("apps:create shop", 2, &["already taken"]);
    let alone = |host: &str, key: &str| {
        let mut command = Command::new(BIN);
        command.args(["apps", "--no-input"]).env_clear().env("HOME", table.platform.dir.path());
        command.env("TIDEMILL_HOST", host).env("TIDEMILL_API_KEY", key).stdin(Stdio::null()).output().unwrap().status.code()
    };
    let base = table.platform.base();
    assert_eq!(alone(&base, "wrong"), Some(3), "not signed in");
    assert_eq!(alone("http://127.0.0.1:9", "any"), Some(6), "nobody is there");
}

/// Runs a shell's script, or says that it is skipped.
fn by_shell(platform: &Platform, shell: &str, script: &str) -> Option<String> {
    let path = format!("{}:{}", std::path::Path::new(BIN).parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut command = Command::new(shell);
    command.args(["-c", script]).env_clear().env("PATH", path).env("HOME", platform.dir.path()).env("TERM", "dumb");
    command.env("TIDEMILL_HOST", platform.base()).env("TIDEMILL_API_KEY", &platform.token).stdin(Stdio::null());
    let Ok(output) = command.output() else {
        println!("SKIPPED: this needs {shell}; tests/run installs it");
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
        return None;
    };
    Some([&output.stdout[..], &output.stderr[..]].map(String::from_utf8_lossy).concat())
}

#[test]
fn own_cli_completes_live_app_names_in_zsh_and_fish() {
    let platform = Platform::start();
    platform.create("shop");
    let fish = "tidemill completion fish | source; complete -C 'tidemill ps -a sh'; complete -C 'tidemill mainten'";
    if let Some(said) = by_shell(&platform, "fish", fish) {
        assert!(said.lines().any(|line| line == "shop"), "{said}");
        assert!(said.contains("maintenance:on\t"), "{said}");
    }
    // The function is run with what the shell would have set, and with a stand-in for the shell's own menu.
    let zsh = "compdef() { :; }; _describe() { print -l -- ${(P)2}; }; _files() { :; }; eval \"$(tidemill completion zsh)\"; \
               words=(tidemill ps -a sh); CURRENT=4; _tidemill; words=(tidemill mainten); CURRENT=2; _tidemill";
    if let Some(said) = by_shell(&platform, "zsh", zsh) {
        assert!(said.lines().any(|line| line.starts_with("shop")), "{said}");
        assert!(said.contains("maintenance:on:Switch"), "{said}");
    }
}

#[test]
fn own_cli_man_pages_are_read_without_a_complaint() {
    let platform = Platform::start();
    let pages = platform.dir.path().join("man1");
    let made = platform.cli(&["man", &pages.display().to_string()]);
    assert!(made.status.success(), "{made:?}");
    let script =
        format!("mandoc -Tlint -W error {0}/*.1; mandoc -Tascii {0}/tidemill-ps.1 | col -b 2>/dev/null", pages.display());
    let Some(said) = by_shell(&platform, "bash", &format!("command -v mandoc >/dev/null || exit 127; {script}")) else {
        return;
    };
    if said.is_empty() {
        println!("SKIPPED: man pages need mandoc; tests/run installs it");
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
        return;
    }
    assert!(!said.contains("ERROR") && !said.contains("BADARG"), "{said}");
    assert!(said.contains("tidemill-ps - Dynos of an app") && said.contains("tidemill ps:scale web+1 -a shop"), "{said}");
}
