//! The root file system of a dyno. On the host stack: the host's `/usr` read-only, a made-up `/etc`, nothing else of the
//! host (`runtime.md` section 4). On an imported one: that, read-only, shared by all dynos.

use crate::{Root, native::HoldRequest};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::{Mode, umask},
    unistd::{chdir, pivot_root, sethostname},
};
use std::{
    ffi::CString,
    fmt::Write as _,
    fs::{self, File},
    os::unix::{ffi::OsStrExt, fs::PermissionsExt, fs::symlink},
    path::{Path, PathBuf},
};

const NONE: Option<&str> = None;

/// Small world-readable files of `/etc` that programs look for; copied, so that nothing of the host is shared.
const ETC_FILES: &[&str] = &[
    "ca-certificates.conf",
    "debian_version",
    "gai.conf",
    "host.conf",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "locale.alias",
    "localtime",
    "mime.types",
    "nsswitch.conf",
    "npmrc",
    "os-release",
    "pip.conf",
    "protocols",
    "resolv.conf",
    "services",
    "timezone",
];
/// Folders of `/etc` without secrets.
const ETC_DIRS: &[&str] = &["alternatives", "ca-certificates", "fonts", "ld.so.conf.d", "python3", "python3.11", "ssl"];
/// Top-level folders that are links into `/usr` on a merged system.
const SYSTEM_DIRS: &[&str] = &["bin", "sbin", "lib", "lib32", "lib64", "libx32"];
const DEVICES: &[&str] = &["null", "zero", "full", "random", "urandom", "tty"];
/// Parts of /proc that tell about or change the host.
const PROC_HIDDEN: &[&str] = &[
    "acpi",
    "kcore",
    "keys",
    "latency_stats",
    "timer_list",
    "timer_stats",
    "sched_debug",
    "scsi",
    "sysrq-trigger",
    "kallsyms",
];
const PROC_READ_ONLY: &[&str] = &["bus", "fs", "irq", "sys"];
const FILE_BYTES_MAX: u64 = 4 << 20;
/// What an interactive shell shows (`runtime.md` section 4).
const PROMPT: &str = r"\[\033[01;34m\]\w\[\033[00m\] \[\033[01;32m\]$ \[\033[00m\]";

/// Makes the root and enters it. The caller is in a mount name space of its own.
pub fn build(request: &HoldRequest) -> Result<(), String> {
    umask(Mode::from_bits_truncate(0o022));
    let own = request.run_dir.join("root");
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).map_err(|e| format!("make mounts private: {e}"))?;
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), &own, Some("tmpfs"), flags, Some("mode=755,size=64m")).map_err(|e| format!("tmpfs: {e}"))?;
    let root = match &request.spec.root {
        Root::Host => {
            host_system(&own)?;
            own
        }
        Root::Imported(system) => imported_system(&own, system)?,
        Root::Image(name) => return Err(format!("image {name}: only a container engine runs images")),
    };
    etc(&root, request)?;
    devices(&root, request.rootless)?;
    memory_file(&root, request.spec.limits.memory_bytes)?;
    for dir in ["proc", "run", "var/tmp", "var/lib", "home", "opt", "tmp", "app"] {
        make_dir(&root.join(dir))?;
    }
    for item in &request.spec.mounts {
        let inner = item.target.strip_prefix("/").unwrap_or(&item.target);
        if item.kept {
            no_links(&root, inner)?;
        }
        let target = root.join(inner);
        bind(&item.source, &target, item.writable)?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &root.join("proc"), Some("proc"), flags, NONE).map_err(|e| format!("mount /proc: {e}"))?;
    hide_proc(&root)?;
    enter(&root)?;
    sethostname(&request.spec.hostname).map_err(|e| format!("sethostname: {e}"))
}

/// What of the host's own system is shown.
fn host_system(root: &Path) -> Result<(), String> {
    bind(Path::new("/usr"), &root.join("usr"), false)?;
    for name in SYSTEM_DIRS {
        let source = Path::new("/").join(name);
        match fs::read_link(&source) {
            Ok(target) => symlink(target, root.join(name)).map_err(|e| format!("link {name}: {e}"))?,
            Err(_) if source.is_dir() => bind(&source, &root.join(name), false)?,
            Err(_) => {}
        }
    }
    let etc = root.join("etc");
    make_dir(&etc)?;
    for name in ETC_FILES {
        let source = Path::new("/etc").join(name);
        let Ok(meta) = fs::metadata(&source) else { continue };
        if meta.is_file() && meta.len() <= FILE_BYTES_MAX && meta.permissions().mode() & 0o004 != 0 {
            // A file that can not be read is left out; what is needed fails later with its own message.
            let _ = fs::read(&source).and_then(|bytes| fs::write(etc.join(name), bytes));
        }
    }
    for name in ETC_DIRS {
        let source = Path::new("/etc").join(name);
        if source.is_dir() {
            bind(&source, &etc.join(name), false)?;
        }
    }
    Ok(())
}

/// An imported system with a layer of the dyno's own over it, which takes the few files that differ between dynos. Nobody
/// writes below, and the layer is sealed when all is in its place.
fn imported_system(own: &Path, system: &Path) -> Result<PathBuf, String> {
    let [upper, work, root] = ["upper", "work", "system"].map(|name| own.join(name));
    [&upper, &work, &root].into_iter().try_for_each(|dir| make_dir(dir))?;
    // The options have commas and colons of their own.
    let option = |path: &Path| path.display().to_string().replace('\\', "\\\\").replace(':', "\\:").replace(',', "\\,");
    let options = format!("lowerdir={},upperdir={},workdir={}", option(system), option(&upper), option(&work));
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("overlay"), &root, Some("overlay"), flags, Some(options.as_str()))
        .map_err(|e| format!("lay over {}: {e}", system.display()))?;
    // What an image has there is for another machine, and what is written there must not follow links of the image's.
    for name in ["dev", "sys"] {
        let place = root.join(name);
        make_dir(&place)?;
        mount(Some("tmpfs"), &place, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=755,size=64k"))
            .map_err(|e| format!("/{name}: {e}"))?;
    }
    Ok(root)
}

fn make_dir(path: &Path) -> Result<(), String> {
    fs::create_dir_all(path).map_err(|e| format!("mkdir {}: {e}", path.display()))
}

/// A volume goes where the path says. Slugs and images come from strangers, and a link of theirs on the way would lead out of
/// the cage while it is built.
fn no_links(root: &Path, inner: &Path) -> Result<(), String> {
    let mut at = root.to_path_buf();
    for part in inner {
        at.push(part);
        match fs::symlink_metadata(&at) {
            Ok(meta) if meta.is_dir() => {}
            Ok(_) => return Err(format!("a volume can not be at /{}: the app has a file or link there", inner.display())),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(format!("/{}: {e}", inner.display())),
        }
    }
    Ok(())
}

/// Binds a file or folder, with what is mounted below it.
fn bind(source: &Path, target: &Path, writable: bool) -> Result<(), String> {
    let text = |e: &dyn std::fmt::Display| format!("bind {} to {}: {e}", source.display(), target.display());
    if source.is_dir() {
        make_dir(target)?;
    } else {
        if let Some(parent) = target.parent() {
            make_dir(parent)?;
        }
        File::create(target).map_err(|e| text(&e))?;
    }
    mount(Some(source), target, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE).map_err(|e| text(&e))?;
    let read_only = if writable { 0 } else { libc::MOUNT_ATTR_RDONLY };
    set_attributes(target, read_only | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV, true).map_err(|e| text(&e))
}

/// `mount_setattr`, which also reaches what is mounted below, and adds flags without dropping locked ones.
fn set_attributes(target: &Path, set: u64, recursive: bool) -> Result<(), std::io::Error> {
    let path = CString::new(target.as_os_str().as_bytes()).map_err(std::io::Error::other)?;
    let attributes = libc::mount_attr { attr_set: set, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: path is a C string and attributes a struct of the size given; both live over the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            path.as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    if result < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
}

fn etc(root: &Path, request: &HoldRequest) -> Result<(), String> {
    let etc = root.join("etc");
    make_dir(&etc)?;
    let imported = request.spec.root != Root::Host;
    let private = etc.join("ssl/private");
    if private.is_dir() {
        let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("tmpfs"), &private, Some("tmpfs"), flags, Some("mode=000,size=4k"))
            .map_err(|e| format!("hide keys: {e}"))?;
    }
    let (uid, gid) = (request.uid, request.gid);
    let write = |name: &str, text: String| {
        let path = etc.join(name);
        // A link of an image may lead anywhere; the file is to be here.
        let _ = fs::remove_file(&path);
        fs::write(path, text).map_err(|e| format!("/etc/{name}: {e}"))
    };
    // An image has users of its own, whose files it may hold.
    let is_own = |name: &str| fs::symlink_metadata(etc.join(name)).is_ok_and(|meta| meta.is_file());
    let known = |name: &str| fs::read_to_string(etc.join(name)).ok().filter(|_| imported && is_own(name));
    let users = known("passwd").unwrap_or_else(|| "root:x:0:0:root:/:/usr/sbin/nologin\n".into());
    let groups = known("group").unwrap_or_else(|| "root:x:0:\n".into());
    write("passwd", format!("{users}dyno:x:{uid}:{gid}:dyno:/app:/bin/bash\n"))?;
    write("group", format!("{groups}dyno:x:{gid}:\n"))?;
    match &request.resolv_conf {
        Some(text) => write("resolv.conf", text.clone())?,
        None if imported => write("resolv.conf", fs::read_to_string("/etc/resolv.conf").unwrap_or_default())?,
        None => {}
    }
    // A shell that is not interactive drops PS1 from its environment, so the one in it is not enough for people.
    write("bash.bashrc", format!("[ -z \"$PS1\" ] || PS1='{PROMPT}'\n"))?;
    let hosts = fs::read_to_string(etc.join("hosts")).ok().filter(|_| is_own("hosts"));
    let mut hosts = hosts.unwrap_or_else(|| "127.0.0.1\tlocalhost\n".into());
    let _ = write!(hosts, "\n127.0.0.1\t{}\n", request.spec.hostname); // writing to a String can not fail
    write("hosts", hosts)?;
    write("hostname", format!("{}\n", request.spec.hostname))
}

fn devices(root: &Path, rootless: bool) -> Result<(), String> {
    let dev = root.join("dev");
    make_dir(&dev.join("shm"))?;
    make_dir(&dev.join("pts"))?;
    for name in DEVICES {
        let target = dev.join(name);
        File::create(&target).map_err(|e| format!("{}: {e}", target.display()))?;
        let source = Path::new("/dev").join(name);
        mount(Some(&source), &target, NONE, MsFlags::MS_BIND, NONE).map_err(|e| format!("bind {}: {e}", source.display()))?;
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    let shm = dev.join("shm");
    mount(Some("tmpfs"), &shm, Some("tmpfs"), flags, Some("mode=1777,size=64m")).map_err(|e| format!("/dev/shm: {e}"))?;
    let options = if rootless { "newinstance,ptmxmode=0666,mode=620" } else { "newinstance,ptmxmode=0666,mode=620,gid=5" };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("devpts"), &dev.join("pts"), Some("devpts"), flags, Some(options)).map_err(|e| format!("/dev/pts: {e}"))?;
    let links = [
        ("ptmx", "pts/ptmx"),
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
    ];
    for (name, target) in links {
        symlink(target, dev.join(name)).map_err(|e| format!("/dev/{name}: {e}"))?;
    }
    Ok(())
}

/// Buildpack scripts read the quota at this version 1 path, whatever the host has (`runtime.md` section 4).
fn memory_file(root: &Path, bytes: u64) -> Result<(), String> {
    let dir = root.join("sys/fs/cgroup/memory");
    make_dir(&dir)?;
    fs::write(dir.join("memory.limit_in_bytes"), format!("{bytes}\n")).map_err(|e| format!("memory.limit_in_bytes: {e}"))
}

fn hide_proc(root: &Path) -> Result<(), String> {
    let proc = root.join("proc");
    for name in PROC_HIDDEN {
        let target = proc.join(name);
        if target.is_dir() {
            let flags = MsFlags::MS_RDONLY | MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
            mount(Some("tmpfs"), &target, Some("tmpfs"), flags, Some("mode=555,size=4k"))
                .map_err(|e| format!("hide {name}: {e}"))?;
        } else if target.exists() {
            let null = PathBuf::from("/dev/null");
            mount(Some(&null), &target, NONE, MsFlags::MS_BIND, NONE).map_err(|e| format!("hide {name}: {e}"))?;
        }
    }
    for name in PROC_READ_ONLY {
        let target = proc.join(name);
        if target.is_dir() {
            mount(Some(&target), &target, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
                .map_err(|e| format!("/proc/{name}: {e}"))?;
            set_attributes(&target, libc::MOUNT_ATTR_RDONLY, true).map_err(|e| format!("/proc/{name}: {e}"))?;
        }
    }
    Ok(())
}

/// Makes `root` the root and lets go of the host's.
fn enter(root: &Path) -> Result<(), String> {
    chdir(root).map_err(|e| format!("chdir: {e}"))?;
    pivot_root(".", ".").map_err(|e| format!("pivot_root: {e}"))?;
    umount2(".", MntFlags::MNT_DETACH).map_err(|e| format!("detach the host's root: {e}"))?;
    chdir("/").map_err(|e| format!("chdir: {e}"))?;
    set_attributes(Path::new("/"), libc::MOUNT_ATTR_RDONLY, false).map_err(|e| format!("read-only root: {e}"))
}
