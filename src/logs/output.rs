//! Output of builds and release phases: written once, readable from any offset while it grows and after.

use bytes::Bytes;
use domain::limits::BUILD_OUTPUT_BYTES_MAX;
use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::watch;
use uuid::Uuid;

/// All outputs, one file each, by the id of the build or release.
#[derive(Clone)]
pub struct Outputs {
    dir: Arc<PathBuf>,
    live: Arc<Mutex<HashMap<Uuid, Arc<Output>>>>,
}

impl Outputs {
    /// Outputs kept under `dir`.
    ///
    /// # Errors
    /// When the directory can not be made.
    pub fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        Ok(Self { dir: Arc::new(dir.to_path_buf()), live: Arc::default() })
    }

    /// The output of a build that runs or waits; made when it is asked for first. Ends with [`Outputs::close`].
    pub fn live(&self, id: Uuid) -> Arc<Output> {
        let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
        live.entry(id).or_insert_with(|| Arc::new(Output::new(self.path(id)))).clone()
    }

    /// The output of any build: the live one, or the closed file.
    pub fn read(&self, id: Uuid) -> Arc<Output> {
        let live = self.live.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned();
        live.unwrap_or_else(|| {
            let output = Output::new(self.path(id));
            output.close();
            Arc::new(output)
        })
    }

    /// Nothing follows; readers come to their end.
    pub fn close(&self, id: Uuid) {
        let output = self.live.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(output) = output {
            output.close();
        }
    }

    /// Removes the file of a build.
    pub fn remove(&self, id: Uuid) {
        self.close(id);
        let _ = fs::remove_file(self.path(id)); // it may never have been written
    }

    fn path(&self, id: Uuid) -> PathBuf {
        self.dir.join(format!("{id}.txt"))
    }
}

/// One output.
pub struct Output {
    path: PathBuf,
    file: Mutex<Option<File>>,
    progress: watch::Sender<Progress>,
}

#[derive(Clone, Copy)]
struct Progress {
    bytes: u64,
    closed: bool,
}

impl Output {
    fn new(path: PathBuf) -> Self {
        let bytes = fs::metadata(&path).map_or(0, |m| m.len());
        let (progress, _) = watch::channel(Progress { bytes, closed: false });
        Self { path, file: Mutex::new(None), progress }
    }

    /// Appends; past the limit or after the end nothing more is kept. A disk that takes no more loses output, not the build.
    pub fn write(&self, bytes: &[u8]) {
        let before = self.progress.borrow().bytes;
        if before >= BUILD_OUTPUT_BYTES_MAX {
            return;
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if self.progress.borrow().closed {
            return; // its file may have been removed
        }
        let written = match file.as_mut() {
            Some(file) => file.write_all(bytes),
            None => OpenOptions::new().create(true).append(true).open(&self.path).and_then(|mut opened| {
                let written = opened.write_all(bytes);
                *file = Some(opened);
                written
            }),
        };
        match written {
            Ok(()) => self.progress.send_modify(|p| p.bytes += bytes.len() as u64),
            Err(e) => tracing::error!(path = %self.path.display(), error = %e, "logs.output_write_failed"),
        }
    }

    /// Appends a line.
    pub fn line(&self, text: &str) {
        self.write(format!("{text}\n").as_bytes());
    }

    fn close(&self) {
        self.progress.send_modify(|p| p.closed = true);
        *self.file.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What follows `offset`, at most 64 KiB, waiting for it if need be; `None` at the end.
    ///
    /// # Errors
    /// When the file can not be read.
    pub async fn next(&self, offset: u64) -> io::Result<Option<Bytes>> {
        let mut progress = self.progress.subscribe();
        let state = *progress
            .wait_for(|p| p.bytes > offset || p.closed)
            .await
            .map_err(|_| io::Error::other("the output was dropped"))?;
        if state.bytes <= offset {
            return Ok(None);
        }
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(offset))?;
        let mut piece = Vec::new();
        file.take((state.bytes - offset).min(64 * 1024)).read_to_end(&mut piece)?;
        Ok(Some(piece.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn readers_see_lines_as_they_come_and_again_after_the_end() {
        let dir = tempfile::tempdir().expect("dir");
        let outputs = Outputs::open(dir.path()).expect("outputs");
        let id = Uuid::from_u128(1);
        let output = outputs.live(id);
        output.line("one");
        let reader = outputs.read(id);
        assert_eq!(reader.next(0).await.expect("read").as_deref(), Some(&b"one\n"[..]));
        let waiting = tokio::spawn(async move { reader.next(4).await });
        output.line("two");
        assert_eq!(waiting.await.expect("task").expect("read").as_deref(), Some(&b"two\n"[..]));
        outputs.close(id);
        let again = outputs.read(id);
        assert_eq!(again.next(0).await.expect("read").as_deref(), Some(&b"one\ntwo\n"[..]));
        assert_eq!(again.next(8).await.expect("read"), None);
    }
}
