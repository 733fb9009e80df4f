//! Users and ports for dynos.

use std::{
    collections::BTreeSet,
    net::{Ipv4Addr, TcpListener},
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Numbers of unprivileged users, each used by one dyno or build at a time.
#[derive(Default)]
pub struct Users(Mutex<BTreeSet<u32>>);

const USERS_MAX: u32 = 60_000;

impl Users {
    fn taken(&self) -> MutexGuard<'_, BTreeSet<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The smallest free number.
    pub fn take(&self) -> Option<u32> {
        let mut taken = self.taken();
        let free = (1..USERS_MAX).find(|n| !taken.contains(n))?;
        taken.insert(free);
        Some(free)
    }

    /// In use since before the daemon started.
    pub fn reserve(&self, slot: u32) {
        self.taken().insert(slot);
    }

    /// Free again.
    pub fn give_back(&self, slot: u32) {
        self.taken().remove(&slot);
    }
}

/// Ports on the host for web dynos, below the range that the kernel gives to clients.
pub struct Ports(Mutex<PortState>);

struct PortState {
    next: u16,
    taken: BTreeSet<u16>,
}

const FIRST_PORT: u16 = 20_000;
const LAST_PORT: u16 = 29_999;

impl Ports {
    /// Begins anywhere in the range, so that two daemons on a host seldom meet.
    pub fn new() -> Self {
        let offset = u16::from_le_bytes([uuid::Uuid::new_v4().as_bytes()[0], uuid::Uuid::new_v4().as_bytes()[0]]);
        let next = FIRST_PORT + offset % (LAST_PORT - FIRST_PORT);
        Self(Mutex::new(PortState { next, taken: BTreeSet::new() }))
    }

    fn state(&self) -> MutexGuard<'_, PortState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next port that nothing listens on. Ports go round, so that a given back one is not used again at once.
    pub fn take(&self) -> Option<u16> {
        let mut state = self.state();
        for _ in FIRST_PORT..=LAST_PORT {
            let port = state.next;
            state.next = if port == LAST_PORT { FIRST_PORT } else { port + 1 };
            if !state.taken.contains(&port) && TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok() {
                state.taken.insert(port);
                return Some(port);
            }
        }
        None
    }

    /// In use since before the daemon started.
    pub fn reserve(&self, port: u16) {
        self.state().taken.insert(port);
    }

    /// Free again.
    pub fn give_back(&self, port: u16) {
        self.state().taken.remove(&port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_back_can_be_taken_again_however_often() {
        let (users, ports) = (Users::default(), Ports::new());
        let all = usize::from(LAST_PORT - FIRST_PORT) + 1;
        let mut last = None;
        for _ in 0..all * 2 {
            let port = ports.take().expect("a port");
            assert_ne!(Some(port), last, "a port rests before it is used again");
            ports.give_back(port);
            last = Some(port);
        }
        let taken: Vec<u32> = (0..1000).filter_map(|_| users.take()).collect();
        taken.iter().for_each(|slot| users.give_back(*slot));
        assert_eq!(users.take(), Some(1));
    }

    #[test]
    fn when_all_ports_are_taken_there_is_none_until_one_comes_back() {
        let ports = Ports::new();
        while ports.take().is_some() {}
        ports.give_back(FIRST_PORT + 7);
        assert_eq!(ports.take(), Some(FIRST_PORT + 7));
        assert_eq!(ports.take(), None);
    }
}
