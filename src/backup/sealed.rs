//! The outer layer: a header, then pieces of 64 KiB, each sealed with ChaCha20-Poly1305 under a number of its own; the last
//! one is marked (the STREAM construction), so that a cut, a swap and a changed byte are all seen. The key comes from the
//! passphrase by Argon2id, whose costs and salt are in the header, and the header is sealed along.

use crate::error::{Error, Result, Stream};
use argon2::{Algorithm, Argon2, Params, Version};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use std::io::{self, Read, Write};

const MAGIC: &[u8; 14] = b"TIDEMILLBACKUP";
const FORMAT: u16 = 1;
const SALT_BYTES: usize = 16;
const CHECK_BYTES: usize = 16;
/// Magic, format, costs (memory in KiB, passes, lanes), salt, and the check of the passphrase.
const HEADER_BYTES: usize = 14 + 2 + 12 + SALT_BYTES + CHECK_BYTES;
const PIECE_BYTES: usize = 64 << 10;
const TAG_BYTES: usize = 16;
/// Costs of new files: half a second and 64 MiB.
const COSTS: [u32; 3] = [64 << 10, 3, 1];
/// A header that asks for more than a GiB or 32 passes is not ours, and would stop this machine.
const COSTS_MAX: [u32; 3] = [1 << 20, 32, 16];

struct Keys {
    pieces: LessSafeKey,
    check: [u8; CHECK_BYTES],
}

/// The key of the pieces, and what tells a wrong passphrase from a damaged file.
fn keys(passphrase: &str, start: &[u8], costs: [u32; 3], salt: &[u8]) -> Result<Keys> {
    let odd = |e: argon2::Error| Error::Unsound(e.to_string());
    let mut bytes = [0u8; 64];
    let params = Params::new(costs[0], costs[1], costs[2], Some(bytes.len())).map_err(odd)?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(passphrase.as_bytes(), salt, &mut bytes)
        .map_err(odd)?;
    let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes[..32]).map_err(|_| Error::Unsound("no key".into()))?;
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &bytes[32..]), start);
    let mut check = [0u8; CHECK_BYTES];
    check.copy_from_slice(&tag.as_ref()[..CHECK_BYTES]);
    Ok(Keys { pieces: LessSafeKey::new(key), check })
}

fn nonce(number: u64, last: bool) -> Nonce {
    let mut bytes = [0u8; 12];
    bytes[3..11].copy_from_slice(&number.to_be_bytes());
    bytes[11] = u8::from(last);
    Nonce::assume_unique_for_key(bytes)
}

/// Seals what is written to it. Only [`Sealing::finish`] makes a whole file.
pub struct Sealing<W> {
    out: W,
    keys: Keys,
    header: Vec<u8>,
    buffer: Vec<u8>,
    number: u64,
}

impl<W: Write> Sealing<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// When there is no randomness or memory, or the writer fails.
    pub fn new(mut out: W, passphrase: &str) -> Result<Self> {
        let mut salt = [0u8; SALT_BYTES];
        SystemRandom::new().fill(&mut salt).map_err(|_| Error::Unsound("no randomness".into()))?;
        let mut header = MAGIC.to_vec();
        header.extend_from_slice(&FORMAT.to_le_bytes());
        COSTS.iter().for_each(|cost| header.extend_from_slice(&cost.to_le_bytes()));
        header.extend_from_slice(&salt);
        let keys = keys(passphrase, &header, COSTS, &salt)?;
        header.extend_from_slice(&keys.check);
        out.write_all(&header).map_err(|e| Error::io("write", std::path::Path::new("the backup"), &e))?;
        Ok(Self { out, keys, header, buffer: Vec::with_capacity(PIECE_BYTES + TAG_BYTES), number: 0 })
    }

    fn piece(&mut self, last: bool) -> io::Result<()> {
        let mut piece = std::mem::take(&mut self.buffer);
        self.keys
            .pieces
            .seal_in_place_append_tag(nonce(self.number, last), Aad::from(&self.header), &mut piece)
            .map_err(|_| io::Error::other("sealing failed"))?;
        self.number += 1;
        self.out.write_all(&piece)?;
        piece.clear();
        self.buffer = piece;
        Ok(())
    }

    /// Writes the last piece and gives the writer back.
    ///
    /// # Errors
    /// When the writer fails.
    pub fn finish(mut self) -> io::Result<W> {
        self.piece(true)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full piece waits until more comes: it may be the last one.
        if self.buffer.len() == PIECE_BYTES {
            self.piece(false)?;
        }
        let taken = bytes.len().min(PIECE_BYTES - self.buffer.len());
        self.buffer.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens what [`Sealing`] wrote. Its end is only reached when the last piece was there.
pub struct Opening<R> {
    from: R,
    keys: Keys,
    header: Vec<u8>,
    /// The piece that is being read, and how much of it was.
    open: Vec<u8>,
    at: usize,
    /// The bytes of the next piece, sealed.
    next: Vec<u8>,
    number: u64,
    read: u64,
    ended: bool,
}

impl<R: Read> Opening<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// When this is no backup, of a newer format, or the passphrase is another one.
    pub fn new(mut from: R, passphrase: &str) -> Result<Self> {
        let mut header = vec![0u8; HEADER_BYTES];
        let read = fill(&mut from, &mut header).map_err(|e| Error::io("read", std::path::Path::new("the backup"), &e))?;
        if !header.starts_with(MAGIC) {
            return Err(Error::Foreign);
        }
        if read < HEADER_BYTES {
            return Err(Error::Cut(read as u64));
        }
        let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let format = u16::from_le_bytes([header[14], header[15]]);
        if format != FORMAT {
            return Err(Error::Newer(format));
        }
        let costs = [number(16), number(20), number(24)];
        if costs.iter().zip(COSTS_MAX).any(|(cost, max)| *cost == 0 || *cost > max) {
            return Err(Error::Damaged(16));
        }
        let start = &header[..HEADER_BYTES - CHECK_BYTES];
        let keys = keys(passphrase, start, costs, &start[28..])?;
        if keys.check != header[start.len()..] {
            return Err(Error::Passphrase);
        }
        let (open, next, read) = (Vec::new(), Vec::new(), HEADER_BYTES as u64);
        let mut opening = Self { from, keys, header, open, at: 0, next, number: 0, read, ended: false };
        opening.ahead().map_err(|e| Error::io("read", std::path::Path::new("the backup"), &e))?;
        Ok(opening)
    }

    /// Reads the next sealed piece; empty at the end of the file.
    fn ahead(&mut self) -> io::Result<()> {
        self.next.resize(PIECE_BYTES + TAG_BYTES, 0);
        let read = fill(&mut self.from, &mut self.next)?;
        self.next.truncate(read);
        Ok(())
    }

    fn advance(&mut self) -> io::Result<()> {
        let mut piece = std::mem::take(&mut self.next);
        if piece.is_empty() {
            return Err(Stream::Cut(self.read).into());
        }
        self.ahead()?;
        let (length, last) = (piece.len() as u64, self.next.is_empty());
        let mut again = if last { piece.clone() } else { Vec::new() };
        let plain = self.keys.pieces.open_in_place(nonce(self.number, last), Aad::from(&self.header), &mut piece);
        let Ok(plain) = plain.map(|plain| plain.len()) else {
            // An unharmed piece that is not the last one ends a file that was cut just there.
            let between =
                self.keys.pieces.open_in_place(nonce(self.number, false), Aad::from(&self.header), &mut again).is_ok();
            return Err(match (last, between) {
                (true, true) => Stream::Cut(self.read + length),
                (true, false) => Stream::Torn(self.read),
                (false, _) => Stream::Damaged(self.read),
            }
            .into());
        };
        piece.truncate(plain);
        (self.open, self.at, self.ended) = (piece, 0, last);
        self.number += 1;
        self.read += length;
        Ok(())
    }
}

impl<R: Read> Read for Opening<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.at == self.open.len() {
            if self.ended {
                return Ok(0);
            }
            self.advance()?;
        }
        let taken = into.len().min(self.open.len() - self.at);
        into[..taken].copy_from_slice(&self.open[self.at..self.at + taken]);
        self.at += taken;
        Ok(taken)
    }
}

/// Fills as much as there is.
fn fill(from: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    let mut at = 0;
    while at < into.len() {
        match from.read(&mut into[at..]) {
            Ok(0) => break,
            Ok(n) => at += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(plain: &[u8]) -> Vec<u8> {
        let mut sealing = Sealing::new(Vec::new(), "correct horse").unwrap();
        sealing.write_all(plain).unwrap();
        sealing.finish().unwrap()
    }

    fn open(bytes: &[u8], passphrase: &str) -> Result<Vec<u8>> {
        let mut plain = Vec::new();
        let mut opening = Opening::new(bytes, passphrase)?;
        opening.read_to_end(&mut plain).map_err(|e| Error::io("read", std::path::Path::new("x"), &e))?;
        Ok(plain)
    }

    #[test]
    fn what_was_sealed_opens_and_nothing_else_does() {
        for length in [0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES] {
            let plain: Vec<u8> = (0..length).map(|n| (n % 251) as u8).collect();
            assert_eq!(open(&sealed(&plain), "correct horse").unwrap(), plain, "{length}");
        }
        let whole = sealed(&vec![7; 3 * PIECE_BYTES]);
        assert!(matches!(open(&whole, "wrong horse"), Err(Error::Passphrase)));
        assert!(matches!(open(b"hello, this is a text and no backup", "x"), Err(Error::Foreign)));
        for cut in [20, HEADER_BYTES, HEADER_BYTES + 9, HEADER_BYTES + PIECE_BYTES + TAG_BYTES, whole.len() - 1] {
            assert!(matches!(open(&whole[..cut], "correct horse"), Err(Error::Cut(_) | Error::Torn(_))), "{cut}");
        }
        let mut flipped = whole.clone();
        flipped[HEADER_BYTES + 100] ^= 1;
        assert!(matches!(open(&flipped, "correct horse"), Err(Error::Damaged(_))));
        // Pieces in another order, and something after the end.
        let (size, mut swapped) = (PIECE_BYTES + TAG_BYTES, whole.clone());
        swapped[HEADER_BYTES..HEADER_BYTES + size].copy_from_slice(&whole[HEADER_BYTES + size..HEADER_BYTES + 2 * size]);
        assert!(open(&swapped, "correct horse").is_err());
        assert!(open(&[whole.as_slice(), b"x"].concat(), "correct horse").is_err());
    }
}
