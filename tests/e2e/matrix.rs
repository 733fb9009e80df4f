//! Who may do what: every route for every sort of caller, against golden files.

use crate::{
    sign_in::form,
    support::{Answer, Platform},
};
use serde_json::{Value, json};
use std::fmt::Write;

const PASSWORD: &str = "correct horse battery";

/// Comes by an invitation, as people do; answers the token.
pub fn join(platform: &Platform, email: &str, role: &str) -> String {
    let invited = platform.api("POST", "/members", Some(json!({ "email": email, "role": role })));
    let link = invited.json()["invite_url"].as_str().unwrap().to_string();
    let fields = form(&[("name", "X"), ("password", PASSWORD)]);
    let headers = [("content-type", "application/x-www-form-urlencoded"), ("origin", &platform.base())];
    let page = platform.request("POST", &link[link.find("/invite/").unwrap()..], &headers, Some(fields));
    assert_eq!(page.status, 200, "{}", page.text);
    let token = page.text.split("HRKU-").nth(1).unwrap();
    format!("HRKU-{}", token.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_').next().unwrap())
}

pub fn call(platform: &Platform, token: &str, method: &str, path: &str, body: Value) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers: Vec<(&str, &str)> = if token.is_empty() { vec![] } else { vec![("authorization", &bearer)] };
    platform.request(method, path, &headers, (method != "GET").then(|| body.to_string()))
}

fn narrower(platform: &Platform, token: &str, body: Value) -> String {
    let made = call(platform, token, "POST", "/oauth/authorizations", body);
    assert_eq!(made.status, 201, "{}", made.text);
    made.json()["access_token"]["token"].as_str().unwrap().to_string()
}

/// A body that has the right shape; most then ask for something that is not there.
fn body(method: &str, path: &str) -> Value {
    let Some(end) = path.split("{app}").nth(1) else { return body_without_app(method, path) };
    match (method, end) {
        ("POST", "/collaborators") => json!({ "user": "nobody@example.com" }),
        ("PATCH", "/collaborators/{collaborator}") => json!({ "permissions": ["view"] }),
        ("PATCH", "") if path.starts_with("/teams") => json!({ "locked": false }),
        ("POST", "/slugs") => json!({ "process_types": { "no type": "true" } }),
        ("PATCH", "/config-vars-settings") => json!({ "config": [] }),
        ("POST", "/builds") => json!({ "source_blob": { "url": "ftp://none" } }),
        ("PUT", "/buildpack-installations") | ("PATCH", "/formation") => json!({ "updates": [] }),
        ("POST", "/releases") => json!({ "release": "999" }),
        ("PATCH", "/formation/{type}") => json!({ "quantity": 0 }),
        ("PATCH", "/features/{feature}") => json!({ "enabled": false }),
        ("PUT", "/health-check") => json!({ "path": "none" }),
        ("POST", "/dynos" | "/dynos/{dyno}") => json!({ "command": "true" }),
        ("POST", "/schedules") => json!({ "cron": "none", "command": "true" }),
        ("POST", "/domains") => json!({ "hostname": "none", "sni_endpoint": null }),
        ("PATCH", "/domains/{domain}") => json!({ "sni_endpoint": null }),
        ("POST", "/webhooks") => json!({ "include": ["none"], "level": "none", "url": "none" }),
        ("POST", "/sni-endpoints") | ("PATCH", "/sni-endpoints/{endpoint}") => {
            json!({ "certificate_chain": "none", "private_key": "none" })
        }
        ("POST", "/alert-rules") => json!({ "metric": "none", "threshold": 1 }),
        ("POST", "/alert-channels") => json!({ "kind": "none", "target": "none" }),
        ("POST", "/volumes") => json!({ "name": "No Name" }),
        ("POST", "/volumes/{volume}/actions/attach") => json!({ "path": "/etc" }),
        ("POST", "/log-drains") => json!({ "url": "none" }),
        ("POST", "/addons") => json!({ "plan": "none" }),
        ("PATCH", "/addons/{addon}") => json!({ "plan": "none" }),
        ("PATCH", "/acm") => json!({ "acm_refresh": true }),
        _ => json!({}),
    }
}

/// The same for routes that are not about one app.
fn body_without_app(method: &str, path: &str) -> Value {
    match (method, path) {
        ("POST", "/teams" | "/teams/apps" | "/apps" | "/pipelines") => json!({ "name": "No Name", "team": "crew" }),
        ("PUT" | "POST" | "PATCH", "/teams/{team}/members") | ("PUT", "/teams/{team}/invitations") => {
            json!({ "email": "none" })
        }
        ("POST", "/members") => json!({ "email": "none" }),
        ("PATCH", "/members/{member}") => json!({ "role": "viewer" }),
        ("POST", "/account/app-transfers") => json!({ "app": "none", "recipient": "none" }),
        ("PATCH", "/account/app-transfers/{transfer}") => json!({ "state": "accepted" }),
        ("PATCH", "/account/features/{feature}") => json!({ "enabled": false }),
        ("POST", "/app-setups") => json!({ "source_blob": { "url": "ftp://none" } }),
        ("POST", "/pipeline-couplings") => json!({ "app": "none", "pipeline": "line", "stage": "staging" }),
        ("PATCH", "/pipeline-couplings/{coupling}") => json!({ "stage": "staging" }),
        ("POST", "/pipeline-promotions") => {
            json!({ "pipeline": { "id": "line" }, "source": { "app": { "id": "none" } }, "targets": [] })
        }
        ("POST", "/pipeline-transfers") => json!({ "pipeline": "line", "new_owner": { "id": "none", "type": "user" } }),
        ("POST", "/account/keys") => json!({ "public_key": "none" }),
        ("POST", "/oauth/clients") => json!({ "name": "c", "redirect_uri": "none" }),
        ("POST", "/addon-attachments") => json!({ "addon": "none", "app": "none" }),
        ("PUT", "/account/two-factor") | ("DELETE", "/account/two-factor") => json!({ "code": "000000" }),
        _ => json!({}),
    }
}

/// What the gate said; whatever lies behind it counts as let in.
fn outcome(answer: &Answer) -> &'static str {
    match answer.status {
        401 => "401",
        // A code that is asked for is asked of somebody who is let in.
        403 if answer.text.contains("\"two_factor\"") => "in",
        403 => "403",
        404 if answer.text.contains("Couldn't find that app.") => "404",
        // Looked up with the right to read, before the right to change it is asked for.
        404 => "none",
        500.. => "5xx",
        _ => "in",
    }
}

/// The app of ana, which bo and vic share; made again when a call destroyed it.
fn prepare(platform: &Platform, ana: &str) {
    if platform.api("GET", "/apps/shop", None).status != 200 {
        assert_eq!(call(platform, ana, "POST", "/apps", json!({ "name": "shop" })).status, 201);
        for user in ["bo@example.com", "vic@example.com"] {
            let shared = call(platform, ana, "POST", "/apps/shop/collaborators", json!({ "user": user }));
            assert_eq!(shared.status, 201, "{}", shared.text);
        }
    }
}

#[test]
fn every_route_of_an_app_for_every_caller() {
    let platform = Platform::start();
    let (ana, bo) = (join(&platform, "ana@example.com", "member"), join(&platform, "bo@example.com", "member"));
    let (vic, eve) = (join(&platform, "vic@example.com", "viewer"), join(&platform, "eve@example.com", "member"));
    prepare(&platform, &ana);
    let scoped = |scope: &str| narrower(&platform, &ana, json!({ "scope": [scope] }));
    let callers = [
        ("nobody", String::new()),
        ("stranger", eve.clone()),
        ("viewer", vic),
        ("collaborator", bo),
        ("owner", ana.clone()),
        ("admin", platform.token.clone()),
        ("identity", scoped("identity")),
        ("read", scoped("read")),
        ("write", scoped("write")),
        ("read-protected", scoped("read-protected")),
        ("write-protected", scoped("write-protected")),
    ];
    let mut table = String::from(
        "# What the gate says to callers with the app of ana; the last three columns: ana and the names of no app.\n",
    );
    let mut calls = 0;
    for (method, route, _) in ::api::all_routes() {
        if !route.contains("{app}") {
            continue;
        }
        let method = method.to_uppercase();
        let sent = body(&method, route);
        let path = |app: &str| {
            let named = route.replace("{app}", app);
            named.split('/').map(|part| if part.starts_with('{') { "none" } else { part }).collect::<Vec<_>>().join("/")
        };
        let mut row = format!("{method} {route}:");
        for (name, token) in &callers {
            prepare(&platform, &ana);
            let answer = call(&platform, token, &method, &path("shop"), sent.clone());
            let said = outcome(&answer);
            assert!(answer.status < 500, "{method} {route} as {name}: {}", answer.text);
            assert!(!["nobody", "stranger"].contains(name) || said != "in", "{method} {route} as {name}: {}", answer.text);
            write!(row, " {name} {said}").unwrap();
            calls += 1;
        }
        prepare(&platform, &ana);
        let bound = narrower(&platform, &ana, json!({ "app": "shop" }));
        let answer = call(&platform, &bound, &method, &path("shop"), sent.clone());
        write!(row, " deploy-token {}", outcome(&answer)).unwrap();
        for (name, app) in
            [("unknown", "no-such-app"), ("malformed", "No%20Such%00"), ("id", "00000000-0000-4000-8000-000000000000")]
        {
            let answer = call(&platform, &ana, &method, &path(app), sent.clone());
            assert!(answer.status < 500, "{method} {route} {name}: {}", answer.text);
            write!(row, " {name} {}", outcome(&answer)).unwrap();
            calls += 1;
        }
        table.push_str(&row);
        table.push('\n');
    }
    println!("{calls} calls, {} routes", table.lines().count() - 1);
    golden("permissions.txt", &table);
}

/// Compares with a file of `tests/fixtures`.
fn golden(file: &str, table: &str) {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file);
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(&golden, table).unwrap();
    }
    assert_eq!(table, std::fs::read_to_string(golden).unwrap(), "the gate changed; look at it, then run with WRITE_GOLDEN=1");
}

/// The team of ana with bo and vic, and its pipeline; made again when a call destroyed them.
fn prepare_team(platform: &Platform, ana: &str) {
    if platform.api("GET", "/teams/crew", None).status != 200 {
        platform.api("DELETE", "/pipelines/line", None); // it may be somebody's own by now
        assert_eq!(call(platform, ana, "POST", "/teams", json!({ "name": "crew" })).status, 201);
        for (email, role) in [("bo@example.com", "member"), ("vic@example.com", "viewer")] {
            let set = call(platform, ana, "PUT", "/teams/crew/members", json!({ "email": email, "role": role }));
            assert_eq!(set.status, 200, "{}", set.text);
        }
    }
    if platform.api("GET", "/pipelines/line", None).status != 200 {
        let team = platform.api("GET", "/teams/crew", None).json()["id"].clone();
        let owner = json!({ "id": team, "type": "team" });
        let made = call(platform, ana, "POST", "/pipelines", json!({ "name": "line", "owner": owner }));
        assert_eq!(made.status, 201, "{}", made.text);
    }
}

/// The path of a route with a name for each place; `first` stands in the first one instead, if given.
fn filled(route: &str, method: &str, first: Option<&str>) -> String {
    let mut first = first;
    let fill = |part: &str| match part.trim_matches(['{', '}']) {
        bare if bare == part => part.to_string(),
        name => first.take().map_or_else(
            || match name {
                "team" => "crew".into(),
                "pipeline" => "line".into(),
                // Nobody removes himself here, or nobody would be left.
                "user" | "account" if method != "DELETE" => "ana@example.com".into(),
                "stage" => "staging".into(),
                _ => "none".to_string(),
            },
            String::from,
        ),
    };
    route.split('/').map(fill).collect::<Vec<_>>().join("/")
}

#[test]
fn every_other_route_for_every_caller() {
    let platform = Platform::start();
    let (ana, bo) = (join(&platform, "ana@example.com", "member"), join(&platform, "bo@example.com", "member"));
    let (vic, eve) = (join(&platform, "vic@example.com", "viewer"), join(&platform, "eve@example.com", "member"));
    prepare(&platform, &ana);
    prepare_team(&platform, &ana);
    let scoped = |scope: &str| narrower(&platform, &ana, json!({ "scope": [scope] }));
    let callers = [
        ("nobody", String::new()),
        ("stranger", eve),
        ("viewer", vic),
        ("member", bo),
        ("owner", ana.clone()),
        ("admin", platform.token.clone()),
        ("identity", scoped("identity")),
        ("read", scoped("read")),
        ("write", scoped("write")),
        ("read-protected", scoped("read-protected")),
        ("write-protected", scoped("write-protected")),
        ("deploy-token", narrower(&platform, &ana, json!({ "app": "shop" }))),
    ];
    let mut table = String::from(
        "# What the gate says to callers with the team and the pipeline of ana; the last three columns: ana and no such thing.\n",
    );
    // It ends the account that calls, so that those who own nothing are somebody else each time.
    let leaver = |name: &str| match name {
        "stranger" | "member" => Some(join(&platform, &format!("leaving-{name}@example.com"), "member")),
        "viewer" => Some(join(&platform, "leaving-viewer@example.com", "viewer")),
        _ => None,
    };
    for (method, route, _) in ::api::all_routes() {
        if route.contains("{app}") {
            continue;
        }
        let leaves = (method, route) == ("delete", "/account");
        let method = method.to_uppercase();
        let sent = body(&method, route);
        let mut row = format!("{method} {route}:");
        for (name, token) in &callers {
            prepare_team(&platform, &ana);
            let leaving = if leaves { leaver(name) } else { None };
            let token = leaving.as_ref().unwrap_or(token);
            let answer = call(&platform, token, &method, &filled(route, &method, None), sent.clone());
            assert!(answer.status < 500, "{method} {route} as {name}: {}", answer.text);
            write!(row, " {name} {}", outcome(&answer)).unwrap();
        }
        let strange =
            [("unknown", "no-such-thing"), ("malformed", "No%20Such%00"), ("id", "00000000-0000-4000-8000-000000000000")];
        for (name, first) in strange.into_iter().filter(|_| route.contains('{')) {
            let answer = call(&platform, &ana, &method, &filled(route, &method, Some(first)), sent.clone());
            assert!(answer.status < 500, "{method} {route} {name}: {}", answer.text);
            write!(row, " {name} {}", outcome(&answer)).unwrap();
        }
        table.push_str(&row);
        table.push('\n');
    }
    println!("{} routes", table.lines().count() - 1);
    golden("permissions-elsewhere.txt", &table);
}
