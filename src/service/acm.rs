//! Managed certificates as users see and steer them (`acm.md` sections 2 and 3). Ordering them is the engine's business.

use crate::{Action, Ctx, Error, Result, Service, domains, find_app};
use domain::{
    App, AppDomain, AppId, EventBody, SniEndpoint, UnixMs,
    acm::{Happened, Managed, Rules},
    names,
};
use store::{ReadRows, tables};
use uuid::Uuid;

impl Service {
    /// Switches managed certificates for all domains of an app that have none of their own. Switched off, those that were
    /// made answer no more; they are kept aside for a while, since each new one counts at the authority.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn switch_acm(&self, ctx: &Ctx, app: &str, on: bool) -> Result<App> {
        let app = self.app_for(ctx, Action::Write, app)?;
        let (ctx2, id) = (ctx.clone(), app.id);
        let app = self
            .store()
            .commit(move |tx| -> Result<_> {
                let mut app = find_app(tx, &id.to_string())?;
                app.acm_since = if on { app.acm_since.or(Some(ctx2.now)) } else { None };
                app.updated_at = ctx2.now;
                tx.put(&tables::APPS, &id, &app)?;
                tx.event(ctx2.now, Some(id), ctx2.origin(), EventBody::AcmChanged)?;
                Ok(app)
            })
            .await?;
        let done = if on { "Enable" } else { "Disable" };
        self.log_action(app.id, ctx, &format!("{done} automatic certificate management"));
        Ok(app)
    }

    /// Asks for another try at once of managed certificates that did not come. What limits the authority has, it still has.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params` when they are off.
    pub async fn refresh_acm(&self, ctx: &Ctx, app: &str) -> Result<App> {
        let app = self.app_for(ctx, Action::Write, app)?;
        if app.acm_since.is_none() {
            return Err(Error::invalid("Automatic certificate management is off; switch it on with certs:auto:enable."));
        }
        let (ctx2, id) = (ctx.clone(), app.id);
        self.store()
            .commit(move |tx| -> Result<()> {
                for mut row in managed_of(tx, id, &domains::domains_of(tx, id)?)? {
                    row.take(Happened::Asked, ctx2.now, &Rules::default(), 0);
                    tx.put(&tables::MANAGED, &row.name, &row)?;
                }
                tx.event(ctx2.now, Some(id), ctx2.origin(), EventBody::AcmChanged)?;
                Ok(())
            })
            .await?;
        self.log_action(app.id, ctx, "Refresh automatic certificate management");
        Ok(app)
    }
}

/// The managed certificates of an app's domains, as far as they are on their way or there.
pub(crate) fn managed_of(rows: &impl ReadRows, app: AppId, domains: &[AppDomain]) -> Result<Vec<Managed>> {
    let mut found = Vec::new();
    for domain in domains.iter().filter(|domain| domain.sni_endpoint.is_none()) {
        found.extend(rows.get(&tables::MANAGED, &domain.hostname)?.filter(|row| row.app == Some(app) && row.left_at.is_none()));
    }
    Ok(found)
}

/// All managed certificates of an app as the one endpoint that clients expect: they ask which one a domain is to have as
/// soon as there are two. It is no row; its id and name follow from the app's.
pub(crate) fn managed_endpoint(app: &App, managed: &[Managed]) -> Option<SniEndpoint> {
    let mut all: Vec<_> = managed.iter().filter_map(Managed::serves).collect();
    all.sort_by_key(|issued| issued.facts.expires_at);
    let mut facts = all.first()?.facts.clone();
    facts.names = all.iter().flat_map(|issued| issued.facts.names.iter().cloned()).collect();
    facts.chain = all.iter().map(|issued| issued.facts.chain.as_str()).collect();
    let newest = all.iter().map(|issued| issued.facts.starts_at).fold(UnixMs(0), UnixMs::max);
    let (high, low) = app.id.0.as_u64_pair();
    let created_at = app.acm_since.unwrap_or(app.created_at);
    Some(SniEndpoint {
        id: Uuid::from_u64_pair(high ^ 0x0061_636d_0000_0000, low),
        app: app.id,
        name: names::generated_endpoint_name(high.rotate_left(16) ^ low),
        facts,
        created_at,
        updated_at: created_at.max(newest),
    })
}
