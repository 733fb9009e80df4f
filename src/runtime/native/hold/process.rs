//! A process of the dyno with the ends of its standard streams: the main one, or one that was added later.

use super::Opened;
use crate::{
    Exec, Input, Stdio, Window,
    native::{
        HoldRequest,
        proto::{self, Frame},
    },
};
use bytes::Bytes;
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl, open},
    pty::{grantpt, posix_openpt, ptsname_r, unlockpt},
    sys::{signal::Signal, stat::Mode},
    unistd::{Pid, pipe2, read, write},
};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Input that the process has not taken yet; while there is some, no more is read from its peer.
const INPUT_CHUNK_MAX: usize = 64 << 10;
/// What ends the input of a terminal: its VEOF character.
const END_OF_FILE: u8 = 4;

/// Our ends.
pub struct Process {
    /// Also its process group and session.
    pub pid: Pid,
    /// Where its output comes from; `None` at its end.
    pub output: Option<OwnedFd>,
    /// Where its input goes; `None` when it has none or it was closed.
    pub input: Option<OwnedFd>,
    terminal: bool,
    pending: Vec<u8>,
    close_when_written: bool,
    /// How it ended.
    pub status: Option<i32>,
}

/// The process's ends, for the forked child.
pub struct Ends {
    /// Becomes its standard input; `None` leaves `/dev/null`.
    pub input: Option<OwnedFd>,
    /// Becomes its output and error output.
    pub output: OwnedFd,
    /// They are a terminal that shall control it.
    pub terminal: bool,
}

impl Process {
    /// Starts `exec` in the dyno.
    pub fn start(request: &HoldRequest, opened: &Opened, exec: &Exec) -> Result<Self, String> {
        let (ends, output, input) = match exec.stdio {
            Stdio::Log => {
                let (output, ours) = output_pipe(request)?;
                (Ends { input: None, output, terminal: false }, ours, None)
            }
            Stdio::Pipes => {
                let (output, ours) = output_pipe(request)?;
                let (theirs, input) = pipe2(OFlag::O_CLOEXEC).map_err(|e| format!("pipe: {e}"))?;
                own(request, &theirs)?;
                (Ends { input: Some(theirs), output, terminal: false }, ours, Some(input))
            }
            Stdio::Terminal(window) => {
                let (ours, theirs) = terminal(request, window)?;
                let clone = |fd: &OwnedFd| fd.try_clone().map_err(|e| format!("terminal: {e}"));
                (Ends { input: Some(clone(&theirs)?), output: theirs, terminal: true }, clone(&ours)?, Some(ours))
            }
        };
        // Only our own ends: O_NONBLOCK on the app's end would give it EAGAIN (`runtime.md` section 12, 12).
        for fd in [Some(&output), input.as_ref()].into_iter().flatten() {
            fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(|e| format!("non-blocking: {e}"))?;
        }
        let terminal = ends.terminal;
        let pid = super::child::start(request, opened, exec, ends)?;
        Ok(Self { pid, output: Some(output), input, terminal, pending: Vec::new(), close_when_written: false, status: None })
    }

    /// Reads what there is, once; `None` when there is nothing now or nothing will come.
    pub fn read<'a>(&mut self, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
        loop {
            match read(self.output.as_ref()?, buffer) {
                // A terminal whose last user is gone answers EIO.
                Ok(0) | Err(Errno::EIO) => self.output = None,
                Ok(n) => return Some(&buffer[..n]),
                Err(Errno::EINTR) => {}
                Err(_) => return None,
            }
        }
    }

    /// True when more input may be brought.
    pub fn takes_input(&self) -> bool {
        self.pending.is_empty()
    }

    /// True when the input end should be polled for room.
    pub fn has_pending(&self) -> bool {
        self.input.is_some() && !self.pending.is_empty()
    }

    /// Does what the peer asks for.
    pub fn take(&mut self, input: Input) {
        match input {
            Input::Bytes(bytes) if self.input.is_some() => self.pending.extend_from_slice(&bytes),
            Input::Bytes(_) => {} // it has closed its input, as `head` does
            Input::End if self.terminal => self.pending.push(END_OF_FILE),
            Input::End => self.close_when_written = true,
            Input::Resize(window) => {
                // A size is of no use to a pipe, and a terminal that is gone needs none.
                let _ = self.input.as_ref().filter(|_| self.terminal).map(|terminal| set_size(terminal, window));
            }
            Input::Signal(number) => {
                if let Ok(signal) = Signal::try_from(number) {
                    let _ = nix::sys::signal::killpg(self.pid, signal); // gone needs none
                }
            }
        }
        self.flush();
    }

    /// Writes what the process takes.
    pub fn flush(&mut self) {
        while let Some(input) = self.input.as_ref().filter(|_| !self.pending.is_empty()) {
            let count = self.pending.len().min(INPUT_CHUNK_MAX);
            match write(input, &self.pending[..count]) {
                Ok(n) => drop(self.pending.drain(..n)),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return,
                Err(_) => {
                    self.pending.clear(); // it has closed its end
                    self.input = None;
                }
            }
        }
        if self.close_when_written && self.pending.is_empty() {
            self.input = None;
        }
    }
}

/// A message of the protocol for a process.
pub fn input_of(frame: &Frame) -> Option<Input> {
    match frame.kind {
        proto::INPUT => Some(Input::Bytes(Bytes::copy_from_slice(&frame.payload))),
        proto::END => Some(Input::End),
        proto::RESIZE => {
            let [a, b, c, d] = *frame.payload.first_chunk::<4>()?;
            Some(Input::Resize(Window { rows: u16::from_le_bytes([a, b]), columns: u16::from_le_bytes([c, d]) }))
        }
        proto::SIGNAL => Some(Input::Signal(i32::from_le_bytes(*frame.payload.first_chunk::<4>()?))),
        _ => None,
    }
}

/// A pipe whose writing end belongs to the dyno's user: a program that opens /dev/stdout opens it anew, which takes its
/// owner (`runtime.md` section 12, 13). Theirs, ours.
fn output_pipe(request: &HoldRequest) -> Result<(OwnedFd, OwnedFd), String> {
    let (ours, theirs) = pipe2(OFlag::O_CLOEXEC).map_err(|e| format!("pipe: {e}"))?;
    own(request, &theirs)?;
    Ok((theirs, ours))
}

fn own(request: &HoldRequest, fd: &OwnedFd) -> Result<(), String> {
    nix::unistd::fchown(fd.as_fd(), Some(request.uid.into()), Some(request.gid.into())).map_err(|e| format!("fchown: {e}"))
}

/// A new terminal in the dyno's own `/dev/pts`. Ours, theirs.
fn terminal(request: &HoldRequest, window: Window) -> Result<(OwnedFd, OwnedFd), String> {
    let text = |e: Errno| format!("terminal: {e}");
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let ours = posix_openpt(flags).map_err(text)?;
    grantpt(&ours).map_err(text)?;
    unlockpt(&ours).map_err(text)?;
    let theirs = open(ptsname_r(&ours).map_err(text)?.as_str(), flags, Mode::empty()).map_err(text)?;
    own(request, &theirs)?;
    let ours = OwnedFd::from(ours);
    set_size(&ours, window)?;
    Ok((ours, theirs))
}

fn set_size(terminal: &OwnedFd, window: Window) -> Result<(), String> {
    let size = libc::winsize { ws_row: window.rows, ws_col: window.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the request reads a winsize, which lives over the call.
    let result = unsafe { libc::ioctl(terminal.as_raw_fd(), libc::TIOCSWINSZ, &raw const size) };
    if result < 0 { Err(format!("size of the terminal: {}", std::io::Error::last_os_error())) } else { Ok(()) }
}
