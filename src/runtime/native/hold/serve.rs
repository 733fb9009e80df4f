//! The holder's loop: reads output, reaps, talks to its peers, stops on request, writes the exit down.

use super::{
    Opened,
    peer::{Greeting, Peer, Role, greeting},
    process::{Process, input_of},
    ring::Ring,
};
use crate::{
    Exit,
    native::{
        HoldRequest,
        proto::{self, Frame},
    },
};
use nix::{
    errno::Errno,
    fcntl::{OFlag, renameat},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        stat::Mode,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use std::{
    collections::BTreeMap,
    fs::File,
    io::Write,
    os::fd::{AsFd, BorrowedFd},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Bytes on their way to a peer.
const OUTGOING_BYTES_MAX: usize = 128 << 10;
const READ_BYTES: usize = 64 << 10;
/// Connections at the same time; one more is refused.
const PEERS_MAX: usize = 64;
/// Children that outlive a main process which ended by itself get this long (`runtime.md` section 12, end).
const LEFT_OVER_GRACE: Duration = Duration::from_secs(5);
/// An exit record waits this long for the daemon.
const COLLECT_LIMIT: Duration = Duration::from_secs(3600);

struct Holder<'a> {
    request: &'a HoldRequest,
    opened: Opened,
    main: Process,
    ring: Ring,
    peers: Vec<Peer>,
    /// Processes that were added, by number.
    others: BTreeMap<u64, Process>,
    next_other: u64,
    /// No process of the dyno is left.
    empty: bool,
    kill_at: Option<Instant>,
    stopping: bool,
    grace_over: bool,
    exit: Option<Vec<u8>>,
    exit_sent: bool,
    give_up_at: Option<Instant>,
    collected: bool,
}

/// Serves until the exit was collected. Returns the exit code of the holder.
pub fn run(request: &HoldRequest, opened: Opened, main: Process) -> i32 {
    let set = SigSet::from_iter([Signal::SIGCHLD]);
    let Ok(signals) = SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC) else { return 1 };
    let mut holder = Holder {
        request,
        opened,
        main,
        ring: Ring::default(),
        peers: Vec::new(),
        others: BTreeMap::new(),
        next_other: 0,
        empty: false,
        kill_at: None,
        stopping: false,
        grace_over: false,
        exit: None,
        exit_sent: false,
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

/// What a polled descriptor belongs to; indices are those of the moment.
#[derive(Clone, Copy)]
enum Source {
    Signals,
    Listener,
    MainOutput,
    Peer(usize),
    /// Output of another process, or room in the input of any: looked at in any case.
    Other,
}

impl Holder<'_> {
    fn finished(&self) -> bool {
        self.exit.is_some() && (self.collected || self.give_up_at.is_some_and(|at| Instant::now() >= at))
    }

    fn turn(&mut self, signals: &SignalFd) -> Result<(), Errno> {
        for (source, events) in self.wait(signals)? {
            match source {
                Source::Signals => {
                    while let Ok(Some(_)) = signals.read_signal() {}
                    self.reap();
                }
                Source::Listener => self.accept(),
                Source::MainOutput => self.read_main(),
                Source::Peer(at) if events.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) => {
                    self.peers[at].read();
                }
                Source::Peer(_) | Source::Other => {}
            }
        }
        self.serve_peers();
        self.timers();
        self.conclude();
        self.send_log();
        self.peers.iter_mut().for_each(Peer::write);
        self.drop_gone();
        Ok(())
    }

    /// Waits until there is something to do.
    fn wait(&self, signals: &SignalFd) -> Result<Vec<(Source, PollFlags)>, Errno> {
        let mut polled: Vec<(Source, BorrowedFd<'_>, PollFlags)> = vec![
            (Source::Signals, signals.as_fd(), PollFlags::POLLIN),
            (Source::Listener, self.opened.listener.as_fd(), PollFlags::POLLIN),
        ];
        if let Some(output) = self.main.output.as_ref().filter(|_| !self.holds_back()) {
            polled.push((Source::MainOutput, output.as_fd(), PollFlags::POLLIN));
        }
        for (at, peer) in self.peers.iter().enumerate() {
            let reads = match peer.role {
                Role::Unknown | Role::Control => true,
                Role::Input => self.main.takes_input(),
                Role::Process(number) => self.others.get(&number).is_none_or(Process::takes_input),
            };
            let mut wants = PollFlags::empty();
            wants.set(PollFlags::POLLIN, reads);
            wants.set(PollFlags::POLLOUT, !peer.outgoing.is_empty());
            polled.push((Source::Peer(at), peer.stream.as_fd(), wants));
            if let Role::Process(number) = peer.role
                && let Some(output) = self.others.get(&number).and_then(|p| p.output.as_ref())
                && peer.outgoing.len() < OUTGOING_BYTES_MAX
            {
                polled.push((Source::Other, output.as_fd(), PollFlags::POLLIN));
            }
        }
        for process in self.others.values().chain([&self.main]).filter(|p| p.has_pending()) {
            polled.extend(process.input.as_ref().map(|input| (Source::Other, input.as_fd(), PollFlags::POLLOUT)));
        }
        let mut fds: Vec<PollFd<'_>> = polled.iter().map(|(_, fd, flags)| PollFd::new(*fd, *flags)).collect();
        poll(&mut fds, self.timeout())?;
        let events = fds.iter().map(|fd| fd.revents().unwrap_or(PollFlags::empty()));
        Ok(polled.iter().zip(events).map(|((source, ..), events)| (*source, events)).filter(|(_, e)| !e.is_empty()).collect())
    }

    fn timeout(&self) -> PollTimeout {
        let next = [self.kill_at, self.give_up_at.filter(|_| self.exit.is_some())].into_iter().flatten().min();
        next.map_or(PollTimeout::NONE, |at| {
            let wait = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
        })
    }

    /// A lossless reader that has too much waits for the daemon.
    fn holds_back(&self) -> bool {
        self.request.spec.lossless && self.ring.is_full()
    }

    /// Collects every process that ended; PID 1 gets the orphans too.
    fn reap(&mut self) {
        loop {
            let (pid, status) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid, code),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, 128 + signal as i32),
                Ok(WaitStatus::StillAlive) => return,
                Err(Errno::ECHILD) => {
                    self.empty = true;
                    return;
                }
                Err(Errno::EINTR) | Ok(_) => continue,
                Err(_) => return,
            };
            if pid == self.main.pid {
                self.main_ended(status);
            } else if let Some(other) = self.others.values_mut().find(|p| p.pid == pid) {
                other.status = Some(status);
            }
        }
    }

    fn main_ended(&mut self, status: i32) {
        self.main.status = Some(status);
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
                self.control_frame(proto::GRACE_OVER, &[]);
            }
            self.signal_all(Signal::SIGKILL);
            // A process that was forking just now is caught by the next round.
            self.kill_at = Some(Instant::now() + Duration::from_millis(100));
        }
    }

    fn read_main(&mut self) {
        let mut buffer = [0u8; READ_BYTES];
        while !self.holds_back() {
            let Some(bytes) = self.main.read(&mut buffer) else { return };
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.ring.push(u64::try_from(now.as_micros()).unwrap_or(0), bytes, self.request.spec.lossless);
        }
    }

    /// When nothing runs and the output is drained, the exit is written down, then announced.
    fn conclude(&mut self) {
        if !self.empty || self.exit.is_some() {
            return;
        }
        self.read_main();
        if self.holds_back() && self.control().is_some() && !self.stopping {
            return;
        }
        self.main.output = None;
        let exit = Exit { status: self.main.status.unwrap_or(137), oom: false, platform_error: None };
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

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.opened.listener.accept() {
            if self.peers.len() < PEERS_MAX && stream.set_nonblocking(true).is_ok() {
                self.peers.push(Peer::new(stream));
            }
        }
    }

    /// Handles what the peers sent, and collects the output of the other processes.
    fn serve_peers(&mut self) {
        for at in 0..self.peers.len() {
            if matches!(self.peers[at].role, Role::Unknown) {
                self.greet(at);
            }
            // Now also what came in one piece with the greeting: nothing would wake us for it again.
            match self.peers[at].role {
                Role::Input => {
                    self.main.flush(); // first: what waits is in the way of the next
                    feed(&mut self.peers[at], &mut self.main);
                }
                Role::Process(number) => self.serve_process(at, number),
                Role::Control => {
                    while let Some(frame) = self.peers[at].next_frame() {
                        self.command(&frame);
                    }
                }
                Role::Unknown => {}
            }
        }
        self.main.flush();
    }

    fn greet(&mut self, at: usize) {
        let Some(frame) = self.peers[at].next_frame() else { return };
        match greeting(&frame) {
            Greeting::Control => {
                // The newest is the daemon; an older one belonged to one that is gone.
                self.peers.iter_mut().filter(|p| matches!(p.role, Role::Control)).for_each(|p| p.gone = true);
                self.peers[at].role = Role::Control;
                self.ring.rewind();
                self.exit_sent = false;
            }
            Greeting::Input => {
                self.peers.iter_mut().filter(|p| matches!(p.role, Role::Input)).for_each(|p| p.gone = true);
                self.peers[at].role = Role::Input;
                // One that writes to the log reads nothing, and whoever wants to write is told.
                self.peers[at].gone = self.request.spec.stdio == crate::Stdio::Log;
            }
            Greeting::Start(exec) => {
                let started = if self.stopping || self.main.status.is_some() {
                    Err("the dyno is ending".into())
                } else {
                    Process::start(self.request, &self.opened, &exec)
                };
                match started {
                    Ok(process) => {
                        self.peers[at].role = Role::Process(self.next_other);
                        self.others.insert(self.next_other, process);
                        self.next_other += 1;
                        self.peers[at].push(proto::STARTED, &[]);
                    }
                    Err(reason) => {
                        self.peers[at].push(proto::REFUSED, &[reason.as_bytes()]);
                        self.peers[at].ends = true;
                    }
                }
            }
            Greeting::Nonsense => self.peers[at].gone = true,
        }
    }

    fn serve_process(&mut self, at: usize, number: u64) {
        let (Some(process), peer) = (self.others.get_mut(&number), &mut self.peers[at]) else { return };
        process.flush();
        feed(peer, process);
        let mut buffer = [0u8; READ_BYTES / 4];
        while peer.outgoing.len() < OUTGOING_BYTES_MAX
            && let Some(bytes) = process.read(&mut buffer)
        {
            peer.push(proto::OUTPUT, &[bytes]);
        }
        // What it left running may hold its output open for ever, so its own end counts.
        if let Some(status) = process.status
            && peer.outgoing.len() < OUTGOING_BYTES_MAX
            && !peer.ends
        {
            peer.push(proto::EXITED, &[&status.to_le_bytes()]);
            peer.ends = true;
        }
    }

    fn drop_gone(&mut self) {
        for peer in self.peers.iter().filter(|p| p.gone) {
            match peer.role {
                Role::Control => self.ring.rewind(),
                Role::Process(number) => {
                    if let Some(process) = self.others.remove(&number).filter(|p| p.status.is_none()) {
                        let _ = nix::sys::signal::killpg(process.pid, Signal::SIGHUP); // ended just now is as good
                    }
                }
                Role::Unknown | Role::Input => {}
            }
        }
        self.peers.retain(|p| !p.gone);
    }

    fn command(&mut self, frame: &Frame) {
        match frame.kind {
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

    fn control(&mut self) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|p| matches!(p.role, Role::Control) && !p.gone)
    }

    fn control_frame(&mut self, kind: u8, parts: &[&[u8]]) {
        if let Some(control) = self.control() {
            control.push(kind, parts);
        }
    }

    /// Fills the daemon's buffer from the ring, and writes.
    fn send_log(&mut self) {
        let ring = &mut self.ring;
        let Some(control) = self.peers.iter_mut().find(|p| matches!(p.role, Role::Control) && !p.gone) else { return };
        loop {
            while control.outgoing.len() < OUTGOING_BYTES_MAX
                && let Some(chunk) = ring.chunks.get(ring.unsent)
            {
                if ring.dropped_lines > 0 {
                    let lost = std::mem::take(&mut ring.dropped_lines);
                    control.push(proto::DROPPED, &[&lost.to_le_bytes()]);
                }
                control.push(proto::LOG, &[&chunk.offset.to_le_bytes(), &chunk.time_us.to_le_bytes(), &chunk.bytes]);
                ring.unsent += 1;
            }
            let all_sent = ring.unsent == ring.chunks.len();
            if all_sent
                && !self.exit_sent
                && let Some(exit) = &self.exit
            {
                control.push(proto::EXIT, &[exit]);
                self.exit_sent = true;
            }
            control.write();
            if all_sent || control.gone || !control.outgoing.is_empty() {
                return;
            }
        }
    }
}

/// Gives a process what its peer sent, as long as it takes it.
fn feed(peer: &mut Peer, process: &mut Process) {
    while process.takes_input()
        && let Some(frame) = peer.next_frame()
    {
        input_of(&frame).into_iter().for_each(|input| process.take(input));
    }
}
