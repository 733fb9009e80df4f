//! Account keys and git over SSH, with the real `ssh` and `git`.

use crate::{
    git::slow_build,
    schema,
    support::{Answer, Platform, Repo, eventually, raw, root_or_skip},
};
use serde_json::json;
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

/// A key pair in a folder of its own, and the client's memory of hosts.
struct Key {
    dir: tempfile::TempDir,
}

impl Key {
    fn new(kind: &str, bits: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-N", "", "-C", "ana@laptop", "-t", kind, "-f"]).arg(dir.path().join("id"));
        let made = if bits.is_empty() { command.status() } else { command.args(["-b", bits]).status() };
        assert!(made.unwrap().success(), "{kind}");
        Self { dir }
    }

    fn ed25519() -> Self {
        Self::new("ed25519", "")
    }

    fn file(&self) -> PathBuf {
        self.dir.path().join("id")
    }

    fn public(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("id.pub")).unwrap()
    }

    /// As `ssh-keygen -l` shows it.
    fn fingerprint(&self, hash: &str) -> String {
        fingerprint(&self.file(), hash)
    }

    fn add(&self, platform: &Platform) -> Answer {
        platform.api("POST", "/account/keys", Some(json!({ "public_key": self.public() })))
    }

    /// Options of a client that knows nothing but this key. Hosts are met once, and must stay the same then.
    fn options(&self) -> Vec<String> {
        let known = self.dir.path().join("known_hosts");
        let id = self.file();
        let mut all = vec!["-F".into(), "/dev/null".into(), "-i".into(), id.display().to_string()];
        for option in [
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "BatchMode=yes",
            "StrictHostKeyChecking=accept-new",
            "ConnectTimeout=30",
        ] {
            all.extend(["-o".into(), option.into()]);
        }
        all.extend(["-o".into(), format!("UserKnownHostsFile={}", known.display())]);
        all
    }

    fn ssh(&self, port: u16, user: &str, args: &[&str]) -> Output {
        let mut command = Command::new("ssh");
        command.args(self.options()).args(["-p", &port.to_string()]).args(args.iter().filter(|a| a.starts_with('-')));
        command.arg(format!("{user}@127.0.0.1")).args(args.iter().filter(|a| !a.starts_with('-')));
        command.stdin(Stdio::null()).output().unwrap()
    }

    fn git(&self, repo: &Repo, extra: &str) -> Command {
        let mut command = repo.command();
        command.env("GIT_SSH_COMMAND", format!("ssh {} {extra}", self.options().join(" ")));
        command
    }

    fn push(&self, repo: &Repo, port: u16, app: &str, refspec: &str) -> (bool, String) {
        let output = self.git(repo, "").args(["push", &url(port, app), refspec]).output().unwrap();
        (output.status.success(), said(&output))
    }
}

fn fingerprint(file: &Path, hash: &str) -> String {
    let output = Command::new("ssh-keygen").args(["-l", "-E", hash, "-f"]).arg(file).output().unwrap();
    String::from_utf8_lossy(&output.stdout).split(' ').nth(1).unwrap().to_string()
}

fn url(port: u16, app: &str) -> String {
    format!("ssh://git@127.0.0.1:{port}/{app}.git")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn keys_are_added_shown_and_removed_and_bad_ones_are_refused() {
    let platform = Platform::start();
    let key = Key::ed25519();
    let added = key.add(&platform);
    assert_eq!(added.status, 201, "{}", added.text);
    let added = added.json();
    schema::check("key", &added);
    assert_eq!((added["comment"].as_str(), added["public_key"].as_str()), (Some("ana@laptop"), Some(key.public().trim())));
    assert_eq!(format!("MD5:{}", added["fingerprint"].as_str().unwrap()), key.fingerprint("md5"));
    schema::check_list("key", &platform.api("GET", "/account/keys", None).json());
    let sha256 = key.fingerprint("sha256").replace('/', "%2F").replace('+', "%2B");
    for name in [added["id"].as_str().unwrap(), added["fingerprint"].as_str().unwrap(), &sha256] {
        assert_eq!(platform.api("GET", &format!("/account/keys/{name}"), None).json(), added, "{name}");
    }

    for (kind, bits) in [("rsa", "2048"), ("ecdsa", "256"), ("ecdsa", "384"), ("ecdsa", "521")] {
        assert_eq!(Key::new(kind, bits).add(&platform).status, 201, "{kind} {bits}");
    }
    let refused = |text: &str, reason: &str| {
        let answer = platform.api("POST", "/account/keys", Some(json!({ "public_key": text })));
        assert_eq!((answer.status, answer.json()["id"].as_str().unwrap()), (422, "invalid_params"), "{}", answer.text);
        assert!(answer.text.contains(reason), "{}", answer.text);
    };
    refused(&key.public(), "your account has it");
    refused(&key.public().replace("ana@laptop", "another comment"), "your account has it");
    refused(&Key::new("rsa", "1024").public(), "2048 to 16384 bits, this has 1024");
    refused(&std::fs::read_to_string(key.file()).unwrap(), "private key");
    refused("hello", "KIND BASE64");
    assert_eq!(platform.api("POST", "/account/keys", None).status, 422);
    assert_eq!(platform.api("GET", "/account/keys", None).json().as_array().unwrap().len(), 5);

    let gone = platform.api("DELETE", &format!("/account/keys/{}", added["fingerprint"].as_str().unwrap()), None);
    assert_eq!((gone.status, gone.json()), (200, added.clone()));
    for method in ["GET", "DELETE"] {
        let path = format!("/account/keys/{}", added["id"].as_str().unwrap());
        assert_eq!(platform.api(method, &path, None).status, 404);
    }
    assert_eq!(key.add(&platform).status, 201, "a removed key is free again");
}

#[test]
fn pushes_and_clones_over_both_ports() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let own = free_port();
    let platform = Platform::start_with(&["--ssh", &format!("127.0.0.1:{own}")]);
    platform.create("shop");
    let (key, repo) = (Key::ed25519(), Repo::of("procfile"));
    key.add(&platform);
    let (ok, text) = key.push(&repo, platform.port, "shop", "main");
    assert!(ok && text.contains("remote: -----> ") && text.contains("remote: Verifying deploy... done."), "{text}");
    eventually("live", || platform.web("shop", "/").text.contains("hello").then_some(()));
    let (ok, text) = key.push(&repo, own, "shop", "main");
    assert!(ok && text.contains("Everything up-to-date"), "{text}");
    repo.commit("two");
    let (ok, text) = key.push(&repo, own, "shop", "main:feature");
    assert!(ok && text.contains("skipping build"), "{text}");
    let (ok, text) = key.push(&repo, own, "shop", ":main");
    assert!(!ok && text.contains("Push rejected, cannot delete master branch"), "{text}");
    let (ok, text) = key.push(&repo, own, "shop", ":feature");
    assert!(ok, "{text}");
    // The short form of an address has no place for a port.
    let short = key.git(&repo, &format!("-p {own}")).args(["push", "git@127.0.0.1:shop.git", "main"]).output().unwrap();
    assert!(short.status.success() && said(&short).contains("Verifying deploy... done."), "{}", said(&short));

    let head = repo.git(&["rev-parse", "HEAD^{tree}"]);
    for (port, version) in [(platform.port, "0"), (platform.port, "2"), (own, "1")] {
        let clone = tempfile::tempdir().unwrap();
        let mut command = key.git(&repo, "");
        command.args(["-c", &format!("protocol.version={version}"), "clone", "--quiet", &url(port, "shop")]);
        let cloned = command.arg(clone.path().join("c")).output().unwrap();
        assert!(cloned.status.success(), "{}", said(&cloned));
        let tree = repo.command().arg("-C").arg(clone.path().join("c")).args(["rev-parse", "HEAD^{tree}"]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&tree.stdout).trim(), head, "protocol {version}");
    }
    let builds = platform.api("GET", "/apps/shop/builds", None).json();
    assert_eq!(builds.as_array().unwrap().len(), 2);
}

#[test]
fn a_large_push_survives_new_keys_of_the_connection_and_limits_are_told() {
    let platform = Platform::start_with(&["--push-mb-max", "8"]);
    platform.create("shop");
    let (key, repo) = (Key::new("rsa", "3072"), Repo::of("procfile"));
    key.add(&platform);
    let mut random = fastrand::Rng::with_seed(7);
    let mut noise = |bytes: usize| (0..bytes).map(|_| random.u8(..)).collect::<Vec<u8>>();
    std::fs::write(repo.dir.path().join("noise"), noise(6_000_000)).unwrap();
    repo.commit("large");
    let push = |extra: &str| {
        let output = key.git(&repo, extra).args(["push", &url(platform.port, "shop"), "main:kept"]).output().unwrap();
        (output.status.success(), said(&output))
    };
    let (ok, text) = push("-o RekeyLimit=1M");
    assert!(ok, "{text}");
    std::fs::write(repo.dir.path().join("noise"), noise(9_000_000)).unwrap();
    repo.commit("too large");
    let (ok, text) = push("");
    assert!(!ok && text.contains("exceeds maximum allowed size"), "{text}");
}

#[test]
fn who_is_not_known_or_wants_something_else_is_sent_away() {
    let platform = Platform::start();
    platform.create("shop");
    let (key, stranger, repo) = (Key::ed25519(), Key::ed25519(), Repo::of("procfile"));
    let id = key.add(&platform).json()["id"].as_str().unwrap().to_string();
    for (who, user) in [(&stranger, "git"), (&key, "root"), (&stranger, "root")] {
        let output = who.ssh(platform.port, user, &["git-upload-pack 'shop.git'"]);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(255), "{text}");
        assert!(text.contains("Permission denied (publickey)"), "one answer for all: {text}");
    }
    let (ok, text) = stranger.push(&repo, platform.port, "shop", "main");
    assert!(!ok && text.contains("Permission denied (publickey)"), "{text}");

    let refused = |args: &[&str], reason: &str| {
        let output = key.ssh(platform.port, "git", args);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
        assert!(text.contains(reason) && output.stdout.is_empty(), "{args:?}: {text}");
    };
    refused(&[], "Hi admin@localhost, you are signed in; Tidemill does not give shells.");
    let terminal = said(&key.ssh(platform.port, "git", &["-tt"]));
    assert!(terminal.contains("PTY allocation request failed"), "{terminal}");
    for command in ["ls", "git-receive-pack 'shop.git'; id", "git-upload-archive 'shop.git'", "scp -t /tmp"] {
        refused(&[command], "Only git push, fetch and clone are served here.");
    }
    refused(&["-s", "sftp"], "Only git push, fetch and clone are served here.");
    refused(&["git-upload-pack '/../../etc'"], "No such app as ../../etc.");
    refused(&["git-upload-pack 'nope'"], "No such app as nope.");
    let (ok, text) = key.push(&repo, platform.port, "nope", "main");
    assert!(!ok && text.contains("No such app as nope."), "{text}");
    let forward = key.ssh(platform.port, "git", &["-W127.0.0.1:1"]);
    assert!(!forward.status.success() && said(&forward).contains("administratively prohibited"), "{}", said(&forward));
    assert_eq!(key.ssh(platform.port, "git", &["git-upload-pack 'shop'"]).status.code(), Some(128), "without a client's words");

    assert_eq!(platform.api("DELETE", &format!("/account/keys/{id}"), None).status, 200);
    let (ok, text) = key.push(&repo, platform.port, "shop", "main");
    assert!(!ok && text.contains("Permission denied (publickey)"), "a removed key admits nobody: {text}");
}

#[test]
fn a_key_that_is_removed_ends_what_an_open_connection_may_do() {
    let platform = Platform::start();
    platform.create("shop");
    let key = Key::ed25519();
    let id = key.add(&platform).json()["id"].as_str().unwrap().to_string();
    let socket = key.dir.path().join("control");
    let shared = format!("-oControlPath={}", socket.display());
    let mut master = Command::new("ssh");
    master.args(key.options()).args(["-p", &platform.port.to_string(), "-M", "-N", &shared, "git@127.0.0.1"]);
    let mut master = master.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the shared connection", || socket.exists().then_some(()));
    let again = || said(&key.ssh(platform.port, "git", &[&shared, "git-upload-pack 'nope'"]));
    assert!(again().contains("No such app as nope."));
    platform.api("DELETE", &format!("/account/keys/{id}"), None);
    let text = again();
    assert!(text.contains("This key was removed from its account."), "{text}");
    master.kill().unwrap();
    master.wait().unwrap();
}

#[test]
fn the_host_key_stays_and_is_told() {
    let mut platform = Platform::start();
    platform.create("shop");
    let key = Key::ed25519();
    key.add(&platform);
    let host_key = platform.data_dir().join("keys/ssh/host_ed25519");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&host_key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let told = format!("ssh://git@localhost:{}/APP.git, host key {}", platform.port, fingerprint(&host_key, "sha256"));
    eventually("the line of the start", || platform.output().contains(&told).then_some(()));
    let hello = |platform: &Platform| said(&key.ssh(platform.port, "git", &[]));
    assert!(hello(&platform).contains("Hi admin@localhost"));
    platform.signal("KILL");
    platform.wait_end();
    platform.boot();
    let text = hello(&platform);
    assert!(text.contains("Hi admin@localhost") && !text.contains("HOST IDENTIFICATION HAS CHANGED"), "{text}");
}

#[test]
fn http_and_ssh_are_told_apart_on_one_port() {
    let platform = Platform::start();
    let answer = raw(platform.port, b"SEARCH / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
    let mut slow = TcpStream::connect(("127.0.0.1", platform.port)).unwrap();
    slow.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    slow.set_nodelay(true).unwrap();
    for byte in b"SSH-2.0-slow\r\n" {
        slow.write_all(&[*byte]).unwrap();
    }
    let mut line = String::new();
    BufReader::new(&slow).read_line(&mut line).unwrap();
    assert_eq!(line, "SSH-2.0-Tidemill\r\n");

    // Too many of one address: the rest is told so, and the others are not disturbed.
    let mut held = Vec::new();
    let refused = eventually("a full house", || {
        let mut stream = TcpStream::connect(("127.0.0.1", platform.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.write_all(b"SSH-2.0-many\r\n").unwrap();
        let mut first = [0u8; 8];
        stream.read_exact(&mut first).unwrap();
        let refused = &first == b"Too many";
        held.push(stream);
        refused.then_some(held.len())
    });
    assert!((30..=40).contains(&refused), "{refused}");
    drop((slow, held));
    let key = Key::ed25519();
    key.add(&platform);
    eventually("room again", || said(&key.ssh(platform.port, "git", &[])).contains("Hi admin@localhost").then_some(()));
}

#[test]
fn output_streams_and_a_pusher_who_leaves_stops_nothing() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let platform = Platform::start();
    platform.create("shop");
    let _pack = slow_build(&platform, 3);
    let (key, repo) = (Key::ed25519(), Repo::of("procfile"));
    key.add(&platform);
    let begin = || {
        let mut push = key.git(&repo, "");
        push.args(["push", &url(platform.port, "shop"), "main"]).stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut child = begin();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|l| l.contains("first-line")));
    let seen = Instant::now();
    assert!(lines.any(|l| l.contains("last-line")));
    assert!(seen.elapsed() > Duration::from_secs(1), "the first line came while the build ran");
    assert!(child.wait().unwrap().success());

    repo.commit("again");
    let mut child = begin();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|l| l.contains("first-line")));
    // The connection belongs to git's `ssh`; both go.
    let _ = Command::new("pkill").args(["-9", "-P", &child.id().to_string()]).status();
    child.kill().unwrap();
    child.wait().unwrap();
    // Who comes meanwhile, whichever way, waits for it.
    let (ok, text) = repo.push(&platform, "shop", "main");
    assert!(text.contains("waiting in line"), "{text}");
    assert!(!ok && text.contains("another push moved the branch"), "{text}");
    let head = repo.git(&["rev-parse", "HEAD"]);
    eventually("the branch of the pusher who left", || {
        let remote = repo.git(&["ls-remote", &platform.git_url("shop"), "refs/heads/main"]);
        remote.starts_with(&head).then_some(())
    });
    let releases = platform.api("GET", "/apps/shop/releases", None).json();
    assert_eq!(releases.as_array().unwrap().len(), 4, "it was released");
}

#[test]
fn an_open_connection_does_not_hold_up_the_end() {
    let mut platform = Platform::start();
    let key = Key::ed25519();
    key.add(&platform);
    let socket = key.dir.path().join("control");
    let mut open = Command::new("ssh");
    open.args(key.options()).args(["-p", &platform.port.to_string(), "-M", "-N"]);
    open.arg(format!("-oControlPath={}", socket.display())).arg("git@127.0.0.1");
    let mut open = open.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let silent = TcpStream::connect(("127.0.0.1", platform.port)).unwrap();
    eventually("the connection", || socket.exists().then_some(()));
    let begun = Instant::now();
    platform.signal("TERM");
    assert!(platform.wait_end().success());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?} of the 30 s for requests in flight", begun.elapsed());
    open.wait().unwrap();
    drop(silent);
}

#[test]
fn a_shallow_push_is_refused_as_over_http() {
    let platform = Platform::start();
    platform.create("shop");
    let (key, repo) = (Key::ed25519(), Repo::of("procfile"));
    key.add(&platform);
    repo.commit("two");
    let shallow = tempfile::tempdir().unwrap();
    let from = format!("file://{}", repo.dir.path().display());
    let made = repo.command().args(["clone", "--quiet", "--depth", "1", &from]).arg(shallow.path().join("s")).status();
    assert!(made.unwrap().success());
    let mut push = key.git(&repo, "");
    push.arg("-C").arg(shallow.path().join("s")).args(["push", &url(platform.port, "shop"), "HEAD:main"]);
    let pushed = push.output().unwrap();
    let text = said(&pushed);
    assert!(!pushed.status.success(), "{text}");
    assert!(text.contains("shallow clone. Unshallow it with") && text.contains("shallow update not allowed"), "{text}");
}
