//! Webhooks: who is told of what, and when a delivery is tried again (`eventing.md` sections 2 to 5).

use crate::{AccountId, AppId, BuildId, DynoId, UnixMs};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a hook may be told of.
pub const INCLUDES: &[&str] = &[
    "api:addon",
    "api:addon-attachment",
    "api:app",
    "api:build",
    "api:collaborator",
    "api:domain",
    "api:dyno",
    "api:formation",
    "api:release",
    "api:sni-endpoint",
    "dyno",
];

/// Hooks of one app.
pub const HOOKS_MAX: usize = 100;
/// Deliveries that are kept of one app; the oldest go first, whatever became of them.
pub const DELIVERIES_KEPT: usize = 1000;
/// Larger payloads lose their data.
pub const PAYLOAD_BYTES_MAX: usize = 256 << 10;
/// After this time a delivery is given up.
pub const RETRY_MS: u64 = 72 * 3600 * 1000;
/// The longest wait that a receiver can ask for.
const PAUSE_MAX_S: u64 = 6 * 3600;
/// Waits after attempt 1, 2, 3 …; the last one again and again.
const WAITS_MS: &[u64] = &[5_000, 30_000, 120_000, 600_000, 1_800_000, 3_600_000, 7_200_000];

/// How hard a delivery is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Once.
    Notify,
    /// Until it succeeds, for up to three days.
    Sync,
}

impl Level {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Notify => "notify",
            Self::Sync => "sync",
        }
    }

    /// Reads the word of the API.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Notify, Self::Sync].into_iter().find(|level| level.as_str() == text)
    }
}

/// Somebody who wants to be told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Webhook {
    /// Public id.
    pub id: Uuid,
    /// Of which app.
    pub app: AppId,
    /// Where to.
    pub url: String,
    /// Some of [`INCLUDES`].
    pub include: Vec<String>,
    /// How hard to try.
    pub level: Level,
    /// What requests are signed with, sealed, in pieces.
    pub secret: Vec<String>,
    /// Value of the header `Authorization`, sealed, in pieces; empty for none.
    pub authorization: Vec<String>,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change.
    pub updated_at: UnixMs,
}

/// What a payload is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Subject {
    App(AppId),
    Build(AppId, BuildId),
    Release(AppId, u64),
    Formation(AppId, String),
    Dyno(AppId, DynoId),
    Domain(AppId, String),
    Collaborator(AppId, AccountId),
    SniEndpoint(AppId, Uuid),
}

/// Something that happened, as hooks are told of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookEvent {
    /// Public id.
    pub id: Uuid,
    /// Of which app.
    pub app: AppId,
    /// One of [`INCLUDES`].
    pub include: String,
    /// JSON text without the part on the delivery.
    pub payload: String,
    /// When it happened.
    pub created_at: UnixMs,
}

/// How a delivery stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryStatus {
    /// Not tried yet.
    Pending,
    /// Being tried for the first time.
    Scheduled,
    /// Tried, and to be tried again.
    Retrying,
    /// Given up.
    Failed,
    /// Taken by the receiver.
    Succeeded,
}

impl DeliveryStatus {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Scheduled => "scheduled",
            Self::Retrying => "retrying",
            Self::Failed => "failed",
            Self::Succeeded => "succeeded",
        }
    }

    /// Nothing comes any more.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Failed | Self::Succeeded)
    }
}

/// One request to a receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Public id.
    pub id: Uuid,
    /// `None` while it is under way.
    pub good: Option<bool>,
    /// Status of the answer, if one came.
    pub code: Option<u16>,
    /// What kind of failure.
    pub error_class: Option<String>,
    /// When it began.
    pub created_at: UnixMs,
    /// When it ended.
    pub updated_at: UnixMs,
}

impl Attempt {
    /// The word of the API.
    pub fn status(&self) -> &'static str {
        match self.good {
            None => "scheduled",
            Some(true) => "succeeded",
            Some(false) => "failed",
        }
    }
}

/// One event on its way to one hook.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Public id.
    pub id: Uuid,
    /// Of which app.
    pub app: AppId,
    /// Counts up over all apps.
    pub seq: u64,
    /// What is delivered.
    pub event: Uuid,
    /// What it is about.
    pub include: String,
    /// To whom.
    pub webhook: Uuid,
    /// How hard it is tried.
    pub level: Level,
    /// How it stands.
    pub status: DeliveryStatus,
    /// Attempts so far.
    pub num_attempts: u32,
    /// When it is tried next.
    pub next_attempt_at: Option<UnixMs>,
    /// The newest attempt.
    pub last_attempt: Option<Attempt>,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change.
    pub updated_at: UnixMs,
}

impl Delivery {
    /// An attempt begins. It is written before anything is sent, so that a crash is seen afterwards.
    pub fn begin(&mut self, id: Uuid, now: UnixMs) {
        self.num_attempts += 1;
        self.status = if self.num_attempts == 1 { DeliveryStatus::Scheduled } else { DeliveryStatus::Retrying };
        self.next_attempt_at = None;
        self.last_attempt = Some(Attempt { id, good: None, code: None, error_class: None, created_at: now, updated_at: now });
        self.updated_at = now;
    }

    /// The attempt that is under way ended; `error_class` tells why it failed. `percent` is chance, 0 to 99, that spreads
    /// attempts by a fifth in both directions.
    pub fn end(&mut self, now: UnixMs, code: Option<u16>, error_class: Option<String>, percent: u64) {
        let good = error_class.is_none();
        if let Some(attempt) = &mut self.last_attempt {
            attempt.good = Some(good);
            attempt.code = code;
            attempt.error_class = error_class;
            attempt.updated_at = now;
        }
        self.updated_at = now;
        let over = self.level == Level::Notify || now.since_ms(self.created_at) >= RETRY_MS;
        self.status = match (good, over) {
            (true, _) => DeliveryStatus::Succeeded,
            (false, true) => DeliveryStatus::Failed,
            (false, false) => DeliveryStatus::Retrying,
        };
        self.next_attempt_at = (!self.status.is_final()).then(|| now.plus_ms(wait_ms(self.num_attempts, percent)));
    }

    /// The receiver asked to be left alone for so long; longer than that is not kept to, or it would never be told.
    pub fn pause(&mut self, now: UnixMs, seconds: u64) {
        let until = now.plus_ms(seconds.min(PAUSE_MAX_S) * 1000);
        self.next_attempt_at = self.next_attempt_at.map(|at| at.max(until));
    }

    /// After a restart: an attempt without an end may have reached the receiver. A `notify` is never sent twice.
    pub fn recover(&mut self, now: UnixMs) {
        if self.last_attempt.as_ref().is_some_and(|attempt| attempt.good.is_none()) {
            self.end(now, None, Some("unknown".into()), 0);
            self.next_attempt_at = self.next_attempt_at.map(|_| now);
        }
    }
}

fn wait_ms(attempts: u32, percent: u64) -> u64 {
    let at = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX).min(WAITS_MS.len() - 1);
    WAITS_MS[at] / 100 * (80 + percent.min(99) * 2 / 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(level: Level) -> Delivery {
        Delivery {
            id: Uuid::nil(),
            app: Uuid::nil().into(),
            seq: 1,
            event: Uuid::nil(),
            include: "api:app".into(),
            webhook: Uuid::nil(),
            level,
            status: DeliveryStatus::Pending,
            num_attempts: 0,
            next_attempt_at: None,
            last_attempt: None,
            created_at: UnixMs(0),
            updated_at: UnixMs(0),
        }
    }

    #[test]
    fn notify_is_tried_once_and_sync_for_three_days() {
        let mut once = delivery(Level::Notify);
        once.begin(Uuid::nil(), UnixMs(10));
        assert_eq!(once.status, DeliveryStatus::Scheduled);
        once.end(UnixMs(20), Some(500), Some("http_5xx".into()), 50);
        assert_eq!((once.status, once.next_attempt_at), (DeliveryStatus::Failed, None));
        let (mut sync, mut now, mut tries) = (delivery(Level::Sync), 0, 0);
        while !sync.status.is_final() {
            sync.begin(Uuid::nil(), UnixMs(now));
            sync.end(UnixMs(now), None, Some("connect".into()), 50);
            tries += 1;
            now = sync.next_attempt_at.map_or(now, |at| at.0);
        }
        assert_eq!(sync.status, DeliveryStatus::Failed);
        assert!((RETRY_MS..RETRY_MS + 9_000_000).contains(&now), "{now}");
        assert_eq!(tries, 7 + 36, "seven steps, then every two hours");
    }

    #[test]
    fn an_answer_ends_it_and_a_crash_repeats_only_sync() {
        let mut good = delivery(Level::Sync);
        good.begin(Uuid::nil(), UnixMs(0));
        good.end(UnixMs(5), Some(204), None, 0);
        assert_eq!((good.status, good.last_attempt.unwrap().status()), (DeliveryStatus::Succeeded, "succeeded"));
        for (level, status) in [(Level::Notify, DeliveryStatus::Failed), (Level::Sync, DeliveryStatus::Retrying)] {
            let mut cut = delivery(level);
            cut.begin(Uuid::nil(), UnixMs(0));
            cut.recover(UnixMs(7));
            assert_eq!(cut.status, status);
            assert_eq!(cut.next_attempt_at, (level == Level::Sync).then_some(UnixMs(7)));
        }
    }
}
