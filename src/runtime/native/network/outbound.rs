//! The way out of a cage that has a network name space of its own: `slirp4netns`, which translates in user space, needs no
//! rule on the host and works without root. The host's loopback can not be reached through it.

use nix::{
    fcntl::{FcntlArg, FdFlag, OFlag, fcntl},
    unistd::pipe2,
};
use std::{
    fs::File,
    io::{self, Read},
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::Path,
    process::Stdio,
};

/// Debian package and program.
pub const PROGRAM: &str = "slirp4netns";
/// Where the program answers name queries.
pub const NAME_SERVER: &str = "10.0.2.3";
const PATHS: [&str; 3] = ["/usr/bin/slirp4netns", "/usr/local/bin/slirp4netns", "/bin/slirp4netns"];

fn program() -> Option<&'static Path> {
    PATHS.iter().map(Path::new).find(|path| path.is_file())
}

/// True when the host can do this: the program is there, and this user may use the tunnel device.
pub fn is_available() -> bool {
    program().is_some() && File::options().read(true).write(true).open("/dev/net/tun").is_ok()
}

/// An open way out; closed when dropped, also by the daemon's death, since the program ends with the other end of its pipe.
pub struct WayOut(#[allow(dead_code)] OwnedFd);

impl WayOut {
    /// Opens a way out for the name space of the process `pid`; returns when it can be used.
    pub async fn open(pid: i32) -> io::Result<Self> {
        let program =
            program().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("{PROGRAM} is not installed")))?;
        let (ready_read, ready_write) = pipe2(OFlag::O_CLOEXEC)?;
        let (exit_read, exit_write) = pipe2(OFlag::O_CLOEXEC)?;
        let (ready, exit) = (ready_write.as_raw_fd(), exit_read.as_raw_fd());
        let mut command = tokio::process::Command::new(program);
        command
            .args(["--configure", "--mtu=65520", "--disable-host-loopback"])
            .arg(format!("--ready-fd={ready}"))
            .arg(format!("--exit-fd={exit}"))
            .arg(pid.to_string())
            .arg("tap0")
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        // SAFETY: fcntl is safe to call between fork and exec; the descriptors are open until after the spawn.
        unsafe { command.pre_exec(move || inherit(ready).and_then(|()| inherit(exit))) };
        let mut child = command.spawn()?;
        drop((ready_write, exit_read));
        tokio::spawn(async move {
            let _ = child.wait().await; // only so that it is reaped
        });
        let waited = tokio::task::spawn_blocking(move || File::from(ready_read).read_exact(&mut [0u8]));
        waited.await.map_err(io::Error::other)?.map_err(|_| io::Error::other(format!("{PROGRAM} ended without a network")))?;
        Ok(Self(exit_write))
    }
}

/// Lets a descriptor pass the exec, in the child only.
fn inherit(fd: RawFd) -> io::Result<()> {
    // SAFETY: the caller keeps the descriptor open.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(())
}
