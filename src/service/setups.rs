//! App setups: asked for here, carried out by the engine. Whoever may make an app may set one up; who sees the app sees the
//! setup.

use crate::{
    Action, Ctx, Error, NewApp, Result, Service, access, apps::check_buildpacks, builds::check_source, config, couplings,
    find_app,
};
use domain::{
    Build, EventBody, Setup, SourceBlob, Stage, names,
    setup::{Plan, SetupStatus, Step},
};
use store::{ReadRows, Sealer, Tx, tables, tables::SealedChunk};
use uuid::Uuid;

/// What `POST /app-setups` takes.
#[derive(Debug, Default)]
pub struct NewSetup {
    /// The app.
    pub app: NewApp,
    /// Where the archive is.
    pub source: SourceBlob,
    /// Config vars that win over those of `app.json`.
    pub env: config::Config,
    /// Buildpacks instead of those of `app.json`.
    pub buildpacks: Option<Vec<String>>,
    /// The pipeline that the app comes to, and as what.
    pub coupling: Option<(String, Stage)>,
}

/// Setups that are kept.
const KEPT: usize = 1000;

fn context(setup: Uuid) -> Vec<u8> {
    format!("setup {setup}").into_bytes()
}

/// Config vars that came with the call.
///
/// # Errors
/// When they do not open.
pub fn read_setup_env(sealer: &Sealer, setup: &Setup) -> Result<config::Config> {
    let chunks: Vec<SealedChunk> = setup.env.iter().cloned().map(SealedChunk).collect();
    let plain = sealer.open(&context(setup.id), &chunks)?;
    serde_json::from_slice(&plain).map_err(|e| Error::internal(format!("environment of setup {}: {e}", setup.id)))
}

impl Service {
    /// Makes the app and asks for its setup.
    ///
    /// # Errors
    /// `forbidden`, `not_found` for a pipeline, `invalid_params`.
    pub async fn create_setup(&self, ctx: &Ctx, new: NewSetup) -> Result<Setup> {
        match &new.app.team {
            Some(team) => drop(self.team_for(ctx, Action::Create, team)?),
            None => access::check(self.store(), ctx, Action::Create, crate::On::Platform)?,
        }
        check_source(&new.source)?;
        check_buildpacks(self.store(), ctx, new.buildpacks.as_deref().unwrap_or_default())?;
        for (key, value) in &new.env {
            names::check_config_key(key).map_err(Error::invalid)?;
            if value.contains('\0') {
                return Err(Error::invalid(format!("Value of {key} has a NUL character.")));
            }
        }
        config::check_size(&new.env)?;
        let coupling = match new.coupling {
            Some((pipeline, stage)) => Some((self.pipeline_for(ctx, Action::Write, &pipeline)?.id, stage)),
            None => None,
        };
        let app = self.create_app(ctx, new.app).await?;
        let id = Uuid::new_v4();
        let plain = serde_json::to_vec(&new.env).map_err(|e| Error::internal(e.to_string()))?;
        let env = self.parts().sealer.seal(&context(id), &plain)?.into_iter().map(|chunk| chunk.0).collect();
        let setup = Setup {
            id,
            app: app.id,
            app_name: app.name,
            user: ctx.account().unwrap_or(app.owner),
            source: new.source,
            env,
            buildpacks: new.buildpacks,
            step: Step::Configure,
            plan: Plan::default(),
            build: None,
            dyno: None,
            postdeploy: None,
            status: SetupStatus::Pending,
            failure: None,
            manifest_errors: Vec::new(),
            created_at: ctx.now,
            updated_at: ctx.now,
        };
        let (ctx, row) = (ctx.clone(), setup.clone());
        let work = move |tx: &mut Tx| -> Result<()> {
            forget_old(tx)?;
            if let Some((pipeline, stage)) = coupling {
                couplings::add(tx, &ctx, row.app, pipeline, stage)?;
            }
            tx.put(&tables::SETUPS, &row.id, &row)?;
            tx.event(ctx.now, Some(row.app), ctx.origin(), EventBody::SetupCreated { setup: row.id })?;
            Ok(())
        };
        self.store().commit(work).await?;
        Ok(setup)
    }

    /// One setup with its build. Whoever asked for it sees it also when the app is gone.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn setup(&self, ctx: &Ctx, id: &str) -> Result<(Setup, Option<Build>)> {
        let missing = || Error::not_found("app_setup", "Couldn't find that app setup.");
        let id = domain::ids::parse_uuid(id).map_err(|_| missing())?;
        let setup = self.store().get(&tables::SETUPS, &id)?.ok_or_else(missing)?;
        match find_app(self.store(), &setup.app.to_string()) {
            Ok(app) => access::check(self.store(), ctx, Action::Read, crate::On::App(&app))?,
            Err(_) if ctx.account() == Some(setup.user) => {}
            Err(_) => return Err(missing()),
        }
        let build = setup.build.map(|build| self.store().get(&tables::BUILDS, &build)).transpose()?.flatten();
        Ok((setup, build))
    }
}

fn forget_old(tx: &mut Tx) -> Result<()> {
    let mut all = tx.scan(&tables::SETUPS, &())?;
    all.sort_by_key(|setup| setup.created_at);
    let over = (all.len() + 1).saturating_sub(KEPT);
    for old in all.iter().filter(|setup| setup.status != SetupStatus::Pending).take(over) {
        tx.delete(&tables::SETUPS, &old.id);
    }
    Ok(())
}
