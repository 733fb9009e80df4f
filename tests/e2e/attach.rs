//! Attached one-off dynos over the rendezvous protocol, as the official client speaks it, and over our own command line
//! (`runtime.md` section 13, `cli-contract.md` section 5; the numbers are those of section 14).

use crate::support::*;
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, pem::PemObject},
};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

fn deployed() -> (Platform, Repo) {
    let platform = Platform::start();
    let repo = deploy(&platform);
    (platform, repo)
}

fn deploy(platform: &Platform) -> Repo {
    platform.create("shop");
    let repo = Repo::of("procfile");
    repo.deploy(platform, "shop");
    repo
}

type Connection = StreamOwned<ClientConnection, TcpStream>;

/// Connects as the official client does: the certificate is checked against the authority that the user trusts.
fn connect(platform: &Platform, first_line: &str) -> Connection {
    let ca = CertificateDer::from_pem_file(platform.dir.path().join("data/keys/tls/ca.pem")).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ca).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let tls = ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let stream = TcpStream::connect(("127.0.0.1", platform.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(50))).unwrap();
    let mut stream = StreamOwned::new(tls, stream);
    stream.write_all(format!("{first_line}\r\n").as_bytes()).unwrap();
    stream
}

struct Dyno {
    name: String,
    secret: String,
}

fn start(platform: &Platform, path: &str, body: Value) -> Dyno {
    let answer = platform.api("POST", path, Some(body));
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert_eq!(answer.header("tidemill-certificate").len(), 64);
    let dyno = answer.json();
    let url = dyno["attach_url"].as_str().unwrap();
    let secret = url.strip_prefix(&format!("rendezvous://127.0.0.1:{}/", platform.port)).unwrap_or_else(|| panic!("{url}"));
    Dyno { name: dyno["name"].as_str().unwrap().into(), secret: secret.into() }
}

fn attach(platform: &Platform, body: Value) -> (Dyno, Connection) {
    let dyno = start(platform, "/apps/shop/dynos", body);
    let connection = connect(platform, &dyno.secret);
    (dyno, connection)
}

/// All that comes to the end, the banner apart.
fn rest(mut connection: Connection) -> String {
    let mut bytes = Vec::new();
    connection.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    text.strip_prefix("rendezvous\r\n").unwrap_or_else(|| panic!("no banner: {text:?}")).to_string()
}

fn read_until(connection: &mut Connection, needle: &str) -> String {
    let mut text = String::new();
    while !text.contains(needle) {
        let mut buffer = [0u8; 4096];
        let n = connection.read(&mut buffer).unwrap();
        assert!(n > 0, "no {needle:?} in {text:?}");
        text.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    text
}

#[test]
fn one_off_39_40_41_42_the_official_protocol() {
    on_both_drivers(&[], |platform| official_protocol(platform));
}

fn official_protocol(platform: &Platform) {
    deploy(platform);
    // The banner comes first and alone, before the process has said anything.
    let marker = "\u{FFFF} heroku-command-exit-status: $?";
    let command = format!("stty size; echo $TERM $DYNO; tty; exit 7 ; echo \"{marker}\"");
    let command = command.replace("exit 7 ;", "(exit 7) ;");
    let env = json!({ "TERM": "vt100", "LINES": 41, "COLUMNS": "132" });
    let (dyno, mut connection) = attach(platform, json!({ "command": command, "attach": true, "env": env }));
    let mut first = [0u8; 100];
    let n = connection.read(&mut first).unwrap();
    assert_eq!(&first[..n], b"rendezvous\r\n");
    let mut text = String::new();
    connection.read_to_string(&mut text).unwrap();
    let expected = format!("41 132\r\nvt100 {}\r\n/dev/pts/0\r\n\u{FFFF} heroku-command-exit-status: 7\r\n", dyno.name);
    assert_eq!(text, expected);
    let log = platform.wait_log("shop", &format!("heroku[{}]: State changed from up to complete", dyno.name));
    assert!(log.contains(&format!("heroku[{}]: Awaiting client", dyno.name)), "{log}");
    assert!(!log.contains("41 132"), "output of an attached dyno is not in the log: {log}");

    // Without a terminal: bytes as they are, a last 0x04 is the end of input.
    let no_tty = |command: &str| json!({ "command": command, "attach": true, "force_no_tty": true });
    let (_, mut connection) = attach(platform, no_tty("od -An -c | tr -s ' '; tty; echo done"));
    connection.write_all(b"a\x04b\n").unwrap();
    connection.write_all(b"\x04").unwrap();
    assert_eq!(rest(connection), " a 004 b \\n\nnot a tty\ndone\n");
    // With a terminal it is the end of file of its line discipline, and 0x03 interrupts.
    let (_, mut connection) = attach(platform, json!({ "command": "cat; echo eof; sleep 100", "attach": true }));
    connection.write_all(b"line\n\x04").unwrap();
    read_until(&mut connection, "eof\r\n");
    connection.write_all(b"\x03").unwrap();
    connection.read_to_end(&mut Vec::new()).unwrap();

    // A secret works once, a wrong one not at all.
    for secret in [dyno.secret.as_str(), "wrong", "", "GET /"] {
        let mut answer = Vec::new();
        let _ = connect(platform, secret).read_to_end(&mut answer); // closed with or without an alert
        assert!(answer.is_empty(), "{secret:?}: {}", String::from_utf8_lossy(&answer));
    }
    // The same port speaks HTTP over TLS.
    let mut https = connect(platform, "GET /apps HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n");
    let mut answer = String::new();
    https.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    // A process type as the first word stands for its command.
    let dyno = start(platform, "/apps/shop/dynos", json!({ "command": "web --help", "attach": true }));
    assert!(platform.log("shop").contains("Starting process with command `./bin/server --help` by user"), "{}", dyno.name);
}

#[test]
fn one_off_43_a_client_that_goes_away_hangs_up_and_one_that_never_comes_is_r13() {
    on_both_drivers(&[], client_that_goes_away);
}

fn client_that_goes_away(platform: &mut Platform) {
    deploy(platform);
    let never = start(platform, "/apps/shop/dynos", json!({ "command": "echo never", "attach": true }));
    let stubborn = "trap 'echo hup >> /tmp/hups' HUP; echo ready; while [ ! -e /tmp/end ]; do sleep 0.1; done; cat /tmp/hups";
    let (stubborn, mut connection) = attach(platform, json!({ "command": stubborn, "attach": true }));
    read_until(&mut connection, "ready");
    drop(connection);
    let (polite, mut connection) = attach(platform, json!({ "command": "echo ready; sleep 100", "attach": true }));
    read_until(&mut connection, "ready");
    drop(connection);
    platform.wait_log("shop", &format!("heroku[{}]: Process exited with status 129", polite.name));
    let log = platform.wait_log("shop", &format!("heroku[{}]: Error R16 (Detached)", stubborn.name));
    assert!(!log.contains(&format!("heroku[{}]: Error R16", polite.name)), "{log}");
    let gone = "Client connection closed. Sending SIGHUP to all processes";
    assert!(log.contains(&format!("heroku[{}]: {gone}", stubborn.name)), "{log}");
    // It goes on, and can be looked into: three signals came.
    let inside =
        start(platform, &format!("/apps/shop/dynos/{}", stubborn.name), json!({ "command": "sort /tmp/hups | uniq -c" }));
    assert_eq!(rest(connect(platform, &inside.secret)).trim(), "3 hup");
    assert_eq!(platform.api("POST", &format!("/apps/shop/dynos/{}/actions/stop", stubborn.name), None).status, 202);
    let log = platform.wait_log("shop", &format!("heroku[{}]: State changed from starting to complete", never.name));
    assert!(log.contains(&format!("heroku[{}]: Error R13 (Attach error) -> Failed to attach to process", never.name)), "{log}");
    // The daemon that a client was connected to is gone: as if the client were.
    let (cut, mut connection) = attach(platform, json!({ "command": "echo ready; sleep 100", "attach": true }));
    read_until(&mut connection, "ready");
    platform.signal("KILL");
    platform.wait_end();
    platform.boot();
    let log = platform.wait_log("shop", &format!("heroku[{}]: Process exited with status 129", cut.name));
    assert!(log.contains(&format!("heroku[{}]: {gone}", cut.name)), "{log}");
}

#[test]
fn one_off_of_the_command_line_passes_bytes_and_the_exit_code() {
    if !root_or_skip("running dynos") {
        return;
    }
    let (platform, _) = deployed();
    let run = |args: &[&str], input: &[u8]| {
        let mut command = Command::new(BIN);
        command.args(args).env_clear().env("PATH", std::env::var("PATH").unwrap()).env("HOME", platform.dir.path());
        command.env("TIDEMILL_HOST", platform.base()).env("TIDEMILL_API_KEY", &platform.token).env("TIDEMILL_APP", "shop");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        let _ = writer.join().unwrap(); // a process may end without reading all
        output
    };
    let bytes: Vec<u8> = (0..2_000_000u32).map(|n| (n % 251) as u8).collect();
    let echoed = run(&["run", "cat"], &bytes);
    assert!(echoed.status.success(), "{}", String::from_utf8_lossy(&echoed.stderr));
    assert!(echoed.stdout == bytes, "{} bytes came back", echoed.stdout.len());
    let failed = run(&["run", "-x", "--", "wc -c; exit 9"], b"12345");
    assert_eq!((failed.status.code(), String::from_utf8_lossy(&failed.stdout).trim()), (Some(9), "5"));
    let inside = run(&["run:inside", "web.1", "--", "echo $DYNO-$PORT; exit 4"], b"");
    let text = String::from_utf8_lossy(&inside.stdout).into_owned();
    assert!(text.starts_with("web.1-2") && inside.status.code() == Some(4), "{text}");
    assert_eq!(run(&["run:inside", "web.7", "ls"], b"").status.code(), Some(4), "there is no such dyno");
    // Both ways more than fits into all buffers together.
    let both = run(&["run", "--no-tty", "od -v -tu1"], &vec![7; 3_000_000]);
    assert!(both.status.success() && both.stdout.len() > 9_000_000, "{} bytes", both.stdout.len());
    let early = run(&["run", "head -c 3"], &bytes);
    assert_eq!((early.status.code(), early.stdout.len()), (Some(0), 3));
}

/// Each of these once hung, lost something, or ended the daemon.
#[test]
fn one_off_odd_clients_and_commands_harm_nobody() {
    if !root_or_skip("running dynos") {
        return;
    }
    let (platform, _) = deployed();
    let pipes = |command: &str| json!({ "command": command, "attach": true, "force_no_tty": true });
    let gone = |name: &str| {
        eventually("it ended", || (platform.api("GET", &format!("/apps/shop/dynos/{name}"), None).status == 404).then_some(()));
    };
    // A tree without end, below a dyno's folder.
    let deep = "python3 -c 'import os\nfor n in range(30000):\n  os.mkdir(\"d\"); os.chdir(\"d\")' && echo made";
    let (dyno, connection) = attach(&platform, pipes(deep));
    assert_eq!(rest(connection), "made\n");
    gone(&dyno.name);
    eventually("and its folder is gone", || {
        (!platform.data_dir().join("dynos").read_dir().unwrap().flatten().any(|e| e.path().join("app/d").exists()))
            .then_some(())
    });
    // A client that leaves while much waits for it.
    let (flood, mut connection) = attach(&platform, pipes("head -c 60000000 /dev/zero"));
    read_until(&mut connection, "rendezvous");
    std::thread::sleep(Duration::from_millis(500)); // until all buffers are full
    drop(connection);
    gone(&flood.name);
    // More input than any buffer, read late; and the end of it.
    for size in [65_636, 70_000, 300_000] {
        let (_, mut connection) = attach(&platform, pipes("sleep 1; wc -c"));
        connection.write_all(&vec![b'x'; size]).unwrap();
        connection.write_all(b"\x04").unwrap();
        assert_eq!(rest(connection).trim(), size.to_string());
    }
    // Much output while the client sends what nobody reads: all of it arrives, and the end.
    let (_, mut connection) = attach(&platform, pipes("head -c 3000000 /dev/zero; echo END"));
    connection.write_all(&[b'y'; 200_000]).unwrap();
    let text = rest(connection);
    assert!(text.len() == 3_000_004 && text.ends_with("END\n"), "{} bytes", text.len());
    // What looks like the marker but has no end is not kept.
    let marker = "printf '\\357\\277\\277 heroku-command-exit-status: '; head -c 5000000 /dev/zero";
    let (_, connection) = attach(&platform, pipes(marker));
    assert_eq!(rest(connection).len(), "\u{FFFF} heroku-command-exit-status: ".len() + 5_000_000);
    // Stopped before its client came: it never runs.
    let stopped = start(&platform, "/apps/shop/dynos", pipes("echo never"));
    platform.wait_log("shop", &format!("heroku[{}]: Awaiting client", stopped.name));
    assert_eq!(platform.api("POST", &format!("/apps/shop/dynos/{}/actions/stop", stopped.name), None).status, 202);
    gone(&stopped.name);
    let mut answer = Vec::new();
    let _ = connect(&platform, &stopped.secret).read_to_end(&mut answer); // closed with or without an alert
    assert!(!String::from_utf8_lossy(&answer).contains("never"));
    assert!(!platform.log("shop").contains(&format!("heroku[{}]: Starting process", stopped.name)));
    assert_eq!(platform.web("shop", "/").status, 200);
    assert!(!platform.output().contains("panicked"), "{}", platform.output());
}

/// More than all queues on the way to a process hold, so that they stand still, and less than what is read ahead besides.
const STALLED_BYTES: usize = 750_000;

#[test]
fn one_off_whose_client_leaves_while_it_takes_no_input_is_hung_up() {
    on_both_drivers(&[], |platform| {
        deploy(platform);
        let deaf = |command: &str| json!({ "command": command, "attach": true, "force_no_tty": true });
        let (dyno, mut connection) = attach(platform, deaf("echo ready; sleep 1000"));
        read_until(&mut connection, "ready");
        connection.write_all(&[b'x'; STALLED_BYTES]).unwrap();
        drop(connection);
        let log = platform.wait_log("shop", &format!("heroku[{}]: Process exited with status 129", dyno.name));
        assert!(log.contains(&format!("heroku[{}]: Client connection closed", dyno.name)), "{log}");
        // So is a further process.
        let path = "/apps/shop/dynos/web.1";
        let inside = start(platform, path, deaf("echo ready; sleep 1000"));
        let mut connection = connect(platform, &inside.secret);
        read_until(&mut connection, "ready");
        let pid = || platform.cli(&["run:inside", "web.1", "-a", "shop", "--", "pgrep -fc '^sleep 1000'"]).stdout;
        assert_eq!(String::from_utf8_lossy(&pid()).trim(), "1");
        connection.write_all(&[b'x'; STALLED_BYTES]).unwrap();
        drop(connection);
        eventually("it is hung up", || (String::from_utf8_lossy(&pid()).trim() == "0").then_some(()));
    });
}

#[test]
fn a_client_that_only_begins_a_handshake_does_not_hold_up_the_end() {
    let mut platform = Platform::start();
    let mut half = TcpStream::connect(("127.0.0.1", platform.port)).unwrap();
    half.write_all(&[0x16]).unwrap();
    platform.api("GET", "/apps", None); // by now it is being served
    platform.signal("TERM");
    platform.wait_end();
    assert!(!platform.output().contains("drain_limit"), "{}", platform.output());
}
