//! What can be done to builds after they were asked for: cancelled, and their cache emptied.

use crate::{Action, Ctx, Error, Result, Service, find_app};
use domain::{Build, BuildId, BuildStatus, EventBody};
use store::{ReadRows, tables};

impl Service {
    /// Ends a build that waits or runs. Its row says so at once; the engine stops what runs of it.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; `conflict` when it has ended.
    pub async fn cancel_build(&self, ctx: &Ctx, app: &str, id: &str) -> Result<Build> {
        let app = self.app_for(ctx, Action::Deploy, app)?;
        let missing = || Error::not_found("build", "Couldn't find that build.");
        let id: BuildId = id.parse().map_err(|_| missing())?;
        let ctx = ctx.clone();
        self.store()
            .commit(move |tx| {
                let mut build = tx.get(&tables::BUILDS, &id)?.filter(|row| row.app == app.id).ok_or_else(missing)?;
                if build.status != BuildStatus::Pending {
                    let text =
                        format!("This build has {} already; only one that waits or runs is cancelled.", build.status.as_str());
                    return Err(Error::conflict(text));
                }
                build.status = BuildStatus::Failed;
                build.failure = Some(format!("Cancelled by {}", ctx.email()));
                build.updated_at = ctx.now;
                tx.put(&tables::BUILDS, &id, &build)?;
                tx.event(ctx.now, Some(app.id), ctx.origin(), EventBody::BuildChanged { build: id })?;
                Ok(build)
            })
            .await
    }

    /// From now on builds start without what earlier ones kept.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn clear_build_cache(&self, ctx: &Ctx, app: &str) -> Result<()> {
        let app = self.app_for(ctx, Action::Deploy, app)?;
        let ctx = ctx.clone();
        self.store()
            .commit(move |tx| {
                find_app(tx, &app.id.to_string())?;
                tx.put(&tables::CACHE_CLEARED, &app.id, &ctx.now)?;
                tx.event(ctx.now, Some(app.id), ctx.origin(), EventBody::BuildCacheCleared)?;
                Ok(())
            })
            .await
    }
}
