//! One-off dynos: each runs once, whatever happens to the daemon, and is never restarted. A release phase is one, too.
//!
//! ```text
//! row "starting" (made by the service) -> user -> cage -> row "up" -> ended -> (release phase: verdict) -> row removed
//! ```
//! A row that is "up" without a cage ran already; one that is "starting" without a cage did not.

use crate::{
    Engine,
    attach::{self, Attached, Client, Pieces},
    boot, dynos, memory,
    sinks::DynoSink,
};
use domain::{
    Dyno, DynoId, DynoKind, DynoState, EventBody, Origin, ReleaseStatus,
    limits::{ONE_OFF_SECONDS_MAX, STOP_GRACE_MS},
    setup::POSTDEPLOY,
};
use logs::Output;
use runtime::Exit;
use service::RELEASE;
use std::{sync::Arc, time::Duration};
use store::{ReadRows, StoreError, Tx, tables};

/// A client that does not take the last output of its process is left after this time.
const DELIVERY_LIMIT: Duration = Duration::from_secs(30);
/// Between tries to record an end.
const RECORD_PAUSE: Duration = Duration::from_secs(1);

/// Starts what waits, stops what shall not go on. Called by the app's actor; may be called at any time.
pub async fn look_after(engine: &Engine, app_exists: bool, dynos: &[Dyno]) -> Result<(), StoreError> {
    for dyno in dynos.iter().filter(|d| d.kind == DynoKind::OneOff && d.state != DynoState::Stopping) {
        if dyno.restart || !app_exists {
            engine.shared.parts.meetings.cancel(dyno.id);
            dynos::stop(engine, dyno.id).await?;
        }
        if dyno.state == DynoState::Starting && engine.claim_one_off(dyno.id) {
            engine.shared.lives.spawn(run(engine.clone(), dyno.clone()));
        }
    }
    Ok(())
}

/// After a restart of the daemon.
pub async fn take_back(engine: &Engine, mut dyno: Dyno) -> Result<(), service::Error> {
    let parts = &engine.shared.parts;
    let sink = sink(engine, &dyno)?;
    let recovered = parts.runtime.recover(dyno.id, sink.clone()).await.unwrap_or(None);
    let release = parts.store.get(&tables::RELEASES, &(dyno.app, dyno.release))?;
    let open_phase = dyno.ptype == RELEASE && release.is_some_and(|r| r.status == ReleaseStatus::Pending);
    // It has a user from just before its cage is made: then it may have run, and a release command is never run twice.
    let cut_phase = open_phase && (recovered.is_some() || dyno.state != DynoState::Starting || dyno.user_slot > 0);
    if cut_phase {
        // Whoever waited for its verdict is gone, so it is not left to switch releases later (`runtime.md` section 11).
        sink.platform("The platform was restarted during the release phase; it failed");
        sink.finish().await;
        return over(engine, &dyno, false).await;
    }
    match (recovered, dyno.state) {
        (Some(address), _) => {
            dyno.address = Some(address);
            engine.claim_one_off(dyno.id);
            if dyno.state == DynoState::Starting {
                engine.set_up(&dyno).await?; // killed between the cage and its row
            }
            if dyno.state == DynoState::Stopping {
                let _ = parts.runtime.stop(dyno.id, STOP_GRACE_MS).await; // if it has ended meanwhile, the wait tells
            }
            // The client of an attached one went with the daemon that it was connected to.
            let attached = dyno.attach.map(|_| attach::serve(engine, &dyno, sink.clone(), None));
            engine.shared.lives.spawn(finish(engine.clone(), dyno, sink, attached));
            Ok(())
        }
        // Never started: the actor will.
        (None, DynoState::Starting) => {
            dynos::release_resources(engine, &dyno).await;
            engine.update_dyno(dyno.id, |row| std::mem::take(&mut row.user_slot) > 0).await?;
            Ok(())
        }
        (None, _) => over(engine, &dyno, false).await,
    }
}

fn sink(engine: &Engine, dyno: &Dyno) -> Result<Arc<DynoSink>, StoreError> {
    let parts = &engine.shared.parts;
    if dyno.attach.is_some() {
        return Ok(DynoSink::attached(parts.logs.app(dyno.app), dyno).0);
    }
    let output = output(engine, dyno)?;
    Ok(DynoSink::with_copy(parts.logs.app(dyno.app), dyno, output))
}

/// The stored output of a release phase, or of the script of a setup.
fn output(engine: &Engine, dyno: &Dyno) -> Result<Option<Arc<Output>>, StoreError> {
    if dyno.ptype == POSTDEPLOY {
        return Ok(Some(engine.shared.parts.outputs.live(dyno.id.0)));
    }
    if dyno.ptype != RELEASE {
        return Ok(None);
    }
    let parts = &engine.shared.parts;
    let release = parts.store.get(&tables::RELEASES, &(dyno.app, dyno.release))?;
    Ok(release.map(|release| parts.outputs.live(release.id.0)))
}

async fn run(engine: Engine, mut dyno: Dyno) {
    let slot = engine.shared.users.take();
    let given = engine
        .update_dyno(dyno.id, move |row| {
            row.user_slot = slot.unwrap_or(0);
            slot.is_some() && row.state == DynoState::Starting
        })
        .await;
    let sink = match (given, sink(&engine, &dyno)) {
        (Ok(Some(row)), Ok(sink)) => {
            dyno = row;
            sink
        }
        (given, sink) => {
            slot.into_iter().for_each(|slot| engine.shared.users.give_back(slot));
            let failure = given.as_ref().err().or(sink.as_ref().err()).map(ToString::to_string);
            if slot.is_none() || failure.is_some() {
                // Not its fault: it waits, and the actor tries again.
                let reason = failure.unwrap_or_else(|| "every user of the pool is in use".into());
                tracing::error!(dyno = %dyno.id, %reason, "engine.one_off_waits");
                engine.unclaim_one_off(dyno.id);
            } else {
                record_end(&engine, &dyno, false).await; // stopped before it began
            }
            return;
        }
    };
    match dyno.attach {
        Some(_) => run_attached(engine, dyno, sink).await,
        None => run_cage(engine, dyno, sink, None).await,
    }
}

/// First the client, then the cage: nobody shall miss the first words.
async fn run_attached(engine: Engine, dyno: Dyno, sink: Arc<DynoSink>) {
    sink.platform("Awaiting client");
    let client = engine.shared.parts.meetings.client(dyno.id).await;
    if boot::is_stopping(&engine, &dyno) {
        record_end(&engine, &dyno, false).await; // stopped before it began
        return;
    }
    let Some(client) = client else {
        sink.platform("Error R13 (Attach error) -> Failed to attach to process");
        sink.platform("State changed from starting to complete");
        record_end(&engine, &dyno, false).await;
        return;
    };
    let (sink, pieces) = DynoSink::attached(engine.shared.parts.logs.app(dyno.app), &dyno);
    run_cage(engine, dyno, sink, Some((client, pieces))).await;
}

async fn run_cage(engine: Engine, mut dyno: Dyno, sink: Arc<DynoSink>, client: Option<(Client, Pieces)>) {
    match dynos::begin(&engine, &dyno, &sink).await {
        Ok(address) => {
            dyno.address = Some(address);
            match engine.set_up(&dyno).await {
                Ok(Some(_)) => sink.platform("State changed from starting to up"),
                // Told to stop before there was a cage.
                Ok(None) => {
                    let _ = engine.shared.parts.runtime.stop(dyno.id, STOP_GRACE_MS).await; // ended by itself is as good
                }
                Err(e) => tracing::error!(error = %e, dyno = %dyno.id, "engine.state_not_recorded"),
            }
            let attached = client.map(|client| attach::serve(&engine, &dyno, sink.clone(), Some(client)));
            finish(engine, dyno, sink, attached).await;
        }
        Err(exit) => {
            if let Some((client, _)) = client {
                client.refuse(exit.platform_error.as_deref().unwrap_or("The dyno could not be started; see its log.")).await;
            }
            ended(&engine, &dyno, &sink, &exit, false).await;
        }
    }
}

/// Waits for the end, or for the time that it may live.
async fn finish(engine: Engine, dyno: Dyno, sink: Arc<DynoSink>, attached: Option<Attached>) {
    let watch = tokio::spawn(memory::watch(engine.clone(), dyno.clone(), sink.clone()));
    let runtime = &engine.shared.parts.runtime;
    let lives = match dyno.ptype.as_str() {
        RELEASE => engine.shared.parts.settings.release_timeout,
        _ => Duration::from_secs(dyno.time_to_live_s.unwrap_or(ONE_OFF_SECONDS_MAX)),
    };
    let lived = Duration::from_millis(engine.shared.parts.clock.now().since_ms(dyno.created_at));
    let ended_itself = tokio::time::timeout(lives.saturating_sub(lived), runtime.wait(dyno.id)).await;
    let too_long = ended_itself.is_err();
    let exit = match ended_itself {
        Ok(exit) => exit,
        Err(_) => {
            sink.platform("Stopping all processes with SIGTERM");
            let _ = runtime.stop(dyno.id, STOP_GRACE_MS).await; // ended meanwhile is as good
            runtime.wait(dyno.id).await
        }
    };
    watch.abort();
    let exit = exit.unwrap_or_else(|e| dynos::lost(&e.to_string()));
    if let Some(Attached { exit: told, mut task }) = attached {
        sink.finish().await;
        let _ = told.send(exit.status); // a client that is gone needs no word
        if tokio::time::timeout(DELIVERY_LIMIT, &mut task).await.is_err() {
            task.abort(); // it does not take its output
        }
    }
    ended(&engine, &dyno, &sink, &exit, too_long).await;
}

async fn ended(engine: &Engine, dyno: &Dyno, sink: &DynoSink, exit: &Exit, too_long: bool) {
    dynos::tell_end(dyno, sink, exit).await;
    sink.platform("State changed from up to complete");
    if dyno.ptype == POSTDEPLOY {
        crate::setups::script_ended(engine, dyno, exit.status).await;
    }
    // A command that answers SIGTERM with 0 did not finish its work.
    let good = exit.status == 0 && exit.platform_error.is_none() && !too_long && !engine.is_closing();
    record_end(engine, dyno, good).await;
}

/// Until it is written: a verdict that got lost would hold up every release of the app. With a full disk there is nothing
/// to wait on but time.
async fn record_end(engine: &Engine, dyno: &Dyno, good: bool) {
    while let Err(e) = over(engine, dyno, good).await {
        tracing::error!(error = %e, dyno = %dyno.id, "engine.end_not_recorded: trying again");
        if engine.is_closing() {
            return; // the next daemon finds the row
        }
        tokio::time::sleep(RECORD_PAUSE).await;
    }
}

/// Verdict of a release phase, then the row goes, then the cage: never the other way round, or it would run again.
async fn over(engine: &Engine, dyno: &Dyno, good: bool) -> Result<(), service::Error> {
    if dyno.ptype == RELEASE {
        engine.finish_phase(dyno, good).await?;
        let release = engine.shared.parts.store.get(&tables::RELEASES, &(dyno.app, dyno.release))?;
        release.into_iter().for_each(|release| engine.shared.parts.outputs.close(release.id.0));
    }
    engine.forget_dyno(dyno.id).await?;
    dynos::release_resources(engine, dyno).await;
    engine.unclaim_one_off(dyno.id);
    Ok(())
}

impl Engine {
    /// True for the first who asks: a one-off is started once in the life of a daemon.
    fn claim_one_off(&self, id: DynoId) -> bool {
        self.shared.one_offs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(id)
    }

    fn unclaim_one_off(&self, id: DynoId) {
        self.shared.one_offs.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&id);
    }

    /// The release phase is over: its release becomes the wanted one, or failed and the old one stays. One that was told to
    /// stop failed, whatever it answered.
    async fn finish_phase(&self, dyno: &Dyno, good: bool) -> Result<(), service::Error> {
        let (ctx, app, version, id) = (self.ctx(), dyno.app, dyno.release, dyno.id);
        let work = move |tx: &mut Tx| {
            let undisturbed = tx.get(&tables::DYNOS, &id)?.is_some_and(|row| row.state == DynoState::Up && !row.restart);
            let good = good && undisturbed;
            let release = tx.get(&tables::RELEASES, &(app, version))?.filter(|r| r.status == ReleaseStatus::Pending);
            let (Some(mut row), Some(mut release)) = (tx.get(&tables::APPS, &app)?, release) else { return Ok(None) };
            release.status = if good { ReleaseStatus::Succeeded } else { ReleaseStatus::Failed };
            release.updated_at = ctx.now;
            tx.put(&tables::RELEASES, &(app, version), &release)?;
            if good {
                row.current = Some(version);
                row.config_version = release.config_version;
                tx.put(&tables::APPS, &app, &row)?;
                if let Some(slug) = release.slug {
                    // Again: the proof of an older release may have removed entries of types that it does not have.
                    service::follow_slug(tx, &ctx, &row, slug)?;
                }
            }
            tx.event(ctx.now, Some(app), Origin::default(), EventBody::ReleaseChanged { version })?;
            Ok::<_, service::Error>(Some(good))
        };
        if self.shared.parts.store.commit(work).await? == Some(false) {
            let serving = self.view(app)?.app.and_then(|row| row.current);
            let serving = serving.map_or_else(|| "nothing".into(), |v| format!("v{v}"));
            let text = format!("Release v{version} failed in its release phase; {serving} is still serving");
            self.shared.parts.logs.app(app).write("app", "api", text);
        }
        Ok(())
    }
}
