//! Root file systems that an operator imported ("stacks"): apps are built and run on them instead of the host's own system.
//!
//! ```text
//! stacks/NAME/current -> ID     stacks/NAME/ID/root/…     stacks/NAME/ID/id
//! ```
//! A new import does not touch the old one: dynos may be running on it.

mod layers;

use domain::app::HOST_STACK;
use flate2::read::MultiGzDecoder;
use ring::digest::{Context, SHA256};
use runtime::Root;
use std::{
    fs::{self, File},
    io::{self, Read, Seek},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// Every stack's entries; more is no system.
const ENTRIES_MAX: u64 = 2_000_000;
/// Folders that dynos and builds need as places to mount on.
const PLACES: &[&str] = &[
    "app",
    "buildpacks",
    "cache",
    "dev",
    "env",
    "etc",
    "home",
    "opt",
    "proc",
    "run",
    "sys",
    "tmp",
    "var",
    "var/lib",
    "var/tmp",
];
/// An OCI layout in a tar names itself within so many entries.
const LAYOUT_ENTRIES: usize = 256;
const LAYOUT_FILE: &str = "oci-layout";
const CURRENT: &str = "current";

/// Why a stack was not imported. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum StackError {
    /// The name can not be one.
    #[error("stack_name: {0:?} is no name for a stack; use 2 to 30 lower-case letters, digits, dashes or dots")]
    Name(String),
    /// Not what it should be.
    #[error("stack_unreadable: {0}")]
    Unreadable(String),
    /// It lacks something.
    #[error("stack_incomplete: {0} is missing in it; dynos can not start without")]
    Incomplete(&'static str),
    /// The disk failed.
    #[error("stack_io: {0}")]
    Io(#[from] io::Error),
}

/// What was imported.
#[derive(Debug, PartialEq, Eq)]
pub struct Imported {
    /// Content address, hexadecimal digits.
    pub id: String,
    /// Files, folders and links.
    pub entries: u64,
}

/// The folder with all of them.
#[derive(Clone, Debug)]
pub struct Stacks {
    dir: PathBuf,
}

fn unreadable(e: impl std::fmt::Display) -> StackError {
    StackError::Unreadable(e.to_string())
}

/// True for what may be the name of a stack, and of a folder.
pub fn is_stack_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
    (2..=30).contains(&name.len()) && name.bytes().all(good) && name.as_bytes()[0].is_ascii_lowercase()
}

impl Stacks {
    /// Stacks below `dir`, which need not exist.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// Names of all, in order.
    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
        names.retain(|name| self.root(name).is_some());
        names.sort();
        names
    }

    /// The root file system of a stack; beside it is a file `id`.
    pub fn root(&self, name: &str) -> Option<PathBuf> {
        let root = self.dir.join(name).join(CURRENT).canonicalize().ok()?.join("root");
        (is_stack_name(name) && root.is_dir()).then_some(root)
    }

    /// What an app of this stack is built and run on; an imported one of the host stack's name comes before the host itself.
    pub fn choose(&self, name: &str) -> Option<Root> {
        self.root(name).map(Root::Imported).or_else(|| (name == HOST_STACK).then_some(Root::Host))
    }

    /// Unpacks a root file system from a tar or tar.gz, or the first image of an OCI layout (folder or tar). Devices are left
    /// out. Needs root, since the files keep their owners.
    ///
    /// # Errors
    /// [`StackError`].
    pub fn import(&self, name: &str, source: &Path) -> Result<Imported, StackError> {
        if !is_stack_name(name) {
            return Err(StackError::Name(name.into()));
        }
        let stack = self.dir.join(name);
        fs::create_dir_all(&stack)?;
        let partial = stack.join(format!(".partial-{}", std::process::id()));
        let imported = import_to(source, &partial).and_then(|imported| {
            let target = stack.join(&imported.id);
            if !target.exists() {
                fs::write(partial.join("id"), &imported.id)?;
                fs::rename(&partial, &target)?;
            }
            let link = stack.join(format!(".link-{}", std::process::id()));
            let _ = fs::remove_file(&link); // of a process that had the same number
            symlink(&imported.id, &link)?;
            fs::rename(&link, stack.join(CURRENT))?;
            Ok(imported)
        });
        match fs::remove_dir_all(&partial) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e.into()),
            _ => {}
        }
        imported
    }
}

fn import_to(source: &Path, partial: &Path) -> Result<Imported, StackError> {
    let root = partial.join("root");
    fs::create_dir_all(&root)?;
    let mut tree = layers::Tree::new(root.clone(), ENTRIES_MAX)?;
    let id = if source.is_dir() {
        layers::from_layout(source, &mut tree)?
    } else if names_a_layout(source)? {
        let layout = partial.join("layout");
        fs::create_dir_all(&layout)?;
        tar::Archive::new(opened(source)?).unpack(&layout).map_err(unreadable)?;
        let id = layers::from_layout(&layout, &mut tree)?;
        fs::remove_dir_all(&layout)?;
        id
    } else {
        tree.add(opened(source)?)?;
        sha256(source)?
    };
    for place in PLACES {
        let path = root.join(place);
        // The holder mounts and writes there before the system is its root: a link would lead to the host.
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(unreadable(format!("/{place} must be a folder in it"))),
            Err(_) => fs::create_dir(&path).map_err(|e| unreadable(format!("/{place}: {e}")))?,
        }
    }
    // Links such as /bin lead to absolute places of the new root; only names are looked at.
    if !["bin/bash", "usr/bin/bash"].iter().any(|path| fs::symlink_metadata(root.join(path)).is_ok()) {
        return Err(StackError::Incomplete("/bin/bash"));
    }
    Ok(Imported { id, entries: tree.entries() })
}

/// Does a tar hold an OCI layout rather than a system?
fn names_a_layout(source: &Path) -> Result<bool, StackError> {
    let mut archive = tar::Archive::new(opened(source)?);
    for entry in archive.entries().map_err(unreadable)?.take(LAYOUT_ENTRIES) {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path().map_err(unreadable)?;
        if path.strip_prefix("./").unwrap_or(&path) == Path::new(LAYOUT_FILE) {
            return Ok(true);
        }
        if path.components().count() > 3 {
            return Ok(false); // a layout is flat
        }
    }
    Ok(false)
}

/// A file, through gzip if that is what it is.
fn opened(path: &Path) -> Result<Box<dyn Read>, StackError> {
    let mut file = File::open(path).map_err(|e| unreadable(format!("{}: {e}", path.display())))?;
    let mut magic = [0u8; 4];
    let count = file.read(&mut magic)?;
    file.rewind()?;
    match &magic[..count] {
        [0x1f, 0x8b, ..] => Ok(Box::new(MultiGzDecoder::new(io::BufReader::new(file)))),
        [0x28, 0xb5, 0x2f, 0xfd] | [0xfd, b'7', b'z', b'X'] => {
            Err(unreadable(format!("{}: unpack it first; only gzip is known", path.display())))
        }
        _ => Ok(Box::new(io::BufReader::new(file))),
    }
}

/// Hexadecimal digits of a file's checksum.
fn sha256(path: &Path) -> Result<String, StackError> {
    let (mut file, mut context) = (File::open(path)?, Context::new(&SHA256));
    let mut buffer = vec![0u8; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(context.finish().as_ref().iter().map(|b| format!("{b:02x}")).collect()),
            n => context.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
