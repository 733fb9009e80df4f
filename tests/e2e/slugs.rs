//! Slugs that are built elsewhere, builds that are cancelled, and caches that are emptied.

use crate::{
    schema::check,
    support::{Platform, Repo, agent, eventually, root_or_skip},
};
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

const SERVER: &str = "import http.server, os\nhttp.server.ThreadingHTTPServer(('', int(os.environ['PORT'])), http.server.SimpleHTTPRequestHandler).serve_forever()\n";

/// A slug as other tools make it: a tar.gz of a folder named app.
fn slug_bytes() -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("app")).unwrap();
    std::fs::write(dir.path().join("app/server.py"), SERVER).unwrap();
    std::fs::write(dir.path().join("app/index.html"), "from a slug").unwrap();
    let file = dir.path().join("slug.tgz");
    let packed = Command::new("tar").arg("-czf").arg(&file).arg("-C").arg(dir.path()).arg("./app").status();
    assert!(packed.unwrap().success());
    std::fs::read(file).unwrap()
}

fn checksum(bytes: &[u8]) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, bytes);
    format!("SHA256:{}", hash.as_ref().iter().map(|b| format!("{b:02x}")).collect::<String>())
}

fn make(platform: &Platform, body: Value) -> Value {
    let made = platform.api("POST", "/apps/shop/slugs", Some(body));
    assert_eq!(made.status, 201, "{}", made.text);
    check("slug", &made.json());
    assert_eq!(made.json()["blob"]["method"], "put");
    made.json()
}

/// Status and error id of an upload to the slug's address.
fn put(platform: &Platform, url: &str, bytes: &[u8]) -> (u16, String) {
    let url = format!("{}{}", platform.base(), &url[url.find("/streams").unwrap()..]);
    let mut answer = agent().put(&url).send(bytes).unwrap();
    (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
}

#[test]
fn a_slug_from_elsewhere_is_uploaded_released_and_served() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = Platform::start();
    platform.create("shop");
    let bytes = slug_bytes();
    let types = json!({ "web": "exec python3 -u server.py" });
    let body =
        json!({ "process_types": types, "checksum": checksum(&bytes), "commit": "60883d9e8947a57e04dc9124f25df004866a2051" });
    let slug = make(&platform, body.clone());
    let (id, url) = (slug["id"].as_str().unwrap(), slug["blob"]["url"].as_str().unwrap());
    let release = |slug: &str| platform.api("POST", "/apps/shop/releases", Some(json!({ "slug": slug })));
    assert_eq!(release(id).status, 422, "it has no bytes yet");
    assert_eq!(put(&platform, &url[..url.len() - 1], &bytes).0, 404, "another secret");
    let shown = platform.api("GET", &format!("/apps/shop/slugs/{id}"), None).json();
    let readable = shown["blob"]["url"].as_str().unwrap();
    assert_eq!(put(&platform, readable, &bytes).0, 404, "the address to read from takes nothing");
    let (status, text) = put(&platform, url, b"something else");
    assert!(status == 422 && text.contains("checksum"), "{text}");
    assert_eq!(put(&platform, url, &bytes).0, 200);
    assert_eq!(put(&platform, url, &bytes).0, 409, "once");
    let shown = platform.api("GET", &format!("/apps/shop/slugs/{id}"), None).json();
    check("slug", &shown);
    assert_eq!((&shown["size"], &shown["blob"]["method"]), (&json!(bytes.len()), &json!("get")));
    let released = release(id);
    assert_eq!(released.status, 201, "{}", released.text);
    check("release", &released.json());
    assert_eq!(released.json()["description"], "Deploy 60883d9e");
    eventually("it serves", || (platform.web("shop", "/index.html").text == "from a slug").then_some(()));
    let torn = make(&platform, json!({ "process_types": types }));
    let (status, text) = put(&platform, torn["blob"]["url"].as_str().unwrap(), &bytes[..bytes.len() / 2]);
    assert!(status == 422 && text.contains("gzip"), "{text}");
    for bad in [json!({}), json!({ "process_types": { "a b": "x" } }), json!({ "process_types": types, "checksum": "x" })] {
        let refused = platform.api("POST", "/apps/shop/slugs", Some(bad));
        assert_eq!(refused.status, 422, "{}", refused.text);
    }
}

/// A buildpack in a repository of the server, and builds of `shop` with it.
fn with_pack(platform: &Platform, compile: &str) -> Repo {
    let pack = Repo::empty();
    pack.write("bin/detect", "#!/bin/sh\necho Mine\n").write("bin/compile", compile).commit("pack");
    let set = json!({ "updates": [{ "buildpack": format!("file://{}", pack.dir.path().display()) }] });
    assert_eq!(platform.api("PUT", "/apps/shop/buildpack-installations", Some(set)).status, 200);
    pack
}

#[test]
fn a_build_cache_is_kept_until_it_is_emptied() {
    if !root_or_skip("building") {
        return;
    }
    let platform = Platform::start();
    platform.create("shop");
    let _pack = with_pack(&platform, "#!/bin/sh\nls \"$2\"\ntouch \"$2/kept-file\"\n");
    let repo = Repo::of("procfile");
    assert!(!repo.deploy(&platform, "shop").contains("kept-file"));
    repo.commit("two");
    assert!(repo.deploy(&platform, "shop").contains("kept-file"), "the cache is there");
    let cleared = platform.api("DELETE", "/apps/shop/build-cache", None);
    assert_eq!((cleared.status, cleared.text.as_str()), (200, "{}"));
    repo.commit("three");
    assert!(!repo.deploy(&platform, "shop").contains("kept-file"), "the cache was emptied");
}

#[test]
fn a_build_that_runs_is_cancelled_and_leaves_the_next_one_free() {
    if !root_or_skip("building") {
        return;
    }
    let platform = Platform::start();
    platform.create("shop");
    let _slow = with_pack(&platform, "#!/bin/sh\necho first-line\nsleep 600\n");
    let repo = Repo::of("procfile");
    let mut child = repo.command().args(["push", &platform.git_url("shop"), "main"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|l| l.contains("first-line")));
    let builds = platform.api("GET", "/apps/shop/builds", None).json();
    let path = format!("/apps/shop/builds/{}", builds[0]["id"].as_str().unwrap());
    let begun = Instant::now();
    let cancelled = platform.api("DELETE", &path, None);
    assert_eq!((cancelled.status, &cancelled.json()["status"]), (200, &json!("failed")), "{}", cancelled.text);
    check("build", &cancelled.json());
    let rest: Vec<String> = lines.collect();
    assert!(rest.iter().any(|l| l.contains("build cancelled by")), "{rest:?}");
    assert!(!child.wait().unwrap().success() && begun.elapsed() < Duration::from_secs(60));
    assert_eq!(platform.api("DELETE", &path, None).status, 409, "it has ended");
    assert_eq!(platform.api("GET", &path, None).json()["failure"], cancelled.json()["failure"]);
    let releases = platform.api("GET", "/apps/shop/releases", None).json();
    assert_eq!(releases.as_array().unwrap().len(), 2, "it made no release");
    eventually("nothing of it runs", || platform.cages().is_empty().then_some(()));
    let _quick = with_pack(&platform, "#!/bin/sh\ntrue\n");
    repo.deploy(&platform, "shop");
}

#[test]
fn what_is_empty_here_says_so_and_preferences_are_kept() {
    let platform = Platform::start();
    platform.create("shop");
    assert_eq!(platform.api("POST", "/teams", Some(json!({ "name": "crew" }))).status, 201);
    let get = |path: &str| platform.api("GET", path, None);
    for (path, definition) in [
        ("/account/delinquency", "account-delinquency"),
        ("/teams/crew/delinquency", "team-delinquency"),
        ("/users/~/sms-number", "sms-number"),
        ("/users/~/preferences", "user-preferences"),
        ("/teams/crew/usage", "usage"),
    ] {
        let answer = get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        if definition != "usage" {
            check(definition, &answer.json());
        }
    }
    for list in
        ["invoices", "spaces", "licenses", "license-collections", "identity-providers", "allowed-addon-services", "addons"]
    {
        let answer = get(&format!("/teams/crew/{list}"));
        assert_eq!((answer.status, answer.text.as_str()), (200, "[]"), "{list}");
    }
    crate::schema::check_list("generation", &get("/teams/crew/available-generations").json());
    let strange = get("/teams/nobodys/invoices");
    assert_eq!((strange.status, strange.json()["resource"].as_str()), (404, Some("team")));
    let set = |body: Value| platform.api("PATCH", "/users/~/preferences", Some(body));
    let kept = set(json!({ "timezone": "UTC", "dismissed-sms-banner": true, "nonsense": 1 }));
    assert_eq!((kept.status, &kept.json()["timezone"]), (200, &json!("UTC")), "{}", kept.text);
    check("user-preferences", &kept.json());
    assert_eq!(kept.json().get("nonsense"), None);
    assert_eq!(set(json!({ "timezone": 7 })).status, 422);
    assert_eq!(set(json!({ "timezone": null })).json()["timezone"], Value::Null);
    assert_eq!(get("/users/~/preferences").json()["dismissed-sms-banner"], true);
    let settings = json!({ "config": [{ "key": "A", "value": "1" }, { "key": "B", "value": null }] });
    let changed = platform.api("PATCH", "/apps/shop/config-vars-settings", Some(settings));
    assert_eq!((changed.status, &changed.json()[0]["value"]), (200, &json!("1")), "{}", changed.text);
    let masked = json!({ "config": [{ "key": "A", "masked": true }] });
    assert_eq!(platform.api("PATCH", "/apps/shop/config-vars-settings", Some(masked)).status, 422);
    assert_eq!(get("/apps/shop/config-vars").json(), json!({ "A": "1" }));
    // Older clients send numbers.
    let on = platform.api("PATCH", "/apps/shop", Some(json!({ "maintenance": 1 })));
    assert_eq!((on.status, &on.json()["maintenance"]), (200, &json!(true)));
    assert_eq!(platform.api("PATCH", "/apps/shop", Some(json!({ "maintenance": "on" }))).status, 422);
    assert_eq!(get("/pipelines/none/review-app-config").status, 410);
}
