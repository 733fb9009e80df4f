//! `kill -9` of the daemon at random moments, again and again, under dynos that write all the time and are scaled, restarted
//! and deployed meanwhile: no dyno may die of it, no line may be lost or come twice, nothing may be left.
//! `TIDEMILL_KILLS=200` makes it the long one.

use crate::support::*;
use serde_json::json;
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Of the app that nobody touches, and of the other, which has one more or less at times. In containers fewer: the engine
/// keeps every line once more.
const WRITERS: (usize, usize) = (16, 4);
const WRITERS_IN_CONTAINERS: (usize, usize) = (4, 2);
/// Prints numbered lines, about half a MB a second, and says what signals it got. Its run is named by its start.
const WRITER: &str = r#"
import os, signal, sys, time
run = os.environ["DYNO"] + "-" + str(time.time_ns())
for n in (signal.SIGHUP, signal.SIGINT, signal.SIGUSR1, signal.SIGPIPE):
    signal.signal(n, lambda n, f: print("SIGNAL", n, flush=True))
ending = []
signal.signal(signal.SIGTERM, lambda n, f: ending.append(1))
line = 0
while not ending:
    for _ in range(25):
        line += 1
        sys.stdout.write(f"{run} {line} {'x' * 1600}\n")
    sys.stdout.flush()
    time.sleep(0.08)
print(f"{run} {line + 1} last", flush=True)
"#;

/// All lines that are kept of an app: number, source, process and message.
fn kept(platform: &Platform, app: &str) -> Vec<String> {
    let asked = json!({ "all": true, "format": "json" });
    let session = platform.api("POST", &format!("/apps/{app}/log-sessions"), Some(asked)).json();
    let url = session["logplex_url"].as_str().unwrap().to_string();
    let answer = platform.request("GET", &url[url.find("/streams").unwrap()..], &[], None);
    let line = |line: &str| -> String {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let part = |name: &str| line[name].as_str().unwrap_or_default().to_string();
        format!("{} {} {} {}", line["seq"], part("source"), part("ps"), part("message"))
    };
    answer.text.lines().map(line).collect()
}

/// What dynos leave on a host when nobody cleans up: control groups, mounts, network devices, holders.
fn traces() -> BTreeMap<&'static str, usize> {
    let count = |command: &str, args: &[&str]| {
        let output = Command::new(command).args(args).output().unwrap();
        String::from_utf8_lossy(&output.stdout).lines().count()
    };
    BTreeMap::from([
        ("control groups", count("find", &["/sys/fs/cgroup", "-type", "d", "-path", "*/tidemill/*"])),
        ("mounts", fs::read_to_string("/proc/self/mounts").unwrap().lines().count()),
        (
            "network devices",
            fs::read_dir("/sys/class/net")
                .unwrap()
                .flatten()
                .filter(|d| d.file_name().to_string_lossy().starts_with("tm-"))
                .count(),
        ),
        ("holders", count("pgrep", &["-f", "^tidemill-hold"])),
    ])
}

fn signature(path: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(path).unwrap().flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn crash_17_8_dynos_and_lines_outlive_many_kills() {
    let before = traces();
    on_both_drivers(&[], |platform| kill_again_and_again(platform, &before));
}

fn kill_again_and_again(platform: &mut Platform, before: &BTreeMap<&str, usize>) {
    let (writers, busy) = if platform.in_containers() { WRITERS_IN_CONTAINERS } else { WRITERS };
    let kills: u32 = std::env::var("TIDEMILL_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    let seed = std::env::var("TIDEMILL_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed}, {kills} kills");
    let mut random = fastrand::Rng::with_seed(seed);
    let repo = Repo::empty();
    repo.write("writer.py", WRITER);
    repo.write("Procfile", "worker: exec python3 writer.py\nother: exec python3 writer.py\n");
    repo.commit("writer");
    for app in ["still", "busy"] {
        platform.create(app);
        repo.deploy(platform, app);
        let size = if app == "still" { writers } else { busy };
        assert_eq!(
            platform.api("PATCH", &format!("/apps/{app}/formation/worker"), Some(json!({ "quantity": size }))).status,
            200
        );
    }
    let dynos = |platform: &Platform, app: &str| {
        let all = platform.api("GET", &format!("/apps/{app}/dynos"), None).json();
        let up = |d: &&serde_json::Value| d["state"] == "up";
        let ids: Vec<String> =
            all.as_array().unwrap().iter().filter(up).map(|d| d["id"].as_str().unwrap().to_string()).collect();
        ids
    };
    let still = eventually("all writers are up", || Some(dynos(platform, "still")).filter(|ids| ids.len() == writers));
    let (started, mut pushes) = (Instant::now(), 0);
    for kill in 0..kills {
        let mut push = None;
        match random.u8(..5) {
            0 => drop(platform.api(
                "PATCH",
                "/apps/busy/formation/worker",
                Some(json!({ "quantity": random.usize(busy - 1..=busy + 1) })),
            )),
            1 => drop(platform.api("DELETE", "/apps/busy/dynos", None)),
            2 => drop(platform.api("PATCH", "/apps/busy/config-vars", Some(json!({ "ROUND": kill.to_string() })))),
            3 => {
                repo.write("round", &kill.to_string()).commit("round");
                // Cut short by the kill, or not: its app is the old one or the new one.
                let mut git = repo.command();
                git.args(["push", "-f", &platform.git_url("busy"), "main"]).stdout(Stdio::null()).stderr(Stdio::null());
                push = Some(git.spawn().unwrap());
            }
            _ => {}
        }
        let longest = if push.is_some() { 2500 } else { 250 };
        std::thread::sleep(Duration::from_millis(random.u64(0..longest)));
        platform.signal("KILL");
        platform.wait_end();
        let deployed = push.is_some_and(|mut push| push.wait().unwrap().success());
        pushes += u32::from(deployed);
        std::thread::sleep(Duration::from_millis(random.u64(0..60)));
        platform.boot();
    }
    let spent = started.elapsed();
    let after = eventually("all are taken back", || Some(dynos(platform, "still")).filter(|ids| ids.len() == writers));
    assert_eq!(after, still, "no dyno died or was replaced");
    // Each kill may have come before a container of it was started; now nothing keeps it.
    eventually("busy writes after the last kill", || {
        (kept(platform, "busy").iter().filter(|line| line.contains(" app worker.")).count() > 1000).then_some(())
    });
    for app in ["still", "busy"] {
        platform.api("PATCH", &format!("/apps/{app}/formation/worker"), Some(json!({ "quantity": 0 })));
        eventually("all are gone", || {
            platform.api("GET", &format!("/apps/{app}/dynos"), None).json().as_array()?.is_empty().then_some(())
        });
    }
    let data = platform.dir.path().join("data");
    eventually("no cage is left", || platform.cages().is_empty().then_some(()));
    eventually("no folder is left", || (signature(&data.join("dynos")).is_empty()).then_some(()));
    let total: u64 = ["still", "busy"].iter().map(|app| check(app, &kept(platform, app))).sum();
    assert!(!platform.output().contains("logs.queue_full"), "lines were lost before the disk");
    println!(
        "{kills} kills in {spent:.1?} under {} dynos, {pushes} pushes went through: no dyno died; {total} lines, none lost, none twice",
        writers + busy
    );
    platform.stop();
    let after = traces();
    assert!(after.iter().all(|(what, count)| *count <= before[what]), "something is left on the host: {before:?}, {after:?}");
}

/// Every run of every writer is complete up to its last line, in order, each line once, and the numbers of the log itself
/// have no gap. Returns how many lines of writers there are.
fn check(app: &str, lines: &[String]) -> u64 {
    let mut runs: HashMap<String, (u64, bool)> = HashMap::new();
    let (mut total, mut last_seq) = (0, 0);
    for line in lines {
        let seq: u64 = line.split(' ').next().unwrap().parse().unwrap();
        assert!(seq == last_seq + 1, "{app}: the log goes from {last_seq} to {seq}");
        last_seq = seq;
        let Some((_, text)) = line.split_once(" app worker.") else { continue };
        let fields: Vec<&str> = text.splitn(4, ' ').collect();
        assert!(!text.contains("SIGNAL"), "{app}: a dyno got a signal: {line}");
        let (run, number) = (fields[1], fields[2].parse::<u64>().unwrap());
        let (before, _) = runs.get(run).copied().unwrap_or((0, false));
        assert!(number == before + 1, "{app}: {run} goes from {before} to {number}");
        runs.insert(run.into(), (number, fields[3] == "last"));
        total += 1;
    }
    assert!(total > 1000, "{app}: only {total} lines");
    let open: Vec<_> = runs.iter().filter(|(_, (_, last))| !last).collect();
    assert!(open.is_empty(), "{app}: the last lines are missing of {open:?}");
    total
}
