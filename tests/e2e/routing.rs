//! The router with real dynos: H-codes, headers, upgrades.

use crate::support::{Platform, Repo, eventually, on_both_drivers, raw, root_or_skip};
use serde_json::json;
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

/// Handshake and one masked text frame through the router.
pub fn web_socket_echo(platform: &Platform, app: &str, path: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", platform.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: {app}.localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let mut byte = [0u8];
    while !answer.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        answer.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(head.starts_with("http/1.1 101") && head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="), "{head}");
    let (text, mask) = (b"over the tide", [1u8, 2, 3, 4]);
    let mut frame = vec![0x81, 0x80 | text.len() as u8];
    frame.extend(mask);
    frame.extend(text.iter().enumerate().map(|(n, b)| b ^ mask[n % 4]));
    stream.write_all(&frame).unwrap();
    let mut header = [0u8; 2];
    stream.read_exact(&mut header).unwrap();
    let mut echoed = vec![0u8; usize::from(header[1] & 0x7f)];
    stream.read_exact(&mut echoed).unwrap();
    assert!(String::from_utf8_lossy(&echoed).contains("over the tide"));
}

/// A raw server: shows what it got at `/show`, and behaves badly on request.
const SERVER: &str = r#"
import os, socket, threading, time
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("0.0.0.0", int(os.environ["PORT"]))); s.listen(100)
def serve(c):
    data = b""
    while b"\r\n\r\n" not in data:
        piece = c.recv(65536)
        if not piece: return c.close()
        data += piece
    head = data.split(b"\r\n\r\n")[0]
    path = head.split(b" ")[1]
    if path == b"/close": return c.close()
    if path == b"/garbage": c.sendall(b"garbage\r\n\r\n"); return c.close()
    if path == b"/silent": time.sleep(40); return c.close()
    if path == b"/refuse": s.close(); os.close(3) if False else None
    if path == b"/chunked": c.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"); return c.close()
    c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(head) + head); c.close()
while True:
    c, _ = s.accept()
    threading.Thread(target=serve, args=(c,), daemon=True).start()
"#;

fn deployed(args: &[&str], procfile: &str) -> Platform {
    let platform = Platform::start_with(args);
    platform.create("shop");
    let repo = Repo::empty();
    repo.write("server.py", SERVER).write("Procfile", procfile);
    repo.commit("server");
    repo.deploy(&platform, "shop");
    platform
}

fn get(platform: &Platform, head: &str) -> String {
    raw(platform.port, format!("{head}\r\nConnection: close\r\n\r\n").as_bytes())
}

#[test]
fn headers_pages_and_lines_are_as_specified() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = deployed(&[], "web: exec python3 -u server.py\n");
    let seen = get(
        &platform,
        "GET /show?a=%22b HTTP/1.1\r\nHost: SHOP.localhost:80\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\nX-Request-Id: 0123456789abcdef0123\r\nKeep-Alive: x\r\nProxy-Authorization: secret\r\nVia: 1.0 a",
    );
    for part in [
        "X-Forwarded-For: 9.9.9.9, 127.0.0.1",
        "X-Forwarded-Proto: http",
        "X-Forwarded-Port: ",
        "X-Request-Id: 0123456789abcdef0123",
        "Via: 1.0 a, 1.1 heroku-router",
        "X-Request-Start: 1",
        "Connect-Time: ",
        "Total-Route-Time: ",
        "Host: SHOP.localhost:80",
    ] {
        assert!(seen.contains(part), "{part:?} is missing in\n{seen}");
    }
    assert!(!seen.contains("Proxy-Authorization") && !seen.contains("Keep-Alive"), "{seen}");
    assert!(seen.lines().any(|l| l.eq_ignore_ascii_case("via: 1.1 heroku-router")), "{seen}");
    assert!(get(&platform, "GET /chunked HTTP/1.1\r\nHost: shop.localhost").contains("hello"));
    assert!(get(&platform, "GET /close HTTP/1.1\r\nHost: shop.localhost").starts_with("HTTP/1.1 503"));
    assert!(get(&platform, "GET /garbage HTTP/1.1\r\nHost: shop.localhost").starts_with("HTTP/1.1 503"));
    assert!(get(&platform, "GET / HTTP/1.1\r\nHost: nobody.localhost").starts_with("HTTP/1.1 404"));
    assert!(get(&platform, "GET / HTTP/1.1\r\nHost: api.localhost").starts_with("HTTP/1.1 200"), "the platform's own host");
    platform.api("PATCH", "/apps/shop", Some(json!({ "maintenance": true })));
    eventually("maintenance", || {
        get(&platform, "GET / HTTP/1.1\r\nHost: shop.localhost").contains("Down for maintenance").then_some(())
    });
    platform.api("PATCH", "/apps/shop", Some(json!({ "maintenance": false })));
    platform.api("POST", "/apps/shop/domains", Some(json!({ "hostname": "*.shop.example" })));
    eventually("a custom domain", || {
        get(&platform, "GET /show HTTP/1.1\r\nHost: www.shop.example").starts_with("HTTP/1.1 200").then_some(())
    });
    platform.api("PATCH", "/apps/shop/formation/web", Some(json!({ "quantity": 0 })));
    eventually("H14", || {
        platform
            .log("shop")
            .contains("x")
            .then(|| get(&platform, "GET / HTTP/1.1\r\nHost: shop.localhost"))
            .filter(|a| a.contains("H14"))
    });
    let log = platform.log("shop");
    for part in [
        "heroku[router]: at=info method=GET path=\"/show?a=%22b\" host=shop.localhost request_id=0123456789abcdef0123 fwd=\"9.9.9.9, 127.0.0.1\" dyno=web.1 connect=",
        "heroku[router]: at=error code=H13 desc=\"Connection closed without response\" method=GET path=\"/close\" host=shop.localhost",
        "heroku[router]: at=error code=H17 desc=\"Poorly formatted HTTP response\" method=GET path=\"/garbage\"",
        "heroku[router]: at=info code=H80 desc=\"Maintenance mode\" method=GET path=\"/\" host=shop.localhost",
        "dyno= connect= service= status=503 bytes= protocol=http",
        "at=error code=H14 desc=\"No web processes running\"",
    ] {
        assert!(log.contains(part), "{part:?} is missing in\n{log}");
    }
}

#[test]
fn crashed_silent_and_booting_dynos_have_their_codes() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = deployed(&["--boot-timeout-s", "200", "--crash-backoff-s", "0,600"], "web: exec python3 -u server.py\n");
    platform.create("crasher");
    platform.create("booter");
    platform.create("deaf");
    let crash = Repo::empty();
    crash.write("Procfile", "web: echo bye; exit 3\n");
    crash.commit("crash");
    let (ok, text) = crash.push(&platform, "crasher", "main");
    assert!(!ok && text.contains("its web dyno crashed") && text.contains("bye"), "{text}");
    let deaf = Repo::empty();
    // Binds, is seen to accept, and then closes its listener while it lives on.
    deaf.write("Procfile", "web: exec python3 -c 'import os,socket,time\ns=socket.socket();s.bind((\"\",int(os.environ[\"PORT\"])));s.listen();s.accept();time.sleep(1);s.close();time.sleep(600)'\n".replace("time\n", "time;").as_str());
    deaf.commit("deaf");
    deaf.deploy(&platform, "deaf");
    std::thread::scope(|scope| {
        let boot = Repo::empty();
        boot.write("Procfile", "web: sleep 300\n");
        boot.commit("never binds");
        let platform = &platform;
        let mut pushing = boot
            .command()
            .args(["push", &platform.git_url("booter"), "main"])
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        eventually("starting", || {
            platform.api("GET", "/apps/booter/dynos/web.1", None).text.contains("starting").then_some(())
        });
        let h20 = scope.spawn(move || {
            let begun = Instant::now();
            (get(platform, "GET / HTTP/1.1\r\nHost: booter.localhost"), begun.elapsed())
        });
        let h12 = scope.spawn(move || {
            let begun = Instant::now();
            (get(platform, "GET /silent HTTP/1.1\r\nHost: shop.localhost"), begun.elapsed())
        });
        let h10 = get(platform, "GET / HTTP/1.1\r\nHost: crasher.localhost");
        assert!(h10.contains("H10"), "{h10}");
        let h21 =
            eventually("H21", || Some(get(platform, "GET / HTTP/1.1\r\nHost: deaf.localhost")).filter(|a| a.contains("H21")));
        assert!(h21.starts_with("HTTP/1.1 503"));
        let (answer, took) = h12.join().unwrap();
        assert!(
            answer.contains("H12") && took >= Duration::from_secs(30) && took < Duration::from_secs(70),
            "{took:?} {answer}"
        );
        let (answer, took) = h20.join().unwrap();
        assert!(
            answer.contains("H20") && took >= Duration::from_secs(75) && took < Duration::from_secs(115),
            "{took:?} {answer}"
        );
        let _ = pushing.kill();
        let _ = pushing.wait();
    });
    let log = platform.log("crasher");
    for part in [
        "heroku[web.1]: Process exited with status 3",
        "heroku[web.1]: State changed from starting to crashed",
        "code=H10 desc=\"App crashed\"",
    ] {
        assert!(log.contains(part), "{part:?} is missing in\n{log}");
    }
    assert_eq!(log.matches("Process exited with status 3").count(), 2, "at once the first time, then it waits\n{log}");
    assert!(platform.log("shop").contains("code=H12 desc=\"Request timeout\" method=GET path=\"/silent\""));
}

#[test]
fn memory_31_over_the_quota_is_told_and_far_over_it_is_ended() {
    on_both_drivers(&[], |platform| over_the_quota(platform));
}

fn over_the_quota(platform: &Platform) {
    platform.create("hungry");
    let repo = Repo::empty();
    // Touches every page; then waits.
    repo.write(
        "eat.py",
        "import sys, time\nx = bytearray(b'x') * (int(sys.argv[1]) << 20)\nprint('eaten', flush=True)\ntime.sleep(600)\n",
    );
    repo.write("Procfile", "over: python3 eat.py 600\nvastly: python3 eat.py 1200\n");
    repo.commit("eats");
    repo.deploy(platform, "hungry");
    let set = json!({ "updates": [{ "type": "over", "quantity": 1 }, { "type": "vastly", "quantity": 1 }] });
    assert_eq!(platform.api("PATCH", "/apps/hungry/formation", Some(set)).status, 200);
    let log = platform.wait_log("hungry", "heroku[over.1]: Error R14 (Memory quota exceeded)");
    let line = log.lines().find(|l| l.contains("heroku[over.1]: Process running mem=")).unwrap().to_string();
    let percent = line.split('(').nth(1).and_then(|p| p.strip_suffix("%)")).unwrap().parse::<f64>().unwrap();
    assert!((115.0..125.0).contains(&percent), "600 of 512 MiB: {line}");
    let log = platform.wait_log("hungry", "heroku[vastly.1]: Process exited with status 137");
    assert!(log.contains("heroku[vastly.1]: Error R15 (Memory quota vastly exceeded)"), "{log}");
    platform.wait_log("hungry", "heroku[vastly.1]: State changed from up to crashed");
    assert_eq!(platform.api("GET", "/apps/hungry/dynos/over.1", None).json()["state"], "up", "over the quota it goes on");
}

#[test]
fn dynos_are_cycled_one_after_the_other_without_a_failed_request() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = Platform::start_with(&["--cycle-after-s", "3"]);
    platform.create("shop");
    Repo::of("procfile").deploy(&platform, "shop");
    let first = platform.api("GET", "/apps/shop/dynos/web.1", None).json()["id"].clone();
    eventually("another dyno serves", || {
        assert_eq!(platform.web("shop", "/").status, 200);
        let now = platform.api("GET", "/apps/shop/dynos/web.1", None).json();
        (now["id"] != first && now["state"] == "up").then_some(())
    });
    assert!(platform.log("shop").contains("heroku[web.1]: Cycling"));
}

#[test]
fn a_dyno_that_does_not_bind_in_time_gets_r10() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = deployed(&["--boot-timeout-s", "2"], "web: exec python3 -u server.py\n");
    let repo = Repo::empty();
    repo.write("Procfile", "web: sleep 300\n");
    repo.commit("never binds");
    let (ok, text) = {
        let clone = repo.command().args(["push", "--force", &platform.git_url("shop"), "main"]).output().unwrap();
        (clone.status.success(), String::from_utf8_lossy(&clone.stderr).into_owned())
    };
    assert!(
        !ok && text.contains("v4 did not start. v3 is still serving") && text.contains("Error R10 (Boot timeout)"),
        "{text}"
    );
    let log = platform.log("shop");
    for part in [
        "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 2 seconds of launch",
        "Stopping process with SIGKILL",
        "Process exited with status 137",
    ] {
        assert!(log.contains(part), "{part:?} is missing in\n{log}");
    }
    assert!(get(&platform, "GET /show HTTP/1.1\r\nHost: shop.localhost").starts_with("HTTP/1.1 200"));
}

#[test]
fn log_tails_come_as_text_and_as_events() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = deployed(&[], "web: exec python3 -u server.py\n");
    let session = platform
        .api("POST", "/apps/shop/log-sessions", Some(json!({ "tail": true, "lines": 5, "source": "heroku", "dyno": "router" })))
        .json();
    let url = session["logplex_url"].as_str().unwrap();
    let path = url[url.find("/streams").unwrap()..].to_string();
    let open = |accept: &str| {
        let mut stream = TcpStream::connect(("127.0.0.1", platform.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n").as_bytes()).unwrap();
        stream
    };
    let (mut plain, mut events) = (open("*/*"), open("text/event-stream"));
    std::thread::sleep(Duration::from_millis(200)); // both are open; a line before that is history, which is as good
    get(&platform, "GET /live HTTP/1.1\r\nHost: shop.localhost");
    let read_until = |stream: &mut TcpStream, needle: &str| {
        let (mut text, mut buffer) = (String::new(), [0u8; 4096]);
        while !text.contains(needle) {
            let n = stream.read(&mut buffer).unwrap();
            assert!(n > 0, "the stream ended: {text}");
            text.push_str(&String::from_utf8_lossy(&buffer[..n]));
        }
        text
    };
    let text = read_until(&mut plain, "path=\"/live\"");
    assert!(text.to_lowercase().contains("content-type: text/plain") && !text.contains("data:"), "{text}");
    let text = read_until(&mut events, "path=\"/live\"");
    assert!(text.to_lowercase().contains("content-type: text/event-stream") && text.contains("data: 20"), "{text}");
    assert_eq!(platform.request("GET", "/streams/logs/unknown", &[], None).status, 404);
}
