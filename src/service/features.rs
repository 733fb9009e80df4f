//! Features of an app, and its health check: what changes how dynos are started, without starting any.

use crate::{Action, Ctx, Error, On, Result, Service, access, find_app};
use domain::{
    App, AppId, EventBody, HealthCheck,
    feature::{self, Feature},
};
use store::tables;

impl Service {
    /// An app with all features there are.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn features(&self, ctx: &Ctx, app: &str) -> Result<(App, &'static [Feature])> {
        Ok((self.app_for(ctx, Action::Read, app)?, feature::FEATURES))
    }

    /// One feature by name or id.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn feature(&self, ctx: &Ctx, app: &str, name_or_id: &str) -> Result<(App, &'static Feature)> {
        Ok((self.app_for(ctx, Action::Read, app)?, find(name_or_id)?))
    }

    /// Switches a feature. Nothing is restarted: it counts from the next release on.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn switch_feature(&self, ctx: &Ctx, app: &str, name: &str, enabled: bool) -> Result<(App, &'static Feature)> {
        // Else who may not pass it could switch it off.
        let gated = find(name).is_ok_and(|found| found.name == feature::TWO_FACTOR);
        let app = self.app_for(ctx, if gated { Action::Manage } else { Action::Write }, app)?;
        let (found, now) = (find(name)?, ctx.now);
        let body = EventBody::FeatureChanged { feature: found.name.into() };
        let app = self
            .change(ctx, app.id, body, move |app| {
                if enabled {
                    app.features.entry(found.name.into()).or_insert(now);
                } else {
                    app.features.remove(found.name);
                }
            })
            .await?;
        self.log_action(app.id, ctx, &format!("{} feature {}", if enabled { "Enable" } else { "Disable" }, found.name));
        Ok((app, found))
    }

    /// Features of accounts.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn account_features(&self, ctx: &Ctx) -> Result<&'static [Feature]> {
        access::check(self.store(), ctx, Action::Account, On::Platform)?;
        Ok(feature::ACCOUNT_FEATURES)
    }

    /// One feature of accounts by name or id.
    ///
    /// # Errors
    /// `not_found`, which makes clients look for a feature of the app; `forbidden`.
    pub fn account_feature(&self, ctx: &Ctx, name_or_id: &str) -> Result<&'static Feature> {
        self.account_features(ctx)?;
        feature::find_of_account(name_or_id).ok_or_else(|| Error::not_found("feature", "Couldn't find that feature."))
    }

    /// The health check of an app's web dynos, if it has one.
    ///
    /// # Errors
    /// `not_found`, also when there is none; `forbidden`.
    pub fn health_check(&self, ctx: &Ctx, app: &str) -> Result<HealthCheck> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let missing =
            || Error::not_found("health_check", "The app has no health check: a web dyno is up when its port accepts.");
        app.health_check.ok_or_else(missing)
    }

    /// Sets (`Some`) or removes the health check. Web dynos that start from now on have to pass it.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params`.
    pub async fn set_health_check(&self, ctx: &Ctx, app: &str, check: Option<HealthCheck>) -> Result<()> {
        let app = self.app_for(ctx, Action::Write, app)?;
        if let Some(check) = &check {
            check.check().map_err(Error::invalid)?;
        }
        let done = check.as_ref().map_or_else(|| "Remove health check".into(), |c| format!("Set health check {}", c.path));
        self.change(ctx, app.id, EventBody::HealthCheckChanged, move |app| app.health_check = check).await?;
        self.log_action(app.id, ctx, &done);
        Ok(())
    }

    async fn change(
        &self,
        ctx: &Ctx,
        id: AppId,
        body: EventBody,
        change: impl FnOnce(&mut App) + Send + 'static,
    ) -> Result<App> {
        let ctx = ctx.clone();
        self.store()
            .commit(move |tx| {
                let mut app = find_app(tx, &id.to_string())?;
                change(&mut app);
                app.updated_at = ctx.now;
                tx.put(&tables::APPS, &id, &app)?;
                tx.event(ctx.now, Some(id), ctx.origin(), body)?;
                Ok(app)
            })
            .await
    }
}

fn find(name_or_id: &str) -> Result<&'static Feature> {
    feature::find(name_or_id).ok_or_else(|| Error::not_found("feature", "Couldn't find that feature."))
}
