//! Removing folders that strangers filled.

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, open, openat, renameat, rmdir, unlinkat},
    io::Errno,
};
use std::{
    ffi::CString,
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

/// Names that are looked at in one go.
const BATCH: usize = 1000;

/// Removes a file, or a folder with all that is in it, however deep: a tenant can make folders in folders without end, and
/// one call or one descriptor for each level would be the end of the daemon. What is deep is moved up to the top instead.
///
/// # Errors
/// As of the system; also when there is nothing.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.is_dir() {
        return fs::remove_file(path);
    }
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let top = open(path, flags, Mode::empty())?;
    // A name that nobody could have taken beforehand.
    let mark = uuid::Uuid::new_v4().simple().to_string();
    let mut moved = 0u64;
    loop {
        let names = names(&top)?;
        if names.is_empty() {
            return Ok(rmdir(path)?);
        }
        for (name, is_dir) in names {
            if removed(&top, &name, is_dir)? {
                continue;
            }
            let inner = openat(&top, &name, flags, Mode::empty())?;
            loop {
                let names = self::names(&inner)?;
                if names.is_empty() {
                    break;
                }
                for (deep, is_dir) in names {
                    if !removed(&inner, &deep, is_dir)? {
                        renameat(&inner, &deep, &top, format!("{mark}-{moved}"))?;
                        moved += 1;
                    }
                }
            }
            unlinkat(&top, &name, AtFlags::REMOVEDIR)?;
        }
    }
}

/// False for a folder that is not empty.
fn removed(dir: &OwnedFd, name: &CString, is_dir: bool) -> io::Result<bool> {
    let flags = if is_dir { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    match unlinkat(dir, name, flags) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) if is_dir => Ok(false),
        Err(e) => Err(e.into()),
    }
}

/// The first names in a folder, and whether each is a folder.
fn names(dir: impl AsFd) -> io::Result<Vec<(CString, bool)>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let name = entry.file_name().to_owned();
        if [c".", c".."].contains(&name.as_c_str()) {
            continue;
        }
        let is_dir = match entry.file_type() {
            FileType::Unknown => {
                let stat = rustix::fs::statat(&dir, &name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(stat.st_mode) == FileType::Directory
            }
            kind => kind == FileType::Directory,
        };
        found.push((name, is_dir));
        if found.len() == BATCH {
            break;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deep_and_wide_trees_go_and_what_links_lead_to_stays() {
        let dir = tempfile::tempdir().expect("dir");
        let (tree, outside) = (dir.path().join("tree"), dir.path().join("outside"));
        fs::create_dir(&tree).expect("dir");
        fs::create_dir(&outside).expect("dir");
        fs::write(outside.join("kept"), "").expect("file");
        std::os::unix::fs::symlink(&outside, tree.join("link")).expect("link");
        (0..BATCH * 2 + 5).for_each(|n| fs::write(tree.join(format!("f{n}")), "").expect("file"));
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut at = open(&tree, flags, Mode::empty()).expect("open");
        for level in 0..20_000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).expect("mkdir");
            if level % 1000 == 0 {
                drop(openat(&at, "file", OFlags::CREATE | OFlags::WRONLY, Mode::RWXU).expect("file"));
            }
            at = openat(&at, "d", flags, Mode::empty()).expect("open");
        }
        drop(at);
        // On a small stack, as a thread of the daemon has.
        let gone = std::thread::Builder::new().stack_size(128 << 10).spawn(move || remove_tree(&tree).map(|()| tree.exists()));
        assert!(!gone.expect("thread").join().expect("no overflow").expect("removed"));
        assert!(outside.join("kept").exists());
        assert!(remove_tree(&dir.path().join("nothing")).is_err());
    }
}
