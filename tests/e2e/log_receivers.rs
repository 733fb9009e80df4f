//! Drains to real receivers: rsyslog over TCP and TLS, OpenTelemetry, and ones that fail while others go on.

use crate::{
    certs::Authority,
    drains::{PRIVATE, Receiver, added, say, state},
    support::{Platform, eventually},
};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

/// A receiver that is a program of its own.
struct Rsyslog {
    child: Child,
    file: PathBuf,
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Rsyslog {
    /// `None` when it is not installed. With TLS it shows this chain and key.
    fn start(dir: &Path, port: u16, tls: Option<(&Path, (String, String))>) -> Option<Self> {
        let program = ["/usr/sbin/rsyslogd", "/usr/bin/rsyslogd"].into_iter().find(|p| Path::new(p).exists())?;
        fs::create_dir_all(dir).unwrap();
        let file = dir.join("lines");
        let (global, stream) = match tls {
            None => (String::new(), ""),
            Some((ca, (chain, key))) => {
                let [chain_file, key_file] = ["chain.pem", "key.pem"].map(|name| dir.join(name));
                fs::write(&chain_file, chain).unwrap();
                fs::write(&key_file, key).unwrap();
                let global = format!(
                    "global(defaultNetstreamDriver=\"gtls\" defaultNetstreamDriverCAFile=\"{}\" defaultNetstreamDriverCertFile=\"{}\" defaultNetstreamDriverKeyFile=\"{}\")\n",
                    ca.display(),
                    chain_file.display(),
                    key_file.display()
                );
                (global, "StreamDriver.Name=\"gtls\" StreamDriver.Mode=\"1\" StreamDriver.AuthMode=\"anon\"")
            }
        };
        let config = format!(
            "{global}global(workDirectory=\"{dir}\" maxMessageSize=\"16k\")\n\
             module(load=\"imtcp\" {stream})\n\
             template(name=\"line\" type=\"string\" string=\"%app-name% %procid% %hostname% %rawmsg%\\n\")\n\
             input(type=\"imtcp\" port=\"{port}\" address=\"127.0.0.1\")\n\
             action(type=\"omfile\" file=\"{file}\" template=\"line\")\n",
            dir = dir.display(),
            file = file.display()
        );
        let config_file = dir.join("rsyslog.conf");
        fs::write(&config_file, config).unwrap();
        let mut command = Command::new(program);
        command.arg("-n").arg("-f").arg(config_file).arg("-i").arg(dir.join("pid"));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Some(Self { child, file })
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.file).unwrap_or_default()
    }

    fn wait(&self, needle: &str) -> String {
        eventually(&format!("{needle} at rsyslog"), || Some(self.text()).filter(|text| text.contains(needle)))
    }
}

#[test]
fn rsyslog_takes_lines_over_tcp_and_tls_and_again_after_it_was_away() {
    let dir = tempfile::tempdir().unwrap();
    let authority = Authority::new(dir.path());
    let (plain_port, tls_port) = (free_port(), free_port());
    let tls = || Some((authority.file.as_path(), authority.issue(&["localhost"])));
    let Some(plain) = Rsyslog::start(&dir.path().join("plain"), plain_port, None) else {
        assert!(std::env::var_os("CI").is_none(), "rsyslog is needed");
        eprintln!("SKIPPED: rsyslog is not installed");
        return;
    };
    let encrypted = Rsyslog::start(&dir.path().join("tls"), tls_port, tls()).unwrap();
    let platform = Platform::start_with(&[&PRIVATE[..], &["--drain-ca-file", authority.file.to_str().unwrap()]].concat());
    platform.create("shop");
    let drain = added(&platform, &format!("syslog://127.0.0.1:{plain_port}"));
    added(&platform, &format!("syslog+tls://localhost:{tls_port}"));
    say(&platform, "HELLO");
    let token = drain["token"].as_str().unwrap();
    let text = plain.wait("Set HELLO config vars");
    let line = text.lines().find(|l| l.contains("Set HELLO config")).unwrap();
    assert!(line.starts_with(&format!("app api {token} <190>1 20")), "the fields are where it looks for them: {line}");
    encrypted.wait("Set HELLO config vars");
    // Away for a while: what is said meanwhile comes later, to the others at once.
    drop(plain);
    say(&platform, "MEANWHILE");
    encrypted.wait("Set MEANWHILE");
    say(&platform, "LATER");
    let again = Rsyslog::start(&dir.path().join("plain"), plain_port, None).unwrap();
    again.wait("Set LATER");
}

/// Answers each request with the same status, after it has read it; keeps the bodies.
/// What a collector was sent: path and body.
type Sent = Arc<Mutex<Vec<(String, Value)>>>;

fn collector(status: u16) -> (u16, Sent) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, got) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
    let all: Arc<Mutex<Vec<(String, Value)>>> = got.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let all = all.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(&stream);
                loop {
                    let mut head = String::new();
                    while !head.ends_with("\r\n\r\n") {
                        if reader.read_line(&mut head).unwrap_or(0) == 0 {
                            return;
                        }
                    }
                    let length = head.to_ascii_lowercase();
                    let length =
                        length.lines().find_map(|l| l.strip_prefix("content-length:")).unwrap().trim().parse().unwrap();
                    let mut body = vec![0; length];
                    reader.read_exact(&mut body).unwrap();
                    all.lock().unwrap().push((head, serde_json::from_slice(&body).unwrap_or(Value::Null)));
                    let _ = (&stream).write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\n{{}}").as_bytes());
                }
            });
        }
    });
    (port, got)
}

#[test]
fn collectors_of_opentelemetry_get_records_and_a_drain_can_be_tested() {
    let platform = Platform::start_with(&PRIVATE);
    platform.create("shop");
    let (port, got) = collector(200);
    let drain = added(&platform, &format!("otlp+http://key:x@127.0.0.1:{port}"));
    say(&platform, "HELLO");
    let record = eventually("the record", || {
        let got = got.lock().unwrap();
        let records = got.iter().flat_map(|(_, body)| {
            let logs = &body["resourceLogs"][0];
            assert_eq!(logs["resource"]["attributes"][0]["value"]["stringValue"], "shop");
            logs["scopeLogs"][0]["logRecords"].as_array().cloned().unwrap_or_default()
        });
        records.into_iter().find(|r| r["body"]["stringValue"].as_str().unwrap().starts_with("Set HELLO config vars"))
    });
    assert_eq!(record["attributes"][1], json!({ "key": "ps", "value": { "stringValue": "api" } }));
    assert!(record["timeUnixNano"].as_str().unwrap().len() == 19);
    let head = got.lock().unwrap()[0].0.to_ascii_lowercase();
    assert!(head.starts_with("post /v1/logs ") && head.contains("content-type: application/json"), "{head}");
    assert!(head.contains("authorization: basic "), "{head}");
    // The test button.
    let path = format!("/apps/shop/log-drains/{}/test", drain["id"].as_str().unwrap());
    let tested = platform.api("POST", &path, None).json();
    assert_eq!((&tested["taken"], &tested["error"]), (&json!(true), &Value::Null), "{tested}");
    let away = added(&platform, &format!("syslog://127.0.0.1:{}", free_port()));
    let output = platform.cli(&["drains:test", away["token"].as_str().unwrap(), "-a", "shop"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().contains("The line was not taken: connect"));
}

#[test]
fn receivers_that_fail_in_every_way_leave_the_others_alone() {
    let platform = Platform::start_with(&PRIVATE);
    platform.create("shop");
    let good = Receiver::start(&[]);
    let (broken, _) = collector(500);
    // One accepts nothing and answers nothing; one closes what it accepts.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let resetting = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let resets = port(&resetting);
    std::thread::spawn(move || resetting.incoming().flatten().for_each(drop));
    let fine = added(&platform, &good.url());
    let bad: Vec<Value> = [
        format!("http://127.0.0.1:{broken}/"),
        format!("https://127.0.0.1:{}/", port(&silent)),
        format!("http://127.0.0.1:{resets}/"),
    ]
    .iter()
    .map(|url| added(&platform, url))
    .collect();
    for n in 0..20 {
        say(&platform, &format!("WORD_{n}"));
    }
    good.wait_frame("Set WORD_19");
    eventually("nothing waits for the good one", || (state(&platform, &fine)["lag"] == 0).then_some(()));
    assert_eq!(state(&platform, &fine)["dropped"], 0);
    for drain in &bad {
        eventually("an error is shown", || state(&platform, drain)["last_error"].as_str().map(String::from));
        assert_eq!(state(&platform, drain)["delivered"], 0);
    }
    // What is lost at the one that answers with 500 is counted: lost and waiting are all that were written.
    let broken =
        eventually("three tries are over", || Some(state(&platform, &bad[0])).filter(|s| s["dropped"].as_u64() > Some(0)));
    assert!(broken["last_error"].as_str().unwrap().contains("500"), "{broken}");
    let shown = platform.cli(&["drains", "-a", "shop"]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(text.contains("the receiver answered 500") && text.contains("4 of 5 drains"), "{text}");
}
