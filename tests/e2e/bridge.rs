//! The bridge for the official Heroku CLI: what it lets through, and when it ends (`ux.md` J13). What the CLI does with it is in
//! `heroku_cli`.

use crate::support::*;
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

/// A shell that has evaluated the lines, and its environment.
struct BridgedShell {
    child: Child,
    variables: BTreeMap<String, String>,
}

impl BridgedShell {
    fn of(platform: &Platform) -> Self {
        let login = platform.cli(&["login", &platform.base()]);
        assert!(login.status.success(), "{}", String::from_utf8_lossy(&login.stderr));
        // Not `env -0` alone: the shell must live on.
        let script = format!("eval \"$({BIN} heroku-env)\" && env -0 && printf 'END\\0' && read wait");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env_clear().env("PATH", std::env::var("PATH").unwrap()).env("HOME", platform.dir.path());
        command.env("HEROKU_HEADERS", "{}").env("GIT_CONFIG_COUNT", "0");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut variables = BTreeMap::new();
        let mut pieces = BufReader::new(child.stdout.take().unwrap()).split(0);
        loop {
            let piece = String::from_utf8(pieces.next().expect("the shell goes on").unwrap()).unwrap();
            match piece.split_once('=') {
                Some((name, value)) => variables.insert(name.to_string(), value.to_string()),
                None => break,
            };
        }
        Self { child, variables }
    }

    fn port(&self) -> u16 {
        self.variables["HEROKU_HOST"].rsplit(':').next().unwrap().parse().unwrap()
    }

    fn dir(&self) -> PathBuf {
        PathBuf::from(&self.variables["NODE_EXTRA_CA_CERTS"]).parent().unwrap().to_path_buf()
    }
}

impl Drop for BridgedShell {
    fn drop(&mut self) {
        let _ = self.child.kill(); // it may have ended
        let _ = self.child.wait();
    }
}

fn ask(port: u16, request_line: &str, headers: &str) -> String {
    raw(port, format!("{request_line} HTTP/1.1\r\nHost: 127.0.0.1\r\n{headers}Connection: close\r\n\r\n").as_bytes())
}

#[test]
fn the_bridge_opens_with_its_own_key_only_and_ends_with_its_shell() {
    let platform = Platform::start();
    platform.create("shop");
    let shell = BridgedShell::of(&platform);
    let (port, key) = (shell.port(), shell.variables["HEROKU_API_KEY"].clone());
    assert!(!shell.variables.contains_key("HEROKU_HEADERS"), "it could hold other credentials");
    for (name, value) in &shell.variables {
        assert!(!value.contains(&platform.token), "the token is in {name}");
    }
    let basic = |text: &str| format!("Authorization: Basic {}\r\n", STANDARD.encode(text));
    let bearer = |token: &str| format!("Authorization: Bearer {token}\r\n");
    for good in [bearer(&key), basic(&format!(":{key}")), basic(&format!("heroku:{key}")), basic(&format!("a@b.example:{key}"))]
    {
        assert!(ask(port, "GET /apps/shop", &good).starts_with("HTTP/1.1 200"), "{good}");
    }
    assert!(
        ask(port, "GET /shop.git/info/refs?service=git-upload-pack", &basic(&format!("x:{key}"))).starts_with("HTTP/1.1 200")
    );
    let token = &platform.token;
    for bad in [String::new(), bearer(token), basic(&format!(":{token}")), bearer("x"), basic(&key), basic("x:")] {
        let answer = ask(port, "GET /apps/shop", &bad);
        assert!(answer.starts_with("HTTP/1.1 401") && answer.contains("\"id\":\"unauthorized\""), "{bad}: {answer}");
        assert!(!answer.to_lowercase().contains("www-authenticate"), "{answer}");
    }
    let asked = ask(port, "GET /shop.git/info/refs?service=git-upload-pack", "");
    assert!(asked.starts_with("HTTP/1.1 401") && asked.to_lowercase().contains("www-authenticate: basic"), "{asked}");
    // Its own secret is enough for a stream, which comes piece by piece: this one has no end.
    let session =
        platform.api("POST", "/apps/shop/log-sessions", Some(serde_json::json!({ "lines": 10, "tail": true }))).json();
    let url = session["logplex_url"].as_str().unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(stream, "GET {} HTTP/1.1\r\nHost: x\r\n\r\n", &url[url.find("/streams").unwrap()..]).unwrap();
    let mut seen = String::new();
    while !seen.contains("Initial release") {
        let mut buffer = [0u8; 4096];
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "{seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    // Other hosts are refused with a sentence: plainly, and in a tunnel.
    let refused = ask(port, "GET http://telex.heroku.com/x", "");
    assert!(refused.starts_with("HTTP/1.1 410") && refused.contains("telex.heroku.com was not asked"), "{refused}");
    assert!(ask(port, "CONNECT api.example.com:443", "").starts_with("HTTP/1.1 410"));
    let mut tunnel = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(tunnel, "CONNECT telex.heroku.com:5000 HTTP/1.1\r\n\r\n").unwrap();
    let mut head = String::new();
    let mut reader = BufReader::new(tunnel.try_clone().unwrap());
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
    }
    write!(tunnel, "GET /x HTTP/1.1\r\nHost: telex.heroku.com\r\n\r\n").unwrap();
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert!(head.starts_with("HTTP/1.1 200") && rest.starts_with("HTTP/1.1 410"), "{head}{rest}");
    the_folder_and_the_process_tell_nothing(&platform, &shell);
    drop(stream);
    let dir = shell.dir();
    drop(shell);
    eventually("the bridge has ended", || TcpStream::connect(("127.0.0.1", port)).is_err().then_some(()));
    eventually("its folder is gone", || (!dir.exists()).then_some(()));
}

fn the_folder_and_the_process_tell_nothing(platform: &Platform, shell: &BridgedShell) {
    let dir = shell.dir();
    assert_eq!(fs::metadata(&dir).unwrap().permissions().mode() & 0o777, 0o700);
    for entry in fs::read_dir(&dir).unwrap().flatten() {
        let text = fs::read_to_string(entry.path()).unwrap();
        assert!(!text.contains(&platform.token) && !text.contains("PRIVATE KEY"), "{}", entry.path().display());
    }
    let home = format!("HOME={}", platform.dir.path().display());
    let mut bridges = 0;
    for process in fs::read_dir("/proc").unwrap().flatten() {
        let read = |name: &str| fs::read(process.path().join(name)).map(|b| String::from_utf8_lossy(&b).into_owned());
        let (Ok(arguments), Ok(environment)) = (read("cmdline"), read("environ")) else { continue };
        if arguments.contains("heroku-bridge") && environment.split('\0').any(|v| v == home) {
            bridges += 1;
            assert!(!arguments.contains(&platform.token) && !environment.contains(&platform.token));
        }
    }
    assert_eq!(bridges, 1);
}

#[test]
fn the_bridge_has_64_places_and_fish_gets_its_own_words() {
    let platform = Platform::start();
    let shell = BridgedShell::of(&platform);
    let port = shell.port();
    let held: Vec<TcpStream> = (0..64).map(|_| TcpStream::connect(("127.0.0.1", port)).unwrap()).collect();
    assert!(raw(port, b"").starts_with("HTTP/1.1 503"), "there is no 65th place");
    drop(held);
    let key = &shell.variables["HEROKU_API_KEY"];
    let headers = format!("Authorization: Bearer {key}\r\n");
    eventually("there is room again", || ask(port, "GET /account", &headers).starts_with("HTTP/1.1 200").then_some(()));
    let fish = platform.cli(&["heroku-env", "--shell", "fish"]);
    let text = String::from_utf8(fish.stdout).unwrap();
    assert!(text.contains("set -gx HEROKU_HOST 'http://127.0.0.1:") && text.contains("function heroku; "), "{text}");
    assert!(text.contains("echo $fish_pid > "), "{text}");
    // Who is not signed in is told so, and gets no lines.
    let nobody = Command::new(BIN).arg("heroku-env").env_clear().env("HOME", "/nonexistent").output().unwrap();
    assert_eq!((nobody.status.code(), nobody.stdout.len()), (Some(3), 0));
    assert!(String::from_utf8_lossy(&nobody.stderr).contains("Not signed in"));
    let wrong = platform.cli(&["heroku-env", "--shell", "cmd"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn without_the_official_cli_the_bridge_says_how_to_get_it_and_a_dead_server_is_told_as_such() {
    let mut platform = Platform::start();
    let bin = platform.dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    let run = |platform: &Platform, args: &[&str]| {
        let mut command = Command::new(BIN);
        command.args(args).env_clear().env("PATH", &bin).env("HOME", platform.dir.path());
        command.env("TIDEMILL_HOST", platform.base()).env("TIDEMILL_API_KEY", &platform.token);
        command.output().unwrap()
    };
    let missing = run(&platform, &["heroku", "--", "apps"]);
    assert_eq!(missing.status.code(), Some(127));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("npm install --global heroku"));
    // One that only shows what it was given, and asks once.
    let fake = "#!/bin/sh\necho \"$@\"\n/usr/bin/env\n/usr/bin/env PATH=/usr/bin:/bin curl -s --noproxy '*' \
                -H \"Authorization: Bearer $HEROKU_API_KEY\" $HEROKU_HOST/account\nexit 42\n";
    fs::write(bin.join("heroku"), fake).unwrap();
    fs::set_permissions(bin.join("heroku"), fs::Permissions::from_mode(0o755)).unwrap();
    let shown = run(&platform, &["heroku", "--", "a b", "--flag"]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert_eq!(shown.status.code(), Some(42), "its exit code is ours");
    assert!(text.starts_with("a b --flag\n") && text.contains("admin@localhost"), "{text}");
    assert!(!text.contains(&platform.token), "the token is in the environment: {text}");
    platform.signal("KILL");
    platform.wait_end();
    let text = String::from_utf8(run(&platform, &["heroku", "--", "x"]).stdout).unwrap();
    assert!(text.contains("\"id\":\"unreachable\"") && text.contains("Is the daemon running"), "{text}");
}
