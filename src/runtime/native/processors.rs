//! Which processors a cage may use: so many as its size has, those with the fewest cages.

use domain::DynoId;
use nix::{
    sched::{CpuSet, sched_getaffinity},
    unistd::Pid,
};
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Those of the host that the daemon may use, and who has them.
pub struct Processors {
    all: Vec<usize>,
    taken: Mutex<HashMap<DynoId, Vec<usize>>>,
}

impl Processors {
    /// Looks at what the daemon may use.
    pub fn find() -> Self {
        let set = sched_getaffinity(Pid::from_raw(0)).unwrap_or_default();
        let all = (0..CpuSet::count()).filter(|n| set.is_set(*n).unwrap_or(false)).collect();
        Self { all, taken: Mutex::default() }
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<DynoId, Vec<usize>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For a new cage; empty when it may use all.
    pub fn take(&self, id: DynoId, wanted: Option<u32>) -> Vec<usize> {
        let count = wanted.map_or(self.all.len(), |n| n as usize);
        if count == 0 || count >= self.all.len() {
            return Vec::new();
        }
        let mut taken = self.taken();
        let mut by_load = self.all.clone();
        by_load.sort_by_key(|n| taken.values().flatten().filter(|used| *used == n).count());
        by_load.truncate(count);
        taken.insert(id, by_load.clone());
        by_load
    }

    /// Of a cage of a former daemon.
    pub fn reserve(&self, id: DynoId, processors: Vec<usize>) {
        self.taken().insert(id, processors);
    }

    /// Free again.
    pub fn give_back(&self, id: DynoId) {
        self.taken().remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cages_are_spread_and_big_ones_use_all() {
        let processors = Processors { all: vec![0, 1, 4], taken: Mutex::default() };
        let id = |n: u128| DynoId(uuid::Uuid::from_u128(n));
        let mut used: Vec<usize> = (0..3).flat_map(|n| processors.take(id(n), Some(1))).collect();
        used.sort_unstable();
        assert_eq!(used, [0, 1, 4]);
        assert!(processors.take(id(9), Some(3)).is_empty());
        assert!(processors.take(id(10), None).is_empty());
        processors.give_back(id(1));
        assert_eq!(processors.take(id(4), Some(1)), [1]);
    }
}
