//! Making a backup.

use crate::{
    DATA, Error, MANIFEST, MASTER_KEY, Manifest, Probe, Report, Result, SETTINGS, SUM, Tally, hex,
    sealed::Sealing,
    tree::{self, Item},
    unpack,
};
use ring::digest::{Context, SHA256};
use rustix::fs::Stat;
use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, BufWriter, Read, Write},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{Path, PathBuf},
};
use store::Snapshot;
use tar::{EntryType, Header};

/// Folders of the data folder that no backup holds: what is made again by itself (caches, running things, half-done
/// work), what was (logs, metrics), and the backups. All others are in it, whatever they are called.
pub const LEFT_OUT: &[&str] =
    &["backups", "builds", "cache", "dynos", "logs", "metrics", "run", "uploads", "upgrade", "lost+found"];

const LEVEL: i32 = 3;
const BUFFER_BYTES: usize = 256 << 10;

/// What is backed up.
pub struct Source {
    /// The data folder, of a daemon that runs or not.
    pub data_dir: PathBuf,
    /// Where the key of the secrets is.
    pub master_key: PathBuf,
    /// The settings file, if there is one.
    pub settings: Option<PathBuf>,
    /// Version of the program, time, domain, addresses.
    pub manifest: Manifest,
}

/// A backup that was made and tried.
pub struct Made {
    /// Size of the file.
    pub file_bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// What the trial found in it.
    pub report: Report,
}

/// Counts and hashes what goes into the file.
struct Hashed {
    out: BufWriter<File>,
    digest: Context,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.digest.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Makes a backup at `to` and tries it: it is read again from its first byte to its last, every sum is compared, and the
/// store in it is opened in a scratch folder and shown to `probe`. Only then it gets its name; whatever ends this before,
/// there is no file `to`.
///
/// # Errors
/// When `to` is there, the disk is full, something can not be read, or the trial fails.
pub fn create(source: &Source, to: &Path, passphrase: &str, probe: Probe) -> Result<Made> {
    if fs::symlink_metadata(to).is_ok() {
        return Err(Error::Exists(to.display().to_string()));
    }
    let partial = partial_of(to)?;
    let made = write(source, &partial, passphrase).and_then(|(file_bytes, sha256)| {
        let report = unpack::try_out(&partial, passphrase, &scratch(source), probe)?;
        name_it(&partial, to)?;
        Ok(Made { file_bytes, sha256, report })
    });
    let _ = fs::remove_file(&partial); // the error that counts is already on its way
    let made = made?;
    let folder = to.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|dir| dir.sync_all()).map_err(|e| Error::io("write", to, &e))?;
    Ok(made)
}

/// Beside the target, since only there it can become it; removed when a backup was cut short before.
fn partial_of(to: &Path) -> Result<PathBuf> {
    let name = to.file_name().ok_or_else(|| Error::Usage(format!("{} is no name for a file", to.display())))?;
    let mut partial = OsStr::new(".").to_os_string();
    partial.push(name);
    partial.push(".partial");
    let partial = to.with_file_name(partial);
    match fs::remove_file(&partial) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("replace", &partial, &e)),
        _ => Ok(partial),
    }
}

/// Without replacing: two at the same time must not end in one file.
fn name_it(partial: &Path, to: &Path) -> Result<()> {
    use rustix::{fs::RenameFlags, io::Errno};
    match rustix::fs::renameat_with(rustix::fs::CWD, partial, rustix::fs::CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::EXIST) => Err(Error::Exists(to.display().to_string())),
        // File systems that can not do that.
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(partial, to).map_err(|e| Error::io("write", to, &e)),
        named => named.map_err(|e| Error::io("write", to, &e.into())),
    }
}

fn scratch(source: &Source) -> PathBuf {
    let run = source.data_dir.join("run");
    if run.is_dir() { run } else { std::env::temp_dir() }
}

fn write(source: &Source, partial: &Path, passphrase: &str) -> Result<(u64, String)> {
    let failed = |e: io::Error| Error::io("write", partial, &e);
    let file = File::options().write(true).create_new(true).mode(0o600).open(partial).map_err(failed)?;
    let out = Hashed { out: BufWriter::with_capacity(BUFFER_BYTES, file), digest: Context::new(&SHA256), bytes: 0 };
    let sealing = Sealing::new(out, passphrase)?;
    let zstd = zstd::Encoder::new(sealing, LEVEL).map_err(failed)?;
    let mut pack = Pack { tar: tar::Builder::new(zstd), tally: Tally::new(), partial };
    pack.everything(source)?;
    let zstd = pack.tar.into_inner().map_err(failed)?;
    let out = zstd.finish().and_then(Sealing::finish).map_err(failed)?;
    let file = out.out.into_inner().map_err(|e| failed(e.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok((out.bytes, hex(out.digest.finish().as_ref())))
}

struct Pack<'a, W: Write> {
    tar: tar::Builder<W>,
    tally: Tally,
    partial: &'a Path,
}

impl<W: Write> Pack<'_, W> {
    fn everything(&mut self, source: &Source) -> Result<()> {
        let manifest = Manifest { left_out: LEFT_OUT.iter().map(ToString::to_string).collect(), ..source.manifest.clone() };
        self.json(MANIFEST, &manifest)?;
        // The rows first: what they name is removed much later than it is named, and what comes to be meanwhile is no harm.
        let store = source.data_dir.join("store");
        let snapshot = Snapshot::take(&store)?;
        let record = snapshot.files(|file| self.bytes(&format!("{DATA}store/{}", file.path), &file.bytes))?;
        let key = fs::read(&source.master_key).map_err(|e| Error::io("read", &source.master_key, &e))?;
        self.bytes(&format!("{DATA}{MASTER_KEY}"), &key)?;
        if let Some(settings) = &source.settings {
            let text = fs::read(settings).map_err(|e| Error::io("read", settings, &e))?;
            self.bytes(SETTINGS, &text)?;
        }
        let skip = |name: &OsStr| {
            name == "store" || name.as_bytes().starts_with(b".restoring") || LEFT_OUT.iter().any(|left| name == *left)
        };
        let root = tree::open(&source.data_dir)?;
        tree::walk(&root, Path::new(""), &skip, &mut |path, stat, item| self.item(path, stat, item))?;
        let sum = std::mem::replace(&mut self.tally, Tally::new()).finish(record);
        self.json(SUM, &sum)
    }

    fn json<T: serde::Serialize>(&mut self, name: &str, value: &T) -> Result<()> {
        let text = serde_json::to_vec(value).map_err(|e| Error::Unsound(e.to_string()))?;
        self.bytes(name, &text)
    }

    /// A file of our own.
    fn bytes(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o600);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        self.tally.add(name.as_bytes(), b'f', bytes.len() as u64, ring::digest::digest(&SHA256, bytes).as_ref());
        self.tar.append_data(&mut header, name, bytes).map_err(|e| Error::io("write", self.partial, &e))
    }

    fn item(&mut self, path: &Path, stat: &Stat, item: Item) -> Result<()> {
        if path == Path::new(MASTER_KEY) {
            return Ok(()); // in it already, from where it was really read
        }
        let name = Path::new(DATA).join(path);
        let mut header = Header::new_gnu();
        header.set_mode(stat.st_mode & 0o7777);
        header.set_uid(stat.st_uid.into());
        header.set_gid(stat.st_gid.into());
        header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
        header.set_size(0);
        let key = name.as_os_str().as_bytes();
        let failed = |e: io::Error| Error::io("back up", path, &e);
        match item {
            Item::Folder => {
                header.set_entry_type(EntryType::Directory);
                self.tally.add(key, b'd', 0, b"");
                self.tar.append_data(&mut header, &name, io::empty()).map_err(failed)
            }
            Item::Link(target) => {
                header.set_entry_type(EntryType::Symlink);
                self.tally.add(key, b'l', 0, &target);
                self.tar.append_link(&mut header, &name, OsStr::from_bytes(&target)).map_err(failed)
            }
            Item::File(file) => {
                header.set_entry_type(EntryType::Regular);
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                header.set_size(size);
                let mut content = Steady { file, left: size, digest: Context::new(&SHA256) };
                self.tar.append_data(&mut header, &name, &mut content).map_err(failed)?;
                self.tally.add(key, b'f', size, content.digest.finish().as_ref());
                Ok(())
            }
        }
    }
}

/// A file as long as it was when it was opened: what came after is cut, what is gone is zeros.
struct Steady {
    file: File,
    left: u64,
    digest: Context,
}

impl Read for Steady {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = into.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let mut read = self.file.read(&mut into[..most])?;
        if read == 0 && most > 0 {
            into[..most].fill(0);
            read = most;
        }
        self.digest.update(&into[..read]);
        self.left -= read as u64;
        Ok(read)
    }
}

/// Removes what backups that were cut short left in `folder`, where nobody else makes any now.
pub fn sweep(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.as_bytes().starts_with(b".") && name.as_bytes().ends_with(b".partial") {
            let _ = fs::remove_file(entry.path()); // tried again next time
        }
    }
}
