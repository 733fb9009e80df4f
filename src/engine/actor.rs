//! The actor of one app: look, plan, act, wait.

use crate::{
    Engine, dynos, images, one_offs,
    rows::{self, View},
    sleep,
};
use domain::{
    AppId, Dyno, DynoId, UnixMs,
    plan::{Action, needs_room, plan, settled_memory, takes_memory},
};
use std::{sync::Arc, time::Duration};
use store::{ReadRows, tables};
use tokio::sync::Notify;

/// Look again after this time even if nothing happened.
const IDLE_LOOK: Duration = Duration::from_secs(60);
/// While other apps hold memory that they will give back; no event tells of it.
const ROOM_LOOK: Duration = Duration::from_secs(1);
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
        let traffic = engine.shared.routes.traffic(app);
        // Woken by an event of the app, by a visitor while it sleeps, or by the time of the next try of a crashed dyno.
        tokio::select! {
            () = notify.notified() => {}
            () = traffic.wake_asked() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

enum Turn {
    Wait(Duration),
    Gone,
}

async fn turn(engine: &Engine, id: AppId) -> Result<Turn, store::StoreError> {
    let parts = &engine.shared.parts;
    let mut view = engine.view(id)?;
    if view.app.is_none() && view.dynos.is_empty() {
        clean_up(engine, id);
        return Ok(Turn::Gone);
    }
    one_offs::look_after(engine, view.app.is_some(), &view.dynos).await?;
    let now = parts.clock.now();
    let wait = cycle(engine, &view.dynos, now).await?.min(IDLE_LOOK);
    let mut wait = sleep::look_after(engine, id, &mut view, now).await?.map_or(wait, |sleep| sleep.min(wait));
    let backoff = &parts.settings.backoff;
    let mut actions = plan(&view.wanted, &view.dynos, backoff, None, now);
    let mut room_is_mine = None;
    if let Some(capacity) = parts.settings.capacity_bytes.filter(|_| needs_room(&actions, &view.dynos)) {
        // Two apps must not take the same memory.
        room_is_mine = Some(engine.shared.room.lock().await);
        let short;
        (actions, short) = plan_within(engine, &view, capacity, now)?;
        wait = if short { wait.min(ROOM_LOOK) } else { wait };
    }
    let wait = act(engine, id, &view, actions, now).await?.map_or(wait, |next| next.min(wait));
    drop(room_is_mine);
    engine.shared.routes.refresh(parts, id)?;
    Ok(Turn::Wait(wait))
}

/// A plan that keeps to the memory of this host; true when it is worth waiting for what other apps will give back.
fn plan_within(engine: &Engine, view: &View, capacity: u64, now: UnixMs) -> Result<(Vec<Action>, bool), store::StoreError> {
    let parts = &engine.shared.parts;
    let dynos = parts.store.scan(&tables::DYNOS, &())?;
    let used: u64 = dynos.iter().filter(|d| takes_memory(d)).map(|d| rows::limits_of(&d.size).memory_bytes).sum();
    let room = capacity.saturating_sub(used);
    let mut actions = plan(&view.wanted, &view.dynos, &parts.settings.backoff, Some(room), now);
    // Where others are just being rolled out there will be room; nothing has to stop first for that.
    let later = capacity.saturating_sub(settled_memory(&dynos));
    let before = actions.len();
    actions.retain(|action| !matches!(action, Action::StopFirst { memory, .. } if *memory <= later));
    let short = actions.len() < before;
    Ok((actions, short))
}

/// Carries out a plan; tells when to look again, if the plan does.
async fn act(
    engine: &Engine,
    id: AppId,
    view: &View,
    actions: Vec<Action>,
    now: UnixMs,
) -> Result<Option<Duration>, store::StoreError> {
    let parts = &engine.shared.parts;
    if let Some(version) = view.wanted.release {
        parts.logs.app(id).set_release(version);
    }
    let mut wait = None;
    for action in actions {
        match action {
            Action::Start { ptype, num, size, crashes } => {
                let Some(version) = view.wanted.release else { continue };
                let wish = dynos::Wish { app: id, version, generation: view.wanted.generation, ptype, num, size, crashes };
                dynos::start(engine, wish).await?;
            }
            Action::Stop(dyno) => dynos::stop(engine, dyno).await?,
            Action::StopFirst { dyno, alone, .. } => stop_first(engine, view, dyno, alone).await?,
            Action::Forget(dyno) => engine.forget_dyno(dyno).await?,
            Action::Step(version) => {
                if engine.step(id, version).await? {
                    let text = format!("Memory does not allow two sets of web dynos: v{version} is rolled out in steps");
                    parts.logs.app(id).write("app", "api", text);
                }
            }
            Action::Prove(version) => {
                engine.shared.routes.refresh(parts, id)?;
                engine.prove(id, version).await?;
            }
            Action::Fail(version) => {
                if let Some((fallback, config_goes)) = engine.fail_release(id, version).await? {
                    let config = if config_goes { ", with the config vars that it had" } else { "" };
                    let text = format!("Release v{version} did not start; v{fallback} is still serving{config}");
                    parts.logs.app(id).write("app", "api", text);
                }
            }
            Action::WakeAt(at) => wait = Some(Duration::from_millis(at.since_ms(now) + 1)),
        }
    }
    Ok(wait)
}

/// Stops a dyno whose replacement has no room yet, and says so.
async fn stop_first(engine: &Engine, view: &View, id: DynoId, alone: bool) -> Result<(), store::StoreError> {
    if let Some(dyno) = view.dynos.iter().find(|d| d.id == id) {
        let meanwhile = if alone { "nothing serves in its place meanwhile" } else { "the others of its type serve meanwhile" };
        let text =
            format!("Memory does not allow a second dyno beside this one: it stops before its replacement starts; {meanwhile}");
        engine.shared.parts.logs.app(dyno.app).write("heroku", &dyno.name(), text);
    }
    dynos::stop(engine, id).await
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
    parts.service.series().remove(app);
    for dir in &parts.settings.app_dirs {
        for path in [dir.join(app.to_string()), dir.join(format!("{app}.git"))] {
            match builder::remove_tree(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    tracing::warn!(error = %e, path = %path.display(), "engine.files_left");
                }
                _ => {}
            }
        }
    }
    images::look_soon(engine);
}
