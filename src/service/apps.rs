//! Apps.

use crate::{
    Action, Ctx, Error, On, ReleaseDraft, Result, Service, access, add_release, config::write_config, find_app, tokens,
};
use domain::{App, AppId, EventBody, app::HOST_STACK, names};
use std::collections::BTreeMap;
use store::{ReadRows, Tx, tables};
use uuid::Uuid;

/// What `POST /apps` takes.
#[derive(Debug, Default)]
pub struct NewApp {
    /// `None` to have one made.
    pub name: Option<String>,
    /// `None` for the default.
    pub stack: Option<String>,
    /// The team that gets it, by id or name; `None` for the maker's own.
    pub team: Option<String>,
    /// Only members of the team who join may work on it.
    pub locked: bool,
}

/// What `PATCH /apps/A` takes; `None` leaves a part as it is.
#[derive(Debug, Default)]
pub struct AppChange {
    /// New name.
    pub name: Option<String>,
    /// Answer 503 to visitors.
    pub maintenance: Option<bool>,
    /// New stack.
    pub stack: Option<String>,
    /// New list of buildpacks.
    pub buildpacks: Option<Vec<String>>,
}
/// Tries to find a free generated name.
const NAME_TRIES: u32 = 20;
const BUILDPACKS_MAX: usize = 20;
const BUILDPACK_BYTES_MAX: usize = 1024;

impl Service {
    /// Makes an app with its first two releases.
    ///
    /// # Errors
    /// `invalid_params` for the name or stack, or when the name is taken.
    pub async fn create_app(&self, ctx: &Ctx, new: NewApp) -> Result<App> {
        let team = match &new.team {
            Some(team) => Some(self.team_for(ctx, Action::Create, team)?.id),
            None => {
                access::check(self.store(), ctx, Action::Create, On::Platform)?;
                None
            }
        };
        if let Some(name) = &new.name {
            names::check_app_name(name).map_err(Error::invalid)?;
        }
        self.check_stack(new.stack.as_deref())?;
        let (ctx2, sealer) = (ctx.clone(), self.parts().sealer.clone());
        let app = self
            .store()
            .commit(move |tx| {
                let name = match new.name {
                    Some(name) if tx.get(&tables::APP_BY_NAME, &name)?.is_some() => {
                        return Err(Error::invalid(format!("Name {name} is already taken")));
                    }
                    Some(name) => name,
                    None => free_name(tx)?,
                };
                let mut app = blank_app(&ctx2, name)?;
                app.stack = new.stack.unwrap_or(app.stack);
                (app.team, app.locked) = (team, new.locked && team.is_some());
                write_config(tx, &sealer, app.id, 0, &BTreeMap::new())?;
                tx.put(&tables::APP_BY_NAME, &app.name, &app.id)?;
                tx.event(ctx2.now, Some(app.id), ctx2.origin(), EventBody::AppCreated)?;
                for description in ["Initial release", "Enable Logplex"] {
                    add_release(
                        tx,
                        &ctx2,
                        &mut app,
                        ReleaseDraft { config_version: None, description: description.into(), slug: None },
                    )?;
                }
                tx.put(&tables::APPS, &app.id, &app)?;
                Ok(app)
            })
            .await?;
        Ok(app)
    }

    /// Apps that the actor may see, by name.
    ///
    /// # Errors
    /// When the store can not be read.
    pub fn apps(&self, ctx: &Ctx) -> Result<Vec<App>> {
        let mut apps = self.store().scan(&tables::APPS, &())?;
        let mut seen = Vec::with_capacity(apps.len());
        for app in apps.drain(..) {
            if access::may(self.store(), ctx, Action::Read, On::App(&app))? {
                seen.push(app);
            }
        }
        let mut apps = seen;
        apps.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(apps)
    }

    /// One app.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn app(&self, ctx: &Ctx, app: &str) -> Result<App> {
        self.app_for(ctx, Action::Read, app)
    }

    /// One app that the actor may deploy to.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn app_to_deploy(&self, ctx: &Ctx, app: &str) -> Result<App> {
        self.app_for(ctx, Action::Deploy, app)
    }

    /// Changes an app.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params`.
    pub async fn update_app(&self, ctx: &Ctx, app: &str, change: AppChange) -> Result<App> {
        let renames = change.name.is_some();
        let app = self.app_for(ctx, if renames { Action::Manage } else { Action::Write }, app)?;
        if let Some(name) = &change.name {
            names::check_app_name(name).map_err(Error::invalid)?;
        }
        self.check_stack(change.stack.as_deref())?;
        if let Some(packs) = &change.buildpacks {
            check_buildpacks(self.store(), ctx, packs)?;
        }
        let ctx = ctx.clone();
        self.store()
            .commit(move |tx| {
                let mut app = find_app(tx, &app.id.to_string())?;
                if let Some(name) = change.name.filter(|n| *n != app.name) {
                    if tx.get(&tables::APP_BY_NAME, &name)?.is_some() {
                        return Err(Error::invalid(format!("Name {name} is already taken")));
                    }
                    tx.delete(&tables::APP_BY_NAME, &app.name);
                    tx.put(&tables::APP_BY_NAME, &name, &app.id)?;
                    app.name = name;
                }
                app.maintenance = change.maintenance.unwrap_or(app.maintenance);
                app.stack = change.stack.unwrap_or(app.stack);
                app.buildpacks = change.buildpacks.unwrap_or(app.buildpacks);
                app.updated_at = ctx.now;
                tx.put(&tables::APPS, &app.id, &app)?;
                tx.event(ctx.now, Some(app.id), ctx.origin(), EventBody::AppUpdated)?;
                Ok(app)
            })
            .await
    }

    /// Removes an app with all rows of its own. Its dynos are stopped and its files removed by the engine, which finds
    /// dyno rows without an app.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn destroy_app(&self, ctx: &Ctx, app: &str) -> Result<App> {
        let app = self.app_for(ctx, Action::Manage, app)?;
        let ctx = ctx.clone();
        let (app, builds, releases) = self
            .store()
            .commit(move |tx| {
                let app = find_app(tx, &app.id.to_string())?;
                let builds = tx.scan(&tables::BUILD_BY_APP, &app.id)?;
                let releases = tx.scan(&tables::RELEASES, &app.id)?;
                remove_rows(tx, &app)?;
                crate::volumes::to_trash(tx, &ctx, app.id)?;
                tokens::drop_bound(tx, &ctx, app.id)?;
                tx.event(ctx.now, Some(app.id), ctx.origin(), EventBody::AppDestroyed)?;
                Ok::<_, Error>((app, builds, releases))
            })
            .await?;
        builds.into_iter().for_each(|build| self.outputs().remove(build.0));
        let phases = releases.into_iter().filter(|release| release.output_key.is_some());
        phases.for_each(|release| self.outputs().remove(release.id.0));
        Ok(app)
    }
}

impl Service {
    /// Id and name of an app, for showing.
    ///
    /// # Errors
    /// When the store can not be read.
    pub fn app_by_id(&self, id: AppId) -> Result<Option<(AppId, String)>> {
        Ok(self.store().get(&tables::APPS, &id)?.map(|app| (app.id, app.name)))
    }

    /// Names of all stacks, the default first.
    pub fn stacks(&self) -> Vec<String> {
        let imported = (self.parts().stacks)();
        let others = imported.into_iter().filter(|name| name != HOST_STACK);
        std::iter::once(HOST_STACK.to_string()).chain(others).collect()
    }

    pub(crate) fn check_stack(&self, stack: Option<&str>) -> Result<()> {
        let known = self.stacks();
        match stack {
            Some(name) if !known.iter().any(|k| k == name) => {
                Err(Error::invalid(format!("Stack {name} is not available; there is {}.", known.join(", "))))
            }
            _ => Ok(()),
        }
    }
}

fn blank_app(ctx: &Ctx, name: String) -> Result<App> {
    let owner = ctx.account().ok_or_else(|| Error::forbidden("An app needs an owner; sign in."))?;
    Ok(App {
        id: Uuid::new_v4().into(),
        name,
        owner,
        team: None,
        locked: false,
        stack: HOST_STACK.into(),
        buildpacks: Vec::new(),
        maintenance: false,
        detected: None,
        next_version: 1,
        current: None,
        proven: None,
        config_version: 0,
        generation: 0,
        created_at: ctx.now,
        updated_at: ctx.now,
        released_at: None,
        repo_bytes: None,
        slug_bytes: None,
        asleep_since: None,
        in_steps: None,
        features: BTreeMap::new(),
        health_check: None,
        acm_since: None,
        volume_user: None,
    })
}

fn free_name(tx: &Tx) -> Result<String> {
    for _ in 0..NAME_TRIES {
        let name = names::generated_app_name(Uuid::new_v4().as_u64_pair().0);
        if tx.get(&tables::APP_BY_NAME, &name)?.is_none() {
            return Ok(name);
        }
    }
    Err(Error::conflict("No free name was found; give one."))
}

/// Checks a list of buildpacks as users write them.
pub(crate) fn check_buildpacks(rows: &impl ReadRows, ctx: &Ctx, packs: &[String]) -> Result<()> {
    if packs.len() > BUILDPACKS_MAX {
        return Err(Error::invalid(format!("At most {BUILDPACKS_MAX} buildpacks.")));
    }
    for pack in packs {
        if pack.is_empty() || pack.len() > BUILDPACK_BYTES_MAX || pack.chars().any(char::is_control) || pack.starts_with('-') {
            return Err(Error::invalid(format!("{pack:?} is no buildpack name or URL.")));
        }
        if pack.starts_with('/') || pack.starts_with("file:") {
            access::check(rows, ctx, Action::ServerFiles, On::Platform)?;
        }
    }
    Ok(())
}

fn remove_rows(tx: &mut Tx, app: &App) -> Result<()> {
    let id: AppId = app.id;
    for build in tx.scan(&tables::BUILD_BY_APP, &id)? {
        tx.delete(&tables::BUILDS, &build);
    }
    for release in tx.scan(&tables::RELEASES, &id)? {
        tx.delete(&tables::RELEASE_BY_ID, &release.id);
        if let Some(slug) = release.slug {
            tx.delete(&tables::SLUGS, &slug);
        }
    }
    for domain in tx.scan(&tables::DOMAINS, &())?.into_iter().filter(|d| d.app == id) {
        tx.delete(&tables::DOMAINS, &domain.hostname);
    }
    for schedule in tx.scan(&tables::SCHEDULES, &())?.into_iter().filter(|s| s.app == id) {
        tx.delete(&tables::SCHEDULES, &schedule.id);
    }
    crate::couplings::remove(tx, id);
    crate::slug_uploads::remove(tx, id)?;
    tx.delete(&tables::CACHE_CLEARED, &id);
    tx.delete_all(&tables::WEBHOOKS, &id)?;
    tx.delete_all(&tables::WEBHOOK_EVENTS, &id)?;
    tx.delete_all(&tables::DELIVERIES, &id)?;
    for transfer in tx.scan(&tables::TRANSFERS, &())?.into_iter().filter(|t| t.app == id) {
        tx.delete(&tables::TRANSFERS, &transfer.id);
    }
    tx.delete_all(&tables::COLLABORATORS, &id)?;
    tx.delete_all(&tables::BUILD_BY_APP, &id)?;
    tx.delete_all(&tables::RELEASES, &id)?;
    tx.delete_all(&tables::SLUG_BY_APP, &id)?;
    tx.delete_all(&tables::CONFIG, &id)?;
    tx.delete_all(&tables::FORMATION, &id)?;
    for endpoint in tx.scan(&tables::SNI_BY_APP, &id)? {
        tx.delete(&tables::SNI, &endpoint);
        tx.delete_all(&tables::SNI_KEYS, &endpoint)?;
    }
    for drain in tx.scan(&tables::DRAIN_BY_APP, &id)? {
        tx.delete(&tables::DRAINS, &drain);
    }
    tx.delete_all(&tables::SNI_BY_APP, &id)?;
    tx.delete_all(&tables::DRAIN_BY_APP, &id)?;
    crate::alerts::remove_alerts(tx, id)?;
    tx.delete_all(&tables::DOMAIN_BY_APP, &id)?;
    tx.delete(&tables::APP_BY_NAME, &app.name);
    tx.delete(&tables::APPS, &id);
    Ok(())
}
