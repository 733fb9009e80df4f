//! Builds the program that is PID 1 of containers (`docker/init`): by itself and statically, since it must run in any image.

use std::{
    io::{Error, Result, Write},
    path::PathBuf,
    process::Command,
};

fn main() -> Result<()> {
    let mut cargo = std::io::stdout();
    cargo.write_all(b"cargo:rerun-if-changed=docker/init\ncargo:rerun-if-changed=build.rs\n")?;
    let variable = |name: &str| std::env::var_os(name).ok_or_else(|| Error::other(format!("cargo does not set {name}")));
    let out = PathBuf::from(variable("OUT_DIR")?).join("init");
    let mut rustc = Command::new(variable("RUSTC")?);
    rustc.args(["--edition", "2024", "--crate-name", "init", "--crate-type", "bin", "docker/init/main.rs"]);
    rustc.args(["-C", "opt-level=s", "-C", "panic=abort", "-C", "strip=symbols", "-C", "target-feature=+crt-static"]);
    rustc.args(["-C", "relocation-model=static", "--target"]).arg(variable("TARGET")?).arg("-o").arg(&out);
    if let Some(linker) = std::env::var_os("RUSTC_LINKER") {
        let mut option = std::ffi::OsString::from("linker=");
        option.push(linker);
        rustc.arg("-C").arg(option);
    }
    if rustc.status()?.success() {
        return Ok(());
    }
    Err(Error::other("docker/init was not built; it needs the static C library, Debian package libc6-dev"))
}
