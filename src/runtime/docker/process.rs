//! The main process of a container as the host sees it. Signals go to it directly where that is possible, which also works
//! while the engine's API does not.

use crate::native::cgroup::Group;
use std::{
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};
use tokio::io::{Interest, unix::AsyncFd};

/// Sends a signal to PID 1 of a container. False when it is not on this host, not ours, or gone.
pub fn send(pid: i32, container: &str, signal: i32) -> bool {
    let Ok(handle) = open(pid) else { return false };
    // Looked at with the handle open: a number may be used again, a handle stays with its process.
    if !is_of(pid, container) {
        return false;
    }
    // SAFETY: the descriptor is open, and no information is attached.
    let sent = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, handle.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    sent == 0
}

/// Returns when PID 1 of a container has ended; never when it is not on this host.
pub async fn gone(pid: i32, container: &str) {
    let handle = open(pid).ok().filter(|_| is_of(pid, container));
    // SAFETY: the descriptor is owned, and nothing replaces or closes it while it is registered.
    let handle = handle.and_then(|handle| unsafe { AsyncFd::register_with_interest(handle, Interest::READABLE) }.ok());
    let Some(handle) = handle else { return std::future::pending().await };
    let _ = handle.readable().await; // an error is as good as an end: the engine is only asked to look
}

/// Does PID 1 of a container take signals? Before it blocks them the kernel drops them, and before it is executed the
/// process is that of the engine's helper.
pub fn listens(pid: i32) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { return true }; // not on this host, or gone
    if status.lines().next() != Some("Name:\tinit") {
        return false;
    }
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    blocked.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_none_or(|mask| mask & (1 << (libc::SIGUSR1 - 1)) != 0)
}

fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers; a new descriptor belongs to nobody yet.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
        Ok(OwnedFd::from_raw_fd(fd))
    }
}

/// The engine names the control group of a container after its id.
pub fn is_of(pid: i32, container: &str) -> bool {
    !container.is_empty() && fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(container))
}

/// Control group of the container with this main process.
pub fn group(pid: i32, container: &str) -> Option<Group> {
    is_of(pid, container).then(|| Group::of_process(pid))?
}
