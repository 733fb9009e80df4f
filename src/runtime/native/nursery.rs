//! Where holders come from: one small process that was started once and forks for each cage. Forking it takes a fraction of
//! the time of starting the program anew, and its memory is shared by all holders (the program's relocated pages alone are
//! more than all that a holder needs for itself).
//!
//! ```text
//! daemon --socket--> nursery --fork--> stage 1 (see `hold`) --fork--> holder
//! ```

use super::hold::NURSERY;
use nix::sys::socket::{AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, sendmsg, socketpair};
use std::{
    io::IoSlice,
    os::{
        fd::{AsRawFd, BorrowedFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
};

/// The daemon's end.
#[derive(Default)]
pub struct Nursery(Mutex<Option<Running>>);

struct Running {
    socket: Option<OwnedFd>,
    process: Child,
}

impl Nursery {
    /// A conversation with a new stage 1, which enters `space` when there is one. The nursery is started when there is none,
    /// or when it was killed.
    pub fn fork(&self, program: &Path, space: Option<BorrowedFd<'_>>) -> std::io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        let mut running = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(nursery) = running.as_ref()
            && nursery.hand_over(&theirs, space).is_ok()
        {
            return Ok(ours);
        }
        let nursery = running.insert(Running::start(program)?);
        nursery.hand_over(&theirs, space)?;
        Ok(ours)
    }
}

impl Nursery {
    /// The next cage gets a new one.
    pub fn discard(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

impl Running {
    fn start(program: &Path) -> std::io::Result<Self> {
        // Messages, not bytes: each carries the descriptors of one cage.
        let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
        let mut command = Command::new(program);
        command.arg0("tidemill-hold").args(["hold", NURSERY]).env_clear();
        let process = command.stdin(theirs).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { socket: Some(ours), process })
    }

    fn hand_over(&self, conversation: &UnixStream, space: Option<BorrowedFd<'_>>) -> std::io::Result<()> {
        let Some(socket) = &self.socket else { return Err(std::io::ErrorKind::NotConnected.into()) };
        let descriptors: Vec<_> = [conversation.as_raw_fd()].into_iter().chain(space.map(|fd| fd.as_raw_fd())).collect();
        let control = [ControlMessage::ScmRights(&descriptors)];
        sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(b"+")], &control, MsgFlags::MSG_NOSIGNAL, None)?;
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.socket = None; // which ends it
        let _ = self.process.wait(); // it can not be waited for twice
    }
}
