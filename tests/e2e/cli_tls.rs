//! The command line over TLS with the authority of the server: told by a file, or one certificate confirmed by a person.

use crate::support::{BIN, Platform, Repo, root_or_skip};
use ring_free::fingerprint;
use std::{
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

/// What a person would compare.
mod ring_free {
    use std::{path::Path, process::Command};

    pub fn fingerprint(certificate: &Path) -> String {
        let output = Command::new("openssl")
            .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
            .arg(certificate)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim().rsplit('=').next().unwrap().to_string()
    }
}

struct Laptop<'a> {
    platform: &'a Platform,
    home: tempfile::TempDir,
}

impl<'a> Laptop<'a> {
    fn of(platform: &'a Platform) -> Self {
        Self { platform, home: tempfile::tempdir().unwrap() }
    }

    fn base(&self) -> String {
        format!("https://127.0.0.1:{}", self.platform.port)
    }

    fn tls(&self, file: &str) -> PathBuf {
        self.platform.data_dir().join("keys/tls").join(file)
    }

    fn command(&self, program: &str, dir: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var("PATH").unwrap()).env("HOME", self.home.path());
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_CONFIG_NOSYSTEM", "1").current_dir(dir).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        told(&self.command(BIN, self.home.path()).args(args).output().unwrap())
    }

    /// With a terminal, on which `typed` is typed.
    fn at_a_terminal(&self, args: &[&str], typed: &str) -> (i32, String) {
        let line = format!("{BIN} {}", args.join(" "));
        let mut command = self.command("script", self.home.path());
        command.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.as_mut().unwrap().write_all(typed.as_bytes()).unwrap();
        let (code, out, err) = told(&child.wait_with_output().unwrap());
        (code, format!("{out}{err}"))
    }
}

fn told(output: &Output) -> (i32, String, String) {
    let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), string(&output.stdout), string(&output.stderr))
}

/// Clones over the remote that the command line makes, with the trust and the token that it told git.
fn git_works(laptop: &Laptop) {
    let repo = Repo::of("procfile");
    let git = |args: &[&str]| told(&laptop.command("git", repo.dir.path()).args(args).output().unwrap());
    let url = format!("{}/shop.git", laptop.base());
    let (code, _, err) = git(&["ls-remote", &url]);
    assert_eq!(code, 0, "{err}");
}

#[test]
fn the_authority_of_a_file_is_trusted_and_kept() {
    let platform = Platform::start();
    platform.create("shop");
    let laptop = Laptop::of(&platform);
    let base = laptop.base();
    let (code, _, err) = laptop.run(&["login", &base, "--token", &platform.token]);
    assert_eq!(code, 2, "{err}");
    for part in ["that this system does not trust", "SHA-256", "--ca FILE", "keys/tls/ca.pem"] {
        assert!(err.contains(part), "{part}: {err}");
    }
    assert!(!laptop.home.path().join(".config/tidemill").exists(), "nothing is kept");
    let ca = laptop.tls("ca.pem").display().to_string();
    let (code, _, err) = laptop.run(&["login", &base, "--token", &platform.token, "--ca", &ca]);
    assert!(code == 0 && err.contains("Signed in to"), "{err}");
    // It is needed once.
    assert_eq!(laptop.run(&["apps"]).1, "shop\n");
    let file = laptop.home.path().join(".config/tidemill/credentials.json");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    git_works(&laptop);
    let (code, _, err) = laptop.run(&["git:clone", "-a", "shop"]);
    assert!(code == 0 && laptop.home.path().join("shop/.git").exists(), "{err}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    assert!(laptop.run(&["apps"]).2.contains("could be read by others"));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let (code, _, err) = laptop.run(&["apps", "--ca", "/nowhere.pem"]);
    assert!(code == 2 && err.contains("/nowhere.pem"), "{err}");
    // Another authority is not trusted, and the message says what to do.
    let other = Platform::start();
    let foreign = other.data_dir().join("keys/tls/ca.pem").display().to_string();
    let (code, _, err) = laptop.run(&["apps", "--ca", &foreign]);
    assert!(code == 6 && err.contains("is not trusted") && err.contains("tidemill login"), "{err}");
    let (code, _, err) = laptop.run(&["logout"]);
    assert!(code == 0 && err.contains("Signed out of"), "{err}");
    assert_eq!(laptop.run(&["apps"]).0, 3);
}

#[test]
fn a_confirmed_certificate_is_kept_and_another_one_is_refused() {
    let mut platform = Platform::start();
    platform.create("shop");
    let (token, home);
    {
        let laptop = Laptop::of(&platform);
        token = platform.token.clone();
        let args = ["login", &laptop.base(), "--token", &token];
        let (code, said) = laptop.at_a_terminal(&args, "no\n");
        assert!(code == 3 && said.contains("Nothing was sent"), "{said}");
        let (code, said) = laptop.at_a_terminal(&args, "yes\n");
        assert!(code == 0 && said.contains(&fingerprint(&laptop.tls("cert.pem"))), "{said}");
        assert_eq!(laptop.run(&["apps"]).1, "shop\n");
        git_works(&laptop);
        home = laptop.home;
    }
    // The same address with another certificate: as somebody between would have it.
    platform.signal("TERM");
    platform.wait_end();
    std::fs::remove_dir_all(platform.data_dir().join("keys/tls")).unwrap();
    platform.boot();
    let laptop = Laptop { platform: &platform, home };
    let (code, out, err) = laptop.run(&["apps"]);
    assert!(code == 6 && err.contains("another certificate"), "{out}{err}");
}

#[test]
fn a_process_is_talked_to_over_tls() {
    if !root_or_skip("running dynos") {
        return;
    }
    let platform = Platform::start();
    platform.create("shop");
    Repo::of("procfile").deploy(&platform, "shop");
    let laptop = Laptop::of(&platform);
    let ca = laptop.tls("ca.pem").display().to_string();
    assert_eq!(laptop.run(&["login", &laptop.base(), "--token", &platform.token, "--ca", &ca]).0, 0);
    let (code, out, err) = laptop.run(&["run", "-a", "shop", "--", "sh", "-c", "echo hello; exit 7"]);
    assert!(code == 7 && out == "hello\n", "{out}{err}");
}
