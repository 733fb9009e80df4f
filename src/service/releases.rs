//! Releases.

use crate::{Action, Ctx, Error, Result, Service, find_app, formation};
use domain::{App, EventBody, Release, ReleaseId, ReleaseStatus, SlugId};
use store::{ReadRows, Tx, tables};
use uuid::Uuid;

/// What a new release is made of; its config is the app's newest set.
pub struct ReleaseDraft {
    /// What changed.
    pub description: String,
    /// The code.
    pub slug: Option<SlugId>,
}

/// Adds a release and makes it the wanted one. The caller puts the app's row afterwards.
///
/// # Errors
/// When the rows can not be read or written.
pub fn add_release(tx: &mut Tx, ctx: &Ctx, app: &mut App, draft: ReleaseDraft) -> Result<Release> {
    let release = Release {
        id: Uuid::new_v4().into(),
        app: app.id,
        version: app.next_version,
        status: ReleaseStatus::Succeeded,
        description: draft.description,
        slug: draft.slug,
        config_version: app.config_version,
        user: ctx.account().unwrap_or(app.owner),
        created_at: ctx.now,
        updated_at: ctx.now,
    };
    app.next_version += 1;
    app.current = Some(release.version);
    app.released_at = Some(ctx.now);
    app.updated_at = ctx.now;
    tx.put(&tables::RELEASES, &(app.id, release.version), &release)?;
    tx.put(&tables::RELEASE_BY_ID, &release.id, &(app.id, release.version))?;
    if let Some(slug) = draft.slug {
        formation::follow_slug(tx, ctx, app, slug)?;
    }
    let body = EventBody::ReleaseCreated { version: release.version };
    tx.event(ctx.now, Some(app.id), ctx.account(), ctx.request_id.clone(), body)?;
    Ok(release)
}

fn find(rows: &impl ReadRows, app: &App, id_or_version: &str) -> Result<Release> {
    let missing = || Error::not_found("release", "Couldn't find that release.");
    let version = match id_or_version.parse::<ReleaseId>() {
        Ok(id) => rows.get(&tables::RELEASE_BY_ID, &id)?.filter(|(owner, _)| *owner == app.id).map(|(_, v)| v),
        Err(_) => id_or_version.strip_prefix('v').unwrap_or(id_or_version).parse().ok(),
    };
    rows.get(&tables::RELEASES, &(app.id, version.ok_or_else(missing)?))?.ok_or_else(missing)
}

impl Service {
    /// All releases, oldest first.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn releases(&self, ctx: &Ctx, app: &str) -> Result<(App, Vec<Release>)> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let releases = self.store().scan(&tables::RELEASES, &app.id)?;
        Ok((app, releases))
    }

    /// One release by id or version.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn release(&self, ctx: &Ctx, app: &str, id_or_version: &str) -> Result<(App, Release)> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let release = find(self.store(), &app, id_or_version)?;
        Ok((app, release))
    }

    /// Makes a new release of the code and config of an older one.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; `invalid_params` for a release that failed or has no code.
    pub async fn rollback(&self, ctx: &Ctx, app: &str, id_or_version: &str) -> Result<(App, Release)> {
        let app = self.app_for(ctx, Action::Write, app)?;
        let (ctx2, wanted, id) = (ctx.clone(), id_or_version.to_string(), app.id);
        let (app, release) = self
            .store()
            .commit(move |tx| {
                let mut app = find_app(tx, &id.to_string())?;
                let old = find(tx, &app, &wanted)?;
                if old.status != ReleaseStatus::Succeeded {
                    return Err(Error::invalid(format!("Release v{} failed; choose another one.", old.version)));
                }
                if old.slug.is_none() {
                    return Err(Error::invalid(format!("Release v{} has no code to run; deploy first.", old.version)));
                }
                // Code and config come back together (`ux.md` J9).
                app.config_version = old.config_version;
                let description = format!("Rollback to v{}", old.version);
                let release = add_release(tx, &ctx2, &mut app, ReleaseDraft { description, slug: old.slug })?;
                tx.put(&tables::APPS, &id, &app)?;
                Ok((app, release))
            })
            .await?;
        self.log_action(id, ctx, &release.description);
        self.log_action(id, ctx, &format!("Release v{} created", release.version));
        Ok((app, release))
    }
}
