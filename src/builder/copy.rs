//! Copying, owning and measuring folders that strangers fill, also while they do: every step goes from a folder that is held
//! open to a name in it and follows no link, so nobody can lead the daemon out of the folder.

use rustix::fs::{
    AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, chownat, fchmod, fchown, fstat, futimens,
    mkdirat, open, openat, readlinkat, statat, symlinkat,
};
use std::{
    ffi::CString,
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

/// Folders in folders. Each level holds descriptors and stack, and a stranger can make folders in folders without end.
const DEPTH_MAX: usize = 200;

const FOLDER: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Copies a folder: files, folders and links with owner, mode and times. Blocks are shared where the file system can. Other
/// kinds, such as sockets, are left out; a file with two names becomes two files; what vanishes meanwhile is left out, too.
/// Answers the bytes of the files.
///
/// # Errors
/// As of the system; when `to` is there; when folders are nested deeper than 200.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<u64> {
    let source = open(from, FOLDER, Mode::empty())?;
    let stat = fstat(&source)?;
    std::fs::create_dir(to)?;
    let target = open(to, FOLDER, Mode::empty())?;
    let bytes = copy_into(&source, &target, 0)?;
    finish(target.as_fd(), &stat)?;
    Ok(bytes)
}

/// Names in a folder; not those of itself and of the one above.
fn names(dir: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_owned();
        if ![c".", c".."].contains(&name.as_c_str()) {
            found.push(name);
        }
    }
    Ok(found)
}

fn too_deep(depth: usize) -> io::Result<()> {
    let text = format!("folders are nested deeper than {DEPTH_MAX}");
    if depth < DEPTH_MAX { Ok(()) } else { Err(io::Error::new(io::ErrorKind::InvalidInput, text)) }
}

fn owner(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))
}

/// Owner, mode and times, in the order in which the kernel keeps them.
fn finish(fd: BorrowedFd<'_>, stat: &Stat) -> io::Result<()> {
    let (uid, gid) = owner(stat);
    fchown(fd, uid, gid)?;
    fchmod(fd, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let time = |sec, nsec| Timespec { tv_sec: sec, tv_nsec: nsec };
    let times = Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec.try_into().unwrap_or(0)),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec.try_into().unwrap_or(0)),
    };
    Ok(futimens(fd, &times)?)
}

fn copy_into(source: &OwnedFd, target: &OwnedFd, depth: usize) -> io::Result<u64> {
    too_deep(depth)?;
    let mut bytes = 0;
    for name in names(source)? {
        match copy_one(source, target, &name, depth) {
            Ok(more) => bytes += more,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(e),
        }
    }
    Ok(bytes)
}

fn copy_one(source: &OwnedFd, target: &OwnedFd, name: &CString, depth: usize) -> io::Result<u64> {
    let stat = statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            let from = openat(source, name, FOLDER, Mode::empty())?;
            mkdirat(target, name, Mode::RWXU)?;
            let to = openat(target, name, FOLDER, Mode::empty())?;
            let bytes = copy_into(&from, &to, depth + 1)?;
            finish(to.as_fd(), &stat)?;
            Ok(bytes)
        }
        FileType::RegularFile => {
            // It may have become something else since it was looked at: opening must not wait for a pipe.
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let from = openat(source, name, flags, Mode::empty())?;
            let stat = fstat(&from)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                return Ok(0);
            }
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let to = openat(target, name, flags, Mode::RUSR | Mode::WUSR)?;
            let bytes = if rustix::fs::ioctl_ficlone(&to, &from).is_ok() {
                u64::try_from(stat.st_size).unwrap_or(0)
            } else {
                io::copy(&mut File::from(from.try_clone()?), &mut File::from(to.try_clone()?))?
            };
            finish(to.as_fd(), &stat)?;
            Ok(bytes)
        }
        FileType::Symlink => {
            let place = readlinkat(source, name, Vec::new())?;
            symlinkat(place, target, name)?;
            let (uid, gid) = owner(&stat);
            chownat(target, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(0)
        }
        _ => Ok(0),
    }
}

/// Gives a folder with all in it to a user. The folder itself comes last, so that its owner tells whether all is done.
///
/// # Errors
/// As of the system; when folders are nested deeper than 200.
pub fn own_tree(path: &Path, user: (u32, u32)) -> io::Result<()> {
    fn inner(dir: &OwnedFd, user: (Option<Uid>, Option<Gid>), depth: usize) -> io::Result<()> {
        too_deep(depth)?;
        for name in names(dir)? {
            let stat = statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                inner(&openat(dir, &name, FOLDER, Mode::empty())?, user, depth + 1)?;
            } else {
                chownat(dir, &name, user.0, user.1, AtFlags::SYMLINK_NOFOLLOW)?;
            }
        }
        Ok(fchown(dir, user.0, user.1)?)
    }
    let user = (Some(Uid::from_raw(user.0)), Some(Gid::from_raw(user.1)));
    inner(&open(path, FOLDER, Mode::empty())?, user, 0)
}

/// Bytes on the disk below a folder, or of a file. What vanishes meanwhile, can not be read or is nested too deep does not
/// count.
pub fn tree_bytes(path: &Path) -> u64 {
    fn inner(dir: &OwnedFd, depth: usize) -> u64 {
        let mut bytes = 0;
        for name in if depth < DEPTH_MAX { names(dir).unwrap_or_default() } else { Vec::new() } {
            let Ok(stat) = statat(dir, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                bytes += openat(dir, &name, FOLDER, Mode::empty()).map_or(0, |dir| inner(&dir, depth + 1));
            }
        }
        bytes
    }
    match open(path, FOLDER, Mode::empty()) {
        Ok(dir) => inner(&dir, 0),
        Err(_) => std::fs::symlink_metadata(path).map_or(0, |meta| std::os::unix::fs::MetadataExt::blocks(&meta) * 512),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::PermissionsExt};

    #[test]
    fn a_copy_has_the_same_files_and_follows_no_link() {
        let dir = tempfile::tempdir().expect("dir");
        let (from, to, secret) = (dir.path().join("from"), dir.path().join("to"), dir.path().join("secret"));
        fs::create_dir_all(from.join("a/b")).expect("dir");
        fs::create_dir(&secret).expect("dir");
        fs::write(secret.join("key"), "secret").expect("file");
        fs::write(from.join("a/b/file"), vec![7u8; 100_000]).expect("file");
        fs::set_permissions(from.join("a/b/file"), fs::Permissions::from_mode(0o640)).expect("mode");
        std::os::unix::fs::symlink(&secret, from.join("link")).expect("link");
        rustix::fs::mknodat(rustix::fs::CWD, from.join("pipe"), FileType::Fifo, Mode::RUSR, 0).expect("pipe");
        assert_eq!(copy_tree(&from, &to).expect("copied"), 100_000);
        assert_eq!(fs::read(to.join("a/b/file")).expect("file"), vec![7u8; 100_000]);
        assert_eq!(fs::metadata(to.join("a/b/file")).expect("meta").permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_link(to.join("link")).expect("a link, not what it leads to"), secret);
        assert!(!to.join("pipe").exists() && to.join("a/b").is_dir());
        assert!(copy_tree(&from, &to).is_err(), "what is there is never mixed with");
        assert!(tree_bytes(&to) >= 100_000 && tree_bytes(&dir.path().join("none")) == 0);
        let mut deep = from.clone();
        (0..DEPTH_MAX + 2).for_each(|_| {
            deep.push("d");
            fs::create_dir(&deep).expect("dir");
        });
        assert!(copy_tree(&from, &dir.path().join("other")).is_err(), "no end of the stack");
    }
}
