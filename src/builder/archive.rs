//! Taking in archives from strangers: tar or tar.gz, unpacked under limits, never outside the target.

use domain::limits::{TREE_BYTES_MAX, TREE_ENTRIES_MAX, TREE_PATH_BYTES_MAX};
use flate2::read::MultiGzDecoder;
use std::{
    collections::HashSet,
    fs::{self, File, Permissions},
    io::{self, BufRead, BufReader, Read},
    os::unix::fs::{PermissionsExt, lchown, symlink},
    path::{Component, Path, PathBuf},
};
use tar::{Archive, Entry, EntryType};

/// Why an archive is refused. Nothing of it is kept.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ArchiveError {
    /// Not a tar, or a damaged one.
    #[error("archive_unreadable: the archive can not be read: {0}")]
    Unreadable(String),
    /// A path that leads out, is absolute, or too long.
    #[error("archive_path: entry {0:?} has a path that is not allowed")]
    Path(String),
    /// A link that leads out.
    #[error("archive_link: link {0:?} points outside of the app; links must be relative or begin with /app/")]
    Link(String),
    /// A device, pipe or something unknown.
    #[error("archive_type: entry {0:?} is neither file, folder nor link")]
    Type(String),
    /// Too much.
    #[error("archive_limit: {0}")]
    Limit(String),
    /// The host's disk failed.
    #[error("archive_io: {0}")]
    Io(String),
}

/// Bounds for one archive.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// All files together, unpacked.
    pub bytes: u64,
    /// Files, folders and links.
    pub entries: u64,
    /// Links may point anywhere. For what a build made itself: inside a dyno they lead to the dyno's own files, and
    /// nothing is ever written through a link here.
    pub any_links: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: TREE_BYTES_MAX, entries: TREE_ENTRIES_MAX, any_links: false }
    }
}

/// User and group that the unpacked files get; `None` leaves them to the daemon's user.
pub type Owner = Option<(u32, u32)>;

/// Unpacks into the existing, empty folder `target`; compression is told by the first bytes. `strip` removes that many
/// leading folders from each path.
///
/// # Errors
/// [`ArchiveError`]; the caller removes the folder.
pub fn unpack(reader: impl Read, target: &Path, strip: usize, owner: Owner, limits: Limits) -> Result<(), ArchiveError> {
    let mut reader = BufReader::with_capacity(64 << 10, reader);
    let start = reader.fill_buf().map_err(|e| ArchiveError::Unreadable(e.to_string()))?;
    if start.starts_with(&[0x1f, 0x8b]) {
        unpack_tar(MultiGzDecoder::new(reader), target, strip, owner, limits)
    } else {
        unpack_tar(reader, target, strip, owner, limits)
    }
}

/// The content of one file at the root of an archive, or of its only folder; `None` when it is not there.
///
/// # Errors
/// [`ArchiveError`]; a file of more than `bytes_max` is one, too.
pub fn read_file(reader: impl Read, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, ArchiveError> {
    let mut reader = BufReader::with_capacity(64 << 10, reader);
    let start = reader.fill_buf().map_err(|e| ArchiveError::Unreadable(e.to_string()))?;
    if start.starts_with(&[0x1f, 0x8b]) {
        find_file(MultiGzDecoder::new(reader), name, bytes_max)
    } else {
        find_file(reader, name, bytes_max)
    }
}

fn find_file(reader: impl Read, name: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, ArchiveError> {
    let unreadable = |e: io::Error| ArchiveError::Unreadable(e.to_string());
    let mut archive = Archive::new(reader.take(TREE_BYTES_MAX));
    let (mut roots, mut inside) = (HashSet::new(), None);
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        if matches!(entry.header().entry_type(), EntryType::XGlobalHeader) {
            continue;
        }
        let path = safe_path(&entry.path().map_err(unreadable)?, 0)?;
        roots.extend(path.iter().next().map(std::ffi::OsStr::to_os_string));
        let depth = path.iter().count();
        if depth > 2 || path.file_name().is_none_or(|file| file != name) || !entry.header().entry_type().is_file() {
            continue;
        }
        let mut content = Vec::new();
        entry.by_ref().take(bytes_max + 1).read_to_end(&mut content).map_err(unreadable)?;
        if content.len() as u64 > bytes_max {
            return Err(ArchiveError::Limit(format!("{name} is larger than {bytes_max} bytes")));
        }
        if depth == 1 {
            return Ok(Some(content));
        }
        inside = Some(content);
    }
    Ok(inside.filter(|_| roots.len() == 1))
}

fn unpack_tar(reader: impl Read, target: &Path, strip: usize, owner: Owner, limits: Limits) -> Result<(), ArchiveError> {
    // A bomb must end at the limit even when its entries lie about their size; headers and padding come on top.
    let budget = limits.bytes.saturating_add(limits.entries.saturating_mul(4096)).saturating_add(1 << 20);
    let mut archive = Archive::new(reader.take(budget));
    let mut intake = Intake { target, owner, limits, bytes: 0, entries: 0, links: HashSet::new() };
    for entry in archive.entries().map_err(|e| ArchiveError::Unreadable(e.to_string()))? {
        let mut entry = entry.map_err(|e| ArchiveError::Unreadable(e.to_string()))?;
        intake.entry(&mut entry, strip)?;
    }
    Ok(())
}

struct Intake<'a> {
    target: &'a Path,
    owner: Owner,
    limits: Limits,
    bytes: u64,
    entries: u64,
    /// Links made so far: nothing may be written through one.
    links: HashSet<PathBuf>,
}

impl Intake<'_> {
    fn entry<R: Read>(&mut self, entry: &mut Entry<'_, R>, strip: usize) -> Result<(), ArchiveError> {
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XGlobalHeader) {
            return Ok(()); // `git archive` puts the commit there
        }
        let unreadable = |e: io::Error| ArchiveError::Unreadable(e.to_string());
        let path = safe_path(&entry.path().map_err(unreadable)?, strip)?;
        self.count(entry.header().size().map_err(unreadable)?)?;
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        if path.ancestors().skip(1).any(|parent| self.links.contains(parent)) {
            return Err(ArchiveError::Path(path.display().to_string()));
        }
        let full = self.target.join(&path);
        self.make_parents(&path)?;
        let mode = entry.header().mode().unwrap_or(0o644);
        match kind {
            EntryType::Directory => {
                let made = fs::create_dir(&full).or_else(|e| if full.is_dir() { Ok(()) } else { Err(e) });
                made.map_err(|e| self.io(&path, &e))?;
                self.finish(&full, Some((mode & 0o755) | 0o700))
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.replace(&path)?;
                let mut file = File::create_new(&full).map_err(|e| self.io(&path, &e))?;
                io::copy(entry, &mut file).map_err(|e| self.io(&path, &e))?;
                // Only the bits that matter: no setuid, no setgid, no sticky bit.
                self.finish(&full, Some((mode & 0o755) | 0o600))
            }
            EntryType::Symlink => {
                let to =
                    entry.link_name().map_err(unreadable)?.ok_or_else(|| ArchiveError::Link(path.display().to_string()))?;
                if !self.limits.any_links && !link_stays_inside(&path, &to) {
                    return Err(ArchiveError::Link(path.display().to_string()));
                }
                self.replace(&path)?;
                symlink(&to, &full).map_err(|e| self.io(&path, &e))?;
                self.links.insert(path);
                self.finish(&full, None)
            }
            EntryType::Link => {
                let to =
                    entry.link_name().map_err(unreadable)?.ok_or_else(|| ArchiveError::Link(path.display().to_string()))?;
                let to = safe_path(&to, strip)?;
                if to.ancestors().any(|part| self.links.contains(part)) {
                    return Err(ArchiveError::Link(path.display().to_string()));
                }
                self.replace(&path)?;
                fs::hard_link(self.target.join(to), &full).map_err(|e| self.io(&path, &e))
            }
            _ => Err(ArchiveError::Type(path.display().to_string())),
        }
    }

    fn count(&mut self, bytes: u64) -> Result<(), ArchiveError> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.entries > self.limits.entries {
            return Err(ArchiveError::Limit(format!("more than {} files", self.limits.entries)));
        }
        if self.bytes > self.limits.bytes {
            return Err(ArchiveError::Limit(format!("more than {} bytes when unpacked", self.limits.bytes)));
        }
        Ok(())
    }

    /// Some archives do not list their folders.
    fn make_parents(&self, path: &Path) -> Result<(), ArchiveError> {
        let mut missing = Vec::new();
        let mut parent = path.parent();
        while let Some(folder) = parent.filter(|p| !p.as_os_str().is_empty() && !self.target.join(p).is_dir()) {
            missing.push(folder.to_path_buf());
            parent = folder.parent();
        }
        for folder in missing.into_iter().rev() {
            let full = self.target.join(&folder);
            fs::create_dir(&full).map_err(|e| self.io(&folder, &e))?;
            self.finish(&full, Some(0o755))?;
        }
        Ok(())
    }

    /// A later entry of the same name wins, as `tar` does it.
    fn replace(&mut self, path: &Path) -> Result<(), ArchiveError> {
        let full = self.target.join(path);
        if fs::symlink_metadata(&full).is_ok_and(|m| !m.is_dir()) {
            fs::remove_file(&full).map_err(|e| self.io(path, &e))?;
            self.links.remove(path);
        }
        Ok(())
    }

    fn finish(&self, full: &Path, mode: Option<u32>) -> Result<(), ArchiveError> {
        if let Some(mode) = mode {
            fs::set_permissions(full, Permissions::from_mode(mode)).map_err(|e| self.io(full, &e))?;
        }
        if let Some((uid, gid)) = self.owner {
            lchown(full, Some(uid), Some(gid)).map_err(|e| self.io(full, &e))?;
        }
        Ok(())
    }

    fn io(&self, path: &Path, e: &io::Error) -> ArchiveError {
        match e.kind() {
            io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                ArchiveError::Unreadable(e.to_string())
            }
            io::ErrorKind::AlreadyExists => ArchiveError::Path(path.display().to_string()),
            _ => ArchiveError::Io(format!("{}: {e}", path.display())),
        }
    }
}

/// The path without leading `./` and without `strip` folders; refuses `..`, absolute and overlong ones.
fn safe_path(path: &Path, strip: usize) -> Result<PathBuf, ArchiveError> {
    let refused = || ArchiveError::Path(path.display().to_string());
    if path.as_os_str().len() > TREE_PATH_BYTES_MAX {
        return Err(refused());
    }
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return Err(refused()),
        }
    }
    Ok(parts.into_iter().skip(strip).collect())
}

/// Relative links must stay below the root; absolute ones must begin with `/app/`, where the code will live.
fn link_stays_inside(path: &Path, to: &Path) -> bool {
    if to.is_absolute() {
        return to.starts_with("/app") && to.components().all(|c| c != Component::ParentDir);
    }
    let mut depth = path.components().count() as i64 - 1;
    for component in to.components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth -= 1,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return false,
        }
        if depth < 0 {
            return false;
        }
    }
    true
}

#[cfg(test)]
#[path = "archive_tests.rs"]
mod tests;
