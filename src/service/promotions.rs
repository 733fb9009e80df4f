//! Promotions: the code of one app becomes a release of others of its pipeline. Asked for here, carried out by the engine.
//! Needed: to see the source, and to deploy to each target.

use crate::{Action, Ctx, Error, Result, Service, couplings, find_app};
use domain::{
    App, EventBody, Origin, Promotion, Release, ReleaseStatus, UnixMs,
    pipeline::{Target, TargetStatus},
};
use store::{ReadRows, Tx, tables};
use uuid::Uuid;

/// What `POST /pipeline-promotions` takes. Apps by id or name.
#[derive(Clone, Debug)]
pub struct NewPromotion {
    /// Where it happens.
    pub pipeline: String,
    /// Whose code.
    pub source: String,
    /// Id or version; `None` for what is current.
    pub release: Option<String>,
    /// Who gets it.
    pub targets: Vec<String>,
}

/// Promotions that are kept of a pipeline.
const KEPT: usize = 100;

/// One target is over, well (`None`) or not. Nothing happens when it is so already.
///
/// # Errors
/// When the row can not be read or written.
pub fn finish_target(tx: &mut Tx, now: UnixMs, promotion: Uuid, target: Uuid, error: Option<String>) -> Result<()> {
    let Some(mut row) = tx.get(&tables::PROMOTIONS, &promotion)? else { return Ok(()) };
    let Some(open) = row.targets.iter_mut().find(|t| t.id == target && t.status == TargetStatus::Pending) else {
        return Ok(());
    };
    open.status = if error.is_some() { TargetStatus::Failed } else { TargetStatus::Succeeded };
    open.error = error;
    row.updated_at = now;
    tx.put(&tables::PROMOTIONS, &promotion, &row)?;
    tx.event(now, Some(row.source), Origin::default(), EventBody::PromotionChanged { promotion })?;
    Ok(())
}

impl Service {
    fn source_release(&self, ctx: &Ctx, app: &App, wanted: Option<&str>) -> Result<Release> {
        let nothing = || Error::invalid(format!("App {} has no code to promote; deploy to it first.", app.name));
        let release = match wanted {
            Some(wanted) => self.release(ctx, &app.id.to_string(), wanted)?.1,
            None => {
                let version = app.current.ok_or_else(nothing)?;
                self.store().get(&tables::RELEASES, &(app.id, version))?.ok_or_else(nothing)?
            }
        };
        if release.slug.is_none() {
            return Err(nothing());
        }
        if release.status != ReleaseStatus::Succeeded {
            return Err(Error::invalid(format!(
                "Release v{} of {} did not succeed; choose another.",
                release.version, app.name
            )));
        }
        Ok(release)
    }

    /// Asks for a promotion.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; `invalid_params` when an app is not in the pipeline, or there is no code.
    pub async fn promote(&self, ctx: &Ctx, new: NewPromotion) -> Result<Promotion> {
        let pipeline = self.pipeline_for(ctx, Action::Read, &new.pipeline)?;
        let source = self.app_for(ctx, Action::Read, &new.source)?;
        let members: Vec<_> = couplings::of(self.store(), pipeline.id)?.into_iter().map(|c| c.app).collect();
        let mut targets: Vec<Target> = Vec::new();
        for app in &new.targets {
            let app = self.app_for(ctx, Action::Deploy, app)?;
            if app.id == source.id {
                return Err(Error::invalid(format!("App {} can not be promoted to itself.", app.name)));
            }
            if !members.contains(&app.id) {
                return Err(Error::invalid(format!("App {} is not in the pipeline {}.", app.name, pipeline.name)));
            }
            if targets.iter().all(|target| target.app != app.id) {
                let id = Uuid::new_v4();
                targets.push(Target { id, app: app.id, status: TargetStatus::Pending, release: None, error: None });
            }
        }
        if targets.is_empty() {
            return Err(Error::invalid("A promotion needs at least one target."));
        }
        if !members.contains(&source.id) {
            return Err(Error::invalid(format!("App {} is not in the pipeline {}.", source.name, pipeline.name)));
        }
        let release = self.source_release(ctx, &source, new.release.as_deref())?;
        let promotion = Promotion {
            id: Uuid::new_v4(),
            pipeline: pipeline.id,
            source: source.id,
            release: (release.id, release.version),
            user: ctx.account().unwrap_or(source.owner),
            targets,
            created_at: ctx.now,
            updated_at: ctx.now,
        };
        let (ctx, row) = (ctx.clone(), promotion.clone());
        let work = move |tx: &mut Tx| -> Result<()> {
            find_app(tx, &row.source.to_string())?;
            forget_old(tx, &row)?;
            tx.put(&tables::PROMOTIONS, &row.id, &row)?;
            tx.event(ctx.now, Some(row.source), ctx.origin(), EventBody::PromotionCreated { promotion: row.id })?;
            Ok(())
        };
        self.store().commit(work).await?;
        Ok(promotion)
    }

    /// One promotion.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn promotion(&self, ctx: &Ctx, id: &str) -> Result<Promotion> {
        let missing = || Error::not_found("pipeline_promotion", "Couldn't find that pipeline promotion.");
        let id = domain::ids::parse_uuid(id).map_err(|_| missing())?;
        let promotion = self.store().get(&tables::PROMOTIONS, &id)?.ok_or_else(missing)?;
        self.pipeline_for(ctx, Action::Read, &promotion.pipeline.to_string())?;
        Ok(promotion)
    }
}

/// Makes room for one more of the pipeline.
fn forget_old(tx: &mut Tx, new: &Promotion) -> Result<()> {
    let mut all = tx.scan(&tables::PROMOTIONS, &())?;
    all.retain(|p| p.pipeline == new.pipeline);
    all.sort_by_key(|p| p.created_at);
    let over = (all.len() + 1).saturating_sub(KEPT);
    let done = all.iter().filter(|p| p.status() != "pending").take(over);
    done.for_each(|p| tx.delete(&tables::PROMOTIONS, &p.id));
    Ok(())
}
