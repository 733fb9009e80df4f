//! Persistent volumes: what a dyno writes is there for the next one, whatever ends in between.

use crate::support::{Platform, Repo, eventually, on_both_drivers, root_or_skip};
use serde_json::{Value, json};
use std::fs;

/// Counts its starts on the volume and tells, with the user that it runs as.
const PROCFILE: &str =
    "web: echo start >> /data/starts; exec python3 -u server.py\nworker: test ! -e /data && echo none; sleep 1000\n";
const SERVER: &str = r#"
import http.server, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path.startswith("/write/"):
            open("/data/file", "w").write(self.path[7:])
        body = (open("/data/starts").read().count("start"), open("/data/file").read() if os.path.exists("/data/file") else "")
        body = f"{body[0]} {body[1]} {os.getuid() > 299999}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"#;

fn deploy(platform: &Platform, app: &str) -> Repo {
    let repo = Repo::empty();
    repo.write("server.py", SERVER).write("Procfile", PROCFILE).commit("counts");
    repo.deploy(platform, app);
    repo
}

fn done(platform: &Platform, args: &[&str]) -> String {
    let output = platform.cli(args);
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{args:?}: {text}");
    text
}

fn serves(platform: &Platform, app: &str, wanted: &str) {
    let mut last = String::new();
    eventually(&format!("{app} says {wanted:?}"), || {
        let answer = platform.web(app, "/");
        if answer.text != last {
            println!("{app}: {} {}", answer.status, answer.text);
            last.clone_from(&answer.text);
        }
        (answer.text == wanted).then_some(())
    });
}

#[test]
fn data_outlives_deploys_restarts_kills_and_its_app() {
    on_both_drivers(&[], |platform| {
        platform.create("shop");
        done(platform, &["volumes:create", "data", "--size", "1G", "-a", "shop"]);
        assert!(done(platform, &["volumes", "-a", "shop"]).contains("not attached"));
        done(platform, &["volumes:attach", "data", "/data", "-p", "web", "-a", "shop"]);
        let repo = deploy(platform, "shop");
        serves(platform, "shop", "1  True");
        assert_eq!(platform.web("shop", "/write/one").status, 200);
        repo.write("new", "").commit("again");
        repo.deploy(platform, "shop");
        serves(platform, "shop", "2 one True");
        done(platform, &["restart", "-a", "shop"]);
        serves(platform, "shop", "3 one True");
        platform.signal("KILL");
        platform.wait_end();
        platform.boot();
        serves(platform, "shop", "3 one True"); // the same dyno
        let copied = done(platform, &["volumes:snapshot", "data", "-a", "shop"]);
        assert!(copied.contains("s1"), "{copied}");
        assert_eq!(platform.web("shop", "/write/two").status, 200);
        done(platform, &["volumes:restore", "data", "s1", "-a", "shop", "--confirm", "data"]);
        serves(platform, "shop", "4 one True");
        let all = eventually("what was there is a copy", || {
            let all = platform.api("GET", "/apps/shop/volumes/data/snapshots", None).json();
            (all[1]["state"] == "ready").then_some(all)
        });
        assert_eq!(all[1]["description"], "before s1 was put back");
        done(platform, &["volumes:restore", "data", "s2", "-a", "shop", "--confirm", "data"]);
        serves(platform, "shop", "4 two True"); // its own count was 3
        done(platform, &["destroy", "-a", "shop", "--confirm", "shop"]);
        let trash = platform.api("GET", "/volumes/trash", None).json();
        let (id, state) = (trash[0]["id"].as_str().unwrap().to_string(), &trash[0]["state"]);
        assert_eq!((state.as_str(), trash[0]["app_name"].as_str()), (Some("trash"), Some("shop")));
        platform.create("heir");
        platform.create("other"); // so that the users differ
        done(platform, &["volumes:create", "own", "-a", "other"]);
        done(platform, &["volumes:adopt", &id, "-a", "other"]);
        done(platform, &["volumes:attach", "data", "/data", "-a", "other"]);
        deploy(platform, "other");
        serves(platform, "other", "5 two True");
    });
}

fn refused(platform: &Platform, path: &str, body: Value, status: u16, text: &str) {
    let answer = platform.api("POST", path, Some(body));
    assert!(answer.status == status && answer.text.contains(text), "{path}: {} {}", answer.status, answer.text);
}

#[test]
fn places_and_names_that_would_do_harm_are_refused() {
    let platform = Platform::start();
    platform.create("shop");
    let own = "/apps/shop/volumes";
    for name in ["", "../x", "No", "a/b"] {
        refused(&platform, own, json!({ "name": name }), 422, "no name of a volume");
    }
    assert_eq!(platform.api("POST", own, Some(json!({ "name": "data" }))).status, 201);
    refused(&platform, own, json!({ "name": "data" }), 409, "already");
    let attach = "/apps/shop/volumes/data/actions/attach";
    for path in ["/", "/app", "/etc/ssl", "/proc/1", "data", "/a/../etc", "/tmp/x"] {
        refused(&platform, attach, json!({ "path": path }), 422, "can not be at");
    }
    let made = platform.api("POST", attach, Some(json!({ "path": "/data/" })));
    assert_eq!((made.status, made.json()["attachments"][0]["path"].as_str()), (200, Some("/data")), "{}", made.text);
    refused(&platform, attach, json!({ "path": "/data/inner" }), 409, "in the way");
    let releases = platform.api("GET", "/apps/shop/releases", None).json();
    assert_eq!(releases.as_array().unwrap().last().unwrap()["description"], "Attach volume data at /data");
    let busy = platform.api("DELETE", "/apps/shop/volumes/data", None);
    assert!(busy.status == 409 && busy.text.contains("volumes:detach data"), "{}", busy.text);
    refused(&platform, "/apps/shop/volumes/none/actions/attach", json!({ "path": "/x" }), 404, "find that volume");
    refused(&platform, own, json!({ "from_trash": "01234567-89ab-4def-8123-456789abcdef" }), 404, "not in your trash");
}

#[test]
fn a_volume_does_not_go_where_a_link_in_the_slug_leads() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = Platform::start();
    platform.create("shop");
    done(&platform, &["volumes:create", "data", "-a", "shop"]);
    done(&platform, &["volumes:attach", "data", "/app/link/inner", "-a", "shop"]);
    let repo = Repo::empty();
    repo.write("server.py", SERVER).write("Procfile", PROCFILE).write("other/file", "");
    // One that leads out of the tree is refused by the push already.
    std::os::unix::fs::symlink("other", repo.dir.path().join("link")).unwrap();
    repo.commit("a link");
    let (ok, text) = repo.push(&platform, "shop", "main");
    assert!(!ok, "{text}");
    platform.wait_log("shop", "Error R99 (Platform error)");
    let id = platform.api("GET", "/apps/shop/volumes/data", None).json()["id"].as_str().unwrap().to_string();
    let data = platform.data_dir().join("volumes").join(id).join("data");
    assert_eq!(fs::read_dir(data).unwrap().count(), 0, "no dyno ran with it");
    assert!(!platform.log("shop").contains("to up"), "none came up");
}

#[test]
fn copies_and_the_trash_by_the_command_line() {
    let platform = Platform::start();
    platform.create("shop");
    done(&platform, &["volumes:create", "data", "-a", "shop"]);
    done(&platform, &["volumes:attach", "data", "/data", "-a", "shop"]);
    done(&platform, &["volumes:detach", "data", "/data", "-a", "shop"]);
    let id = platform.api("GET", "/apps/shop/volumes/data", None).json()["id"].as_str().unwrap().to_string();
    let folder = platform.data_dir().join("volumes").join(&id);
    fs::create_dir_all(folder.join("data")).unwrap();
    fs::write(folder.join("data/file"), "kept").unwrap();
    done(&platform, &["volumes:snapshot", "data", "-a", "shop"]);
    let listed = done(&platform, &["volumes:snapshots", "data", "-a", "shop"]);
    assert!(listed.contains("s1") && listed.contains("ready"), "{listed}");
    let copies = || fs::read_dir(folder.join("snapshots")).unwrap().count();
    assert_eq!(copies(), 1);
    done(&platform, &["volumes:snapshots:destroy", "data", "s1", "-a", "shop", "--confirm", "s1"]);
    eventually("its files go, too", || (copies() == 0).then_some(()));
    let told = done(&platform, &["volumes:destroy", "data", "-a", "shop", "--confirm", "data"]);
    assert!(told.contains("volumes:adopt"), "{told}");
    assert!(done(&platform, &["volumes:list", "--trash"]).contains(&id));
    done(&platform, &["volumes:adopt", &id, "--name", "again", "-a", "shop"]);
    assert!(done(&platform, &["volumes", "-a", "shop"]).contains("again"));
    assert!(done(&platform, &["volumes:list", "--trash"]).contains("empty"));
    assert_eq!(fs::read_to_string(folder.join("data/file")).unwrap(), "kept");
}

#[test]
fn a_folder_that_no_row_names_is_left_alone_and_told() {
    let mut platform = Platform::start();
    let folder = platform.data_dir().join("volumes/0190a1b2-0000-7000-8000-000000000001");
    fs::create_dir_all(folder.join("data")).unwrap();
    fs::write(folder.join("data/kept"), "the only copy").unwrap();
    platform.signal("KILL");
    platform.wait_end();
    platform.boot();
    eventually("it is told", || platform.output().contains("engine.volume_unknown").then_some(()));
    // A change makes it look around; the copy that is done then shows that it has.
    platform.create("shop");
    done(&platform, &["volumes:create", "data", "-a", "shop"]);
    done(&platform, &["volumes:snapshot", "data", "-a", "shop"]);
    eventually("it looked around", || {
        platform.api("GET", "/apps/shop/volumes/data/snapshots", None).text.contains("ready").then_some(())
    });
    assert_eq!(fs::read_to_string(folder.join("data/kept")).unwrap(), "the only copy");
}
