//! Git: what is built, what is refused, and what stays whole.

use crate::support::{Platform, Repo, eventually, root_or_skip};
use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Instant,
};

#[test]
fn branches_tags_clones_and_refusals() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let platform = Platform::start();
    platform.create("shop");
    let repo = Repo::of("procfile");
    repo.write("a b\nc.txt", "newline in the name");
    repo.commit("odd names");
    let (ok, text) = repo.push(&platform, "shop", "main:refs/heads/$(touch x)");
    assert!(!ok, "git itself refuses such a name: {text}");
    let (ok, text) = repo.push(&platform, "shop", "main:feature");
    assert!(ok && text.contains("Pushed to branch other than [main, master], skipping build."), "{text}");
    repo.git(&["tag", "v1"]);
    assert!(repo.push(&platform, "shop", "v1").0);
    assert_eq!(platform.api("GET", "/apps/shop/builds", None).json().as_array().unwrap().len(), 0);
    repo.deploy(&platform, "shop");
    let (ok, text) = repo.push(&platform, "shop", "main");
    assert!(ok && text.contains("Everything up-to-date"), "{text}");
    let (ok, text) = repo.push(&platform, "shop", ":main");
    assert!(!ok && text.contains("Push rejected, cannot delete master branch"), "{text}");
    assert!(repo.push(&platform, "shop", ":feature").0);

    let clone = tempfile::tempdir().unwrap();
    let cloned =
        repo.command().args(["clone", "--quiet", &platform.git_url("shop")]).arg(clone.path().join("c")).output().unwrap();
    assert!(cloned.status.success(), "{}", String::from_utf8_lossy(&cloned.stderr));
    let tree = |dir: &std::path::Path| {
        let output = repo.command().arg("-C").arg(dir).args(["rev-parse", "HEAD^{tree}"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(tree(&clone.path().join("c")), tree(repo.dir.path()));

    let shallow = tempfile::tempdir().unwrap();
    repo.commit("two");
    let made = repo
        .command()
        .args(["clone", "--quiet", "--depth", "1"])
        .arg(format!("file://{}", repo.dir.path().display()))
        .arg(shallow.path().join("s"))
        .status();
    assert!(made.unwrap().success());
    let pushed = repo
        .command()
        .arg("-C")
        .arg(shallow.path().join("s"))
        .args(["push", "--force", &platform.git_url("shop"), "HEAD:main"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&pushed.stderr);
    assert!(
        !pushed.status.success()
            && text.contains("shallow clone. Unshallow it with")
            && text.contains("shallow update not allowed"),
        "{text}"
    );
}

#[test]
fn who_may_not_push_is_told_so() {
    let platform = Platform::start();
    platform.create("shop");
    let repo = Repo::of("procfile");
    let push = |url: String| {
        let output = repo.command().args(["push", &url, "main"]).output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (ok, text) = push(format!("http://x:wrong@127.0.0.1:{}/shop.git", platform.port));
    assert!(!ok && text.contains("Authentication failed"), "{text}");
    let (ok, text) = push(platform.git_url("no-such-app"));
    assert!(!ok && text.contains("No such app as no-such-app."), "{text}");
    for name in ["..%2f..%2fetc", "%24(x)", "shop%00", "shop.git%2finfo"] {
        let (ok, text) = push(platform.git_url(name));
        assert!(!ok && !text.contains("panicked"), "{name}: {text}");
    }
    let first = platform.request("GET", "/shop.git/info/refs?service=git-receive-pack", &[], None);
    assert_eq!((first.status, first.header("www-authenticate")), (401, "Basic realm=\"Tidemill\""));
    let unknown = platform.request("GET", "/nope.git/info/refs?service=git-receive-pack", &[], None);
    assert_eq!(unknown.status, 401, "who has no token learns nothing about apps");
}

#[test]
fn an_oversized_push_is_refused_clearly() {
    let platform = Platform::start_with(&["--push-mb-max", "1"]);
    platform.create("shop");
    let repo = Repo::of("procfile");
    let mut random = fastrand::Rng::with_seed(7);
    let noise: Vec<u8> = (0..3_000_000).map(|_| random.u8(..)).collect();
    std::fs::write(repo.dir.path().join("noise"), noise).unwrap();
    repo.commit("large");
    let (ok, text) = repo.push(&platform, "shop", "main");
    assert!(!ok && text.contains("exceeds maximum allowed size"), "{text}");
    assert_eq!(platform.api("GET", "/apps/shop/builds", None).json().as_array().unwrap().len(), 0);
}

#[test]
fn a_small_push_that_unpacks_to_a_huge_tree_is_refused() {
    if !root_or_skip("running git") {
        return;
    }
    let platform = Platform::start_with(&["--tree-mb-max", "8"]);
    platform.create("shop");
    let repo = Repo::of("procfile");
    // 20 KiB in the pack; headers and padding may come on top of the limit, as much again at most.
    std::fs::File::create(repo.dir.path().join("zeros")).unwrap().set_len(20 << 20).unwrap();
    repo.commit("bomb");
    let (ok, text) = repo.push(&platform, "shop", "main");
    assert!(!ok && text.contains("Push rejected, the commit unpacks to more than 8 MiB"), "{text}");
    let left = std::fs::read_dir(platform.dir.path().join("data/uploads")).unwrap().count();
    assert_eq!(left, 0, "no piece of it is left");
    repo.git(&["reset", "--hard", "HEAD~1"]);
    repo.deploy(&platform, "shop");
}

/// Makes builds of `shop` print a line, wait, and print another. The answer is the buildpack, to be kept until then.
pub fn slow_build(platform: &Platform, seconds: u32) -> Repo {
    let pack = Repo::empty();
    pack.write("bin/detect", "#!/bin/sh\necho Slow\n");
    pack.write("bin/compile", &format!("#!/bin/sh\necho first-line\nsleep {seconds}\necho last-line\n"));
    pack.commit("pack");
    let set = serde_json::json!({ "updates": [{ "buildpack": format!("file://{}", pack.dir.path().display()) }] });
    assert_eq!(platform.api("PUT", "/apps/shop/buildpack-installations", Some(set)).status, 200);
    pack
}

#[test]
fn output_streams_while_it_is_built_and_a_pusher_who_leaves_stops_nothing() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let platform = Platform::start();
    platform.create("shop");
    let _pack = slow_build(&platform, 3);
    let repo = Repo::of("procfile");
    let mut child = repo.command().args(["push", &platform.git_url("shop"), "main"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|l| l.contains("first-line")));
    let (seen, begun) = (Instant::now(), std::time::Duration::from_secs(1));
    assert!(lines.any(|l| l.contains("last-line")));
    assert!(seen.elapsed() > begun, "the first line came while the build ran");
    child.wait().unwrap();
    eventually("live", || platform.web("shop", "/").text.contains("hello").then_some(()));

    repo.commit("again");
    let mut child = repo.command().args(["push", &platform.git_url("shop"), "main"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|l| l.contains("first-line")));
    // Git's helper does the talking; both go.
    let _ = Command::new("pkill").args(["-9", "-P", &child.id().to_string()]).status();
    child.kill().unwrap();
    child.wait().unwrap();
    eventually("the release of the pusher who left", || {
        let releases = platform.api("GET", "/apps/shop/releases", None).json();
        (releases.as_array().unwrap().len() == 4).then_some(())
    });
    let head = repo.git(&["rev-parse", "HEAD"]);
    eventually("the branch moved too", || {
        let remote = repo.git(&["ls-remote", &platform.git_url("shop"), "refs/heads/main"]);
        remote.starts_with(&head).then_some(())
    });
}

#[test]
fn two_pushes_at_once_are_built_one_after_the_other_and_the_stale_one_is_refused() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let platform = Platform::start();
    platform.create("shop");
    let _pack = slow_build(&platform, 2);
    let (one, two) = (Repo::of("procfile"), Repo::of("procfile"));
    two.commit("another history");
    let first = std::thread::scope(|scope| {
        let first = scope.spawn(|| one.push(&platform, "shop", "main"));
        eventually("the first build", || {
            (!platform.api("GET", "/apps/shop/builds", None).json().as_array().unwrap().is_empty()).then_some(())
        });
        let second = two.push(&platform, "shop", "main");
        assert!(
            !second.0 && second.1.contains("waiting in line") && second.1.contains("another push moved the branch"),
            "{}",
            second.1
        );
        first.join().unwrap()
    });
    assert!(first.0, "{}", first.1);
    assert_eq!(platform.api("GET", "/apps/shop/builds", None).json().as_array().unwrap().len(), 1);
}
