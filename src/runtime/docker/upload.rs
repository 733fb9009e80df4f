//! Folders on their way into the engine: a tar that is made while it is sent.

use bollard::query_parameters::{UploadToContainerOptions, UploadToContainerOptionsBuilder};
use bytes::Bytes;
use futures_util::Stream;
use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};
use tokio::sync::mpsc;

/// Size of a piece, and pieces on their way.
const PIECE_BYTES: usize = 256 << 10;
const PIECES: usize = 4;

/// Who owns what is uploaded.
#[derive(Clone, Copy, Debug)]
pub enum Owner {
    /// As on the host.
    Same,
    /// This user and group, which may change it.
    User(u32, u32),
    /// Root; nobody else may change it.
    Fixed,
}

struct Pipe {
    piece: Vec<u8>,
    sender: mpsc::Sender<io::Result<Bytes>>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.piece.extend_from_slice(bytes);
        if self.piece.len() >= PIECE_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let piece = Bytes::from(std::mem::take(&mut self.piece));
        let gone = |_| io::Error::new(io::ErrorKind::BrokenPipe, "the engine reads no more");
        self.sender.blocking_send(Ok(piece)).map_err(gone)
    }
}

/// A part of an archive.
#[derive(Clone, Debug)]
pub enum Part {
    /// All of a folder on the host.
    Folder {
        /// On the host.
        source: PathBuf,
        /// In the archive; relative.
        target: PathBuf,
        /// Whose it is.
        owner: Owner,
    },
    /// A file that root owns.
    File {
        /// In the archive; relative.
        target: PathBuf,
        /// Its bytes.
        content: Vec<u8>,
        /// Its mode.
        mode: u32,
    },
}

/// An archive, made while it is read.
pub fn archive(parts: Vec<Part>) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let pipe = Pipe { piece: Vec::new(), sender: sender.clone() };
        let mut archive = tar::Builder::new(pipe);
        let packed = parts.iter().try_for_each(|part| pack(&mut archive, part));
        let done = packed.and_then(|()| archive.into_inner()).and_then(|mut pipe| pipe.flush());
        if let Err(e) = done {
            let _ = sender.blocking_send(Err(e)); // a reader that is gone needs no reason
        }
    });
    futures_util::stream::unfold(receiver, |mut receiver| async {
        let piece = receiver.recv().await?;
        Some((piece, receiver))
    })
}

fn pack<W: Write>(archive: &mut tar::Builder<W>, part: &Part) -> io::Result<()> {
    match part {
        Part::Folder { source, target, owner } => pack_folder(archive, source, target, *owner),
        Part::File { target, content, mode } => {
            let mut header = tar::Header::new_gnu();
            header.set_mode(*mode);
            header.set_size(content.len() as u64);
            archive.append_data(&mut header, target, content.as_slice())
        }
    }
}

fn pack_folder<W: Write>(archive: &mut tar::Builder<W>, source: &Path, target: &Path, owner: Owner) -> io::Result<()> {
    let mut waiting = vec![PathBuf::new()];
    while let Some(inner) = waiting.pop() {
        let path = if inner.as_os_str().is_empty() { source.to_path_buf() } else { source.join(&inner) };
        let name = if inner.as_os_str().is_empty() { target.to_path_buf() } else { target.join(&inner) };
        let about = fs::symlink_metadata(&path).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", path.display())))?;
        let mut header = tar::Header::new_gnu();
        header.set_metadata(&about);
        match owner {
            Owner::Same => {}
            Owner::User(uid, gid) => (header.set_uid(uid.into()), header.set_gid(gid.into())).0,
            Owner::Fixed => {
                header.set_uid(0);
                header.set_gid(0);
                header.set_mode(header.mode()? & !0o022);
            }
        }
        if about.is_symlink() {
            header.set_size(0);
            archive.append_link(&mut header, &name, fs::read_link(&path)?)?;
        } else if about.is_dir() {
            header.set_size(0);
            archive.append_data(&mut header, &name, io::empty())?;
            for entry in fs::read_dir(&path)? {
                waiting.push(inner.join(entry?.file_name()));
            }
        } else if about.is_file() {
            archive.append_data(&mut header, &name, fs::File::open(&path)?)?;
        } // sockets and devices of a slug or a stack have no use
    }
    Ok(())
}

/// Where in the container.
pub fn to(path: &str) -> UploadToContainerOptions {
    UploadToContainerOptionsBuilder::default().path(path).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_keeps_its_shape_and_gets_its_owner() {
        let dir = tempfile::tempdir().expect("folder");
        fs::create_dir(dir.path().join("deep")).expect("folder");
        fs::write(dir.path().join("deep/file"), "text").expect("file");
        std::os::unix::fs::symlink("../elsewhere", dir.path().join("deep/link")).expect("link");
        let long = "x".repeat(150);
        fs::write(dir.path().join(&long), "").expect("file");
        let mut archive = tar::Builder::new(Vec::new());
        pack_folder(&mut archive, dir.path(), Path::new("app"), Owner::User(200_001, 200_002)).expect("packed");
        let bytes = archive.into_inner().expect("archive");
        let mut found = Vec::new();
        for entry in tar::Archive::new(bytes.as_slice()).entries().expect("entries") {
            let entry = entry.expect("entry");
            assert_eq!((entry.header().uid().expect("uid"), entry.header().gid().expect("gid")), (200_001, 200_002));
            let link = entry.link_name().expect("link").map(|l| l.display().to_string()).unwrap_or_default();
            found.push(format!("{} {link}", entry.path().expect("path").display()));
        }
        found.sort();
        let expected = ["app ".to_string(), "app/deep ".into(), "app/deep/file ".into(), "app/deep/link ../elsewhere".into()];
        assert_eq!(found, [expected.as_slice(), &[format!("app/{long} ")]].concat());
    }
}
