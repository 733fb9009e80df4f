//! Signing in: authorizations, passwords, the second factor, browsers, the log-in of command lines.

use crate::{
    schema::{check, check_list},
    support::*,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::process::{Command, Stdio};

/// The official command line; where it is not installed, the calls that it makes are tested all the same.
pub const PASSWORD: &str = "correct horse battery";

pub fn basic(name: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{secret}")))
}

/// A browser without script: cookies, forms, no redirects.
pub struct Browser<'a> {
    pub platform: &'a Platform,
    pub cookies: std::cell::RefCell<Vec<(String, String)>>,
}

impl<'a> Browser<'a> {
    pub fn new(platform: &'a Platform) -> Self {
        Self { platform, cookies: std::cell::RefCell::default() }
    }

    pub fn send(&self, method: &str, path: &str, more: &[(&str, &str)], body: Option<String>) -> Answer {
        let cookies: Vec<String> = self.cookies.borrow().iter().map(|(k, v)| format!("{k}={v}")).collect();
        let cookies = cookies.join("; ");
        let mut headers = vec![("cookie", cookies.as_str()), ("accept", "text/html,application/xhtml+xml,*/*;q=0.8")];
        if body.is_some() {
            headers.push(("content-type", "application/x-www-form-urlencoded"));
        }
        headers.extend_from_slice(more);
        let answer = self.platform.request(method, path, &headers, body);
        for set in answer.headers.get_all("set-cookie") {
            let text = set.to_str().unwrap();
            assert!(text.contains("; HttpOnly; SameSite=Lax"), "{text}");
            let (name, value) = text.split(';').next().unwrap().split_once('=').unwrap();
            let mut jar = self.cookies.borrow_mut();
            jar.retain(|(known, _)| known != name);
            if !text.contains("Max-Age=0") {
                jar.push((name.into(), value.into()));
            }
        }
        answer
    }

    pub fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], None)
    }

    /// The token of the forms of a page.
    pub fn token(&self, page: &str) -> String {
        let text = self.get(page).text;
        let (_, rest) = text.split_once("name=\"token\" value=\"").unwrap_or_else(|| panic!("no form: {text}"));
        rest.split('"').next().unwrap().to_string()
    }

    /// Sends a form as the page `page` would.
    pub fn post(&self, page: &str, path: &str, fields: &[(&str, &str)]) -> Answer {
        let token = self.token(page);
        let origin = self.platform.base();
        self.send("POST", path, &[("origin", &origin)], Some(form(&[fields, &[("token", &token)]].concat())))
    }

    pub fn sign_in(&self, email: &str, password: &str) -> Answer {
        self.post("/login", "/login", &[("email", email), ("password", password)])
    }
}

pub fn form(fields: &[(&str, &str)]) -> String {
    let escaped = |text: &str| text.bytes().map(|b| format!("%{b:02X}")).collect::<String>();
    fields.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect::<Vec<_>>().join("&")
}

/// Sets the admin's password; returns the e-mail.
pub fn with_password(platform: &Platform) -> String {
    let answer = platform.api("PATCH", "/account", Some(json!({ "new_password": PASSWORD })));
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["email"].as_str().unwrap().to_string()
}

fn with(platform: &Platform, token: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
    platform.request(method, path, &[("authorization", &format!("Bearer {token}"))], body.map(|b| b.to_string()))
}

fn make(platform: &Platform, body: Value) -> (String, String) {
    let answer = platform.api("POST", "/oauth/authorizations", Some(body));
    assert_eq!(answer.status, 201, "{}", answer.text);
    check("oauth-authorization", &answer.json());
    let text = |value: &Value| value.as_str().unwrap().to_string();
    (text(&answer.json()["id"]), text(&answer.json()["access_token"]["token"]))
}

#[test]
fn section_18_3_authorizations_of_nothing_and_with_an_end_in_a_string() {
    let platform = Platform::start();
    let (id, token) = make(&platform, json!({}));
    let one = platform.api("GET", &format!("/oauth/authorizations/{id}"), None).json();
    assert_eq!(one["description"], "Long-lived user authorization");
    assert_eq!((&one["scope"], &one["access_token"]["expires_in"]), (&json!(["global"]), &Value::Null));
    let shown = one["access_token"]["token"].as_str().unwrap().to_string();
    let prefix = shown.strip_suffix("**********").unwrap();
    assert!(token.starts_with(prefix) && token.len() > prefix.len() + 30, "{shown}");
    let list = platform.api("GET", "/oauth/authorizations", None);
    check_list("oauth-authorization", &list.json());
    assert!(!list.text.contains(&token) && list.text.contains(&shown));
    let (_, long) = make(&platform, json!({ "expires_in": "3600", "description": "ci", "scope": ["read"] }));
    let own = with(&platform, &long, "GET", "/oauth/authorizations", None).json();
    assert_eq!(own.as_array().unwrap().len(), 1, "a token of a narrow scope sees itself only");
    assert!((3590..=3600).contains(&own[0]["access_token"]["expires_in"].as_u64().unwrap()));
    let (short_id, short) = make(&platform, json!({ "expires_in": 1 }));
    eventually("it ends", || (with(&platform, &short, "GET", "/account", None).status == 401).then_some(()));
    assert_eq!(platform.api("GET", &format!("/oauth/authorizations/{short_id}"), None).status, 404);
    let patched = platform.api("PATCH", &format!("/oauth/authorizations/{id}"), Some(json!({ "description": "laptop" })));
    assert_eq!((patched.status, patched.json()["description"].as_str()), (200, Some("laptop")));
    let rotated = platform.api("POST", &format!("/oauth/authorizations/{id}/actions/regenerate-tokens"), None);
    let new = rotated.json()["access_token"]["token"].as_str().unwrap().to_string();
    assert_eq!((rotated.status, rotated.json()["id"].as_str()), (201, Some(id.as_str())));
    assert_eq!(with(&platform, &token, "GET", "/account", None).status, 401);
    assert_eq!(with(&platform, &new, "GET", "/account", None).status, 200);
    for (bad, status) in [
        (json!({ "scope": ["root"] }), 422),
        (json!({ "expires_in": "soon" }), 422),
        (json!({ "expires_in": 0 }), 422),
        (json!({ "description": "a\nb" }), 422),
        (json!({ "app": "nosuch" }), 404),
    ] {
        assert_eq!(platform.api("POST", "/oauth/authorizations", Some(bad.clone())).status, status, "{bad}");
    }
    let missing = platform.api("GET", "/oauth/authorizations/~", None);
    assert_eq!((missing.status, missing.json()["resource"].as_str()), (404, Some("authorization")));
    let session = platform.api("DELETE", "/oauth/sessions/~", None);
    assert_eq!((session.status, session.json()["resource"].as_str()), (404, Some("session")));
    assert_eq!(with(&platform, &long, "DELETE", &format!("/oauth/authorizations/{id}"), None).status, 403);
    let itself = own[0]["id"].as_str().unwrap();
    assert_eq!(with(&platform, &long, "DELETE", &format!("/oauth/authorizations/{itself}"), None).status, 200);
    assert_eq!(with(&platform, &long, "GET", "/account", None).status, 401);
}

#[test]
fn scopes_allow_what_they_say_and_no_more() {
    let platform = Platform::start();
    platform.create("shop");
    // Account, read, config vars, scale, set config vars, more tokens.
    let calls = [
        ("GET", "/account", Value::Null),
        ("GET", "/apps/shop", Value::Null),
        ("GET", "/apps/shop/config-vars", Value::Null),
        ("PATCH", "/apps/shop", json!({ "maintenance": true })),
        ("PATCH", "/apps/shop/config-vars", json!({ "A": "1" })),
        ("POST", "/oauth/authorizations", json!({})),
    ];
    for (scope, allowed) in [
        ("identity", "200 403 403 403 403 403"),
        ("read", "200 200 403 403 403 403"),
        ("read-protected", "200 200 200 403 403 403"),
        ("write", "200 200 403 200 403 403"),
        ("write-protected", "200 200 200 200 200 403"),
        ("global", "200 200 200 200 200 201"),
    ] {
        let (_, token) = make(&platform, json!({ "scope": [scope] }));
        let status = |(method, path, body): &(&str, &str, Value)| {
            with(&platform, &token, method, path, (!body.is_null()).then(|| body.clone())).status.to_string()
        };
        assert_eq!(calls.iter().map(status).collect::<Vec<_>>().join(" "), allowed, "{scope}");
    }
}

#[test]
fn a_deploy_token_pushes_to_its_app_and_does_nothing_else() {
    if !root_or_skip("running builds") {
        return;
    }
    let platform = Platform::start();
    platform.create("shop");
    platform.create("other");
    let (id, token) = make(&platform, json!({ "app": "shop", "description": "ci" }));
    let one = platform.api("GET", &format!("/oauth/authorizations/{id}"), None).json();
    assert_eq!((&one["app"]["name"], &one["scope"]), (&json!("shop"), &json!(["write"])));
    let repo = Repo::of("procfile");
    let push = |app: &str| {
        let url = format!("http://x:{token}@127.0.0.1:{}/{app}.git", platform.port);
        repo.command().args(["push", &url, "main"]).output().unwrap()
    };
    assert!(!push("other").status.success());
    let pushed = push("shop");
    assert!(pushed.status.success(), "{}", String::from_utf8_lossy(&pushed.stderr));
    let status = |method: &str, path: &str, body| with(&platform, &token, method, path, body).status;
    assert_eq!(status("GET", "/apps/shop", None), 200);
    assert_eq!(status("GET", "/apps/other", None), 403);
    assert_eq!(status("GET", "/apps/shop/config-vars", None), 403);
    assert_eq!(status("DELETE", "/apps/shop", None), 403);
    assert_eq!(status("POST", "/apps", Some(json!({}))), 403);
    assert_eq!(status("POST", "/oauth/authorizations", Some(json!({}))), 403);
    assert_eq!(platform.api("DELETE", "/apps/shop", None).status, 200);
    assert_eq!(status("GET", "/account", None), 401, "it ends with its app");
}

#[test]
fn a_password_signs_in_at_one_place_and_wrong_ones_wait() {
    let platform = Platform::start();
    let email = with_password(&platform);
    let login = |name: &str, password: &str| {
        let body = json!({ "description": "Heroku CLI login from x", "expires_in": 2592000, "scope": ["global"] });
        let headers = [("authorization", &*basic(name, password)), ("accept", "application/vnd.heroku+json; version=3")];
        platform.request("POST", "/oauth/authorizations", &headers, Some(body.to_string()))
    };
    let answer = login(&email, PASSWORD);
    assert_eq!((answer.status, answer.json()["user"]["email"].as_str()), (201, Some(email.as_str())));
    let token = answer.json()["access_token"]["token"].as_str().unwrap().to_string();
    let account = with(&platform, &token, "GET", "/account", None).json();
    assert!(account["last_login"].is_string());
    for (method, path) in [("GET", "/account"), ("GET", "/oauth/authorizations"), ("POST", "/apps")] {
        assert_eq!(platform.request(method, path, &[("authorization", &basic(&email, PASSWORD))], None).status, 401);
    }
    assert_eq!(platform.api("PATCH", "/account", Some(json!({ "new_password": "other secret" }))).status, 403);
    for bad in ["short", &email] {
        let body = json!({ "password": PASSWORD, "new_password": bad });
        assert_eq!(platform.api("PATCH", "/account", Some(body)).status, 422);
    }
    // An account that is not there is refused in the same words, and slowed down as well.
    for name in [email.as_str(), "nobody@example.com"] {
        let answers: Vec<Answer> = (0..8).map(|_| login(name, "wrong password")).collect();
        assert_eq!((answers[0].status, answers[0].json()["id"].as_str()), (401, Some("unauthorized")));
        let late = answers.iter().find(|answer| answer.status == 429).expect("it is slowed down");
        assert_eq!(late.json()["id"], "rate_limit");
        assert!((1..=300).contains(&late.header("retry-after").parse::<u64>().unwrap()));
    }
    assert_eq!(with(&platform, &token, "GET", "/account", None).status, 200, "tokens do not wait");
    eventually("the right one is let in again", || (login(&email, PASSWORD).status == 201).then_some(()));
    let said = platform.output();
    for secret in [PASSWORD, "wrong password", &token, &platform.token] {
        assert!(!said.contains(secret), "in the log");
    }
}

/// The code of an app that makes codes, by a reference in another language.
pub fn code(secret: &str, steps: i64) -> String {
    let script = "import base64,hmac,struct,sys,time\nk=base64.b32decode(sys.argv[1]);c=int(time.time())//30+int(sys.argv[2])\nd=hmac.new(k,struct.pack('>Q',c),'sha1').digest();o=d[-1]&15\nprint('%06d'%((struct.unpack('>I',d[o:o+4])[0]&0x7fffffff)%1000000))";
    let output = Command::new("python3").args(["-c", script, secret, &steps.to_string()]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

#[test]
fn section_18_16_two_factor_with_and_without_an_app_and_each_code_counts_once() {
    let platform = Platform::start();
    assert_eq!(platform.api("POST", "/account/two-factor", None).status, 422, "a password first");
    let email = with_password(&platform);
    platform.create("shop");
    let started = platform.api("POST", "/account/two-factor", None);
    assert_eq!(started.status, 201);
    let secret = started.json()["secret"].as_str().unwrap().to_string();
    assert!(started.json()["url"].as_str().unwrap().starts_with("otpauth://totp/Tidemill:admin@localhost?secret="));
    let put = |code: &str| platform.api("PUT", "/account/two-factor", Some(json!({ "code": code })));
    assert_eq!(put("000000").status, 403);
    assert_eq!(platform.api("GET", "/account", None).json()["two_factor_authentication"], false);
    let first = code(&secret, -1);
    let on = put(&first);
    assert_eq!(on.status, 200, "{}", on.text);
    let recovery = on.json()["recovery_codes"][0].as_str().unwrap().to_string();
    assert_eq!(platform.api("GET", "/account", None).json()["two_factor_authentication"], true);
    let login = |code: Option<&str>| {
        let basic = basic(&email, PASSWORD);
        let mut headers = vec![("authorization", basic.as_str())];
        headers.extend(code.map(|code| ("heroku-two-factor-code", code)));
        platform.request("POST", "/oauth/authorizations", &headers, None)
    };
    let asked = login(None);
    assert_eq!((asked.status, asked.json()["id"].as_str()), (403, Some("two_factor")));
    assert!(asked.json()["message"].is_string() && asked.json()["app"].is_null());
    assert_eq!(login(Some(&first)).status, 403, "used already");
    let now = code(&secret, 0);
    let token = login(Some(&now)).json()["access_token"]["token"].as_str().unwrap().to_string();
    assert_eq!(login(Some(&now)).json()["id"], "two_factor", "a code counts once");
    assert_eq!(login(Some(&recovery)).status, 201);
    assert_eq!(login(Some(&recovery)).status, 403, "so does a recovery code");
    // An app can ask, too: once for some minutes, for the token that the code came with.
    let feature = json!({ "enabled": true });
    assert_eq!(platform.api("PATCH", "/apps/shop/features/two-factor", Some(feature)).status, 200);
    let config = |token: &str| with(&platform, token, "GET", "/apps/shop/config-vars", None);
    let asked = config(&token);
    assert_eq!((asked.status, &asked.json()["id"]), (403, &json!("two_factor")));
    assert_eq!(asked.json()["app"], json!({ "name": "shop" }));
    assert_eq!(with(&platform, &token, "GET", "/apps/shop", None).status, 200);
    let off = with(&platform, &token, "PATCH", "/apps/shop/features/two-factor", Some(json!({ "enabled": false })));
    assert_eq!(off.status, 403, "else it would be no help");
    let bearer = format!("Bearer {token}");
    let next = on.json()["recovery_codes"][1].as_str().unwrap().to_lowercase();
    let headers = [("authorization", bearer.as_str()), ("heroku-two-factor-code", next.as_str())];
    assert_eq!(platform.request("PUT", "/apps/shop/pre-authorizations", &headers[..1], None).status, 403);
    assert_eq!(platform.request("PUT", "/apps/shop/pre-authorizations", &headers, None).status, 200);
    assert_eq!(config(&token).status, 200);
    assert_eq!(config(&platform.token).status, 403, "another token");
    assert_eq!(with(&platform, &token, "DELETE", "/apps/shop", None).status, 200);
    // A restart forgets nothing that was used.
    let stop = |code: &str| platform.api("DELETE", "/account/two-factor", Some(json!({ "code": code })));
    assert_eq!(stop(&now).status, 403);
    let last = on.json()["recovery_codes"][2].as_str().unwrap().to_string();
    assert_eq!(stop(&last).status, 200);
    assert_eq!(login(None).status, 201);
    let said = platform.output();
    assert!([&secret, &now, &recovery, &last].iter().all(|secret| !said.contains(*secret)), "in the log");
}

#[test]
fn browsers_sign_in_with_forms_of_ours_and_out_again() {
    let platform = Platform::start();
    let email = with_password(&platform);
    let browser = Browser::new(&platform);
    let page = browser.get("/account/settings");
    assert_eq!((page.status, page.header("location")), (303, "/login?next=/account/settings"));
    let form_page = browser.get("/login");
    assert!(form_page.header("content-security-policy").contains("default-src 'none'"));
    let wrong = browser.sign_in(&email, "wrong password");
    assert!(wrong.status == 422 && wrong.text.contains("E-mail or password is wrong."), "{}", wrong.text);
    // From elsewhere, without the token, with another's: refused.
    let token = browser.token("/login");
    let body = |token: &str| Some(form(&[("email", &email), ("password", PASSWORD), ("token", token)]));
    for (headers, token) in [
        (vec![("origin", "http://evil.example")], token.as_str()),
        (vec![("origin", "null")], token.as_str()),
        (vec![("sec-fetch-site", "cross-site")], token.as_str()),
        (vec![], ""),
        (vec![], "other"),
    ] {
        let answer = browser.send("POST", "/login", &headers, body(token));
        assert_eq!((answer.status, answer.header("set-cookie")), (403, ""), "{headers:?}");
    }
    let other = Browser::new(&platform);
    assert_eq!(other.sign_in(&email, PASSWORD).status, 303);
    assert_eq!(browser.sign_in(&email, PASSWORD).header("location"), "/");
    let page = browser.get("/account/settings").text;
    assert!(page.contains(&email) && page.contains("(this one)") && page.contains("admin token file"), "{page}");
    let sessions = platform.api("GET", "/oauth/sessions", None).json();
    assert_eq!(sessions.as_array().unwrap().len(), 2);
    // A cookie is for pages, not for the API.
    let cookie = browser.cookies.borrow().iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("; ");
    assert_eq!(platform.request("GET", "/account", &[("cookie", &cookie)], None).status, 401);
    let stolen = browser.send("POST", "/account/settings/password", &[], Some(form(&[("new_password", "evil evil evil")])));
    assert_eq!(stolen.status, 403);
    // A token is taken back by its button.
    let (id, made) = make(&platform, json!({ "description": "old laptop" }));
    assert_eq!(browser.post("/account/settings", "/account/settings/token", &[("id", &id)]).status, 303);
    assert_eq!(with(&platform, &made, "GET", "/account", None).status, 401);
    // A new password signs the others out.
    let change = [("password", PASSWORD), ("new_password", "another secret")];
    let changed = browser.post("/account/settings", "/account/settings/password", &change);
    assert!(changed.text.contains("The password was changed"), "{}", changed.text);
    assert_eq!(other.get("/account/settings").status, 303);
    assert_eq!(browser.get("/account/settings").status, 200);
    let last = platform.api("GET", "/oauth/sessions", None).json()[0]["id"].as_str().unwrap().to_string();
    assert_eq!(browser.post("/account/settings", "/logout", &[]).header("location"), "/login");
    assert_eq!(browser.get("/account/settings").status, 303);
    assert_eq!(platform.api("DELETE", &format!("/oauth/sessions/{last}"), None).status, 404);
    assert_eq!(other.sign_in(&email, "another secret").status, 303);
    let last = platform.api("GET", "/oauth/sessions", None).json()[0]["id"].as_str().unwrap().to_string();
    assert_eq!(platform.api("DELETE", &format!("/oauth/sessions/{last}"), None).status, 200);
    assert_eq!(other.get("/account/settings").status, 303);
}

#[test]
fn cookies_are_for_the_way_that_the_request_came() {
    let platform = Platform::start();
    let cookies = |scheme: &str| {
        let page = format!("{scheme}://127.0.0.1:{}/login", platform.port);
        let output = Command::new("curl").args(["-s", "-k", "-D", "-", "-o", "/dev/null", &page]).output().unwrap();
        let head = String::from_utf8_lossy(&output.stdout).to_lowercase();
        head.lines().filter(|line| line.starts_with("set-cookie:")).map(String::from).collect::<Vec<_>>()
    };
    let plain = cookies("http");
    assert!(!plain.is_empty() && plain.iter().all(|cookie| !cookie.contains("secure")), "a browser would drop it: {plain:?}");
    let tls = cookies("https");
    let kept = |cookie: &String| cookie.contains("__host-") && cookie.contains("; secure") && cookie.contains("; httponly");
    assert!(!tls.is_empty() && tls.iter().all(kept), "it could be read on the way: {tls:?}");
}

#[test]
fn the_second_factor_is_set_up_on_the_account_page() {
    let platform = Platform::start();
    let email = with_password(&platform);
    let browser = Browser::new(&platform);
    browser.sign_in(&email, PASSWORD);
    let path = "/account/settings/two-factor";
    let page = browser.post("/account/settings", path, &[("do", "start")]).text;
    assert!(page.contains("<svg class=\"qr\""), "{page}");
    let secret = page.split("<p><code>").nth(1).unwrap().split('<').next().unwrap().to_string();
    let wrong = browser.post("/account/settings", path, &[("do", "confirm"), ("code", "123")]);
    assert!(wrong.status == 403 && wrong.text.contains("This code is wrong"), "{}", wrong.text);
    let on = browser.post("/account/settings", path, &[("do", "confirm"), ("code", &code(&secret, 0))]);
    assert!(on.status == 200 && on.text.contains("Recovery codes"), "{}", on.text);
    let recovery = on.text.split("<pre><code>").nth(1).unwrap().lines().next().unwrap().to_string();
    assert!(!browser.get("/account/settings").text.contains(&recovery));
    let other = Browser::new(&platform);
    let asked = other.sign_in(&email, PASSWORD);
    assert!(asked.status == 403 && asked.text.contains("A code of your second factor is needed"), "{}", asked.text);
    let fields = [("email", email.as_str()), ("password", PASSWORD), ("code", &recovery)];
    assert_eq!(other.post("/login", "/login", &fields).status, 303);
}

#[test]
fn a_command_line_is_let_in_by_a_browser() {
    let platform = Platform::start();
    let email = with_password(&platform);
    let start =
        || platform.request("POST", "/auth", &[], Some(json!({ "description": "Heroku CLI login from x" }).to_string()));
    let login = start().json();
    let text = |name: &str| login[name].as_str().unwrap().to_string();
    let (page, poll, token) = (text("browser_url"), text("cli_url"), text("token"));
    assert_eq!(platform.request("GET", &poll, &[("authorization", "Bearer wrong")], None).status, 401);
    assert_eq!(platform.request("GET", "/auth/NONE-SUCH", &[("authorization", &format!("Bearer {token}"))], None).status, 404);
    let browser = Browser::new(&platform);
    let way = browser.get(&page).header("location").to_string();
    assert_eq!(way, format!("/login?next={page}"));
    let about = browser.get(&way).text;
    assert!(about.contains("Heroku CLI login from x, from 127.0.0.1"), "{about}");
    let signed = browser.post(&way, "/login", &[("email", &email), ("password", PASSWORD), ("next", &page)]);
    assert_eq!((signed.status, signed.header("location")), (303, page.as_str()));
    let shown = browser.get(&page).text;
    let shown_code = page.trim_start_matches("/cli/");
    assert!(shown.contains(shown_code) && shown.contains("127.0.0.1") && shown.contains("Approve"), "{shown}");
    let bearer = format!("Bearer {token}");
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| platform.request("GET", &poll, &[("authorization", &bearer)], None));
        assert_eq!(browser.post(&page, &page, &[("answer", "approve")]).status, 200);
        let got = waiting.join().unwrap().json()["access_token"].as_str().unwrap().to_string();
        assert_eq!(with(&platform, &got, "GET", "/account", None).json()["email"], email.as_str());
        assert!(!platform.output().contains(&got));
    });
    assert_eq!(platform.request("GET", &poll, &[("authorization", &bearer)], None).status, 404, "once");
    let denied = start().json();
    let page = denied["browser_url"].as_str().unwrap();
    assert_eq!(browser.post(page, page, &[("answer", "deny")]).status, 200);
    let bearer = format!("Bearer {}", denied["token"].as_str().unwrap());
    let answer = platform.request("GET", denied["cli_url"].as_str().unwrap(), &[("authorization", &bearer)], None);
    assert_eq!((answer.status, answer.json()["error"].as_str()), (200, Some("The login was denied in the browser.")));
    let statuses: Vec<u16> = (0..21).map(|_| start().status).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 1, "{statuses:?}");
}

/// The official command line in a home of its own.
fn heroku(platform: &Platform, program: &str, args: &[&str]) -> Command {
    let mut command = Command::new("script");
    let line = std::iter::once(program).chain(args.iter().copied()).collect::<Vec<_>>().join(" ");
    command.args(["-qec", &line, "/dev/null"]).env_clear().env("PATH", std::env::var("PATH").unwrap());
    command.env("HOME", platform.dir.path()).env("HEROKU_HOST", platform.base()).env("HEROKU_API_URL", platform.base());
    command.env("HEROKU_LOGIN_HOST", platform.base()).env("HEROKU_NETRC_WRITE", "true").env("TERM", "dumb");
    command.env("HEROKU_SKIP_NEW_VERSION_CHECK", "1").env("DO_NOT_TRACK", "1").current_dir(platform.dir.path());
    command
}

#[test]
fn the_official_command_line_signs_in_and_out() {
    let Some(program) = crate::git_clients::official().map(|path| path.display().to_string()) else { return };
    use std::io::{Read, Write};
    let platform = Platform::start();
    let email = with_password(&platform);
    // By browser: any key opens it.
    let mut child = heroku(&platform, &program, &["login"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let seen = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
    let sink = seen.clone();
    let reader = std::thread::spawn(move || {
        let mut buffer = [0u8; 4096];
        while let Ok(n @ 1..) = stdout.read(&mut buffer) {
            sink.lock().unwrap().push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
    });
    let says = |needle: &str| seen.lock().unwrap().contains(needle).then_some(());
    let mut keys = child.stdin.take().unwrap();
    eventually("it asks", || says("Press any key"));
    eventually("it opens the page", || {
        let _ = keys.write_all(b"y"); // it may not listen yet
        let _ = keys.flush();
        says("/cli/")
    });
    let text = seen.lock().unwrap().clone();
    let page = format!("/cli/{}", &text.split("/cli/").nth(1).unwrap()[..9]);
    let browser = Browser::new(&platform);
    browser.sign_in(&email, PASSWORD);
    assert_eq!(browser.post(&page, &page, &[("answer", "approve")]).status, 200);
    assert!(child.wait().unwrap().success(), "{}", seen.lock().unwrap());
    drop(keys);
    reader.join().unwrap();
    let netrc = std::fs::read_to_string(platform.dir.path().join(".netrc")).unwrap();
    let token = netrc.split("password ").nth(1).unwrap().split_whitespace().next().unwrap().to_string();
    assert_eq!(with(&platform, &token, "GET", "/account", None).status, 200, "{netrc}");
    let who = heroku(&platform, &program, &["auth:whoami"]).stdin(Stdio::null()).output().unwrap();
    assert!(String::from_utf8_lossy(&who.stdout).contains(&email), "{who:?}");
    let out = heroku(&platform, &program, &["logout"]).stdin(Stdio::null()).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
    assert_eq!(with(&platform, &token, "GET", "/account", None).status, 401, "logout takes the token back");
    assert_eq!(platform.api("GET", "/account", None).status, 200, "and no other");
}

#[test]
fn the_official_command_line_signs_in_at_a_terminal_with_a_password() {
    let Some(program) = crate::git_clients::official().map(|path| path.display().to_string()) else { return };
    let platform = Platform::start();
    let email = with_password(&platform);
    let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/clients/terminal_login.py");
    let script = script.display().to_string();
    let run = |password: &str| {
        let mut command = Command::new("python3");
        command.args([&script, &program, &email, password]).env_clear().env("PATH", std::env::var("PATH").unwrap());
        for name in ["HEROKU_HOST", "HEROKU_LOGIN_HOST", "HEROKU_PARTICLEBOARD_URL"] {
            command.env(name, platform.base());
        }
        command.env("HOME", platform.dir.path()).env("HEROKU_NETRC_WRITE", "true").env("TERM", "xterm");
        command.env("HEROKU_SKIP_NEW_VERSION_CHECK", "1").env("DISABLE_TELEMETRY", "true");
        command.stdin(Stdio::null()).output().unwrap()
    };
    let signed_in = run(PASSWORD);
    let seen = String::from_utf8_lossy(&signed_in.stdout).into_owned();
    assert!(signed_in.status.success() && seen.contains("Logged in as"), "{seen}");
    assert!(!seen.contains(PASSWORD), "the password is shown");
    let netrc = std::fs::read_to_string(platform.dir.path().join(".netrc")).unwrap();
    let token = netrc.split("password ").nth(1).unwrap().split_whitespace().next().unwrap();
    assert_eq!(with(&platform, token, "GET", "/account", None).json()["email"], email.as_str());
    let wrong = run("not the password");
    assert!(!wrong.status.success() && String::from_utf8_lossy(&wrong.stdout).contains("Invalid credentials"), "{wrong:?}");
}

#[test]
fn an_invitation_becomes_an_account_once() {
    let platform = Platform::start();
    let invited = platform.api("POST", "/members", Some(json!({ "email": "bo@example.com", "role": "member" })));
    let link = invited.json()["invite_url"].as_str().unwrap_or_else(|| panic!("{}", invited.text)).to_string();
    let path = &link[link.find("/invite/").unwrap()..];
    let browser = Browser::new(&platform);
    for _ in 0..2 {
        let page = browser.get(path);
        assert!(page.status == 200 && page.text.contains("bo@example.com"), "opening changes nothing: {}", page.text);
        assert_eq!(page.header("referrer-policy"), "no-referrer");
    }
    let send = |password: &str| browser.send("POST", path, &[], Some(form(&[("name", "Bo"), ("password", password)])));
    let short = send("short");
    assert!(short.status == 422 && short.text.contains("too short") && short.text.contains("value=\"Bo\""), "{}", short.text);
    let ready = send(PASSWORD);
    assert!(ready.status == 200 && ready.text.contains("HRKU-"), "{}", ready.text);
    assert_eq!((browser.get(path).status, send(PASSWORD).status), (404, 404), "once");
    assert_eq!(browser.sign_in("bo@example.com", PASSWORD).status, 303);
    assert!(browser.get("/account/settings").text.contains("Role on this installation: member"));
}
