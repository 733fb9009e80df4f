//! What a build and a dyno reach over the network: the world outside, but neither other apps nor the host.

use crate::support::*;
use serde_json::json;
use std::{
    net::UdpSocket,
    process::{Child, Command, Stdio},
};

/// A host beyond this one: a network name space that is no cage, with a git server in it.
struct Elsewhere {
    name: String,
    address: String,
    server: Child,
}

fn ip(args: &str) {
    let output = Command::new("ip").args(args.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {args}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Elsewhere {
    fn serving(repositories: &std::path::Path) -> Self {
        let name = format!("te{}", std::process::id());
        // 198.18.0.0/15 is for tests; the process id keeps runs side by side apart.
        let [_, _, high, low] = (std::process::id() << 2).to_be_bytes();
        let (host, address) = (format!("198.18.{high}.{}", low | 1), format!("198.18.{high}.{}", low | 2));
        ip(&format!("netns add {name}"));
        ip(&format!("link add {name} type veth peer name eth0 netns {name}"));
        ip(&format!("addr add {host}/30 dev {name}"));
        ip(&format!("link set {name} up"));
        ip(&format!("-n {name} addr add {address}/30 dev eth0"));
        ip(&format!("-n {name} link set eth0 up"));
        ip(&format!("-n {name} link set lo up"));
        let server = git_server(Command::new("ip").args(["netns", "exec", &name, "git"]), repositories, 9418);
        Self { name, address, server }
    }
}

fn git_server(command: &mut Command, repositories: &std::path::Path, port: u16) -> Child {
    let base = format!("--base-path={}", repositories.display());
    let args =
        ["-c", "safe.directory=*", "daemon", "--export-all", "--reuseaddr", &base, &format!("--port={port}")].map(String::from);
    command.args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// `git daemon` has a child that listens; both end.
fn end(server: &mut Child) {
    let _ = Command::new("pkill").args(["-KILL", "-P", &server.id().to_string()]).status();
    let _ = server.kill();
    let _ = server.wait();
}

impl Drop for Elsewhere {
    fn drop(&mut self) {
        end(&mut self.server);
        let _ = Command::new("ip").args(["link", "del", &self.name]).status();
        let _ = Command::new("ip").args(["netns", "del", &self.name]).status();
    }
}

/// The host's address towards the world.
fn outward() -> String {
    let probe = UdpSocket::bind("0.0.0.0:0").unwrap();
    probe.connect("203.0.113.1:9").unwrap();
    probe.local_addr().unwrap().ip().to_string()
}

#[test]
fn a_build_and_a_dyno_reach_no_other_app() {
    if !root_or_skip("network name spaces") {
        return;
    }
    let platform = Platform::start();
    platform.create("neighbour");
    let repo = Repo::of("procfile");
    repo.write("Procfile", "web: echo \"AT $(hostname -I | tr -d ' '):$PORT\" && ./bin/server\n");
    repo.commit("tells its address");
    repo.deploy(&platform, "neighbour");
    let log = platform.wait_log("neighbour", "app[web.1]: AT ");
    let at = log.split("app[web.1]: AT ").nth(1).unwrap().split_whitespace().next().unwrap().to_string();
    let (address, port) = at.rsplit_once(':').unwrap();
    assert!(address.starts_with("10.209."), "a dyno has an address of its own: {at}");
    let curl = |url: String| Command::new("curl").args(["-s", "-m", "5", &url]).output().unwrap().stdout;
    assert!(!curl(format!("http://{at}/")).is_empty(), "the router's way in");

    let places =
        format!("http://{at}/ http://{}:{port}/ http://127.0.0.1:{port}/ http://127.0.0.1:{}/", outward(), platform.port);
    let attempt = format!(
        "for url in {places}; do curl -s -m 3 -o /dev/null $url && echo REACHED-$url; done; echo tried; ls /sys/class/net | tr '\\n' ' '"
    );
    let pack = Repo::empty();
    pack.write("bin/detect", "#!/bin/sh\necho Curious\n").write("bin/compile", &format!("#!/bin/bash\n{attempt}\nexit 0\n"));
    pack.write("bin/release", "#!/bin/sh\necho '--- {}'\n");
    pack.commit("pack");
    platform.create("curious");
    let set = json!({ "updates": [{ "buildpack": format!("file://{}", pack.dir.path().display()) }] });
    platform.api("PUT", "/apps/curious/buildpack-installations", Some(set));
    let other = Repo::of("procfile");
    other.write("Procfile", &format!("web: {attempt}; ./bin/server\n"));
    other.commit("looks around");
    let text = other.deploy(&platform, "curious");
    assert!(text.contains("tried") && !text.contains("REACHED"), "the build: {text}");
    let log = platform.wait_log("curious", "app[web.1]: tried");
    assert!(!log.contains("app[web.1]: REACHED"), "the dyno: {log}");
    assert_eq!(platform.web("neighbour", "/").status, 200);
}

#[test]
fn a_buildpack_by_git_url_is_fetched_from_inside_the_cage() {
    if !root_or_skip("network name spaces") {
        return;
    }
    let platform = Platform::start();
    let pack = Repo::of("inline-pack");
    let repositories = pack.dir.path().parent().unwrap();
    let path = pack.dir.path().file_name().unwrap().to_str().unwrap();
    let elsewhere = Elsewhere::serving(repositories);
    let set = |app: &str, url: &str| {
        platform.create(app);
        let set = json!({ "updates": [{ "buildpack": url }, { "buildpack": "heroku/procfile" }] });
        assert_eq!(platform.api("PUT", &format!("/apps/{app}/buildpack-installations"), Some(set)).status, 200);
    };
    let repo = Repo::of("procfile");
    set("good", &format!("git://{}/{path}", elsewhere.address));
    let text = repo.deploy(&platform, "good");
    assert!(text.contains("Using buildpacks:"), "{text}");

    // The same on the host's own loopback, which a daemon that fetched it itself would reach.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut local = git_server(Command::new("git").env("LC_ALL", "C"), repositories, free);
    eventually("the git server listens", || std::net::TcpStream::connect(("127.0.0.1", free)).ok());
    set("bad", &format!("git://127.0.0.1:{free}/{path}"));
    let (ok, text) = repo.push(&platform, "bad", "main");
    end(&mut local);
    assert!(!ok && text.contains("can not fetch buildpack git://127.0.0.1"), "{text}");
}

/// Whoever comes next must not be the user of a cage that is still there.
#[test]
fn a_user_number_is_kept_until_the_cage_is_gone() {
    if !root_or_skip("users of dynos") {
        return;
    }
    let platform = Platform::start();
    platform.create("shop");
    let repo = Repo::empty();
    repo.write("Procfile", "worker: echo \"user $(id -u).\"; exec sleep 1000\n");
    repo.commit("says its user");
    repo.deploy(&platform, "shop");
    let scale = |quantity: u32| {
        let answer = platform.api("PATCH", "/apps/shop/formation/worker", Some(json!({ "quantity": quantity })));
        assert_eq!(answer.status, 200, "{}", answer.text);
    };
    let users = |count: usize| {
        eventually("each says its user", || {
            let log = platform.log("shop");
            let users: Vec<String> = log.lines().filter_map(|l| Some(l.split_once("]: user ")?.1.to_string())).collect();
            (users.len() == count).then_some(users)
        })
    };
    scale(1);
    users(1);
    let cage = eventually("one cage", || platform.cages().into_iter().next());
    let held = cage.join("held");
    std::fs::create_dir(&held).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&held).status().unwrap();
    assert!(mounted.success());
    scale(0);
    eventually("it can not be removed", || platform.output().contains("engine.cage_left").then_some(()));
    scale(1);
    let two = users(2);
    assert!(Command::new("umount").arg(&held).status().unwrap().success());
    assert_ne!(two[0], two[1], "the first one's is kept");
    eventually("the cage goes", || (!cage.exists()).then_some(()));
    scale(2);
    assert_eq!(users(3)[2], two[0], "now it is free again");
}
