//! Pipelines.
//!
//! Who sees a pipeline: its owner, members of the team that owns it, and whoever may see one of its apps. Who adds, moves
//! and removes apps: the owner, members of the team, and whoever may change one of its apps; and in any case only apps that
//! the person may change. Config vars of stages: owner and members of the team. Name, owner and end: the owner, and admins
//! of the team. The gate has this rule ([`crate::On::Pipeline`]).

use crate::{Action, Ctx, Error, On, Result, Service, access, config, couplings, find_app};
use domain::{
    AccountId, App, Build, EventBody, Pipeline, PipelineId, Release, Stage, TeamId, names,
    pipeline::{Owner, check_name},
};
use std::collections::BTreeMap;
use store::{ReadRows, Sealer, Tx, tables};
use uuid::Uuid;

/// An owner as requests name it.
#[derive(Clone, Debug)]
pub struct OwnerRef {
    /// Id; for a team its name is good, too, and for a person the e-mail.
    pub id: String,
    /// `user` or `team`.
    pub kind: String,
}

/// What `POST /pipelines` takes.
#[derive(Clone, Debug)]
pub struct NewPipeline {
    /// Its name.
    pub name: String,
    /// `None` for the actor.
    pub owner: Option<OwnerRef>,
}

/// A pipeline by id or by name.
pub(crate) fn find(rows: &impl ReadRows, id_or_name: &str) -> Result<Pipeline> {
    let missing = || Error::not_found("pipeline", "Couldn't find that pipeline.");
    let id = match id_or_name.parse::<PipelineId>() {
        Ok(id) => id,
        Err(_) => rows.get(&tables::PIPELINE_BY_NAME, &id_or_name.to_string())?.ok_or_else(missing)?,
    };
    rows.get(&tables::PIPELINES, &id)?.ok_or_else(missing)
}

fn owner_of(rows: &impl ReadRows, owner: &OwnerRef) -> Result<Owner> {
    match owner.kind.as_str() {
        "user" => {
            let missing = || Error::not_found("user", "Couldn't find that user.");
            let id = match owner.id.parse::<AccountId>() {
                Ok(id) => id,
                Err(_) => rows.get(&tables::ACCOUNT_BY_EMAIL, &owner.id.to_lowercase())?.ok_or_else(missing)?,
            };
            rows.get(&tables::ACCOUNTS, &id)?.map(|account| Owner::User(account.id)).ok_or_else(missing)
        }
        "team" => {
            let missing = || Error::not_found("team", "Couldn't find that team.");
            let id = match owner.id.parse::<TeamId>() {
                Ok(id) => id,
                Err(_) => rows.get(&tables::TEAM_BY_NAME, &owner.id)?.ok_or_else(missing)?,
            };
            rows.get(&tables::TEAMS, &id)?.map(|team| Owner::Team(team.id)).ok_or_else(missing)
        }
        other => Err(Error::invalid(format!("owner.type {other:?} is not possible; there is user and team."))),
    }
}

fn take_name(tx: &mut Tx, name: &str, id: PipelineId) -> Result<()> {
    if tx.get(&tables::PIPELINE_BY_NAME, &name.to_string())?.is_some() {
        return Err(Error::invalid(format!("Name {name} is already taken")));
    }
    tx.put(&tables::PIPELINE_BY_NAME, &name.to_string(), &id)?;
    Ok(())
}

/// Writes the row and the event.
fn put(tx: &mut Tx, ctx: &Ctx, pipeline: &mut Pipeline) -> Result<()> {
    pipeline.updated_at = ctx.now;
    tx.put(&tables::PIPELINES, &pipeline.id, pipeline)?;
    tx.event(ctx.now, None, ctx.origin(), EventBody::PipelineChanged { pipeline: pipeline.id })?;
    Ok(())
}

/// Names of the pipelines that somebody, or a team, owns.
pub(crate) fn names_of(rows: &impl ReadRows, owner: Owner) -> Result<Vec<String>> {
    let all = rows.scan(&tables::PIPELINES, &())?;
    Ok(all.into_iter().filter(|pipeline| pipeline.owner == owner).map(|pipeline| pipeline.name).collect())
}

impl Service {
    /// A pipeline by id or name, if the actor may do `action` with it.
    pub(crate) fn pipeline_for(&self, ctx: &Ctx, action: Action, id_or_name: &str) -> Result<Pipeline> {
        let pipeline = find(self.store(), id_or_name)?;
        access::check(self.store(), ctx, action, On::Pipeline(&pipeline))?;
        Ok(pipeline)
    }

    /// Makes a pipeline without apps.
    ///
    /// # Errors
    /// `invalid_params` for the name or when it is taken; `forbidden` for an owner that the actor may not speak for.
    pub async fn create_pipeline(&self, ctx: &Ctx, new: NewPipeline) -> Result<Pipeline> {
        access::check(self.store(), ctx, Action::Create, On::Platform)?;
        check_name(&new.name).map_err(Error::invalid)?;
        let own = ctx.account().ok_or_else(|| Error::forbidden("A pipeline needs an owner; sign in."))?;
        let owner = new.owner.map_or(Ok(Owner::User(own)), |owner| owner_of(self.store(), &owner))?;
        match owner {
            Owner::User(other) if other != own => {
                return Err(Error::forbidden("Make the pipeline for yourself, then hand it over with pipelines:transfer."));
            }
            Owner::User(_) => {}
            Owner::Team(team) => access::check(self.store(), ctx, Action::Create, On::Team(team))?,
        }
        let ctx = ctx.clone();
        let work = move |tx: &mut Tx| {
            let id: PipelineId = Uuid::new_v4().into();
            take_name(tx, &new.name, id)?;
            let mut pipeline = Pipeline { id, name: new.name, owner, created_at: ctx.now, updated_at: ctx.now };
            put(tx, &ctx, &mut pipeline)?;
            Ok(pipeline)
        };
        self.store().commit(work).await
    }

    /// Pipelines that the actor may see, by name; only that of `name`, when one is given.
    ///
    /// # Errors
    /// When the store can not be read.
    pub fn pipelines(&self, ctx: &Ctx, name: Option<&str>) -> Result<Vec<Pipeline>> {
        let mut seen = Vec::new();
        for pipeline in self.store().scan(&tables::PIPELINES, &())? {
            let wanted = name.is_none_or(|name| name == pipeline.name);
            if wanted && access::may(self.store(), ctx, Action::Read, On::Pipeline(&pipeline))? {
                seen.push(pipeline);
            }
        }
        seen.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(seen)
    }

    /// Name of a pipeline, for showing; empty when it is gone.
    ///
    /// # Errors
    /// When the store can not be read.
    pub fn pipeline_name(&self, id: PipelineId) -> Result<String> {
        Ok(self.store().get(&tables::PIPELINES, &id)?.map(|pipeline| pipeline.name).unwrap_or_default())
    }

    /// One pipeline.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn pipeline(&self, ctx: &Ctx, id_or_name: &str) -> Result<Pipeline> {
        self.pipeline_for(ctx, Action::Read, id_or_name)
    }

    /// Gives a pipeline another name.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params`.
    pub async fn rename_pipeline(&self, ctx: &Ctx, id_or_name: &str, name: String) -> Result<Pipeline> {
        let id = self.pipeline_for(ctx, Action::Manage, id_or_name)?.id;
        check_name(&name).map_err(Error::invalid)?;
        let ctx = ctx.clone();
        let work = move |tx: &mut Tx| {
            let mut pipeline = find(tx, &id.to_string())?;
            if pipeline.name != name {
                take_name(tx, &name, id)?;
                tx.delete(&tables::PIPELINE_BY_NAME, &pipeline.name);
                pipeline.name = name;
                put(tx, &ctx, &mut pipeline)?;
            }
            Ok(pipeline)
        };
        self.store().commit(work).await
    }

    /// Removes a pipeline; its apps stay, without one.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn destroy_pipeline(&self, ctx: &Ctx, id_or_name: &str) -> Result<Pipeline> {
        let id = self.pipeline_for(ctx, Action::Manage, id_or_name)?.id;
        let ctx = ctx.clone();
        let work = move |tx: &mut Tx| {
            let pipeline = find(tx, &id.to_string())?;
            for coupling in couplings::of(tx, id)? {
                couplings::remove(tx, coupling.app);
            }
            for promotion in tx.scan(&tables::PROMOTIONS, &())?.into_iter().filter(|p| p.pipeline == id) {
                tx.delete(&tables::PROMOTIONS, &promotion.id);
            }
            tx.delete_all(&tables::STAGE_CONFIG, &id)?;
            tx.delete(&tables::PIPELINE_BY_NAME, &pipeline.name);
            tx.delete(&tables::PIPELINES, &id);
            tx.event(ctx.now, None, ctx.origin(), EventBody::PipelineChanged { pipeline: id })?;
            Ok(pipeline)
        };
        self.store().commit(work).await
    }

    /// Hands a pipeline over. Its apps stay whose they are. Answers the owner before, too.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params`.
    pub async fn transfer_pipeline(&self, ctx: &Ctx, id_or_name: &str, to: OwnerRef) -> Result<(Pipeline, Owner)> {
        let id = self.pipeline_for(ctx, Action::Manage, id_or_name)?.id;
        let owner = owner_of(self.store(), &to)?;
        if let Owner::Team(team) = owner {
            access::check(self.store(), ctx, Action::Create, On::Team(team))?;
        }
        let ctx = ctx.clone();
        let work = move |tx: &mut Tx| {
            let mut pipeline = find(tx, &id.to_string())?;
            let before = std::mem::replace(&mut pipeline.owner, owner);
            put(tx, &ctx, &mut pipeline)?;
            Ok((pipeline, before))
        };
        self.store().commit(work).await
    }

    /// Apps of a pipeline that the actor may see, the last stage first.
    pub(crate) fn apps_seen(&self, ctx: &Ctx, pipeline: &Pipeline) -> Result<Vec<App>> {
        let mut all = couplings::of(self.store(), pipeline.id)?;
        all.sort_by_key(|coupling| std::cmp::Reverse(coupling.stage));
        let mut seen = Vec::new();
        for coupling in all {
            let app = find_app(self.store(), &coupling.app.to_string())?;
            if access::may(self.store(), ctx, Action::Read, On::App(&app))? {
                seen.push(app);
            }
        }
        Ok(seen)
    }

    /// The newest release of each app of a pipeline; with `deployments` the newest that has code.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn latest_releases(&self, ctx: &Ctx, pipeline: &str, deployments: bool) -> Result<Vec<(App, Release)>> {
        let pipeline = self.pipeline_for(ctx, Action::Read, pipeline)?;
        let mut found = Vec::new();
        for app in self.apps_seen(ctx, &pipeline)? {
            let releases = self.store().scan(&tables::RELEASES, &app.id)?;
            let newest = releases.into_iter().rev().find(|release| !deployments || release.slug.is_some());
            found.extend(newest.map(|release| (app, release)));
        }
        Ok(found)
    }

    /// The newest build of each app of a pipeline.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn latest_builds(&self, ctx: &Ctx, pipeline: &str) -> Result<Vec<Build>> {
        let pipeline = self.pipeline_for(ctx, Action::Read, pipeline)?;
        let mut found = Vec::new();
        for app in self.apps_seen(ctx, &pipeline)? {
            if let Some(id) = self.store().scan(&tables::BUILD_BY_APP, &app.id)?.last() {
                found.extend(self.store().get(&tables::BUILDS, id)?);
            }
        }
        Ok(found)
    }

    /// The stack for what has none of its own: that of the last stage. `None` without apps.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn pipeline_stack(&self, ctx: &Ctx, pipeline: &str) -> Result<Option<String>> {
        let pipeline = self.pipeline_for(ctx, Action::Read, pipeline)?;
        Ok(self.apps_seen(ctx, &pipeline)?.into_iter().next().map(|app| app.stack))
    }

    /// Config vars that apps of a stage start with.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn stage_config(&self, ctx: &Ctx, pipeline: &str, stage: Stage) -> Result<config::Config> {
        let pipeline = self.pipeline_for(ctx, Action::ReadSecrets, pipeline)?;
        read_stage(self.store(), &self.parts().sealer, pipeline.id, stage)
    }

    /// Sets (`Some`) and removes (`None`) config vars of a stage. Answers the whole set.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params`.
    pub async fn change_stage_config(
        &self,
        ctx: &Ctx,
        pipeline: &str,
        stage: Stage,
        change: BTreeMap<String, Option<String>>,
    ) -> Result<config::Config> {
        let id = self.pipeline_for(ctx, Action::WriteSecrets, pipeline)?.id;
        for (key, value) in &change {
            names::check_config_key(key).map_err(Error::invalid)?;
            if value.as_ref().is_some_and(|v| v.contains('\0')) {
                return Err(Error::invalid(format!("Value of {key} has a NUL character.")));
            }
        }
        let (ctx, sealer) = (ctx.clone(), self.parts().sealer.clone());
        let work = move |tx: &mut Tx| {
            find(tx, &id.to_string())?;
            let mut config = read_stage(tx, &sealer, id, stage)?;
            for (key, value) in change {
                match value {
                    Some(value) => config.insert(key, value),
                    None => config.remove(&key),
                };
            }
            config::check_size(&config)?;
            let plain = serde_json::to_vec(&config).map_err(|e| Error::internal(e.to_string()))?;
            tx.delete_all(&tables::STAGE_CONFIG, &(id, stage.number()))?;
            for (index, chunk) in (0u32..).zip(sealer.seal(&context(id, stage), &plain)?) {
                tx.put(&tables::STAGE_CONFIG, &(id, stage.number(), index), &chunk)?;
            }
            tx.event(ctx.now, None, ctx.origin(), EventBody::PipelineChanged { pipeline: id })?;
            Ok(config)
        };
        self.store().commit(work).await
    }
}

fn context(pipeline: PipelineId, stage: Stage) -> Vec<u8> {
    format!("stage config {pipeline} {}", stage.as_str()).into_bytes()
}

fn read_stage(rows: &impl ReadRows, sealer: &Sealer, pipeline: PipelineId, stage: Stage) -> Result<config::Config> {
    let chunks = rows.scan(&tables::STAGE_CONFIG, &(pipeline, stage.number()))?;
    if chunks.is_empty() {
        return Ok(config::Config::new());
    }
    let plain = sealer.open(&context(pipeline, stage), &chunks)?;
    serde_json::from_slice(&plain).map_err(|e| Error::internal(format!("stage config of {pipeline}: {e}")))
}
