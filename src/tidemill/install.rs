//! Debian packages that `demo` needs; installed when that is possible, named when it is not.

use anyhow::{Context, Result, bail};
use std::process::{Command, Stdio};

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Makes sure that programs are there; each is named with its package. Says what it does.
pub fn ensure(programs: &[(&str, &str)]) -> Result<()> {
    let missing: Vec<&str> = programs.iter().filter(|(program, _)| !is_there(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if !is_there("apt-get") || std::fs::metadata("/root").is_ok_and(|_| std::fs::read_dir("/root").is_err()) {
        bail!("these packages are needed: {list}. Install them and try again");
    }
    println!("Installing Debian packages by apt-get: {list}");
    for args in [&["update", "-qq"][..], &["install", "-y", "-qq", "--no-install-recommends"]] {
        let mut command = Command::new("apt-get");
        command.args(args).env("DEBIAN_FRONTEND", "noninteractive").stdout(Stdio::null());
        if args[0] == "install" {
            command.args(&missing);
        }
        let status = command.status().context("run apt-get")?;
        if !status.success() {
            bail!("apt-get {} failed; install {list} and try again", args[0]);
        }
    }
    Ok(())
}
