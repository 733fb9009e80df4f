//! Rate limits: a pool of calls for each account, refilled steadily, and one for each address that calls without being known
//! (`platform-api.md` section 8).

use crate::error::Failure;
use domain::AccountId;
use service::{Actor, Ctx, Error};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// Beyond this many pools those that are full again are forgotten.
const POOLS_MAX: usize = 10_000;
/// Calls with bad credentials that one address has, whatever accounts have.
const STRANGERS_PER_HOUR: u32 = 4_500;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Who {
    Account(AccountId),
    Address(IpAddr),
}

#[derive(Clone, Copy)]
struct Pool {
    left: f64,
    at: Instant,
}

/// All pools. Memory is bounded by [`POOLS_MAX`], unless more callers than that are busy within the hour.
pub(crate) struct Pools {
    per_hour: u32,
    pools: Mutex<HashMap<Who, Pool>>,
}

impl Pools {
    /// Pools that hold `per_hour` calls and are full again after an hour.
    pub(crate) fn new(per_hour: u32) -> Self {
        Self { per_hour, pools: Mutex::default() }
    }

    fn size(&self, who: Who) -> f64 {
        f64::from(match who {
            Who::Account(_) => self.per_hour,
            Who::Address(_) => STRANGERS_PER_HOUR.min(self.per_hour),
        })
    }

    /// Takes `calls` if they are there; says what is left, or the seconds until there is one.
    fn take(&self, who: Who, calls: f64, now: Instant) -> Result<u64, u64> {
        let size = self.size(who);
        let per_second = size / 3600.0;
        let refilled = |pool: &Pool, size: f64| {
            (pool.left + now.saturating_duration_since(pool.at).as_secs_f64() * size / 3600.0).min(size)
        };
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        if pools.len() >= POOLS_MAX && !pools.contains_key(&who) {
            pools.retain(|who, pool| refilled(pool, self.size(*who)) < self.size(*who));
        }
        let pool = pools.entry(who).or_insert(Pool { left: size, at: now });
        pool.left = refilled(pool, size);
        pool.at = now;
        if pool.left < calls {
            return Err(whole((calls - pool.left) / per_second).max(1));
        }
        pool.left -= calls;
        Ok(whole(pool.left.floor()))
    }
}

/// A small number that is not negative.
fn whole(number: f64) -> u64 {
    number.ceil().max(0.0) as u64 // saturates
}

/// What one request spends; an extension of it.
#[derive(Clone)]
pub(crate) struct Meter {
    pools: Arc<Pools>,
    peer: IpAddr,
    /// Asking how much is left costs nothing.
    free: bool,
    left: Arc<AtomicU64>,
    wait: Arc<AtomicU64>,
}

impl Meter {
    /// For a request from `peer`.
    pub(crate) fn new(pools: Arc<Pools>, peer: IpAddr, free: bool) -> Self {
        let left = Arc::new(AtomicU64::new(u64::from(pools.per_hour)));
        Self { pools, peer, free, left, wait: Arc::default() }
    }

    /// What the caller has left.
    pub(crate) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Seconds until a refused caller has a call again.
    pub(crate) fn wait(&self) -> u64 {
        self.wait.load(Ordering::Relaxed)
    }

    fn spend_of(&self, who: Who, calls: f64) -> Result<(), Failure> {
        let taken = self.pools.take(who, calls, Instant::now());
        self.left.store(taken.unwrap_or(0), Ordering::Relaxed);
        taken.map(|_| ()).map_err(|seconds| {
            let text = format!("Your account has no API calls left; the next one is possible in {seconds} s.");
            self.wait.store(seconds, Ordering::Relaxed);
            Failure(Error::limited("rate_limit", text))
        })
    }

    /// A call of somebody who is known.
    ///
    /// # Errors
    /// 429 `rate_limit` when the pool is empty.
    pub(crate) fn spend(&self, ctx: &Ctx) -> Result<(), Failure> {
        match &ctx.actor {
            Actor::Account(account) => self.spend_of(Who::Account(account.id), if self.free { 0.0 } else { 1.0 }),
            Actor::Platform | Actor::Root => Ok(()),
        }
    }

    /// A call with credentials that are not good.
    ///
    /// # Errors
    /// 429 `rate_limit` when this address has tried too often.
    pub(crate) fn spend_of_stranger(&self) -> Result<(), Failure> {
        self.spend_of(Who::Address(self.peer), 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{net::Ipv4Addr, time::Duration};

    #[test]
    fn a_pool_empties_says_when_it_has_one_and_fills_again() {
        let pools = Pools::new(60);
        let (who, start) = (Who::Account(uuid::Uuid::from_u128(1).into()), Instant::now());
        let other = Who::Address(IpAddr::V4(Ipv4Addr::LOCALHOST));
        assert_eq!(pools.take(who, 0.0, start), Ok(60), "looking is free");
        for left in (0..60).rev() {
            assert_eq!(pools.take(who, 1.0, start), Ok(left));
        }
        assert_eq!(pools.take(who, 1.0, start), Err(60), "one call a minute");
        assert_eq!(pools.take(other, 1.0, start), Ok(59), "others have theirs");
        assert_eq!(pools.take(who, 1.0, start + Duration::from_secs(61)), Ok(0));
        assert_eq!(pools.take(who, 0.0, start + Duration::from_secs(9000)), Ok(60), "no more than full");
    }

    #[test]
    fn full_pools_are_forgotten_when_there_are_many() {
        let (pools, start) = (Pools::new(3600), Instant::now());
        for n in 0..POOLS_MAX {
            let _ = pools.take(Who::Account(uuid::Uuid::from_u128(n as u128).into()), 1.0, start);
        }
        let late = start + Duration::from_secs(10);
        let _ = pools.take(Who::Address(IpAddr::V4(Ipv4Addr::LOCALHOST)), 1.0, late);
        assert_eq!(pools.pools.lock().expect("pools").len(), 1);
    }
}
