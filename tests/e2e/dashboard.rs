//! The dashboard with plain HTTP: pages, forms, roles, twins, weights, headers, and what strangers put into it.

use crate::{
    matrix::{call, join},
    sign_in::{Browser, PASSWORD, form, with_password},
    support::*,
};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

/// What nobody may get into a page as markup.
const EVIL: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>";
/// Pages of an app; the last part of the address.
pub const TABS: &[&str] =
    &["", "/activity", "/resources", "/metrics", "/logs", "/config", "/config/raw", "/domains", "/access", "/settings"];
/// Pages without an app.
pub const PAGES: &[&str] = &["/", "/apps/new", "/machine", "/activity", "/members", "/account/settings", "/search?q=shop"];

/// Somebody with a password who came by an invitation, signed in at a browser.
fn person<'a>(platform: &'a Platform, email: &str, role: &str) -> (Browser<'a>, String) {
    let token = join(platform, email, role);
    let browser = Browser::new(platform);
    assert_eq!(browser.sign_in(email, PASSWORD).status, 303);
    (browser, token)
}

pub fn admin(platform: &Platform) -> Browser<'_> {
    let email = with_password(platform);
    let browser = Browser::new(platform);
    assert_eq!(browser.sign_in(&email, PASSWORD).status, 303);
    browser
}

/// An app with a release, config, a domain and lines in its log, all with evil in them.
pub fn shop(platform: &Platform) {
    platform.create("shop");
    let config = json!({ "SECRET": "s3cr3t-value", "EVIL": EVIL });
    assert_eq!(platform.api("PATCH", "/apps/shop/config-vars", Some(config)).status, 200);
    let domain = json!({ "hostname": "www.shop.example", "sni_endpoint": null });
    assert_eq!(platform.api("POST", "/apps/shop/domains", Some(domain)).status, 201);
}

#[test]
fn an_app_is_made_and_worked_on_with_forms_alone() {
    let platform = Platform::start();
    let browser = admin(&platform);
    let start = browser.get("/");
    assert!(start.status == 200 && start.text.contains("No apps yet") && start.text.contains("New app"), "{}", start.text);
    let bad = browser.post("/apps/new", "/apps/new", &[("name", "Not A Name")]);
    assert!(
        bad.status == 422 && bad.text.contains("value=\"Not A Name\"") && bad.text.contains("role=\"alert\""),
        "{}",
        bad.text
    );
    let made = browser.post("/apps/new", "/apps/new", &[("name", "shop"), ("stack", "heroku-24"), ("team", "")]);
    assert_eq!(made.header("location"), "/apps/shop?done=created");
    let page = browser.get("/apps/shop?done=created").text;
    assert!(page.contains("The app was made.") && page.contains("Waiting for the first push"), "{page}");
    assert!(!browser.get("/apps/shop?done=%3Cb%3Eowned").text.contains("owned"), "an address puts no words into a page");

    let config = "/apps/shop/config";
    let set = browser.post(config, config, &[("key", "GREETING"), ("value", "two\r\nlines")]);
    assert_eq!(set.header("location"), "/apps/shop/config?done=config");
    assert_eq!(platform.api("GET", "/apps/shop/config-vars", None).json()["GREETING"], "two\nlines");
    let hidden = browser.get(config).text;
    assert!(hidden.contains("GREETING") && !hidden.contains("two\nlines"), "values are hidden");
    assert!(browser.get("/apps/shop/config?show=GREETING").text.contains("two\nlines"));
    let bad = browser.post(config, config, &[("key", "1 bad"), ("value", "kept")]);
    assert!(bad.status == 422 && bad.text.contains("value=\"1 bad\"") && bad.text.contains("kept</textarea>"), "{}", bad.text);
    raw_config(&platform, &browser);

    let domains = "/apps/shop/domains";
    let added = browser.post(domains, domains, &[("do", "add"), ("hostname", "www.example.com")]);
    assert_eq!(added.status, 303, "{}", added.text);
    assert!(browser.get(domains).text.contains("www.example.com"));
    assert_eq!(browser.post(domains, domains, &[("do", "remove"), ("hostname", "www.example.com")]).status, 303);

    let settings = "/apps/shop/settings";
    assert_eq!(browser.post(settings, "/apps/shop/maintenance", &[("maintenance", "on")]).status, 303);
    assert_eq!(platform.api("GET", "/apps/shop", None).json()["maintenance"], true);
    let renamed = browser.post(settings, settings, &[("do", "rename"), ("name", "store")]);
    assert_eq!(renamed.header("location"), "/apps/store/settings?done=saved");
    let settings = "/apps/store/settings";
    assert_eq!(browser.post(settings, settings, &[("do", "buildpacks"), ("buildpacks", "heroku/nodejs\r\n")]).status, 303);
    assert_eq!(browser.post(settings, settings, &[("do", "feature"), ("feature", "preboot"), ("on", "true")]).status, 303);
    let packs = platform.api("GET", "/apps/store/buildpack-installations", None).json();
    assert_eq!(packs[0]["buildpack"]["name"], "heroku/nodejs");

    let kept = browser.post(settings, "/apps/store/destroy", &[("confirm", "shop")]);
    assert!(kept.status == 422 && kept.text.contains("Type store to destroy"), "{}", kept.text);
    assert_eq!(
        browser.post(settings, "/apps/store/destroy", &[("confirm", "store")]).header("location"),
        "/apps?done=destroyed"
    );
    assert_eq!(browser.get("/apps/store").status, 404);
}

/// All config vars as text: what would change is shown first, and nobody's change is written over.
fn raw_config(platform: &Platform, browser: &Browser<'_>) {
    let raw = "/apps/shop/config/raw";
    let page = browser.get(raw).text;
    let version = page.split("name=\"version\" value=\"").nth(1).unwrap().split('"').next().unwrap().to_string();
    let text = ("text", "A=1\r\nB=\"x\\ny\"\r\n");
    let look = browser.post(raw, raw, &[text, ("version", &version), ("do", "look")]);
    assert!(look.text.contains("<code>A</code> added") && look.text.contains("<code>GREETING</code> removed"), "{}", look.text);
    assert!(platform.api("GET", "/apps/shop/config-vars", None).json().get("A").is_none(), "a look changes nothing");
    let saved = browser.post(raw, raw, &[text, ("version", &version), ("do", "save")]);
    assert_eq!(saved.header("location"), "/apps/shop/config?done=config");
    assert_eq!(platform.api("GET", "/apps/shop/config-vars", None).json(), json!({ "A": "1", "B": "x\ny" }));
    let late = browser.post(raw, raw, &[("text", "C=1"), ("version", &version), ("do", "save")]);
    assert!(late.status == 422 && late.text.contains("changed by somebody else") && late.text.contains("C=1"), "{}", late.text);
}

/// Forms that change something.
const FORMS: &[(&str, &[(&str, &str)])] = &[
    ("/apps/shop/restart", &[]),
    ("/apps/shop/maintenance", &[("maintenance", "on")]),
    ("/apps/shop/rollback", &[("version", "v1")]),
    ("/apps/shop/scale", &[("type", "web"), ("quantity", "0")]),
    ("/apps/shop/schedule", &[("cron", "0 3 * * *"), ("command", "true")]),
    ("/apps/shop/config", &[("key", "A"), ("value", "1")]),
    ("/apps/shop/domains", &[("do", "add"), ("hostname", "a.example.com")]),
    ("/apps/shop/access", &[("email", "vi@example.com")]),
    ("/apps/shop/settings", &[("do", "rename"), ("name", "mine")]),
    ("/apps/shop/drains", &[("url", "syslog://logs.example.com:1")]),
    ("/apps/shop/webhooks", &[("url", "https://a.example.com"), ("include", "api:app"), ("level", "notify")]),
    ("/apps/shop/destroy", &[("confirm", "shop")]),
    ("/apps/new", &[("name", "mine")]),
    ("/members/people", &[("do", "role"), ("email", "vi@example.com"), ("role", "admin")]),
    ("/members/teams", &[("do", "create"), ("team", "mine")]),
];

#[test]
fn each_role_sees_what_it_may_do_and_is_refused_the_rest() {
    let platform = Platform::start();
    shop(&platform);
    let admin = admin(&platform);
    let (member, member_token) = person(&platform, "bo@example.com", "member");
    let (viewer, viewer_token) = person(&platform, "vi@example.com", "viewer");
    for path in ["/apps/shop", "/apps/shop/config", "/apps/shop/logs", "/apps/shop.json"] {
        assert_eq!(member.get(path).status, 403, "not shared: {path}");
    }
    for (path, fields) in FORMS.iter().filter(|(path, _)| path.starts_with("/apps/shop")) {
        assert_eq!(member.post("/account/settings", path, fields).status, 403, "not shared: {path}");
    }
    for email in ["bo@example.com", "vi@example.com"] {
        assert_eq!(platform.api("POST", "/apps/shop/collaborators", Some(json!({ "user": email }))).status, 201);
    }
    for tab in TABS {
        assert_eq!(admin.get(&format!("/apps/shop{tab}")).status, 200, "{tab}");
        assert_eq!(member.get(&format!("/apps/shop{tab}")).status, 200, "{tab}");
        let page = viewer.get(&format!("/apps/shop{tab}"));
        assert_eq!(page.status, if tab.starts_with("/config") { 403 } else { 200 }, "{tab}");
        assert!(!page.text.contains("method=\"post\""), "a viewer gets no forms at {tab}: {}", page.text);
        assert!(!page.text.contains("/apps/shop/config\""), "{tab}");
    }
    assert!(
        !member.get("/apps/shop/settings").text.contains("Destroy")
            && admin.get("/apps/shop/settings").text.contains("Destroy")
    );
    assert_eq!(viewer.get("/apps/new").status, 403);
    // The token of a form is theirs, the right is not.
    for (path, fields) in FORMS {
        let answer = viewer.post("/account/settings", path, fields);
        assert_eq!(answer.status, 403, "{path}: {}", answer.text);
    }
    for path in ["/apps/shop/destroy", "/apps/shop/access"] {
        let fields = [("confirm", "shop"), ("email", "bo@example.com")];
        assert_eq!(member.post("/account/settings", path, &fields).status, 403, "{path}");
    }
    assert_eq!(platform.api("GET", "/apps/shop", None).json()["maintenance"], false);
    // Search tells no names of config vars to who may not see them.
    assert!(member.get("/search.json?q=shop%20secret").text.contains("config SECRET"));
    assert!(!viewer.get("/search.json?q=shop%20secret").text.contains("config SECRET"));
    assert_eq!(call(&platform, &viewer_token, "GET", "/apps/shop", Value::Null).status, 200, "the API is as it was");
    assert_eq!(call(&platform, &member_token, "GET", "/apps/shop/config-vars", Value::Null).status, 200);
}

#[test]
fn forms_from_elsewhere_are_refused() {
    let platform = Platform::start();
    platform.create("shop");
    let browser = admin(&platform);
    let token = browser.token("/apps/shop/settings");
    let origin = platform.base();
    let body = |token: &str| Some(form(&[("maintenance", "on"), ("token", token)]));
    for (headers, token) in [
        (vec![("origin", "http://evil.example")], token.as_str()),
        (vec![("origin", "null")], token.as_str()),
        (vec![("sec-fetch-site", "cross-site"), ("origin", origin.as_str())], token.as_str()),
        (vec![("sec-fetch-site", "same-site"), ("origin", origin.as_str())], token.as_str()),
        (vec![("origin", origin.as_str())], ""),
        (vec![("origin", origin.as_str())], "other"),
    ] {
        let answer = browser.send("POST", "/apps/shop/maintenance", &headers, body(token));
        assert_eq!(answer.status, 403, "{headers:?}");
    }
    let (other, _) = person(&platform, "bo@example.com", "member");
    let foreign = other.token("/account/settings");
    assert_eq!(browser.send("POST", "/apps/shop/maintenance", &[("origin", &origin)], body(&foreign)).status, 403);
    assert_eq!(platform.api("GET", "/apps/shop", None).json()["maintenance"], false);
    let good = browser.send("POST", "/apps/shop/maintenance", &[("origin", &origin)], body(&token));
    assert_eq!(good.status, 303, "{}", good.text);
    // Pages of others can not show ours, nor lead a sign-in elsewhere.
    let page = browser.get("/apps/shop");
    let policy = page.header("content-security-policy");
    for part in [
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("cache-control"), "no-store");
    assert!(!page.header("request-id").is_empty());
    for next in ["//evil.example", "https://evil.example", "/\\evil.example", "/%2F/evil.example"] {
        let fresh = Browser::new(&platform);
        let token = fresh.token(&format!("/login?next={next}"));
        let email = platform.api("GET", "/account", None).json()["email"].as_str().unwrap().to_string();
        let fields = [("email", email.as_str()), ("password", PASSWORD), ("next", next), ("token", &token)];
        assert_eq!(fresh.send("POST", "/login", &[("origin", &origin)], Some(form(&fields))).header("location"), "/");
    }
    for path in ["/static/..%2f..%2fCargo.toml", "/static/%2e%2e/keys", "/static/tidemill.css", "/static/tidemill.00000000.css"]
    {
        assert_eq!(browser.get(path).status, 404, "{path}");
    }
    let split = browser.get("/apps/x%0d%0aset-cookie:%20a=b/builds");
    assert!(split.header("set-cookie").is_empty());
}

/// A commit, a Procfile, build output and lines of a log that want to be markup.
fn deploy_evil(platform: &Platform) {
    let repo = Repo::empty();
    repo.write("Procfile", &format!("worker: while true; do echo \"{}\"; sleep 0.2; done # {EVIL}", EVIL.replace('"', "\\\"")));
    repo.commit(EVIL);
    repo.deploy(platform, "shop");
    let scaled = platform.api("PATCH", "/apps/shop/formation/worker", Some(json!({ "quantity": 1 })));
    assert_eq!(scaled.status, 200, "{}", scaled.text);
    platform.wait_log("shop", "app[worker.1]: <script>alert(1)</script>");
}

#[test]
fn nothing_foreign_becomes_markup() {
    let platform = Platform::start();
    shop(&platform);
    let browser = admin(&platform);
    if root_or_skip("running dynos") {
        deploy_evil(&platform);
    }
    let evil_name = browser.post("/apps/new", "/apps/new", &[("name", EVIL)]);
    let pages: Vec<String> = TABS.iter().map(|tab| format!("/apps/shop{tab}")).collect();
    let more =
        ["/", "/activity", "/members", "/machine", "/apps/shop/config?show=*", "/apps/shop/config?edit=EVIL"].map(String::from);
    let search = format!("/search?{}", form(&[("q", EVIL)]));
    let logs = format!("/apps/shop/logs?{}", form(&[("text", EVIL), ("dyno", EVIL), ("source", EVIL)]));
    let texts = pages.iter().chain(&more).chain([&search, &logs]).map(|path| {
        let page = browser.get(path);
        assert_eq!(page.status, 200, "{path}");
        (path.clone(), page.text)
    });
    for (path, text) in texts.chain([("a name".to_string(), evil_name.text)]) {
        assert!(!text.contains("<script>") && !text.contains("<img"), "{path}: {text}");
        let scripts: Vec<&str> = text.matches("<script").collect();
        assert!(scripts.len() <= 1 && !text.contains(" onerror=\"") && !text.contains(" style="), "{path}");
    }
    assert!(browser.get("/apps/shop/config?show=*").text.contains("&#60;script&#62;alert(1)"), "and yet it is there");
}

fn squeezed(browser: &Browser<'_>, path: &str) -> (usize, String) {
    let cookies = browser.cookies.borrow().iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("; ");
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/html\r\naccept-encoding: gzip\r\ncookie: {cookies}\r\nconnection: close\r\n\r\n"
    );
    let mut stream = TcpStream::connect(("127.0.0.1", browser.platform.port)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).to_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains("content-encoding: gzip"), "{path}: {head}");
    assert!(head.contains("content-length:"), "{head}");
    let body = &answer[end + 4..];
    let mut text = String::new();
    GzDecoder::new(body).read_to_string(&mut text).unwrap();
    (body.len(), text)
}

#[test]
fn fifty_apps_are_a_light_page_that_comes_fast_and_every_page_keeps_its_weight() {
    let platform = Platform::start();
    shop(&platform);
    for number in 0..50 {
        platform.create(&format!("app-number-{number}"));
    }
    let browser = admin(&platform);
    let mut times: Vec<Duration> = Vec::new();
    let mut weight = 0;
    for _ in 0..20 {
        let start = Instant::now();
        weight = squeezed(&browser, "/").0;
        times.push(start.elapsed());
    }
    times.sort();
    println!("list of 51 apps: {weight} bytes, p50 {:?}, p95 {:?}", times[10], times[18]);
    assert!(weight <= 12 << 10, "{weight}");
    let heavy = |path: &str| path.contains("/logs") || path.contains("/metrics");
    for path in TABS.iter().map(|tab| format!("/apps/shop{tab}")).chain(PAGES.iter().map(ToString::to_string)) {
        let (bytes, text) = squeezed(&browser, &path);
        assert!(bytes <= if heavy(&path) { 20 << 10 } else { 12 << 10 }, "{path}: {bytes}");
        assert!(!text.contains("http://") || !text.contains("src=\"http"), "nothing from elsewhere: {path}");
    }
    let page = browser.get("/").text;
    let asset = |end: &str| {
        let at = page.find(end).unwrap();
        let from = page[..at].rfind('"').unwrap() + 1;
        page[from..at + end.len()].to_string()
    };
    let (css, js) = (squeezed(&browser, &asset(".css")).0, squeezed(&browser, &asset(".js")).0);
    assert!(css <= 6 << 10 && js <= 10 << 10, "css {css}, js {js}");
    let kept = browser.get(&asset(".css"));
    assert!(kept.header("cache-control").contains("immutable"));
    let missing = browser.get("/no/such/page");
    assert!(
        missing.status == 404 && missing.text.len() < 4096 && missing.text.contains("Request id <code>"),
        "{}",
        missing.text
    );
    assert!(missing.text.contains(missing.header("request-id")));
}

#[test]
fn every_page_has_a_twin_and_the_api_keeps_its_addresses() {
    let platform = Platform::start();
    shop(&platform);
    let browser = admin(&platform);
    for path in TABS.iter().map(|tab| format!("/apps/shop{tab}.json")).chain(
        [
            "/apps.json",
            "/apps/new.json",
            "/machine.json",
            "/activity.json",
            "/members.json",
            "/account/settings.json",
            "/search.json?q=shop",
        ]
        .map(String::from),
    ) {
        let twin = browser.get(&path);
        assert_eq!((twin.status, twin.header("content-type")), (200, "application/json"), "{path}: {}", twin.text);
        assert!(twin.json().is_object());
        let token = browser.token("/account/settings");
        assert!(!twin.text.contains(&token) && !twin.text.contains("s3cr3t-value"), "{path}");
    }
    assert_eq!(browser.get("/apps.json").json()["apps"][0]["name"], "shop");
    assert_eq!(Browser::new(&platform).get("/apps/shop.json").status, 401);
    assert_eq!(browser.get("/apps/none.json").json()["id"], "not_found");
    // Programs get what they always got.
    assert_eq!(platform.api("GET", "/apps/shop", None).json()["name"], "shop");
    assert_eq!(platform.request("GET", "/apps", &[], None).status, 401);
    let form = [("content-type", "application/x-www-form-urlencoded")];
    assert_eq!(platform.request("POST", "/apps", &form, Some("name=x".into())).status, 401);
}

#[test]
fn a_tab_is_told_what_changes_and_closed_when_its_right_ends() {
    let platform = Platform::start();
    shop(&platform);
    let (viewer, _) = person(&platform, "vi@example.com", "viewer");
    let open = |path: &str| {
        let cookies = viewer.cookies.borrow().iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("; ");
        let request = format!(
            "GET /events?topics={path} HTTP/1.1\r\nhost: 127.0.0.1\r\naccept: text/event-stream\r\ncookie: {cookies}\r\n\r\n"
        );
        let mut stream = TcpStream::connect(("127.0.0.1", platform.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        BufReader::new(stream).lines().map(Result::unwrap)
    };
    assert!(open("/apps/shop").next().unwrap().contains("403"), "not shared yet");
    assert!(open("https://evil.example/").next().unwrap().contains("422"));
    let shared = platform.api("POST", "/apps/shop/collaborators", Some(json!({ "user": "vi@example.com" })));
    assert_eq!(shared.status, 201, "{}", shared.text);
    let mut lines = open("/apps/shop");
    let mut until = |word: &str| {
        let found = lines.by_ref().take(2000).find(|line| line.contains(word));
        assert!(found.is_some(), "{word} never came");
    };
    until("text/event-stream");
    until("id=\"apphead\"");
    assert_eq!(platform.api("PATCH", "/apps/shop", Some(json!({ "maintenance": true }))).status, 200);
    until("maintenance</span>");
    let mut logs = open("/apps/shop/logs");
    assert!(logs.by_ref().take(50).any(|line| line == ":ok"));
    assert_eq!(platform.api("PATCH", "/apps/shop/config-vars", Some(json!({ "NEW": "1" }))).status, 200);
    let line = logs.by_ref().take(2000).find(|line| line.contains("class=\"ln") && line.contains("NEW"));
    assert!(line.is_some_and(|line| line.starts_with("data: ")));
    assert_eq!(platform.api("DELETE", "/apps/shop/collaborators/vi@example.com", None).status, 200);
    until("event: gone");
}
