//! The pre-receive hook: this same binary under the name `pre-receive`. Hands the pushed refs and the archive of the
//! commit to the daemon, then copies its answer to the pusher, line by line.
//!
//! It runs inside git's quarantine, the only place where the new objects can be read before the push is accepted.

use serde::{Deserialize, Serialize};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    process::{Command, ExitCode, Stdio},
};

/// Socket of the daemon.
pub const SOCKET_VARIABLE: &str = "TIDEMILL_HOOK_SOCKET";
/// Names the push, so that the daemon knows who and what.
pub const PUSH_VARIABLE: &str = "TIDEMILL_PUSH";
/// Last byte of the daemon's answer: the push is accepted.
pub const ACCEPTED: u8 = 0x06;
/// Last byte of the daemon's answer: the push is refused.
pub const REFUSED: u8 = 0x15;

/// First line of the hook's message.
#[derive(Debug, Serialize, Deserialize)]
pub struct Hello {
    /// From the environment.
    pub push: String,
    /// Lines of standard input: old, new, name.
    pub refs: Vec<(String, String, String)>,
}

/// The daemon's first answer: what to archive, if anything.
#[derive(Debug, Serialize, Deserialize)]
pub struct Order {
    /// Commit to be archived and sent.
    pub archive: Option<String>,
}

/// Entry under the name `pre-receive`.
pub fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(e) => {
            eprintln!(" !     The platform could not take the push: {e}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool, std::io::Error> {
    let variable = |name: &str| std::env::var(name).map_err(|_| std::io::Error::other(format!("{name} is not set")));
    let mut input = String::new();
    std::io::stdin().read_to_string(&mut input)?;
    let refs = input.lines().filter_map(|line| {
        let mut words = line.splitn(3, ' ').map(String::from);
        Some((words.next()?, words.next()?, words.next()?))
    });
    let hello = Hello { push: variable(PUSH_VARIABLE)?, refs: refs.collect() };
    let mut stream = UnixStream::connect(variable(SOCKET_VARIABLE)?)?;
    writeln!(stream, "{}", serde_json::to_string(&hello)?)?;
    let order: Order = serde_json::from_str(&read_line(&mut stream)?)?;
    if let Some(commit) = order.archive {
        let mut archive = Command::new("git")
            .args(["archive", "--format=tar", &commit])
            .stdin(Stdio::null())
            .stdout(Stdio::from(std::os::fd::OwnedFd::from(stream.try_clone()?)))
            .spawn()?;
        // When it fails the daemon sees that the archive is not whole, and refuses; its words come below.
        archive.wait()?;
        let _ = stream.shutdown(std::net::Shutdown::Write); // refused already: the answer is on its way
    }
    copy_answer(&mut stream)
}

/// Reads up to the first line end, byte by byte, since what follows is not ours to buffer.
fn read_line(stream: &mut UnixStream) -> Result<String, std::io::Error> {
    let mut line = Vec::new();
    let mut byte = [0u8];
    while stream.read(&mut byte)? == 1 && byte[0] != b'\n' {
        line.push(byte[0]);
    }
    String::from_utf8(line).map_err(std::io::Error::other)
}

/// Copies to standard output as it comes; the last byte is the verdict. An answer without one means that the daemon is
/// gone.
fn copy_answer(stream: &mut UnixStream) -> Result<bool, std::io::Error> {
    let mut out = std::io::stdout().lock();
    let mut buffer = [0u8; 8192];
    let mut held: Option<u8> = None;
    loop {
        let n = stream.read(&mut buffer)?;
        let Some(last) = buffer[..n].last().copied() else { break };
        if let Some(byte) = held.take() {
            out.write_all(&[byte])?;
        }
        if matches!(last, ACCEPTED | REFUSED) {
            out.write_all(&buffer[..n - 1])?;
            held = Some(last);
        } else {
            out.write_all(&buffer[..n])?;
        }
        out.flush()?;
    }
    match held {
        Some(verdict) => Ok(verdict == ACCEPTED),
        None => Err(std::io::Error::other("it was restarted; push again")),
    }
}
