//! Alerts: opened, closed and told once, through every kind of channel, with real receivers.

use crate::{
    metrics::web_app,
    support::{Platform, eventually, root_or_skip},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use ring::hmac;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

/// A request that came: path, headers, body.
#[derive(Clone, Debug)]
struct Got {
    path: String,
    headers: Vec<(String, String)>,
    body: String,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }
}

/// Takes every request with 200.
struct Sink {
    port: u16,
    got: Arc<Mutex<Vec<Got>>>,
}

impl Sink {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let sink = Self { port: listener.local_addr().unwrap().port(), got: Arc::default() };
        let got = sink.got.clone();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut first, mut line, mut headers) = (String::new(), String::new(), Vec::new());
                reader.read_line(&mut first).unwrap();
                while reader.read_line(&mut line).is_ok_and(|n| n > 0) && line != "\r\n" {
                    if let Some((name, value)) = line.trim().split_once(": ") {
                        headers.push((name.to_lowercase(), value.to_string()));
                    }
                    line.clear();
                }
                let length = headers.iter().find(|(n, _)| n == "content-length").map_or(0, |(_, v)| v.parse().unwrap());
                let mut body = vec![0u8; length];
                reader.read_exact(&mut body).unwrap();
                let path = first.split(' ').nth(1).unwrap_or("").to_string();
                got.lock().unwrap().push(Got { path, headers, body: String::from_utf8(body).unwrap() });
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            }
        });
        sink
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn at(&self, path: &str) -> Vec<Got> {
        self.got.lock().unwrap().iter().filter(|got| got.path == path).cloned().collect()
    }
}

/// A real mail server, which prints what it takes.
struct MailServer {
    child: Child,
    port: u16,
    mails: Arc<Mutex<String>>,
}

const MAIL_SERVER: &str = "
import asyncio, sys
from aiosmtpd.controller import Controller
class Print:
    async def handle_DATA(self, server, session, envelope):
        print('FROM', envelope.mail_from, 'TO', *envelope.rcpt_tos)
        print(envelope.content.decode('utf8', 'replace'), flush=True)
        return '250 OK'
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith('nobody'): return '550 no such person'
        envelope.rcpt_tos.append(address)
        return '250 OK'
import socket
s = socket.socket(); s.bind(('127.0.0.1', 0)); port = s.getsockname()[1]; s.close()
c = Controller(Print(), hostname='127.0.0.1', port=port); c.start()
print('PORT', port, flush=True)
sys.stdin.read()
";

impl MailServer {
    fn start() -> Option<Self> {
        let there = Command::new("/usr/bin/python3").args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        if !there.is_ok_and(|status| status.success()) {
            println!("SKIPPED: notices by mail need python3-aiosmtpd");
            assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
            return None;
        }
        let mut command = Command::new("/usr/bin/python3");
        let mut child = command.args(["-c", MAIL_SERVER]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap().strip_prefix("PORT ").unwrap().parse().unwrap();
        let mails = Arc::<Mutex<String>>::default();
        let to = mails.clone();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).for_each(|line| to.lock().unwrap().push_str(&format!("{line}\n")))
        });
        Some(Self { child, port, mails })
    }

    fn all(&self) -> String {
        self.mails.lock().unwrap().clone()
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn send(platform: &Platform, path: &str, body: Value) -> (Value, String) {
    let answer = platform.api("POST", path, Some(body));
    assert!(answer.status < 300, "{path}: {}", answer.text);
    (answer.json(), answer.header("tidemill-channel-secret").to_string())
}

fn get(platform: &Platform, path: &str) -> Vec<Value> {
    let answer = platform.api("GET", path, None);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json().as_array().unwrap().clone()
}

fn hmac_of(secret: &str, text: &str) -> String {
    STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), text.as_bytes()))
}

#[test]
fn an_alert_opens_and_closes_once_and_every_channel_is_told() {
    if !root_or_skip("running dynos") {
        return;
    }
    let mail = MailServer::start();
    let smtp = format!("127.0.0.1:{}", mail.as_ref().map_or(1, |mail| mail.port));
    let args = ["--metrics-every-s", "1", "--allow-private-targets", "true", "--smtp", &smtp, "--smtp-tls", "none"];
    let mut platform = Platform::start_with(&args);
    platform.create("shop");
    web_app().deploy(&platform, "shop");
    let sink = Sink::start();
    let channel = |kind: &str, target: &str| json!({ "kind": kind, "target": target });
    let (hook, secret) = send(&platform, "/apps/shop/alert-channels", channel("webhook", &sink.url("/hook")));
    assert_eq!((secret.len(), hook["target"].as_str().unwrap()), (64, format!("http://127.0.0.1:{}/…", sink.port).as_str()));
    send(&platform, "/apps/shop/alert-channels", channel("chat", &sink.url("/chat/secret-path")));
    send(&platform, "/apps/shop/alert-channels", channel("ntfy", &sink.url("/topic")));
    send(&platform, "/machine/alert-channels", channel("email", "ops@example.com"));
    let rule = json!({ "metric": "cpu", "threshold": 5, "for_s": 0, "clear_s": 2, "name": "busy ü", "process": "web" });
    let (rule, _) = send(&platform, "/apps/shop/alert-rules", rule);
    assert_eq!((&rule["built_in"], &rule["clear_s"]), (&json!(false), &json!(2)));
    assert!(get(&platform, "/apps/shop/alert-rules").len() >= 8);
    std::thread::scope(|scope| {
        scope.spawn(|| platform.web("shop", "/burn"));
        let open = eventually("it opens", || get(&platform, "/apps/shop/alerts?eq[state]=open").pop());
        assert_eq!((open["rule"].as_str(), open["subject"].as_str()), (Some("busy ü"), Some("web.1")));
        assert!(open["value"].as_f64().unwrap() >= 5.0, "{open}");
    });
    let closed =
        eventually("it closes", || get(&platform, "/apps/shop/alerts").into_iter().find(|alert| alert["state"] == "closed"));
    assert_eq!(closed["count"], 1);
    let told = eventually("both are delivered", || Some(sink.at("/hook")).filter(|all| all.len() == 2));
    let [opening, ending] = [&told[0], &told[1]].map(|got| serde_json::from_str::<Value>(&got.body).unwrap());
    assert_eq!([&opening["type"], &ending["type"]], ["alert.opened", "alert.closed"]);
    assert_eq!((&opening["alert"]["id"], &opening["alert"]["threshold"]), (&closed["id"], &json!(5.0)));
    let stamped = format!("{}.{}.{}", told[0].header("webhook-id"), told[0].header("webhook-timestamp"), told[0].body);
    assert_eq!(told[0].header("webhook-signature"), format!("v1,{}", hmac_of(&secret, &stamped)));
    let chat = eventually("the chat", || Some(sink.at("/chat/secret-path")).filter(|all| all.len() == 2));
    let text: Value = serde_json::from_str(&chat[0].body).unwrap();
    assert!(text["text"].as_str().unwrap().starts_with("*[open] busy ü: web.1 of shop*\nweb.1 uses "), "{text}");
    let ntfy = eventually("ntfy", || Some(sink.at("/topic")).filter(|all| all.len() == 2));
    assert_eq!((ntfy[0].header("title"), ntfy[0].header("priority")), ("[open] busy ?: web.1 of shop", "4"));
    assert!(ntfy[0].body.contains("tidemill metrics cpu -p web.1 -a shop"), "{}", ntfy[0].body);
    if let Some(mail) = &mail {
        let mails = eventually("the mails", || Some(mail.all()).filter(|all| all.matches("FROM ").count() == 2));
        assert!(mails.contains("FROM tidemill@localhost TO ops@example.com\n"), "{mails}");
        assert!(mails.contains("Subject: ") && mails.contains("It is over: "), "{mails}");
    }
    // It comes back within the hour, also after a restart: counted, not told.
    platform.signal("KILL");
    platform.wait_end();
    platform.boot();
    eventually("the app is back", || (platform.web("shop", "/").status == 200).then_some(()));
    std::thread::scope(|scope| {
        scope.spawn(|| platform.web("shop", "/burn"));
        let again = eventually("it is counted", || get(&platform, "/apps/shop/alerts?eq[state]=open").pop());
        assert_eq!((&again["count"], &again["id"]), (&json!(2), &closed["id"]));
    });
    eventually("it closes again", || get(&platform, "/apps/shop/alerts?eq[state]=open").is_empty().then_some(()));
    assert_eq!((sink.at("/hook").len(), get(&platform, "/apps/shop/alert-deliveries").len()), (2, 6));
    let shown = platform.cli(&["alerts", "-a", "shop"]);
    let shown = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.contains("=== busy ü · shop · closed\n") && shown.contains(", 2 times"), "{shown}");
    // Neither secrets nor whole addresses are in the store or in an answer.
    let mut search = Command::new("grep");
    let found = search.args(["-rlaE", &format!("secret-path|{secret}")]).arg(platform.data_dir().join("store")).output();
    assert_eq!(String::from_utf8_lossy(&found.unwrap().stdout), "");
    let gone = platform.api("DELETE", &format!("/apps/shop/alert-rules/{}", rule["id"].as_str().unwrap()), None);
    assert_eq!((gone.status, get(&platform, "/apps/shop/alerts").len()), (200, 0));
}

#[test]
fn channels_are_tried_held_back_after_six_and_kept_out_of_private_places() {
    let mail = MailServer::start();
    let smtp = format!("127.0.0.1:{}", mail.as_ref().map_or(1, |mail| mail.port));
    let platform = Platform::start_with(&["--metrics-every-s", "1", "--smtp", &smtp, "--smtp-tls", "none"]);
    platform.create("shop");
    let sink = Sink::start();
    let (hook, _) = send(&platform, "/apps/shop/alert-channels", json!({ "kind": "webhook", "target": sink.url("/hook") }));
    let id = hook["id"].as_str().unwrap();
    let tried = platform.cli(&["alerts:channels:test", id, "-a", "shop"]);
    let said = String::from_utf8_lossy(&tried.stderr).into_owned();
    assert!(tried.status.code() == Some(1) && said.contains("blocked"), "{said}");
    assert!(sink.at("/hook").is_empty());
    let last = get(&platform, "/apps/shop/alert-channels").remove(0)["last_delivery"].clone();
    assert_eq!((&last["what"], &last["status"], &last["error"]), (&json!("test"), &json!("pending"), &json!("blocked")));
    if let Some(mail) = &mail {
        let added = platform.cli(&["alerts:channels:add", "email", "ana@example.com", "-a", "shop"]);
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        let tried = platform.cli(&["alerts:channels:test", "ana@example.com", "-a", "shop"]);
        assert!(tried.status.success(), "{}", String::from_utf8_lossy(&tried.stderr));
        assert!(mail.all().contains("Subject: Tidemill: a test of this channel"), "{}", mail.all());
        let (nobody, _) =
            send(&platform, "/apps/shop/alert-channels", json!({ "kind": "email", "target": "nobody@example.com" }));
        let at = format!("/apps/shop/alert-channels/{}/actions/test", nobody["id"].as_str().unwrap());
        assert_eq!(platform.api("POST", &at, None).status, 202);
        eventually("a refusal is told", || {
            let all = get(&platform, "/apps/shop/alert-deliveries");
            all.into_iter().find(|d| d["error"].as_str().is_some_and(|e| e.contains("no such person")))
        });
        // Ten rules that open at once: six notices, the rest waits for a summary.
        for n in 0..10 {
            let rule = json!({ "metric": "requests", "threshold": 0.5, "for_s": 0, "name": format!("rule {n}") });
            send(&platform, "/apps/shop/alert-rules", rule);
        }
        (0..10).for_each(|_| drop(platform.web("shop", "/")));
        let count =
            || get(&platform, "/apps/shop/alert-channels").into_iter().find(|c| c["target"] == "ana@example.com").unwrap();
        eventually("four are held back", || (count()["held"] == 4).then_some(()));
        eventually("six came", || (mail.all().matches("Subject: [open] rule").count() >= 6).then_some(()));
    }
    for (path, body) in [
        ("alert-channels", json!({ "kind": "pigeon", "target": "https://example.com" })),
        ("alert-channels", json!({ "kind": "email", "target": "ana@example.com\r\nBcc: b@example.com" })),
        ("alert-channels", json!({ "kind": "email", "target": "ana" })),
        ("alert-channels", json!({ "kind": "chat", "target": "ftp://example.com" })),
        ("alert-rules", json!({ "metric": "disk", "threshold": 5 })),
        ("alert-rules", json!({ "metric": "p95", "threshold": -1 })),
        ("alert-rules", json!({ "metric": "p95", "threshold": 5, "for_s": 100_000 })),
        ("alert-rules", json!({ "metric": "p95", "threshold": 5, "name": "a\nb" })),
    ] {
        let answer = platform.api("POST", &format!("/apps/shop/{path}"), Some(body.clone()));
        assert_eq!((answer.status, answer.json()["id"].as_str()), (422, Some("invalid_params")), "{body}: {}", answer.text);
    }
}

#[test]
fn rules_and_channels_are_managed_from_the_command_line() {
    let platform = Platform::start();
    platform.create("shop");
    let run = |args: &[&str]| {
        let output = platform.cli(&[args, &["-a", "shop"]].concat());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    assert_eq!(run(&["alerts"]), "Nothing is wrong.\n");
    run(&["alerts:add", "p95", "800", "--for", "10m", "--name", "slow"]);
    let rules = run(&["alerts:rules"]);
    assert!(rules.contains("crash loop (built in)") && rules.contains("slow  "), "{rules}");
    assert!(rules.lines().any(|line| line.starts_with("slow") && line.contains("800.0   600s")), "{rules}");
    run(&["alerts:remove", "slow"]);
    assert!(!run(&["alerts:rules"]).contains("slow  "));
    let secret = run(&["alerts:channels:add", "webhook", "https://example.com/hook"]);
    assert_eq!(secret.lines().last().unwrap().len(), 64, "{secret}");
    assert!(run(&["alerts:channels"]).contains("webhook  https://example.com/…"));
    assert_eq!(run(&["alerts:deliveries"]), "Nothing was sent yet.\n");
    let id = run(&["alerts:channels", "-q"]).trim().to_string();
    run(&["alerts:channels:remove", &id]);
    assert!(run(&["alerts:channels"]).starts_with("There are no channels"));
    let wrong = platform.cli(&["alerts:add", "p95", "many", "-a", "shop"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn a_failed_deploy_opens_an_alert_until_one_succeeds() {
    if !root_or_skip("building apps") {
        return;
    }
    let platform = Platform::start_with(&["--metrics-every-s", "1"]);
    platform.create("shop");
    let repo = web_app();
    repo.deploy(&platform, "shop");
    let open = || get(&platform, "/apps/shop/alerts?eq[state]=open").pop();
    let good = "web: python3 web.py\n";
    for (procfile, package, word) in
        [(format!("{good}release: false\n"), None, "v4 failed (Deploy "), (good.to_string(), Some("{"), "A build failed: ")]
    {
        repo.write("Procfile", &procfile);
        package.map(|text| repo.write("package.json", text));
        repo.commit("broken");
        repo.push(&platform, "shop", "HEAD:main");
        let alert = eventually("it opens", open);
        assert_eq!(alert["rule"], "deploy failed", "{alert}");
        assert!(alert["text"].as_str().unwrap().starts_with(word), "{alert}");
        if package.is_none() {
            // A deploy in progress is no success.
            repo.write("Procfile", &format!("{good}release: sleep 3; false\n")).commit("still broken");
            repo.push(&platform, "shop", "HEAD:main");
            let all = get(&platform, "/apps/shop/alerts");
            let shown = (all.len(), &all[0]["id"], &all[0]["state"], &all[0]["count"]);
            assert_eq!(shown, (1, &alert["id"], &json!("open"), &json!(1)));
        }
        repo.write("Procfile", good);
        if package.is_some() {
            repo.git(&["rm", "-qf", "package.json"]);
        }
        repo.commit("mended");
        repo.deploy(&platform, "shop");
        eventually("it closes", || open().is_none().then_some(()));
    }
}
