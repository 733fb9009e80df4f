//! Webhooks, with a receiver of the test's own.

use crate::{
    schema::{check, check_list},
    support::{Platform, eventually},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// One request that came.
#[derive(Clone)]
struct Got {
    headers: Vec<(String, String)>,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Answers with the next status of its list, then with 200.
struct Receiver {
    port: u16,
    got: Arc<Mutex<Vec<Got>>>,
    next: Arc<Mutex<VecDeque<u16>>>,
}

impl Receiver {
    fn start(statuses: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let receiver = Self { port, got: Arc::default(), next: Arc::new(Mutex::new(statuses.iter().copied().collect())) };
        let (got, next) = (receiver.got.clone(), receiver.next.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                answer(stream, &got, &next);
            }
        });
        receiver
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    fn all(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// The first request about this.
    fn wait(&self, include: &str, action: &str) -> Got {
        let fits = |got: &Got| {
            let json = got.json();
            json["webhook_metadata"]["event"]["include"] == include && json["action"] == action
        };
        eventually(&format!("{include} {action} is delivered"), || self.all().into_iter().find(fits))
    }
}

fn answer(mut stream: TcpStream, got: &Mutex<Vec<Got>>, next: &Mutex<VecDeque<u16>>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let (mut headers, mut line) = (Vec::new(), String::new());
    while reader.read_line(&mut line).is_ok_and(|n| n > 0) && line != "\r\n" {
        if let Some((name, value)) = line.trim().split_once(": ") {
            headers.push((name.to_lowercase(), value.to_string()));
        }
        line.clear();
    }
    let length = headers.iter().find(|(n, _)| n == "content-length").map_or(0, |(_, v)| v.parse().unwrap());
    let mut body = vec![0u8; length];
    reader.read_exact(&mut body).unwrap();
    got.lock().unwrap().push(Got { headers, body: String::from_utf8(body).unwrap() });
    let status = next.lock().unwrap().pop_front().unwrap_or(200);
    let place = match status {
        302 => "location: /elsewhere\r\n",
        429 => "retry-after: 7200\r\n",
        _ => "",
    };
    let _ = write!(stream, "HTTP/1.1 {status} X\r\n{place}content-length: 0\r\nconnection: close\r\n\r\n");
}

const OPEN: &[&str] = &["--allow-private-targets", "true"];

fn create(platform: &Platform, body: Value) -> (Value, String) {
    let answer = platform.api("POST", "/apps/shop/webhooks", Some(body));
    assert_eq!(answer.status, 201, "{}", answer.text);
    (answer.json(), answer.header("heroku-webhook-secret").to_string())
}

fn rename(platform: &Platform, maintenance: bool) {
    let answer = platform.api("PATCH", "/apps/shop", Some(json!({ "maintenance": maintenance })));
    assert_eq!(answer.status, 200, "{}", answer.text);
}

/// Deliveries, newest first.
fn deliveries(platform: &Platform, query: &str) -> Vec<Value> {
    let headers = [
        ("authorization", format!("Basic {}", STANDARD.encode(format!(":{}", platform.token)))),
        ("range", "seq ..; order=desc,max=1000".into()),
    ];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = platform.request("GET", &format!("/apps/shop/webhook-deliveries{query}"), &headers, None);
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json().as_array().unwrap().clone()
}

fn hmac(secret: &str, bytes: &[u8]) -> String {
    STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), bytes))
}

#[test]
fn what_happens_is_delivered_signed_and_listed() {
    let platform = Platform::start_with(OPEN);
    platform.create("shop");
    let receiver = Receiver::start(&[]);
    let include = ["api:app", "api:release", "api:domain"];
    let body = json!({ "url": receiver.url(), "include": include, "level": "notify", "authorization": "Bearer canary-4711" });
    let (hook, secret) = create(&platform, body);
    // The schema of this one is under another name, so what clients read is named here.
    for key in ["id", "created_at", "updated_at", "url", "level"] {
        assert!(hook[key].is_string(), "{key}: {hook}");
    }
    assert_eq!(secret.len(), 64);
    assert_eq!(hook["app"]["name"], "shop");
    assert!(hook.get("secret").is_none() && hook.get("authorization").is_none());
    assert_eq!(platform.api("PATCH", "/apps/shop/config-vars", Some(json!({ "KEY": "canary-0815" }))).status, 200);
    let got = receiver.wait("api:release", "create");
    let json = got.json();
    assert_eq!(got.header("heroku-webhook-hmac-sha256"), hmac(&secret, got.body.as_bytes()));
    let stamped = format!("{}.{}.{}", got.header("webhook-id"), got.header("webhook-timestamp"), got.body);
    assert_eq!(got.header("webhook-signature"), format!("v1,{}", hmac(&secret, stamped.as_bytes())));
    assert_eq!((got.header("authorization"), got.header("content-type")), ("Bearer canary-4711", "application/json"));
    check("release", &json["data"]);
    assert_eq!(json["data"]["description"], "Set KEY config vars");
    assert_eq!(json["actor"]["email"], platform.api("GET", "/account", None).json()["email"]);
    assert_eq!(json["version"], "application/vnd.heroku+json; version=3");
    assert_eq!(json["webhook_metadata"]["webhook"]["id"], hook["id"]);
    assert_eq!(got.header("webhook-id"), json["id"].as_str().unwrap());
    rename(&platform, true);
    let app = receiver.wait("api:app", "update").json();
    check("app", &app["data"]);
    assert_eq!(app["data"]["maintenance"], true);
    assert_eq!(app["previous_data"]["maintenance"], false, "what it was before");
    platform.api("POST", "/apps/shop/domains", Some(json!({ "hostname": "www.example.com", "sni_endpoint": null })));
    check("domain", &receiver.wait("api:domain", "create").json()["data"]);
    platform.api("DELETE", "/apps/shop/domains/www.example.com", None);
    assert_eq!(receiver.wait("api:domain", "destroy").json()["data"]["hostname"], "www.example.com");
    let all = eventually("all are over", || {
        let all = deliveries(&platform, "");
        (all.len() >= 4 && all.iter().all(|d| d["status"] == "succeeded")).then_some(all)
    });
    check_list("app-webhook-delivery", &json!(all));
    assert_eq!(all[0]["event"]["include"], "api:domain", "the newest first");
    assert_eq!((&all[0]["num_attempts"], &all[0]["last_attempt"]["code"]), (&json!(1), &json!(200)));
    let get = |path: &str| platform.api("GET", &format!("/apps/shop/{path}"), None).json();
    assert_eq!(get(&format!("webhook-deliveries/{}", all[0]["id"].as_str().unwrap())), all[0]);
    let event = get(&format!("webhook-events/{}", json["id"].as_str().unwrap()));
    check("app-webhook-event", &event);
    assert_eq!(event["payload"]["data"], json["data"]);
    check_list("app-webhook-event", &get("webhook-events"));
    assert_eq!(get("webhooks"), json!([hook]));
    // No value of a config var, no secret, in the store or on the way.
    assert!(receiver.all().iter().all(|got| !got.body.contains("canary")));
    let found = std::process::Command::new("grep").args(["-rlE", "canary-(0815|4711)"]).arg(platform.data_dir()).output();
    assert_eq!(String::from_utf8_lossy(&found.unwrap().stdout), "");
}

#[test]
fn sync_is_tried_again_also_after_a_kill_and_notify_is_not() {
    let mut platform = Platform::start_with(OPEN);
    platform.create("shop");
    let (sync, notify) = (Receiver::start(&[500, 302]), Receiver::start(&[500]));
    for (receiver, level) in [(&sync, "sync"), (&notify, "notify")] {
        create(&platform, json!({ "url": receiver.url(), "include": ["api:app"], "level": level, "secret": "known" }));
    }
    rename(&platform, true);
    let failed = eventually("notify has failed", || deliveries(&platform, "?eq[status]=failed").pop());
    assert_eq!(failed["last_attempt"]["error_class"], "http_5xx");
    let waiting = eventually("sync waits", || {
        deliveries(&platform, "?eq%5Bstatus%5D=retrying").pop().filter(|d| d["next_attempt_at"].is_string())
    });
    assert_eq!((&waiting["last_attempt"]["code"], &waiting["webhook"]["level"]), (&json!(500), &json!("sync")));
    platform.signal("KILL");
    platform.wait_end();
    platform.boot();
    let second = eventually("the second attempt", || Some(sync.all()).filter(|all| all.len() == 2));
    let ids = |got: &Got| (got.json()["id"].clone(), got.json()["webhook_metadata"]["delivery"]["id"].clone());
    assert_eq!(ids(&second[0]), ids(&second[1]), "the same event and delivery");
    let attempt = |got: &Got| got.json()["webhook_metadata"]["attempt"]["id"].clone();
    assert_ne!(attempt(&second[0]), attempt(&second[1]));
    assert_eq!(second[1].header("heroku-webhook-hmac-sha256"), hmac("known", second[1].body.as_bytes()));
    let redirected = eventually("a redirect is a failure", || {
        deliveries(&platform, "").into_iter().find(|d| d["last_attempt"]["code"] == 302)
    });
    assert_eq!((&redirected["status"], &redirected["num_attempts"]), (&json!("retrying"), &json!(2)));
    // A later event is not held up, and reaches both.
    rename(&platform, false);
    eventually("the later event", || sync.all().iter().any(|got| got.json()["data"]["maintenance"] == false).then_some(()));
    eventually("for notify, too", || (notify.all().len() == 2).then_some(()));
    assert_eq!(deliveries(&platform, "?eq[status]=failed").len(), 1);
}

#[test]
fn bad_hooks_are_refused_and_private_places_are_not_reached() {
    let platform = Platform::start();
    platform.create("shop");
    let receiver = Receiver::start(&[]);
    let good = json!({ "url": receiver.url(), "include": ["api:app"], "level": "notify" });
    for (key, value) in [
        ("url", json!("ftp://example.com/")),
        ("url", json!("https://user:pass@example.com/")),
        ("url", json!("https:///path")),
        ("include", json!([])),
        ("include", json!(["api:nosuch"])),
        ("level", json!("often")),
        ("authorization", json!("a\r\nb: c")),
    ] {
        let mut body = good.clone();
        body[key] = value;
        let answer = platform.api("POST", "/apps/shop/webhooks", Some(body.clone()));
        assert_eq!((answer.status, answer.json()["id"].as_str()), (422, Some("invalid_params")), "{body}");
    }
    let (hook, _) = create(&platform, good);
    rename(&platform, true);
    let failed = eventually("it is blocked", || deliveries(&platform, "?eq[status]=failed").pop());
    assert_eq!(failed["last_attempt"]["error_class"], "blocked");
    assert!(receiver.all().is_empty());
    let at = format!("/apps/shop/webhooks/{}", hook["id"].as_str().unwrap());
    let changed = platform.api("PATCH", &at, Some(json!({ "include": ["dyno"], "level": "sync", "secret": null })));
    assert_eq!((changed.status, changed.json()["include"].clone()), (200, json!(["dyno"])), "{}", changed.text);
    assert_eq!(changed.header("heroku-webhook-secret").len(), 64);
    assert_eq!(platform.api("DELETE", &at, None).json()["id"], hook["id"]);
    assert_eq!(platform.api("GET", &at, None).status, 404);
}

#[test]
fn a_receiver_that_asks_for_time_gets_it() {
    let platform = Platform::start_with(OPEN);
    platform.create("shop");
    let receiver = Receiver::start(&[429]);
    create(&platform, json!({ "url": receiver.url(), "include": ["api:app"], "level": "sync" }));
    rename(&platform, true);
    let waits = eventually("it is to be tried again", || {
        deliveries(&platform, "").into_iter().find(|delivery| delivery["status"] == "retrying")
    });
    let hour = |time: &Value| time.as_str().unwrap()[11..13].parse::<u32>().unwrap();
    let hours = (24 + hour(&waits["next_attempt_at"]) - hour(&waits["last_attempt"]["updated_at"])) % 24;
    assert_eq!(hours, 2, "{waits}");
}
