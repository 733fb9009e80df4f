//! Imported root file systems: an app is built and run on one.

use crate::support::*;
use serde_json::json;
use std::{collections::BTreeSet, fs, path::Path, process::Command};

/// Programs that the buildpack of the test needs.
const PROGRAMS: &[&str] = &[
    "bash", "basename", "cat", "chmod", "cp", "cut", "dirname", "env", "find", "grep", "head", "id", "ls", "mkdir", "mv", "rm",
    "sed", "sleep", "sort", "tail", "touch", "tr", "uname", "wc",
];

fn ldd(program: &Path) -> BTreeSet<String> {
    let output = Command::new("ldd").arg(program).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.split_whitespace().filter(|word| word.starts_with('/')).map(String::from).collect()
}

/// A small system made of the host's programs, which says that it is another one.
fn small_system(dir: &Path) -> std::path::PathBuf {
    let root = dir.join("small");
    fs::create_dir_all(root.join("usr/bin")).unwrap();
    fs::create_dir_all(root.join("etc")).unwrap();
    fs::write(root.join("etc/os-release"), "NAME=\"A small system\"\n").unwrap();
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/bash\nlocal:x:7:7::/:/bin/bash\n").unwrap();
    std::os::unix::fs::symlink("usr/bin", root.join("bin")).unwrap();
    let mut libraries = BTreeSet::new();
    for program in PROGRAMS {
        let from = Path::new("/usr/bin").join(program);
        fs::copy(&from, root.join("usr/bin").join(program)).unwrap();
        libraries.extend(ldd(&from));
    }
    std::os::unix::fs::symlink("bash", root.join("usr/bin/sh")).unwrap();
    for library in libraries {
        let to = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(&library, to).unwrap();
    }
    let tar = dir.join("small.tar.gz");
    assert!(Command::new("tar").arg("-czf").arg(&tar).arg("-C").arg(&root).arg(".").status().unwrap().success());
    tar
}

#[test]
fn an_app_is_built_and_run_on_an_imported_stack() {
    if !root_or_skip("importing a root file system") {
        return;
    }
    let platform = Platform::start();
    let tar = small_system(platform.dir.path());
    let import = |name: &str, file: &Path| {
        let data = platform.dir.path().join("data");
        Command::new(BIN).args(["stack:import", name]).arg(file).arg("--data-dir").arg(data).output().unwrap()
    };
    let imported = import("small", &tar);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));
    assert_eq!(import("broken", Path::new("/etc/hostname")).status.code(), Some(1));
    let stacks = platform.api("GET", "/stacks", None).json();
    let names: Vec<&str> = stacks.as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["heroku-24", "small"]);

    platform.create("shop");
    assert_eq!(platform.api("PATCH", "/apps/shop", Some(json!({ "build_stack": "none" }))).status, 422);
    assert!(platform.cli(&["stack:set", "small", "-a", "shop"]).status.success());
    let shown = String::from_utf8(platform.cli(&["stack", "-a", "shop"]).stdout).unwrap();
    assert_eq!(shown, "  heroku-24\n* small\n");
    let repo = Repo::empty();
    repo.write("bin/detect", "#!/bin/bash\necho Mine\n").write("bin/release", "#!/bin/bash\necho '--- {}'\n");
    repo.write(
        "bin/compile",
        "#!/bin/bash\necho \"-----> On $(cat /etc/os-release) with $STACK\"; cat /etc/os-release > $1/built-on\n",
    );
    repo.write("Procfile", "worker: cat /app/built-on /etc/os-release; grep -c local /etc/passwd; touch /etc/x || sleep 100\n");
    repo.commit("pack");
    let pack = Repo::empty();
    for script in ["detect", "compile", "release"] {
        fs::create_dir_all(pack.dir.path().join("bin")).unwrap();
        fs::copy(repo.dir.path().join("bin").join(script), pack.dir.path().join("bin").join(script)).unwrap();
    }
    pack.commit("pack");
    let url = format!("file://{}", pack.dir.path().display());
    assert!(platform.cli(&["buildpacks:set", &url, "-a", "shop"]).status.success());
    let text = repo.deploy(&platform, "shop");
    assert!(text.contains("Building on the Small stack") && text.contains("A small system\" with small"), "{text}");
    platform.api("PATCH", "/apps/shop/formation/worker", Some(json!({ "quantity": 2 })));
    for dyno in ["worker.1", "worker.2"] {
        let log = platform.wait_log("shop", &format!("app[{dyno}]: touch: cannot touch '/etc/x'"));
        let lines: Vec<&str> = log.lines().filter(|l| l.contains(&format!("app[{dyno}]"))).collect();
        let words = ["NAME=\"A small system\"", "NAME=\"A small system\"", ": 1", "Read-only file system"];
        assert!(lines.len() == 4 && lines.iter().zip(words).all(|(line, word)| line.contains(word)), "{lines:#?}");
    }
    // A release knows its stack: back on the host's, the old one still runs on this.
    assert_eq!(platform.api("PATCH", "/apps/shop", Some(json!({ "build_stack": "heroku-24" }))).status, 200);
    assert_eq!(platform.api("DELETE", "/apps/shop/dynos", None).status, 202);
    eventually("restarted on its own stack", || {
        (platform.log("shop").matches("app[worker.1]: NAME=\"A small system\"").count() == 4).then_some(())
    });
}
