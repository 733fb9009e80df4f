//! From the holder to the app: the forked child gives up everything, in a fixed order, and executes the command.

use super::{Opened, process::Ends};
use crate::{
    Exec,
    native::{HoldRequest, seccomp},
};
use caps::CapSet;
use nix::{
    errno::Errno,
    sched::{CpuSet, sched_setaffinity},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{SigSet, SigmaskHow, sigprocmask},
        stat::{Mode, umask},
    },
    unistd::{ForkResult, Gid, Pid, Uid, chdir, execve, fork, setgroups, setresgid, setresuid, setsid},
};
use std::{
    ffi::CString,
    io::Write,
    os::fd::{AsRawFd, OwnedFd},
};

/// Most files an app may have open; the soft limit is the same (`runtime.md` section 10).
const FILES_MAX: u64 = 65_536;

/// Starts a command with `ends` as its standard streams; returns its pid in the name space.
pub fn start(request: &HoldRequest, opened: &Opened, exec: &Exec, ends: Ends) -> Result<Pid, String> {
    let c_string = |text: &String| CString::new(text.as_bytes()).map_err(|_| format!("NUL in {text:?}"));
    let argv: Result<Vec<CString>, String> = exec.argv.iter().map(c_string).collect();
    let env: Result<Vec<CString>, String> = exec.env.iter().map(|(k, v)| c_string(&format!("{k}={v}"))).collect();
    let (argv, env) = (argv?, env?);
    let program = argv.first().ok_or("no command")?.clone();
    let filters = seccomp::filters()?;
    let (forked, joined) = match opened.group.as_ref().map(fork_into) {
        Some(Ok(forked)) => (forked, true),
        // Of an older kernel; the other way takes it longer.
        Some(Err(Errno::ENOSYS | Errno::EINVAL)) | None => {
            // SAFETY: this process has one thread, so the child may use everything.
            (unsafe { fork() }.map_err(|e| format!("fork: {e}"))?, false)
        }
        Some(Err(e)) => return Err(format!("fork into the control group: {e}")),
    };
    match forked {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let joined = if joined { Ok(()) } else { join(opened) };
            let failed = joined
                .and_then(|()| give_up(request, exec, &ends, &filters))
                .map(|()| match execve(&program, &argv, &env) {
                    Ok(never) => match never {},
                    Err(e) => (format!("{}: {e}", program.to_string_lossy()), if e == nix::Error::ENOENT { 127 } else { 126 }),
                })
                .unwrap_or_else(|e| (e, 126));
            eprintln!("{}", failed.0);
            // SAFETY: ends the process at once, which is what is wanted after a failed exec.
            unsafe { libc::_exit(failed.1) }
        }
    }
}

/// Of `linux/sched.h`; it does not fit into the type that other flags have.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// A fork that is born in a control group of version 2. Moving there later makes the kernel wait for all processors.
fn fork_into(group: &OwnedFd) -> Result<ForkResult, Errno> {
    // SAFETY: zeros are valid, and mean nothing wanted.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = CLONE_INTO_CGROUP;
    arguments.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    arguments.cgroup = u64::from(group.as_raw_fd().cast_unsigned());
    // SAFETY: no stack and no memory is shared, so this is a fork; this process has one thread, so the child may use
    // everything. The kernel reads a structure of the size given.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>()) };
    match i32::try_from(Errno::result(pid)?) {
        Ok(0) => Ok(ForkResult::Child),
        Ok(pid) => Ok(ForkResult::Parent { child: Pid::from_raw(pid) }),
        Err(_) => Err(Errno::EOVERFLOW),
    }
}

fn join(opened: &Opened) -> Result<(), String> {
    for mut file in &opened.procs {
        file.write_all(b"0").map_err(|e| format!("join control group: {e}"))?;
    }
    Ok(())
}

fn give_up(request: &HoldRequest, exec: &Exec, ends: &Ends, filters: &[seccompiler::BpfProgram]) -> Result<(), String> {
    let text = |what: &'static str| move |e: nix::Error| format!("{what}: {e}");
    let input = ends.input.as_ref().map(|fd| (fd, 0));
    for (fd, number) in [(&ends.output, 1), (&ends.output, 2)].into_iter().chain(input) {
        // SAFETY: both descriptors are open.
        if unsafe { libc::dup2(fd.as_raw_fd(), number) } < 0 {
            return Err(format!("dup2: {}", std::io::Error::last_os_error()));
        }
    }
    setsid().map_err(text("setsid"))?;
    // SAFETY: descriptor 0 is the terminal by now; the request takes a number.
    if ends.terminal && unsafe { libc::ioctl(0, libc::TIOCSCTTY, 0) } < 0 {
        return Err(format!("controlling terminal: {}", std::io::Error::last_os_error()));
    }
    processors(request)?;
    limits(request)?;
    let caps_text = |e: caps::errors::CapsError| e.to_string();
    caps::clear(None, CapSet::Ambient).map_err(caps_text)?;
    caps::clear(None, CapSet::Bounding).map_err(caps_text)?;
    if !request.rootless {
        setgroups(&[]).map_err(text("setgroups"))?;
        let (uid, gid) = (Uid::from_raw(request.uid), Gid::from_raw(request.gid));
        setresgid(gid, gid, gid).map_err(text("setresgid"))?;
        setresuid(uid, uid, uid).map_err(text("setresuid"))?;
    }
    caps::clear(None, CapSet::Effective).map_err(caps_text)?;
    caps::clear(None, CapSet::Permitted).map_err(caps_text)?;
    caps::clear(None, CapSet::Inheritable).map_err(caps_text)?;
    umask(Mode::from_bits_truncate(0o022));
    chdir(&exec.cwd).map_err(|e| format!("{}: {e}", exec.cwd.display()))?;
    // SAFETY: prctl with PR_SET_NO_NEW_PRIVS takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
        return Err(format!("no_new_privs: {}", std::io::Error::last_os_error()));
    }
    reset_signals()?;
    // SAFETY: closes descriptors above the standard ones; nothing of this process uses them any more.
    unsafe { libc::close_range(3, libc::c_uint::MAX, 0) };
    for filter in filters {
        seccompiler::apply_filter(filter).map_err(|e| format!("seccomp: {e}"))?;
    }
    Ok(())
}

/// Ties it to so many processors as its size has, the least used of the host: programs count those to choose a number of
/// workers (`runtime.md` section 4), which a share of time can not tell them.
fn processors(request: &HoldRequest) -> Result<(), String> {
    if request.processors.is_empty() {
        return Ok(());
    }
    let mut set = CpuSet::new();
    for number in &request.processors {
        set.set(*number).map_err(|e| format!("processor {number}: {e}"))?;
    }
    sched_setaffinity(Pid::from_raw(0), &set).map_err(|e| format!("processors: {e}"))
}

fn limits(request: &HoldRequest) -> Result<(), String> {
    let text = |e: nix::Error| format!("setrlimit: {e}");
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(text)?;
    let files = hard.min(FILES_MAX);
    setrlimit(Resource::RLIMIT_NOFILE, files, files).map_err(text)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(text)?;
    if !request.rootless {
        // Counts by user, so it only means something when each dyno has a user of its own. Where dynos of an app share one, the
        // control group counts, and this is the bound of all of them.
        let shared = if request.spec.shares_user() { u64::from(crate::SHARED_USER_DYNOS) } else { 1 };
        let tasks = u64::from(request.spec.limits.tasks_max) * shared;
        setrlimit(Resource::RLIMIT_NPROC, tasks, tasks).map_err(text)?;
    }
    Ok(())
}

/// Ignored signals and the mask survive `exec`: give the app all 64 as new (`runtime.md` section 12, 5).
fn reset_signals() -> Result<(), String> {
    /// The kernel's own shape of it on all of its machines is not longer than this; zeros are the default action.
    const DEFAULT: [u64; 8] = [0; 8];
    for number in 1..=64 {
        // Not by the C library: it keeps signals 32 and 33 for itself and refuses, but a program that was started by its
        // `posix_spawn` ignores them.
        // SAFETY: the kernel reads a valid structure and writes none; signals that can not be changed answer an error, which
        // is right.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, DEFAULT.as_ptr(), std::ptr::null_mut::<u64>(), 8) };
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None).map_err(|e| format!("signal mask: {e}"))
}
