//! The list of `platform-api.md` section 18, and what else is the same for all endpoints.

use crate::{
    schema::check_list,
    support::{Answer, Platform},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A call with the admin's token and more headers.
fn call(platform: &Platform, method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>) -> Answer {
    let token = format!("Bearer {}", platform.token);
    let mut all = vec![("authorization", token.as_str())];
    all.extend(headers);
    platform.request(method, path, &all, body.map(|b| b.to_string()))
}

fn apps(platform: &Platform, count: usize) {
    (0..count).for_each(|n| platform.create(&format!("app-{n}")));
}

#[test]
fn section_18_4_every_range_with_0_1_max_and_more_rows_and_a_walk_under_inserts() {
    let platform = Platform::start();
    let ranges = [
        "id ..; max=2;",
        "id ..; max=2",
        "name ..; max=2, order=desc",
        "created_at ..; max=2, order=desc",
        "..",
        "..; max=2",
        "updated_at ..; order=desc,max=2",
        "",
        "nonsense ..; max=2; colour=red",
    ];
    for rows in 0..4 {
        for range in ranges {
            let answer = call(&platform, "GET", "/apps", &[("range", range)], None);
            let max = if range.contains("max=2") { 2 } else { 200 };
            assert_eq!(answer.status, if rows > max { 206 } else { 200 }, "{rows} rows, {range:?}: {}", answer.text);
            assert_eq!(answer.header("next-range").is_empty(), rows <= max, "{range:?}");
            assert_eq!(answer.json().as_array().unwrap().len(), rows.min(max), "{range:?}");
            assert!(answer.header("accept-ranges").contains("created_at") && !answer.header("content-range").is_empty());
        }
        platform.create(&format!("app-{rows}"));
    }
    let (mut seen, mut range, mut extra) = (Vec::new(), "created_at ..; max=1".to_string(), 0);
    while !range.is_empty() {
        let answer = call(&platform, "GET", "/apps", &[("range", &range)], None);
        seen.extend(answer.json().as_array().unwrap().iter().map(|app| app["name"].as_str().unwrap().to_string()));
        range = answer.header("next-range").to_string();
        if extra < 3 {
            platform.create(&format!("extra-{extra}"));
            extra += 1;
        }
    }
    let once: BTreeSet<&String> = seen.iter().collect();
    assert_eq!(once.len(), seen.len(), "{seen:?}");
    assert!((0..4).all(|n| seen.contains(&format!("app-{n}"))), "{seen:?}");
    assert_eq!(call(&platform, "GET", "/apps", &[("range", "bytes=0-1")], None).status, 416);
}

#[test]
fn section_18_6_etags_and_304_as_ruby_clients_use_them() {
    let platform = Platform::start();
    apps(&platform, 2);
    let first = call(&platform, "GET", "/apps", &[], None);
    let tag = first.header("etag").to_string();
    assert!(tag.starts_with("W/\""), "{tag}");
    let again = call(&platform, "GET", "/apps", &[("if-none-match", &tag)], None);
    assert_eq!((again.status, again.text.as_str(), again.header("etag")), (304, "", tag.as_str()));
    assert!(!again.header("request-id").is_empty() && !again.header("ratelimit-remaining").is_empty());
    let backwards = call(&platform, "GET", "/apps", &[("range", "name ..; order=desc"), ("if-none-match", &tag)], None);
    assert_eq!(backwards.status, 200, "the order counts");
    let head = call(&platform, "HEAD", "/apps", &[], None);
    assert_eq!((head.status, head.text.as_str(), head.header("etag")), (200, "", tag.as_str()));
    let app = call(&platform, "GET", "/apps/app-0", &[], None).header("etag").to_string();
    let on = json!({ "maintenance": true });
    assert_eq!(call(&platform, "PATCH", "/apps/app-0", &[("if-match", &app)], Some(on.clone())).status, 200);
    let stale = call(&platform, "PATCH", "/apps/app-0", &[("if-match", &app)], Some(on));
    assert_eq!((stale.status, stale.json()["id"].as_str()), (412, Some("precondition_failed")));
    assert_eq!(call(&platform, "DELETE", "/apps/app-0", &[("if-match", &app)], None).status, 412);
    assert_eq!(call(&platform, "DELETE", "/apps/app-0", &[("if-match", "*")], None).status, 200);
}

#[test]
fn section_18_10_the_same_post_twice_with_one_request_id_makes_one_object() {
    let platform = Platform::start();
    let id = [("request-id", "5e7f3a52-1111-4222-8333-444455556666")];
    let made: Vec<Answer> = std::thread::scope(|scope| {
        let sending: Vec<_> = (0..4).map(|_| scope.spawn(|| call(&platform, "POST", "/apps", &id, Some(json!({}))))).collect();
        sending.into_iter().map(|s| s.join().unwrap()).collect()
    });
    assert!(made.iter().all(|a| a.status == 201 && a.json()["id"] == made[0].json()["id"]));
    let ids: BTreeSet<&str> = made.iter().map(|answer| answer.header("request-id")).collect();
    assert_eq!(ids.len(), 4, "each answer has an id of its own");
    assert_eq!(platform.api("GET", "/apps", None).json().as_array().unwrap().len(), 1);
    // The official command line's list grows with each call, so the next one is another call.
    let grown = [("request-id", "5e7f3a52-1111-4222-8333-444455556666,6e7f3a52-1111-4222-8333-444455556666")];
    assert_ne!(call(&platform, "POST", "/apps", &grown, Some(json!({}))).json()["id"], made[0].json()["id"]);
    assert_eq!(call(&platform, "POST", "/apps", &id, Some(json!({ "name": "other" }))).json()["name"], "other");
    let key = [("idempotency-key", "one")];
    let first = call(&platform, "POST", "/apps", &key, Some(json!({ "name": "keyed" })));
    assert_eq!(call(&platform, "POST", "/apps", &key, Some(json!({ "name": "keyed" }))).json()["id"], first.json()["id"]);
    assert_eq!(call(&platform, "POST", "/apps", &key, Some(json!({ "name": "keyed-2" }))).status, 422);
    let stranger =
        platform.request("POST", "/apps", &[("authorization", "Bearer other"), key[0]], Some(r#"{"name":"keyed"}"#.into()));
    assert_eq!(stranger.status, 401, "never across credentials");
    let refused = call(&platform, "POST", "/apps", &[("idempotency-key", "two")], Some(json!({ "name": "keyed" })));
    assert_eq!(refused.status, 422);
    platform.api("DELETE", "/apps/keyed", None);
    let later = call(&platform, "POST", "/apps", &[("idempotency-key", "two")], Some(json!({ "name": "keyed" })));
    assert_eq!(later.status, 201, "what failed may be tried again");
}

#[test]
fn section_18_11_a_request_id_of_8_kb() {
    let platform = Platform::start();
    let long = vec!["5e7f3a52-1111-4222-8333-444455556666"; 220].join(",");
    assert!(long.len() > 8000);
    let answer = call(&platform, "GET", "/account", &[("request-id", &long)], None);
    assert_eq!((answer.status, answer.header("request-id").len()), (200, 36));
}

#[test]
fn section_18_12_no_gzip_unless_asked() {
    let platform = Platform::start();
    apps(&platform, 3);
    let coding =
        |headers: &[(&str, &str)]| call(&platform, "GET", "/apps", headers, None).header("content-encoding").to_string();
    assert_eq!(coding(&[]), "");
    assert_eq!(coding(&[("accept-encoding", "gzip;q=0, identity")]), "");
    let curl = std::process::Command::new("curl")
        .args(["-s", "-i", "--raw", "-H", "Accept-Encoding: gzip", "-H", &format!("Authorization: Bearer {}", platform.token)])
        .arg(format!("{}/apps", platform.base()))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&curl.stdout).to_lowercase();
    assert!(text.contains("content-encoding: gzip") && text.contains("vary: accept, accept-encoding, authorization"), "{text}");
}

#[test]
fn section_18_13_unknown_variant_no_accept_wrong_version() {
    let platform = Platform::start();
    for (accept, status) in [
        ("application/vnd.heroku+json; version=3.no-such-variant", 200),
        ("application/vnd.heroku+json;version=3", 200),
        ("*/*", 200),
        ("application/json", 200),
        ("application/vnd.heroku+json; version=2", 406),
    ] {
        let answer = call(&platform, "GET", "/account", &[("accept", accept)], None);
        assert_eq!(answer.status, status, "{accept}");
        assert!(answer.header("content-type").starts_with("application/json"));
        assert!(status == 200 || answer.json()["id"] == "not_acceptable");
    }
    assert_eq!(call(&platform, "GET", "/account", &[], None).status, 200);
}

#[test]
fn section_18_15_bodies_of_errors() {
    let platform = Platform::start();
    platform.create("shop");
    let told = |method: &str, path: &str, headers: &[(&str, &str)], body: Option<Value>| {
        let answer = call(&platform, method, path, headers, body);
        let json = answer.json();
        assert!(json["message"].as_str().is_some_and(|m| !m.is_empty()), "{method} {path}: {json}");
        (answer.status, json["id"].as_str().unwrap().to_string(), answer)
    };
    let (status, id, answer) = told("GET", "/apps/nope", &[], None);
    assert_eq!((status, id.as_str(), answer.json()["resource"].as_str()), (404, "not_found", Some("app")));
    assert_eq!(told("POST", "/apps", &[], Some(json!({ "name": "shop" }))).0, 422);
    let (status, id, answer) = told("DELETE", "/stacks", &[], None);
    assert_eq!((status, id.as_str()), (405, "method_not_allowed"));
    assert!(answer.header("allow").contains("GET"), "{:?}", answer.headers);
    let (status, _, answer) = told("GET", "/no/such/thing", &[], None);
    assert_eq!(status, 404);
    assert!(answer.json()["message"].as_str().unwrap().starts_with("The requested API endpoint was not found."));
    let (_, id, own) = told("GET", "/apps/shop/schedules/none", &[], None);
    assert_eq!(id, "method_not_allowed");
    assert_eq!(own.header("content-type"), "application/problem+json");
    let problem = own.json();
    assert_eq!((problem["status"].as_u64(), problem["instance"].as_str()), (Some(405), Some("/apps/shop/schedules/none")));
    assert!(problem["title"].is_string() && problem["detail"].is_string() && problem["type"].is_string(), "{problem}");
    let vendor = [("accept", "application/vnd.heroku+json; version=3")];
    let plain = told("DELETE", "/apps/shop/schedules/none", &vendor, None).2;
    assert!(plain.header("content-type").starts_with("application/json"), "{:?}", plain.headers);
    let encoded = told("GET", "/apps/%ff", &[], None);
    assert!((400..500).contains(&encoded.0), "{}", encoded.0);
}

#[test]
fn section_18_17_range_on_post_is_ignored_and_so_is_an_empty_one() {
    let platform = Platform::start();
    let made = call(&platform, "POST", "/apps", &[("range", "id ..; max=1000")], Some(json!({ "name": "shop" })));
    assert_eq!((made.status, made.header("next-range")), (201, ""));
    let body = json!({ "updates": [{ "buildpack": "heroku/nodejs" }] });
    let put = call(&platform, "PUT", "/apps/shop/buildpack-installations", &[("range", "")], Some(body));
    assert_eq!(put.status, 200, "{}", put.text);
    assert_eq!(call(&platform, "GET", "/apps/shop", &[("range", "bytes=0-9")], None).status, 200, "no list");
}

#[test]
fn section_18_18_cors_preflight_needs_nobody() {
    let platform = Platform::start();
    let asks = [("origin", "https://page.test"), ("access-control-request-method", "PATCH")];
    let answer = platform.request("OPTIONS", "/apps/shop/config-vars", &asks, None);
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (204, "*"));
    assert!(answer.header("access-control-allow-methods").contains("PATCH"));
    assert!(answer.header("access-control-allow-headers").contains("Authorization"));
    let get = call(&platform, "GET", "/account", &[("origin", "https://page.test")], None);
    assert!(get.header("access-control-expose-headers").contains("Next-Range"));
    assert_eq!(get.header("access-control-allow-credentials"), "", "no cookies");
}

#[test]
fn addresses_in_answers_are_those_of_the_client() {
    let platform = Platform::start();
    platform.create("shop");
    let session = |headers: &[(&str, &str)]| {
        let made = call(&platform, "POST", "/apps/shop/log-sessions", headers, Some(json!({})));
        made.json()["logplex_url"].as_str().unwrap().to_string()
    };
    assert!(session(&[]).starts_with(&format!("http://127.0.0.1:{}/", platform.port)));
    assert!(session(&[("host", "localhost:4711")]).starts_with("http://localhost:4711/"));
    assert!(session(&[("x-tidemill-base", "http://localhost:5000")]).starts_with("http://localhost:5000/"));
    assert!(session(&[("x-tidemill-base", "http://evil.test")]).starts_with("http://127.0.0.1:"));
    let app = call(&platform, "GET", "/apps/shop", &[("host", "localhost:4711")], None).json();
    assert_eq!(app["git_url"], "https://localhost:4711/shop.git");
    assert!(app["web_url"].as_str().unwrap().contains("shop.localhost"), "{app}");
}

#[test]
fn paths_and_methods_are_put_right() {
    let platform = Platform::start();
    platform.create("shop");
    for path in ["//apps//shop", "/apps/shop/", "//apps/shop//"] {
        assert_eq!(call(&platform, "GET", path, &[], None).json()["name"], "shop", "{path}");
    }
    let over = [("x-http-method-override", "PATCH")];
    let answer = call(&platform, "POST", "/apps/shop", &over, Some(json!({ "maintenance": true })));
    assert_eq!((answer.status, answer.json()["maintenance"].as_bool()), (200, Some(true)));
    let secret = call(&platform, "GET", "/apps/shop/config-vars", &[], None);
    assert_eq!(secret.header("cache-control"), "private, no-store");
}

#[test]
fn calls_are_counted_and_bad_tokens_are_too() {
    let platform = Platform::start_with(&["--rate-limit-per-hour", "60"]);
    let left = |answer: &Answer| answer.header("ratelimit-remaining").parse::<u64>().unwrap();
    let first = platform.api("GET", "/account", None);
    let second = platform.api("GET", "/account", None);
    assert!(left(&second) < 60 && left(&second) <= left(&first), "{} {}", left(&first), left(&second));
    let free = platform.api("GET", "/account/rate-limits", None);
    assert_eq!(free.json()["remaining"].as_u64(), Some(left(&free)));
    let bad = || platform.request("GET", "/account", &[("authorization", "Bearer wrong")], None);
    let refused = (0..200).map(|_| bad()).find(|answer| answer.status != 401).expect("a limit");
    assert_eq!((refused.status, refused.json()["id"].as_str()), (429, Some("rate_limit")));
    assert!(refused.header("retry-after").parse::<u64>().is_ok_and(|s| s > 0));
    assert_eq!(platform.api("GET", "/account/rate-limits", None).status, 200, "whoever is known has calls of their own");
    let basic = format!("Basic {}", STANDARD.encode(format!(":{}", platform.token)));
    let last =
        (0..200).map(|_| platform.request("GET", "/account", &[("authorization", &basic)], None)).find(|a| a.status != 200);
    assert_eq!(last.map(|a| a.status), Some(429));
}

#[test]
fn the_catalog_follows_the_schema() {
    let platform = Platform::start();
    platform.create("shop");
    let get = |path: &str| {
        let answer = platform.api("GET", path, None);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        answer.json()
    };
    check_list("region", &get("/regions"));
    check_list("dyno-size", &get("/dyno-sizes"));
    check_list("dyno-size", &get("/apps/shop/available-dyno-sizes"));
    check_list("stack", &get("/apps/shop/available-stacks"));
    check_list("generation", &get("/generations"));
    assert_eq!(get("/dyno-sizes/standard-2x")["memory"], 1.0);
    assert_eq!(get("/spaces"), json!([]));
    assert_eq!(get("/apps/shop/releases/v1/config-vars"), json!({}));
    let filtered = platform.api("POST", "/filters/apps", Some(json!({ "in": { "id": ["shop", "none"] } })));
    check_list("app", &filtered.json());
    let schema = |accept: &str| platform.request("GET", "/schema", &[("accept", accept)], None).json();
    assert_eq!(&schema("application/vnd.heroku+json; version=3.sdk"), &::api::published_schemas()[0]);
    assert_eq!(&schema("*/*"), &::api::published_schemas()[1]);
    let nobody = |path: &str| platform.request("GET", path, &[], None);
    assert_eq!(nobody("/buildpacks/heroku%2Fnodejs").json()["full_name"], "heroku/nodejs");
    assert_eq!(nobody("/buildpacks/no%2Fsuch").status, 404);
    assert_eq!(nobody("/api/v4/current-status").json()["incidents"], json!([]));
}

/// What becomes of the links of the schemas.
#[derive(Default)]
struct Fates {
    table: String,
    implemented: usize,
    empty: usize,
    refused: usize,
}

const EMPTY: &str = "none here: always empty, or 404 `not_found`";
const NOT_MADE: &str = "refused: none here";

/// Every link of the schemas, and what becomes of it.
fn endpoints() -> Fates {
    let by_shape = |routes: Vec<::api::Route>| -> BTreeSet<(String, String)> {
        routes.iter().map(|(method, path, _)| (method.to_uppercase(), ::api::shape(path))).collect()
    };
    let (mut routed, nothing) = (by_shape(::api::all_routes()), by_shape(::api::routes_of_nothing()));
    // Asked for by clients without a person, so it is in no family of routes.
    routed.insert(("POST".into(), "/oauth/tokens".into()));
    let (mut rows, mut fates, links) = (String::new(), Fates::default(), ::api::published_links());
    for link in &links {
        let call = (link.method.clone(), ::api::shape(&link.path));
        let fate = if nothing.contains(&call) && link.method == "POST" {
            fates.refused += 1;
            NOT_MADE.into()
        } else if nothing.contains(&call) {
            fates.empty += 1;
            EMPTY.into()
        } else if routed.contains(&call) {
            fates.implemented += 1;
            "implemented".to_string()
        } else {
            fates.refused += 1;
            let row = ::api::refusal(&link.method, &call.1);
            let (_, _, status, id, _) =
                row.unwrap_or_else(|| panic!("{} {} is neither served nor refused", link.method, link.path));
            format!("refused: {status} `{id}`")
        };
        rows.push_str(&format!("| {} | `{}` | {} | {fate} |\n", link.method, link.path, link.title.replace('|', "/")));
    }
    let (all, Fates { implemented, empty, refused, .. }) = (links.len(), &fates);
    fates.table = format!(
        "# Endpoints of the Platform API\n\nMade by a test; do not edit. Of the {all} links of the published schemas (3.sdk and \
         3), {implemented} are implemented ({} %). {empty} more are served and true, but there is nothing of the kind here: lists \
         are empty and single ones are not found (with them {} %). {refused} are refused with an error id; each says what it is \
         and what to use instead.\n\n| method | path | title | here |\n|---|---|---|---|\n{rows}",
        implemented * 100 / all,
        (implemented + empty) * 100 / all,
    );
    fates
}

#[test]
fn the_table_of_endpoints_is_complete_and_up_to_date() {
    let Fates { table, implemented, empty, refused } = endpoints();
    println!("links: {implemented} implemented, {empty} of nothing here, {refused} refused");
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("web/docs/api/endpoints.md");
    if std::env::var_os("WRITE_GOLDEN").is_some() {
        std::fs::create_dir_all(golden.parent().unwrap()).unwrap();
        std::fs::write(&golden, &table).unwrap();
    }
    assert_eq!(table, std::fs::read_to_string(golden).unwrap(), "look at it, then run with WRITE_GOLDEN=1");
}

#[test]
fn what_the_table_says_is_so() {
    let platform = Platform::start();
    let Fates { table, .. } = endpoints();
    for row in table.lines().filter(|line| line.contains("| `/")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let (method, path, fate) = (cells[1], cells[2].trim_matches('`'), cells[cells.len() - 2]);
        let path = path.replace(['{', '}'], "");
        let answer = call(&platform, method, &path, &[], Some(json!({})));
        let id = || answer.json()["id"].as_str().unwrap_or_default().to_string();
        let bodiless = answer.text.is_empty();
        match fate {
            "implemented" => {
                assert!(answer.status < 500 && answer.status != 405, "{method} {path}: {} {}", answer.status, answer.text);
                assert!(!answer.text.contains("endpoint was not found"), "{method} {path}");
            }
            // Of the few that are neither: nothing is owed, nothing was used, no number is known.
            EMPTY => {
                let blank = || answer.json().as_object().is_some_and(|o| o.values().all(|v| v.is_null() || *v == json!([])));
                let empty = answer.status == 200 && (answer.text == "[]" || blank());
                let missing = answer.status == 404 && id() == "not_found";
                assert!(empty || missing, "{method} {path}: {} {}", answer.status, answer.text);
            }
            NOT_MADE => assert!(
                [404, 422].contains(&answer.status) && !bodiless && !id().is_empty(),
                "{method} {path}: {} {}",
                answer.status,
                answer.text
            ),
            _ => {
                assert_eq!(fate, format!("refused: {} `{}`", answer.status, id()), "{method} {path}: {}", answer.text);
                assert_eq!(platform.request(method, &path, &[], None).status, 401, "{method} {path}");
            }
        }
    }
}
