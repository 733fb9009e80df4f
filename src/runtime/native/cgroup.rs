//! Control groups, both versions. Groups are made below the daemon's own group, so nothing else on the host is touched.

use crate::Limits;
use cgroups_rs::fs::{
    Cgroup, MaxValue, Subsystem, cgroup::get_cgroups_relative_paths, cpu::CpuController, hierarchies, memory::MemController,
    pid::PidController,
};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

const CONTROLLERS: &[&str] = &["memory", "pids", "cpu"];

/// The place below which dynos get their groups.
#[derive(Clone, Debug)]
pub struct Slice {
    /// Controller and path below its mount; one entry with all controllers on version 2.
    bases: Vec<(Vec<String>, String)>,
    has_swap: bool,
}

/// The group of one dyno.
pub struct Group {
    parts: Vec<Cgroup>,
}

impl Slice {
    /// Finds the place; `Err` says why there is none, for the operator.
    pub fn find() -> Result<Self, String> {
        let own = get_cgroups_relative_paths().map_err(|e| format!("/proc/self/cgroup: {e}"))?;
        let bases = if hierarchies::is_cgroup2_unified_mode() { unified(&own)? } else { legacy(&own)? };
        let slice = Self { bases, has_swap: has_swap() };
        let probe = format!("probe-{}", std::process::id());
        let group = slice.group(&probe).map_err(|e| format!("can not make a control group: {e}"))?;
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
fn legacy(own: &std::collections::HashMap<String, String>) -> Result<Vec<(Vec<String>, String)>, String> {
    CONTROLLERS
        .iter()
        .map(|controller| {
            let path = own.get(*controller).ok_or_else(|| format!("the {controller} controller is not mounted"))?;
            Ok((vec![(*controller).to_string()], path.trim_start_matches('/').to_string()))
        })
        .collect()
}

/// Version 2: one tree; processes live only in leaves, so the daemon moves into one of its own first.
fn unified(own: &std::collections::HashMap<String, String>) -> Result<Vec<(Vec<String>, String)>, String> {
    let own = own.get("").map_or("", |p| p.trim_matches('/'));
    let base = own.strip_suffix("/daemon").unwrap_or(own);
    if !base.is_empty() && base == own {
        let leaf = Path::new("/sys/fs/cgroup").join(base).join("daemon");
        fs::create_dir_all(&leaf).map_err(|e| format!("{}: {e}", leaf.display()))?;
        fs::write(leaf.join("cgroup.procs"), "0").map_err(|e| format!("{}: {e}", leaf.display()))?;
    }
    Ok(vec![(CONTROLLERS.iter().map(|c| (*c).to_string()).collect(), base.to_string())])
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
        Ok(())
    }

    /// Files that a process writes `0` into to join.
    pub fn procs_files(&self) -> Vec<PathBuf> {
        self.dirs().into_iter().map(|d| d.join("cgroup.procs")).collect()
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

    /// Did the kernel kill something for memory?
    pub fn oom_killed(&self) -> bool {
        self.dirs().iter().flat_map(|d| [d.join("memory.events"), d.join("memory.oom_control")]).any(|file| {
            let text = fs::read_to_string(file).unwrap_or_default();
            text.lines().any(|l| l.strip_prefix("oom_kill ").is_some_and(|n| n.trim() != "0"))
        })
    }

    /// Memory in use.
    pub fn memory_bytes(&self) -> Option<u64> {
        let files = self.dirs().into_iter().flat_map(|d| [d.join("memory.current"), d.join("memory.usage_in_bytes")]);
        files.into_iter().find_map(|f| fs::read_to_string(f).ok()?.trim().parse().ok())
    }

    /// Removes the group. The kernel answers "busy" for a moment after the last process was reaped (`stack.md`).
    pub fn delete(&self) {
        for part in &self.parts {
            for attempt in 0..50 {
                if !part.exists() || part.delete().is_ok() {
                    break;
                }
                std::thread::sleep(Duration::from_millis(if attempt < 10 { 2 } else { 20 }));
            }
            if part.exists() {
                tracing::warn!(path = part.path(), "runtime.cgroup_left: the control group could not be removed");
            }
        }
    }
}
