//! The holder's loop: reads the log pipe, reaps, talks to the daemon, stops on request, writes the exit down.

use super::Opened;
use crate::{
    Exit,
    native::{
        HoldRequest,
        proto::{self, Decoder},
    },
};
use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl, renameat},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        stat::Mode,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Pid, read},
};
use std::{
    collections::VecDeque,
    fs::File,
    io::{Read, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::net::UnixStream,
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Output kept while the daemon is away.
const RING_BYTES_MAX: usize = 1 << 20;
/// Bytes on their way to the daemon.
const OUTGOING_BYTES_MAX: usize = 128 << 10;
const READ_BYTES: usize = 64 << 10;
const UNCERTAIN_MAX: usize = 4096;
/// Children that outlive a main process which ended by itself get this long (`runtime.md` section 12, end).
const LEFT_OVER_GRACE: Duration = Duration::from_secs(5);
/// An exit record waits this long for the daemon.
const COLLECT_LIMIT: Duration = Duration::from_secs(3600);

struct Chunk {
    offset: u64,
    time_us: u64,
    bytes: Vec<u8>,
}

/// What was read and is not yet safe with the daemon.
#[derive(Default)]
struct Ring {
    chunks: VecDeque<Chunk>,
    bytes: usize,
    /// Offset of the next byte to be read.
    end: u64,
    /// Index of the first chunk that was not sent on this connection.
    unsent: usize,
    dropped_lines: u64,
    /// Ends and line counts of chunks that gave way after they were sent, but before the daemon said that they are safe.
    uncertain: VecDeque<(u64, u64)>,
}

impl Ring {
    fn push(&mut self, time_us: u64, bytes: &[u8], lossless: bool) {
        while !lossless && self.bytes + bytes.len() > RING_BYTES_MAX {
            let Some(oldest) = self.chunks.pop_front() else { break };
            self.bytes -= oldest.bytes.len();
            let lines = oldest.bytes.iter().filter(|b| **b == b'\n').count() as u64;
            if self.unsent == 0 {
                self.dropped_lines += lines; // the daemon never saw it
            } else {
                self.uncertain.push_back((oldest.offset + oldest.bytes.len() as u64, lines));
                if self.uncertain.len() > UNCERTAIN_MAX {
                    self.uncertain.pop_front(); // a daemon that far behind has the older ones
                }
            }
            self.unsent = self.unsent.saturating_sub(1);
        }
        self.chunks.push_back(Chunk { offset: self.end, time_us, bytes: bytes.to_vec() });
        self.bytes += bytes.len();
        self.end += bytes.len() as u64;
    }

    /// A new daemon begins where the stored part ends; what its predecessor had not stored by then is lost if it gave way.
    fn rewind(&mut self) {
        self.unsent = 0;
        self.dropped_lines += self.uncertain.drain(..).map(|(_, lines)| lines).sum::<u64>();
    }

    fn acknowledge(&mut self, offset: u64) {
        while self.uncertain.front().is_some_and(|(end, _)| *end <= offset) {
            self.uncertain.pop_front();
        }
        while self.chunks.front().is_some_and(|c| c.offset + c.bytes.len() as u64 <= offset) {
            self.bytes -= self.chunks.pop_front().map_or(0, |c| c.bytes.len());
            self.unsent = self.unsent.saturating_sub(1);
        }
    }

    fn is_full(&self) -> bool {
        self.bytes >= RING_BYTES_MAX
    }
}

struct Client {
    stream: UnixStream,
    decoder: Decoder,
    outgoing: Vec<u8>,
    greeted: bool,
    exit_sent: bool,
}

struct Holder<'a> {
    request: &'a HoldRequest,
    opened: Opened,
    main: Pid,
    log: Option<OwnedFd>,
    ring: Ring,
    client: Option<Client>,
    status: Option<i32>,
    /// No process of the dyno is left.
    empty: bool,
    kill_at: Option<Instant>,
    stopping: bool,
    grace_over: bool,
    exit: Option<Vec<u8>>,
    give_up_at: Option<Instant>,
    collected: bool,
}

/// Serves until the exit was collected. Returns the exit code of the holder.
pub fn run(request: &HoldRequest, opened: Opened, main: Pid, log: OwnedFd) -> i32 {
    let set = SigSet::from_iter([Signal::SIGCHLD]);
    let Ok(signals) = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC) else { return 1 };
    // Only our own end: O_NONBLOCK on the app's end would give it EAGAIN (`runtime.md` section 12, 12).
    if fcntl(&log, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).is_err() {
        return 1;
    }
    let mut holder = Holder {
        request,
        opened,
        main,
        log: Some(log),
        ring: Ring::default(),
        client: None,
        status: None,
        empty: false,
        kill_at: None,
        stopping: false,
        grace_over: false,
        exit: None,
        give_up_at: None,
        collected: false,
    };
    while !holder.finished() {
        if let Err(e) = holder.turn(&signals)
            && e != Errno::EINTR
        {
            return 1;
        }
    }
    0
}

impl Holder<'_> {
    fn finished(&self) -> bool {
        self.exit.is_some() && (self.collected || self.give_up_at.is_some_and(|at| Instant::now() >= at))
    }

    fn turn(&mut self, signals: &SignalFd) -> Result<(), Errno> {
        let reads_log = self.log.is_some() && !(self.request.spec.lossless && self.ring.is_full());
        let (signalled, connecting, logged, client_events) = {
            let mut fds = vec![
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.opened.listener.as_fd(), PollFlags::POLLIN),
            ];
            let log_at = self.log.as_ref().filter(|_| reads_log).map(|log| {
                fds.push(PollFd::new(log.as_fd(), PollFlags::POLLIN));
                fds.len() - 1
            });
            let client_at = self.client.as_ref().map(|client| {
                let wants = if client.outgoing.is_empty() { PollFlags::POLLIN } else { PollFlags::POLLIN | PollFlags::POLLOUT };
                fds.push(PollFd::new(client.stream.as_fd(), wants));
                fds.len() - 1
            });
            poll(&mut fds, self.timeout())?;
            let events = |at: usize| fds[at].revents().unwrap_or(PollFlags::empty());
            let at = |index: Option<usize>| index.map_or(PollFlags::empty(), events);
            (!events(0).is_empty(), !events(1).is_empty(), !at(log_at).is_empty(), at(client_at))
        };
        if signalled {
            while let Ok(Some(_)) = signals.read_signal() {}
            self.reap();
        }
        if connecting {
            self.accept();
        }
        if logged {
            self.read_log();
        }
        if client_events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            self.read_client();
        }
        self.timers();
        self.conclude();
        self.send();
        Ok(())
    }

    fn timeout(&self) -> PollTimeout {
        let next = [self.kill_at, self.give_up_at.filter(|_| self.exit.is_some())].into_iter().flatten().min();
        next.map_or(PollTimeout::NONE, |at| {
            let wait = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
        })
    }

    /// Collects every process that ended; PID 1 gets the orphans too.
    fn reap(&mut self) {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.main => self.main_ended(code),
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.main => self.main_ended(128 + signal as i32),
                Ok(WaitStatus::StillAlive) => return,
                Err(Errno::ECHILD) => {
                    self.empty = true;
                    return;
                }
                Err(Errno::EINTR) | Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    fn main_ended(&mut self, status: i32) {
        self.status = Some(status);
        if !self.stopping {
            // What is left behind by a crash gets TERM and a short grace; while stopping it has the rest of the 30 s.
            self.signal_all(Signal::SIGTERM);
            self.kill_at = Some(Instant::now() + LEFT_OVER_GRACE);
        }
    }

    /// From PID 1, -1 means every process of the name space but this one: daemons and double forks too.
    fn signal_all(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(-1), signal); // ESRCH: nothing is left, which the next wait tells
    }

    fn timers(&mut self) {
        if self.empty {
            self.kill_at = None;
        }
        if self.kill_at.is_some_and(|at| Instant::now() >= at) {
            if self.stopping && !self.grace_over {
                self.grace_over = true;
                self.frame(proto::GRACE_OVER, &[]);
            }
            self.signal_all(Signal::SIGKILL);
            // A process that was forking just now is caught by the next round.
            self.kill_at = Some(Instant::now() + Duration::from_millis(100));
        }
    }

    fn read_log(&mut self) {
        let mut buffer = [0u8; READ_BYTES];
        loop {
            let Some(log) = &self.log else { return };
            match read(log, &mut buffer) {
                Ok(0) => self.log = None,
                Ok(n) => {
                    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                    self.ring.push(u64::try_from(now.as_micros()).unwrap_or(0), &buffer[..n], self.request.spec.lossless);
                    if self.request.spec.lossless && self.ring.is_full() {
                        return;
                    }
                }
                Err(Errno::EINTR) => {}
                Err(_) => return,
            }
        }
    }

    /// When nothing runs and the pipe is drained, the exit is written down, then announced.
    fn conclude(&mut self) {
        if !self.empty || self.exit.is_some() {
            return;
        }
        self.read_log();
        if self.request.spec.lossless && self.ring.is_full() && self.client.is_some() {
            return;
        }
        self.log = None;
        let exit = Exit { status: self.status.unwrap_or(137), oom: false, platform_error: None };
        let json = serde_json::to_vec(&exit).unwrap_or_default();
        // Without a disk the daemon still gets it over the socket.
        let _ = self.write_exit(&json);
        self.exit = Some(json);
        self.give_up_at = Some(Instant::now() + COLLECT_LIMIT);
    }

    fn write_exit(&self, json: &[u8]) -> Result<(), std::io::Error> {
        let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_TRUNC | OFlag::O_CLOEXEC;
        let dir = &self.opened.run_dir;
        let fd = nix::fcntl::openat(dir, "exit.partial", flags, Mode::from_bits_truncate(0o600))?;
        let mut file = File::from(fd);
        // No sync: the record is for a daemon that comes later. A power failure ends the dyno, too, and leaves no such daemon
        // in doubt.
        file.write_all(json)?;
        renameat(dir, "exit.partial", dir, proto::EXIT_FILE)?;
        Ok(())
    }

    /// The newest connection is the daemon; an older one belonged to one that is gone.
    fn accept(&mut self) {
        while let Ok((stream, _)) = self.opened.listener.accept() {
            if stream.set_nonblocking(true).is_ok() {
                self.client = Some(Client {
                    stream,
                    decoder: Decoder::default(),
                    outgoing: Vec::new(),
                    greeted: false,
                    exit_sent: false,
                });
                self.ring.rewind();
            }
        }
    }

    fn read_client(&mut self) {
        let mut buffer = [0u8; 4096];
        let mut gone = false;
        if let Some(client) = &mut self.client {
            loop {
                match client.stream.read(&mut buffer) {
                    Ok(0) => gone = true,
                    Ok(n) => {
                        client.decoder.feed(&buffer[..n]);
                        continue;
                    }
                    Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                    Err(_) => gone = true,
                }
                break;
            }
        }
        while let Some(client) = &mut self.client {
            match client.decoder.next_frame() {
                Ok(Some(frame)) => self.command(&frame),
                Ok(None) => break,
                Err(_) => {
                    gone = true;
                    break;
                }
            }
        }
        if gone {
            self.client = None;
            self.ring.rewind();
        }
    }

    fn command(&mut self, frame: &proto::Frame) {
        match frame.kind {
            proto::HELLO => {
                if let Some(client) = &mut self.client {
                    client.greeted = true;
                }
            }
            proto::ACK => self.ring.acknowledge(proto::number(&frame.payload).unwrap_or(0)),
            proto::SIGNAL => {
                let number = frame.payload.first_chunk::<4>().map_or(0, |b| i32::from_le_bytes(*b));
                if let Ok(signal) = Signal::try_from(number) {
                    self.signal_all(signal);
                }
            }
            proto::STOP if !self.stopping => {
                self.stopping = true;
                let grace = Duration::from_millis(proto::number(&frame.payload).unwrap_or(0));
                self.kill_at = Some(Instant::now() + grace);
                if grace.is_zero() {
                    self.grace_over = true; // asked for at once: SIGKILL without a SIGTERM before
                } else {
                    self.signal_all(Signal::SIGTERM);
                }
            }
            proto::COLLECT => self.collected = true,
            _ => {}
        }
    }

    fn frame(&mut self, kind: u8, parts: &[&[u8]]) {
        if let Some(client) = &mut self.client {
            proto::push(&mut client.outgoing, kind, parts);
        }
    }

    /// Fills the outgoing buffer from the ring and writes what the socket takes.
    fn send(&mut self) {
        let ring = &mut self.ring;
        let Some(client) = self.client.as_mut().filter(|c| c.greeted) else { return };
        loop {
            while client.outgoing.len() < OUTGOING_BYTES_MAX
                && let Some(chunk) = ring.chunks.get(ring.unsent)
            {
                if ring.dropped_lines > 0 {
                    let lost = std::mem::take(&mut ring.dropped_lines);
                    proto::push(&mut client.outgoing, proto::DROPPED, &[&lost.to_le_bytes()]);
                }
                let parts: [&[u8]; 3] = [&chunk.offset.to_le_bytes(), &chunk.time_us.to_le_bytes(), &chunk.bytes];
                proto::push(&mut client.outgoing, proto::LOG, &parts);
                ring.unsent += 1;
            }
            if ring.unsent == ring.chunks.len()
                && !client.exit_sent
                && let Some(exit) = &self.exit
            {
                proto::push(&mut client.outgoing, proto::EXIT, &[exit]);
                client.exit_sent = true;
            }
            if client.outgoing.is_empty() {
                return;
            }
            match client.stream.write(&client.outgoing) {
                Ok(n) => drop(client.outgoing.drain(..n)),
                Err(_) => return, // full: poll tells when there is room; broken: the next read tells
            }
        }
    }
}
