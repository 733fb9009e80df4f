//! Custom domains.

use crate::{Action, Ctx, Error, Result, Service};
use domain::{App, AppDomain, EventBody, limits::DOMAINS_PER_APP_MAX, names};
use store::{ReadRows, tables, tables::Present};
use uuid::Uuid;

impl Service {
    /// Custom domains of an app.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn domains(&self, ctx: &Ctx, app: &str) -> Result<(App, Vec<AppDomain>)> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let mut domains = self.store().scan(&tables::DOMAINS, &())?;
        domains.retain(|d| d.app == app.id);
        Ok((app, domains))
    }

    /// Adds a domain.
    ///
    /// # Errors
    /// `invalid_params` when it is no domain name, belongs to the platform or to another app.
    pub async fn add_domain(&self, ctx: &Ctx, app: &str, hostname: &str) -> Result<(App, AppDomain)> {
        let app = self.app_for(ctx, Action::Write, app)?;
        let hostname = names::check_domain(hostname).map_err(Error::invalid)?;
        let platform = &self.addresses().domain;
        let covers = hostname.strip_prefix("*.").is_some_and(|parent| platform.ends_with(&format!(".{parent}")));
        if hostname == *platform || hostname.ends_with(&format!(".{platform}")) || covers {
            return Err(Error::invalid(format!("{hostname} belongs to the platform; choose a domain of your own.")));
        }
        let row = AppDomain { id: Uuid::new_v4(), app: app.id, hostname, created_at: ctx.now };
        let (ctx, stored) = (ctx.clone(), row.clone());
        self.store()
            .commit(move |tx| -> Result<()> {
                if tx.get(&tables::DOMAINS, &stored.hostname)?.is_some() {
                    return Err(Error::invalid(format!("Domain {} is already in use.", stored.hostname)));
                }
                if tx.scan(&tables::DOMAIN_BY_APP, &stored.app)?.len() >= DOMAINS_PER_APP_MAX {
                    return Err(Error::invalid(format!("An app can have {DOMAINS_PER_APP_MAX} domains.")));
                }
                tx.put(&tables::DOMAINS, &stored.hostname, &stored)?;
                tx.put(&tables::DOMAIN_BY_APP, &(stored.app, stored.hostname.clone()), &Present {})?;
                let body = EventBody::DomainChanged { hostname: stored.hostname.clone() };
                tx.event(ctx.now, Some(stored.app), ctx.origin(), body)?;
                Ok(())
            })
            .await?;
        Ok((app, row))
    }

    /// Removes a domain by id or name.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn remove_domain(&self, ctx: &Ctx, app: &str, id_or_name: &str) -> Result<(App, AppDomain)> {
        let (app, domains) = self.domains(ctx, app)?;
        crate::access::check(self.store(), ctx, Action::Write, crate::On::App(&app))?;
        let found = domains.into_iter().find(|d| d.hostname == id_or_name || d.id.to_string() == id_or_name);
        let row = found.ok_or_else(|| Error::not_found("domain", "Couldn't find that domain name."))?;
        let (ctx, gone) = (ctx.clone(), row.clone());
        self.store()
            .commit(move |tx| -> Result<()> {
                tx.delete(&tables::DOMAINS, &gone.hostname);
                tx.delete(&tables::DOMAIN_BY_APP, &(gone.app, gone.hostname.clone()));
                let body = EventBody::DomainChanged { hostname: gone.hostname.clone() };
                tx.event(ctx.now, Some(gone.app), ctx.origin(), body)?;
                Ok(())
            })
            .await?;
        Ok((app, row))
    }
}
