//! What was read from a dyno and is not yet safe with the daemon.

use std::collections::VecDeque;

/// Output kept while the daemon is away.
pub const RING_BYTES_MAX: usize = 1 << 20;
const UNCERTAIN_MAX: usize = 4096;

/// A piece of output.
pub struct Chunk {
    pub offset: u64,
    pub time_us: u64,
    pub bytes: Vec<u8>,
}

/// What was read and is not yet safe with the daemon.
#[derive(Default)]
pub struct Ring {
    pub chunks: VecDeque<Chunk>,
    bytes: usize,
    /// Offset of the next byte to be read.
    end: u64,
    /// Index of the first chunk that was not sent on this connection.
    pub unsent: usize,
    pub dropped_lines: u64,
    /// Ends and line counts of chunks that gave way after they were sent, but before the daemon said that they are safe.
    uncertain: VecDeque<(u64, u64)>,
}

impl Ring {
    /// Adds what was read; without `lossless` the oldest gives way to it.
    pub fn push(&mut self, time_us: u64, bytes: &[u8], lossless: bool) {
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
    pub fn rewind(&mut self) {
        self.unsent = 0;
        self.dropped_lines += self.uncertain.drain(..).map(|(_, lines)| lines).sum::<u64>();
    }

    /// Everything before `offset` is safe.
    pub fn acknowledge(&mut self, offset: u64) {
        while self.uncertain.front().is_some_and(|(end, _)| *end <= offset) {
            self.uncertain.pop_front();
        }
        while self.chunks.front().is_some_and(|c| c.offset + c.bytes.len() as u64 <= offset) {
            self.bytes -= self.chunks.pop_front().map_or(0, |c| c.bytes.len());
            self.unsent = self.unsent.saturating_sub(1);
        }
    }

    /// A lossless reader waits.
    pub fn is_full(&self) -> bool {
        self.bytes >= RING_BYTES_MAX
    }
}
