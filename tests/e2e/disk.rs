//! A dyno that fills the disk.

use crate::support::*;
use serde_json::json;
use std::{fs, process::Command};

/// A small disk of its own.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(megabytes: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={megabytes}m,mode=755"), "none"])
            .arg(dir.path())
            .status();
        assert!(mounted.unwrap().success());
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[test]
fn escape_a_dyno_that_fills_the_disk_is_ended_and_the_others_go_on() {
    if !root_or_skip("making a disk") {
        return;
    }
    let disk = SmallDisk::new(1000);
    let data = disk.0.path().join("data");
    let reserve = ["--data-dir", data.to_str().unwrap(), "--disk-reserve-mb", "200", "--crash-backoff-s", "3600"];
    let platform = Platform::start_with(&reserve);
    platform.create("shop");
    Repo::of("procfile").deploy(&platform, "shop");
    platform.create("hog");
    let repo = Repo::empty();
    // So much a second that the guard is in time, as it is on a disk that is slower than memory.
    let script = "for n in $(seq 100); do head -c 20M /dev/zero >> /tmp/x || echo refused; sleep 0.1; done; sleep 100";
    // The second one takes the name of its file away.
    let hidden = script.replace("for n", "exec 3> /tmp/x; rm /tmp/x; for n").replace(">> /tmp/x", ">&3");
    repo.write("Procfile", &format!("worker: {script}\nhidden: {hidden}\n")).commit("hog");
    repo.deploy(&platform, "hog");
    for ptype in ["worker", "hidden"] {
        platform.api("PATCH", &format!("/apps/hog/formation/{ptype}"), Some(json!({ "quantity": 1 })));
        let log = platform.wait_log("hog", &format!("heroku[{ptype}.1]: State changed from up to crashed"));
        let text = format!("heroku[{ptype}.1]: The disk of the server is almost full and this dyno wrote most");
        assert!(log.contains(&text), "{log}");
        assert!(log.contains(&format!("heroku[{ptype}.1]: Process exited with status 137")), "{log}");
    }
    assert_eq!(platform.web("shop", "/").status, 200);
    assert_eq!(platform.api("PATCH", "/apps/shop/config-vars", Some(json!({ "A": "1" }))).status, 200, "room to write");
    eventually("the room is back", || {
        let left = fs::read_dir(data.join("dynos")).unwrap().count();
        (left == 1).then_some(())
    });
    drop(platform);
}
