//! The API: shapes, statuses, authentication, lists.

use crate::{
    schema::{check, check_list},
    support::{Platform, Repo, root_or_skip},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

#[test]
fn every_answer_follows_the_published_schema() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = Platform::start();
    let get = |path: &str| {
        let answer = platform.api("GET", path, None);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        assert!(answer.header("content-type").starts_with("application/json"), "{path}");
        assert_eq!(answer.header("request-id").len(), 36, "{path}");
        assert!(answer.header("ratelimit-remaining").parse::<u32>().is_ok(), "{path}");
        answer.json()
    };
    check("account", &get("/account"));
    let created = platform.api("POST", "/apps", Some(json!({})));
    assert_eq!(created.status, 201);
    let generated = created.json()["name"].as_str().unwrap().to_string();
    assert_eq!(generated.split('-').count(), 3, "{generated}");
    check("app", &created.json());
    platform.create("shop");
    Repo::of("procfile").deploy(&platform, "shop");
    check("app", &get("/apps/shop"));
    check_list("app", &get("/apps"));
    check_list("release", &get("/apps/shop/releases"));
    check_list("build", &get("/apps/shop/builds"));
    check_list("formation", &get("/apps/shop/formation"));
    check_list("dyno", &get("/apps/shop/dynos"));
    check_list("domain", &get("/apps/shop/domains"));
    let slug = get("/apps/shop/builds")[0]["slug"]["id"].as_str().unwrap().to_string();
    check("slug", &get(&format!("/apps/shop/slugs/{slug}")));
    let send = |method: &str, path: &str, body: Value, status: u16| {
        let answer = platform.api(method, path, Some(body));
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        answer.json()
    };
    check("log-session", &send("POST", "/apps/shop/log-sessions", json!({}), 201));
    check("source", &send("POST", "/apps/shop/sources", json!({}), 201));
    check("app", &send("PATCH", "/apps/shop", json!({ "maintenance": false }), 200));
    check("formation", &send("PATCH", "/apps/shop/formation/worker", json!({ "quantity": "1", "size": "standard-2x" }), 200));
    check_list(
        "formation",
        &send("PATCH", "/apps/shop/formation", json!({ "updates": [{ "type": "worker", "quantity": 0 }] }), 200),
    );
    check("domain", &send("POST", "/apps/shop/domains", json!({ "hostname": "www.example.com", "sni_endpoint": null }), 201));
    check("release", &send("POST", "/apps/shop/releases", json!({ "release": "3" }), 201));
    check_list(
        "buildpack-installation",
        &send("PUT", "/apps/shop/buildpack-installations", json!({ "updates": [{ "buildpack": "heroku/python" }] }), 200),
    );
    let config = send("PATCH", "/apps/shop/config-vars", json!({ "A": "1", "N": 2, "EMPTY": "" }), 200);
    assert_eq!(config, json!({ "A": "1", "N": "2", "EMPTY": "" }));
    assert_eq!(send("PATCH", "/apps/shop/config-vars", json!({ "A": null }), 200), json!({ "N": "2", "EMPTY": "" }));
    assert_eq!(get("/apps/shop/releases").as_array().unwrap().last().unwrap()["description"], "Remove A config vars");
    check("domain", &send("DELETE", "/apps/shop/domains/www.example.com", json!({}), 200));
    check("app", &send("DELETE", "/apps/shop", json!({}), 200));
    assert_eq!(platform.api("GET", "/apps/shop", None).status, 404);
}

#[test]
fn tokens_pass_as_bearer_and_as_any_basic_password_and_nothing_else_does() {
    let platform = Platform::start();
    let status = |header: &str| platform.request("GET", "/account", &[("authorization", header)], None).status;
    let basic = |pair: String| format!("Basic {}", STANDARD.encode(pair));
    let token = platform.token.clone();
    for good in [
        format!("Bearer {token}"),
        basic(format!(":{token}")),
        basic(format!("ana@example.com:{token}")),
        basic(format!("heroku:{token}")),
    ] {
        assert_eq!(status(&good), 200, "{good}");
    }
    for bad in [
        "Bearer wrong".to_string(),
        "Bearer ".into(),
        basic("x:".into()),
        basic(token.clone()),
        format!("Token {token}"),
        "Basic !!!".into(),
    ] {
        let answer = platform.request("GET", "/account", &[("authorization", &bad)], None);
        assert_eq!((answer.status, answer.json()["id"].as_str()), (401, Some("unauthorized")), "{bad}");
        assert_eq!(answer.header("www-authenticate"), "");
    }
    assert_eq!(platform.request("GET", "/account", &[], None).status, 401);
    use std::os::unix::fs::PermissionsExt;
    let mode = std::fs::metadata(platform.dir.path().join("token")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn lists_are_cut_into_pages_that_lead_on() {
    let platform = Platform::start();
    for n in 0..5 {
        platform.create(&format!("app-{n}"));
    }
    let mut names = Vec::new();
    let mut range = "name ..; max=2".to_string();
    loop {
        let headers = [("authorization", format!("Bearer {}", platform.token)), ("range", range.clone())];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let answer = platform.request("GET", "/apps", &headers, None);
        names.extend(answer.json().as_array().unwrap().iter().map(|a| a["name"].as_str().unwrap().to_string()));
        range = answer.header("next-range").to_string();
        assert_eq!(answer.status, if range.is_empty() { 200 } else { 206 });
        if range.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["app-0", "app-1", "app-2", "app-3", "app-4"]);
    let headers = [("authorization", format!("Bearer {}", platform.token)), ("range", "version ..; order=desc,max=1".into())];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let newest = platform.request("GET", "/apps/app-1/releases", &headers, None);
    assert_eq!(newest.json()[0]["version"], 2);
}

#[test]
fn the_list_of_routes_is_the_golden_one() {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/routes.txt");
    let routes: String = ::api::all_routes()
        .iter()
        .map(|(method, path, needs)| format!("{} {path} -> {needs}\n", method.to_uppercase()))
        .collect();
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::write(&golden, &routes).unwrap();
    }
    assert_eq!(routes, std::fs::read_to_string(golden).unwrap(), "a route changed; look at it, then run with WRITE_GOLDEN=1");
}

#[test]
fn every_route_asks_who_is_there() {
    let platform = Platform::start();
    platform.create("shop");
    for (method, path, _) in ::api::all_routes().into_iter().filter(|(.., needs)| *needs != "nobody") {
        let path = path.replace("{app}", "shop").replace(['{', '}'], "");
        let answer = platform.request(&method.to_uppercase(), &path, &[], None);
        assert_eq!(answer.status, 401, "{method} {path}: {}", answer.text);
    }
}
