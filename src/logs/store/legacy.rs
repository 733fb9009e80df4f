//! Files of a time before segments: `APP.log` and `APP.log.1`, plain lines with marks. They are converted when the app's log
//! is opened first, and then deleted.
//!
//! A file is a row of batches, each closed by a mark: `=`, or `= DYNO OFFSET` when its lines are the output of a dyno up
//! to that offset. What follows the last mark was cut short and does not count, so lines and offset always agree.

use super::{batch::Batch, files::Files, frame::Positions};
use bytes::Bytes;
use domain::{AppId, DynoId};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Bytes of messages in one batch.
const BATCH_BYTES: usize = 64 << 10;

fn paths(root: &Path, app: AppId) -> [PathBuf; 2] {
    [root.join(format!("{app}.log.1")), root.join(format!("{app}.log"))]
}

/// Takes the lines and marks of old files over; lines that were taken over before are left out.
pub(super) fn convert(root: &Path, app: AppId, files: &Files) -> io::Result<()> {
    let paths = paths(root, app);
    if !paths.iter().any(|path| path.exists()) {
        return Ok(());
    }
    let (first, _) = files.state();
    let (mut batches, mut positions) = (Vec::<Batch>::new(), Positions::new());
    for path in &paths {
        let bytes = match fs::read(path) {
            Ok(bytes) => Bytes::from(bytes),
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        let end = whole(&bytes).len();
        let mut start = 0;
        while let Some(length) = memchr::memchr(b'\n', &bytes[start..end]) {
            let record = bytes.slice(start..start + length);
            start += length + 1;
            take_mark(&record, &mut positions);
            if let Some(line) = parse_record(&record).filter(|line| line.first_seq >= first) {
                add(&mut batches, line);
            }
        }
    }
    for batch in &batches {
        append(files, batch)?;
    }
    for mark in positions {
        append(
            files,
            &Batch { position: Some(mark), lines: 0, body: Bytes::new(), ..batches.last().cloned().unwrap_or_else(nothing) },
        )?;
    }
    remove(root, app)
}

/// Deletes what is left of old files.
pub(super) fn remove(root: &Path, app: AppId) -> io::Result<()> {
    for path in paths(root, app) {
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    Ok(())
}

fn nothing() -> Batch {
    let (first_seq, body) = (1, Bytes::new());
    Batch { first_seq, lines: 0, time_us: 0, release: 0, source: body.clone(), ps: body.clone(), position: None, body }
}

fn append(files: &Files, batch: &Batch) -> io::Result<()> {
    let mut record = Vec::new();
    batch.push_record(&mut record);
    files.append(&record, std::iter::once(batch))?;
    if files.is_ripe() { files.pack(u64::MAX) } else { Ok(()) }
}

/// Puts a line to the last batch if it is of the same kind.
fn add(batches: &mut Vec<Batch>, line: Batch) {
    if let Some(last) = batches.last_mut()
        && (last.time_us, &last.source, &last.ps) == (line.time_us, &line.source, &line.ps)
        && last.end_seq() == line.first_seq
        && last.body.len() < BATCH_BYTES
    {
        let mut body = Vec::from(std::mem::take(&mut last.body));
        body.extend_from_slice(&line.body);
        last.body = body.into();
        last.lines += 1;
    } else {
        batches.push(line);
    }
}

/// Reads a line: fields separated by one space, the message last. `None` for anything else.
fn parse_record(record: &Bytes) -> Option<Batch> {
    let mut fields = record.splitn(5, |b| *b == b' ');
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse::<u64>().ok();
    let (first_seq, time_us) = (number()?, number()?);
    let (source, ps, message) = (fields.next()?, fields.next()?, fields.next()?);
    let (source, ps) = (Bytes::copy_from_slice(source), Bytes::copy_from_slice(ps));
    let body = [message, b"\n"].concat().into();
    (!source.is_empty() && !ps.is_empty()).then_some(Batch {
        first_seq,
        lines: 1,
        time_us,
        release: 0,
        source,
        ps,
        position: None,
        body,
    })
}

/// The part of a file that counts. One of a time without marks counts up to its last line end.
fn whole(bytes: &[u8]) -> &[u8] {
    let lines_end = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let bytes = &bytes[..lines_end];
    let mut end = lines_end;
    while end > 0 {
        let start = bytes[..end - 1].iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        if bytes[start] == b'=' {
            return &bytes[..end];
        }
        end = start;
    }
    bytes
}

/// Applies a record to the positions if it is a mark.
fn take_mark(record: &[u8], positions: &mut Positions) {
    match parse_mark(record) {
        Some((dyno, 0)) => drop(positions.remove(&dyno)),
        Some((dyno, offset)) => drop(positions.insert(dyno, offset)),
        None => {}
    }
}

fn parse_mark(record: &[u8]) -> Option<(DynoId, u64)> {
    let (dyno, offset) = std::str::from_utf8(record).ok()?.strip_prefix("= ")?.split_once(' ')?;
    Some((dyno.parse().ok()?, offset.parse().ok()?))
}
