//! Scheduled one-off dynos (`runtime.md` section 13).

use crate::{AppId, ScheduleId, UnixMs};
use serde::{Deserialize, Serialize};

/// A command that is run again and again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Schedule {
    /// Key.
    pub id: ScheduleId,
    /// Owning app.
    pub app: AppId,
    /// Five fields, UTC, as the user wrote them.
    pub cron: String,
    /// For bash.
    pub command: String,
    /// Size name.
    pub size: String,
    /// The next slot. It moves on in the transaction that asks for the dyno, so that no slot is used twice.
    pub next_at: UnixMs,
    /// The last slot that was used.
    pub last_at: Option<UnixMs>,
    /// Creation time.
    pub created_at: UnixMs,
}
