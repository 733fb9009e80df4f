//! Builds as durable work: fetch, build in the cage, slug and release in one transaction, then watch the new dynos.

use crate::Engine;
use builder::{BuildRequest, BuildResult};
use domain::{
    App, AppId, Build, BuildId, BuildStatus, Dyno, DynoState, EventBody, Origin, Release, ReleaseStatus, Slug, SlugId,
    SlugState, UnixMs, plan::WEB,
};
use logs::Output;
use service::{Ctx, ReleaseDraft};
use std::{collections::BTreeMap, fs, path::PathBuf, sync::Arc, time::Duration};
use store::{ReadRows, StoreError, tables};

/// Beyond the boot timeout, for unpacking and draining.
const VERIFY_EXTRA: Duration = Duration::from_secs(30);

/// Runs one build from its row to its end, whatever becomes of it.
pub async fn run(engine: Engine, id: BuildId) {
    let parts = &engine.shared.parts;
    let output = parts.outputs.live(id.0);
    match parts.store.get(&tables::BUILDS, &id) {
        Ok(Some(build)) if build.status == BuildStatus::Pending => {
            if let Err(e) = in_turn(&engine, &build, &output).await {
                tracing::error!(error = %e, build = %id, "engine.build_not_recorded");
                output.line(&format!(" !     The platform could not record the build: {}", e.public));
                // With a full disk this fails too; the next start fails builds that are still pending.
                let _ = finish_failed(&engine, &build, &format!("The platform could not record the build: {}", e.public)).await;
            }
            if parts.store.get(&tables::APPS, &build.app).is_ok_and(|app| app.is_none()) {
                // Destroyed meanwhile: what the build made since then goes too.
                crate::actor::clean_up(&engine, build.app);
                parts.outputs.remove(id.0);
            }
            let archive = parts.service.upload_path(id);
            let _ = fs::remove_file(archive); // API builds have none there
        }
        Ok(_) => {}
        Err(e) => tracing::error!(error = %e, build = %id, "engine.build_unreadable"),
    }
    parts.outputs.close(id.0);
}

/// One build of an app at a time, and not too many on the host.
async fn in_turn(engine: &Engine, build: &Build, output: &Arc<Output>) -> Result<(), service::Error> {
    let turn = {
        let mut turns = engine.shared.build_turns.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        turns.entry(build.app).or_default().clone()
    };
    let _turn = match turn.try_lock() {
        Ok(guard) => guard,
        Err(_) => {
            output.line("-----> Another build of this app is running; waiting in line...");
            turn.lock().await
        }
    };
    let slot_of_host = match engine.shared.build_slots.try_acquire() {
        Ok(slot) => Some(slot),
        Err(_) => {
            output.line("-----> The server is busy with other builds; waiting in line...");
            engine.shared.build_slots.acquire().await.ok()
        }
    };
    let Some(app) = engine.shared.parts.store.get(&tables::APPS, &build.app)? else {
        output.line(" !     The app was destroyed.");
        return Ok(());
    };
    if !is_pending(engine, build.id)? {
        return ended_by_user(engine, build.id, output);
    }
    let user_slot = engine.shared.users.take();
    let built = match user_slot {
        Some(slot) => build_slug(engine, &app, build, slot, output).await,
        None => Err("no free user for the build; stop some dynos".into()),
    };
    user_slot.into_iter().for_each(|slot| engine.shared.users.give_back(slot));
    drop(slot_of_host); // waiting for dynos to boot needs no place among the builds
    if !is_pending(engine, build.id)? {
        if let Ok((slug, _)) = &built {
            let _ = fs::remove_file(engine.shared.parts.service.slug_path(app.id, *slug)); // nothing names it
        }
        return ended_by_user(engine, build.id, output);
    }
    match built {
        Ok((slug, result)) => deploy(engine, &app, build, slug, result, output).await,
        Err(headline) => {
            output.line(&format!(" !     Push rejected, {headline}"));
            output.line("");
            output.line(" !     Push failed");
            finish_failed(engine, build, &headline).await?;
            Ok(())
        }
    }
}

/// False when it was cancelled meanwhile.
fn is_pending(engine: &Engine, id: BuildId) -> Result<bool, StoreError> {
    let row = engine.shared.parts.store.get(&tables::BUILDS, &id)?;
    Ok(row.is_none_or(|row| row.status == BuildStatus::Pending))
}

fn ended_by_user(engine: &Engine, id: BuildId, output: &Output) -> Result<(), service::Error> {
    let row = engine.shared.parts.store.get(&tables::BUILDS, &id)?;
    let reason = row.and_then(|row| row.failure).unwrap_or_default();
    output.line(&format!(" !     Push rejected, build {}", reason.to_lowercase()));
    output.line("");
    output.line(" !     Push failed");
    Ok(())
}

/// Comes back when the build was cancelled.
async fn cancelled(engine: &Engine, id: BuildId) {
    let mut committed = engine.shared.parts.store.committed();
    loop {
        committed.mark_unchanged();
        let pending = is_pending(engine, id).unwrap_or(true);
        if !pending {
            return;
        }
        if committed.changed().await.is_err() {
            std::future::pending::<()>().await; // the store was closed: the daemon ends
        }
    }
}

/// The cache of the app goes before a build that was asked to start without one.
async fn clear_cache(engine: &Engine, app: AppId) -> Result<(), String> {
    let parts = &engine.shared.parts;
    if parts.store.get(&tables::CACHE_CLEARED, &app).map_err(|e| e.to_string())?.is_none() {
        return Ok(());
    }
    let cache = parts.builder.cache_dir.join(app.to_string());
    let removed = tokio::task::spawn_blocking(move || if cache.exists() { builder::remove_tree(&cache) } else { Ok(()) });
    removed.await.map_err(|e| e.to_string())?.map_err(|e| format!("the build cache could not be emptied: {e}"))?;
    let forget = move |tx: &mut store::Tx| -> Result<(), StoreError> {
        tx.delete(&tables::CACHE_CLEARED, &app);
        Ok(())
    };
    parts.store.commit(forget).await.map_err(|e| e.to_string())
}

async fn build_slug(
    engine: &Engine,
    app: &App,
    build: &Build,
    user_slot: u32,
    output: &Arc<Output>,
) -> Result<(SlugId, BuildResult), String> {
    let parts = &engine.shared.parts;
    clear_cache(engine, app.id).await?;
    let source = source(engine, build).await?;
    let slug: SlugId = uuid::Uuid::new_v4().into();
    let slug_path = parts.service.slug_path(app.id, slug);
    slug_path.parent().map_or(Ok(()), fs::create_dir_all).map_err(|e| e.to_string())?;
    let config = service::read_config(&parts.store, &parts.sealer, app.id, app.config_version).map_err(|e| e.to_string())?;
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let request = BuildRequest {
        id: build.id,
        app: app.id,
        source,
        checksum: build.source.checksum.clone(),
        strip_single: !build.local_source,
        commit: build.source.version.clone().unwrap_or_default(),
        stack: build.stack.clone(),
        buildpacks: if build.buildpacks.is_empty() { app.buildpacks.clone() } else { build.buildpacks.clone() },
        config,
        user_slot,
        request_id: build.id.to_string(),
        slug_path,
        stopped,
    };
    let building = parts.builder.build(request, output.clone());
    tokio::pin!(building);
    let result = tokio::select! {
        result = &mut building => result,
        () = cancelled(engine, build.id) => {
            let _ = stop.send(true); // it may have ended just now
            building.await
        }
    };
    result.map(|result| (slug, result)).map_err(|e| e.headline)
}

/// The archive on disk.
async fn source(engine: &Engine, build: &Build) -> Result<PathBuf, String> {
    let service = &engine.shared.parts.service;
    let local = service.upload_path(build.id);
    if build.local_source {
        return Ok(local);
    }
    if let Some(own) = service.own_source(&build.source.url) {
        return Ok(own);
    }
    let (fetch, url, target) = (engine.shared.parts.builder.fetch.clone(), build.source.url.clone(), local.clone());
    let fetched = tokio::task::spawn_blocking(move || fetch(&url, &target));
    fetched.await.map_err(|e| e.to_string())?.map_err(|e| format!("the source could not be fetched: {e}"))?;
    Ok(local)
}

/// Slug, release and build row in one transaction; then waits for the new dynos and says how it went.
async fn deploy(
    engine: &Engine,
    app: &App,
    build: &Build,
    slug: SlugId,
    result: BuildResult,
    output: &Output,
) -> Result<(), service::Error> {
    let parts = &engine.shared.parts;
    output.line("-----> Launching...");
    let told = || output.line("       Waiting for the release phase of a config change...");
    no_phase_running(engine, app.id, told).await?;
    let bytes = result.slug.as_ref().map(|slug| slug.bytes);
    let release = match record(engine, build, slug, result).await {
        Ok(release) => release,
        Err(e) => {
            let _ = fs::remove_file(parts.service.slug_path(app.id, slug)); // nothing names it
            return Err(e);
        }
    };
    parts.logs.app(app.id).write("app", "api", "Build succeeded");
    tracing::info!(app = %app.name, release = release.version, slug_bytes = bytes, "engine.released");
    let has_phase = release.status == ReleaseStatus::Pending;
    if has_phase {
        output.line(" !     Release command declared: this new release will not be available until the command succeeds.");
    }
    output.line(&format!("       Released v{}", release.version));
    output.line(&format!("       {} deployed to Tidemill", parts.service.addresses().app_url(&app.name)));
    output.line("");
    if has_phase {
        output.line("Running release command...");
        output.line("");
        if !phase_passed(engine, &release, output).await? {
            let serving = parts.store.get(&tables::APPS, &app.id)?.and_then(|row| row.current);
            let serving = serving.map_or_else(|| "nothing".into(), |v| format!("v{v}"));
            output.line(&format!(" !     Release command failed. {serving} is still serving; nothing changed for visitors."));
            return Ok(());
        }
    }
    match verify(engine, app, release.version).await {
        Ok(()) => {
            let view = engine.view(app.id)?;
            if let Some(at) = view.wanted.hold_until.filter(|_| view.wanted.release == Some(release.version)) {
                let seconds = at.since_ms(parts.clock.now()).div_ceil(1000);
                output.line(&format!("       Preboot: the new dynos are up and take over in {seconds} s."));
            }
            if view.wanted.types.iter().any(|t| t.ptype == WEB && t.quantity == 0) {
                output.line("       No web dyno runs; the log tells why if you did not scale it down: tidemill ps:scale web=1");
            }
            output.line("Verifying deploy... done.");
        }
        Err(reason) => {
            output.line("Verifying deploy... failed.");
            reason.lines().for_each(|line| output.line(&format!(" !     {line}")));
            let id = build.id;
            let failure = reason.lines().next().unwrap_or_default().to_string();
            change_build(engine, id, move |row| row.failure = Some(failure)).await?;
        }
    }
    Ok(())
}

fn short(build: &Build) -> String {
    let commit = build.source.version.as_deref().unwrap_or("");
    if commit.is_empty() { build.id.to_string()[..8].into() } else { commit.chars().take(8).collect() }
}

async fn record(engine: &Engine, build: &Build, slug: SlugId, result: BuildResult) -> Result<Release, service::Error> {
    let (parts, sealer, build) = (&engine.shared.parts, engine.shared.parts.sealer.clone(), build.clone());
    let now = parts.clock.now();
    let account = parts.service.account(build.user)?;
    let key = uuid::Uuid::new_v4().simple().to_string() + &uuid::Uuid::new_v4().simple().to_string();
    parts
        .store
        .commit(move |tx| {
            let gone = || service::Error::not_found("app", "The app was destroyed during the build.");
            let mut app = tx.get(&tables::APPS, &build.app)?.ok_or_else(gone)?;
            let pending = tx.get(&tables::BUILDS, &build.id)?.is_some_and(|row| row.status == BuildStatus::Pending);
            if !pending {
                return Err(service::Error::conflict("The build was cancelled."));
            }
            let ctx = Ctx { request_id: Some(build.id.to_string()), ..Ctx::of(account, now) };
            let first = !tx.scan(&tables::RELEASES, &app.id)?.iter().any(|r| r.slug.is_some());
            let row = slug_row(&build, slug, &result, key, now);
            tx.put(&tables::SLUGS, &slug, &row)?;
            tx.put(&tables::SLUG_BY_APP, &(app.id, slug), &tables::Present {})?;
            if first {
                set_defaults(tx, &sealer, &mut app, result.config_vars)?;
            }
            app.detected = Some(result.detected);
            app.slug_bytes = result.slug.map(|slug| slug.bytes);
            let draft =
                ReleaseDraft { config_version: None, description: format!("Deploy {}", short(&build)), slug: Some(slug) };
            let release = service::add_release(tx, &ctx, &mut app, draft)?;
            tx.put(&tables::APPS, &app.id, &app)?;
            let done = Build {
                status: BuildStatus::Succeeded,
                slug: Some(slug),
                release: Some(release.id),
                updated_at: now,
                ..build.clone()
            };
            tx.put(&tables::BUILDS, &build.id, &done)?;
            tx.event(
                now,
                Some(app.id),
                Origin { actor: Some(build.user), ..Origin::default() },
                EventBody::BuildChanged { build: build.id },
            )?;
            Ok::<_, service::Error>(release)
        })
        .await
}

fn slug_row(build: &Build, id: SlugId, result: &BuildResult, blob_key: String, now: UnixMs) -> Slug {
    Slug {
        id,
        app: build.app,
        state: SlugState::Ready,
        process_types: result.process_types.clone(),
        commit: build.source.version.clone(),
        commit_description: build.source.version_description.clone(),
        checksum: result.slug.as_ref().map(|slug| slug.checksum.clone()),
        bytes: result.slug.as_ref().map(|slug| slug.bytes),
        images: result.images.clone(),
        stack: build.stack.clone(),
        detected: Some(result.detected.clone()),
        blob_key,
        created_at: now,
    }
}

/// Config vars that a pack wants: on the first release only, and never over the user's (`builds.md` section 3).
fn set_defaults(
    tx: &mut store::Tx,
    sealer: &store::Sealer,
    app: &mut App,
    defaults: BTreeMap<String, String>,
) -> Result<(), service::Error> {
    let mut config = service::read_config(tx, sealer, app.id, app.config_version)?;
    let before = config.len();
    for (key, value) in defaults.into_iter().filter(|(key, _)| domain::names::check_config_key(key).is_ok()) {
        config.entry(key).or_insert(value);
    }
    if config.len() > before {
        app.config_version = app.next_version;
        service::write_config(tx, sealer, app.id, app.config_version, &config)?;
    }
    Ok(())
}

async fn change_build(
    engine: &Engine,
    id: BuildId,
    change: impl FnOnce(&mut Build) + Send + 'static,
) -> Result<(), StoreError> {
    let now = engine.shared.parts.clock.now();
    let work = move |tx: &mut store::Tx| -> Result<(), StoreError> {
        let Some(mut row) = tx.get(&tables::BUILDS, &id)? else { return Ok(()) };
        change(&mut row);
        row.updated_at = now;
        tx.put(&tables::BUILDS, &id, &row)?;
        tx.event(now, Some(row.app), Origin::default(), EventBody::BuildChanged { build: id })?;
        Ok(())
    };
    engine.shared.parts.store.commit(work).await
}

/// The build failed; the app is as it was.
pub async fn finish_failed(engine: &Engine, build: &Build, reason: &str) -> Result<(), StoreError> {
    let failure = reason.to_string();
    change_build(engine, build.id, move |row| {
        // One that was cancelled has its reason already.
        if row.status == BuildStatus::Pending {
            row.status = BuildStatus::Failed;
            row.failure = Some(failure);
        }
    })
    .await?;
    let text = format!("Build failed -- check your build output: {reason}");
    engine.shared.parts.logs.app(build.app).write("app", "api", text);
    Ok(())
}

/// Shows the output of a release phase as it comes; true when it succeeded. A failed one does not reject the push
/// (`git-contract.md` section 5).
async fn phase_passed(engine: &Engine, release: &Release, output: &Output) -> Result<bool, service::Error> {
    let parts = &engine.shared.parts;
    let phase = parts.service.phase_output(release)?;
    let mut offset = 0;
    while let Ok(Some(piece)) = phase.next(offset).await {
        offset += piece.len() as u64;
        output.write(&piece);
    }
    // The output ends just after the verdict, or before it when it could not be read.
    let mut committed = parts.store.committed();
    loop {
        committed.mark_unchanged();
        let row = parts.store.get(&tables::RELEASES, &(release.app, release.version))?;
        match row.map(|row| row.status) {
            Some(ReleaseStatus::Pending) if committed.changed().await.is_ok() => {}
            status => return Ok(status == Some(ReleaseStatus::Succeeded)),
        }
    }
}

/// A release phase that runs goes first; `told` is called once when there is one to wait for.
pub(crate) async fn no_phase_running(engine: &Engine, app: AppId, told: impl FnOnce()) -> Result<(), StoreError> {
    let store = &engine.shared.parts.store;
    let mut committed = store.committed();
    let mut told = Some(told);
    loop {
        committed.mark_unchanged();
        let row = store.get(&tables::APPS, &app)?;
        let running = row.map(|row| service::running_phase(store, &row)).transpose().ok().flatten().flatten();
        if running.is_some()
            && let Some(tell) = told.take()
        {
            tell();
        }
        if running.is_none() || committed.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// Waits until the release is proven, failed, or overtaken by a newer one.
pub(crate) async fn verify(engine: &Engine, app: &App, version: u64) -> Result<(), String> {
    let parts = &engine.shared.parts;
    let mut committed = parts.store.committed();
    let patience = parts.settings.boot_timeout + VERIFY_EXTRA;
    let mut limit = tokio::time::Instant::now() + patience;
    let mut up = 0;
    loop {
        committed.mark_unchanged();
        let now_up = engine.view(app.id).map_err(|e| e.to_string())?.dynos.iter().filter(|d| is_up(d, version)).count();
        if now_up > up {
            limit = tokio::time::Instant::now() + patience; // in steps each dyno has its own time to boot
        }
        up = now_up;
        if let Some(verdict) = verdict(engine, app, version).map_err(|e| e.to_string())? {
            return verdict;
        }
        match tokio::time::timeout_at(limit, committed.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err("The platform is shutting down.".into()),
            Err(_) => return Err(format!("v{version} is still starting; see: tidemill logs -a {}", app.name)),
        }
    }
}

fn is_up(dyno: &Dyno, version: u64) -> bool {
    dyno.release == version && dyno.ptype == WEB && dyno.state == DynoState::Up
}

/// `None` while it is open.
fn verdict(engine: &Engine, app: &App, version: u64) -> Result<Option<Result<(), String>>, StoreError> {
    let parts = &engine.shared.parts;
    let view = engine.view(app.id)?;
    let Some(row) = view.app else { return Ok(Some(Err("The app was destroyed.".into()))) };
    let release = parts.store.get(&tables::RELEASES, &(app.id, version))?;
    if release.as_ref().is_some_and(|r| r.status == ReleaseStatus::Pending) {
        return Ok(None);
    }
    if release.is_some_and(|r| r.status == ReleaseStatus::Failed) {
        // The release failed in the transaction that put the former one back, maybe after the view was taken.
        let serves = engine.view(app.id)?.app.unwrap_or(row).current;
        let serving = serves.map_or_else(|| "nothing".into(), |v| format!("v{v}"));
        let reason = format!("v{version} did not start. {serving} is still serving; nothing changed for visitors.");
        return Ok(Some(Err(with_last_lines(engine, app, reason))));
    }
    if row.proven == Some(version) || row.current != Some(version) {
        return Ok(Some(Ok(())));
    }
    let crashed = view.dynos.iter().any(|d| d.release == version && d.ptype == WEB && d.state == DynoState::Crashed);
    if crashed && view.wanted.fallback.is_none() {
        let reason = format!("v{version} did not start: its web dyno crashed. There is no older release to go back to.");
        return Ok(Some(Err(with_last_lines(engine, app, reason))));
    }
    // With preboot nobody waits for the hold: the new dynos are up, and take over when it ends.
    let wanted_web = view.wanted.types.iter().find(|t| t.ptype == WEB).map_or(0, |t| t.quantity as usize);
    let all_up = view.dynos.iter().filter(|d| is_up(d, version)).count() >= wanted_web;
    Ok((view.wanted.hold_until.is_some() && all_up).then_some(Ok(())))
}

/// What the user would look up next.
fn with_last_lines(engine: &Engine, app: &App, mut reason: String) -> String {
    let filter = logs::Filter { ps: Some(WEB.into()), ..logs::Filter::default() };
    let (lines, _) = engine.shared.parts.logs.app(app.id).last(&filter, 6, None);
    reason.push_str("\nLast lines:");
    for line in lines {
        reason.push_str("\n  ");
        reason.push_str(&line.text());
    }
    reason.push_str(&format!("\nAll of them: tidemill logs -a {}", app.name));
    reason
}
