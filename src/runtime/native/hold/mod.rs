//! `tidemill hold`: PID 1 of a dyno's pid name space and its holder in one. It builds the root, starts the command,
//! reaps, holds the log pipe and the exit record, and outlives the daemon (`architecture.md` section 2).
//!
//! ```text
//! daemon --exec--> stage 1 (control groups opened, name spaces unshared) --fork--> holder (PID 1) --fork--> app
//! ```
//! No async runtime, one thread. The holder stays outside the dyno's control group, so that it reports an out-of-memory
//! kill instead of dying in it, and ignores every signal that it is not asked to handle.

mod child;
mod peer;
mod process;
mod ring;
mod root;
mod serve;

use super::HoldRequest;
use crate::{Exec, Network};
use nix::{
    sched::{CloneFlags, setns, unshare},
    sys::{
        signal::{SigSet, SigmaskHow, sigprocmask},
        socket::{ControlMessageOwned, MsgFlags, recvmsg},
    },
    unistd::{ForkResult, fork, pipe2, setsid},
};
use std::{
    fs::{self, File},
    io::{IoSliceMut, Read, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::UnixListener,
    },
    process::ExitCode,
};

/// Argument that makes the hidden subcommand a nursery.
pub(super) const NURSERY: &str = "nursery";

/// Entry of the hidden subcommand.
pub fn main() -> ExitCode {
    if std::env::args().nth(2).as_deref() == Some(NURSERY) { nursery() } else { conversation(None) }
}

/// Forks for each conversation that comes by standard input, until the daemon is gone. Nothing is done here that a holder
/// should not have in its memory.
fn nursery() -> ExitCode {
    let mut byte = [0u8; 1];
    let mut space = nix::cmsg_space!([RawFd; 2]);
    // Stage 1 is never waited for: its word comes through the conversation.
    // SAFETY: an ignored signal runs no code of ours.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    loop {
        let mut parts = [IoSliceMut::new(&mut byte)];
        let received = match recvmsg::<()>(0, &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC) {
            Ok(message) if message.bytes > 0 => message.cmsgs().ok().and_then(|mut all| all.next()),
            Err(nix::Error::EINTR) => continue,
            _ => return ExitCode::SUCCESS, // the daemon is gone
        };
        let Some(ControlMessageOwned::ScmRights(descriptors)) = received else { continue };
        // SAFETY: they came just now and are used nowhere else.
        let mut descriptors = descriptors.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        let (Some(talk), space) = (descriptors.next(), descriptors.next()) else { continue };
        // SAFETY: this process has one thread, so the child may use everything.
        if let Ok(ForkResult::Child) = unsafe { fork() } {
            // SAFETY: the descriptor is open; SIG_DFL is a valid disposition, without which nobody could be waited for.
            unsafe {
                libc::dup2(talk.as_raw_fd(), 0);
                libc::dup2(talk.as_raw_fd(), 1);
                libc::signal(libc::SIGCHLD, libc::SIG_DFL);
            }
            drop(talk);
            return conversation(space);
        }
        // Here the descriptors are let go; without a child the end of the conversation tells the daemon.
    }
}

/// One cage: the request comes as one line on standard input, `pid N` goes to standard output; the
/// line `go` means that the network is there; then comes `ready`, or `error: why`. `space` is a network that was made ahead.
fn conversation(space: Option<OwnedFd>) -> ExitCode {
    let mut request = String::new();
    let read = std::io::stdin().read_line(&mut request).map_err(|e| e.to_string());
    let parsed = read.and_then(|_| serde_json::from_str::<HoldRequest>(&request).map_err(|e| e.to_string()));
    match parsed.and_then(|request| stage_one(&request, space)) {
        Ok(code) => code,
        Err(reason) => {
            println!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

/// What the holder opened before it changed its root.
struct Opened {
    listener: UnixListener,
    run_dir: OwnedFd,
    /// Files to write to for joining a control group.
    procs: Vec<File>,
    /// The control group itself on version 2: a process can be born in it.
    group: Option<OwnedFd>,
}

fn open_all(request: &HoldRequest) -> Result<Opened, String> {
    // The path of a unix socket is limited to 108 bytes, that of a data directory is not: bind relative.
    std::env::set_current_dir(&request.run_dir).map_err(|e| format!("{}: {e}", request.run_dir.display()))?;
    let _ = fs::remove_file(super::proto::SOCKET); // left by a holder that was killed
    let listener = UnixListener::bind(super::proto::SOCKET).map_err(|e| format!("bind: {e}"))?;
    listener.set_nonblocking(true).map_err(|e| e.to_string())?;
    let run_dir = OwnedFd::from(File::open(".").map_err(|e| e.to_string())?);
    let open = |p: &std::path::PathBuf| File::options().write(true).open(p).map_err(|e| format!("{}: {e}", p.display()));
    let procs: Result<Vec<File>, String> = request.procs_files.iter().map(open).collect();
    let unified = request.procs_files.iter().find_map(|file| file.parent().filter(|dir| dir.join("cgroup.type").exists()));
    let group = unified.map(File::open).transpose().map_err(|e| format!("control group: {e}"))?.map(OwnedFd::from);
    Ok(Opened { listener, run_dir, procs: procs?, group })
}

fn stage_one(request: &HoldRequest, space: Option<OwnedFd>) -> Result<ExitCode, String> {
    let opened = open_all(request)?;
    // Everything stays blocked in the holder; what it handles comes through a signalfd.
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None).map_err(|e| e.to_string())?;
    let mut spaces = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUTS | CloneFlags::CLONE_NEWIPC;
    if request.rootless {
        spaces |= CloneFlags::CLONE_NEWUSER;
    }
    match space {
        Some(space) => setns(space, CloneFlags::CLONE_NEWNET).map_err(|e| format!("enter the network: {e}"))?,
        None if request.spec.network != Network::Host => spaces |= CloneFlags::CLONE_NEWNET,
        None => {}
    }
    let (uid, gid) = (nix::unistd::getuid(), nix::unistd::getgid());
    unshare(spaces).map_err(|e| format!("unshare: {e}"))?;
    if request.rootless {
        let map = |path: &str, text: String| fs::write(path, text).map_err(|e| format!("{path}: {e}"));
        map("/proc/self/setgroups", "deny".into())?;
        map("/proc/self/uid_map", format!("{} {uid} 1", request.uid))?;
        map("/proc/self/gid_map", format!("{} {gid} 1", request.gid))?;
    }
    let (news_read, news_write) = pipe2(nix::fcntl::OFlag::O_CLOEXEC).map_err(|e| e.to_string())?;
    // SAFETY: this process has one thread, so the child may use everything.
    match unsafe { fork() }.map_err(|e| format!("fork: {e}"))? {
        ForkResult::Parent { child } => {
            drop(news_write);
            println!("pid {child}");
            let mut news = String::new();
            File::from(news_read).read_to_string(&mut news).map_err(|e| e.to_string())?;
            println!("{news}");
            Ok(ExitCode::SUCCESS)
        }
        ForkResult::Child => {
            drop(news_read);
            holder(request, opened, File::from(news_write));
        }
    }
}

/// PID 1. Never returns.
fn holder(request: &HoldRequest, opened: Opened, mut news: File) -> ! {
    let started = start(request, &opened);
    let text = match &started {
        Ok(_) => "ready".to_string(),
        Err(reason) => format!("error: {reason}"),
    };
    let _ = news.write_all(text.as_bytes()); // without a reader there is nobody to tell
    drop(news);
    let code = match started {
        Ok(main) => serve::run(request, opened, main),
        Err(_) => 1,
    };
    std::process::exit(code);
}

fn start(request: &HoldRequest, opened: &Opened) -> Result<process::Process, String> {
    root::build(request)?; // while the daemon makes the network
    let mut word = String::new();
    std::io::stdin().read_line(&mut word).map_err(|e| format!("wait for the network: {e}"))?;
    if word.trim() != super::GO {
        return Err("the daemon ended while the network was made".into());
    }
    setsid().map_err(|e| format!("setsid: {e}"))?;
    // Readable by nobody: in the rootless case the app has the same user as its holder.
    // SAFETY: prctl with PR_SET_DUMPABLE takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_DUMPABLE, 0, 0, 0, 0) };
    let null = File::options().read(true).write(true).open("/dev/null").map_err(|e| format!("/dev/null: {e}"))?;
    for number in 0..3 {
        // SAFETY: both descriptors are open; dup2 replaces the standard ones, which nothing else uses.
        if unsafe { libc::dup2(null.as_raw_fd(), number) } < 0 {
            return Err(format!("dup2: {}", std::io::Error::last_os_error()));
        }
    }
    let spec = &request.spec;
    let (argv, env, cwd) = (spec.argv.clone(), spec.env.clone(), spec.cwd.clone());
    process::Process::start(request, opened, &Exec { argv, env, cwd, stdio: spec.stdio })
}
