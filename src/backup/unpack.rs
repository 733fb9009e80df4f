//! Reading a backup: looking through, trying, restoring.

use crate::{DATA, Error, MANIFEST, MASTER_KEY, Manifest, Result, SETTINGS, SUM, Sum, Tally, sealed::Opening};
use ring::digest::{Context, SHA256};
use serde::de::DeserializeOwned;
use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsStr,
    fs::{self, File, Permissions},
    io::{self, BufReader, Read, Seek, SeekFrom, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, lchown, symlink},
    },
    path::{Component, Path, PathBuf},
};
use store::{Options, Sealer, Store};
use tar::{Archive, Entry, EntryType};

/// Is shown the store of a backup and the key of its secrets; counts what it knows, and says what does not agree.
pub type Probe<'a> = &'a dyn Fn(&Store, &Sealer) -> std::result::Result<BTreeMap<String, u64>, String>;

/// What a backup is, after all of it was read.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Its first entry.
    pub manifest: Manifest,
    /// Its last entry.
    pub sum: Sum,
    /// What the probe counted.
    pub counts: BTreeMap<String, u64>,
}

const BUFFER_BYTES: usize = 256 << 10;
/// Manifest, sum and key are small.
const SMALL_BYTES_MAX: u64 = 1 << 20;
/// Where a restore puts things until all of them are there.
const RESTORING: &str = ".restoring";

type Stream = zstd::Decoder<'static, BufReader<Opening<BufReader<File>>>>;

fn stream(file: &Path, passphrase: &str) -> Result<Archive<Stream>> {
    let opened = File::open(file).map_err(|e| Error::io("open", file, &e))?;
    let opening = Opening::new(BufReader::with_capacity(BUFFER_BYTES, opened), passphrase)?;
    Ok(Archive::new(zstd::Decoder::new(opening).map_err(|e| Error::io("read", file, &e))?))
}

/// Calls `each` with every entry, which it must read whole, and compares the sum.
fn entries(
    file: &Path,
    passphrase: &str,
    each: &mut dyn FnMut(&[u8], &mut Hashing<'_>) -> Result<()>,
) -> Result<(Manifest, Sum)> {
    let failed = |e: io::Error| Error::io("read", file, &e);
    let mut archive = stream(file, passphrase)?;
    let (mut manifest, mut tally, mut sum): (Option<Manifest>, _, Option<Sum>) = (None, Tally::new(), None);
    for entry in archive.entries().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let path = entry.path_bytes().to_vec();
        let path = path.strip_suffix(b"/").map_or(path.clone(), <[u8]>::to_vec);
        if sum.is_some() {
            return Err(Error::Unsound("something follows its sum".into()));
        }
        let (kind, size) = (entry.header().entry_type(), entry.size());
        let mut hashing = Hashing { entry, digest: Context::new(&SHA256) };
        if path == SUM.as_bytes() {
            sum = Some(hashing.json(file)?);
            continue;
        }
        if path == MANIFEST.as_bytes() {
            manifest = Some(hashing.json(file)?);
        } else {
            each(&path, &mut hashing)?;
        }
        io::copy(&mut hashing, &mut io::sink()).map_err(failed)?;
        match kind {
            EntryType::Regular => tally.add(&path, b'f', size, hashing.digest.finish().as_ref()),
            EntryType::Directory => tally.add(&path, b'd', 0, b""),
            _ => tally.add(&path, b'l', 0, &hashing.entry.link_name_bytes().unwrap_or_default()),
        }
    }
    // The rest of the stream, to its last piece: only that says that nothing is missing.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(failed)?;
    let (Some(manifest), Some(sum)) = (manifest, sum) else {
        return Err(Error::Unsound("it has no manifest or no sum".into()));
    };
    if tally.finish(sum.record) != sum {
        return Err(Error::Unsound("its sum is another one than that of what is in it".into()));
    }
    Ok((manifest, sum))
}

/// An entry that is hashed while it is read.
struct Hashing<'a> {
    entry: Entry<'a, Stream>,
    digest: Context,
}

impl Read for Hashing<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.entry.read(into)?;
        self.digest.update(&into[..read]);
        Ok(read)
    }
}

impl Hashing<'_> {
    fn small(&mut self, file: &Path) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.take(SMALL_BYTES_MAX).read_to_end(&mut bytes).map_err(|e| Error::io("read", file, &e))?;
        Ok(bytes)
    }

    fn json<T: DeserializeOwned>(&mut self, file: &Path) -> Result<T> {
        serde_json::from_slice(&self.small(file)?).map_err(|e| Error::Unsound(e.to_string()))
    }
}

/// Reads all of a backup, compares every sum, opens its store in a scratch folder and shows it to `probe`.
///
/// # Errors
/// When the passphrase does not fit, or the file is cut, damaged or not whole.
pub fn verify(file: &Path, passphrase: &str, probe: Probe) -> Result<Report> {
    try_out(file, passphrase, &std::env::temp_dir(), probe)
}

/// The same with the place of the scratch folder.
pub fn try_out(file: &Path, passphrase: &str, scratch: &Path, probe: Probe) -> Result<Report> {
    let dir = tempfile::Builder::new().prefix("tidemill-trial-").tempdir_in(scratch);
    let dir = dir.map_err(|e| Error::io("make a folder in", scratch, &e))?;
    let (store, key_place) = (format!("{DATA}store/"), format!("{DATA}{MASTER_KEY}"));
    let mut key = Vec::new();
    let (manifest, sum) = entries(file, passphrase, &mut |path, entry| {
        if path == key_place.as_bytes() {
            key = entry.small(file)?;
        } else if let Some(rest) = path.strip_prefix(store.as_bytes()) {
            let place = dir.path().join(inner(rest)?);
            fs::create_dir_all(place.parent().unwrap_or(dir.path())).map_err(|e| Error::io("write", &place, &e))?;
            let mut out = File::create(&place).map_err(|e| Error::io("write", &place, &e))?;
            io::copy(entry, &mut out).map_err(|e| Error::io("write", dir.path(), &e))?;
        }
        Ok(())
    })?;
    let counts = opened(dir.path(), &key, &sum, probe)?;
    Ok(Report { manifest, sum, counts })
}

/// Opens the store in `dir` and shows it to `probe`.
fn opened(dir: &Path, key: &[u8], sum: &Sum, probe: Probe) -> Result<BTreeMap<String, u64>> {
    let store = Store::open(Options::new(dir))?;
    // A later version of the program adds records when it brings the rows up to itself, and never takes one.
    if store.report().cut.is_some() || store.last_record()? < sum.record {
        return Err(Error::Unsound("records of the store are missing".into()));
    }
    let counted = Sealer::of(key).map_err(Error::from).and_then(|sealer| probe(&store, &sealer).map_err(Error::Unsound));
    store.close_blocking()?;
    counted
}

/// A path that stays where it is put.
fn inner(path: &[u8]) -> Result<PathBuf> {
    let path = Path::new(OsStr::from_bytes(path));
    if path.components().any(|part| !matches!(part, Component::Normal(_))) || path.as_os_str().is_empty() {
        return Err(Error::Unsound(format!("{} leads out of the folder", path.display())));
    }
    Ok(path.to_path_buf())
}

/// Restores a backup into `data_dir`, which must be missing or empty. First all of the file is tried as by [`verify`], so
/// that a file that is no good writes nothing; then it is unpacked into a folder of its own inside, and moved to its place
/// when it is whole and on the disk. Owners are restored when this process is root.
///
/// # Errors
/// As [`verify`]; when the folder is not empty, or the disk is full: then it is as empty as before.
pub fn restore(file: &Path, passphrase: &str, data_dir: &Path, probe: Probe) -> Result<Report> {
    check_empty(data_dir)?;
    let mut report = verify(file, passphrase, probe)?;
    let was_there = data_dir.exists();
    fs::DirBuilder::new().recursive(true).mode(0o700).create(data_dir).map_err(|e| Error::io("make", data_dir, &e))?;
    let restoring = data_dir.join(RESTORING);
    let done = unpack(file, passphrase, &restoring, &report.sum, probe).and_then(|counts| {
        move_up(&restoring, data_dir)?;
        Ok(counts)
    });
    if done.is_err() {
        let _ = fs::remove_dir_all(&restoring); // the error that counts is already on its way
        if !was_there {
            let _ = fs::remove_dir(data_dir);
        }
    }
    report.counts = done?;
    Ok(report)
}

/// What a restore that was cut short left does not count.
fn check_empty(dir: &Path) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found.map_err(|e| Error::io("read", dir, &e))?,
    };
    for entry in entries.flatten() {
        if entry.file_name() != RESTORING && entry.file_name() != "lost+found" {
            return Err(Error::NotEmpty(dir.display().to_string()));
        }
    }
    Ok(())
}

fn unpack(file: &Path, passphrase: &str, into: &Path, sum: &Sum, probe: Probe) -> Result<BTreeMap<String, u64>> {
    if into.exists() {
        fs::remove_dir_all(into).map_err(|e| Error::io("empty", into, &e))?;
    }
    let mut target = Target { root: into.to_path_buf(), folders: Vec::new(), known: HashSet::new() };
    target.folder(Path::new(""))?;
    let mut key = Vec::new();
    let (_, found) = entries(file, passphrase, &mut |path, entry| {
        if path == SETTINGS.as_bytes() {
            return target.file(Path::new("restored-settings.toml"), entry);
        }
        let Some(path) = path.strip_prefix(DATA.as_bytes()) else {
            return Err(Error::Unsound("an entry is of no known kind".into()));
        };
        let path = inner(path)?;
        match entry.entry.header().entry_type() {
            EntryType::Regular => target.file(&path, entry),
            EntryType::Directory => target.folder(&path).and_then(|()| target.later(&path, entry)),
            EntryType::Symlink => target.link(&path, entry),
            _ => Err(Error::Unsound("an entry is of no known kind".into())),
        }
    })?;
    if found != *sum {
        return Err(Error::Unsound("the file changed while it was read".into()));
    }
    target.finish()?;
    let place = into.join(MASTER_KEY);
    File::open(&place).and_then(|mut f| f.read_to_end(&mut key)).map_err(|e| Error::io("read", &place, &e))?;
    let counts = opened(&into.join("store"), &key, sum, probe)?;
    let dir = File::open(into).map_err(|e| Error::io("open", into, &e))?;
    rustix::fs::syncfs(&dir).map_err(|e| Error::io("write", into, &e.into()))?;
    Ok(counts)
}

/// The store goes last: without it the folder is one that nothing starts from.
fn move_up(from: &Path, to: &Path) -> Result<()> {
    let failed = |e: io::Error| Error::io("move", from, &e);
    let mut names: Vec<_> = fs::read_dir(from).map_err(failed)?.flatten().map(|entry| entry.file_name()).collect();
    names.sort_by_key(|name| name == "store");
    for name in names {
        fs::rename(from.join(&name), to.join(&name)).map_err(failed)?;
    }
    fs::remove_dir(from).map_err(failed)?;
    File::open(to).and_then(|dir| dir.sync_all()).map_err(failed)
}

/// What is known of a folder's owner and mode, for when all is in it.
struct Later {
    path: PathBuf,
    mode: u32,
    owner: (u32, u32),
}

struct Target {
    root: PathBuf,
    folders: Vec<Later>,
    /// Folders that this restore made: nothing is ever written through anything else.
    known: HashSet<PathBuf>,
}

impl Target {
    /// The place of something whose folder is ours; folders of the store and the key have no entries of their own.
    fn place(&mut self, path: &Path) -> Result<PathBuf> {
        let parent = path.parent().unwrap_or(Path::new(""));
        if !self.known.contains(parent) {
            self.place(parent)?;
            self.folder(parent)?;
        }
        Ok(self.root.join(path))
    }

    fn folder(&mut self, path: &Path) -> Result<()> {
        if !self.known.contains(path) {
            let place = if path.as_os_str().is_empty() { self.root.clone() } else { self.place(path)? };
            fs::DirBuilder::new().mode(0o700).create(&place).map_err(|e| Error::io("make", &place, &e))?;
            self.known.insert(path.to_path_buf());
        }
        Ok(())
    }

    fn later(&mut self, path: &Path, entry: &Hashing<'_>) -> Result<()> {
        let (mode, owner) = facts(entry)?;
        self.folders.push(Later { path: self.root.join(path), mode, owner });
        Ok(())
    }

    fn file(&mut self, path: &Path, entry: &mut Hashing<'_>) -> Result<()> {
        let place = self.place(path)?;
        let failed = |e: io::Error| Error::io("write", &place, &e);
        let (mode, owner) = facts(entry)?;
        let mut out = File::options().write(true).create_new(true).mode(0o600).open(&place).map_err(failed)?;
        copy_with_holes(entry, &mut out).map_err(failed)?;
        own(&place, owner)?;
        out.set_permissions(Permissions::from_mode(mode)).map_err(failed)
    }

    fn link(&mut self, path: &Path, entry: &Hashing<'_>) -> Result<()> {
        let place = self.place(path)?;
        let (_, owner) = facts(entry)?;
        let target = entry.entry.link_name_bytes().unwrap_or_default();
        symlink(OsStr::from_bytes(&target), &place).map_err(|e| Error::io("write", &place, &e))?;
        own(&place, owner)
    }

    fn finish(&mut self) -> Result<()> {
        for Later { path, mode, owner } in self.folders.drain(..).rev() {
            own(&path, owner)?;
            fs::set_permissions(&path, Permissions::from_mode(mode)).map_err(|e| Error::io("write", &path, &e))?;
        }
        Ok(())
    }
}

fn facts(entry: &Hashing<'_>) -> Result<(u32, (u32, u32))> {
    let header = entry.entry.header();
    let odd = |e: io::Error| Error::Unsound(e.to_string());
    let number = |n: u64| u32::try_from(n).unwrap_or(0);
    let (uid, gid) = (header.uid().map_err(odd)?, header.gid().map_err(odd)?);
    Ok((header.mode().map_err(odd)? & 0o7777, (number(uid), number(gid))))
}

/// Only root can give files away; anybody may look into a backup of his own.
fn own(path: &Path, (uid, gid): (u32, u32)) -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    lchown(path, Some(uid), Some(gid)).map_err(|e| Error::io("give away", path, &e))
}

/// Databases are full of holes, and would not fit without them.
fn copy_with_holes(from: &mut impl Read, to: &mut File) -> io::Result<()> {
    let mut buffer = vec![0u8; 64 << 10];
    let mut length = 0u64;
    loop {
        let read = from.read(&mut buffer)?;
        if read == 0 {
            return to.set_len(length);
        }
        length += read as u64;
        if buffer[..read].iter().all(|b| *b == 0) {
            to.seek(SeekFrom::Start(length))?;
        } else {
            to.write_all(&buffer[..read])?;
        }
    }
}
