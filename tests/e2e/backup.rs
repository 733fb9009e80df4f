//! Backup and restore with the real binary (`ux.md` J12).

use crate::support::{BIN, Platform, Repo, eventually, root_or_skip};
use serde_json::{Value, json};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

const PASSPHRASE: &str = "a passphrase of the tests";

/// The program on the server: no token, no address, only the data folder.
fn here(dir: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(BIN);
    command.args(args).env_clear().env("PATH", std::env::var("PATH").unwrap()).env("HOME", dir).current_dir(dir);
    command.env("TMPDIR", dir).stdin(Stdio::null()).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn passphrase_file(dir: &Path) -> String {
    let file = dir.join("passphrase");
    fs::write(&file, format!("{PASSPHRASE}\n")).unwrap();
    file.display().to_string()
}

/// `backup create --to dir/name` of the platform.
fn create(platform: &Platform, name: &str) -> (Output, PathBuf) {
    let (dir, to) = (platform.dir.path(), platform.dir.path().join(name));
    let (file, data) = (passphrase_file(dir), platform.data_dir());
    let args = ["backup", "create", "--to", to.to_str().unwrap(), "--passphrase-file", &file];
    (here(dir, &[&args[..], &["--data-dir", data.to_str().unwrap(), "--json"]].concat()), to)
}

fn restore(dir: &Path, file: &Path, data: &Path, passphrase: &str) -> Output {
    let args = ["restore", file.to_str().unwrap(), "--data-dir", data.to_str().unwrap(), "--passphrase-file", passphrase];
    here(dir, &args)
}

/// What must be the same afterwards.
fn facts(platform: &Platform) -> Value {
    let get = |path: &str| platform.api("GET", path, None).json();
    json!({
        "config": get("/apps/shop/config-vars"),
        "releases": get("/apps/shop/releases"),
        "slug": get("/apps/shop/releases/2")["slug"],
        "formation": get("/apps/shop/formation")[0]["quantity"],
        "tokens": get("/oauth/authorizations"),
        "domains": get("/apps/shop/domains"),
        "account": get("/account"),
    })
}

#[test]
fn a_backup_made_under_load_restores_the_same_installation_elsewhere() {
    if !root_or_skip("running dynos") {
        return;
    }
    let mut platform = Platform::start();
    platform.create("shop");
    let repo = Repo::of("static");
    repo.deploy(&platform, "shop");
    let value = "line one\nzwei ü $HOME \"quoted\" \\";
    let set = platform.api("PATCH", "/apps/shop/config-vars", Some(json!({ "BYTES": value })));
    assert_eq!(set.status, 200, "{}", set.text);
    let made = platform.api("POST", "/oauth/authorizations", Some(json!({ "description": "kept" }))).json();
    let kept_token = made["access_token"]["token"].as_str().unwrap().to_string();
    eventually("the app answers", || Some(()).filter(|()| platform.web("shop", "/").status == 200));
    let page = platform.web("shop", "/").text;

    // Visitors and changes go on while the backup is made.
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (began, output, file) = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(platform.web("shop", "/").status, 200);
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
        scope.spawn(|| {
            for n in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let answer = platform.api("POST", "/apps", Some(json!({ "name": format!("other-{n}") })));
                assert_eq!(answer.status, 201, "{}", answer.text);
            }
        });
        let began = Instant::now();
        let (output, file) = create(&platform, "backup.tar.zst");
        stop.store(true, Ordering::Relaxed);
        (began, output, file)
    });
    assert!(output.status.success(), "{}", text(&output));
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    let sum = Command::new("sha256sum").arg(&file).output().unwrap();
    assert!(String::from_utf8_lossy(&sum.stdout).starts_with(made["sha256"].as_str().unwrap()));
    println!(
        "backup of {} bytes in {:?}, {} requests served meanwhile",
        made["bytes"],
        began.elapsed(),
        served.load(Ordering::Relaxed)
    );
    let before = facts(&platform);
    assert_eq!(before["config"]["BYTES"], value);

    // The machine is wiped.
    platform.signal("TERM");
    platform.wait_end();
    let (dir, data) = (platform.dir.path().to_path_buf(), platform.data_dir());
    end_dynos(&dir, &data);
    fs::remove_dir_all(&data).unwrap();

    let began = Instant::now();
    let output = restore(&dir, &file, &data, &passphrase_file(&dir));
    assert!(output.status.success(), "{}", text(&output));
    println!("restored in {:?}:\n{}", began.elapsed(), text(&output));
    platform.boot();
    eventually("the app answers again", || Some(()).filter(|()| platform.web("shop", "/").status == 200));
    println!("serving again after {:?}", began.elapsed());
    assert_eq!(platform.web("shop", "/").text, page);
    assert_eq!(facts(&platform), before);
    let bearer = format!("Bearer {kept_token}");
    assert_eq!(platform.request("GET", "/account", &[("authorization", &bearer)], None).status, 200);
    // The repository came along: what is pushed next builds on what was there.
    repo.write("public/index.html", "second").commit("second");
    repo.deploy(&platform, "shop");
    eventually("the new page", || Some(()).filter(|()| platform.web("shop", "/").text.contains("second")));
}

/// Those of a machine that is no more.
fn end_dynos(dir: &Path, data: &Path) {
    let output = here(dir, &["uninstall", "--only-dynos", "--data-dir", data.to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_backup_that_is_no_good_is_refused_and_writes_nothing() {
    let platform = Platform::start();
    platform.create("shop");
    let (output, file) = create(&platform, "good");
    assert!(output.status.success(), "{}", text(&output));
    let (dir, target) = (platform.dir.path(), platform.dir.path().join("elsewhere"));
    let good = fs::read(&file).unwrap();
    let passphrase = passphrase_file(dir);
    let wrong = dir.join("wrong");
    fs::write(&wrong, "another passphrase\n").unwrap();
    let refused = |file: &Path, passphrase: &str, code: i32, words: &str| {
        let output = restore(dir, file, &target, passphrase);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        assert!(text(&output).contains(words), "{words:?} in {}", text(&output));
        assert!(!target.exists(), "something was written");
    };
    refused(&file, wrong.to_str().unwrap(), 3, "The passphrase does not fit");
    let bad = dir.join("bad");
    for at in [100, good.len() / 2, good.len() - 70_000.min(good.len() / 3)] {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        fs::write(&bad, &bytes).unwrap();
        refused(&bad, &passphrase, 1, "damaged");
    }
    for length in [good.len() / 2, good.len() - 1, good.len() - 20_000.min(good.len() / 4)] {
        fs::write(&bad, &good[..length]).unwrap();
        refused(&bad, &passphrase, 1, "The file is cut");
    }
    fs::write(&bad, "hello").unwrap();
    refused(&bad, &passphrase, 2, "no backup of Tidemill");
    // A folder that is in use is left alone.
    let output = restore(dir, &file, &platform.data_dir(), &passphrase);
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    assert!(text(&output).contains("is not empty"), "{}", text(&output));
    // Nobody to ask.
    let data = platform.data_dir();
    let output = here(dir, &["backup", "create", "--to", "x", "--data-dir", data.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("--passphrase-file"), "{}", text(&output));
    // The good one is still good, and is not written over.
    let (output, _) = create(&platform, "good");
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    let verified = here(dir, &["backup", "verify", file.to_str().unwrap(), "--passphrase-file", &passphrase]);
    assert!(text(&verified).contains("is whole: 1 app, 2 releases, 1 account"), "{}", text(&verified));
    assert_eq!(fs::read(&file).unwrap(), good);
    let list = here(dir, &["backup", "list", "--data-dir", data.to_str().unwrap()]);
    assert!(text(&list).contains("by hand"), "{}", text(&list));
}

/// Data of an app that does not compress, so that a backup takes its time and space.
fn blob(platform: &Platform, bytes: usize) {
    let folder = platform.data_dir().join("volumes/one");
    fs::create_dir_all(&folder).unwrap();
    let content: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(bytes).collect();
    fs::write(folder.join("blob"), content).unwrap();
}

fn files_in(dir: &Path) -> Vec<String> {
    fs::read_dir(dir).unwrap().flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn a_full_disk_ends_a_backup_with_a_clear_word_and_leaves_no_half_file() {
    if !root_or_skip("a small file system") {
        return;
    }
    let platform = Platform::start();
    platform.create("shop");
    blob(&platform, 6 << 20);
    let small = platform.dir.path().join("small");
    fs::create_dir(&small).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&small).status().unwrap();
    assert!(mounted.success());
    let (output, _) = create(&platform, "small/backup");
    let left = files_in(&small);
    assert!(Command::new("umount").arg(&small).status().unwrap().success());
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    assert!(text(&output).contains("No space left on the disk of"), "{}", text(&output));
    assert!(left.is_empty(), "{left:?}");
    // The daemon has not noticed, and where there is space a backup can be made.
    platform.create("second");
    let (output, file) = create(&platform, "backup");
    assert!(output.status.success(), "{}", text(&output));
    // Into a disk that is too small nothing is restored, either.
    assert!(Command::new("mount").args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"]).arg(&small).status().unwrap().success());
    let output = restore(platform.dir.path(), &file, &small, &passphrase_file(platform.dir.path()));
    let left = files_in(&small);
    assert!(Command::new("umount").arg(&small).status().unwrap().success());
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_backup_that_is_killed_leaves_nothing_that_looks_whole_and_the_next_one_clears_up() {
    let platform = Platform::start();
    blob(&platform, 24 << 20);
    let (dir, data) = (platform.dir.path(), platform.data_dir());
    let (to, partial) = (dir.join("backup"), dir.join(".backup.partial"));
    let passphrase = passphrase_file(dir);
    for least in [1, 4 << 20, 12 << 20] {
        let mut child = Command::new(BIN)
            .args(["backup", "create", "--to", to.to_str().unwrap(), "--passphrase-file", &passphrase])
            .args(["--data-dir", data.to_str().unwrap()])
            .env_clear()
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        eventually("it is on its way", || {
            let length = fs::metadata(&partial).map_or(0, |m| m.len());
            (length >= least || child.try_wait().unwrap().is_some()).then_some(())
        });
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!to.exists(), "a file with its name was there before it was tried");
    }
    let verified = here(dir, &["backup", "verify", partial.to_str().unwrap(), "--passphrase-file", &passphrase]);
    assert!(!verified.status.success(), "half a file looks whole");
    let (output, _) = create(&platform, "backup");
    assert!(output.status.success(), "{}", text(&output));
    assert!(to.exists() && !partial.exists());
}

#[test]
fn the_nightly_backup_makes_its_own_passphrase_keeps_so_many_and_its_age_is_told() {
    let platform = Platform::start();
    platform.create("shop");
    let (dir, data) = (platform.dir.path(), platform.data_dir());
    let age = || platform.api("GET", "/metrics", None).text;
    for _ in 0..3 {
        let output = here(dir, &["backup", "nightly", "--data-dir", data.to_str().unwrap(), "--backup-keep", "2"]);
        assert!(output.status.success(), "{}", text(&output));
    }
    let mut kept = files_in(&data.join("backups"));
    kept.retain(|name| name.ends_with(".backup"));
    assert_eq!(kept.len(), 2, "{kept:?}");
    let key = data.join("keys/backup.passphrase");
    let file = data.join("backups").join(&kept[0]);
    let verified = here(dir, &["backup", "verify", file.to_str().unwrap(), "--passphrase-file", key.to_str().unwrap()]);
    assert!(verified.status.success(), "{}", text(&verified));
    let line = age().lines().find(|line| line.starts_with("tidemill_backup_age_seconds ")).map(String::from);
    let seconds: f64 = line.unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    assert!((0.0..120.0).contains(&seconds), "{seconds}");
    let list = here(dir, &["backup", "list", "--data-dir", data.to_str().unwrap()]);
    assert!(text(&list).contains("nightly"), "{}", text(&list));
}
