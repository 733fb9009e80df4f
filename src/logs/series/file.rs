//! Files of a fixed size: three rings of slots, one after the other.
//!
//! ```text
//! slot: time (u32, in steps of its level, 0 = empty) | body | CRC-32 of both (u32)
//! ```

use super::{LEVELS, SLOTS, record::Record};
use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

const fn slot_bytes<R: Record>() -> usize {
    4 + R::BYTES + 4
}

/// Bytes of a whole file of a kind of record.
pub const fn file_bytes<R: Record>() -> u64 {
    SLOTS as u64 * slot_bytes::<R>() as u64
}

/// Where the slot of a time is.
fn offset<R: Record>(level: usize, time: u32) -> u64 {
    let before: u32 = LEVELS[..level].iter().map(|level| level.slots).sum();
    u64::from(before + time % LEVELS[level].slots) * slot_bytes::<R>() as u64
}

fn encode<R: Record>(time: u32, record: &R) -> Vec<u8> {
    let mut out = Vec::with_capacity(slot_bytes::<R>());
    out.extend(time.to_le_bytes());
    record.write(&mut out);
    out.extend(crc32fast::hash(&out).to_le_bytes());
    out
}

/// The record of a slot, if it is whole and of that time.
fn decode<R: Record>(time: u32, slot: &[u8]) -> Option<R> {
    let (body, sum) = slot.split_last_chunk::<4>()?;
    let (of, record) = body.split_first_chunk::<4>()?;
    let whole = u32::from_le_bytes(*of) == time && crc32fast::hash(body) == u32::from_le_bytes(*sum);
    whole.then(|| R::read(record))
}

/// Reads as much as there is; what the file lacks stays zero, which is an empty slot.
fn read_at(file: &File, mut buffer: &mut [u8], mut at: u64) {
    while !buffer.is_empty() {
        match file.read_at(buffer, at) {
            Ok(0) => return,
            Ok(n) => {
                buffer = buffer.split_at_mut(n).1;
                at += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return tracing::warn!(error = %e, "logs.series_unreadable"),
        }
    }
}

/// `count` slots from the time `from` on.
fn slots<R: Record>(file: &File, level: usize, from: u32, count: u32) -> Vec<Option<R>> {
    let (size, ring) = (slot_bytes::<R>(), LEVELS[level].slots);
    let mut found = Vec::with_capacity(count as usize);
    let mut time = from;
    while time < from.saturating_add(count) {
        // Up to the end of the ring in one go.
        let run = (ring - time % ring).min(from + count - time);
        let mut buffer = vec![0u8; run as usize * size];
        read_at(file, &mut buffer, offset::<R>(level, time));
        found.extend((time..).zip(buffer.chunks_exact(size)).map(|(time, slot)| decode(time, slot)));
        time += run;
    }
    found
}

/// Reads slots of a level; all are empty when there is no file.
pub fn read<R: Record>(path: &Path, level: usize, from: u32, count: u32) -> Vec<Option<R>> {
    match File::open(path) {
        Ok(file) => slots(&file, level, from, count),
        Err(_) => vec![None; count as usize],
    }
}

/// Opens a file and gives it its size, whatever it was before.
fn open<R: Record>(path: &Path) -> io::Result<File> {
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    let file = match opened {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            path.parent().map_or(Ok(()), fs::create_dir_all)?;
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?
        }
        other => other?,
    };
    if file.metadata()?.len() != file_bytes::<R>() {
        file.set_len(file_bytes::<R>())?;
    }
    Ok(file)
}

/// Adds a record to a minute (since 1970), and makes the slots of the coarser levels anew from the finer ones: what a crash
/// left out is put right by the next minute, and nothing is ever counted twice.
pub fn append<R: Record>(path: &Path, minute: u32, record: &R) -> io::Result<()> {
    let file = open::<R>(path)?;
    let mut whole = record.clone();
    if let Some(Some(before)) = slots::<R>(&file, 0, minute, 1).pop() {
        let more = std::mem::replace(&mut whole, before);
        whole.merge(&more);
    }
    file.write_all_at(&encode(minute, &whole), offset::<R>(0, minute))?;
    let mut time = minute;
    for level in 1..LEVELS.len() {
        let ratio = LEVELS[level].step_s / LEVELS[level - 1].step_s;
        time /= ratio;
        let mut sum = R::default();
        slots::<R>(&file, level - 1, time * ratio, ratio).iter().flatten().for_each(|part| sum.merge(part));
        file.write_all_at(&encode(time, &sum), offset::<R>(level, time))?;
    }
    Ok(())
}
