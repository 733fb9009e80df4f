//! Going to sleep and waking up (`runtime.md` section 8). What decides is `domain::sleep`; the row of the app says it.

use crate::{Engine, rows::View};
use domain::{AppId, DynoKind, DynoState, EventBody, Origin, UnixMs, plan::WEB, sleep};
use std::time::Duration;
use store::{ReadRows, StoreError, Tx, tables};

/// Puts the app to sleep or wakes it, if it is time; tells when to look again.
pub async fn look_after(engine: &Engine, id: AppId, view: &mut View, now: UnixMs) -> Result<Option<Duration>, StoreError> {
    let parts = &engine.shared.parts;
    let traffic = engine.shared.routes.traffic(id);
    if view.wanted.asleep {
        if traffic.wake_is_wanted() && change(engine, id, None).await? {
            view.wanted.asleep = false;
            let web = view.wanted.types.iter().filter(|t| t.ptype == WEB);
            for num in web.flat_map(|t| 1..=t.quantity) {
                parts.logs.app(id).write("heroku", &format!("{WEB}.{num}"), "Unidling");
            }
        }
        return Ok(None);
    }
    let after_ms = u64::try_from(parts.settings.sleep_after.as_millis()).unwrap_or(u64::MAX);
    let due = sleep::due(&view.wanted, &view.dynos, traffic.seen(), engine.shared.started_at, after_ms, now);
    let Some(due) = due else { return Ok(None) };
    if due > now {
        return Ok(Some(Duration::from_millis(due.since_ms(now) + 1)));
    }
    // Before the row: whoever asks from now on is heard.
    traffic.forget_wake();
    if change(engine, id, Some(now)).await? {
        view.wanted.asleep = true;
        for dyno in view.dynos.iter().filter(|d| d.kind == DynoKind::Formation && d.state == DynoState::Up) {
            for text in ["Idling", "State changed from up to down"] {
                parts.logs.app(id).write("heroku", &dyno.name(), text);
            }
        }
    }
    Ok(None)
}

/// True when it was otherwise. An app whose release changed meanwhile does not fall asleep.
async fn change(engine: &Engine, id: AppId, since: Option<UnixMs>) -> Result<bool, StoreError> {
    let ctx = engine.ctx();
    let work = move |tx: &mut Tx| {
        let Some(mut app) = tx.get(&tables::APPS, &id)? else { return Ok(false) };
        if app.asleep_since.is_some() == since.is_some() || (since.is_some() && app.current != app.proven) {
            return Ok(false);
        }
        app.asleep_since = since;
        tx.put(&tables::APPS, &id, &app)?;
        let body = if since.is_some() { EventBody::AppIdled } else { EventBody::AppUnidled };
        tx.event(ctx.now, Some(id), Origin::default(), body)?;
        Ok(true)
    };
    engine.shared.parts.store.commit(work).await
}
