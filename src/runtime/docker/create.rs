//! From a [`Spec`] to what the engine is asked for.

use super::{
    DYNO_LABEL, INSTANCE_LABEL, STDIO_LABEL,
    images::{INIT_DIR, Image},
    upload::{Owner, Part},
};
use crate::{Limits, Network, SHARED_USER_DYNOS, Spec, Stdio};
use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount, MountBindOptions, MountType, MountVolumeOptions,
    ResourcesUlimits,
};
use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
};

const SHM_BYTES: i64 = 64 << 20;
/// The engine keeps this much output of a container, which is what a daemon that was away can still read.
const LOG_FILE_SIZE: &str = "8m";
const LOG_FILES: &str = "3";
/// PID 1 and a parent of a further process count, but are not the app's.
const OWN_TASKS: i64 = 2;

/// Names of the volumes that a container gets.
pub struct Volumes {
    /// PID 1.
    pub init: String,
    /// The quota, as a file.
    pub quota: Option<String>,
    /// `/etc`, with the dyno's user in it.
    pub etc: Option<String>,
    /// One for each source of [`Spec::mounts`], in the order of the targets.
    pub folders: Vec<(String, crate::Mount)>,
}

impl Volumes {
    /// Gives each source one volume, however many targets it has.
    pub fn folders(spec: &Spec) -> Vec<(String, crate::Mount)> {
        let mut names = BTreeMap::new();
        let numbered = spec.mounts.iter().filter(|mount| !mount.kept).map(|mount| {
            let next = names.len();
            let number = *names.entry(mount.source.clone()).or_insert(next);
            (format!("tidemill-{}-{number}", spec.id), mount.clone())
        });
        numbered.collect()
    }
}

/// What every container and volume of a dyno is marked with.
pub fn labels(instance: &str, spec: &Spec) -> HashMap<String, String> {
    let stdio = match spec.stdio {
        Stdio::Log => "log",
        Stdio::Pipes => "pipes",
        Stdio::Terminal(_) => "terminal",
    };
    let labels = [(DYNO_LABEL, spec.id.to_string()), (INSTANCE_LABEL, instance.into()), (STDIO_LABEL, stdio.into())];
    labels.map(|(name, value)| (name.to_string(), value)).into()
}

/// Options for PID 1, up to the program.
pub fn stdio_option(stdio: Stdio) -> String {
    match stdio {
        Stdio::Log => "log".into(),
        Stdio::Pipes => "pipes".into(),
        Stdio::Terminal(window) => format!("terminal:{}:{}", window.rows, window.columns),
    }
}

/// Names of the variables that a process is to keep.
pub fn keep_option(env: &BTreeMap<String, String>) -> [String; 2] {
    ["--keep".into(), env.keys().map(String::as_str).collect::<Vec<_>>().join(",")]
}

fn command(spec: &Spec, image: &Image, waits: bool) -> Vec<String> {
    let mut command = vec![format!("{INIT_DIR}/init"), "cage".into(), "--stdio".into(), stdio_option(spec.stdio)];
    command.extend(waits.then(|| "--wait".into()));
    command.extend(spec.lossless.then(|| "--lossless".into()));
    if image.own.is_none() {
        command.extend(keep_option(&spec.env));
    }
    command.push("--".into());
    match &image.own {
        Some(own) => {
            command.extend(own.entrypoint.iter().flatten().cloned());
            let own_command = own.cmd.iter().flatten().cloned();
            if spec.argv.is_empty() { command.extend(own_command) } else { command.extend(spec.argv.iter().cloned()) }
        }
        None => command.extend(spec.argv.iter().cloned()),
    }
    command
}

/// The request. `waits`: the program begins when PID 1 is told so.
pub fn body(
    instance: &str,
    spec: &Spec,
    image: &Image,
    volumes: &Volumes,
    user: (u32, u32),
    waits: bool,
) -> ContainerCreateBody {
    let mut env: Vec<String> = spec.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let has_home = |config: &bollard::models::ImageConfig| config.env.iter().flatten().any(|entry| entry.starts_with("HOME="));
    if image.own.as_ref().is_some_and(|config| !has_home(config)) && !spec.env.contains_key("HOME") {
        env.push("HOME=/".into()); // the engine would take the one of root
    }
    ContainerCreateBody {
        hostname: Some(spec.hostname.clone()),
        user: Some(format!("{}:{}", user.0, user.1)),
        open_stdin: Some(spec.stdio != Stdio::Log),
        env: Some(env),
        entrypoint: Some(command(spec, image, waits)),
        cmd: Some(Vec::new()),
        // Of the image these three are left out (`runtime.md` section 4.5).
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".into()]), ..HealthConfig::default() }),
        stop_signal: Some("SIGTERM".into()),
        exposed_ports: None,
        image: Some(image.name.clone()),
        working_dir: (image.own.is_none() || !spec.cwd.as_os_str().is_empty()).then(|| spec.cwd.display().to_string()),
        labels: Some(labels(instance, spec)),
        host_config: Some(host_config(instance, spec, image, volumes, waits)),
        ..ContainerCreateBody::default()
    }
}

/// A container that is never started, with the volumes of a dyno to be filled: the engine fills nothing that is read-only.
pub fn filler(instance: &str, spec: &Spec, image: &Image, volumes: &Volumes) -> ContainerCreateBody {
    let mounts = mounts(instance, spec, volumes, true);
    ContainerCreateBody {
        image: Some(image.name.clone()),
        entrypoint: Some(vec!["never".into()]),
        labels: Some(labels(instance, spec)),
        host_config: Some(HostConfig { mounts: Some(mounts), network_mode: Some("none".into()), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    }
}

/// What goes into the volumes.
pub fn parts(volumes: &Volumes, user: (u32, u32)) -> Vec<Part> {
    let mut parts = Vec::new();
    if volumes.etc.is_some() {
        let (uid, gid) = user;
        let users = [
            "root:x:0:0:root:/root:/bin/bash".to_string(),
            format!("dyno:x:{uid}:{gid}::/app:/bin/bash"),
            "nobody:x:65534:65534::/:/bin/false\n".into(),
        ];
        let groups = format!("root:x:0:\ndyno:x:{gid}:\nnogroup:x:65534:\n");
        let file = |target: &str, text: String| Part::File { target: target.into(), content: text.into_bytes(), mode: 0o644 };
        parts.extend([file("etc/passwd", users.join("\n")), file("etc/group", groups)]);
    }
    let mut done = Vec::new();
    for (volume, mount) in &volumes.folders {
        if done.contains(&volume) {
            continue;
        }
        done.push(volume);
        let owner = if mount.writable { Owner::User(user.0, user.1) } else { Owner::Fixed };
        let target = mount.target.strip_prefix("/").unwrap_or(&mount.target).to_path_buf();
        parts.push(Part::Folder { source: mount.source.clone(), target, owner });
    }
    parts
}

fn host_config(instance: &str, spec: &Spec, image: &Image, volumes: &Volumes, waits: bool) -> HostConfig {
    let limit = |name: &str, number: i64| ResourcesUlimits { name: Some(name.into()), soft: Some(number), hard: Some(number) };
    let limits = &spec.limits;
    let shared = if spec.shares_user() { i64::from(SHARED_USER_DYNOS) } else { 1 };
    let (memory, memory_swap) = memory(limits);
    let log = [("max-size", LOG_FILE_SIZE), ("max-file", LOG_FILES), ("compress", "false")];
    HostConfig {
        cpu_shares: Some(i64::from(limits.cpu_share) * 1024),
        memory: Some(memory),
        memory_swap: Some(memory_swap),
        cpuset_cpus: limits.cores.and_then(|cores| processors(cores, spec.user_slot)),
        pids_limit: Some(i64::from(limits.tasks_max) + OWN_TASKS),
        ulimits: Some(vec![limit("nproc", i64::from(limits.tasks_max) * shared), limit("core", 0)]),
        log_config: Some(HostConfigLogConfig {
            typ: Some("local".into()),
            config: Some(log.map(|(name, value)| (name.to_string(), value.to_string())).into()),
        }),
        network_mode: Some(if spec.network == Network::Host && !waits { "host" } else { "none" }.into()),
        mounts: Some(mounts(instance, spec, volumes, false)),
        cap_drop: Some(vec!["ALL".into()]),
        security_opt: Some(vec!["no-new-privileges:true".into()]),
        readonly_rootfs: Some(image.own.is_none()),
        shm_size: Some(SHM_BYTES),
        extra_hosts: (spec.network != Network::Host).then(|| vec![format!("{}:127.0.0.1", spec.hostname)]),
        dns: waits.then(crate::native::network::resolver).map(|(_, servers)| servers.iter().map(ToString::to_string).collect()),
        ..HostConfig::default()
    }
}

/// Memory, and memory with swap (`runtime.md` section 9): without swap an app over its quota must live on, up to twice of it.
fn memory(limits: &Limits) -> (i64, i64) {
    let has_swap = fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1);
    let memory = if limits.memory_hard || has_swap { limits.memory_bytes } else { limits.memory_bytes * 2 };
    let with_swap = if limits.memory_hard || !has_swap { memory } else { memory * 2 };
    let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    (number(memory), number(with_swap))
}

/// As many processors as asked for; dynos are spread by the number of their user.
fn processors(cores: u32, slot: u32) -> Option<String> {
    let all = u32::try_from(std::thread::available_parallelism().ok()?.get()).ok()?;
    if cores == 0 || cores >= all {
        return None;
    }
    let chosen: Vec<String> = (0..cores).map(|n| ((slot + n) % all).to_string()).collect();
    Some(chosen.join(","))
}

fn mounts(instance: &str, spec: &Spec, volumes: &Volumes, fills: bool) -> Vec<Mount> {
    let own = labels(instance, spec);
    let shared = HashMap::from([(INSTANCE_LABEL.to_string(), instance.to_string())]);
    let mount = |name: &str, target: &Path, read_only: bool, labels: &HashMap<String, String>| Mount {
        target: Some(target.display().to_string()),
        source: Some(name.to_string()),
        typ: Some(MountType::VOLUME),
        read_only: Some(read_only),
        // What the image has there goes in once, with its owner; later it would change that of an empty folder back.
        volume_options: Some(MountVolumeOptions {
            labels: Some(labels.clone()),
            no_copy: Some(!fills),
            ..MountVolumeOptions::default()
        }),
        ..Mount::default()
    };
    let mut all = vec![mount(&volumes.init, Path::new(INIT_DIR), true, &shared)];
    all.extend(volumes.quota.iter().map(|name| mount(name, Path::new("/sys/fs/cgroup"), true, &shared)));
    all.extend(volumes.etc.iter().map(|name| mount(name, Path::new("/etc"), !fills, &own)));
    all.extend(volumes.folders.iter().map(|(name, item)| mount(name, &item.target, !fills && !item.writable, &own)));
    // The only folders of the host that a container gets.
    let kept = spec.mounts.iter().filter(|mount| mount.kept && !fills).map(|item| Mount {
        target: Some(item.target.display().to_string()),
        source: Some(item.source.display().to_string()),
        typ: Some(MountType::BIND),
        read_only: Some(!item.writable),
        bind_options: Some(MountBindOptions { create_mountpoint: Some(false), ..MountBindOptions::default() }),
        ..Mount::default()
    });
    all.extend(kept);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_app_over_its_quota_lives_unless_the_quota_is_hard() {
        let limits = |memory_hard| Limits { memory_bytes: 100, memory_hard, tasks_max: 1, cpu_share: 1, cores: None };
        assert_eq!(memory(&limits(true)), (100, 100));
        assert!(memory(&limits(false)).1 >= 200);
    }

    #[test]
    fn processors_are_spread_and_never_more_than_there_are() {
        assert_eq!(processors(10_000, 3), None);
        assert_eq!(processors(0, 3), None);
        if std::thread::available_parallelism().is_ok_and(|n| n.get() > 1) {
            assert_ne!(processors(1, 0), processors(1, 1));
        }
    }
}
