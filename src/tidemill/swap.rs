//! `tidemill machine:swap SIZE`: a swap file, now and after each boot. Builds that need more memory for a moment then go slower
//! instead of being stopped.

use crate::{serve, setup_host::rewritten};
use anyhow::{Context, Result, bail};
use clap::Parser;
use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

const FSTAB: &str = "/etc/fstab";
/// Must stay free beside the file.
const RESERVE: u64 = 1 << 30;

/// Make a swap file
#[derive(Debug, Parser)]
#[command(name = "tidemill machine:swap", version)]
struct Swap {
    /// How much: 512M, 2G
    #[arg(value_parser = bytes)]
    size: u64,
    /// The file
    #[arg(long, default_value = "/swapfile")]
    file: PathBuf,
}

/// `512M` or `2G`, at least 64 MiB.
fn bytes(text: &str) -> Result<u64, String> {
    let (number, unit) = text.split_at(text.len().saturating_sub(usize::from(text.ends_with(['M', 'G']))));
    let shift = if unit == "G" { 30 } else { 20 };
    let size = number.parse::<u64>().ok().and_then(|n| n.checked_mul(1 << shift)).filter(|_| !unit.is_empty());
    size.filter(|size| (64 << 20..=256 << 30).contains(size)).ok_or_else(|| "must be a size from 64M to 256G".into())
}

/// Entry.
pub fn main() -> ExitCode {
    let given: Swap = match serve::flags() {
        Ok(given) => given,
        Err(code) => return code,
    };
    match made(&given) {
        Ok(()) => {
            println!("{} MiB of swap in {}, now and after each boot", given.size >> 20, given.file.display());
            ExitCode::SUCCESS
        }
        Err(e) => {
            eprintln!(" !    No swap was made: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn made(given: &Swap) -> Result<()> {
    let file = &given.file;
    let folder = file.parent().context("the file must be below /")?;
    let space = rustix::fs::statvfs(folder).with_context(|| folder.display().to_string())?;
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    if free < given.size.saturating_add(RESERVE) {
        bail!("{} MiB are free in {}; the file and 1024 MiB beside it must fit. Take less", free >> 20, folder.display());
    }
    // Never over something that is there.
    let new = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file);
    let new = new.with_context(|| format!("make {} (sudo? is there one already?)", file.display()))?;
    let filled = filled(new, given.size).and_then(|()| run("mkswap", &[file])).and_then(|()| run("swapon", &[file]));
    if let Err(e) = filled {
        let _ = fs::remove_file(file); // of no use; the reason is told
        return Err(e);
    }
    remembered(Path::new(FSTAB), file)
}

/// Written out: a file with holes is no swap.
fn filled(mut file: fs::File, size: u64) -> Result<()> {
    let block = vec![0u8; 1 << 20];
    for _ in 0..size >> 20 {
        file.write_all(&block).context("write the file")?;
    }
    file.sync_all().context("write the file")
}

fn run(program: &str, args: &[&PathBuf]) -> Result<()> {
    let output = Command::new(program).args(args).output().with_context(|| format!("run {program}"))?;
    if !output.status.success() {
        bail!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}

/// One line for the next boots, whole or not at all.
fn remembered(fstab: &Path, file: &Path) -> Result<()> {
    let text = match fs::read_to_string(fstab) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        read => read.with_context(|| format!("read {}", fstab.display()))?,
    };
    let name = file.display().to_string();
    if text.lines().any(|line| line.split_whitespace().next() == Some(&name)) {
        return Ok(());
    }
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    rewritten(fstab, format!("{text}{gap}{name} none swap sw 0 0\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_the_line_is_written_once() {
        assert_eq!((bytes("2G"), bytes("512M")), (Ok(2 << 30), Ok(512 << 20)));
        assert!(["", "G", "2", "1M", "2T", "-1G", "999999999999G"].iter().all(|bad| bytes(bad).is_err()));
        let dir = tempfile::tempdir().unwrap();
        let fstab = dir.path().join("fstab");
        fs::write(&fstab, "/dev/sda1 / ext4 defaults 0 1").unwrap();
        for _ in 0..2 {
            remembered(&fstab, Path::new("/swapfile")).unwrap();
        }
        let text = fs::read_to_string(&fstab).unwrap();
        assert_eq!(text, "/dev/sda1 / ext4 defaults 0 1\n/swapfile none swap sw 0 0\n");
        // What can not be read is not replaced.
        fs::write(&fstab, [b'#', 0xff]).unwrap();
        assert!(remembered(&fstab, Path::new("/swapfile")).is_err());
        assert_eq!(fs::read(&fstab).unwrap(), [b'#', 0xff]);
    }

    #[test]
    fn a_file_that_is_there_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("swapfile");
        fs::write(&file, "mine").unwrap();
        assert!(made(&Swap { size: 64 << 20, file: file.clone() }).is_err());
        assert_eq!(fs::read_to_string(file).unwrap(), "mine");
    }
}
