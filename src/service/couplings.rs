//! Which app is what stage of which pipeline. An app has one place at most. Who may change it: see `pipelines.rs`.

use crate::{Action, Ctx, Error, On, Result, Service, access, find_app, pipelines};
use domain::{App, AppId, Coupling, EventBody, PipelineId, Stage, TeamId};
use store::{ReadRows, Tx, tables};
use uuid::Uuid;

/// Apps of one pipeline.
const APPS_MAX: usize = 200;

/// Couplings of a pipeline.
pub(crate) fn of(rows: &impl ReadRows, pipeline: PipelineId) -> Result<Vec<Coupling>> {
    // The key has the app, the row nothing: so the apps come from the main table.
    let mut found = rows.scan(&tables::COUPLINGS, &())?;
    found.retain(|coupling| coupling.pipeline == pipeline);
    Ok(found)
}

/// Apps of a pipeline.
pub(crate) fn apps_of(rows: &impl ReadRows, pipeline: PipelineId) -> Result<Vec<App>> {
    of(rows, pipeline)?.iter().map(|coupling| find_app(rows, &coupling.app.to_string())).collect()
}

/// Takes an app out of its pipeline, if it has one. The caller appends the event.
pub(crate) fn remove(tx: &mut Tx, app: AppId) {
    tx.delete(&tables::COUPLINGS, &app);
}

/// Puts an app into a pipeline, in the transaction of whoever asks.
pub(crate) fn add(tx: &mut Tx, ctx: &Ctx, app: AppId, pipeline: PipelineId, stage: Stage) -> Result<Coupling> {
    let app = find_app(tx, &app.to_string())?;
    let pipeline = pipelines::find(tx, &pipeline.to_string())?;
    if tx.get(&tables::COUPLINGS, &app.id)?.is_some() {
        return Err(Error::invalid(format!("App {} is in a pipeline already; take it out with pipelines:remove.", app.name)));
    }
    if of(tx, pipeline.id)?.len() >= APPS_MAX {
        return Err(Error::invalid(format!("A pipeline has at most {APPS_MAX} apps.")));
    }
    let coupling =
        Coupling { id: Uuid::new_v4(), app: app.id, pipeline: pipeline.id, stage, created_at: ctx.now, updated_at: ctx.now };
    tx.put(&tables::COUPLINGS, &app.id, &coupling)?;
    tx.event(ctx.now, Some(app.id), ctx.origin(), EventBody::CouplingChanged { pipeline: pipeline.id })?;
    Ok(coupling)
}

impl Service {
    /// Puts an app into a pipeline.
    ///
    /// # Errors
    /// `not_found`, `forbidden`; `invalid_params` for an app that is in one already.
    pub async fn create_coupling(&self, ctx: &Ctx, app: &str, pipeline: &str, stage: Stage) -> Result<Coupling> {
        let app = self.app_for(ctx, Action::Write, app)?.id;
        let pipeline = self.pipeline_for(ctx, Action::Write, pipeline)?.id;
        let ctx = ctx.clone();
        self.store().commit(move |tx| add(tx, &ctx, app, pipeline, stage)).await
    }

    /// Couplings of apps that the actor may see: of all, of one pipeline, or of the apps of a team.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn couplings(&self, ctx: &Ctx, pipeline: Option<&str>, team: Option<&str>) -> Result<Vec<Coupling>> {
        let pipeline = pipeline.map(|id| self.pipeline_for(ctx, Action::Read, id)).transpose()?;
        let team = team.map(|team| self.team_id(ctx, team)).transpose()?;
        let mut seen = Vec::new();
        for coupling in self.store().scan(&tables::COUPLINGS, &())? {
            // Whoever sees the pipeline sees that there is an app, and what stage it is.
            let wanted = match &pipeline {
                Some(pipeline) => coupling.pipeline == pipeline.id,
                None => {
                    let app = find_app(self.store(), &coupling.app.to_string())?;
                    team.is_none_or(|team| app.team == Some(team))
                        && access::may(self.store(), ctx, Action::Read, On::App(&app))?
                }
            };
            seen.extend(wanted.then_some(coupling));
        }
        Ok(seen)
    }

    fn team_id(&self, ctx: &Ctx, id_or_name: &str) -> Result<TeamId> {
        let missing = || Error::not_found("team", "Couldn't find that team.");
        let id = match id_or_name.parse::<TeamId>() {
            Ok(id) => id,
            Err(_) => self.store().get(&tables::TEAM_BY_NAME, &id_or_name.to_string())?.ok_or_else(missing)?,
        };
        access::check(self.store(), ctx, Action::Read, On::Team(id))?;
        Ok(id)
    }

    /// The place of an app.
    ///
    /// # Errors
    /// `not_found` also for an app that is in no pipeline; `forbidden`.
    pub fn coupling_of(&self, ctx: &Ctx, app: &str) -> Result<Coupling> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let found = self.store().get(&tables::COUPLINGS, &app.id)?;
        found.ok_or_else(|| Error::not_found("pipeline_coupling", "Couldn't find that pipeline coupling."))
    }

    /// One coupling by its id.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn coupling(&self, ctx: &Ctx, id: &str) -> Result<Coupling> {
        let coupling = self.coupling_by_id(id)?;
        let app = find_app(self.store(), &coupling.app.to_string())?;
        access::check(self.store(), ctx, Action::Read, On::App(&app))?;
        Ok(coupling)
    }

    fn coupling_by_id(&self, id: &str) -> Result<Coupling> {
        let all = self.store().scan(&tables::COUPLINGS, &())?;
        let found = all.into_iter().find(|coupling| coupling.id.to_string() == id);
        found.ok_or_else(|| Error::not_found("pipeline_coupling", "Couldn't find that pipeline coupling."))
    }

    /// Makes an app another stage (`Some`), or takes it out of its pipeline (`None`).
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn change_coupling(&self, ctx: &Ctx, id: &str, stage: Option<Stage>) -> Result<Coupling> {
        let coupling = self.coupling_by_id(id)?;
        self.app_for(ctx, Action::Write, &coupling.app.to_string())?;
        let ctx = ctx.clone();
        let work = move |tx: &mut Tx| {
            let current = tx.get(&tables::COUPLINGS, &coupling.app)?.filter(|row| row.id == coupling.id);
            let missing = || Error::not_found("pipeline_coupling", "Couldn't find that pipeline coupling.");
            let mut row = current.ok_or_else(missing)?;
            match stage {
                Some(stage) => {
                    row.stage = stage;
                    row.updated_at = ctx.now;
                    tx.put(&tables::COUPLINGS, &row.app, &row)?;
                }
                None => remove(tx, row.app),
            }
            let body = EventBody::CouplingChanged { pipeline: row.pipeline };
            tx.event(ctx.now, Some(row.app), ctx.origin(), body)?;
            Ok(row)
        };
        self.store().commit(work).await
    }

    /// Those of these apps, by id or name, that there are and that the actor may see (`POST /filters/apps`).
    ///
    /// # Errors
    /// When the store can not be read.
    pub fn apps_by_id(&self, ctx: &Ctx, ids: &[String]) -> Result<Vec<App>> {
        let mut apps = self.apps(ctx)?;
        apps.retain(|app| ids.iter().any(|id| *id == app.id.to_string() || *id == app.name));
        Ok(apps)
    }
}
