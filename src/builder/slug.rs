//! The slug: a tar.gz with `./app/…` entries and its SHA-256 (`builds.md` section 2).

use crate::archive::{self, ArchiveError, Limits, Owner};
use domain::limits::SLUG_BYTES_MAX;
use flate2::{Compression, GzBuilder};
use ring::digest::{Context, SHA256};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};
use tar::{Builder, EntryType, Header};

/// A slug on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedSlug {
    /// `SHA256:<hex>` of the compressed file.
    pub checksum: String,
    /// Compressed size.
    pub bytes: u64,
}

/// Why a slug can not be made or used.
#[derive(Debug, thiserror::Error)]
pub enum SlugError {
    /// Larger than allowed.
    #[error("slug_too_large: the slug has {bytes} bytes, the limit is {SLUG_BYTES_MAX}; use .slugignore")]
    TooLarge {
        /// Compressed size.
        bytes: u64,
    },
    /// The file is not the one that was made (R17).
    #[error("slug_checksum: expected {expected}, actual {actual}")]
    Checksum {
        /// As recorded.
        expected: String,
        /// As found.
        actual: String,
    },
    /// It does not unpack.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The disk failed.
    #[error("slug_io: {0}")]
    Io(#[from] io::Error),
}

/// Packs the folder `source` into `target`, durable when it returns. Sockets, pipes and devices are left out.
///
/// # Errors
/// [`SlugError`]; the file is removed then.
pub fn pack(source: &Path, target: &Path) -> Result<PackedSlug, SlugError> {
    let packed = write(source, target);
    if packed.is_err() {
        let _ = fs::remove_file(target); // the error that counts is already on its way
    }
    packed
}

fn write(source: &Path, target: &Path) -> Result<PackedSlug, SlugError> {
    if !fs::symlink_metadata(source)?.is_dir() {
        return Err(io::Error::new(io::ErrorKind::NotADirectory, "the build folder was replaced").into());
    }
    let file = BufWriter::with_capacity(256 << 10, File::create(target)?);
    // No time in the header: the same tree gives the same bytes.
    let zip =
        GzBuilder::new().mtime(0).write(Hashing { inner: file, context: Context::new(&SHA256), bytes: 0 }, Compression::fast());
    let mut tar = Builder::new(zip);
    add_dir(&mut tar, source, Path::new("./app"))?;
    let mut hashing = tar.into_inner()?.finish()?;
    hashing.inner.flush()?;
    hashing.inner.get_ref().sync_all()?;
    if hashing.bytes > SLUG_BYTES_MAX {
        return Err(SlugError::TooLarge { bytes: hashing.bytes });
    }
    Ok(PackedSlug { checksum: checksum_text(hashing.context), bytes: hashing.bytes })
}

struct Hashing<W> {
    inner: W,
    context: Context,
    bytes: u64,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.context.update(&bytes[..n]);
        self.bytes += n as u64;
        if self.bytes > SLUG_BYTES_MAX + (1 << 20) {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the slug is too large; use .slugignore"));
        }
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Adds a folder in byte order of its names, following no link.
fn add_dir<W: Write>(tar: &mut Builder<W>, dir: &Path, name: &Path) -> Result<(), SlugError> {
    let mut header = header_for(&fs::symlink_metadata(dir)?, EntryType::Directory);
    header.set_size(0);
    tar.append_data(&mut header, name, io::empty())?;
    let mut entries: Vec<PathBuf> = fs::read_dir(dir)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    entries.sort();
    for path in entries {
        let meta = fs::symlink_metadata(&path)?;
        let name = name.join(path.file_name().unwrap_or_default());
        let kind = meta.file_type();
        if kind.is_dir() {
            add_dir(tar, &path, &name)?;
        } else if kind.is_symlink() {
            let mut header = header_for(&meta, EntryType::Symlink);
            header.set_size(0);
            tar.append_link(&mut header, &name, fs::read_link(&path)?)?;
        } else if kind.is_file() {
            let mut header = header_for(&meta, EntryType::Regular);
            header.set_size(meta.len());
            tar.append_data(&mut header, &name, File::open(&path)?.take(meta.len()))?;
        } else {
            debug_assert!(kind.is_socket() || kind.is_fifo() || kind.is_char_device() || kind.is_block_device());
        }
    }
    Ok(())
}

fn header_for(meta: &fs::Metadata, kind: EntryType) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(meta.permissions().mode() & 0o777);
    header.set_mtime(u64::try_from(meta.mtime()).unwrap_or(0));
    header.set_uid(0);
    header.set_gid(0);
    header
}

fn checksum_text(context: Context) -> String {
    use std::fmt::Write;
    let mut text = String::from("SHA256:");
    for byte in context.finish().as_ref() {
        let _ = write!(text, "{byte:02x}"); // writing to a String can not fail
    }
    text
}

/// `SHA256:<hex>` of a file.
///
/// # Errors
/// When it can not be read.
pub fn file_checksum(path: &Path) -> io::Result<String> {
    let mut context = Context::new(&SHA256);
    let mut file = File::open(path)?;
    let mut buffer = vec![0u8; 256 << 10];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(checksum_text(context));
        }
        context.update(&buffer[..n]);
    }
}

/// Checks a slug and unpacks its `app` folder into the existing, empty folder `target`.
///
/// # Errors
/// [`SlugError::Checksum`] for R17, or why it does not unpack.
pub fn unpack_slug(slug: &Path, expected: Option<&str>, target: &Path, owner: Owner) -> Result<(), SlugError> {
    if let Some(expected) = expected {
        let actual = file_checksum(slug)?;
        if !actual.eq_ignore_ascii_case(expected) {
            return Err(SlugError::Checksum { expected: expected.into(), actual });
        }
    }
    let limits = Limits { bytes: 8 << 30, entries: 2_000_000, any_links: true };
    Ok(archive::unpack(File::open(slug)?, target, 1, owner, limits)?)
}
