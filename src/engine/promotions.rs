//! Promotions as durable work, one task for each target: the slug is copied, a release made of it, and its dynos watched.
//!
//! ```text
//! target "pending" -> file linked -> (slug and release, one transaction) -> release phase -> dynos up -> "succeeded"
//! ```
//! The target's copy has an id of its own and lies among the target's files: a hard link, so that it takes no room, and
//! stays when the source app is destroyed. Each step may be run twice: after a restart of the daemon a target goes on from
//! where its row says it is.

use crate::{Engine, builds};
use domain::{
    App, AppId, EventBody, Origin, Promotion, Release, ReleaseStatus, Slug, SlugId, SlugState,
    pipeline::{Target, TargetStatus},
};
use service::{Ctx, Error, ReleaseDraft};
use std::{fs, io, path::Path};
use store::{ReadRows, StoreError, Tx, tables};
use uuid::Uuid;

/// Goes on with what a daemon before this one did not finish.
pub fn take_up(engine: &Engine) -> Result<(), StoreError> {
    for promotion in engine.shared.parts.store.scan(&tables::PROMOTIONS, &())? {
        tokio::spawn(run(engine.clone(), promotion.id));
    }
    Ok(())
}

/// Carries out what is open of a promotion.
pub async fn run(engine: Engine, id: Uuid) {
    match engine.shared.parts.store.get(&tables::PROMOTIONS, &id) {
        Ok(Some(promotion)) => {
            let open = promotion.targets.iter().filter(|t| t.status == TargetStatus::Pending).cloned();
            let tasks: Vec<_> = open.map(|target| one(&engine, &promotion, target)).collect();
            futures_util::future::join_all(tasks).await;
        }
        Ok(None) => {}
        Err(e) => tracing::error!(error = %e, promotion = %id, "engine.promotion_unreadable"),
    }
}

async fn one(engine: &Engine, promotion: &Promotion, target: Target) {
    let error = match to(engine, promotion, &target).await {
        Ok(()) => None,
        // The next daemon goes on; nothing failed.
        Err(_) if engine.is_closing() => return,
        Err(e) => Some(e.public),
    };
    let (now, id, target) = (engine.shared.parts.clock.now(), promotion.id, target.id);
    let work = move |tx: &mut Tx| service::finish_target(tx, now, id, target, error);
    if let Err(e) = engine.shared.parts.store.commit(work).await {
        tracing::error!(error = %e, promotion = %id, "engine.promotion_not_recorded: the next start goes on with it");
    }
}

fn gone() -> Error {
    Error::not_found("app", "The app was destroyed during the promotion.")
}

async fn to(engine: &Engine, promotion: &Promotion, target: &Target) -> Result<(), Error> {
    let store = &engine.shared.parts.store;
    let app = store.get(&tables::APPS, &target.app)?.ok_or_else(gone)?;
    let version = match target.release {
        Some((_, version)) => version,
        None => release(engine, promotion, target).await?.version,
    };
    phase_over(engine, app.id, version).await?;
    builds::verify(engine, &app, version).await.map_err(|text| Error::conflict(text.lines().next().unwrap_or_default()))
}

/// Waits for the verdict of the release phase, if the release has one.
pub(crate) async fn phase_over(engine: &Engine, app: AppId, version: u64) -> Result<(), Error> {
    let store = &engine.shared.parts.store;
    let mut committed = store.committed();
    loop {
        committed.mark_unchanged();
        let release = store.get(&tables::RELEASES, &(app, version))?.ok_or_else(gone)?;
        match release.status {
            ReleaseStatus::Pending if committed.changed().await.is_ok() => {}
            ReleaseStatus::Pending => return Err(Error::conflict("The platform is shutting down.")),
            ReleaseStatus::Succeeded => return Ok(()),
            ReleaseStatus::Failed if release.output_key.is_some() => {
                let text = format!("The release command of v{version} failed; what served before still serves.");
                return Err(Error::conflict(text));
            }
            ReleaseStatus::Failed => return Ok(()), // it did not start; the caller finds out why
        }
    }
}

async fn release(engine: &Engine, promotion: &Promotion, target: &Target) -> Result<Release, Error> {
    let parts = &engine.shared.parts;
    let missing = || Error::not_found("slug", "The code of the source is not there any more; promote again.");
    let at = (promotion.source, promotion.release.1);
    let from = parts.store.get(&tables::RELEASES, &at)?.filter(|r| r.id == promotion.release.0).ok_or_else(missing)?;
    let slug = from.slug.map(|slug| parts.store.get(&tables::SLUGS, &slug)).transpose()?.flatten().ok_or_else(missing)?;
    let source = parts.store.get(&tables::APPS, &promotion.source)?.ok_or_else(missing)?;
    builds::no_phase_running(engine, target.app, || {}).await?;
    let copy: SlugId = target.id.into();
    let file = parts.service.slug_path(target.app, copy);
    // Apps of images have no file.
    if slug.bytes.is_some() {
        share(&parts.service.slug_path(slug.app, slug.id), &file)
            .map_err(|e| Error::internal(format!("{}: {e}", file.display())))?;
    }
    let made = record(engine, promotion, target, &source, slug).await;
    if made.is_err() {
        let _ = fs::remove_file(&file); // nothing names it
    }
    let release = made?;
    let email = parts.service.account(promotion.user)?.email;
    let log = parts.logs.app(target.app);
    log.write("app", "api", format!("{} by user {email}", release.description));
    log.write("app", "api", format!("Release v{} created by user {email}", release.version));
    Ok(release)
}

/// A second name for a file that is never changed; a copy where there are no such names.
fn share(from: &Path, to: &Path) -> io::Result<()> {
    to.parent().map_or(Ok(()), fs::create_dir_all)?;
    match fs::remove_file(to) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    fs::hard_link(from, to).or_else(|_| fs::copy(from, to).map(|_| ()))
}

/// Slug and release of the target in one transaction, and the target knows its release.
async fn record(engine: &Engine, promotion: &Promotion, target: &Target, source: &App, slug: Slug) -> Result<Release, Error> {
    let parts = &engine.shared.parts;
    let now = parts.clock.now();
    let ctx = Ctx { request_id: Some(promotion.id.to_string()), ..Ctx::of(parts.service.account(promotion.user)?, now) };
    let commit: String = slug.commit.as_deref().unwrap_or("").chars().take(8).collect();
    let description = format!("Promote {} v{} {commit}", source.name, promotion.release.1).trim_end().to_string();
    let blob_key = Uuid::new_v4().simple().to_string() + &Uuid::new_v4().simple().to_string();
    let copy = Slug { id: target.id.into(), app: target.app, state: SlugState::Ready, blob_key, created_at: now, ..slug };
    let (id, at) = (promotion.id, target.id);
    let work = move |tx: &mut Tx| {
        let mut app = tx.get(&tables::APPS, &copy.app)?.ok_or_else(gone)?;
        tx.put(&tables::SLUGS, &copy.id, &copy)?;
        tx.put(&tables::SLUG_BY_APP, &(app.id, copy.id), &tables::Present {})?;
        app.detected = copy.detected.clone();
        app.slug_bytes = copy.bytes;
        let draft = ReleaseDraft { config_version: None, description, slug: Some(copy.id) };
        let release = service::add_release(tx, &ctx, &mut app, draft)?;
        tx.put(&tables::APPS, &app.id, &app)?;
        if let Some(mut row) = tx.get(&tables::PROMOTIONS, &id)? {
            for open in row.targets.iter_mut().filter(|open| open.id == at) {
                open.release = Some((release.id, release.version));
            }
            row.updated_at = now;
            tx.put(&tables::PROMOTIONS, &id, &row)?;
            tx.event(now, Some(row.source), Origin::default(), EventBody::PromotionChanged { promotion: id })?;
        }
        Ok::<_, Error>(release)
    };
    parts.store.commit(work).await
}
