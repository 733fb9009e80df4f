//! The web flow: clients, consent, codes, refreshing.

use crate::{
    schema::{check, check_list},
    sign_in::{Browser, PASSWORD, form, with_password},
    support::*,
};
use serde_json::{Value, json};

/// Verifier and challenge of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn client(platform: &Platform) -> (String, String) {
    let body = json!({ "name": "Board <1>", "redirect_uri": "https://board.example/back?x=1" });
    let answer = platform.api("POST", "/oauth/clients", Some(body));
    assert_eq!(answer.status, 201, "{}", answer.text);
    check("oauth-client", &answer.json());
    let text = |name: &str| answer.json()[name].as_str().unwrap().to_string();
    (text("id"), text("secret"))
}

fn turn_in(platform: &Platform, fields: &[(&str, &str)]) -> Answer {
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    platform.request("POST", "/oauth/token", &headers, Some(form(fields)))
}

/// Asks a person and has the person agree; gives the code.
fn code(browser: &Browser, page: &str, fields: &[(&str, &str)]) -> String {
    let answer = browser.post(page, "/oauth/authorize", &[fields, &[("answer", "approve")]].concat());
    let to = answer.header("location").to_string();
    assert_eq!(answer.status, 303, "{}", answer.text);
    let rest = to.strip_prefix("https://board.example/back?x=1&code=").unwrap_or_else(|| panic!("{to}"));
    rest.split('&').next().unwrap().to_string()
}

fn account(platform: &Platform, token: &str) -> u16 {
    platform.request("GET", "/account", &[("authorization", &format!("Bearer {token}"))], None).status
}

#[test]
fn clients_come_and_go() {
    let platform = Platform::start();
    let (id, secret) = client(&platform);
    check_list("oauth-client", &platform.api("GET", "/oauth/clients", None).json());
    let path = format!("/oauth/clients/{id}");
    assert_eq!(platform.api("GET", &path, None).json()["secret"], secret.as_str());
    let renamed = platform.api("PATCH", &path, Some(json!({ "name": "New" }))).json();
    assert_eq!((&renamed["name"], &renamed["redirect_uri"]), (&json!("New"), &json!("https://board.example/back?x=1")));
    let rotated = platform.api("POST", &format!("{path}/actions/rotate-credentials"), None).json();
    assert_ne!(rotated["secret"], secret.as_str());
    for uri in ["http://board.example/", "javascript:alert(1)", "https://x/#f", "ftp://x/", ""] {
        assert_eq!(platform.api("PATCH", &path, Some(json!({ "redirect_uri": uri }))).status, 422, "{uri}");
    }
    assert_eq!(platform.api("PATCH", &path, Some(json!({ "redirect_uri": "http://localhost:3000/" }))).status, 200);
    check("oauth-client", &platform.api("DELETE", &path, None).json());
    assert_eq!(platform.api("GET", &path, None).status, 404);
    let said = platform.output();
    assert!(!said.contains(&secret), "in the log");
}

#[test]
fn a_person_lets_a_client_in_and_takes_it_back() {
    let platform = Platform::start();
    let email = with_password(&platform);
    let (id, secret) = client(&platform);
    let browser = Browser::new(&platform);
    let page = format!(
        "/oauth/authorize?client_id={id}&response_type=code&scope=identity+read&state=a%26b&code_challenge={CHALLENGE}&code_challenge_method=S256"
    );
    let way = browser.get(&page).header("location").to_string();
    assert!(way.starts_with("/login?next=/oauth/authorize%3Fclient_id%3D"), "{way}");
    let signed = browser.post(&way, "/login", &[("email", &email), ("password", PASSWORD), ("next", &page)]);
    assert_eq!(signed.header("location"), page);
    let shown = browser.get(&page);
    assert!(shown.text.contains("see your apps and their logs") && !shown.text.contains("<1>"), "{}", shown.text);
    let policy = shown.header("content-security-policy");
    assert!(policy.contains("form-action 'self' https://board.example;"), "{policy}");
    let fields = [
        ("client_id", id.as_str()),
        ("response_type", "code"),
        ("scope", "identity read"),
        ("state", "a&b"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    let denied = browser.post(&page, "/oauth/authorize", &[&fields[..], &[("answer", "deny")]].concat());
    assert_eq!(denied.header("location"), "https://board.example/back?x=1&error=access_denied&state=a%26b");

    let given = code(&browser, &page, &fields);
    let turn = |secret: &str, verifier: &str| {
        let grant = ("grant_type", "authorization_code");
        turn_in(&platform, &[grant, ("code", &given), ("client_secret", secret), ("code_verifier", verifier)])
    };
    for (secret, verifier) in [("wrong", VERIFIER), (&secret, "wrong"), (&secret, "")] {
        let answer = turn(secret, verifier);
        assert_eq!((answer.status, &answer.json()["error"]), (400, &json!("invalid_grant")), "{secret} {verifier}");
    }
    let answer = turn(&secret, VERIFIER);
    assert_eq!(answer.status, 200, "{}", answer.text);
    let text = |value: &Value, name: &str| value[name].as_str().unwrap().to_string();
    let got = answer.json();
    assert_eq!((&got["token_type"], &got["expires_in"]), (&json!("Bearer"), &json!(28800)));
    let (access, refresh) = (text(&got, "access_token"), text(&got, "refresh_token"));
    assert_eq!(account(&platform, &access), 200);
    let bearer = format!("Bearer {access}");
    let more = platform.request("POST", "/apps", &[("authorization", &bearer)], Some("{}".into()));
    assert_eq!(more.status, 403, "only what was agreed to");
    let again = |secret: &str| {
        turn_in(&platform, &[("grant_type", "refresh_token"), ("refresh_token", &refresh), ("client_secret", secret)])
    };
    assert_eq!(again("wrong").status, 400);
    let fresh = text(&again(&secret).json(), "access_token");
    assert_eq!((account(&platform, &access), account(&platform, &fresh)), (401, 200));
    let list = platform.api("GET", "/oauth/authorizations", None);
    check_list("oauth-authorization", &list.json());
    let own = list.json().as_array().unwrap().iter().find(|a| !a["client"].is_null()).unwrap().clone();
    assert_eq!((&own["client"]["name"], &own["refresh_token"]["token"]), (&json!("Board <1>"), &json!("**********")));
    // A code that comes twice was stolen.
    assert_eq!(turn(&secret, VERIFIER).status, 400);
    assert_eq!((account(&platform, &fresh), again(&secret).status), (401, 400));
    let said = platform.output();
    assert!([&given, &access, &refresh, &fresh, &secret].iter().all(|secret| !said.contains(*secret)), "in the log");
}

#[test]
fn the_json_way_and_requests_that_lead_nowhere() {
    let platform = Platform::start();
    let email = with_password(&platform);
    let (id, secret) = client(&platform);
    let browser = Browser::new(&platform);
    browser.sign_in(&email, PASSWORD);
    for (query, status) in [
        ("client_id=00000000-0000-4000-8000-000000000000&response_type=code".to_string(), 404),
        (format!("client_id={id}&response_type=token"), 422),
        (format!("client_id={id}&response_type=code&redirect_uri=https://evil.example/"), 422),
        (format!("client_id={id}&response_type=code&scope=root"), 422),
        (format!("client_id={id}&response_type=code&code_challenge={CHALLENGE}&code_challenge_method=plain"), 422),
    ] {
        let answer = browser.get(&format!("/oauth/authorize?{query}"));
        assert_eq!((answer.status, answer.header("location")), (status, ""), "{query}");
    }
    let page = format!("/oauth/authorize?client_id={id}&response_type=code");
    let given = code(&browser, &page, &[("client_id", &id), ("response_type", "code")]);
    let body = json!({
        "client": { "secret": secret },
        "grant": { "type": "authorization_code", "code": given },
        "refresh_token": { "token": null },
    });
    let answer = platform.request("POST", "/oauth/tokens", &[], Some(body.to_string()));
    assert_eq!(answer.status, 201, "{}", answer.text);
    let token = answer.json()["access_token"]["token"].as_str().unwrap().to_string();
    assert_eq!(account(&platform, &token), 200);
    let unknown = turn_in(&platform, &[("grant_type", "password")]);
    assert_eq!((unknown.status, &unknown.json()["error"]), (400, &json!("unsupported_grant_type")));
    let id_of = answer.json()["id"].as_str().unwrap().to_string();
    assert_eq!(platform.api("DELETE", &format!("/oauth/tokens/{id_of}"), None).status, 200);
    assert_eq!(account(&platform, &token), 401);
    // With its client, all that it was given goes.
    let given = code(&browser, &page, &[("client_id", &id), ("response_type", "code")]);
    let fields = [("grant_type", "authorization_code"), ("code", &*given), ("client_secret", &*secret)];
    let token = turn_in(&platform, &fields).json()["access_token"].as_str().unwrap().to_string();
    assert_eq!(account(&platform, &token), 200);
    assert_eq!(platform.api("DELETE", &format!("/oauth/clients/{id}"), None).status, 200);
    assert_eq!(account(&platform, &token), 401);
}
