//! Eco apps go to sleep and wake (`runtime.md` section 8).

use crate::support::{Platform, Repo, eventually, root_or_skip};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Sends back the bytes of an upgraded connection; answers other requests at once, `/slow` after 4 s.
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
    if b"upgrade: echo" in data.lower():
        c.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        while True:
            piece = c.recv(65536)
            if not piece: return c.close()
            c.sendall(piece)
    if data.startswith(b"GET /slow"): time.sleep(4)
    c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nup"); c.close()
while True:
    c, _ = s.accept()
    threading.Thread(target=serve, args=(c,), daemon=True).start()
"#;

fn eco(sleep_after_s: &str) -> Platform {
    let platform = Platform::start_with(&["--sleep-after-s", sleep_after_s]);
    platform.create("shop");
    let repo = Repo::empty();
    repo.write("server.py", SERVER);
    repo.write("Procfile", "web: exec python3 -u server.py\nworker: exec sleep 3600\n");
    repo.commit("answers");
    repo.deploy(&platform, "shop");
    let updates = json!({ "updates": [{ "type": "web", "size": "Eco" }, { "type": "worker", "quantity": 1, "size": "Eco" }] });
    assert_eq!(platform.api("PATCH", "/apps/shop/formation", Some(updates)).status, 200);
    platform
}

fn states(platform: &Platform) -> Vec<(String, String)> {
    let dynos = platform.api("GET", "/apps/shop/dynos", None).json();
    let text = |d: &Value, field: &str| d[field].as_str().unwrap().to_string();
    dynos.as_array().unwrap().iter().map(|d| (text(d, "name"), text(d, "state"))).collect()
}

fn all(platform: &Platform, state: &str) -> Option<()> {
    let wanted = ["web.1", "worker.1"].map(|name| (name.to_string(), state.to_string()));
    (states(platform) == wanted).then_some(())
}

fn cages(platform: &Platform) -> usize {
    std::fs::read_dir(platform.dir.path().join("data/run/dynos")).map_or(0, |dir| dir.count())
}

fn asleep(platform: &Platform) {
    eventually("it sleeps", || all(platform, "idle"));
    eventually("no process is left", || (cages(platform) == 0).then_some(()));
}

#[test]
fn an_eco_app_sleeps_and_the_next_request_wakes_it_once() {
    if !root_or_skip("running dynos") {
        return;
    }
    let mut platform = eco("3");
    asleep(&platform);
    let log = platform.log("shop");
    for line in [
        "heroku[web.1]: Idling",
        "heroku[web.1]: State changed from up to down",
        "heroku[worker.1]: Idling",
        "heroku[web.1]: Stopping all processes with SIGTERM",
        "heroku[web.1]: Process exited with status 143",
    ] {
        assert!(log.contains(line), "{line:?} is missing in\n{log}");
    }
    crate::schema::check_list("dyno", &platform.api("GET", "/apps/shop/dynos", None).json());
    // Neither does a daemon wake it.
    platform.signal("KILL");
    platform.wait_end();
    platform.boot();
    assert!(all(&platform, "idle").is_some(), "{:?}", states(&platform));
    assert_eq!(cages(&platform), 0);
    // Many at once wake it once, and all are answered.
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let asking: Vec<_> = (0..20).map(|_| scope.spawn(|| platform.web("shop", "/").status)).collect();
        asking.into_iter().map(|a| a.join().unwrap()).collect()
    });
    assert_eq!(answers, [200; 20]);
    eventually("all of it is up", || all(&platform, "up"));
    assert_eq!(platform.log("shop").matches("heroku[web.1]: Unidling").count(), 1);
}

#[test]
fn a_manual_restart_scaling_and_a_config_change_wake_it_too() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = eco("2");
    let wakings: [(&str, &str, Option<Value>); 4] = [
        ("DELETE", "/apps/shop/dynos", None),
        ("DELETE", "/apps/shop/dynos/web.1", None),
        ("PATCH", "/apps/shop/formation/worker", Some(json!({ "quantity": 1 }))),
        ("PATCH", "/apps/shop/config-vars", Some(json!({ "A": "1" }))),
    ];
    for (method, path, body) in wakings {
        asleep(&platform);
        let answer = platform.api(method, path, body);
        assert!((200..300).contains(&answer.status), "{method} {path}: {}", answer.text);
        eventually(&format!("{method} {path} wakes it"), || all(&platform, "up"));
    }
    asleep(&platform);
    assert_eq!(platform.api("DELETE", "/apps/shop/dynos/nosuch.1", None).status, 404);
    assert!(all(&platform, "idle").is_some());
}

#[test]
fn requests_in_flight_and_upgraded_connections_keep_it_awake() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = eco("2");
    eventually("up", || all(&platform, "up"));
    assert_eq!(platform.web("shop", "/slow").text, "up", "longer than the time after which it sleeps");
    let mut stream = TcpStream::connect(("127.0.0.1", platform.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n").unwrap();
    let (mut head, mut byte) = (Vec::new(), [0u8]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    for _ in 0..5 {
        std::thread::sleep(Duration::from_secs(1)); // in all twice the time after which it sleeps
        stream.write_all(b"x").unwrap();
        stream.read_exact(&mut byte).unwrap();
    }
    assert!(!platform.log("shop").contains("Idling"));
    drop(stream);
    asleep(&platform);
}
