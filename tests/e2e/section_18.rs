//! More of the list of `platform-api.md` section 18: what walks over resources. The rest is in `contract.rs` and `sign_in.rs`.

use crate::{
    certs::Authority,
    matrix::join,
    schema::stumbles,
    sign_in::{PASSWORD, basic, with_password},
    support::{Answer, Platform, Repo, root_or_skip},
};
use serde_json::{Value, json};

fn made(platform: &Platform, path: &str, body: Value) -> Value {
    let answer = platform.api("POST", path, Some(body));
    assert_eq!(answer.status, 201, "{path}: {}", answer.text);
    answer.json()
}

fn id(value: &Value) -> String {
    value["id"].as_str().unwrap_or_else(|| panic!("no id in {value}")).to_string()
}

/// A public key that nobody has the other half of.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJm2Jm9t3N2ZkF5Jw0vC0d0o2z3wqk0yTQ0q8m1zq3pB ana@laptop";

/// One of everything that belongs to an app without code: its path, by whatever the answer to its making gave.
fn furnished(platform: &Platform) -> Vec<(&'static str, String)> {
    platform.create("shop");
    platform.create("other");
    join(platform, "bo@example.com", "member");
    let authority = Authority::new(platform.dir.path());
    let (chain, key) = authority.issue(&["www.shop.example"]);
    let at = |path: &str, body: Value| format!("{path}/{}", id(&made(platform, path, body)));
    let certificate = json!({ "certificate_chain": chain, "private_key": key });
    let hook = json!({ "include": ["api:release"], "level": "notify", "url": "https://hook.shop.example/" });
    let team = at("/teams", json!({ "name": "crew" }));
    let owner = json!({ "id": team.rsplit('/').next(), "type": "team" });
    let pipeline = at("/pipelines", json!({ "name": "line", "owner": owner }));
    let coupling = json!({ "app": "shop", "pipeline": pipeline.rsplit('/').next(), "stage": "production" });
    vec![
        ("domain", at("/apps/shop/domains", json!({ "hostname": "www.shop.example", "sni_endpoint": null }))),
        ("sni-endpoint", at("/apps/shop/sni-endpoints", certificate)),
        ("log-drain", at("/apps/shop/log-drains", json!({ "url": "https://logs.shop.example/" }))),
        ("app-webhook", at("/apps/shop/webhooks", hook)),
        ("collaborator", at("/apps/shop/collaborators", json!({ "user": "bo@example.com" }))),
        ("key", at("/account/keys", json!({ "public_key": KEY }))),
        ("oauth-authorization", at("/oauth/authorizations", json!({}))),
        ("oauth-client", at("/oauth/clients", json!({ "name": "page", "redirect_uri": "https://page.example/" }))),
        ("app-transfer", at("/account/app-transfers", json!({ "app": "other", "recipient": "bo@example.com" }))),
        ("pipeline-coupling", at("/pipeline-couplings", coupling)),
        ("pipeline", pipeline),
        ("team", team),
        ("app", "/apps/shop".to_string()),
    ]
}

#[test]
fn section_18_1_each_form_of_authentication_and_a_password_is_none() {
    let platform = Platform::start();
    let email = with_password(&platform);
    let token = platform.token.clone();
    let account = |shown: &str| platform.request("GET", "/account", &[("authorization", shown)], None);
    let good = [
        format!("Bearer {token}"),
        format!("bearer {token}"),
        basic("", &token),
        basic(&email, &token),
        basic("heroku", &token),
        basic("_", &token),
        basic("anybody@example.com", &token),
    ];
    for shown in &good {
        assert_eq!(account(shown).json()["email"], email.as_str(), "{shown}");
    }
    let bad = [
        basic(&email, PASSWORD),
        basic(&email, ""),
        basic("", ""),
        basic(&token, ""),
        "Bearer wrong".into(),
        "Bearer".into(),
        "Basic !".into(),
        String::new(),
    ];
    for shown in &bad {
        let answer = account(shown);
        assert_eq!((answer.status, answer.json()["id"].as_str()), (401, Some("unauthorized")), "{shown}: {}", answer.text);
        assert_eq!(answer.header("www-authenticate"), "", "browsers would ask");
    }
    assert_eq!(platform.request("GET", "/account", &[], None).status, 401);
    let login = platform.request("POST", "/oauth/authorizations", &[("authorization", &basic(&email, PASSWORD))], None);
    assert_eq!(login.status, 201, "the only place for it: {}", login.text);
}

#[test]
fn section_18_2_the_list_is_redacted_and_logout_revokes() {
    let platform = Platform::start();
    let token = made(&platform, "/oauth/authorizations", json!({ "description": "laptop" }))["access_token"]["token"].clone();
    let token = token.as_str().unwrap();
    let bearer = format!("Bearer {token}");
    let call = |method: &str, path: &str| platform.request(method, path, &[("authorization", &bearer)], None);
    // As the official command line signs out (section 4.5).
    let session = call("DELETE", "/oauth/sessions/~");
    assert_eq!((session.status, session.json()["resource"].as_str()), (404, Some("session")));
    let list = call("GET", "/oauth/authorizations");
    assert!(!list.text.contains(token), "a token is listed whole");
    let usual = call("GET", "/oauth/authorizations/~");
    assert_eq!((usual.status, usual.json()["resource"].as_str()), (404, Some("authorization")));
    let of_use = |one: &&Value| {
        let shown = one["access_token"]["token"].as_str().unwrap_or_default();
        shown
            .split_once("**********")
            .is_some_and(|(start, end)| !start.is_empty() && token.starts_with(start) && token.ends_with(end))
    };
    let listed = list.json();
    let found: Vec<&Value> = listed.as_array().unwrap().iter().filter(of_use).collect();
    assert_eq!(found.len(), 1, "{listed}");
    assert_eq!(call("DELETE", &format!("/oauth/authorizations/{}", id(found[0]))).status, 200);
    assert_eq!(call("GET", "/account").status, 401, "it has ended");
    assert_eq!(platform.api("GET", "/account", None).status, 200, "others have not");
}

#[test]
fn section_18_7_delete_of_each_resource_answers_json() {
    let platform = Platform::start();
    let all = furnished(&platform);
    for (resource, path) in &all {
        if *resource == "team" {
            assert_eq!(
                platform.api("PUT", "/teams/crew/members", Some(json!({ "email": "bo@example.com", "role": "member" }))).status,
                200
            );
            is_json(&platform.api("DELETE", "/teams/crew/members/bo@example.com", None), "team-member");
        }
        let answer = platform.api("DELETE", path, None);
        is_json(&answer, resource);
        assert!(answer.json()["id"].is_string(), "{resource}: what went is shown: {}", answer.text);
        assert_eq!(platform.api("GET", path, None).status, 404, "{resource} is still there");
    }
    println!("deleted with an answer in JSON: {} of {}", all.len() + 1, all.len() + 1);
}

fn is_json(answer: &Answer, resource: &str) {
    assert!(answer.status == 200 || answer.status == 202, "{resource}: {} {}", answer.status, answer.text);
    assert!(answer.header("content-type").starts_with("application/json"), "{resource}: {:?}", answer.headers);
    assert!(answer.json().is_object() || answer.json().is_array(), "{resource}: {}", answer.text);
}

/// The name of a definition in `#/definitions/NAME`.
fn named(reference: &Value) -> Option<&str> {
    reference["$ref"].as_str()?.strip_prefix("#/definitions/").filter(|name| !name.contains('/'))
}

/// What a link's answer is made of; `None` when the schema describes it in place.
fn target<'a>(link: &'a Value, resource: &'a str) -> Option<&'a str> {
    let target = &link["targetSchema"];
    if target.is_null() { Some(resource) } else { named(target).or_else(|| named(&target["items"])) }
}

#[test]
fn section_18_8_every_link_that_reads_answers_something_decodable() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = Platform::start();
    let known = furnished(&platform);
    Repo::of("procfile").deploy(&platform, "shop");
    let place = |name: &str| -> Option<String> {
        let named = known.iter().find(|(resource, _)| *resource == name).map(|(_, path)| path.rsplit('/').next().unwrap_or(""));
        let usual = match name {
            "account" => "~",
            "app-feature" => "preboot",
            "build" | "slug" | "user" => return newest(&platform, name),
            "dyno" => "web.1",
            "dyno-size" => "standard-1x",
            "formation" => "web",
            "region" => "local",
            "release" => "3",
            "stack" => "heroku-24",
            "team-app" => "shop",
            _ => named?,
        };
        Some(usual.to_string())
    };
    let (mut asked, mut read, mut wrong) = (0, 0, Vec::new());
    for link in ::api::published_links().iter().filter(|link| link.method == "GET") {
        let parts = link.path.split('/').map(|part| match part.strip_prefix('{').and_then(|p| p.strip_suffix('}')) {
            Some(name) => place(name),
            None => Some(part.to_string()),
        });
        let Some(parts) = parts.collect::<Option<Vec<String>>>() else { continue };
        let path = parts.join("/");
        let answer = platform.api("GET", &path, None);
        asked += 1;
        let value = answer.json();
        if answer.status != 200 {
            assert!(answer.status < 500 && value["id"].is_string() && value["message"].is_string(), "{path}: {}", answer.text);
            continue;
        }
        let Some(definition) = definition_of(&link.method, &link.path, &link.resource) else { continue };
        read += 1;
        let items = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
        for item in items {
            wrong.extend(stumbles(&definition, &item).into_iter().map(|error| format!("{path} as {definition}: {error}")));
        }
    }
    println!("links that read: {asked} asked, {read} answered and decoded");
    assert!(asked > 80 && read > 50, "{asked} {read}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Which definition decodes a link's answer.
fn definition_of(method: &str, path: &str, resource: &str) -> Option<String> {
    let schema = &::api::published_schemas()[0]["definitions"][resource];
    let plain = |href: &str| ::api::shape(path).matches('/').count() == href.matches('/').count();
    let links = schema["links"].as_array()?;
    let of_path = |link: &&Value| {
        let fixed =
            |text: &str| -> Vec<String> { text.split('/').filter(|part| !part.starts_with('{')).map(String::from).collect() };
        let href = link["href"].as_str().unwrap_or_default();
        link["method"].as_str().is_some_and(|m| m.eq_ignore_ascii_case(method)) && plain(href) && fixed(href) == fixed(path)
    };
    links.iter().find(of_path).and_then(|link| target(link, resource)).map(String::from)
}

/// Id of the newest build or slug of the app, or of the account.
fn newest(platform: &Platform, what: &str) -> Option<String> {
    match what {
        "user" => platform.api("GET", "/account", None).json()["id"].as_str().map(String::from),
        "build" => platform.api("GET", "/apps/shop/builds", None).json()[0]["id"].as_str().map(String::from),
        _ => platform.api("GET", "/apps/shop/releases/3", None).json()["slug"]["id"].as_str().map(String::from),
    }
}

/// Every time and every number of an answer.
fn look(value: &Value, at: &str, wrong: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let here = format!("{at}.{name}");
                if let Some(text) = field.as_str().filter(|_| name.ends_with("_at")) {
                    let form = text.len() == 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T';
                    if !form {
                        wrong.push(format!("{here}: {text} is no time in whole seconds of UTC"));
                    }
                }
                look(field, &here, wrong);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| look(item, at, wrong)),
        Value::Number(number) if number.is_f64() => wrong.push(format!("{at}: {number} is no whole number")),
        _ => {}
    }
}

#[test]
fn section_18_9_times_are_in_whole_seconds_and_numbers_are_whole() {
    let platform = Platform::start();
    let known = furnished(&platform);
    let mut wrong = Vec::new();
    let lists =
        ["/apps", "/apps/shop/releases", "/apps/shop/domains", "/apps/shop/formation", "/account", "/dyno-sizes", "/stacks"];
    let paths = lists.iter().map(ToString::to_string).chain(known.into_iter().map(|(_, path)| path));
    for path in paths {
        let answer = platform.api("GET", &path, None);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        look(&answer.json(), &path, &mut wrong);
    }
    // A dyno's share of a core and its memory are numbers with a point in the published schema, too.
    wrong.retain(|line| !line.starts_with("/dyno-sizes.memory") && !line.starts_with("/dyno-sizes.precise"));
    assert!(wrong.is_empty(), "{wrong:#?}");
    let releases = platform.api("GET", "/apps/shop/releases", None).json();
    assert!(releases.as_array().unwrap().iter().all(|release| release["version"].is_u64()));
}

#[test]
fn section_18_14_by_id_and_by_name_and_no_name_looks_like_an_id() {
    let platform = Platform::start();
    let known = furnished(&platform);
    let of = |resource: &str| known.iter().find(|(name, _)| *name == resource).map(|(_, path)| path.clone()).unwrap();
    let certificate = platform.api("GET", &of("sni-endpoint"), None).json()["name"].as_str().unwrap().to_string();
    let drain = platform.api("GET", &of("log-drain"), None).json()["token"].as_str().unwrap().to_string();
    let pairs = [
        ("/apps/shop".to_string(), format!("/apps/{}", id(&platform.api("GET", "/apps/shop", None).json()))),
        (of("domain"), "/apps/shop/domains/www.shop.example".into()),
        (of("sni-endpoint"), format!("/apps/shop/sni-endpoints/{certificate}")),
        (of("log-drain"), format!("/apps/shop/log-drains/{drain}")),
        (of("log-drain"), "/apps/shop/log-drains/https%3A%2F%2Flogs.shop.example%2F".into()),
        (of("collaborator"), "/apps/shop/collaborators/bo@example.com".into()),
        (of("team"), "/teams/crew".into()),
        (of("pipeline"), "/pipelines/line".into()),
        (of("app-transfer"), "/account/app-transfers/other".into()),
        ("/regions/local".into(), by_id(&platform, "/regions")),
        ("/stacks/heroku-24".into(), by_id(&platform, "/stacks")),
        ("/dyno-sizes/standard-1x".into(), "/dyno-sizes/Standard-1X".into()),
    ];
    for (one, other) in &pairs {
        let (first, second) = (platform.api("GET", one, None), platform.api("GET", other, None));
        assert_eq!((first.status, second.status), (200, 200), "{one} {other}: {} {}", first.text, second.text);
        assert_eq!(id(&first.json()), id(&second.json()), "{one} {other}");
    }
    println!("by id and by name: {} of {}", pairs.len(), pairs.len());
    let own = id(&platform.api("GET", "/apps/shop", None).json());
    for path in ["/apps", "/pipelines", "/teams"] {
        let answer = platform.api("POST", path, Some(json!({ "name": own })));
        assert_eq!(answer.status, 422, "{path}: a name in the form of an id would be another's: {}", answer.text);
    }
    let renamed = platform.api("PATCH", "/apps/other", Some(json!({ "name": own })));
    assert_eq!(renamed.status, 422, "{}", renamed.text);
    assert_eq!(platform.api("GET", &format!("/apps/{own}"), None).json()["name"], "shop");
}

/// The first of a list, by its id.
fn by_id(platform: &Platform, list: &str) -> String {
    format!("{list}/{}", id(&platform.api("GET", list, None).json()[0]))
}
