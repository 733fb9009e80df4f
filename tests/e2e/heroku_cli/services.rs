//! certs, drains, webhooks, labs, telemetry, usage, add-ons: what an app has beside its code.

use super::*;
use crate::certs::Authority;

#[test]
fn heroku_cli_certs_and_domains() {
    let Some(mut table) = Table::start("certs") else { return };
    table.platform.create("shop");
    let authority = Authority::new(&table.dir);
    let (chain, key) = authority.issue(&["www.shop.example"]);
    for (file, text) in [("c.pem", &chain), ("k.pem", &key)] {
        std::fs::write(table.dir.join(file), text).unwrap();
    }
    let count = |p: &Platform| got(p, "/apps/shop/sni-endpoints").as_array().map(Vec::len);
    table.shows("certs -a shop", &["shop has no SSL certificates."]);
    table.refused("certs:info -a shop", 1, &["shop has no SSL certificates"]);
    table.line("certs:add c.pem k.pem -a shop", 0, &["Adding SSL certificate to shop", "www.shop.example"], |p| {
        count(p) == Some(1)
    });
    table.refused("certs:add k.pem c.pem -a shop", 2, &["Error ID"]);
    table.shows("certs -a shop", &["Common Name(s)", "www.shop.example", "SNI"]);
    table.shows("certs:info -a shop", &["Common Name(s): www.shop.example", "Expires At:"]);
    table.line("domains:add www.shop.example -a shop", 0, &["Adding www.shop.example to shop... done", "DNS Target"], |p| {
        has(p, "/apps/shop/domains", "hostname", "www.shop.example")
    });
    table.shows("domains:info www.shop.example -a shop", &["hostname: www.shop.example", "kind: custom"]);
    table.shows("domains:wait www.shop.example -a shop", &["Waiting for www.shop.example... done"]);
    let name = got(&table.platform, "/apps/shop/sni-endpoints")[0]["name"].as_str().unwrap_or_default().to_string();
    table.line(
        &format!("domains:update www.shop.example --cert {name} -a shop"),
        0,
        &["Updating www.shop.example", "done"],
        |p| {
            let all = got(p, "/apps/shop/domains");
            all.as_array()
                .unwrap()
                .iter()
                .any(|one| one["hostname"] == "www.shop.example" && one["sni_endpoint"]["name"] == name)
        },
    );
    table.line("certs:auto:enable -a shop", 0, &["Enabling Automatic Certificate Management"], |p| {
        got(p, "/apps/shop")["acm"] == true
    });
    table.shows("certs:auto -a shop", &["Automatic Certificate Management is enabled on shop", "www.shop.example"]);
    table.shows("certs:auto:refresh -a shop", &["Refreshing Automatic Certificate Management... done"]);
    table.line("certs:auto:disable -a shop --confirm shop", 0, &["Disabling Automatic Certificate Management... done"], |p| {
        got(p, "/apps/shop")["acm"] == false
    });
    table.shows("certs:update c.pem k.pem -a shop --confirm shop", &["Updating SSL certificate", "done"]);
    table.line("certs:remove -a shop --confirm shop", 0, &["Removing SSL certificate", "done"], |p| count(p) == Some(0));
    table.end();
}

#[test]
fn heroku_cli_drains_webhooks_and_labs() {
    let Some(mut table) = Table::start("drains, webhooks, labs") else { return };
    table.platform.create("shop");
    let drain = "syslog+tls://logs.shop.example:6514";
    table.line(&format!("drains:add {drain} -a shop"), 0, &["Successfully added drain"], |p| {
        has(p, "/apps/shop/log-drains", "url", drain)
    });
    table.shows("drains -a shop", &["=== Drains", drain, "(d."]);
    table.shows("drains -a shop --json", &[&format!("\"url\": \"{drain}\"")]);
    table.refused("drains:add nonsense -a shop", 2, &["Url is no URL; it must begin with https://"]);
    table.line(&format!("drains:remove {drain} -a shop"), 0, &["Successfully removed drain"], |p| {
        got(p, "/apps/shop/log-drains") == Value::Array(vec![])
    });

    table.shows("webhooks -a shop", &["shop has no webhooks"]);
    let add = "webhooks:add -a shop -i api:release -l notify -u https://hook.shop.example/x -s";
    table.line(&format!("{add} sixteen-letters-"), 0, &["Adding webhook to shop... done"], |p| {
        has(p, "/apps/shop/webhooks", "url", "https://hook.shop.example/x")
    });
    let id = got(&table.platform, "/apps/shop/webhooks")[0]["id"].as_str().unwrap_or_default().to_string();
    table.shows("webhooks -a shop", &["https://hook.shop.example/x", "api:release", "notify", &id]);
    table.shows(&format!("webhooks:info {id} -a shop"), &["https://hook.shop.example/x"]);
    let change = format!("webhooks:update {id} -a shop -i api:build -l sync -u https://hook.shop.example/y");
    table.line(&change, 0, &["done"], |p| has(p, "/apps/shop/webhooks", "level", "sync"));
    table.refused(
        "webhooks:add -a shop -i nonsense -l notify -u https://hook.shop.example/x",
        2,
        &["include \"nonsense\" is not"],
    );
    table.shows("webhooks:deliveries -a shop", &["shop has no deliveries"]);
    table.shows("webhooks:events -a shop", &["shop has no events"]);
    table.refused("webhooks:deliveries:info nothere -a shop", 2, &["Error ID: not_found"]);
    table.refused("webhooks:events:info nothere -a shop", 2, &["Error ID: not_found"]);
    table.line(&format!("webhooks:remove {id} -a shop"), 0, &["done"], |p| {
        got(p, "/apps/shop/webhooks") == Value::Array(vec![])
    });
    table.refused(&format!("webhooks:info {id} -a shop"), 2, &["Couldn't find that webhook"]);

    let labs = "/apps/shop/features/runtime-dyno-metadata";
    table.shows("labs -a shop", &["=== App Features shop", "[ ] runtime-dyno-metadata"]);
    table.line("labs:enable runtime-dyno-metadata -a shop", 0, &["Enabling runtime-dyno-metadata for shop... done"], |p| {
        got(p, labs)["enabled"] == true
    });
    table.shows("labs:info runtime-dyno-metadata -a shop", &["=== runtime-dyno-metadata", "Enabled: true"]);
    table.line("labs:disable runtime-dyno-metadata -a shop", 0, &["Disabling", "done"], |p| got(p, labs)["enabled"] == false);
    table.refused("labs:enable nothere -a shop", 2, &["Couldn't find that feature."]);
    table.end();
}

#[test]
fn heroku_cli_add_ons_telemetry_and_the_rest() {
    let Some(mut table) = Table::start("add-ons, telemetry, the rest") else { return };
    table.platform.create("shop");
    table.platform.create("other");
    table.shows("addons -a shop", &["No add-ons for app shop."]);
    table.shows("addons --all", &["No add-ons."]);
    table.shows("addons:services", &["Slug", "State"]);
    table.line("addons:wait -a shop", 0, &[], |_| true);
    let none = ["Couldn't find that add-on", "Error ID: not_found"];
    for line in ["addons:attach thing -a shop", "addons:destroy thing -a shop --confirm shop", "addons:detach thing -a shop"] {
        table.refused(line, 2, &none);
    }
    for line in
        ["addons:docs thing -a shop", "addons:info thing -a shop", "addons:open thing -a shop", "addons:rename thing other"]
    {
        table.refused(line, 2, &none);
    }
    table.refused("addons:create nothere:x -a shop", 2, &["Couldn't find that add-on service"]);
    table.refused("addons:plans nothere", 2, &["Couldn't find that add-on service"]);
    table.refused("addons:upgrade thing -a shop", 1, &["No plan specified."]);
    table.shows("usage:addons -a shop", &["No usage found for app shop"]);
    table.shows("telemetry -a shop", &["There are no telemetry drains in shop"]);
    table.refused("telemetry:add https://shop.example -a shop", 2, &["does not export telemetry by this way yet; log drains"]);
    table.refused("telemetry:info thing", 2, &["Couldn't find that telemetry drain."]);
    table.refused("telemetry:update thing --endpoint https://shop.example", 2, &["Couldn't find that telemetry drain."]);
    table.shows("telemetry:remove -a shop", &["Removing all telemetry drains from app shop... done"]);
    table.shows("apps:diff shop other", &["property"]);
    table.shows("apps:stacks -a shop", &["* heroku-24"]);
    table.shows("apps:stacks:set heroku-24 -a shop", &["Setting stack to heroku-24... done"]);
    table.shows("info -a shop", &["=== shop", "Owner: admin@localhost", "Stack: heroku-24"]);
    table.shows("apps:info -a shop --json", &["\"name\": \"shop\""]);
    table.line("git:clone -a shop", 0, &[], |p| p.dir.path().join("work/shop/.git").is_dir());
    table.shows("help pipelines", &["list pipelines you have access to"]);
    table.shows("which apps", &["plugin: heroku"]);
    table.shows("autocomplete bash", &["Building the autocomplete cache... done"]);
    table.shows("2fa", &["Two-factor authentication is not enabled"]);
    table.refused("auth:2fa:disable", 2, &["this command has been removed"]);
    table.end();
}
