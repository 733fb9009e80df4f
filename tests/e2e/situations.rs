//! Situations of `runtime.md` section 14 that take a whole platform, one body over both drivers; and the list of all 46 with
//! their tests (`tests/fixtures/situations.txt`).

use crate::support::*;
use serde_json::{Value, json};
use std::{collections::BTreeSet, fs, path::Path};

const SERVER: &str = r#"
import http.server, os, socket, time
mode, port = os.environ.get("MODE"), int(os.environ["PORT"])
if mode == "late":
    time.sleep(60)
if mode == "other":
    early = socket.create_server(("", port + 1))
    time.sleep(1)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1" if mode == "loop" else "", port), Handler).serve_forever()
"#;
const PROCFILE: &str = r#"web: exec python3 -u server.py
quotes: echo "a  b" 'c $HOME' && echo $((1 + 1)) | tr 2 3; test -n "$PORT" || echo "no port"; echo "$WORD-$FROM_A-$FROM_PROFILE"; sleep 1000
slow: trap 'sleep 2; echo last; exit 0' TERM; echo begun; while :; do sleep 0.1; done
good: echo fine
gone: no-such-command
"#;

fn repo() -> Repo {
    let repo = Repo::empty();
    repo.write("server.py", SERVER).write("Procfile", PROCFILE);
    repo.write(".profile.d/b.sh", "export FROM_A=\"$FROM_A-then-b\"\nfalse\n");
    repo.write(".profile.d/a.sh", "export FROM_A=a WORD=${WORD:-default}\n");
    repo.write(".profile", "export FROM_PROFILE=\"$FROM_A-last\"\n");
    repo.commit("situations");
    repo
}

fn scale(platform: &Platform, app: &str, ptype: &str, quantity: u32) {
    let path = format!("/apps/{app}/formation/{ptype}");
    let answer = platform.api("PATCH", &path, Some(json!({ "quantity": quantity })));
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[test]
fn start_1_2_6_7_8_on_both_drivers() {
    on_both_drivers(&["--boot-timeout-s", "4", "--crash-backoff-s", "3600"], |platform| {
        let repo = repo();
        for app in ["fine", "other", "late", "loop"] {
            platform.create(app);
            platform.api("PATCH", &format!("/apps/{app}/config-vars"), Some(json!({ "MODE": app, "WORD": "mine" })));
            repo.push(platform, app, "main");
        }
        for app in ["fine", "other"] {
            eventually("it serves", || (platform.web(app, "/").status == 200).then_some(()));
        }
        for app in ["late", "loop"] {
            let log = platform.wait_log(app, "heroku[web.1]: State changed from starting to crashed");
            let lines = [
                "Error R10 (Boot timeout) -> Web process failed to bind to $PORT within 4 seconds of launch",
                "Stopping process with SIGKILL",
                "Process exited with status 137",
            ];
            let at: Vec<usize> = lines.iter().map(|line| log.find(line).unwrap_or_else(|| panic!("{line}: {log}"))).collect();
            assert!(at.is_sorted(), "{log}");
            assert!(!log.contains("SIGTERM"), "{log}");
        }
        scale(platform, "fine", "quotes", 1);
        let log = platform.wait_log("fine", "app[quotes.1]: mine-");
        let said: Vec<&str> = log.lines().filter_map(|l| l.split_once("app[quotes.1]: ").map(|(_, text)| text)).collect();
        assert_eq!(said, ["a  b c $HOME", "3", "no port", "mine-a-then-b-a-then-b-last"]);
        scale(platform, "fine", "gone", 1);
        platform.wait_log("fine", "heroku[gone.1]: Process exited with status 127");
        // A slug that is not what was built does not run.
        let id = platform.api("GET", "/apps/fine", None).json()["id"].as_str().unwrap().to_string();
        let slugs = platform.data_dir().join("slugs").join(id);
        let slug = fs::read_dir(&slugs).unwrap().flatten().next().unwrap().path();
        let mut bytes = fs::read(&slug).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&slug, bytes).unwrap();
        scale(platform, "fine", "good", 1);
        let log = platform.wait_log("fine", "heroku[good.1]: State changed from starting to crashed");
        assert!(
            log.contains("heroku[good.1]: Error R17 (Checksum error) -> Checksum does match expected value. Expected: SHA256:")
        );
        assert!(!log.contains("app[good.1]"), "{log}");
    });
}

#[test]
fn stop_13_16_20_crash_28_29_on_both_drivers() {
    on_both_drivers(&["--crash-backoff-s", "0,3600"], |platform| {
        platform.create("shop");
        platform.api("PATCH", "/apps/shop/config-vars", Some(json!({ "MODE": "late" })));
        let repo = repo();
        let push = repo.command().args(["push", "-q", &platform.git_url("shop"), "main"]).spawn();
        platform.wait_log("shop", "heroku[web.1]: Starting process with command");
        scale(platform, "shop", "web", 0);
        let log = platform.wait_log("shop", "heroku[web.1]: Process exited with status 143");
        assert!(!log.contains("R10") && !log.contains("crashed"), "{log}");
        push.unwrap().wait().unwrap();

        // The new one is up before the old one has gone, and the old one's last words arrive.
        scale(platform, "shop", "slow", 1);
        platform.wait_log("shop", "app[slow.1]: begun");
        assert_eq!(platform.api("DELETE", "/apps/shop/dynos/slow.1", None).status, 202);
        let log = platform.wait_log("shop", "heroku[slow.1]: Process exited with status 0");
        assert_eq!(log.matches("app[slow.1]: begun").count(), 2, "{log}");
        let (second, gone) = (log.rfind("app[slow.1]: begun"), log.find("app[slow.1]: last"));
        assert!(second.is_some() && second < gone, "{log}");
        scale(platform, "shop", "slow", 0);

        // An end that nobody asked for is a crash, status 0 too: tried again at once, then after the table's next wait, and
        // at once again after a restart by hand.
        let ends = |n: usize| {
            eventually("it ended so often", || {
                let log = platform.log("shop");
                (log.matches("heroku[good.1]: State changed from up to crashed").count() >= n).then_some(log)
            })
        };
        scale(platform, "shop", "good", 1);
        let log = ends(2);
        assert!(log.contains("heroku[good.1]: Process exited with status 0"), "{log}");
        assert_eq!(platform.api("GET", "/apps/shop/dynos/good.1", None).json()["state"], "crashed");
        assert_eq!(platform.api("DELETE", "/apps/shop/dynos/good.1", None).status, 202);
        ends(4);
    });
}

#[test]
fn pipe_17_18_the_daemon_is_killed_and_replaced_on_both_drivers() {
    on_both_drivers(&[], |platform| {
        platform.create("shop");
        let repo = Repo::empty();
        repo.write("Procfile", "count: n=0; while :; do n=$((n + 1)); echo \"line $n\"; sleep 0.01; done\n").commit("count");
        repo.deploy(platform, "shop");
        scale(platform, "shop", "count", 1);
        platform.wait_log("shop", "app[count.1]: line 1");
        let id = |platform: &Platform| platform.api("GET", "/apps/shop/dynos/count.1", None).json()["id"].clone();
        let before = id(platform);
        for round in 0..4 {
            platform.signal(if round % 2 == 0 { "KILL" } else { "TERM" });
            platform.wait_end();
            // The next version of the program is another file; the one that runs has lost its name.
            platform.boot_from(&copy_of_program(platform.dir.path(), round));
        }
        assert_eq!(id(platform), before, "the same dyno");
        let last = eventually("it goes on", || {
            let log = platform.log("shop");
            let number = |l: &str| l.split_once("app[count.1]: line ")?.1.parse::<u64>().ok();
            let numbers: Vec<u64> = log.lines().filter_map(number).collect();
            let whole = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
            assert!(whole, "lost or repeated: {numbers:?}");
            numbers.last().copied().filter(|n| *n > 100)
        });
        println!("{last} lines over 4 daemons, each once");
    });
}

/// The program under another name, once; the copies of before go.
fn copy_of_program(dir: &Path, round: u32) -> std::path::PathBuf {
    let folder = dir.join("programs");
    let _ = fs::remove_dir_all(&folder); // the first time there is none
    fs::create_dir(&folder).unwrap();
    let copy = folder.join(format!("tidemill-{round}"));
    fs::copy(BIN, &copy).unwrap();
    copy
}

#[test]
fn release_34_a_phase_that_takes_too_long_failed_on_both_drivers() {
    on_both_drivers(&["--release-timeout-s", "1"], |platform| {
        platform.create("shop");
        let repo = Repo::empty();
        repo.write("Procfile", "release: echo long; sleep 100\ntask: sleep 1\n").commit("long");
        let (_, text) = repo.push(platform, "shop", "main");
        assert!(text.contains("Release command failed"), "{text}");
        let release: Value = platform.api("GET", "/apps/shop/releases/v3", None).json();
        assert_eq!((release["status"].as_str(), release["current"].as_bool()), (Some("failed"), Some(false)));
    });
}

/// Text of all Rust files below a folder.
fn sources(dir: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            text += &sources(&path);
        } else if path.extension().is_some_and(|e| e == "rs") {
            text += &fs::read_to_string(path).unwrap();
        }
    }
    text
}

/// The text of a function that stands at the margin.
fn function<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let at = text.find(&format!("fn {name}("))?;
    Some(&text[at..at + text[at..].find("\n}\n")?])
}

/// Each of the 46 has a test that exists, on both drivers but where the list says why not.
#[test]
fn all_46_situations_have_their_tests() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let list = fs::read_to_string(root.join("tests/fixtures/situations.txt")).unwrap();
    let (all, contract) = (sources(&root.join("src")), sources(&root.join("src/runtime/tests/contract")));
    let e2e = sources(&root.join("tests/e2e"));
    let (mut numbers, mut both) = (BTreeSet::new(), 0);
    for line in list.lines().filter(|line| !line.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let number: u32 = words[0].parse().unwrap();
        assert!(numbers.insert(number), "{number} is there twice");
        let tests: Vec<&&str> = words[2..].iter().take_while(|word| !word.starts_with('(')).collect();
        assert!(!tests.is_empty(), "{line}");
        for test in &tests {
            assert!(
                all.contains(&format!("fn {test}(")) || function(&e2e, test).is_some(),
                "{number}: there is no test {test}"
            );
        }
        let on_both = |test: &&&str| {
            let runs_both = function(&e2e, test).is_some_and(|body| body.contains("on_both_drivers("));
            contract.contains(&format!("fn {test}(")) || runs_both
        };
        match words[1] {
            "both" => assert!(tests.iter().any(on_both), "{number}: none of its tests runs on both drivers"),
            "native" => assert!(line.ends_with(')'), "{number}: why not on Docker?"),
            other => panic!("{number}: {other}?"),
        }
        both += u32::from(words[1] == "both");
    }
    assert_eq!(numbers, (1..=46).collect());
    println!("46 of 46 situations have a test on the native driver, {both} on Docker, too");
}
