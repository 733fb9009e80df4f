//! Managed certificates: the state of a name, what is to be done next, and when (`acm.md` sections 2, 4 and 6). Pure rules:
//! whoever talks to name servers and to the authority tells what happened, and gets told when to go on.

mod guard;
mod names;

pub use guard::{Entry, Limits, Noted, guard, registered};
pub use names::{Caa, caa_allows, leads_here, may_be_public};

use crate::{AppId, UnixMs, sni::CertFacts};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;
/// An old certificate that is good for less than this makes a failing renewal visible.
const LATE_MS: u64 = 14 * DAY_MS;
/// Certificates of names that left are kept for so long, since the name may come back and each order counts.
const GRACE_MS: u64 = 30 * DAY_MS;

/// Where a name is on its way to a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// In line.
    Queued,
    /// Name servers are being asked.
    Looking,
    /// DNS is right; the authority has an order or gets one.
    Ordering,
    /// The authority saw the proof; the certificate is being made and fetched.
    Installing,
    /// There is one, and it answers.
    Issued,
    /// The last try failed; there will be another one.
    Failing,
    /// Given up until somebody asks, or a rare look finds it mended.
    Failed,
}

/// What kept a name from its certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// DNS does not lead here, or forbids; asking again costs nobody anything.
    Dns,
    /// The authority could not be asked, or said no.
    Authority,
    /// Too much was asked of it; wait.
    Limit,
    /// It will never work like this.
    Hopeless,
}

/// How a name is proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// A file at port 80.
    Http01,
    /// A handshake at port 443.
    TlsAlpn01,
    /// A record in DNS.
    Dns01,
}

impl Method {
    /// As in RFC 8555 and in CAA records.
    pub fn word(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
        }
    }
}

/// What is shown to the authority while it looks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// How.
    pub method: Method,
    /// The authority's part.
    pub token: String,
    /// Token and thumbprint of the account's key; no secret.
    pub authorization: String,
}

/// An order in progress. It is kept so that a daemon that was killed goes on with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Under this id the private key of the coming certificate is sealed.
    pub key: Uuid,
    /// Where it is at the authority.
    pub url: String,
    /// Which authority.
    pub directory: String,
    /// Since when.
    pub begun_at: UnixMs,
    /// What is shown at present.
    #[serde(default)]
    pub proof: Option<Proof>,
}

/// A certificate that came from an authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// Under this id its private key is sealed.
    pub key: Uuid,
    /// What it says.
    pub facts: CertFacts,
    /// Which authority made it.
    pub directory: String,
    /// When to get the next one.
    pub renew_at: UnixMs,
}

/// A name whose certificate is managed. Keyed by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Managed {
    /// Host name in normal form, may begin with `*.`; or an address.
    pub name: String,
    /// Whose; `None` for the platform's own.
    pub app: Option<AppId>,
    /// State.
    pub phase: Phase,
    /// Why the last try failed.
    #[serde(default)]
    pub cause: Option<Cause>,
    /// A sentence for people about it.
    #[serde(default)]
    pub reason: Option<String>,
    /// Tries in a row that cost the authority something and failed.
    #[serde(default)]
    pub failures: u32,
    /// Looks at DNS in a row that found it wrong.
    #[serde(default)]
    pub looks: u32,
    /// Nothing is done before.
    pub next_at: UnixMs,
    /// The order in progress.
    #[serde(default)]
    pub order: Option<Order>,
    /// The certificate that answers, until a newer one is here.
    #[serde(default)]
    pub issued: Option<Issued>,
    /// Since when nobody wants it any more.
    #[serde(default)]
    pub left_at: Option<UnixMs>,
    /// Last change of the state.
    pub updated_at: UnixMs,
}

/// Pauses after failures, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    /// After the first, second, … failed try at the authority; after the last it is given up.
    pub tries_ms: Vec<u64>,
    /// After the first, second, … look at DNS.
    pub looks_ms: Vec<u64>,
    /// Pauses between the silent tries of what was given up.
    pub silent_ms: u64,
    /// So many of them.
    pub silent_tries: u32,
}

impl Default for Rules {
    fn default() -> Self {
        let mut looks_ms = vec![5_000, 5_000, 10_000, 10_000, 15_000, 15_000, 30_000, 30_000];
        looks_ms.extend([MINUTE_MS; 58]);
        let mut tries_ms = vec![MINUTE_MS, 10 * MINUTE_MS];
        tries_ms.extend([HOUR_MS; 8]);
        Self { tries_ms, looks_ms, silent_ms: DAY_MS, silent_tries: 7 }
    }
}

impl Rules {
    /// The same few pauses for everything, in seconds.
    pub fn from_seconds(seconds: &[u64]) -> Self {
        let pauses: Vec<u64> = seconds.iter().map(|s| s.saturating_mul(1000)).collect();
        Self { tries_ms: pauses.clone(), looks_ms: pauses, ..Self::default() }
    }
}

/// What happened to a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// Somebody wants a certificate for it.
    Wanted(Option<AppId>),
    /// Nobody does any more.
    Left,
    /// A person asks for another try.
    Asked,
    /// Name servers are being asked.
    Begun,
    /// DNS leads here.
    DnsRight,
    /// The authority has an order.
    Ordered(Order),
    /// The proof is shown.
    Shown(Proof),
    /// The authority is content.
    Proven,
    /// The certificate is here.
    Installed(Issued),
    /// The authority says when the next one should be made.
    RenewAt(UnixMs),
    /// It did not work.
    Trouble(Trouble),
}

/// Why it did not work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What kind of thing it is.
    pub cause: Cause,
    /// A sentence for people.
    pub reason: String,
    /// Not again before this time.
    pub not_before: Option<UnixMs>,
    /// The order is of no use any more.
    pub order_is_over: bool,
}

/// Never.
pub const NEVER: UnixMs = UnixMs(u64::MAX);

impl Managed {
    /// A name that was just wanted.
    pub fn new(name: String, app: Option<AppId>, now: UnixMs) -> Self {
        Self {
            name,
            app,
            phase: Phase::Queued,
            cause: None,
            reason: None,
            failures: 0,
            looks: 0,
            next_at: now,
            order: None,
            issued: None,
            left_at: None,
            updated_at: now,
        }
    }

    /// Takes in what happened. `dice` is the caller's randomness; it spreads the times.
    pub fn take(&mut self, happened: Happened, now: UnixMs, rules: &Rules, dice: u64) {
        self.updated_at = now;
        match happened {
            Happened::Wanted(app) => {
                (self.app, self.left_at) = (app, None);
                self.restart(now);
            }
            Happened::Left => {
                (self.left_at, self.order) = (Some(now), None);
                self.next_at = UnixMs(now.0.saturating_add(GRACE_MS));
            }
            Happened::Asked => {
                if self.phase != Phase::Issued || self.is_late(now) {
                    self.next_at = now;
                    self.phase = Phase::Queued;
                    (self.failures, self.looks, self.cause, self.reason) = (0, 0, None, None);
                }
            }
            Happened::Begun => self.phase = Phase::Looking,
            Happened::DnsRight => {
                self.phase = Phase::Ordering;
                (self.looks, self.cause, self.reason) = (0, None, None);
            }
            Happened::Ordered(order) => {
                self.phase = Phase::Ordering;
                self.order = Some(order);
            }
            Happened::Shown(proof) => {
                if let Some(order) = &mut self.order {
                    order.proof = Some(proof);
                }
            }
            Happened::Proven => {
                self.phase = Phase::Installing;
                if let Some(order) = &mut self.order {
                    order.proof = None;
                }
            }
            Happened::Installed(issued) => {
                self.issued = Some(issued);
                self.order = None;
                self.restart(now);
            }
            Happened::RenewAt(at) => {
                if let Some(issued) = &mut self.issued {
                    issued.renew_at = at;
                    if self.phase == Phase::Issued {
                        self.next_at = at;
                    }
                }
            }
            Happened::Trouble(trouble) => self.fail(trouble, now, rules, dice),
        }
    }

    /// Without memory of failures: in line, or content with what there is.
    fn restart(&mut self, now: UnixMs) {
        (self.failures, self.looks, self.cause, self.reason) = (0, 0, None, None);
        (self.phase, self.next_at) = match &self.issued {
            Some(issued) if issued.facts.expires_at > now => (Phase::Issued, issued.renew_at),
            _ => (Phase::Queued, now),
        };
    }

    fn fail(&mut self, trouble: Trouble, now: UnixMs, rules: &Rules, dice: u64) {
        if trouble.order_is_over {
            self.order = None;
        }
        let counted = match trouble.cause {
            Cause::Dns => Some((&mut self.looks, &rules.looks_ms)),
            Cause::Authority => Some((&mut self.failures, &rules.tries_ms)),
            Cause::Limit | Cause::Hopeless => None,
        };
        let (phase, pause) = match counted {
            Some((count, pauses)) => {
                *count = count.saturating_add(1);
                let at = usize::try_from(*count - 1).unwrap_or(usize::MAX);
                let silent = u32::try_from(pauses.len()).unwrap_or(u32::MAX).saturating_add(rules.silent_tries);
                match pauses.get(at) {
                    Some(pause) => (Phase::Failing, Some(*pause)),
                    None if *count <= silent => (Phase::Failed, Some(rules.silent_ms)),
                    None => (Phase::Failed, None),
                }
            }
            None if trouble.cause == Cause::Limit => (Phase::Failing, Some(MINUTE_MS)),
            None => (Phase::Failed, None),
        };
        self.phase = phase;
        let soonest = pause.map_or(NEVER, |pause| UnixMs(now.0.saturating_add(spread(pause, dice))));
        self.next_at = trouble.not_before.map_or(soonest, |not_before| soonest.max(not_before));
        (self.cause, self.reason) = (Some(trouble.cause), Some(trouble.reason));
    }

    /// Something is to be done.
    pub fn is_due(&self, now: UnixMs) -> bool {
        self.left_at.is_none() && self.next_at <= now
    }

    /// The row and its key may go.
    pub fn is_over(&self, now: UnixMs) -> bool {
        self.left_at.is_some() && self.next_at <= now
    }

    /// Its certificate may answer.
    pub fn serves(&self) -> Option<&Issued> {
        self.issued.as_ref().filter(|_| self.left_at.is_none())
    }

    /// Without a new one the certificate will soon be no good.
    fn is_late(&self, now: UnixMs) -> bool {
        self.issued.as_ref().is_none_or(|issued| {
            let life = issued.facts.expires_at.since_ms(issued.facts.starts_at);
            issued.facts.expires_at.since_ms(now) < LATE_MS.min(life / 6)
        })
    }

    /// The word of the API (`acm.md` section 2) and the sentence to it. An old certificate that still is good hides a renewal.
    pub fn shown(&self, now: UnixMs) -> (&'static str, Option<&str>) {
        let phase = if self.is_late(now) { self.phase } else { Phase::Issued };
        let word = match phase {
            Phase::Queued => "pending",
            Phase::Looking => "in-progress",
            Phase::Ordering => "dns-verified",
            Phase::Installing => "verified",
            Phase::Issued => "cert issued",
            Phase::Failing => "failing",
            Phase::Failed => "failed",
        };
        (word, self.reason.as_deref().filter(|_| phase != Phase::Issued))
    }

    /// The step for people (`ux.md` J4), with the time of the next try where one is waited for.
    pub fn step(&self, now: UnixMs) -> Step {
        let next = (self.next_at < NEVER).then_some(self.next_at);
        let reason = || self.reason.clone().unwrap_or_default();
        match if self.is_late(now) { self.phase } else { Phase::Issued } {
            Phase::Queued | Phase::Looking => Step::Checking,
            Phase::Ordering | Phase::Installing => Step::Issuing,
            Phase::Issued => Step::Ready { until: self.issued.as_ref().map_or(now, |issued| issued.facts.expires_at) },
            Phase::Failing if self.cause == Some(Cause::Dns) => Step::WaitingForDns { seen: reason(), next },
            Phase::Failing | Phase::Failed => Step::Failed { reason: reason(), next },
        }
    }
}

/// What people see of it, the same words everywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// The name does not lead here yet.
    WaitingForDns {
        /// What was seen instead.
        seen: String,
        /// Next look.
        next: Option<UnixMs>,
    },
    /// It is being looked at.
    Checking,
    /// It leads here; the authority is at work.
    Issuing,
    /// Done.
    Ready {
        /// Good until.
        until: UnixMs,
    },
    /// It did not work.
    Failed {
        /// Why.
        reason: String,
        /// Next try, if there is one by itself.
        next: Option<UnixMs>,
    },
}

impl Step {
    /// The word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::WaitingForDns { .. } => "waiting for DNS",
            Self::Checking => "checking",
            Self::Issuing => "issuing",
            Self::Ready { .. } => "ready",
            Self::Failed { .. } => "failed",
        }
    }
}

/// When to renew, if the authority does not say: at two thirds of the life, a thirtieth of it sooner or later.
pub fn renew_at(facts: &CertFacts, dice: u64) -> UnixMs {
    let life = facts.expires_at.since_ms(facts.starts_at);
    let about = facts.starts_at.0.saturating_add(life / 3 * 2);
    UnixMs(about.saturating_sub(life / 30).saturating_add(if life < 15 { 0 } else { dice % (life / 15) }))
}

/// When to renew, by the window that the authority gives for a certificate that is new: a random time in it, but never in the
/// first half of the life or the last tenth, so that an authority that is wrong makes no storm and no gap.
pub fn renew_within(facts: &CertFacts, (from, to): (UnixMs, UnixMs), dice: u64) -> UnixMs {
    let life = facts.expires_at.since_ms(facts.starts_at);
    let at = from.plus_ms(dice % to.since_ms(from).max(1));
    at.clamp(facts.starts_at.plus_ms(life / 2), facts.starts_at.plus_ms(life / 10 * 9))
}

/// A tenth more at most.
fn spread(pause: u64, dice: u64) -> u64 {
    pause.saturating_add(dice % (pause / 10 + 1))
}

/// Answers the authority's questions; the router asks before it does anything else with a request (`acm.md` section 5).
pub trait Challenges: Send + Sync {
    /// What stands at `/.well-known/acme-challenge/TOKEN` of a host in normal form; `None` when that is not ours to answer.
    fn file(&self, host: &str, token: &str) -> Option<String>;
}

#[cfg(test)]
#[path = "acm_tests.rs"]
mod tests;
