//! Own counters, so that an authority's limits are not run into (`acm.md` section 6).

use crate::UnixMs;
use serde::{Deserialize, Serialize};

const HOUR_MS: u64 = 3_600_000;
const WEEK_MS: u64 = 7 * 24 * HOUR_MS;

/// What was noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Noted {
    /// An order is about to be made.
    Order,
    /// A certificate was made.
    Certificate,
    /// The authority did not accept the proof.
    Rejection,
}

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: UnixMs,
    /// What.
    pub what: Noted,
    /// For which name.
    pub name: String,
    /// At which authority.
    pub directory: String,
}

impl Entry {
    /// Nothing counts it any more.
    pub fn is_old(&self, now: UnixMs) -> bool {
        now.since_ms(self.at) > WEEK_MS
    }
}

/// How much may be asked of an authority; what the best known one publishes, a little less where it hurts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Orders in three hours.
    pub orders: usize,
    /// Certificates for names below one registered domain in a week.
    pub per_domain: usize,
    /// Certificates for the very same name in a week.
    pub same_name: usize,
    /// Proofs of one name that failed, in an hour.
    pub rejections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { orders: 280, per_domain: 48, same_name: 4, rejections: 4 }
    }
}

/// The part of a name that somebody registered: its last two labels, or three below such as `co.uk`. A guess that is too
/// strict rather than too loose: the list of all suffixes is longer than this program's rules together.
pub fn registered(name: &str) -> &str {
    let plain = name.strip_prefix("*.").unwrap_or(name);
    if plain.parse::<std::net::IpAddr>().is_ok() {
        return plain;
    }
    let dots: Vec<usize> = plain.rmatch_indices('.').map(|(at, _)| at).collect();
    let (top, second) = match dots.as_slice() {
        [last, before, ..] => (plain.len() - last - 1, last - before - 1),
        _ => return plain,
    };
    let labels = if top == 2 && second <= 3 { 3 } else { 2 };
    dots.get(labels - 1).map_or(plain, |at| &plain[at + 1..])
}

/// Until when an order for `name` has to wait, and why; `None` when it may be made. A renewal is only kept from what counts
/// against the name itself, since authorities let those pass.
pub fn guard(
    ledger: &[Entry],
    (directory, name, renewal): (&str, &str, bool),
    now: UnixMs,
    limits: &Limits,
) -> Option<(UnixMs, String)> {
    let full = |what: Noted, within: u64, most: usize, same: &dyn Fn(&str) -> bool| {
        let mut times: Vec<u64> = ledger
            .iter()
            .filter(|e| e.what == what && e.directory == directory && now.since_ms(e.at) < within && same(&e.name))
            .map(|e| e.at.0)
            .collect();
        times.sort_unstable();
        // The one whose end makes room.
        let at = times.len().checked_sub(most.max(1))?;
        Some(UnixMs(times[at].saturating_add(within)))
    };
    let site = registered(name);
    let own = full(Noted::Rejection, HOUR_MS, limits.rejections, &|n| n == name)
        .map(|until| (until, format!("{} proofs of this name failed within an hour.", limits.rejections)));
    let same = || {
        full(Noted::Certificate, WEEK_MS, limits.same_name, &|n| n == name)
            .map(|until| (until, format!("{} certificates were made for this name within a week.", limits.same_name)))
    };
    let shared = || {
        full(Noted::Certificate, WEEK_MS, limits.per_domain, &|n| registered(n) == site)
            .map(|until| (until, format!("{} certificates were made for names of {site} within a week.", limits.per_domain)))
    };
    let all = || {
        full(Noted::Order, 3 * HOUR_MS, limits.orders, &|_| true)
            .map(|until| (until, format!("This server made {} orders within three hours.", limits.orders)))
    };
    own.or_else(same).or_else(|| if renewal { None } else { shared().or_else(all) })
}
