//! Control groups, both versions. Groups are made below the daemon's own group, so nothing else on the host is touched.

use crate::{Limits, Memory, Stats};
use cgroups_rs::fs::{
    Cgroup, MaxValue, Subsystem,
    cgroup::{get_cgroups_relative_paths, get_cgroups_relative_paths_by_pid},
    cpu::CpuController,
    hierarchies,
    memory::MemController,
    pid::PidController,
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const CONTROLLERS: &[&str] = &["memory", "pids", "cpu"];
/// End of the name of a unit's control group.
const UNIT: &str = ".service";
/// Version 2: shares of the disk, where there is a scheduler that knows them.
const OPTIONAL: &str = "io";
/// Version 1 counts CPU time in a controller of its own, which may have a tree of its own.
const LEGACY_ACCOUNTING: &str = "cpuacct";
/// Version 1 freezes in a controller of its own. Whoever looks after a host uses it; a dyno must be stoppable all the same.
const LEGACY_FREEZER: &str = "freezer";

/// The place below which dynos get their groups.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Controller and path below its mount; one entry with all controllers on version 2.
    bases: Bases,
    has_swap: bool,
}

/// The group of one dyno.
pub struct Group {
    parts: Vec<Cgroup>,
}

type Bases = Vec<(Vec<String>, String)>;

impl Slice {
    /// Finds a place where limits really take hold; `Err` says why there is none, for the operator.
    pub fn find() -> Result<Self, String> {
        let own = get_cgroups_relative_paths().map_err(|e| format!("/proc/self/cgroup: {e}"))?;
        let legacy = |own| -> Vec<Candidate> { vec![Box::new(move || legacy(&own))] };
        let candidates = if hierarchies::is_cgroup2_unified_mode() { unified(&own) } else { legacy(own) };
        let mut reasons = Vec::new();
        for candidate in candidates {
            match candidate().and_then(Self::probe) {
                Ok(slice) => return Ok(slice),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(format!("can not make a control group: {}", reasons.join("; ")))
    }

    /// Makes a group with limits and removes it again.
    fn probe(bases: Bases) -> Result<Self, String> {
        let slice = Self { bases, has_swap: has_swap() };
        let limits = Limits { memory_bytes: 64 << 20, memory_hard: true, tasks_max: 16, cpu_share: 1, cores: None };
        let group = slice.create(&format!("probe-{}", std::process::id()), &limits)?;
        group.delete();
        Ok(slice)
    }

    fn group(&self, name: &str) -> Result<Group, String> {
        let parts: Result<Vec<Cgroup>, _> = self
            .bases
            .iter()
            .map(|(controllers, base)| {
                let path = Path::new(base).join("tidemill").join(name);
                Cgroup::new_with_specified_controllers(hierarchies::auto(), path, Some(controllers.clone()))
            })
            .collect();
        parts.map(|parts| Group { parts }).map_err(|e| e.to_string())
    }

    /// Makes the group of a dyno and sets its limits.
    pub fn create(&self, name: &str, limits: &Limits) -> Result<Group, String> {
        let group = self.group(name)?;
        if let Err(e) = group.apply(limits, self.has_swap) {
            group.delete();
            return Err(e);
        }
        Ok(group)
    }

    /// A handle for a group that was made before.
    pub fn load(&self, name: &str) -> Group {
        let parts = self.bases.iter().map(|(controllers, base)| {
            let path = Path::new(base).join("tidemill").join(name);
            Cgroup::load_with_specified_controllers(hierarchies::auto(), path, controllers.clone())
        });
        Group { parts: parts.collect() }
    }
}

/// Version 1: every controller has its own tree and we have a place of our own in each.
fn legacy(own: &std::collections::HashMap<String, String>) -> Result<Bases, String> {
    let others = [LEGACY_ACCOUNTING, LEGACY_FREEZER].into_iter().filter(|name| own.contains_key(*name));
    let controllers = CONTROLLERS.iter().copied().chain(others);
    controllers
        .map(|controller| {
            let path = own.get(controller).ok_or_else(|| format!("the {controller} controller is not mounted"))?;
            Ok((vec![controller.to_string()], path.trim_start_matches('/').to_string()))
        })
        .collect()
}

type Candidate = Box<dyn FnOnce() -> Result<Bases, String>>;

/// Version 2: one tree, and processes live only in leaves. For a unit of systemd, a place beside it: one within would have
/// to divide the unit's own group, and then systemd could not start the unit again while dynos live (the kernel lets no
/// process into a divided group). Elsewhere the daemon's own group, from which it moves into a leaf. In a login shell that
/// group has other members, so that it can not be divided; then a group at the top of the tree.
fn unified(own: &std::collections::HashMap<String, String>) -> Vec<Candidate> {
    let own = own.get("").map_or("", |p| p.trim_matches('/')).to_string();
    let base = own.strip_suffix("/daemon").unwrap_or(&own).to_string();
    let needed: Vec<String> = CONTROLLERS.iter().map(|c| (*c).to_string()).collect();
    let with_io: Vec<String> = needed.iter().cloned().chain([OPTIONAL.to_string()]).collect();
    let at = |place: &str| {
        let place = place.to_string();
        [&with_io, &needed].map(|all| (all.clone(), place.clone()))
    };
    let mut candidates: Vec<Candidate> = Vec::new();
    if let Some((slice, _)) = base.rsplit_once('/').filter(|_| base.ends_with(UNIT)) {
        candidates.extend(at(slice).map(|pair| Box::new(move || Ok(vec![pair])) as Candidate));
    }
    if !base.is_empty() {
        candidates.extend(at(&base).map(|pair| {
            let own = own.clone();
            Box::new(move || leave_for_leaf(&pair.1, &own).map(|()| vec![pair])) as Candidate
        }));
    }
    candidates.extend(at("").map(|pair| Box::new(move || Ok(vec![pair])) as Candidate));
    candidates
}

/// Moves the daemon into `base/daemon`, unless it is there or others would stay behind.
fn leave_for_leaf(base: &str, own: &str) -> Result<(), String> {
    let group = Path::new("/sys/fs/cgroup").join(base);
    let text = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
    if base != own {
        return Ok(());
    }
    let members = fs::read_to_string(group.join("cgroup.procs")).map_err(|e| text(&group, e))?;
    if members.lines().any(|pid| pid != std::process::id().to_string()) {
        return Err(format!("{} has other members", group.display()));
    }
    let leaf = group.join("daemon");
    fs::create_dir_all(&leaf).map_err(|e| text(&leaf, e))?;
    fs::write(leaf.join("cgroup.procs"), "0").map_err(|e| text(&leaf, e))
}

fn has_swap() -> bool {
    fs::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1)
}

impl Group {
    fn apply(&self, limits: &Limits, has_swap: bool) -> Result<(), String> {
        let text = |e: cgroups_rs::fs::error::Error| e.to_string();
        // Without swap an app over its quota must live on as it does on Heroku, up to twice of it (`runtime.md` section 9).
        let hard = if limits.memory_hard || has_swap { limits.memory_bytes } else { limits.memory_bytes * 2 };
        let hard = i64::try_from(hard).unwrap_or(i64::MAX);
        for part in &self.parts {
            if let Some(memory) = part.controller_of::<MemController>() {
                memory.set_limit(hard).map_err(text)?;
                let swap = if part.v2() && limits.memory_hard { 0 } else { hard.saturating_mul(1 + i64::from(!part.v2())) };
                if has_swap {
                    // Swap accounting may be switched off in the kernel; the memory limit holds all the same.
                    let _ = memory.set_memswap_limit(swap);
                }
            }
            if let Some(pids) = part.controller_of::<PidController>() {
                pids.set_pid_max(MaxValue::Value(i64::from(limits.tasks_max))).map_err(text)?;
            }
            if let Some(cpu) = part.controller_of::<CpuController>() {
                // cpu.weight 1..10000 with 100 as normal; cpu.shares 2.. with 1024 as normal.
                let shares = u64::from(limits.cpu_share) * if part.v2() { 100 } else { 1024 };
                cpu.set_shares(shares.clamp(2, 10_000)).map_err(text)?;
            }
        }
        // No `memory.high`: it slows an app down that is over its quota and has nothing to give back, and such an app is to
        // go on. One process that is killed for memory must not take the others along (`runtime.md` section 9).
        let weight = format!("default {}", (u64::from(limits.cpu_share) * 100).clamp(1, 10_000));
        for dir in self.dirs() {
            let group = dir.join("memory.oom.group");
            if group.exists() {
                fs::write(&group, "0").map_err(|e| format!("{}: {e}", group.display()))?;
            }
            // Only some schedulers of disks know weights; without one there are none.
            let _ = fs::write(dir.join("io.weight"), &weight);
        }
        Ok(())
    }

    /// Files that a process of one thread writes `0` into to join. On version 1 that is `tasks`: the kernel then need not
    /// hold up every fork on the host, which takes it 15 ms (`cgroup_procs_write_start` in `kernel/cgroup/cgroup.c`).
    pub fn procs_files(&self) -> Vec<PathBuf> {
        let file = |dir: PathBuf| Some(dir.join("tasks")).filter(|f| f.exists()).unwrap_or_else(|| dir.join("cgroup.procs"));
        self.dirs().into_iter().map(file).collect()
    }

    /// One directory on version 2, one per controller on version 1.
    fn dirs(&self) -> Vec<PathBuf> {
        let mut dirs: Vec<PathBuf> = self
            .parts
            .iter()
            .flat_map(|p| p.subsystems())
            .map(|s: &Subsystem| s.to_controller().path().to_path_buf())
            .collect();
        dirs.sort();
        dirs.dedup();
        dirs
    }

    /// The group that a process is in; for one that an engine made.
    pub fn of_process(pid: i32) -> Option<Self> {
        let paths = get_cgroups_relative_paths_by_pid(u32::try_from(pid).ok()?).ok()?;
        let bases = if hierarchies::is_cgroup2_unified_mode() {
            let all = CONTROLLERS.iter().map(|c| (*c).to_string()).collect();
            vec![(all, paths.get("")?.trim_start_matches('/').to_string())]
        } else {
            legacy(&paths).ok()?
        };
        let parts = bases.into_iter().map(|(controllers, path)| {
            Cgroup::load_with_specified_controllers(hierarchies::auto(), Path::new(&path), controllers)
        });
        Some(Self { parts: parts.collect() })
    }

    /// Lets a frozen group go on, on either version.
    pub fn thaw(&self) {
        for (file, free) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
            for file in self.dirs().into_iter().map(|dir| dir.join(file)) {
                let stands = fs::read_to_string(&file).unwrap_or_default();
                if !stands.is_empty() && stands.trim() != free {
                    let _ = fs::write(&file, free); // a group that is just going needs no thaw
                }
            }
        }
    }

    /// Processes that the kernel killed for memory.
    pub fn oom_kills(&self) -> u64 {
        let files = ["memory.events", "memory.oom_control"];
        files.iter().find_map(|file| self.number_in(file, "oom_kill")).unwrap_or(0)
    }

    /// A number of a `name number` file that one of the group's directories has.
    fn number_in(&self, file: &str, name: &str) -> Option<u64> {
        let text = self.dirs().iter().find_map(|dir| fs::read_to_string(dir.join(file)).ok())?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.trim().parse().ok())
    }

    /// The number in a file that one of the group's directories has.
    fn number(&self, file: &str) -> Option<u64> {
        self.dirs().iter().find_map(|dir| fs::read_to_string(dir.join(file)).ok()?.trim().parse().ok())
    }

    /// What the group uses and has used, on either version.
    pub fn stats(&self) -> Option<Stats> {
        let cpu_us = self.number_in("cpu.stat", "usage_usec").or_else(|| self.number("cpuacct.usage").map(|ns| ns / 1000));
        let throttled = self.number_in("cpu.stat", "throttled_usec");
        let throttled = throttled.or_else(|| self.number_in("cpu.stat", "throttled_time").map(|ns| ns / 1000));
        Some(Stats {
            memory: self.memory()?,
            cpu_us: cpu_us.unwrap_or(0),
            throttled_us: throttled.unwrap_or(0),
            tasks: self.number("pids.current").unwrap_or(0),
            oom_kills: self.oom_kills(),
        })
    }

    /// Memory in use: `memory.stat` of either version, which name things differently.
    pub fn memory(&self) -> Option<Memory> {
        let dirs = self.dirs();
        let stat = dirs.iter().find_map(|dir| fs::read_to_string(dir.join("memory.stat")).ok())?;
        let value = |name: &str| {
            let line = stat.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|number| number.trim().parse::<u64>().ok())
        };
        if let (Some(rss), Some(cache)) = (value("total_rss"), value("total_cache")) {
            let shmem = value("total_shmem").unwrap_or(0);
            let swap_bytes = value("total_swap").unwrap_or(0);
            return Some(Memory { rss_bytes: rss + shmem, cache_bytes: cache.saturating_sub(shmem), swap_bytes });
        }
        let (anon, file, shmem) = (value("anon")?, value("file")?, value("shmem").unwrap_or(0));
        let swap = dirs.iter().find_map(|dir| fs::read_to_string(dir.join("memory.swap.current")).ok()?.trim().parse().ok());
        let swap_bytes = swap.unwrap_or(0);
        Some(Memory { rss_bytes: anon + shmem, cache_bytes: file.saturating_sub(shmem), swap_bytes })
    }

    /// Ends what is left in the group. A process that forks meanwhile is caught by the next round.
    fn kill_all(&self) {
        for dir in self.dirs() {
            if fs::write(dir.join("cgroup.kill"), "1").is_ok() {
                continue; // version 2 knows how, from kernel 5.14 on
            }
            let members = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
            for pid in members.lines().filter_map(|pid| pid.parse().ok()).filter(|pid| *pid > 0) {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL); // gone is good
            }
        }
    }

    /// Removes the group with all that is in it. The kernel answers "busy" for a moment after the last process was reaped (`stack.md`).
    pub fn delete(&self) {
        for part in &self.parts {
            for attempt in 0..50 {
                if !part.exists() || part.delete().is_ok() {
                    break;
                }
                self.thaw();
                self.kill_all();
                std::thread::sleep(Duration::from_millis(if attempt < 10 { 2 } else { 20 }));
            }
            if part.exists() {
                tracing::warn!(path = part.path(), "runtime.cgroup_left: the control group could not be removed");
            }
        }
    }
}
