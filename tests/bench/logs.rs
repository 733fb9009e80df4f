//! The log path against peers: into storage, out to a syslog sink, search, a flood with many readers, many quiet apps.
//! `cargo bench -p logs --bench logs`; `-- storage|drain|search|flood|quiet` for one of them. Peers that are not installed
//! are left out: `apt-get install rsyslog syslog-ng-core zstd`; SYSLOG_NG names another place of that program.
#![allow(missing_docs, clippy::unwrap_used)]

use domain::{AppId, drain::DrainUrl};
use logs::{
    AppLog, Filter, Grep, History, Limits, LineReader, Lines, Logs, Place, Query,
    drains::{DrainSpec, Drains, Trust},
    now_us,
};
use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};
use uuid::Uuid;

/// Of one measurement.
const BYTES: usize = 512 << 20;

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|a| !a.starts_with('-')).collect();
    let runs = |name: &str| wanted.is_empty() || wanted.iter().any(|w| w == name);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _guard = runtime.enter();
    if runs("storage") || runs("drain") {
        println!("{:<10} {:<10} {:>6} {:>9} {:>12} {:>9}", "what", "who", "line", "MB/s", "lines/s", "disk");
    }
    for size in [100, 1024] {
        let text = text(size, 8 << 20);
        if runs("storage") {
            storage(&text, size);
        }
        if runs("drain") {
            drain(&text, size);
        }
    }
    if runs("search") {
        search();
    }
    if runs("flood") {
        flood();
    }
    if runs("quiet") {
        quiet();
    }
}

fn folder() -> tempfile::TempDir {
    let target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target");
    tempfile::tempdir_in(target).unwrap()
}

/// Lines as services write them, each of `size` bytes with its LF.
fn text(size: usize, bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(1);
    let words =
        ["GET", "POST", "/cart", "/users", "timeout", "status=200", "status=500", "error", "user", "retry", "db", "cache"];
    let mut out = Vec::with_capacity(bytes + size);
    while out.len() < bytes {
        let mut line = format!("level=info id={:016x} dur={}ms ", random.u64(..), random.u32(0..2000));
        while line.len() < size {
            line.push_str(words[random.usize(..words.len())]);
            line.push(' ');
            if random.u8(..) < 60 {
                line.push_str(&random.u32(..).to_string());
                line.push(' ');
            }
        }
        line.truncate(size - 1);
        out.extend_from_slice(line.as_bytes());
        out.push(b'\n');
    }
    out
}

fn web(n: usize) -> Place {
    Place { source: "app", ps: format!("web.{n}").into(), release: 1 }
}

fn row(what: &str, who: &str, size: usize, bytes: usize, took: Duration, disk: Option<u64>) {
    let seconds = took.as_secs_f64();
    let disk = disk.map_or("-".into(), |d| format!("{:.3}", d as f64 / bytes as f64));
    let (mb, lines) = (bytes as f64 / 1e6 / seconds, (bytes / size) as f64 / seconds);
    println!("{what:<10} {who:<10} {size:>6} {mb:>9.1} {lines:>12.0} {disk:>9}");
}

fn bytes_in(dir: &Path) -> u64 {
    let each = fs::read_dir(dir).into_iter().flatten().flatten();
    each.map(|e| if e.path().is_dir() { bytes_in(&e.path()) } else { e.metadata().map_or(0, |m| m.len()) }).sum()
}

/// Over a connection, as from a holder; waits when the log is behind, as a test may and a platform must not.
fn feed_socket(app: &Arc<AppLog>, text: &[u8], bytes: usize) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::scope(|scope| {
        scope.spawn(|| send(port, text, bytes));
        let (mut stream, mut reader, mut buffer) = (listener.accept().unwrap().0, LineReader::default(), vec![0; 64 << 10]);
        loop {
            let n = stream.read(&mut buffer).unwrap();
            if n == 0 {
                return;
            }
            let mut lines = Lines::default();
            reader.push(&buffer[..n], &mut lines);
            app.write_lines(&web(1), now_us(), lines, None);
            while behind(app) > 5000 {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
    });
}

/// Lines on their way to the disk.
fn behind(app: &AppLog) -> u64 {
    let counts = app.counts();
    counts.written - counts.stored - counts.lost
}

fn send(port: u16, text: &[u8], bytes: usize) {
    // A peer that does not come up or takes nothing is told by what came of it.
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return };
    stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut sent = 0;
    while sent < bytes {
        if stream.write_all(text).is_err() {
            return;
        }
        sent += text.len();
    }
}

fn storage(text: &[u8], size: usize) {
    let dir = folder();
    let logs = Logs::open(dir.path(), Limits { app_bytes: 4 << 30, ..Limits::default() }).unwrap();
    let app = logs.app(AppId::from(Uuid::from_u128(1)));
    let begin = Instant::now();
    feed_socket(&app, text, BYTES);
    logs.flush();
    let took = begin.elapsed();
    assert_eq!(app.counts().lost, 0);
    row("storage", "tidemill", size, BYTES, took, Some(bytes_in(dir.path())));
    drop((app, logs, dir));
    for peer in [rsyslog as fn(&Path, u16, &str) -> Option<Child>, syslog_ng] {
        let dir = folder();
        let (port, file) = (free_port(), dir.path().join("out.log"));
        let Some(mut child) = peer(dir.path(), port, &format!("file:{}", file.display())) else { continue };
        wait_port(port);
        let begin = Instant::now();
        send(port, text, BYTES);
        let whole = settled(|| fs::metadata(&file).map_or(0, |m| m.len()), BYTES as u64);
        row("storage", name(peer), size, BYTES, whole - begin, Some(bytes_in(dir.path())));
        end(&mut child);
    }
}

fn drain(text: &[u8], size: usize) {
    let (sink, taken) = sink();
    let dir = folder();
    let logs = Logs::open(dir.path(), Limits { app_bytes: 4 << 30, ..Limits::default() }).unwrap();
    let app = logs.app(AppId::from(Uuid::from_u128(1)));
    let drains = Drains::open(logs.clone(), &dir.path().join("drains"), Trust::new(true, None)).unwrap();
    drains.set(vec![spec(1, 1, &format!("syslog://127.0.0.1:{sink}"))]);
    let begin = Instant::now();
    feed_socket(&app, text, BYTES);
    let last = app.last_seq();
    while drains.state(Uuid::from_u128(1)).unwrap().0.seq < last {
        std::thread::sleep(Duration::from_millis(1));
    }
    let took = begin.elapsed();
    assert!(taken.load(Relaxed) > BYTES as u64 / 2);
    row("drain", "tidemill", size, BYTES, took, None);
    drop((drains, app, logs, dir));
    for peer in [rsyslog as fn(&Path, u16, &str) -> Option<Child>, syslog_ng] {
        let (sink, taken) = self::sink();
        let (dir, port) = (folder(), free_port());
        let Some(mut child) = peer(dir.path(), port, &format!("tcp:{sink}")) else { continue };
        wait_port(port);
        let begin = Instant::now();
        send(port, text, BYTES);
        let whole = settled(|| taken.load(Relaxed), BYTES as u64);
        row("drain", name(peer), size, BYTES, whole - begin, None);
        end(&mut child);
    }
}

fn spec(id: u128, app: u128, url: &str) -> DrainSpec {
    let (token, url) = (format!("d.{}", Uuid::from_u128(id)), DrainUrl::parse(url).unwrap());
    DrainSpec {
        id: Uuid::from_u128(id),
        app: AppId::from(Uuid::from_u128(app)),
        token,
        service: "shop".into(),
        url,
        after_seq: 0,
    }
}

/// Takes everything that comes.
fn sink() -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, taken) = (listener.local_addr().unwrap().port(), Arc::new(AtomicU64::new(0)));
    let count = taken.clone();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let count = count.clone();
            std::thread::spawn(move || {
                let mut buffer = vec![0; 256 << 10];
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    count.fetch_add(n as u64, Relaxed);
                }
            });
        }
    });
    (port, taken)
}

/// When a growing number has passed the goal and grows no more, or stands still for 3 s.
fn settled(number: impl Fn() -> u64, goal: u64) -> Instant {
    let (mut last, mut at) = (0, Instant::now());
    loop {
        let now = number();
        if now != last {
            (last, at) = (now, Instant::now());
        }
        let quiet = if last >= goal { Duration::from_millis(200) } else { Duration::from_secs(3) };
        if at.elapsed() > quiet {
            if last < goal {
                println!("(only {last} of {goal} bytes came)");
            }
            return at;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn name(peer: fn(&Path, u16, &str) -> Option<Child>) -> &'static str {
    if std::ptr::fn_addr_eq(peer, rsyslog as fn(&Path, u16, &str) -> Option<Child>) { "rsyslog" } else { "syslog-ng" }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn wait_port(port: u16) {
    let begin = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() && begin.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn end(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn rsyslog(dir: &Path, port: u16, to: &str) -> Option<Child> {
    let action = match to.split_once(':')? {
        ("file", file) => {
            format!("action(type=\"omfile\" file=\"{file}\" template=\"raw\" ioBufferSize=\"256k\" asyncWriting=\"on\")")
        }
        (_, sink) => format!(
            "action(type=\"omfwd\" target=\"127.0.0.1\" port=\"{sink}\" protocol=\"tcp\" TCP_Framing=\"octet-counted\" queue.type=\"LinkedList\" queue.size=\"200000\")"
        ),
    };
    let config = format!(
        "global(workDirectory=\"{0}\" maxMessageSize=\"16k\")\nmodule(load=\"imptcp\")\n\
         template(name=\"raw\" type=\"string\" string=\"%timestamp:::date-rfc3339% app[web.1]: %rawmsg%\\n\")\n\
         main_queue(queue.size=\"200000\" queue.dequeueBatchSize=\"4096\")\n\
         input(type=\"imptcp\" port=\"{port}\" address=\"127.0.0.1\")\n{action}\n",
        dir.display()
    );
    let file = dir.join("rsyslog.conf");
    fs::write(&file, config).unwrap();
    let mut command = Command::new("rsyslogd");
    command.arg("-n").arg("-f").arg(&file).arg("-i").arg(dir.join("pid")).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().ok()
}

fn syslog_ng(dir: &Path, port: u16, to: &str) -> Option<Child> {
    let target = match to.split_once(':')? {
        ("file", file) => format!("file(\"{file}\" template(\"$ISODATE app[web.1]: $MSG\\n\"));"),
        (_, sink) => format!("syslog(\"127.0.0.1\" transport(\"tcp\") port({sink}));"),
    };
    let config = format!(
        "@version: 3.35\noptions {{ log-msg-size(16384); stats-freq(0); }};\n\
         source s {{ network(ip(\"127.0.0.1\") port({port}) transport(\"tcp\") flags(no-parse) log-iw-size(100000) log-fetch-limit(1000)); }};\n\
         destination d {{ {target} }};\n\
         log {{ source(s); destination(d); flags(flow-control); }};\n"
    );
    let file = dir.join("syslog-ng.conf");
    fs::write(&file, config).unwrap();
    let mut command = Command::new(std::env::var("SYSLOG_NG").unwrap_or_else(|_| "syslog-ng".into()));
    command.args(["-F", "--no-caps", "-f"]).arg(&file).arg("-R").arg(dir.join("persist")).arg("-c").arg(dir.join("ctl"));
    command.arg("-p").arg(dir.join("pid")).stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()
}

/// 1 GiB of lines, one of them with a rare word.
fn search() {
    let dir = folder();
    let limits = Limits { app_bytes: 4 << 30, ..Limits::default() };
    let logs = Logs::open(dir.path(), limits).unwrap();
    let app = logs.app(AppId::from(Uuid::from_u128(1)));
    let plain = dir.path().join("plain.zst");
    let mut zstd = Command::new("zstd").args(["-1", "-q", "-f", "-", "-o"]).arg(&plain).stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = zstd.stdin.take().unwrap();
    for part in 0..8u64 {
        let mut text = text(200, 128 << 20);
        if part == 1 {
            text.extend_from_slice(b"level=error needle-in-the-haystack\n");
        }
        feed_socket(&app, &text, text.len());
        pipe.write_all(&text).unwrap();
    }
    drop(pipe);
    zstd.wait().unwrap();
    logs.flush();
    drop((app, logs));
    let begin = Instant::now();
    let logs = Logs::open(dir.path(), limits).unwrap();
    let app = logs.app(AppId::from(Uuid::from_u128(1)));
    println!("\nopen a log of 1 GiB: {:.1} ms", begin.elapsed().as_secs_f64() * 1e3);
    let filter = Filter { grep: Some(Grep::new("needle-in-the-haystack").unwrap()), ..Filter::default() };
    let begin = Instant::now();
    let (found, _) = app.last(&filter, 10, None);
    let ours = begin.elapsed();
    assert_eq!(found.len(), 1);
    let begin = Instant::now();
    let theirs = Command::new("zstdgrep").arg("needle-in-the-haystack").arg(&plain).output().unwrap();
    let took = begin.elapsed();
    assert_eq!(String::from_utf8_lossy(&theirs.stdout).lines().count(), 1);
    println!("search 1 GiB for a rare word: tidemill {:.2} s, zstdgrep {:.2} s", ours.as_secs_f64(), took.as_secs_f64());
    // Pages: the newest, one from the middle, the oldest.
    let newest = app.last_seq();
    for before in [newest, newest / 2, 1500] {
        let begin = Instant::now();
        let (page, _) = app.last(&Filter::default(), 1000, Some(before));
        println!("page of {} lines before {before}: {:.1} ms", page.len(), begin.elapsed().as_secs_f64() * 1e3);
    }
    let folder = dir.path().join(Uuid::from_u128(1).to_string());
    println!(
        "on disk: {:.3} of the text, zstd -1 of the whole text {:.3}",
        bytes_in(&folder) as f64 / (1u64 << 30) as f64,
        fs::metadata(&plain).unwrap().len() as f64 / (1u64 << 30) as f64
    );
}

/// Kilobytes from /proc/self/status, and CPU seconds.
fn usage() -> (u64, f64) {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let rss = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap().trim().trim_end_matches(" kB").parse().unwrap();
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    (rss, ticks / 100.0)
}

/// Reads requests and answers them; counts their lines.
fn http_sink() -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, lines) = (listener.local_addr().unwrap().port(), Arc::new(AtomicU64::new(0)));
    let count = lines.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let count = count.clone();
            std::thread::spawn(move || {
                let mut reader = BufReader::new(&stream);
                let mut body = Vec::new();
                loop {
                    let (mut length, mut messages, mut line) = (0, 0, String::new());
                    while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                        let lower = line.to_ascii_lowercase();
                        let value = |name: &str| lower.strip_prefix(name).map(|v| v.trim().parse::<u64>().unwrap());
                        length = value("content-length:").unwrap_or(length);
                        messages = value("logplex-msg-count:").unwrap_or(messages);
                        line.clear();
                    }
                    body.resize(length as usize, 0);
                    if length == 0 || reader.read_exact(&mut body).is_err() {
                        return;
                    }
                    count.fetch_add(messages, Relaxed);
                    let _ = (&stream).write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
                }
            });
        }
    });
    (port, lines)
}

/// 20 dynos of 4 apps, 116 MB/s in all for 60 s, never held up; 10 tails of which one reads nothing; two drains.
fn flood() {
    let seconds: u64 = std::env::var("FLOOD_SECONDS").ok().and_then(|s| s.parse().ok()).unwrap_or(60);
    let dir = folder();
    let logs = Logs::open(dir.path(), Limits { app_bytes: 1 << 30, ..Limits::default() }).unwrap();
    let apps: Vec<_> = (0..4).map(|n| logs.app(AppId::from(Uuid::from_u128(n + 1)))).collect();
    let drains = Drains::open(logs.clone(), &dir.path().join("drains"), Trust::new(true, None)).unwrap();
    let ((tcp, _), (http, _)) = (sink(), http_sink());
    drains.set(vec![spec(1, 1, &format!("syslog://127.0.0.1:{tcp}")), spec(2, 2, &format!("http://127.0.0.1:{http}/in"))]);
    let tails: Vec<_> = (0..10)
        .map(|n| {
            let mut tail = apps[n % 4].tail(Query { filter: Filter::default(), history: History::After(0), live: true });
            let (got, lost) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
            let (count, missed) = (got.clone(), lost.clone());
            tokio::spawn(async move {
                if n == 9 {
                    std::future::pending::<()>().await;
                }
                while let Some(line) = tail.next().await {
                    count.fetch_add(u64::from(!line.message.starts_with(b"Error L11")), Relaxed);
                    missed.store(tail.lost(), Relaxed);
                }
            });
            (n, got, lost)
        })
        .collect();
    let (_, cpu) = usage();
    let text = text(200, 4 << 20);
    let slowest = Arc::new(AtomicU64::new(0));
    let mut peak = 0;
    std::thread::scope(|scope| {
        let dynos: Vec<_> = (0..20usize)
            .map(|n| {
                let (app, text, slowest) = (&apps[n % 4], &text, slowest.clone());
                scope.spawn(move || {
                    let (mut reader, begin, mut sent) = (LineReader::default(), Instant::now(), 0u64);
                    while begin.elapsed() < Duration::from_secs(seconds) {
                        let due = begin.elapsed().as_micros() as u64 * 58 / 10;
                        while sent < due {
                            let at = (sent as usize) % (text.len() - (64 << 10));
                            let (start, mut lines) = (Instant::now(), Lines::default());
                            reader.push(&text[at..at + (64 << 10)], &mut lines);
                            app.write_lines(&web(n), now_us(), lines, None);
                            slowest.fetch_max(start.elapsed().as_micros() as u64, Relaxed);
                            sent += 64 << 10;
                        }
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    sent
                })
            })
            .collect();
        while dynos.iter().any(|d| !d.is_finished()) {
            peak = peak.max(usage().0);
            std::thread::sleep(Duration::from_millis(100));
        }
        let sent: u64 = dynos.into_iter().map(|d| d.join().unwrap()).sum();
        println!(
            "\nflood: {:.1} MB/s for {seconds} s, slowest hand-over {} us, peak memory {} MiB, CPU {:.2} cores",
            sent as f64 / 1e6 / seconds as f64,
            slowest.load(Relaxed),
            peak >> 10,
            (usage().1 - cpu) / seconds as f64
        );
    });
    logs.flush();
    std::thread::sleep(Duration::from_secs(3));
    for (n, app) in apps.iter().enumerate() {
        let c = app.counts();
        assert_eq!(c.written, c.stored + c.lost);
        println!("app {n}: written {} = stored {} + lost {}", c.written, c.stored, c.lost);
    }
    for (n, got, lost) in &tails {
        println!("tail {n}: got {} + told as lost {} of {}", got.load(Relaxed), lost.load(Relaxed), apps[n % 4].last_seq());
    }
    for id in [1, 2] {
        let (state, lag) = drains.state(Uuid::from_u128(id)).unwrap();
        println!(
            "drain {id}: delivered {} + dropped {} + waiting {lag} of {}",
            state.delivered,
            state.dropped,
            apps[id as usize - 1].last_seq()
        );
    }
}

/// 1,000 apps, a line a second each, 100 tails.
fn quiet() {
    let dir = folder();
    let logs = Logs::open(dir.path(), Limits::default()).unwrap();
    let apps: Vec<_> = (0..1000).map(|n| logs.app(AppId::from(Uuid::from_u128(n + 1)))).collect();
    for app in apps.iter().take(100) {
        let mut tail = app.tail(Query { filter: Filter::default(), history: History::Last(100, None), live: true });
        tokio::spawn(async move { while tail.next().await.is_some() {} });
    }
    let (text, seconds) = (text(200, 1 << 20), 20);
    let (_, cpu) = usage();
    for second in 0..seconds {
        let begin = Instant::now();
        for (n, app) in apps.iter().enumerate() {
            let mut lines = Lines::default();
            lines.push(&text[(second * 1000 + n) * 13 % 500_000..][..150]);
            app.write_lines(&web(1), now_us(), lines, None);
        }
        std::thread::sleep(Duration::from_secs(1).saturating_sub(begin.elapsed()));
    }
    let (rss, now) = usage();
    println!("\n1,000 apps x 1 line/s, 100 tails: {:.1} % of a core, {} MiB", (now - cpu) * 100.0 / seconds as f64, rss >> 10);
}
