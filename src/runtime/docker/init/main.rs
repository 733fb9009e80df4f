//! PID 1 of a container, and the parent of each further process in it: what `tidemill hold` is for a native dyno, small and
//! statically linked, so that it runs in any image.
//!
//! ```text
//! init cage [--wait] [--lossless] [--stdio log|pipes|terminal:ROWS:COLUMNS] [--keep NAME,...] -- PROGRAM ARGS
//! init exec [--stdio ...] [--keep ...] -- PROGRAM ARGS
//! ```
//! The program is never PID 1 itself: that one gets no signal it does not handle. Signals for all come from the driver as one
//! to this process (34 + number; SIGUSR2 is "stop"), which `kill(-1)` passes on to every process once, however it was forked.
//! To the parent
//! of a further process 34 is "hang it up". The container ends when nothing is left in it, with the program's status. Output goes through frames with offsets (see
//! `frame.rs` of the driver) and a ring: an engine that does not read for a while holds nobody up.

mod sys;

use std::{
    collections::VecDeque,
    ffi::CString,
    fs::File,
    io::{Read, Write},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    process::ExitCode,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use sys::{POLLIN, POLLOUT, Poll};

/// Output kept while the engine does not read. It counts as the app's memory, and the engine is slower than a holder.
const RING_BYTES_MAX: usize = 4 << 20;
/// The same for a program that is to wait.
const LOSSLESS_BYTES_MAX: usize = 64 << 10;
/// Input that the program has not read.
const INPUT_BYTES_MAX: usize = 64 << 10;
/// A frame is one line for the engine, which splits lines of more than 16 KiB.
const READ_BYTES: usize = 8 << 10;
/// Children that outlive a main process which ended by itself get this long (`runtime.md` section 12, end).
const LEFT_OVER_GRACE: Duration = Duration::from_secs(5);
const KILL_AGAIN: Duration = Duration::from_millis(100);
/// Processes that are no children of this one tell nobody when they end.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The last words wait this long for an engine.
const FLUSH_LIMIT: Duration = Duration::from_secs(3600);
const FIRST_REAL_TIME: i32 = 34;
const ESCAPE: u8 = 0x10;
const END_OF_FILE: u8 = 0x04;

#[derive(Clone, Copy, PartialEq)]
enum Stdio {
    Log,
    Pipes,
    Terminal(u16, u16),
}

struct Options {
    cage: bool,
    wait: bool,
    lossless: bool,
    stdio: Stdio,
    argv: Vec<CString>,
}

fn options() -> Option<Options> {
    let mut args = std::env::args_os().skip(1);
    let cage = args.next()? == "cage";
    let mut options = Options { cage, wait: false, lossless: !cage, stdio: Stdio::Log, argv: Vec::new() };
    loop {
        match args.next()?.to_str()? {
            "--wait" => options.wait = true,
            "--lossless" => options.lossless = true,
            "--stdio" => options.stdio = stdio(args.next()?.to_str()?)?,
            "--keep" => keep(args.next()?.to_str()?),
            "--" => break,
            _ => return None,
        }
    }
    let strings = args.map(|arg| CString::new(std::os::unix::ffi::OsStringExt::into_vec(arg)));
    options.argv = strings.collect::<Result<_, _>>().ok()?;
    (!options.argv.is_empty()).then_some(options)
}

fn stdio(text: &str) -> Option<Stdio> {
    let mut parts = text.split(':');
    match parts.next()? {
        "log" => Some(Stdio::Log),
        "pipes" => Some(Stdio::Pipes),
        "terminal" => Some(Stdio::Terminal(parts.next()?.parse().ok()?, parts.next()?.parse().ok()?)),
        _ => None,
    }
}

/// The engine adds variables of its own; a program gets none but those that it was given.
fn keep(names: &str) {
    let names: Vec<&str> = names.split(',').collect();
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_str().is_none_or(|n| !names.contains(&n))) {
        // SAFETY: this process has one thread.
        unsafe { std::env::remove_var(name) };
    }
}

/// The program's ends of pipes or of a terminal, as seen from here.
struct Ends {
    input: Option<File>,
    output: Option<File>,
    terminal: bool,
    /// Held open, so that a program that closes its terminal for a moment is not cut off.
    _slave: Option<File>,
}

struct Init {
    options: Options,
    signals: File,
    main: i32,
    ends: Ends,
    /// The engine's ends; the first is gone after its end of file.
    stdin: Option<File>,
    stdout: File,
    line: Vec<u8>,
    for_program: VecDeque<u8>,
    input_over: bool,
    /// The further process was told that nobody is there any more.
    hung_up: bool,
    outgoing: VecDeque<Vec<u8>>,
    outgoing_bytes: usize,
    /// Bytes of the first of `outgoing` that are written.
    written: usize,
    offset: u64,
    lines: u64,
    status: Option<i32>,
    no_children: bool,
    stopping: bool,
    kill_at: Option<Instant>,
    over_at: Option<Instant>,
}

fn main() -> ExitCode {
    let Some(options) = options() else {
        eprintln!("usage: init cage|exec [options] -- PROGRAM ARGS");
        return ExitCode::from(126);
    };
    match begin(options) {
        Ok(Some(mut init)) => {
            while !init.finished() {
                init.turn();
            }
            ExitCode::from(u8::try_from(init.status.unwrap_or(137)).unwrap_or(137))
        }
        Ok(None) => ExitCode::from(143),
        Err(e) => {
            eprintln!("init: {e}");
            ExitCode::from(126)
        }
    }
}

/// Starts the program; `None` when it was to stop before.
fn begin(options: Options) -> std::io::Result<Option<Init>> {
    sys::hide();
    let signals = sys::signals()?;
    if options.wait && !wait_for_go(&signals)? {
        return Ok(None);
    }
    let null = File::options().read(true).write(true).open("/dev/null")?;
    let (ends, files) = match options.stdio {
        Stdio::Terminal(rows, columns) => {
            let (master, slave) = sys::terminal()?;
            sys::resize(&master, rows, columns);
            let (input, kept) = (Some(master.try_clone()?), Some(slave.try_clone()?));
            (
                Ends { input, output: Some(master), terminal: true, _slave: kept },
                [slave.try_clone()?, slave.try_clone()?, slave],
            )
        }
        Stdio::Log | Stdio::Pipes => {
            let (output, write) = sys::pipe()?;
            let (read, input) =
                if options.stdio == Stdio::Log { (null, None) } else { sys::pipe().map(|(r, w)| (r, Some(w)))? };
            (Ends { input, output: Some(output), terminal: false, _slave: None }, [read, write.try_clone()?, write])
        }
    };
    let files = files.map(OwnedFd::from);
    let main = sys::spawn(&options.argv, [&files[0], &files[1], &files[2]], ends.terminal)?;
    drop(files);
    // Only our own ends: O_NONBLOCK on the program's would give it EAGAIN (`runtime.md` section 12, 12).
    ends.input.iter().chain(&ends.output).for_each(sys::nonblocking);
    // SAFETY: the engine gave these two, and nothing else here uses them.
    let (stdin, stdout) = unsafe { (File::from_raw_fd(0), File::from_raw_fd(1)) };
    sys::nonblocking(&stdin);
    sys::nonblocking(&stdout);
    let reads = options.stdio != Stdio::Log || !options.cage;
    Ok(Some(Init {
        options,
        signals,
        main,
        ends,
        stdin: Some(stdin).filter(|_| reads),
        stdout,
        line: Vec::new(),
        for_program: VecDeque::new(),
        input_over: false,
        hung_up: false,
        outgoing: VecDeque::new(),
        outgoing_bytes: 0,
        written: 0,
        offset: 0,
        lines: 0,
        status: None,
        no_children: false,
        stopping: false,
        kill_at: None,
        over_at: None,
    }))
}

/// The driver ties the network before the first instruction of the program.
fn wait_for_go(signals: &File) -> std::io::Result<bool> {
    loop {
        sys::wait_for(&mut [Poll { fd: signals.as_raw_fd(), wants: POLLIN, got: 0 }], -1);
        while let Some(number) = next_signal(signals) {
            match number {
                sys::SIGUSR1 => return Ok(true),
                sys::SIGUSR2 | sys::SIGTERM => return Ok(false),
                number if number == FIRST_REAL_TIME + sys::SIGKILL || number == FIRST_REAL_TIME + sys::SIGTERM => {
                    return Ok(false);
                }
                _ => {}
            }
        }
    }
}

fn next_signal(mut signals: &File) -> Option<i32> {
    let mut info = [0u8; 128]; // struct signalfd_siginfo
    (signals.read(&mut info).ok()? == info.len()).then(|| i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))
}

impl Init {
    fn turn(&mut self) {
        let full = self.options.lossless && self.outgoing_bytes >= LOSSLESS_BYTES_MAX;
        let fd = |file: Option<&File>| file.map_or(-1, AsRawFd::as_raw_fd);
        let mut fds = [
            Poll { fd: self.signals.as_raw_fd(), wants: POLLIN, got: 0 },
            Poll { fd: fd(self.ends.output.as_ref().filter(|_| !full)), wants: POLLIN, got: 0 },
            Poll { fd: fd(self.stdin.as_ref().filter(|_| self.for_program.len() < INPUT_BYTES_MAX)), wants: POLLIN, got: 0 },
            Poll { fd: fd(Some(&self.stdout).filter(|_| !self.outgoing.is_empty())), wants: POLLOUT, got: 0 },
            Poll { fd: fd(self.ends.input.as_ref().filter(|_| !self.for_program.is_empty())), wants: POLLOUT, got: 0 },
        ];
        sys::wait_for(&mut fds, self.timeout());
        let [signalled, logged, asked, ..] = fds.map(|fd| fd.got != 0);
        while let Some(number) = signalled.then(|| next_signal(&self.signals)).flatten() {
            self.signal(number);
        }
        if logged {
            self.read_output();
        }
        if asked {
            self.read_input();
        }
        self.feed_program();
        self.timers();
        self.write_out();
    }

    fn timeout(&self) -> i32 {
        let now = Instant::now();
        let next = [self.kill_at, self.over_at.map(|_| now + KILL_AGAIN), self.strangers().then(|| now + LOOK_EVERY)];
        next.into_iter()
            .flatten()
            .min()
            .map_or(-1, |at| i32::try_from(at.saturating_duration_since(now).as_millis() + 1).unwrap_or(i32::MAX))
    }

    /// Only processes that are no children of this one may be left.
    fn strangers(&self) -> bool {
        self.options.cage && self.no_children && self.over_at.is_none()
    }

    fn signal(&mut self, number: i32) {
        match number {
            sys::SIGCHLD => self.reap(),
            sys::SIGUSR2 | sys::SIGTERM if self.options.cage && !self.stopping => {
                self.stopping = true;
                sys::send(-1, sys::SIGTERM);
            }
            number if self.options.cage && number > FIRST_REAL_TIME => {
                self.stopping |= number - FIRST_REAL_TIME == sys::SIGKILL;
                sys::send(-1, number - FIRST_REAL_TIME);
            }
            FIRST_REAL_TIME if !self.options.cage => self.hang_up(),
            _ => {}
        }
    }

    /// Once, though both the end of the input and a signal may tell.
    fn hang_up(&mut self) {
        if self.status.is_none() && !self.hung_up {
            self.hung_up = true;
            sys::send(-self.main, sys::SIGHUP);
        }
    }

    fn reap(&mut self) {
        loop {
            match sys::reap() {
                Ok((pid, status)) if pid == self.main => {
                    self.status = Some(status);
                    if self.options.cage && !self.stopping {
                        // What a crash leaves behind gets TERM and a short grace; while stopping it has the rest of its own.
                        sys::send(-1, sys::SIGTERM);
                        self.kill_at = Some(Instant::now() + LEFT_OVER_GRACE);
                    }
                }
                Ok(_) => {}
                Err(none) => {
                    self.no_children = none;
                    return;
                }
            }
        }
    }

    fn timers(&mut self) {
        let now = Instant::now();
        let over = if self.options.cage { self.no_children && !sys::send(-1, 0) } else { self.status.is_some() };
        if over && self.over_at.is_none() {
            self.over_at = Some(now);
            self.kill_at = None;
            self.read_output();
            self.ends.output = None;
            if self.options.cage {
                // The engine's own word for it gets lost when a part of it is killed.
                let frame = format!("X {}\n", self.status.unwrap_or(137)).into_bytes();
                self.outgoing_bytes += frame.len();
                self.outgoing.push_back(frame);
            }
        }
        if self.kill_at.is_some_and(|at| now >= at) {
            sys::send(-1, sys::SIGKILL);
            self.kill_at = Some(now + KILL_AGAIN); // one that was forking just now is caught by the next round
        }
    }

    fn finished(&self) -> bool {
        let Some(at) = self.over_at else { return false };
        self.outgoing.is_empty() || at.elapsed() > FLUSH_LIMIT
    }

    fn read_output(&mut self) {
        let mut buffer = [0u8; READ_BYTES];
        while let Some(mut output) = self.ends.output.as_ref() {
            if self.over_at.is_none() && self.options.lossless && self.outgoing_bytes >= LOSSLESS_BYTES_MAX {
                return;
            }
            match output.read(&mut buffer) {
                Ok(0) => self.ends.output = None,
                Ok(n) => self.push(&buffer[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        let frame = if self.options.cage { self.frame(bytes) } else { bytes.to_vec() };
        // What the engine has a part of must be whole; the next ones give way.
        let first = usize::from(self.written > 0);
        while !self.options.lossless && self.outgoing_bytes + frame.len() > RING_BYTES_MAX && self.outgoing.len() > first {
            self.outgoing_bytes -= self.outgoing.remove(first).map_or(0, |f| f.len());
        }
        self.outgoing_bytes += frame.len();
        self.outgoing.push_back(frame);
    }

    /// `T offset lines time bytes`, the counts being those before it; whoever reads sees by them what is missing. The last
    /// one is `X status`.
    fn frame(&mut self, bytes: &[u8]) -> Vec<u8> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros();
        let mut frame = format!("T {} {} {now} ", self.offset, self.lines).into_bytes();
        self.offset += bytes.len() as u64;
        for byte in bytes {
            match *byte {
                b'\n' => {
                    self.lines += 1;
                    frame.extend([ESCAPE, b'n']);
                }
                ESCAPE => frame.extend([ESCAPE, b'd']),
                other => frame.push(other),
            }
        }
        frame.push(b'\n');
        frame
    }

    fn write_out(&mut self) {
        while let Some(frame) = self.outgoing.front() {
            match self.stdout.write(&frame[self.written..]) {
                Ok(n) if self.written + n == frame.len() => {
                    self.written = 0;
                    self.outgoing_bytes -= self.outgoing.pop_front().map_or(0, |f| f.len());
                }
                Ok(n) => self.written += n,
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return,
                Err(_) => {
                    // Nobody is there any more: of a further process that is the end of its reader.
                    self.outgoing.clear();
                    (self.outgoing_bytes, self.written) = (0, 0);
                }
            }
        }
    }

    fn read_input(&mut self) {
        let mut buffer = [0u8; READ_BYTES];
        while let Some(mut stdin) = self.stdin.as_ref() {
            match stdin.read(&mut buffer) {
                Ok(0) => {
                    self.stdin = None;
                    if !self.options.cage {
                        self.hang_up(); // whoever had started it is gone
                    }
                }
                Ok(n) => {
                    for byte in &buffer[..n] {
                        match *byte {
                            b'\n' => self.command(),
                            other => self.line.push(other),
                        }
                    }
                }
                Err(_) => return,
            }
            if self.for_program.len() >= INPUT_BYTES_MAX {
                return;
            }
        }
    }

    /// One line from the driver; what is cut short by its death makes no sense and is left out.
    fn command(&mut self) {
        let line = std::mem::take(&mut self.line);
        let Some((kind, rest)) = line.split_first() else { return };
        let numbers: Vec<u16> =
            rest.split(|b| *b == b' ').filter_map(|word| std::str::from_utf8(word).ok()?.parse().ok()).collect();
        match (kind, numbers.as_slice()) {
            (b'B', _) if !self.input_over => {
                let mut escaped = false;
                for byte in rest {
                    match (escaped, *byte) {
                        (false, ESCAPE) => escaped = true,
                        (false, byte) => self.for_program.push_back(byte),
                        (true, byte) => {
                            self.for_program.push_back(if byte == b'n' { b'\n' } else { ESCAPE });
                            escaped = false;
                        }
                    }
                }
            }
            (b'E', _) if self.ends.terminal => self.for_program.push_back(END_OF_FILE),
            (b'E', _) => self.input_over = true,
            (b'R', [rows, columns]) if self.ends.terminal => {
                self.ends.output.iter().for_each(|master| sys::resize(master, *rows, *columns));
            }
            (b'S', [number]) if self.status.is_none() => drop(sys::send(-self.main, i32::from(*number))),
            _ => {}
        }
    }

    fn feed_program(&mut self) {
        while let (Some(mut input), (part, _)) = (self.ends.input.as_ref(), self.for_program.as_slices()) {
            if part.is_empty() {
                break;
            }
            match input.write(part) {
                Ok(n) => drop(self.for_program.drain(..n)),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.ends.input = None; // it reads no more
                    self.for_program.clear();
                }
            }
        }
        if self.input_over && self.for_program.is_empty() {
            self.ends.input = None;
        }
    }
}
