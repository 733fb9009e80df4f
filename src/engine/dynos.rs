//! The life of a dyno, from the row to the end of the row.
//!
//! ```text
//! start: row "starting" -> slug unpacked -> cage -> (web: port accepts) -> row "up" -> routed
//! stop:  row "down" -> out of the routes -> requests in flight end -> SIGTERM -> cage empty -> row removed
//! crash: cage ended while it should run -> row "crashed" -> the planner decides when to try again
//! ```

use crate::{
    Engine, attach,
    boot::{StartSlot, boot, is_stopping},
    environment, memory, metadata, rows,
    sinks::DynoSink,
    volumes::{self, Volumes},
};
use domain::{
    AppId, Dyno, DynoKind, DynoState, EventBody, Origin, limits::STOP_GRACE_MS, plan::WEB, restart::count_after_crash,
};
use runtime::{Exit, Mount, Network, Root, Spec};
use std::{collections::BTreeMap, fs, net::IpAddr, path::PathBuf, sync::Arc, time::Duration};
use store::{ReadRows, StoreError, tables};

/// Requests in flight may take this long before SIGTERM is sent; then they have the dyno's own grace.
const DRAIN_LIMIT: Duration = Duration::from_secs(20);
/// Between tries to remove a cage whose engine does not answer.
const REMOVE_AGAIN: Duration = Duration::from_secs(5);

/// A slot to fill.
pub struct Wish {
    pub app: AppId,
    pub version: u64,
    pub generation: u64,
    pub ptype: String,
    pub num: u32,
    pub size: String,
    pub crashes: u32,
}

/// Writes the row, then starts the dyno in a task of its own.
pub async fn start(engine: &Engine, wish: Wish) -> Result<(), StoreError> {
    let shared = &engine.shared;
    let Some(user_slot) = shared.users.take() else {
        tracing::error!("engine.no_user: every user of the pool is in use");
        return Ok(());
    };
    let port = if wish.ptype == WEB { shared.ports.take() } else { None };
    if wish.ptype == WEB && port.is_none() {
        tracing::error!("engine.no_port: no port is free for a web dyno; trying again later");
        shared.users.give_back(user_slot);
        return Ok(());
    }
    let ctx = engine.ctx();
    let written = shared
        .parts
        .store
        .commit(move |tx| {
            let current = tx.get(&tables::APPS, &wish.app)?.and_then(|app| app.current);
            let slug = rows::slug_of(tx, wish.app, wish.version)?.filter(|_| current == Some(wish.version));
            let Some(command) = slug.and_then(|s| s.process_types.get(&wish.ptype).cloned()) else { return Ok(None) };
            let dyno = Dyno {
                id: uuid::Uuid::new_v4().into(),
                app: wish.app,
                kind: DynoKind::Formation,
                ptype: wish.ptype,
                num: wish.num,
                command,
                release: wish.version,
                generation: wish.generation,
                size: wish.size,
                state: DynoState::Starting,
                port,
                address: None,
                user_slot,
                crashes: wish.crashes,
                restart: false,
                time_to_live_s: None,
                attach: None,
                created_at: ctx.now,
                updated_at: ctx.now,
            };
            tx.put(&tables::DYNOS, &dyno.id, &dyno)?;
            tx.put(&tables::DYNO_BY_APP, &(dyno.app, dyno.id), &dyno.id)?;
            tx.event(ctx.now, Some(dyno.app), Origin::default(), EventBody::DynoChanged { dyno: dyno.id })?;
            Ok::<_, StoreError>(Some(dyno))
        })
        .await;
    match written {
        Ok(Some(dyno)) => {
            let sink = DynoSink::new(shared.parts.logs.app(dyno.app), &dyno);
            shared.lives.spawn(live(engine.clone(), dyno, sink, true));
            Ok(())
        }
        other => {
            shared.users.give_back(user_slot);
            port.into_iter().for_each(|port| shared.ports.give_back(port));
            other.map(|_| ())
        }
    }
}

/// After a restart of the daemon: goes on with a dyno that lives, forgets one that does not.
pub async fn take_back(engine: &Engine, mut dyno: Dyno) -> Result<(), StoreError> {
    let parts = &engine.shared.parts;
    let sink = DynoSink::new(parts.logs.app(dyno.app), &dyno);
    let Some(address) = parts.runtime.recover(dyno.id, sink.clone()).await.unwrap_or(None) else {
        release_resources(engine, &dyno).await;
        return engine.forget_dyno(dyno.id).await;
    };
    dyno.address = Some(address);
    if dyno.state == DynoState::Stopping {
        // The holder takes only the first stop, so SIGTERM is not sent twice.
        let _ = parts.runtime.stop(dyno.id, STOP_GRACE_MS).await; // if it has ended meanwhile, the wait tells
    }
    engine.shared.lives.spawn(live(engine.clone(), dyno, sink, false));
    Ok(())
}

/// Takes a dyno out of the routes, waits for its requests, sends SIGTERM. The rest is done by [`live`].
pub async fn stop(engine: &Engine, id: domain::DynoId) -> Result<(), StoreError> {
    let Some(dyno) = engine.set_state(id, DynoState::Stopping).await? else { return Ok(()) };
    engine.shared.routes.refresh(&engine.shared.parts, dyno.app)?;
    let backend = engine.shared.routes.take_backend(id);
    let engine = engine.clone();
    tokio::spawn(async move {
        if let Some(backend) = backend
            && !backend.close(DRAIN_LIMIT).await
        {
            tracing::info!(dyno = %id, left = backend.in_flight(), "engine.drain_limit: requests go on into the grace");
        }
        let parts = &engine.shared.parts;
        parts.logs.app(dyno.app).write("heroku", &dyno.name(), "Stopping all processes with SIGTERM");
        let _ = parts.runtime.stop(id, STOP_GRACE_MS).await; // not started yet or ended already: `live` looks at the row
    });
    Ok(())
}

/// One task per dyno, from start (or take-over) to the end.
async fn live(engine: Engine, mut dyno: Dyno, sink: Arc<DynoSink>, fresh: bool) {
    let parts = &engine.shared.parts;
    let slot = if fresh { StartSlot::take(&engine).await } else { None };
    if fresh && engine.is_closing() {
        return; // the next daemon finds the row
    }
    if fresh && is_stopping(&engine, &dyno) {
        // It was told to stop while it waited in line: there is nothing to stop.
        return record_end(&engine, &dyno, &sink).await;
    }
    let exit = if fresh { begin(&engine, &dyno, &sink).await.map(|address| dyno.address = Some(address)) } else { Ok(()) };
    let watch = tokio::spawn(memory::watch(engine.clone(), dyno.clone(), sink.clone()));
    let exit = match exit {
        Ok(()) => {
            let stopped_early = fresh && is_stopping(&engine, &dyno);
            if stopped_early {
                let _ = parts.runtime.stop(dyno.id, STOP_GRACE_MS).await; // the stop came before there was a cage
            }
            if !stopped_early && dyno.state == DynoState::Starting {
                boot(&engine, &dyno, &sink, slot).await
            } else {
                parts.runtime.wait(dyno.id).await.unwrap_or_else(|e| lost(&e.to_string()))
            }
        }
        Err(exit) => exit,
    };
    watch.abort();
    tell_end(&dyno, &sink, &exit).await;
    record_end(&engine, &dyno, &sink).await;
}

async fn record_end(engine: &Engine, dyno: &Dyno, sink: &DynoSink) {
    if let Err(e) = ended(engine, dyno, sink).await {
        tracing::error!(error = %e, dyno = %dyno.id, "engine.end_not_recorded");
    }
}

/// The last lines of a dyno.
pub async fn tell_end(dyno: &Dyno, sink: &DynoSink, exit: &Exit) {
    sink.finish().await;
    if let Some(reason) = &exit.platform_error {
        tracing::warn!(dyno = %dyno.id, %reason, "engine.platform_error");
        sink.platform(&format!("Error R99 (Platform error) -> {reason}"));
    }
    if exit.oom {
        sink.platform("Error R15 (Memory quota vastly exceeded)");
    }
    sink.platform(&format!("Process exited with status {}", exit.status));
}

pub fn lost(reason: &str) -> Exit {
    Exit { status: 137, oom: false, platform_error: Some(reason.into()) }
}

/// Unpacks the slug and starts the cage; returns its address.
pub async fn begin(engine: &Engine, dyno: &Dyno, sink: &Arc<DynoSink>) -> Result<IpAddr, Exit> {
    let parts = &engine.shared.parts;
    let spec = prepare(engine, dyno).await.map_err(|problem| match problem {
        Problem::Checksum { expected, actual } => {
            let text = "Checksum does match expected value."; // the wording is Heroku's (`runtime.md` section 3)
            sink.platform(&format!("Error R17 (Checksum error) -> {text} Expected: {expected} Actual: {actual}"));
            Exit { status: 1, oom: false, platform_error: None }
        }
        Problem::Other(reason) => lost(&reason),
    })?;
    sink.platform(&format!("Starting process with command `{}`", environment::shown(&dyno.command, dyno.port)));
    parts.runtime.start(spec, sink.clone()).await.map_err(|e| lost(&e.to_string()))
}

enum Problem {
    Checksum { expected: String, actual: String },
    Other(String),
}

pub fn home(engine: &Engine, dyno: &Dyno) -> PathBuf {
    engine.shared.parts.settings.dyno_dir.join(dyno.id.to_string())
}

/// The environment of a dyno: defaults, what the app wants to know of itself, config vars of its release, and what came with
/// the call.
pub fn variables(engine: &Engine, dyno: &Dyno) -> Result<BTreeMap<String, String>, service::Error> {
    let parts = &engine.shared.parts;
    let release = parts.store.get(&tables::RELEASES, &(dyno.app, dyno.release))?;
    let release = release.ok_or_else(|| service::Error::internal("a dyno names a release that is not there"))?;
    let config = service::read_config(&parts.store, &parts.sealer, dyno.app, release.config_version)?;
    let extra = service::read_dyno_env(&parts.store, &parts.sealer, dyno.id)?;
    let app = parts.store.get(&tables::APPS, &dyno.app)?;
    let slug = rows::slug_of(&parts.store, dyno.app, dyno.release)?;
    let of_images = slug.as_ref().is_some_and(|slug| !slug.images.is_empty());
    let metadata = app.zip(slug).map(|(app, slug)| metadata::variables(&app, &release, &slug, dyno, &parts.settings.domain));
    let own: BTreeMap<String, String> = config.clone().into_iter().chain(extra.clone()).collect();
    let all = environment::variables(dyno, metadata.unwrap_or_default(), config, extra);
    Ok(if of_images { environment::without_defaults(all, &own) } else { all })
}

/// A dyno of an app of images: nothing of ours is in it (`runtime.md` section 4.5).
fn in_image(dyno: &Dyno, image: &str, env: BTreeMap<String, String>, volumes: Volumes) -> Spec {
    Spec {
        id: dyno.id,
        argv: environment::argv_in_image(&dyno.command),
        env,
        cwd: PathBuf::new(), // the image's own
        hostname: dyno.id.to_string(),
        mounts: volumes.mounts,
        user_slot: volumes.user_slot,
        limits: rows::limits_of(&dyno.size),
        network: Network::Own,
        lossless: dyno.attach.is_some(),
        root: Root::Image(image.to_string()),
        stdio: attach::stdio(dyno.attach),
    }
}

async fn prepare(engine: &Engine, dyno: &Dyno) -> Result<Spec, Problem> {
    let parts = &engine.shared.parts;
    let other = |e: &dyn std::fmt::Display| Problem::Other(e.to_string());
    let slug = rows::slug_of(&parts.store, dyno.app, dyno.release).map_err(|e| other(&e))?;
    let slug = slug.ok_or_else(|| Problem::Other("its slug is gone".into()))?;
    let env = variables(engine, dyno).map_err(|e| other(&e))?;
    let volumes = volumes::of_dyno(engine, dyno).await.map_err(Problem::Other)?;
    if let Some(image) = slug.image(&dyno.ptype) {
        return Ok(in_image(dyno, image, env, volumes));
    }
    let root = parts.builder.stacks.choose(&slug.stack);
    let root = root.ok_or_else(|| Problem::Other(format!("stack {} is not there any more; import it again", slug.stack)))?;
    let (home, file, owner) =
        (home(engine, dyno), parts.service.slug_path(slug.app, slug.id), parts.runtime.host_user(volumes.user_slot));
    let (app, tmp, checksum) = (home.join("app"), home.join("tmp"), slug.checksum);
    let unpacking = {
        let (app, tmp) = (app.clone(), tmp.clone());
        tokio::task::spawn_blocking(move || -> Result<(), builder::SlugError> {
            for dir in [&app, &tmp] {
                fs::create_dir_all(dir)?;
                owner.map_or(Ok(()), |(uid, gid)| std::os::unix::fs::chown(dir, Some(uid), Some(gid)))?;
            }
            builder::unpack_slug(&file, checksum.as_deref(), &app, owner)
        })
    };
    unpacking.await.map_err(|e| other(&e))?.map_err(|e| match e {
        builder::SlugError::Checksum { expected, actual } => Problem::Checksum { expected, actual },
        e => other(&e),
    })?;
    let mount = |source, target: &str| Mount { source, target: target.into(), writable: true, kept: false };
    let mut mounts = vec![mount(app, "/app"), mount(tmp.clone(), "/tmp"), mount(tmp, "/var/tmp")];
    mounts.extend(volumes.mounts);
    Ok(Spec {
        id: dyno.id,
        argv: environment::argv(&dyno.command),
        env,
        cwd: "/app".into(),
        hostname: dyno.id.to_string(),
        mounts,
        user_slot: volumes.user_slot,
        limits: rows::limits_of(&dyno.size),
        network: Network::Own,
        lossless: dyno.attach.is_some(),
        root,
        stdio: attach::stdio(dyno.attach),
    })
}

/// The cage is empty: record it, free everything.
async fn ended(engine: &Engine, dyno: &Dyno, sink: &DynoSink) -> Result<(), StoreError> {
    let now = engine.shared.parts.clock.now();
    let before = engine.shared.parts.store.get(&tables::DYNOS, &dyno.id)?.map_or(DynoState::Stopping, |row| row.state);
    let closing = engine.is_closing();
    let crashed = engine
        .update_dyno(dyno.id, move |row| {
            if row.state == DynoState::Stopping || closing {
                return false;
            }
            let up_since = (row.state == DynoState::Up).then_some(row.updated_at);
            row.crashes = count_after_crash(row.crashes, up_since, now);
            row.state = DynoState::Crashed;
            row.updated_at = now;
            true
        })
        .await?;
    if let Some(backend) = engine.shared.routes.take_backend(dyno.id) {
        // It has ended; nothing is left to wait for.
        backend.close(Duration::ZERO).await;
    }
    release_resources(engine, dyno).await;
    match crashed {
        Some(_) => sink.platform(&format!("State changed from {} to crashed", before.as_str())),
        None => engine.forget_dyno(dyno.id).await?,
    }
    engine.shared.routes.refresh(&engine.shared.parts, dyno.app)
}

/// Cage, folder, user and port. Where the cage can not be removed now, its user stays its own until that has been done.
pub async fn release_resources(engine: &Engine, dyno: &Dyno) {
    let shared = &engine.shared;
    match shared.parts.runtime.remove(dyno.id).await {
        Ok(()) => shared.users.give_back(dyno.user_slot),
        Err(e) => {
            tracing::warn!(error = %e, dyno = %dyno.id, "engine.cage_left: tried again until it is gone");
            shared.users.reserve(dyno.user_slot);
            tokio::spawn(remove_later(engine.clone(), dyno.clone()));
        }
    }
    shared.parts.logs.app(dyno.app).forget(dyno.id);
    let home = home(engine, dyno);
    let removed = tokio::task::spawn_blocking(move || builder::remove_tree(&home)).await;
    if let Ok(Err(e)) = removed
        && e.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(error = %e, dyno = %dyno.id, "engine.folder_left");
    }
    dyno.port.into_iter().for_each(|port| shared.ports.give_back(port));
}

async fn remove_later(engine: Engine, dyno: Dyno) {
    while !engine.is_closing() {
        tokio::time::sleep(REMOVE_AGAIN).await;
        if engine.shared.parts.runtime.remove(dyno.id).await.is_ok() {
            engine.shared.users.give_back(dyno.user_slot);
            return;
        }
    }
}
