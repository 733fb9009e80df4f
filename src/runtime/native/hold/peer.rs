//! A connection to the holder: the daemon, or somebody's hands on the keyboard of a process.

use crate::{
    Exec,
    native::proto::{self, Decoder, Frame},
};
use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
};

/// What a connection is for; its first frame says it.
pub enum Role {
    /// Nothing was said yet.
    Unknown,
    /// The daemon: log, commands, exit. The newest such connection counts.
    Control,
    /// Input of the main process.
    Input,
    /// A further process; its number among [`super::serve::Holder::others`].
    Process(u64),
}

/// A connection.
pub struct Peer {
    /// Its socket.
    pub stream: UnixStream,
    /// What it is for.
    pub role: Role,
    /// What it shall get.
    pub outgoing: Vec<u8>,
    /// It is of no use any more.
    pub gone: bool,
    /// It goes when all was sent.
    pub ends: bool,
    decoder: Decoder,
}

/// What the first frame asks for.
pub enum Greeting {
    Control,
    Input,
    Start(Box<Exec>),
    Nonsense,
}

/// Reads the first frame.
pub fn greeting(frame: &Frame) -> Greeting {
    match frame.kind {
        proto::HELLO => Greeting::Control,
        proto::STDIN => Greeting::Input,
        proto::EXEC => serde_json::from_slice(&frame.payload).map_or(Greeting::Nonsense, |e| Greeting::Start(Box::new(e))),
        _ => Greeting::Nonsense,
    }
}

impl Peer {
    /// A connection that has said nothing.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream, role: Role::Unknown, outgoing: Vec::new(), gone: false, ends: false, decoder: Decoder::default() }
    }

    /// Reads what there is.
    pub fn read(&mut self) {
        let mut buffer = [0u8; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => self.gone = true,
                Ok(n) => {
                    self.decoder.feed(&buffer[..n]);
                    // One at a time: the rest waits in the socket while a process takes no input.
                    if !matches!(self.role, Role::Control) {
                        return;
                    }
                    continue;
                }
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => self.gone = true,
            }
            return;
        }
    }

    /// The next whole frame of what was read.
    pub fn next_frame(&mut self) -> Option<Frame> {
        self.decoder.next_frame().unwrap_or_else(|_| {
            self.gone = true;
            None
        })
    }

    /// Adds a frame.
    pub fn push(&mut self, kind: u8, parts: &[&[u8]]) {
        proto::push(&mut self.outgoing, kind, parts);
    }

    /// Writes what the socket takes.
    pub fn write(&mut self) {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(n) => drop(self.outgoing.drain(..n)),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => return, // poll tells when there is room
                Err(_) => {
                    self.gone = true;
                    return;
                }
            }
        }
        self.gone |= self.ends;
    }
}
