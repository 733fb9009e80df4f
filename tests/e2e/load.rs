//! Traffic while everything changes: nothing may fail.

use crate::support::{Platform, Repo, root_or_skip};
use serde_json::json;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const REQUESTS_PER_SECOND: u32 = 200;
const CLIENTS: u32 = 8;

/// One request; half of them on a kept connection.
fn request(stream: &mut Option<BufReader<TcpStream>>, port: u16, keep: bool) -> Result<(), String> {
    let text = |e: std::io::Error| e.to_string();
    if stream.is_none() || !keep {
        let opened = TcpStream::connect(("127.0.0.1", port)).map_err(text)?;
        opened.set_read_timeout(Some(Duration::from_secs(30))).map_err(text)?;
        *stream = Some(BufReader::new(opened));
    }
    let reader = stream.as_mut().ok_or("no stream")?;
    let connection = if keep { "keep-alive" } else { "close" };
    let head = format!("GET / HTTP/1.1\r\nHost: busy.localhost\r\nConnection: {connection}\r\n\r\n");
    reader.get_mut().write_all(head.as_bytes()).map_err(text)?;
    let (mut status, mut length) = (String::new(), 0usize);
    reader.read_line(&mut status).map_err(text)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).map_err(text)?;
        if line == "\r\n" || line.is_empty() {
            break;
        }
        if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
            length = n.trim().parse().map_err(|_| "length")?;
        }
    }
    let mut body = vec![0u8; length];
    reader.read_exact(&mut body).map_err(text)?;
    if status.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(format!("{status} {}", String::from_utf8_lossy(&body))) }
}

#[test]
fn ten_pushes_and_ten_config_changes_fail_no_request() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = Platform::start();
    platform.create("busy");
    let repo = Repo::of("procfile");
    repo.deploy(&platform, "busy");
    let (port, stop) = (platform.port, Arc::new(AtomicBool::new(false)));
    let (done, failed) = (Arc::new(AtomicUsize::new(0)), Arc::new(std::sync::Mutex::new(Vec::new())));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|n| {
            let (stop, done, failed) = (stop.clone(), done.clone(), failed.clone());
            std::thread::spawn(move || {
                let pause = Duration::from_secs(1) * CLIENTS / REQUESTS_PER_SECOND;
                let (mut stream, mut next) = (None, Instant::now());
                while !stop.load(Ordering::Relaxed) {
                    next += pause;
                    match request(&mut stream, port, n % 2 == 0) {
                        Ok(()) => {
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        Err(e) => {
                            stream = None;
                            failed.lock().unwrap().push(e);
                        }
                    }
                    std::thread::sleep(next.saturating_duration_since(Instant::now()));
                }
            })
        })
        .collect();
    let begun = Instant::now();
    for n in 0..10 {
        repo.write("release.txt", &format!("{n}"));
        repo.commit(&format!("change {n}"));
        repo.deploy(&platform, "busy");
        let changed = platform.api("PATCH", "/apps/busy/config-vars", Some(json!({ "GREETING": format!("hello {n}") })));
        assert_eq!(changed.status, 200);
    }
    std::thread::sleep(Duration::from_secs(2)); // the last dynos drain under traffic
    stop.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|c| c.join().unwrap());
    let (done, failed) = (done.load(Ordering::Relaxed), failed.lock().unwrap());
    println!(
        "{done} requests in {:.1} s during 10 pushes and 10 config changes, {} failed",
        begun.elapsed().as_secs_f64(),
        failed.len()
    );
    assert!(failed.is_empty(), "{:?}", failed.iter().take(5).collect::<Vec<_>>());
    assert!(done > 500, "there was traffic");
}
