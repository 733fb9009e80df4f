//! The few calls of the C library that the standard library does not offer. Declared by hand, because this program is
//! built by itself, without any crate (see `build.rs`).

use std::{
    ffi::{c_char, c_int, c_short, c_ulong, c_void},
    fs::File,
    io::{Error, Result},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

unsafe extern "C" {
    fn close_range(first: u32, last: u32, flags: c_int) -> c_int;
    fn dup2(from: c_int, to: c_int) -> c_int;
    fn execvp(file: *const c_char, argv: *const *const c_char) -> c_int;
    fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    fn fork() -> c_int;
    fn getrlimit(resource: c_int, limits: *mut [u64; 2]) -> c_int;
    fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
    fn kill(pid: c_int, signal: c_int) -> c_int;
    fn pipe2(fds: *mut c_int, flags: c_int) -> c_int;
    fn poll(fds: *mut Poll, count: c_ulong, timeout: c_int) -> c_int;
    fn prctl(option: c_int, ...) -> c_int;
    fn setrlimit(resource: c_int, limits: *const [u64; 2]) -> c_int;
    fn setsid() -> c_int;
    fn signal(number: c_int, handler: usize) -> usize;
    fn signalfd(fd: c_int, mask: *const u64, flags: c_int) -> c_int;
    fn sigprocmask(how: c_int, set: *const u64, old: *mut u64) -> c_int;
    fn umask(mode: u32) -> u32;
    fn waitpid(pid: c_int, status: *mut c_int, options: c_int) -> c_int;
    fn _exit(code: c_int) -> !;
}

/// Event bits of [`Poll`].
pub const POLLIN: c_short = 1;
/// See [`POLLIN`].
pub const POLLOUT: c_short = 4;
pub const SIGHUP: i32 = 1;
pub const SIGUSR1: i32 = 10;
pub const SIGUSR2: i32 = 12;
pub const SIGKILL: i32 = 9;
pub const SIGTERM: i32 = 15;
pub const SIGCHLD: i32 = 17;
const ENOENT: i32 = 2;
const O_NONBLOCK: c_int = 0o4000;
const O_CLOEXEC: c_int = 0o2_000_000;
const F_GETFL: c_int = 3;
const F_SETFL: c_int = 4;
const TIOCSCTTY: c_ulong = 0x540E;
const TIOCSWINSZ: c_ulong = 0x5414;
const TIOCSPTLCK: c_ulong = 0x4004_5431;
const TIOCGPTPEER: c_ulong = 0x5441;
const RLIMIT_NOFILE: c_int = 7;
/// Most files an app may have open; the soft limit is the same (`runtime.md` section 10). Here, because the engine refuses
/// to begin when its own limit is lower.
const FILES_MAX: u64 = 65_536;
const PR_SET_DUMPABLE: c_int = 4;
/// Larger than the C library's set of signals, which is 1024 bits.
type Set = [u64; 16];
const ALL: Set = [u64::MAX; 16];
const NONE: Set = [0; 16];

/// Like `struct pollfd`.
#[repr(C)]
pub struct Poll {
    pub fd: c_int,
    pub wants: c_short,
    pub got: c_short,
}

fn checked(result: c_int) -> Result<c_int> {
    if result < 0 { Err(Error::last_os_error()) } else { Ok(result) }
}

/// Waits for any of the descriptors; a negative time is for ever.
pub fn wait_for(fds: &mut [Poll], timeout_ms: i32) {
    // SAFETY: the slice is valid for its length. An interruption is as good as an event.
    unsafe { poll(fds.as_mut_ptr(), fds.len() as c_ulong, timeout_ms) };
}

/// Blocks every signal and gives a descriptor that tells which came.
pub fn signals() -> Result<File> {
    // SAFETY: the set is as large as the C library's; a new descriptor belongs to nobody yet.
    unsafe {
        checked(sigprocmask(2, ALL.as_ptr(), std::ptr::null_mut()))?;
        Ok(File::from_raw_fd(checked(signalfd(-1, ALL.as_ptr(), O_NONBLOCK | O_CLOEXEC))?))
    }
}

/// To a process, a group (negative) or to all but this one (-1). True when there was one.
pub fn send(pid: i32, number: i32) -> bool {
    // SAFETY: takes numbers.
    unsafe { kill(pid, number) == 0 }
}

/// An ended child and its status, 128 + signal for a violent end; `Err(true)` when there are no children at all.
pub fn reap() -> std::result::Result<(i32, i32), bool> {
    let mut status = 0;
    // SAFETY: the pointer is valid; 1 is WNOHANG.
    let pid = unsafe { waitpid(-1, &raw mut status, 1) };
    match pid {
        0 => Err(false),
        pid if pid > 0 => Ok((pid, if status & 0x7f == 0 { status >> 8 & 0xff } else { 128 + (status & 0x7f) })),
        _ => Err(true),
    }
}

/// Reader and writer; closed in programs that are executed.
pub fn pipe() -> Result<(File, File)> {
    let mut fds = [0; 2];
    // SAFETY: the array has room for two; new descriptors belong to nobody yet.
    unsafe {
        checked(pipe2(fds.as_mut_ptr(), O_CLOEXEC))?;
        Ok((File::from_raw_fd(fds[0]), File::from_raw_fd(fds[1])))
    }
}

/// The two ends of a new terminal.
pub fn terminal() -> Result<(File, File)> {
    let master = File::options().read(true).write(true).open("/dev/ptmx")?;
    let unlock: c_int = 0;
    // SAFETY: the pointer is valid; 2 is O_RDWR, and the new descriptor belongs to nobody yet.
    unsafe {
        checked(ioctl(master.as_raw_fd(), TIOCSPTLCK, &raw const unlock))?;
        let slave = checked(ioctl(master.as_raw_fd(), TIOCGPTPEER, 2 | O_CLOEXEC | 0o400))?;
        Ok((master, File::from_raw_fd(slave)))
    }
}

pub fn resize(master: &File, rows: u16, columns: u16) {
    let size: [u16; 4] = [rows, columns, 0, 0];
    // SAFETY: the pointer is valid for a `struct winsize`.
    unsafe { ioctl(master.as_raw_fd(), TIOCSWINSZ, size.as_ptr()) };
}

pub fn nonblocking(fd: &impl AsRawFd) {
    // SAFETY: takes numbers.
    unsafe {
        let flags = fcntl(fd.as_raw_fd(), F_GETFL);
        fcntl(fd.as_raw_fd(), F_SETFL, flags | O_NONBLOCK);
    }
}

/// Nobody in the container may look into this process, also not a program with the same user.
pub fn hide() {
    // SAFETY: takes numbers.
    unsafe { prctl(PR_SET_DUMPABLE, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong, 0 as c_ulong) };
}

/// Starts a program with these three as its standard files, in a session of its own; gives its pid. `argv` is made of C
/// strings.
pub fn spawn(argv: &[std::ffi::CString], files: [&OwnedFd; 3], terminal: bool) -> Result<i32> {
    let mut pointers: Vec<*const c_char> = argv.iter().map(|arg| arg.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: this process has one thread, so the child may use everything.
    match checked(unsafe { fork() })? {
        0 => {
            // SAFETY: all pointers are valid until the exec; the descriptors are open.
            unsafe {
                setsid();
                for (number, file) in (0..).zip(files) {
                    dup2(file.as_raw_fd(), number);
                }
                if terminal {
                    ioctl(0, TIOCSCTTY, std::ptr::null::<c_void>());
                }
                close_range(3, u32::MAX, 0);
                umask(0o022);
                let mut files = [0; 2];
                if getrlimit(RLIMIT_NOFILE, &raw mut files) == 0 {
                    files = [files[1].min(FILES_MAX); 2];
                    setrlimit(RLIMIT_NOFILE, &raw const files);
                }
                for number in 1..=64 {
                    signal(number, 0); // what is ignored or blocked would stay so for the program
                }
                sigprocmask(2, NONE.as_ptr(), std::ptr::null_mut());
                execvp(pointers[0], pointers.as_ptr());
                let problem = Error::last_os_error();
                eprintln!("{}: {problem}", argv[0].to_string_lossy());
                _exit(if problem.raw_os_error() == Some(ENOENT) { 127 } else { 126 })
            }
        }
        pid => Ok(pid),
    }
}
