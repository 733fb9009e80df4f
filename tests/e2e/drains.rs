//! Log drains against receivers: requests, streams, TLS, failures, restarts, floods.

use crate::{
    certs::Authority,
    schema::{check, check_list},
    support::{Platform, Repo, eventually, root_or_skip},
};
use serde_json::{Value, json};
use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

pub const PRIVATE: [&str; 2] = ["--allow-private-targets", "true"];

/// A request that came.
#[derive(Clone, Debug)]
struct Got {
    head: String,
    frames: Vec<String>,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find(|l| l.to_ascii_lowercase().starts_with(&format!("{}:", name.to_ascii_lowercase())));
        line.and_then(|l| l.split_once(':')).map_or("", |(_, value)| value.trim())
    }
}

/// Octet counted frames without their length.
fn frames(mut bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|b| *b == b' ').expect("a length");
        let length: usize = std::str::from_utf8(&bytes[..space]).unwrap().parse().expect("a number");
        found.push(String::from_utf8(bytes[space + 1..space + 1 + length].to_vec()).unwrap());
        bytes = &bytes[space + 1 + length..];
    }
    found
}

/// Takes requests and answers with the statuses of the script, then with 200. While `hang` is set it does not answer.
pub struct Receiver {
    port: u16,
    got: Arc<Mutex<Vec<Got>>>,
    script: Arc<Mutex<VecDeque<u16>>>,
    hang: Arc<AtomicBool>,
}

impl Receiver {
    pub fn start(script: &[u16]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Self {
            port: listener.local_addr().unwrap().port(),
            got: Arc::default(),
            script: Arc::new(Mutex::new(script.iter().copied().collect())),
            hang: Arc::default(),
        };
        let (got, script, hang) = (receiver.got.clone(), receiver.script.clone(), receiver.hang.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (got, script, hang) = (got.clone(), script.clone(), hang.clone());
                std::thread::spawn(move || while serve(&stream, &got, &script, &hang).is_some() {});
            }
        });
        receiver
    }

    pub fn url(&self) -> String {
        format!("http://user:secret@127.0.0.1:{}/in?kind=x", self.port)
    }

    fn got(&self) -> Vec<Got> {
        self.got.lock().unwrap().clone()
    }

    /// All frames that were taken so far.
    pub fn frames(&self) -> Vec<String> {
        self.got().into_iter().flat_map(|got| got.frames).collect()
    }

    pub fn wait_frame(&self, needle: &str) {
        eventually(&format!("{needle} at the receiver"), || self.frames().iter().any(|f| f.contains(needle)).then_some(()));
    }
}

fn serve(stream: &TcpStream, got: &Mutex<Vec<Got>>, script: &Mutex<VecDeque<u16>>, hang: &AtomicBool) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let request = Got { head, frames: Vec::new() };
    let mut body = vec![0; request.header("content-length").parse().unwrap()];
    reader.read_exact(&mut body).ok()?;
    if hang.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_secs(8)); // longer than the drain waits
        return None;
    }
    let status = script.lock().unwrap().pop_front().unwrap_or(200);
    got.lock().unwrap().push(Got { frames: frames(&body), ..request });
    let mut writer = stream;
    writer.write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok").as_bytes()).ok()
}

/// Keeps every byte that comes over plain TCP or TLS.
fn stream_receiver(tls: Option<Arc<rustls::ServerConfig>>) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, kept) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
    let all = kept.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let (all, tls) = (all.clone(), tls.clone());
            std::thread::spawn(move || {
                let mut connection = tls.map(|config| rustls::ServerConnection::new(config).unwrap());
                let mut buffer = [0; 4096];
                loop {
                    let read = match &mut connection {
                        Some(connection) => rustls::Stream::new(connection, &mut stream).read(&mut buffer),
                        None => stream.read(&mut buffer),
                    };
                    match read {
                        Ok(n) if n > 0 => all.lock().unwrap().extend_from_slice(&buffer[..n]),
                        _ => return,
                    }
                }
            });
        }
    });
    (port, kept)
}

fn add(platform: &Platform, url: &str) -> crate::support::Answer {
    platform.api("POST", "/apps/shop/log-drains", Some(json!({ "url": url })))
}

pub fn added(platform: &Platform, url: &str) -> Value {
    let answer = add(platform, url);
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()
}

/// Makes a line in the log.
pub fn say(platform: &Platform, word: &str) {
    let answer = platform.api("PATCH", "/apps/shop/config-vars", Some(json!({ word: "1" })));
    assert_eq!(answer.status, 200, "{}", answer.text);
}

pub fn state(platform: &Platform, drain: &Value) -> Value {
    let answer = platform.api("GET", &format!("/apps/shop/log-drains/{}/state", drain["id"].as_str().unwrap()), None);
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

#[test]
fn a_batch_is_tried_again_as_it_was_and_what_is_refused_is_told_as_lost() {
    let platform = Platform::start_with(&PRIVATE);
    platform.create("shop");
    let receiver = Receiver::start(&[500, 429, 200, 400]);
    let drain = added(&platform, &receiver.url());
    check("log-drain", &drain);
    // The line of the drain's own making is the first that it gets.
    receiver.wait_frame("Add log drain");
    eventually("taken at the third try", || (state(&platform, &drain)["delivered"].as_u64() > Some(0)).then_some(()));
    let tries: Vec<Got> = receiver.got();
    assert_eq!(tries.len(), 3, "{tries:?}");
    assert!(
        tries
            .iter()
            .all(|t| t.frames == tries[0].frames && t.header("Logplex-Frame-Id") == tries[0].header("Logplex-Frame-Id"))
    );
    let first = &tries[0];
    assert!(first.head.starts_with("POST /in?kind=x HTTP/1.1"), "{}", first.head);
    assert_eq!(first.header("authorization"), "Basic dXNlcjpzZWNyZXQ=");
    assert_eq!(first.header("content-type"), "application/logplex-1");
    assert_eq!(first.header("logplex-drain-token"), drain["token"].as_str().unwrap());
    assert_eq!(first.header("logplex-msg-count"), first.frames.len().to_string());
    let id = first.header("logplex-frame-id");
    assert!(id.len() == 32 && id.chars().all(|c| c.is_ascii_digit() || c.is_ascii_uppercase()), "{id}");
    assert!(first.frames[0].starts_with("<190>1 ") && first.frames[0].contains("+00:00 host app api - Add log drain d."));
    say(&platform, "REFUSED");
    eventually("refused", || (state(&platform, &drain)["dropped"].as_u64() > Some(0)).then_some(()));
    let refused = state(&platform, &drain);
    assert_eq!(refused["last_error"], "the receiver answered 400");
    say(&platform, "AFTER");
    receiver.wait_frame("Set AFTER");
    let last = receiver.got().into_iter().find(|got| got.frames[0].contains("Error L10")).expect("a notice");
    let lost = format!("Error L10 (output buffer overflow): {} messages dropped since 2", refused["dropped"]);
    assert!(last.frames[0].starts_with("<172>1 ") && last.frames[0].contains(&lost), "{last:?}");
    assert_eq!(last.header("logplex-msg-count"), last.frames.len().to_string());
    let refused_once = receiver.frames().iter().filter(|f| f.contains("Set REFUSED")).count();
    assert_eq!(refused_once, 1, "never again");
    eventually("no lag", || (state(&platform, &drain)["lag"] == 0).then_some(()));
}

#[test]
fn drains_are_named_by_id_token_and_url_and_lead_to_public_places_only() {
    let mut platform = Platform::start_with(&PRIVATE);
    platform.create("shop");
    let first = added(&platform, "https://u:secret@127.0.0.1:1/x?key=a%2Fb");
    check_list("log-drain", &platform.api("GET", "/apps/shop/log-drains", None).json());
    let url = "https%3A%2F%2Fu%3Asecret%40127.0.0.1%3A1%2Fx%3Fkey%3Da%252Fb";
    for name in [first["id"].as_str().unwrap(), first["token"].as_str().unwrap(), url] {
        let found = platform.api("GET", &format!("/apps/shop/log-drains/{name}"), None);
        assert_eq!((found.status, &found.json()["id"]), (200, &first["id"]), "{name}: {}", found.text);
    }
    assert_eq!(add(&platform, first["url"].as_str().unwrap()).status, 409);
    for bad in ["", "nothing", "ftp://a.example", "https://", "syslog://a b", "https://a:99999/"] {
        assert_eq!(add(&platform, bad).status, 422, "{bad}");
    }
    for n in 1..5 {
        added(&platform, &format!("syslog://127.0.0.1:{n}"));
    }
    let many = add(&platform, "syslog://127.0.0.1:9");
    assert!(many.status == 422 && many.text.contains("5 log drains"), "{}", many.text);
    let gone = platform.api("DELETE", &format!("/apps/shop/log-drains/{url}"), None);
    assert_eq!((gone.status, &gone.json()["url"]), (200, &first["url"]), "{}", gone.text);
    assert_eq!(platform.api("DELETE", &format!("/apps/shop/log-drains/{url}"), None).status, 404);
    assert!(!platform.log("shop").contains("secret"));
    for segment in std::fs::read_dir(platform.data_dir().join("store/journal")).unwrap().flatten() {
        let bytes = std::fs::read(segment.path()).unwrap();
        assert!(!bytes.windows(6).any(|w| w == b"secret"), "a password lies open in the store");
    }
    platform.stop();
    let platform = Platform::start();
    platform.create("shop");
    for inside in
        ["http://127.0.0.1:80", "https://10.0.0.1", "syslog://[::1]:514", "http://169.254.169.254/", "http://localhost"]
    {
        let answer = add(&platform, inside);
        assert!(answer.status == 422 && answer.text.contains("not a public address"), "{inside}: {}", answer.text);
    }
}

#[test]
fn streams_get_frames_over_tcp_and_over_tls_from_whom_they_trust() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    let platform = Platform::start_with(&[&PRIVATE[..], &["--drain-ca-file", authority.file.to_str().unwrap()]].concat());
    platform.create("shop");
    let config = |(chain, key): (String, String)| {
        use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
        let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).map(Result::unwrap).collect();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
        Arc::new(builder.with_no_client_auth().with_single_cert(chain, key).unwrap())
    };
    let (plain, plain_got) = stream_receiver(None);
    let (good, good_got) = stream_receiver(Some(config(authority.issue(&["127.0.0.1", "localhost"]))));
    let stranger = Authority::new(tempfile::tempdir().unwrap().path());
    let (bad, bad_got) = stream_receiver(Some(config(stranger.issue(&["localhost"]))));
    let one = added(&platform, &format!("syslog://127.0.0.1:{plain}"));
    added(&platform, &format!("syslog+tls://localhost:{good}"));
    let distrusted = added(&platform, &format!("syslog+tls://localhost:{bad}"));
    added(&platform, &format!("syslog+tls://localhost:{bad}/#insecure"));
    say(&platform, "HELLO");
    let text = |got: &Arc<Mutex<Vec<u8>>>| String::from_utf8(got.lock().unwrap().clone()).unwrap();
    for (name, got) in [("plain", &plain_got), ("trusted", &good_got), ("insecure", &bad_got)] {
        eventually(&format!("a line at {name}"), || text(got).contains("Set HELLO config vars").then_some(()));
    }
    let line = frames(&plain_got.lock().unwrap()).into_iter().find(|f| f.contains("Set HELLO")).unwrap();
    assert!(line.contains(&format!("+00:00 {} app api - - Set HELLO config vars", one["token"].as_str().unwrap())), "{line}");
    let told = platform.wait_log("shop", "Error L14 (certificate validation): error=");
    assert!(told.contains(&format!("uri=\"syslog+tls://localhost:{bad}/\"")), "{told}");
    let seen = state(&platform, &distrusted);
    assert_eq!((&seen["delivered"], &seen["last_success_at"]), (&json!(0), &Value::Null), "{seen}");
    assert!(seen["lag"].as_u64() > Some(0), "kept for when it is who it should be: {seen}");
    assert_eq!(platform.log("shop").matches("Error L14").count(), 1, "no loop");
}

#[test]
fn a_drain_goes_on_after_a_kill_where_it_was() {
    let mut platform = Platform::start_with(&PRIVATE);
    platform.create("shop");
    let receiver = Receiver::start(&[]);
    let drain = added(&platform, &receiver.url());
    say(&platform, "BEFORE");
    receiver.wait_frame("Set BEFORE");
    eventually("nothing waits", || (state(&platform, &drain)["lag"] == 0).then_some(()));
    // What is said while the receiver is away comes after the kill, and what came does not come again.
    receiver.hang.store(true, Ordering::SeqCst);
    say(&platform, "DURING");
    platform.wait_log("shop", "Set DURING");
    platform.signal("KILL");
    platform.wait_end();
    receiver.hang.store(false, Ordering::SeqCst);
    platform.boot();
    receiver.wait_frame("Set DURING");
    say(&platform, "AFTER");
    receiver.wait_frame("Set AFTER");
    let frames = receiver.frames();
    for word in ["BEFORE", "DURING", "AFTER"] {
        let count = frames.iter().filter(|f| f.contains(&format!("Set {word} config vars"))).count();
        assert_eq!(count, 1, "{word}: {frames:?}");
    }
    let gone = platform.api("DELETE", &format!("/apps/shop/log-drains/{}", drain["token"].as_str().unwrap()), None);
    assert_eq!(gone.status, 200, "{}", gone.text);
    eventually("its number is gone", || {
        std::fs::read_dir(platform.data_dir().join("logs/drains")).unwrap().next().is_none().then_some(())
    });
}

#[test]
fn a_receiver_that_hangs_harms_nobody_and_is_told_what_it_missed() {
    const LINES: u64 = 20_000;
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = Platform::start_with(&PRIVATE);
    platform.create("shop");
    let repo = Repo::empty();
    repo.write("index.html", "served");
    repo.write(
        "Procfile",
        &format!("web: exec python3 -m http.server $PORT\nworker: for n in $(seq {LINES}); do echo \"number $n.\"; done; echo written; exec sleep 3600\n"),
    );
    repo.commit("first");
    repo.deploy(&platform, "shop");
    let receiver = Receiver::start(&[]);
    receiver.hang.store(true, Ordering::SeqCst);
    let drain = added(&platform, &receiver.url());
    let scaled = platform.api("PATCH", "/apps/shop/formation/worker", Some(json!({ "quantity": 1 })));
    assert_eq!(scaled.status, 200, "{}", scaled.text);
    // The dyno writes all of it while nobody takes a line, and visitors are served.
    platform.wait_log("shop", "app[worker.1]: written");
    assert_eq!(platform.web("shop", "/").text, "served");
    assert!(state(&platform, &drain)["lag"].as_u64() > Some(LINES / 2), "{}", state(&platform, &drain));
    receiver.hang.store(false, Ordering::SeqCst);
    receiver.wait_frame("app worker.1 - written");
    let (frames, seen) = (receiver.frames(), state(&platform, &drain));
    let (notices, lines): (Vec<&String>, Vec<&String>) = frames.iter().partition(|f| f.contains("Error L10"));
    let told: u64 =
        notices.iter().map(|f| f.split("overflow): ").nth(1).unwrap().split(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    let numbers: Vec<u64> =
        lines.iter().filter_map(|f| f.split("number ").nth(1)?.trim_end().trim_end_matches('.').parse().ok()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "in order and never twice");
    assert_eq!(numbers.last(), Some(&LINES), "the newest lines matter most");
    assert!(told >= LINES - numbers.len() as u64, "{told} told, {} came", numbers.len());
    assert_eq!(seen["dropped"].as_u64(), Some(told), "{seen}");
}
