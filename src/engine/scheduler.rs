//! Watches the clock for scheduled dynos. The service decides what a slot means; here is only the waiting.

use crate::Engine;
use domain::{EventBody, Schedule};
use service::Due;
use std::time::Duration;
use store::{ReadRows, StoreError, tables};

/// Look again after this time even if nothing is due: the wall clock may have been set.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// After an error of the store.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// Runs until the daemon ends.
pub async fn run(engine: Engine) {
    while !engine.is_closing() {
        let changed = engine.shared.schedules_changed.notified();
        let wait = match turn(&engine).await {
            Ok(wait) => wait,
            Err(e) => {
                tracing::error!(error = %e, "engine.scheduler_failed");
                ERROR_PAUSE
            }
        };
        let _ = tokio::time::timeout(wait, changed).await; // due, changed, or time to look
    }
}

/// Uses every slot that is due; tells how long nothing will be.
async fn turn(engine: &Engine) -> Result<Duration, service::Error> {
    let parts = &engine.shared.parts;
    let schedules = parts.store.scan(&tables::SCHEDULES, &())?;
    let (now, mut pause) = (parts.clock.now(), LOOK_EVERY);
    for schedule in schedules.iter().filter(|s| s.next_at <= now) {
        if let Err(e) = use_slot(engine, schedule).await {
            tracing::error!(error = %e, schedule = %schedule.id, "engine.schedule_failed"); // the others go on
            pause = ERROR_PAUSE.min(pause);
        }
    }
    let waiting = parts.store.scan(&tables::SCHEDULES, &())?;
    let next_ms = waiting.iter().map(|s| s.next_at.since_ms(parts.clock.now())).min();
    if pause < LOOK_EVERY {
        return Ok(pause);
    }
    Ok(next_ms.map_or(LOOK_EVERY, |ms| Duration::from_millis(ms + 1).min(LOOK_EVERY)))
}

async fn use_slot(engine: &Engine, schedule: &Schedule) -> Result<(), service::Error> {
    let parts = &engine.shared.parts;
    let (ctx, id) = (engine.ctx(), schedule.id);
    let due = parts.store.commit(move |tx| service::use_slot(tx, &ctx, id)).await?;
    let text = match due {
        Due::Started => format!("Starting process with command `{}` by schedule `{}`", schedule.command, schedule.cron),
        Due::Skipped(reason) => format!("Schedule `{}` of `{}` was left out: {reason}", schedule.cron, schedule.command),
        Due::NotDue => return Ok(()),
    };
    parts.logs.app(schedule.app).write("app", "api", text);
    Ok(())
}

impl Engine {
    /// A schedule came, went or moved.
    pub(crate) fn note_schedule(&self, body: &EventBody) {
        if matches!(body, EventBody::ScheduleChanged { .. }) {
            self.shared.schedules_changed.notify_one();
        }
    }

    /// For the start: is the table readable?
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn start_scheduler(&self) -> Result<(), StoreError> {
        self.shared.parts.store.scan(&tables::SCHEDULES, &())?;
        tokio::spawn(run(self.clone()));
        Ok(())
    }
}
