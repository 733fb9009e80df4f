//! What an attacker would try and no other file does: a session put under somebody, paths out of the repositories, ids of other
//! people's things under one's own app, sources on inner addresses. Forms from elsewhere, frames, redirects, markup and header
//! lines are in `dashboard.rs`, guessing in `sign_in.rs` and `first_run.rs`, webhooks and drains in their files.

use crate::{
    dashboard::admin,
    matrix::{call, join},
    sign_in::{Browser, PASSWORD},
    support::*,
};
use serde_json::{Value, json};

#[test]
fn a_session_that_was_put_under_somebody_is_nobodys() {
    let platform = Platform::start();
    join(&platform, "ana@example.com", "member");
    let ana = Browser::new(&platform);
    let planted = "x".repeat(43);
    for name in ["tidemill_session", "tidemill_form"] {
        ana.cookies.borrow_mut().push((name.into(), planted.clone()));
    }
    assert_eq!(ana.sign_in("ana@example.com", PASSWORD).status, 303);
    let session = ana.cookies.borrow().iter().rfind(|(name, _)| name == "tidemill_session").unwrap().1.clone();
    assert_ne!(session, planted, "signing in makes a session of its own");
    assert_eq!(ana.get("/account/settings").status, 200);
    let eve = Browser::new(&platform);
    eve.cookies.borrow_mut().push(("tidemill_session".into(), planted));
    assert_eq!(eve.get("/account/settings").status, 303, "what was planted signs nobody in");
    // Another sign-in at the same browser is another session, and signing out ends it for good.
    let token = ana.token("/account/settings");
    let out = crate::sign_in::form(&[("token", &token)]);
    assert_eq!(ana.send("POST", "/logout", &[("origin", &platform.base())], Some(out)).status, 303);
    let thief = Browser::new(&platform);
    thief.cookies.borrow_mut().push(("tidemill_session".into(), session));
    assert_eq!(thief.get("/account/settings").status, 303);
}

#[test]
fn no_path_leads_out_of_a_repository() {
    let platform = Platform::start();
    platform.create("shop");
    let key = platform.data_dir().join("keys/master.key");
    assert!(key.exists());
    let secret = std::fs::read(key).unwrap();
    let basic = crate::sign_in::basic("x", &platform.token);
    for path in [
        "/shop.git/../../keys/master.key",
        "/shop.git/%2e%2e/%2e%2e/keys/master.key",
        "/shop.git/..%2f..%2fkeys%2fmaster.key",
        "/shop.git/objects/../../../keys/master.key",
        "/..%2fkeys.git/info/refs?service=git-upload-pack",
        "/%2e%2e/keys.git/info/refs?service=git-upload-pack",
        "/shop%00.git/info/refs?service=git-upload-pack",
        "/--upload-pack=id.git/info/refs?service=git-upload-pack",
        "/shop.git/info/refs?service=git-upload-archive",
        "/shop.git/HEAD",
        "/shop.git/config",
    ] {
        // As it is: clients would tidy the path up.
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: {basic}\r\nconnection: close\r\n\r\n");
        let answer = raw(platform.port, request.as_bytes());
        let status: u16 = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or_else(|| panic!("{path}: {answer}"));
        assert!((400..500).contains(&status), "{path}: {answer}");
        assert!(!answer.as_bytes().windows(secret.len()).any(|w| w == secret), "{path}");
    }
}

/// Makes one of each thing below an app and gives the paths that name them by id.
fn things(platform: &Platform, token: &str, app: &str) -> Vec<(&'static str, String)> {
    let made = |path: &str, body: Value| {
        let answer = call(platform, token, "POST", &format!("/apps/{app}/{path}"), body);
        assert!(answer.status < 300, "{path}: {}", answer.text);
        answer.json()["id"].as_str().unwrap().to_string()
    };
    let domain = made("domains", json!({ "hostname": format!("www.{app}.example"), "sni_endpoint": null }));
    let drain = made("log-drains", json!({ "url": "https://203.0.113.9/drain" }));
    let hook = made("webhooks", json!({ "include": ["api:release"], "level": "notify", "url": "https://203.0.113.9/hook" }));
    let config = call(platform, token, "PATCH", &format!("/apps/{app}/config-vars"), json!({ "A": app }));
    assert_eq!(config.status, 200);
    let releases = call(platform, token, "GET", &format!("/apps/{app}/releases"), json!({})).json();
    let release = releases[0]["id"].as_str().unwrap().to_string();
    vec![("domains", domain), ("log-drains", drain), ("webhooks", hook), ("releases", release)]
}

#[test]
fn ids_of_others_open_nothing_under_an_app_of_ones_own() {
    let platform = Platform::start();
    let (ana, bo) = (join(&platform, "ana@example.com", "member"), join(&platform, "bo@example.com", "member"));
    for (who, app) in [(&ana, "shop"), (&bo, "blog")] {
        assert_eq!(call(&platform, who, "POST", "/apps", json!({ "name": app })).status, 201);
    }
    for (kind, id) in things(&platform, &ana, "shop") {
        for (method, path) in [("GET", format!("/apps/shop/{kind}/{id}")), ("GET", format!("/apps/blog/{kind}/{id}"))] {
            let answer = call(&platform, &bo, method, &path, json!({}));
            assert!([403, 404].contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.text);
        }
        if kind != "releases" {
            let path = format!("/apps/blog/{kind}/{id}");
            let answer = call(&platform, &bo, "DELETE", &path, json!({}));
            assert_eq!(answer.status, 404, "DELETE {path}: {}", answer.text);
        }
        assert_eq!(
            call(&platform, &ana, "GET", &format!("/apps/shop/{kind}/{id}"), json!({})).status,
            200,
            "{kind} is still hers"
        );
    }
    let releases = call(&platform, &ana, "GET", "/apps/shop/releases", json!({})).json();
    let theirs = call(&platform, &bo, "POST", "/apps/blog/releases", json!({ "release": releases[0]["id"] }));
    assert!((400..500).contains(&theirs.status), "{}", theirs.text);
    // Nobody makes oneself more than one is.
    let own = call(&platform, &bo, "GET", "/account", json!({})).json()["id"].as_str().unwrap().to_string();
    for who in ["bo@example.com", own.as_str()] {
        assert_eq!(call(&platform, &bo, "PATCH", &format!("/members/{who}"), json!({ "role": "admin" })).status, 403);
    }
    let change = call(&platform, &bo, "PATCH", "/account", json!({ "role": "admin", "admin": true, "id": "1" }));
    assert!(change.status < 500);
    assert_eq!(call(&platform, &bo, "GET", "/members", json!({})).status, 403, "still a member");
    assert_eq!(call(&platform, &bo, "GET", "/machine/checks", json!({})).status, 403);
    let page = admin(&platform).get("/members").text;
    assert!(page.contains("bo@example.com"), "{page}");
}

#[test]
fn sources_on_inner_addresses_are_not_fetched() {
    let platform = Platform::start();
    platform.create("shop");
    let inner = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    inner.set_nonblocking(true).unwrap();
    let port = inner.local_addr().unwrap().port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0.0.0.0"] {
        let source = json!({ "source_blob": { "url": format!("http://{host}:{port}/app.tgz") } });
        let answer = platform.api("POST", "/apps/shop/builds", Some(source));
        if answer.status == 201 {
            let path = format!("/apps/shop/builds/{}", answer.json()["id"].as_str().unwrap());
            let ended = eventually("the build ends", || {
                let status = platform.api("GET", &path, None).json()["status"].as_str().unwrap().to_string();
                (status != "pending").then_some(status)
            });
            assert_eq!(ended, "failed", "{host}");
        } else {
            assert_eq!(answer.status, 422, "{host}: {}", answer.text);
        }
        assert!(inner.accept().is_err(), "{host}: nobody knocked");
    }
}
