//! Guessing takes time: who was wrong a few times waits longer and longer, never for good. In memory, so a restart
//! forgives.

use domain::UnixMs;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};

/// What is counted; who comes from many addresses, and who tries many accounts, is slowed, too.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Key {
    /// Somebody at one address wants to be this one.
    Pair(String, Option<IpAddr>),
    /// Anybody wants to be this one. Waits are short: else a stranger could lock the owner out.
    Name(String),
    /// All from one address.
    Address(Option<IpAddr>),
}

impl Key {
    /// Tries without a wait, and the longest wait in milliseconds.
    fn policy(&self) -> (u32, u64) {
        match self {
            Self::Pair(..) => (5, 5 * 60_000),
            Self::Name(_) => (50, 5_000),
            Self::Address(_) => (30, 60_000),
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Count {
    wrong: u32,
    last: UnixMs,
}

/// Forgotten after this time without a wrong try.
const MEMORY_MS: u64 = 60 * 60 * 1000;
/// At most so many are remembered; past it the oldest is forgotten.
const KEYS_MAX: usize = 30_000;

/// Counts wrong tries.
#[derive(Default)]
pub(crate) struct Throttle(Mutex<HashMap<Key, Count>>);

/// Neighbours in an IPv6 network are one.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        v4 => v4,
    }
}

fn keys(name: &str, address: Option<IpAddr>) -> [Key; 3] {
    let address = address.map(network);
    [Key::Pair(name.into(), address), Key::Name(name.into()), Key::Address(address)]
}

/// Time at which the next try is let through.
fn next(key: &Key, count: Count) -> UnixMs {
    let (free, longest) = key.policy();
    if count.wrong < free {
        return UnixMs(0);
    }
    let doubled = 1000u64.saturating_mul(1u64.checked_shl((count.wrong - free).min(30)).unwrap_or(u64::MAX));
    count.last.plus_ms(doubled.min(longest))
}

impl Throttle {
    /// Counts a try before it is known whether it is right, so that many at once gain nothing. Seconds to wait when
    /// it is too early.
    pub fn begin(&self, name: &str, address: Option<IpAddr>, now: UnixMs) -> Result<(), u64> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = keys(name, address);
        let wait = keys.iter().map(|key| counts.get(key).map_or(UnixMs(0), |count| next(key, *count)).since_ms(now)).max();
        if let Some(wait) = wait.filter(|wait| *wait > 0) {
            return Err(wait.div_ceil(1000));
        }
        if counts.len() + keys.len() > KEYS_MAX {
            counts.retain(|_, count| now.since_ms(count.last) < MEMORY_MS);
            if let Some(oldest) = counts.iter().min_by_key(|(_, count)| count.last).map(|(key, _)| key.clone()) {
                counts.remove(&oldest);
            }
        }
        for key in keys {
            let count = counts.entry(key).or_default();
            let wrong = if now.since_ms(count.last) >= MEMORY_MS { 0 } else { count.wrong };
            *count = Count { wrong: wrong.saturating_add(1), last: now };
        }
        Ok(())
    }

    /// The try says nothing: it is as if it had not been.
    pub fn undo(&self, name: &str, address: Option<IpAddr>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys(name, address) {
            if let Some(count) = counts.get_mut(&key) {
                count.wrong = count.wrong.saturating_sub(1);
            }
        }
    }

    /// The try was right. What was tried at other accounts from this address stays.
    pub fn right(&self, name: &str, address: Option<IpAddr>) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for key in keys(name, address) {
            match (&key, counts.get_mut(&key)) {
                (Key::Address(_), Some(count)) => count.wrong = count.wrong.saturating_sub(1),
                _ => drop(counts.remove(&key)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1)));

    #[test]
    fn waits_grow_and_end() {
        let throttle = Throttle::default();
        let mut now = UnixMs(1_000_000);
        for _ in 0..5 {
            assert_eq!(throttle.begin("ana", HERE, now), Ok(()));
        }
        for wait in [1, 2, 4, 8] {
            assert_eq!(throttle.begin("ana", HERE, now), Err(wait));
            now = now.plus_ms(wait * 1000);
            assert_eq!(throttle.begin("ana", HERE, now), Ok(()));
        }
        // Somebody else from there, and she from elsewhere, do not wait; nor she, when she was right.
        assert_eq!(throttle.begin("bo", HERE, now), Ok(()));
        assert_eq!(throttle.begin("ana", None, now), Ok(()));
        throttle.right("ana", HERE);
        assert_eq!(throttle.begin("ana", HERE, now), Ok(()));
    }

    #[test]
    fn one_address_can_not_try_everybody_and_nobody_is_locked_out() {
        let throttle = Throttle::default();
        let now = UnixMs(1_000_000);
        let tried = (0..100).filter(|n| throttle.begin(&n.to_string(), HERE, now).is_ok()).count();
        assert_eq!(tried, 30);
        for n in 0..1000u32 {
            let _ = throttle.begin("ana", Some(IpAddr::V4(n.into())), now.plus_ms(u64::from(n)));
        }
        assert!(matches!(throttle.begin("ana", None, now.plus_ms(1000)), Err(1..=5)));
        assert_eq!(throttle.begin("ana", None, now.plus_ms(6000)), Ok(()));
    }

    #[test]
    fn neighbours_are_one() {
        let address = |text: &str| network(text.parse().unwrap());
        assert_eq!(address("2001:db8::1"), address("2001:db8::ffff"));
        assert_ne!(address("2001:db8:0:1::1"), address("2001:db8::1"));
    }
}
