//! Git over HTTP and TLS as users have it set up: `.netrc`, the official command line's helper, tokens in addresses; and
//! pushes of every size and shape.

use crate::support::{Platform, Repo, eventually, root_or_skip};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

/// The official command line, if the tests have it (`tests/run` installs it).
pub fn official() -> Option<PathBuf> {
    let found = std::env::var_os("TIDEMILL_TEST_HEROKU").map(PathBuf::from);
    if found.is_none() {
        println!("SKIPPED: the official command line is not here; TIDEMILL_TEST_HEROKU names its program");
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
    }
    found
}

/// Git over TLS on the platform's port; the user trusts the platform's authority.
fn over_tls(platform: &Platform, repo: &Repo) -> Command {
    let mut command = repo.command();
    command.env("GIT_SSL_CAINFO", platform.data_dir().join("keys/tls/ca.pem"));
    command
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A branch that is not built is as good as any to see who is admitted.
fn push_aside(mut command: Command, url: &str) -> (bool, String) {
    let output = command.args(["push", url, "main:aside"]).output().unwrap();
    (output.status.success(), said(&output))
}

#[test]
fn a_token_is_taken_from_netrc_and_from_addresses_over_tls_too() {
    let platform = Platform::start();
    platform.create("shop");
    let repo = Repo::of("procfile");
    let (port, token) = (platform.port, &platform.token);
    let plain = format!("https://localhost:{port}/shop.git");
    let (ok, text) = push_aside(over_tls(&platform, &repo), &plain);
    assert!(!ok && text.contains("could not read Username"), "without a token: {text}");
    let (ok, text) = push_aside(repo.command(), &plain);
    assert!(!ok && text.contains("certificate"), "a certificate that the user does not trust: {text}");

    // HOME is the repository's folder, for git alone.
    let netrc = repo.dir.path().join(".netrc");
    fs::write(&netrc, format!("machine localhost\n  login ana@example.com\n  password {token}\n")).unwrap();
    for url in [&plain, &format!("http://localhost:{port}/shop"), &format!("http://localhost:{port}/shop.git")] {
        let (ok, text) = push_aside(over_tls(&platform, &repo), url);
        assert!(ok, "{url}: {text}");
    }
    fs::write(&netrc, "machine localhost\n  login ana@example.com\n  password wrong\n").unwrap();
    let (ok, text) = push_aside(over_tls(&platform, &repo), &plain);
    assert!(!ok && (text.contains("Authentication failed") || text.contains("could not read Username")), "{text}");
    fs::remove_file(&netrc).unwrap();

    // Git itself sends no token without a user name; others do.
    let header = format!("Basic {}", STANDARD.encode(format!(":{token}")));
    let path = "/shop.git/info/refs?service=git-receive-pack";
    assert_eq!(platform.request("GET", path, &[("authorization", &header)], None).status, 200);
    for who in [format!("heroku:{token}"), format!("api:{token}"), format!("ana%40example.com:{token}")] {
        let (ok, text) = push_aside(over_tls(&platform, &repo), &format!("https://{who}@localhost:{port}/shop.git"));
        assert!(ok, "{text}");
    }
    for who in ["heroku:wrong", "heroku:%00", &format!("{token}:")] {
        let (ok, text) = push_aside(over_tls(&platform, &repo), &format!("https://{who}@localhost:{port}/shop.git"));
        assert!(!ok && !text.contains("No such app"), "{who}: {text}");
    }
}

#[test]
fn the_helper_of_the_official_command_line_signs_git_in() {
    let Some(program) = official() else { return };
    let platform = Platform::start();
    platform.create("shop");
    let repo = Repo::of("procfile");
    let remote = format!("https://localhost:{}/shop.git", platform.port);
    let with_helper = |key: &str| {
        let mut command = over_tls(&platform, &repo);
        let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
        command
            .env("PATH", path)
            .env("HEROKU_API_KEY", key)
            .env("HEROKU_HOST", platform.base().replace("127.0.0.1", "localhost"));
        let helper = format!("credential.https://localhost:{}.helper=!heroku git:credentials", platform.port);
        command.args(["-c", &helper]);
        command
    };
    let (ok, text) = push_aside(with_helper(&platform.token), &remote);
    assert!(ok && text.contains("skipping build"), "{text}");
    let cloned = with_helper(&platform.token).args(["clone", "--quiet", &remote, "again"]).output().unwrap();
    assert!(cloned.status.success(), "{}", said(&cloned));
    let (ok, text) = push_aside(with_helper("wrong"), &remote);
    assert!(!ok && text.contains("Authentication failed"), "{text}");
}

#[test]
fn main_master_and_a_tag_at_once_are_built_once_and_an_empty_commit_again() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let platform = Platform::start();
    platform.create("shop");
    let repo = Repo::of("procfile");
    let main = repo.git(&["rev-parse", "HEAD"]);
    repo.git(&["checkout", "--quiet", "-b", "master"]);
    repo.commit("master is another commit");
    repo.git(&["tag", "v1"]);
    let builds = || platform.api("GET", "/apps/shop/builds", None).json().as_array().unwrap().clone();
    let output = repo.command().args(["push", &platform.git_url("shop"), "master", "main", "v1"]).output().unwrap();
    assert!(output.status.success() && said(&output).contains("Verifying deploy... done."), "{}", said(&output));
    assert_eq!(builds().len(), 1);
    assert_eq!(builds()[0]["source_blob"]["version"], json!(main), "main wins");
    let kept = repo.git(&["ls-remote", &platform.git_url("shop")]);
    assert!(["refs/heads/main", "refs/heads/master", "refs/tags/v1"].iter().all(|name| kept.contains(name)), "{kept}");

    repo.git(&["checkout", "--quiet", "main"]);
    repo.commit("nothing changed");
    repo.deploy(&platform, "shop");
    assert_eq!(builds().len(), 2);
}

#[test]
fn a_failed_build_moves_nothing_and_the_same_push_may_be_repeated() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let platform = Platform::start();
    platform.create("shop");
    let repo = Repo::empty();
    repo.write("README", "no language at all").commit("nothing to build");
    for _ in 0..2 {
        let (ok, text) = repo.push(&platform, "shop", "main");
        assert!(!ok && text.contains("Push rejected to shop.") && text.contains("pre-receive hook declined"), "{text}");
        assert_eq!(repo.git(&["ls-remote", &platform.git_url("shop")]), "");
    }
    assert_eq!(platform.api("GET", "/apps/shop/builds", None).json().as_array().unwrap().len(), 2);
}

#[test]
fn a_pack_that_is_larger_than_a_request_may_be_comes_in_chunks() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let platform = Platform::start();
    platform.create("shop");
    let repo = Repo::of("procfile");
    let mut random = fastrand::Rng::with_seed(7);
    let noise: Vec<u8> = (0..3_000_000).map(|_| random.u8(..)).collect();
    fs::write(repo.dir.path().join("noise"), noise).unwrap();
    repo.commit("3 MB");
    let mut push = over_tls(&platform, &repo);
    push.env("GIT_CURL_VERBOSE", "1").args([
        "push",
        &format!("https://x:{}@localhost:{}/shop.git", platform.token, platform.port),
        "main",
    ]);
    let output = push.output().unwrap();
    let text = said(&output);
    assert!(output.status.success() && text.contains("Verifying deploy... done."), "{text}");
    assert!(text.to_lowercase().contains("transfer-encoding: chunked"), "git sent it in chunks");
    eventually("live", || platform.web("shop", "/").text.contains("hello").then_some(()));
}
