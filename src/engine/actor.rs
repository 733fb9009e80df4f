//! The actor of one app: look, plan, act, wait.

use crate::{Engine, dynos, one_offs, rows};
use domain::{
    AppId, Dyno, UnixMs,
    plan::{Action, plan},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Notify;

/// Look again after this time even if nothing happened.
const IDLE_LOOK: Duration = Duration::from_secs(60);
/// After an error of the store.
const ERROR_PAUSE: Duration = Duration::from_secs(1);

/// Runs until the app is destroyed and all of it is gone.
pub async fn run(engine: Engine, app: AppId, notify: Arc<Notify>) {
    while !engine.is_closing() {
        let wait = match turn(&engine, app).await {
            Ok(Turn::Wait(wait)) => wait,
            Ok(Turn::Gone) => {
                engine.actors().remove(&app);
                return;
            }
            Err(e) => {
                tracing::error!(error = %e, app = %app, "engine.turn_failed");
                ERROR_PAUSE
            }
        };
        // Woken by an event of the app, or by the time of the next try of a crashed dyno.
        let _ = tokio::time::timeout(wait, notify.notified()).await;
    }
}

enum Turn {
    Wait(Duration),
    Gone,
}

async fn turn(engine: &Engine, id: AppId) -> Result<Turn, store::StoreError> {
    let parts = &engine.shared.parts;
    let view = rows::view(&parts.store, id)?;
    if view.app.is_none() && view.dynos.is_empty() {
        clean_up(engine, id);
        return Ok(Turn::Gone);
    }
    one_offs::look_after(engine, view.app.is_some(), &view.dynos).await?;
    let now = parts.clock.now();
    let mut wait = cycle(engine, &view.dynos, now).await?.min(IDLE_LOOK);
    for action in plan(&view.wanted, &view.dynos, &parts.settings.backoff, now) {
        match action {
            Action::Start { ptype, num, size, crashes } => {
                let Some(version) = view.wanted.release else { continue };
                let wish = dynos::Wish { app: id, version, generation: view.wanted.generation, ptype, num, size, crashes };
                dynos::start(engine, wish).await?;
            }
            Action::Stop(dyno) => dynos::stop(engine, dyno).await?,
            Action::Forget(dyno) => engine.forget_dyno(dyno).await?,
            Action::Prove(version) => {
                engine.shared.routes.refresh(parts, id)?;
                engine.prove(id, version).await?;
            }
            Action::Fail(version) => {
                if let Some(fallback) = engine.fail_release(id, version).await? {
                    let text = format!("Release v{version} did not start; v{fallback} is still serving");
                    parts.logs.app(id).write("app", "api", text);
                }
            }
            Action::WakeAt(at) => wait = wait.min(Duration::from_millis(at.since_ms(now) + 1)),
        }
    }
    engine.shared.routes.refresh(parts, id)?;
    Ok(Turn::Wait(wait))
}

/// Asks for the replacement of dynos that are old enough; tells when the next one will be.
async fn cycle(engine: &Engine, dynos: &[Dyno], now: UnixMs) -> Result<Duration, store::StoreError> {
    let parts = &engine.shared.parts;
    let Some(after) = parts.settings.cycle_after else { return Ok(IDLE_LOOK) };
    let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX / 4);
    let mut wait = IDLE_LOOK;
    for dyno in dynos {
        let Some(due) = domain::cycle::due(dyno, after_ms, engine.shared.started_at) else { continue };
        let left_ms = due.since_ms(now);
        if left_ms > 0 {
            wait = wait.min(Duration::from_millis(left_ms));
        } else if engine.update_dyno(dyno.id, |row| !std::mem::replace(&mut row.restart, true)).await?.is_some() {
            parts.logs.app(dyno.app).write("heroku", &dyno.name(), "Cycling");
        }
    }
    Ok(wait)
}

/// Files that nothing names any more.
pub fn clean_up(engine: &Engine, app: AppId) {
    let parts = &engine.shared.parts;
    engine.shared.routes.remove(parts, app);
    parts.logs.remove(app);
    for dir in &parts.settings.app_dirs {
        for path in [dir.join(app.to_string()), dir.join(format!("{app}.git"))] {
            match std::fs::remove_dir_all(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(error = %e, path = %path.display(), "engine.files_left");
                }
                _ => {}
            }
        }
    }
}
