//! Exports: every row in one file, written whole or not at all. What the journal is replayed onto when sled is lost.

use crate::{
    StoreError,
    codec::{self, Change},
    frame,
    journal::sync_dir,
    tx::RawRow,
    working::Working,
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

#[derive(Serialize, Deserialize)]
enum Part {
    /// First frame: all records up to this one are inside.
    Head { seq: u64 },
    /// Some rows.
    Rows(Vec<RawRow>),
    /// Last frame: how many rows there were.
    End { rows: u64 },
}

const ROWS_PER_FRAME: usize = 512;
const SUFFIX: &str = ".export";
/// Exports kept; the journal reaches back to the oldest of them.
const KEPT: usize = 2;

/// Writes `export`, returns its path.
pub fn write(dir: &Path, working: &Working, seq: u64) -> Result<PathBuf, StoreError> {
    fs::create_dir_all(dir).map_err(|e| StoreError::io("create", dir, e))?;
    let path = dir.join(format!("{seq:020}{SUFFIX}"));
    let partial = path.with_extension("partial");
    let written = write_file(&partial, working, seq).and_then(|()| {
        fs::rename(&partial, &path).map_err(|e| StoreError::io("rename", &partial, e))?;
        sync_dir(dir)
    });
    if written.is_err() {
        let _ = fs::remove_file(&partial); // the error that counts is already on its way
    }
    written.map(|()| path)
}

fn write_file(path: &Path, working: &Working, seq: u64) -> Result<(), StoreError> {
    let io = |e| StoreError::io("write", path, e);
    let mut out = BufWriter::new(File::create(path).map_err(io)?);
    let mut put = |part: &Part| -> Result<(), StoreError> {
        let mut bytes = Vec::new();
        frame::push(&mut bytes, &codec::encode(part)?);
        out.write_all(&bytes).map_err(io)
    };
    put(&Part::Head { seq })?;
    let mut rows = Vec::new();
    let mut count = 0u64;
    for row in working.rows() {
        rows.push(row?);
        count += 1;
        if rows.len() == ROWS_PER_FRAME {
            put(&Part::Rows(std::mem::take(&mut rows)))?;
        }
    }
    put(&Part::Rows(rows))?;
    put(&Part::End { rows: count })?;
    let file = out.into_inner().map_err(|e| io(e.into_error()))?;
    file.sync_all().map_err(io)
}

/// Exports in the order of the record that they reach.
pub fn list(dir: &Path) -> Vec<(u64, PathBuf)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(|e| {
            let name = e.file_name();
            let seq = name.to_str()?.strip_suffix(SUFFIX)?.parse().ok()?;
            Some((seq, e.path()))
        })
        .collect();
    found.sort();
    found
}

/// Removes all but the newest exports; returns the sequence number that the oldest kept one reaches.
pub fn prune(dir: &Path) -> Result<u64, StoreError> {
    let mut found = list(dir);
    while found.len() > KEPT {
        let (_, path) = found.remove(0);
        fs::remove_file(&path).map_err(|e| StoreError::io("remove", &path, e))?;
    }
    Ok(if found.len() < KEPT { 0 } else { found[0].0 })
}

/// True when there is no export yet.
pub fn none_yet(dir: &Path) -> bool {
    list(dir).is_empty()
}

/// Loads the newest export that is whole; returns the record it reaches, 0 when there is none.
pub fn load_newest(dir: &Path, working: &Working) -> Result<u64, StoreError> {
    for (_, path) in list(dir).into_iter().rev() {
        let bytes = fs::read(&path).map_err(|e| StoreError::io("read", &path, e))?;
        match parse(&bytes) {
            Ok((seq, rows)) => {
                let changes: Vec<Change> = rows.into_iter().map(|(k, v)| (k, Some(v))).collect();
                for piece in changes.chunks(ROWS_PER_FRAME) {
                    working.apply(piece.iter(), 0)?;
                }
                working.apply(std::iter::empty(), seq)?;
                return Ok(seq);
            }
            Err(reason) => tracing::warn!(path = %path.display(), %reason, "store.export_damaged: trying the one before"),
        }
    }
    Ok(0)
}

type Rows = Vec<RawRow>;

fn parse(bytes: &[u8]) -> Result<(u64, Rows), StoreError> {
    let damaged = |what: &str| StoreError::Corrupt(format!("export: {what}"));
    let mut rest = bytes;
    let mut head = None;
    let mut all: Rows = Vec::new();
    loop {
        let frame::Next::Whole(payload, after) = frame::next(rest) else { return Err(damaged("cut or damaged")) };
        rest = after;
        match codec::decode::<Part>(payload)? {
            Part::Head { seq } => head = Some(seq),
            Part::Rows(rows) => all.extend(rows),
            Part::End { rows } => {
                let seq = head.ok_or_else(|| damaged("no head"))?;
                return if rows == all.len() as u64 { Ok((seq, all)) } else { Err(damaged("rows are missing")) };
            }
        }
    }
}
