//! Scheduled one-off dynos: cron expressions in UTC. The platform asks for a dyno when a slot comes; each slot once.

use crate::{Action, Ctx, Error, Result, Service, find_app, one_offs};
use croner::Cron;
use domain::{App, EventBody, Origin, Schedule, ScheduleId, UnixMs, limits::SCHEDULES_PER_APP_MAX, size};
use jiff::{Timestamp, civil::DateTime, tz::TimeZone};
use std::str::FromStr;
use store::{ReadRows, Tx, tables};
use uuid::Uuid;

/// A slot that is older than this, because the daemon was down, is left out (`runtime.md` section 13: best effort).
const LATE_MS_MAX: u64 = 10 * 60 * 1000;
/// Process type of what is started.
const SCHEDULER: &str = "scheduler";

/// Words of Heroku's scheduler beside cron expressions.
const WORDS: [(&str, &str); 3] = [("every 10 minutes", "*/10 * * * *"), ("hourly", "0 * * * *"), ("daily", "0 0 * * *")];

/// What to run, and when.
#[derive(Clone, Debug)]
pub struct NewSchedule {
    /// Five fields, or `hourly`, `daily`, `every 10 minutes`.
    pub cron: String,
    /// For bash.
    pub command: String,
    /// Size name.
    pub size: Option<String>,
}

/// The first slot after `now`.
fn next(cron: &str, now: UnixMs) -> Result<UnixMs> {
    let bad = |why: &str| Error::invalid(format!("{cron:?} is no cron expression of five fields (UTC): {why}."));
    if cron.split_whitespace().count() != 5 {
        return Err(bad("it has another number of fields"));
    }
    let parsed = Cron::from_str(cron).map_err(|e| bad(&e.to_string()))?;
    let at = i64::try_from(now.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::UNIX_EPOCH);
    let found: DateTime =
        parsed.find_next_occurrence(&TimeZone::UTC.to_datetime(at), false).map_err(|_| bad("it never comes"))?;
    let found = TimeZone::UTC.to_timestamp(found).map_err(|e| bad(&e.to_string()))?;
    u64::try_from(found.as_millisecond()).map(UnixMs).map_err(|_| bad("it lies in the past"))
}

/// What became of a due schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Its dyno was asked for.
    Started,
    /// Why there is none.
    Skipped(String),
    /// Somebody was faster, or it was removed.
    NotDue,
}

/// Uses the slot of a schedule: moves it on and asks for its dyno, in one transaction.
///
/// # Errors
/// When rows can not be read or written.
pub fn use_slot(tx: &mut Tx, ctx: &Ctx, id: ScheduleId) -> Result<Due> {
    let Some(mut schedule) = tx.get(&tables::SCHEDULES, &id)?.filter(|s| s.next_at <= ctx.now) else { return Ok(Due::NotDue) };
    let slot = schedule.next_at;
    schedule.next_at = next(&schedule.cron, ctx.now)?;
    schedule.last_at = Some(slot);
    tx.put(&tables::SCHEDULES, &id, &schedule)?;
    tx.event(ctx.now, Some(schedule.app), Origin::default(), EventBody::ScheduleChanged { schedule: id })?;
    // Of several that passed while the platform was down, the last one counts.
    let recent = next(&schedule.cron, UnixMs(ctx.now.0.saturating_sub(LATE_MS_MAX)))? <= ctx.now;
    if ctx.now.since_ms(slot) > LATE_MS_MAX && !recent {
        return Ok(Due::Skipped("the platform was down at its time".into()));
    }
    let app = find_app(tx, &schedule.app.to_string())?;
    match one_offs::add(tx, ctx, &app, SCHEDULER, &schedule.command, &schedule.size) {
        Ok(()) => Ok(Due::Started),
        Err(e) => Ok(Due::Skipped(e.public)),
    }
}

impl Service {
    /// Schedules of an app.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn schedules(&self, ctx: &Ctx, app: &str) -> Result<(App, Vec<Schedule>)> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let mut rows = self.store().scan(&tables::SCHEDULES, &())?;
        rows.retain(|s| s.app == app.id);
        rows.sort_by_key(|s| (s.created_at, s.id));
        Ok((app, rows))
    }

    /// Adds one.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params`.
    pub async fn add_schedule(&self, ctx: &Ctx, app: &str, new: NewSchedule) -> Result<Schedule> {
        let app = self.app_for(ctx, Action::WriteSecrets, app)?;
        one_offs::check_command(&new.command)?;
        let wanted = new.size.unwrap_or_else(|| size::DEFAULT_SIZE.into());
        let size = size::find(&wanted).ok_or_else(|| Error::invalid(format!("There is no dyno size {wanted:?}.")))?;
        let cron = WORDS.iter().find(|(word, _)| *word == new.cron.trim()).map_or(new.cron, |(_, cron)| (*cron).into());
        let schedule = Schedule {
            id: Uuid::new_v4().into(),
            app: app.id,
            next_at: next(&cron, ctx.now)?,
            cron,
            command: new.command,
            size: size.name.into(),
            last_at: None,
            created_at: ctx.now,
        };
        let (ctx2, row) = (ctx.clone(), schedule.clone());
        self.store()
            .commit(move |tx| {
                find_app(tx, &row.app.to_string())?;
                let count = tx.scan(&tables::SCHEDULES, &())?.iter().filter(|s| s.app == row.app).count();
                if count >= SCHEDULES_PER_APP_MAX {
                    return Err(Error::invalid(format!("An app can have {SCHEDULES_PER_APP_MAX} schedules.")));
                }
                tx.put(&tables::SCHEDULES, &row.id, &row)?;
                let body = EventBody::ScheduleChanged { schedule: row.id };
                tx.event(ctx2.now, Some(row.app), ctx2.origin(), body)?;
                Ok(())
            })
            .await?;
        self.log_action(app.id, ctx, &format!("Schedule `{}` of `{}` created", schedule.cron, schedule.command));
        Ok(schedule)
    }

    /// Removes one.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn remove_schedule(&self, ctx: &Ctx, app: &str, id: &str) -> Result<Schedule> {
        let (app, rows) = self.schedules(ctx, app)?;
        crate::access::check(self.store(), ctx, Action::Write, crate::On::App(&app))?;
        let found = rows.into_iter().find(|s| s.id.to_string() == id);
        let row = found.ok_or_else(|| Error::not_found("schedule", "Couldn't find that schedule."))?;
        let (ctx2, gone) = (ctx.clone(), row.clone());
        self.store()
            .commit(move |tx| -> Result<()> {
                tx.delete(&tables::SCHEDULES, &gone.id);
                let body = EventBody::ScheduleChanged { schedule: gone.id };
                tx.event(ctx2.now, Some(gone.app), ctx2.origin(), body)?;
                Ok(())
            })
            .await?;
        self.log_action(app.id, ctx, &format!("Schedule `{}` of `{}` removed", row.cron, row.command));
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixMs {
        UnixMs(u64::try_from(text.parse::<Timestamp>().unwrap().as_millisecond()).unwrap())
    }

    #[test]
    fn slots_are_found_in_utc() {
        let now = at("2026-11-22T22:24:33.5Z");
        for (cron, expected) in [
            ("*/10 * * * *", "2026-11-22T22:30:00Z"),
            ("0 * * * *", "2026-11-22T23:00:00Z"),
            ("30 4 * * *", "2026-11-23T04:30:00Z"),
            ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
            ("0 9 * * MON-FRI", "2026-11-23T09:00:00Z"),
        ] {
            assert_eq!(next(cron, now).unwrap(), at(expected), "{cron}");
        }
        assert_eq!(next("* * * * *", at("2026-01-01T00:00:00Z")).unwrap(), at("2026-01-01T00:01:00Z"), "never the same slot");
        for bad in ["", "* * * *", "* * * * * *", "61 * * * *", "0 0 30 2 *", "a b c d e", "@daily"] {
            assert!(next(bad, now).is_err(), "{bad:?}");
        }
    }
}
