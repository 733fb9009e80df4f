//! auth, apps, git, config, domains, stacks, maintenance.

use super::*;

#[test]
fn heroku_cli_auth_and_apps() {
    let Some(mut table) = Table::start("auth and apps").map(Table::apart) else { return };
    table.shows("auth:whoami", &["admin@localhost"]);
    table.shows("whoami", &["admin@localhost"]);
    table.shows("auth:2fa", &["Two-factor authentication is not enabled"]);
    let token = table.platform.token.clone();
    let shown = table.output("auth:token");
    assert!(String::from_utf8_lossy(&shown.stdout).starts_with("bridge-"), "the key, not the token");
    assert!(![shown.stdout, shown.stderr].iter().any(|out| String::from_utf8_lossy(out).contains(&token)));
    table.line("logout", 0, &["Logging out"], |p| status(p, "/account") == 200);
    table.shows("version", &["heroku/11.10.0"]);
    table.refused("auth:login", 2, &["HEROKU_API_KEY"]);

    table.line("create shop", 0, &["Creating shop... done", "/shop.git"], |p| got(p, "/apps/shop")["name"] == "shop");
    table.line("apps:create --stack heroku-24 second", 0, &["Creating second... done"], |p| {
        got(p, "/apps/second")["stack"]["name"] == "heroku-24"
    });
    table.refused("create shop", 2, &["Name shop is already taken"]);
    table.refused("create Not_A_Name", 2, &["Name must start with a letter"]);
    let before = got(&table.platform, "/apps").as_array().map_or(0, Vec::len);
    table.line("create", 0, &["Creating app... done"], |p| got(p, "/apps").as_array().map_or(0, Vec::len) == before + 1);
    table.shows("apps", &["admin@localhost Apps", "second", "shop"]);
    table.shows("apps --json", &["\"name\": \"second\""]);
    table.shows("apps --all", &["shop"]);
    table.refused("maintenance -a nothere", 2, &["Couldn't find that app.", "Error ID: not_found"]);
    table.line("apps:rename third -a second", 0, &["Renaming second to third"], |p| {
        status(p, "/apps/third") == 200 && status(p, "/apps/second") == 404
    });
    table.line("maintenance:on -a shop", 0, &["Enabling maintenance mode for shop... done"], |p| {
        got(p, "/apps/shop")["maintenance"] == true
    });
    table.shows("maintenance -a shop", &["on"]);
    table.line("maintenance:off -a shop", 0, &["Disabling maintenance mode for shop... done"], |p| {
        got(p, "/apps/shop")["maintenance"] == false
    });
    table.shows("stack -a shop", &["* heroku-24"]);
    table
        .line("stack:set heroku-24 -a shop", 0, &["heroku-24"], |p| got(p, "/apps/shop")["build_stack"]["name"] == "heroku-24");
    table.refused("stack:set nothere -a shop", 2, &["Error ID"]);
    table.refused("apps:destroy -a third --confirm shop", 1, &["Confirmation shop did not match third"]);
    table.line("apps:destroy -a third --confirm third", 0, &["Destroying third"], |p| status(p, "/apps/third") == 404);
    table.end();
}

#[test]
fn heroku_cli_git_and_config() {
    let Some(mut table) = Table::start("git and config") else { return };
    table.platform.create("shop");
    table.platform.create("other");
    let repo = Repo::of("procfile");
    table.dir = repo.dir.path().to_path_buf();
    let dir = table.dir.clone();
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).current_dir(&dir).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    table.line("git:remote -a shop", 0, &["set git remote heroku to https://127.0.0.1:", "/shop.git"], |_| {
        git(&["remote", "-v"]).contains("/shop.git (push)")
    });
    table.line("git:remote -a other -r staging", 0, &["set git remote staging"], |_| {
        git(&["remote"]).lines().any(|remote| remote == "staging")
    });
    table.refused("git:remote -a nothere", 2, &["Couldn't find that app."]);
    // The app is found by the remote, whose port is the one that this server's bridges have.
    let found = "config:set A=1 'B=two words' -r heroku";
    table.line(found, 0, &["Setting A, B and restarting shop", "v3"], |p| {
        got(p, "/apps/shop/config-vars") == serde_json::json!({ "A": "1", "B": "two words" })
    });
    table.shows("config -a shop", &["shop Config Vars", "A: 1", "B: two words"]);
    table.shows("config -a shop --json", &["\"B\": \"two words\""]);
    table.shows("config -a shop -s", &["B='two words'"]);
    table.shows("config:get B -a shop", &["two words"]);
    table.line("config:get NOTHERE -a shop", 0, &[], |_| true);
    table.line("config:unset A -a shop", 0, &["Unsetting A and restarting shop", "v4"], |p| {
        got(p, "/apps/shop/config-vars") == serde_json::json!({ "B": "two words" })
    });
    table.line("config:set EMPTY= -a shop", 0, &["Setting EMPTY"], |p| got(p, "/apps/shop/config-vars")["EMPTY"] == "");
    table.refused("config:set nonsense -a shop", 1, &["nonsense is invalid. Must be in the format FOO=bar."]);
    table.refused("config:set 'a b=1' -a shop", 2, &["Error ID"]);
    table.shows("buildpacks -a shop", &["shop has no Buildpacks."]);
    table.line("buildpacks:set heroku/nodejs -a shop", 0, &["Buildpack set"], |p| {
        got(p, "/apps/shop/buildpack-installations")[0]["buildpack"]["name"] == "heroku/nodejs"
    });
    table.line("buildpacks:add heroku/python -a shop", 0, &["1. heroku/nodejs", "2. heroku/python"], |p| {
        got(p, "/apps/shop/buildpack-installations")[1]["buildpack"]["name"] == "heroku/python"
    });
    table.line("buildpacks:add heroku/static --index 1 -a shop", 0, &["1. heroku/static"], |p| {
        got(p, "/apps/shop/buildpack-installations")[0]["buildpack"]["name"] == "heroku/static"
    });
    table.line("buildpacks:remove heroku/static -a shop", 0, &["Buildpack removed"], |p| {
        got(p, "/apps/shop/buildpack-installations").as_array().map(Vec::len) == Some(2)
    });
    table.shows("buildpacks -a shop", &["shop Classic Buildpacks", "1. heroku/nodejs"]);
    table.line("buildpacks:clear -a shop", 0, &["Buildpacks cleared"], |p| {
        got(p, "/apps/shop/buildpack-installations").as_array().map(Vec::len) == Some(0)
    });
    table.end();
}

#[test]
fn heroku_cli_domains_and_features() {
    let Some(mut table) = Table::start("domains and features") else { return };
    table.platform.create("shop");
    table.shows("domains -a shop", &["shop Heroku Domain", "shop.localhost"]);
    for name in ["www.shop.example", "*.shop.example", "api.shop.example"] {
        let body = serde_json::json!({ "hostname": name, "sni_endpoint": null });
        assert_eq!(table.platform.api("POST", "/apps/shop/domains", Some(body)).status, 201);
    }
    table.shows("domains -a shop", &["www.shop.example", "shop Custom Domains"]);
    table.shows("domains -a shop --json", &["\"hostname\": \"www.shop.example\""]);
    table.line("domains:remove www.shop.example -a shop", 0, &["Removing www.shop.example from shop... done"], |p| {
        !has(p, "/apps/shop/domains", "hostname", "www.shop.example")
    });
    table.refused("domains:remove www.shop.example -a shop", 2, &["Couldn't find that domain"]);
    table.line("domains:clear -a shop", 0, &["Removing all domains from shop... done"], |p| {
        got(p, "/apps/shop/domains").as_array().map(Vec::len) == Some(1)
    });
    table.shows("features -a shop", &["=== App Features shop", "[ ] preboot"]);
    table.line("features:enable preboot -a shop", 0, &["Enabling preboot for shop... done"], |p| {
        got(p, "/apps/shop/features/preboot")["enabled"] == true
    });
    table.shows("features:info preboot -a shop", &["preboot", "Enabled: true"]);
    table.refused("features:enable preboot -a shop", 1, &["preboot is already enabled"]);
    table.line("features:disable preboot -a shop", 0, &["Disabling preboot for shop... done"], |p| {
        got(p, "/apps/shop/features/preboot")["enabled"] == false
    });
    table.refused("features:info nothere -a shop", 2, &["Couldn't find that feature"]);
    table.end();
}
