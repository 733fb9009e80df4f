//! Builds and slugs: asked for here, carried out by the engine.

use crate::{Action, Ctx, Error, Result, Service, apps::check_buildpacks, auth::random_key};
use domain::{App, AppId, Build, BuildId, BuildStatus, EventBody, Slug, SlugId, SourceBlob};
use std::path::PathBuf;
use store::{ReadRows, tables};
use uuid::Uuid;

/// What a build is asked for with.
#[derive(Debug, Default)]
pub struct NewBuild {
    /// Where the archive is.
    pub source: SourceBlob,
    /// Packs for this build only.
    pub buildpacks: Vec<String>,
    /// A git push has put the archive at [`Service::upload_path`] of this id already.
    pub pushed: Option<BuildId>,
}

/// Builds of one app that may wait or run at once.
const PENDING_MAX: usize = 10;

impl Service {
    /// Asks for a build.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params`; `conflict` when too many builds of the app wait.
    pub async fn create_build(&self, ctx: &Ctx, app: &str, new: NewBuild) -> Result<Build> {
        let app = self.app_for(ctx, Action::Deploy, app)?;
        check_buildpacks(self.store(), ctx, &new.buildpacks)?;
        if new.pushed.is_none() {
            check_source(&new.source)?;
        }
        let build = Build {
            id: new.pushed.unwrap_or_else(|| Uuid::new_v4().into()),
            app: app.id,
            user: ctx.account().unwrap_or(app.owner),
            status: BuildStatus::Pending,
            source: new.source,
            local_source: new.pushed.is_some(),
            buildpacks: new.buildpacks,
            stack: app.stack.clone(),
            slug: None,
            release: None,
            output_key: random_key()?,
            failure: None,
            created_at: ctx.now,
            updated_at: ctx.now,
        };
        // Readers that come before the build runs wait for it instead of finding an end.
        self.outputs().live(build.id.0);
        let (ctx2, row) = (ctx.clone(), build.clone());
        let stored = self
            .store()
            .commit(move |tx| -> Result<()> {
                let mut waiting = 0;
                for id in tx.scan(&tables::BUILD_BY_APP, &row.app)?.iter().rev().take(PENDING_MAX) {
                    waiting += usize::from(tx.get(&tables::BUILDS, id)?.is_some_and(|b| b.status == BuildStatus::Pending));
                }
                if waiting == PENDING_MAX {
                    return Err(Error::conflict(format!(
                        "{PENDING_MAX} builds of this app are waiting already; try again when one has finished."
                    )));
                }
                tx.put(&tables::BUILDS, &row.id, &row)?;
                tx.put(&tables::BUILD_BY_APP, &(row.app, row.created_at.0, row.id), &row.id)?;
                let body = EventBody::BuildCreated { build: row.id };
                tx.event(ctx2.now, Some(row.app), ctx2.origin(), body)?;
                Ok(())
            })
            .await;
        if let Err(e) = stored {
            self.outputs().remove(build.id.0);
            return Err(e);
        }
        self.log_action(app.id, ctx, "Build started");
        Ok(build)
    }

    /// Where the archive of a pushed build lies.
    pub fn upload_path(&self, build: BuildId) -> PathBuf {
        self.parts().upload_dir.join(format!("build-{build}.tar"))
    }

    /// All builds, oldest first.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn builds(&self, ctx: &Ctx, app: &str) -> Result<(App, Vec<Build>)> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let mut builds = Vec::new();
        for id in self.store().scan(&tables::BUILD_BY_APP, &app.id)? {
            builds.extend(self.store().get(&tables::BUILDS, &id)?);
        }
        Ok((app, builds))
    }

    /// One build.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn build(&self, ctx: &Ctx, app: &str, id: &str) -> Result<(App, Build)> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let missing = || Error::not_found("build", "Couldn't find that build.");
        let id: BuildId = id.parse().map_err(|_| missing())?;
        let build = self.store().get(&tables::BUILDS, &id)?.filter(|b| b.app == app.id).ok_or_else(missing)?;
        Ok((app, build))
    }

    /// The build whose output URL carries `key`.
    ///
    /// # Errors
    /// `not_found`, also for a wrong key.
    pub fn build_for_output(&self, id: &str, key: &str) -> Result<Build> {
        let missing = || Error::not_found("build", "Couldn't find that build.");
        let id: BuildId = id.parse().map_err(|_| missing())?;
        let build = self.store().get(&tables::BUILDS, &id)?.ok_or_else(missing)?;
        if same(&build.output_key, key) { Ok(build) } else { Err(missing()) }
    }

    /// One slug.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn slug(&self, ctx: &Ctx, app: &str, id: &str) -> Result<Slug> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let missing = || Error::not_found("slug", "Couldn't find that slug.");
        let id: SlugId = id.parse().map_err(|_| missing())?;
        self.store().get(&tables::SLUGS, &id)?.filter(|s| s.app == app.id).ok_or_else(missing)
    }

    /// File of the slug whose blob URL carries `key`.
    ///
    /// # Errors
    /// `not_found`, also for a wrong key.
    pub fn slug_blob(&self, id: &str, key: &str) -> Result<PathBuf> {
        let missing = || Error::not_found("slug", "Couldn't find that slug.");
        let id: SlugId = id.parse().map_err(|_| missing())?;
        let slug = self.store().get(&tables::SLUGS, &id)?.ok_or_else(missing)?;
        if same(&slug.blob_key, key) { Ok(self.slug_path(slug.app, id)) } else { Err(missing()) }
    }

    /// Where a slug lies.
    pub fn slug_path(&self, app: AppId, id: SlugId) -> PathBuf {
        self.parts().slug_dir.join(app.to_string()).join(format!("{id}.tgz"))
    }
}

/// Compares secrets by their hashes, so that the time taken tells nothing about them.
pub(crate) fn same(a: &str, b: &str) -> bool {
    use ring::digest::{SHA256, digest};
    digest(&SHA256, a.as_bytes()).as_ref() == digest(&SHA256, b.as_bytes()).as_ref()
}

fn check_source(source: &SourceBlob) -> Result<()> {
    let web = source.url.starts_with("http://") || source.url.starts_with("https://");
    if !web || source.url.len() > 4096 || source.url.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(Error::invalid("source_blob.url must be an http or https URL of a tar.gz; make one with POST /sources."));
    }
    let good =
        |c: &String| c.strip_prefix("SHA256:").is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if source.checksum.as_ref().is_some_and(|c| !good(c)) {
        return Err(Error::invalid("source_blob.checksum must be SHA256: and 64 hexadecimal digits."));
    }
    Ok(())
}
