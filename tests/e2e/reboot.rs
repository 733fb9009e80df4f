//! A reboot of the host: everything that should run comes back by itself, so many at a time.

use crate::support::{Platform, Repo, eventually, root_or_skip};
use serde_json::json;
use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

const APPS: usize = 10;
const DYNOS: usize = 3 * APPS;
const AT_ONCE: i32 = 4;

/// Needs a while until it accepts.
const PROCFILE: &str = "web: sleep 0.4; exec python3 -u -m http.server $PORT --bind 0.0.0.0\nworker: exec sleep 3600\n";

fn app(n: usize) -> String {
    format!("app-{n}")
}

fn cages(platform: &Platform) -> BTreeSet<String> {
    let entries = fs::read_dir(platform.dir.path().join("data/run/dynos")).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Control groups of these dynos that are there.
fn groups(dynos: &BTreeSet<String>) -> Vec<PathBuf> {
    let found = Command::new("find").args(["/sys/fs/cgroup", "-type", "d", "-path", "*tidemill*"]).output().unwrap();
    let all = String::from_utf8_lossy(&found.stdout).into_owned();
    let ours = |path: &PathBuf| path.file_name().is_some_and(|name| dynos.contains(&*name.to_string_lossy()));
    all.lines().map(PathBuf::from).filter(ours).collect()
}

/// What a reboot does: the daemon and every holder, with all that it holds, are gone; files and folders are not.
fn reboot(platform: &mut Platform) {
    let run = platform.dir.path().join("data/run/dynos");
    let holders: Vec<String> =
        cages(platform).iter().map(|id| fs::read_to_string(run.join(id).join("holder")).unwrap().trim().to_string()).collect();
    platform.signal("KILL");
    platform.wait_end();
    for pid in &holders {
        assert!(Command::new("kill").args(["-KILL", pid]).status().unwrap().success());
    }
    eventually("all holders are gone", || {
        let runs = |pid: &String| {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().is_some_and(|rest| !rest.is_empty() && !rest.starts_with('Z'))
        };
        (!holders.iter().any(runs)).then_some(())
    });
}

/// Times of starts and of ends of booting, from the lines of a log that came after the first `skip`.
fn boots(platform: &Platform, app: &str, skip: usize) -> Vec<(String, i32)> {
    let log = platform.log(app);
    let change = |line: &str| {
        let time = line.split(' ').next().unwrap_or_default().to_string();
        if line.contains(": Starting process with command") {
            Some((time, 1))
        } else {
            line.contains(": State changed from starting to up").then_some((time, -1))
        }
    };
    log.lines().skip(skip).filter_map(change).collect()
}

#[test]
fn after_a_reboot_all_dynos_come_back_a_bounded_number_at_a_time_and_nothing_old_is_left() {
    if !root_or_skip("running dynos") {
        return;
    }
    let mut platform = Platform::start_with(&["--starts-at-once", &AT_ONCE.to_string(), "--capacity-mb", "0"]);
    let repo = Repo::empty();
    repo.write("Procfile", PROCFILE);
    repo.commit("waits");
    for n in 0..APPS {
        platform.create(&app(n));
        repo.deploy(&platform, &app(n));
        let two = json!({ "updates": [{ "type": "worker", "quantity": 2 }] });
        assert_eq!(platform.api("PATCH", &format!("/apps/{}/formation", app(n)), Some(two)).status, 200);
    }
    let up = |platform: &Platform, n: usize| {
        let dynos = platform.api("GET", &format!("/apps/{}/dynos", app(n)), None).json();
        let dynos = dynos.as_array().unwrap().clone();
        dynos.len() == 3 && dynos.iter().all(|d| d["state"] == "up")
    };
    let all_up = |platform: &Platform| (0..APPS).all(|n| up(platform, n)).then_some(());
    eventually("30 dynos", || all_up(&platform));
    let old = cages(&platform);
    assert_eq!(old.len(), DYNOS);
    let lines: Vec<usize> = (0..APPS).map(|n| platform.log(&app(n)).lines().count()).collect();
    let groups_before = groups(&old).len();
    reboot(&mut platform);
    platform.boot();
    eventually("30 dynos again", || all_up(&platform));
    for n in 0..APPS {
        assert_eq!(platform.web(&app(n), "/").status, 200);
    }
    let new = cages(&platform);
    assert_eq!((new.len(), new.intersection(&old).count()), (DYNOS, 0), "no run folder of before is left");
    assert_eq!(groups(&old), Vec::<PathBuf>::new(), "no control group of before is left");
    assert_eq!(groups(&new).len(), groups_before);
    let folders = fs::read_dir(platform.dir.path().join("data/dynos")).unwrap().count();
    assert_eq!(folders, DYNOS, "no unpacked code of before is left");
    let mut changes: Vec<(String, i32)> = (0..APPS).flat_map(|n| boots(&platform, &app(n), lines[n])).collect();
    assert_eq!(changes.len(), 2 * DYNOS, "each started once: {changes:?}");
    changes.sort();
    let (mut now, mut most) = (0, 0);
    for (_, change) in &changes {
        now += change;
        most = most.max(now);
    }
    println!("{DYNOS} dynos of {APPS} apps came back, at most {most} were booting at the same time");
    assert!((2..=AT_ONCE).contains(&most), "{most}: {changes:?}");
}
