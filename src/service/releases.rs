//! Releases.

use crate::{
    Action, Ctx, Error, Result, Service,
    auth::random_key,
    find_app, formation,
    one_offs::{self, RELEASE},
};
use domain::{App, EventBody, Release, ReleaseId, ReleaseStatus, SlugId};
use store::{ReadRows, Tx, tables};
use uuid::Uuid;

/// What a new release is made of.
pub struct ReleaseDraft {
    /// The set of config vars; the app's newest when none is given. With a release phase it becomes the newest when that
    /// succeeds.
    pub config_version: Option<u64>,
    /// What changed.
    pub description: String,
    /// The code.
    pub slug: Option<SlugId>,
}

/// Adds a release and makes it the wanted one; with a release phase only when that succeeds, and its dyno is asked for
/// here (`runtime.md` section 11). The caller puts the app's row afterwards.
///
/// # Errors
/// `release_phase` while the phase of another release runs; when the rows can not be read or written.
pub fn add_release(tx: &mut Tx, ctx: &Ctx, app: &mut App, draft: ReleaseDraft) -> Result<Release> {
    if let Some(version) = running_phase(tx, app)? {
        let text = format!("The release phase of v{version} is running; try again when it has ended.");
        return Err(Error::conflict(text));
    }
    let slug = draft.slug.map(|slug| tx.get(&tables::SLUGS, &slug)).transpose()?.flatten();
    let phase = slug.and_then(|slug| slug.process_types.get(RELEASE).cloned());
    let release = Release {
        id: Uuid::new_v4().into(),
        app: app.id,
        version: app.next_version,
        status: if phase.is_some() { ReleaseStatus::Pending } else { ReleaseStatus::Succeeded },
        description: draft.description,
        slug: draft.slug,
        config_version: draft.config_version.unwrap_or(app.config_version),
        user: ctx.account().unwrap_or(app.owner),
        output_key: phase.as_ref().map(|_| random_key()).transpose()?,
        created_at: ctx.now,
        updated_at: ctx.now,
    };
    app.next_version += 1;
    if phase.is_none() {
        app.current = Some(release.version);
        app.config_version = release.config_version;
    }
    app.asleep_since = None;
    app.released_at = Some(ctx.now);
    app.updated_at = ctx.now;
    tx.put(&tables::RELEASES, &(app.id, release.version), &release)?;
    tx.put(&tables::RELEASE_BY_ID, &release.id, &(app.id, release.version))?;
    if let Some(slug) = draft.slug {
        formation::follow_slug(tx, ctx, app, slug)?;
    }
    if let Some(command) = phase {
        one_offs::add_phase(tx, ctx, app, release.version, &command)?;
    }
    let body = EventBody::ReleaseCreated { version: release.version };
    tx.event(ctx.now, Some(app.id), ctx.origin(), body)?;
    Ok(release)
}

/// The release whose phase is not over.
///
/// # Errors
/// When the rows can not be read.
pub fn running_phase(rows: &impl ReadRows, app: &App) -> Result<Option<u64>> {
    let Some(newest) = app.next_version.checked_sub(1) else { return Ok(None) };
    let row = rows.get(&tables::RELEASES, &(app.id, newest))?;
    Ok(row.filter(|r| r.status == ReleaseStatus::Pending).map(|r| r.version))
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

    /// The release behind an output address.
    ///
    /// # Errors
    /// `not_found` for a wrong address.
    pub fn release_for_output(&self, id: &str, key: &str) -> Result<Release> {
        let missing = || Error::not_found("release", "Couldn't find that release.");
        let id: ReleaseId = id.parse().map_err(|_| missing())?;
        let at = self.store().get(&tables::RELEASE_BY_ID, &id)?.ok_or_else(missing)?;
        let release = self.store().get(&tables::RELEASES, &at)?.ok_or_else(missing)?;
        let right = release.output_key.as_ref().is_some_and(|known| crate::builds::same(known, key));
        if right { Ok(release) } else { Err(missing()) }
    }

    /// The output of a release phase: what there is and what comes, until the phase is over.
    ///
    /// # Errors
    /// When the row can not be read.
    pub fn phase_output(&self, release: &Release) -> Result<std::sync::Arc<logs::Output>> {
        let (outputs, id) = (self.outputs(), release.id.0);
        let output = outputs.live(id);
        // Looked at afterwards: whoever ends the phase closes the output after its verdict.
        let row = self.store().get(&tables::RELEASES, &(release.app, release.version))?;
        if row.is_some_and(|row| row.status == ReleaseStatus::Pending) {
            return Ok(output);
        }
        outputs.close(id);
        Ok(outputs.read(id))
    }

    /// Makes a new release of the code and config of an older one.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; `invalid_params` for a release that failed or has no code.
    pub async fn rollback(&self, ctx: &Ctx, app: &str, id_or_version: &str) -> Result<(App, Release)> {
        let app = self.app_for(ctx, Action::Deploy, app)?;
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
                let config_version = Some(old.config_version);
                let description = format!("Rollback to v{}", old.version);
                let release = add_release(tx, &ctx2, &mut app, ReleaseDraft { config_version, description, slug: old.slug })?;
                tx.put(&tables::APPS, &id, &app)?;
                Ok((app, release))
            })
            .await?;
        self.log_action(id, ctx, &release.description);
        self.log_action(id, ctx, &format!("Release v{} created", release.version));
        Ok((app, release))
    }
}
