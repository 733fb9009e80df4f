//! Walks a folder whose parts belong to tenants who may change them meanwhile: by open folders and names in them, never by
//! paths, so that a folder that becomes a link to somewhere else leads nowhere.

use crate::{Error, Result};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, openat, readlinkat, statat};
use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::File,
    os::{fd::OwnedFd, unix::ffi::OsStrExt},
    path::Path,
};

/// Something in the tree.
pub enum Item {
    /// A folder; what is in it follows.
    Folder,
    /// A file, open.
    File(File),
    /// A link and its target.
    Link(Vec<u8>),
}

/// What is told of each thing: its place below the root, its owner, mode and times, and itself.
pub type Each<'a> = &'a mut dyn FnMut(&Path, &Stat, Item) -> Result<()>;

/// Names that appear while a folder is being read are taken too, up to so many looks at it: git puts the pack in its place
/// before it removes what the pack replaces.
const LOOKS: u32 = 4;

/// Opens a folder to start from.
pub fn open(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|e| Error::io("open", path, &e.into()))
}

/// Calls `each` for all below the folder, but not for top names that `skip`. What vanishes meanwhile is left out, sockets,
/// pipes and devices are, too.
pub fn walk(folder: &OwnedFd, at: &Path, skip: &dyn Fn(&OsStr) -> bool, each: Each) -> Result<()> {
    let mut seen: HashSet<Vec<u8>> = HashSet::new();
    for _ in 0..LOOKS {
        let mut names = names(folder, at)?;
        names.retain(|name| !seen.contains(name) && !skip(OsStr::from_bytes(name)));
        if names.is_empty() {
            return Ok(());
        }
        // In a repository names lead to objects, and loose objects go into packs: whoever is led comes first.
        names.sort_by_key(|name| (name == b"objects", name == b"pack", name.clone()));
        for name in names {
            visit(folder, &at.join(OsStr::from_bytes(&name)), &name, each)?;
            seen.insert(name);
        }
    }
    Ok(())
}

fn names(folder: &OwnedFd, at: &Path) -> Result<Vec<Vec<u8>>> {
    let failed = |e: rustix::io::Errno| Error::io("read", at, &e.into());
    let mut names = Vec::new();
    for entry in Dir::read_from(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

fn visit(folder: &OwnedFd, at: &Path, name: &[u8], each: Each) -> Result<()> {
    use rustix::io::Errno;
    let failed = |e: Errno| Error::io("read", at, &e.into());
    // Gone, or something else by now.
    let lost = |e: &Errno| matches!(*e, Errno::NOENT | Errno::LOOP | Errno::NOTDIR | Errno::NXIO);
    let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(e) if lost(&e) => return Ok(()),
        found => found.map_err(failed)?,
    };
    let open = |more: OFlags| {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC | more;
        match openat(folder, name, flags, Mode::empty()) {
            Err(e) if lost(&e) => Ok(None),
            opened => opened.map(Some).map_err(failed),
        }
    };
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let Some(inner) = open(OFlags::DIRECTORY)? else { return Ok(()) };
            each(at, &rustix::fs::fstat(&inner).map_err(failed)?, Item::Folder)?;
            walk(&inner, at, &|_| false, each)
        }
        FileType::RegularFile => {
            let Some(file) = open(OFlags::empty())? else { return Ok(()) };
            let stat = rustix::fs::fstat(&file).map_err(failed)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Ok(());
            }
            each(at, &stat, Item::File(file.into()))
        }
        FileType::Symlink => match readlinkat(folder, name, Vec::new()) {
            Err(e) if lost(&e) || e == Errno::INVAL => Ok(()),
            target => each(at, &stat, Item::Link(target.map_err(failed)?.into_bytes())),
        },
        _ => Ok(()),
    }
}
