//! Custom domains: names, who has them, and which certificate answers for them.

use crate::{Action, Ctx, Error, On, Result, Service, access, acm, sni};
use domain::{
    App, AppDomain, EventBody, SniEndpoint, UnixMs,
    acm::{Managed, Step},
    limits::DOMAINS_PER_APP_MAX,
    names,
};
use store::{ReadRows, Tx, tables, tables::Present};
use uuid::Uuid;

/// A domain as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownDomain {
    /// Its row.
    pub row: AppDomain,
    /// The certificate that answers for it.
    pub endpoint: Option<SniEndpoint>,
    /// Word and sentence of its managed certificate, when those are on (`acm.md` section 2).
    pub acm: Option<(&'static str, Option<String>)>,
    /// How far it is on its way to answer over TLS, for people (`ux.md` J4); `None` when nobody cares for that.
    pub step: Option<Step>,
    /// The name as people write it.
    pub readable: String,
    /// Last change of any of it.
    pub updated_at: UnixMs,
}

/// Which certificate a new domain is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing was said.
    Unsaid,
    /// None, or the only one there is if it is for that name.
    Null,
    /// This one, by id or name.
    Endpoint(String),
}

impl Service {
    /// Custom domains of an app.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn domains(&self, ctx: &Ctx, app: &str) -> Result<(App, Vec<ShownDomain>)> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let endpoints = sni::endpoints_of(self.store(), app.id)?;
        let rows = domains_of(self.store(), app.id)?;
        let managed = acm::managed_of(self.store(), app.id, &rows)?;
        let shown = rows.into_iter().map(|row| shown(&app, row, &endpoints, &managed, ctx.now)).collect();
        Ok((app, shown))
    }

    /// One custom domain by id or name.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn domain(&self, ctx: &Ctx, app: &str, id_or_name: &str) -> Result<(App, ShownDomain)> {
        let (app, domains) = self.domains(ctx, app)?;
        let name = ascii(id_or_name);
        let found = domains.into_iter().find(|d| Some(&d.row.hostname) == name.as_ref() || d.row.id.to_string() == id_or_name);
        Ok((app, found.ok_or_else(|| Error::not_found("domain", "Couldn't find that domain name."))?))
    }

    /// Adds a domain.
    ///
    /// # Errors
    /// `invalid_params` when it is no domain name, belongs to the platform or to another app, or when the certificate is
    /// not for it.
    pub async fn add_domain(&self, ctx: &Ctx, app: &str, hostname: &str, wanted: Wanted) -> Result<(App, ShownDomain)> {
        let app = self.app_for(ctx, Action::Write, app)?;
        let wanted = match wanted {
            Wanted::Endpoint(name) if self.sni_endpoint(ctx, &app.id.to_string(), &name)?.1.managed => Wanted::Null,
            other => other,
        };
        let hostname = ascii(hostname).unwrap_or_else(|| hostname.to_string());
        let hostname = names::check_domain(&hostname).map_err(Error::invalid)?;
        let platform = &self.addresses().domain;
        let covers = hostname.strip_prefix("*.").is_some_and(|parent| platform.ends_with(&format!(".{parent}")));
        if hostname == *platform || hostname.ends_with(&format!(".{platform}")) || covers {
            return Err(Error::invalid(format!("{hostname} belongs to the platform; choose a domain of your own.")));
        }
        let (ctx2, id) = (ctx.clone(), app.id);
        let mut row =
            AppDomain { id: Uuid::new_v4(), app: id, hostname, sni_endpoint: None, created_at: ctx.now, updated_at: None };
        let (row, endpoints) = self
            .store()
            .commit(move |tx| -> Result<_> {
                if tx.get(&tables::DOMAINS, &row.hostname)?.is_some() {
                    return Err(Error::invalid(format!("Domain {} is already in use.", row.hostname)));
                }
                if tx.scan(&tables::DOMAIN_BY_APP, &id)?.len() >= DOMAINS_PER_APP_MAX {
                    return Err(Error::invalid(format!("An app can have {DOMAINS_PER_APP_MAX} domains.")));
                }
                let endpoints = sni::endpoints_of(tx, id)?;
                row.sni_endpoint = choose(&endpoints, wanted, &row.hostname)?;
                put(tx, &ctx2, &row)?;
                Ok((row, endpoints))
            })
            .await?;
        self.log_action(app.id, ctx, &format!("Add {} domain", row.hostname));
        let managed = acm::managed_of(self.store(), app.id, std::slice::from_ref(&row))?;
        let shown = shown(&app, row, &endpoints, &managed, ctx.now);
        Ok((app, shown))
    }

    /// Says which certificate answers for a domain, `None` for the platform's own.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params` when the certificate is not for that name.
    pub async fn set_domain_endpoint(
        &self,
        ctx: &Ctx,
        app: &str,
        domain: &str,
        endpoint: Option<String>,
    ) -> Result<(App, ShownDomain)> {
        let (app, found) = self.domain(ctx, app, domain)?;
        access::check(self.store(), ctx, Action::Write, On::App(&app))?;
        let (ctx2, id, hostname) = (ctx.clone(), app.id, found.row.hostname);
        // The managed ones take what has no other.
        let endpoint = match endpoint {
            Some(name) if self.sni_endpoint(ctx, &app.id.to_string(), &name)?.1.managed => None,
            other => other,
        };
        let (row, endpoints) = self
            .store()
            .commit(move |tx| -> Result<_> {
                let row = tx.get(&tables::DOMAINS, &hostname)?.filter(|row| row.app == id);
                let mut row = row.ok_or_else(|| Error::not_found("domain", "Couldn't find that domain name."))?;
                let endpoints = sni::endpoints_of(tx, id)?;
                row.sni_endpoint = match endpoint {
                    Some(name) => Some(fitting(&endpoints, &name, &row.hostname)?),
                    None => None,
                };
                row.updated_at = Some(ctx2.now);
                put(tx, &ctx2, &row)?;
                Ok((row, endpoints))
            })
            .await?;
        let managed = acm::managed_of(self.store(), app.id, std::slice::from_ref(&row))?;
        let shown = shown(&app, row, &endpoints, &managed, ctx.now);
        Ok((app, shown))
    }

    /// Removes a domain by id or name.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn remove_domain(&self, ctx: &Ctx, app: &str, id_or_name: &str) -> Result<(App, ShownDomain)> {
        let (app, found) = self.domain(ctx, app, id_or_name)?;
        access::check(self.store(), ctx, Action::Write, On::App(&app))?;
        let (ctx2, gone) = (ctx.clone(), found.row.clone());
        self.store()
            .commit(move |tx| -> Result<()> {
                tx.delete(&tables::DOMAINS, &gone.hostname);
                tx.delete(&tables::DOMAIN_BY_APP, &(gone.app, gone.hostname.clone()));
                let body = EventBody::DomainChanged { hostname: gone.hostname.clone() };
                tx.event(ctx2.now, Some(gone.app), ctx2.origin(), body)?;
                Ok(())
            })
            .await?;
        self.log_action(app.id, ctx, &format!("Remove {} domain", found.row.hostname));
        Ok((app, found))
    }
}

/// Rows of an app.
pub(crate) fn domains_of(rows: &impl ReadRows, app: domain::AppId) -> Result<Vec<AppDomain>> {
    let mut domains = rows.scan(&tables::DOMAINS, &())?;
    domains.retain(|d| d.app == app);
    Ok(domains)
}

/// Writes a row with its event.
pub(crate) fn put(tx: &mut Tx, ctx: &Ctx, row: &AppDomain) -> Result<()> {
    tx.put(&tables::DOMAINS, &row.hostname, row)?;
    tx.put(&tables::DOMAIN_BY_APP, &(row.app, row.hostname.clone()), &Present {})?;
    let body = EventBody::DomainChanged { hostname: row.hostname.clone() };
    tx.event(ctx.now, Some(row.app), ctx.origin(), body)?;
    Ok(())
}

/// The form of a name in DNS: `bücher.example` is `xn--bcher-kva.example`.
fn ascii(hostname: &str) -> Option<String> {
    let (star, plain) = hostname.strip_prefix("*.").map_or(("", hostname), |plain| ("*.", plain));
    idna::domain_to_ascii(plain).ok().map(|plain| format!("{star}{}", plain.trim_end_matches('.')))
}

fn choose(endpoints: &[SniEndpoint], wanted: Wanted, hostname: &str) -> Result<Option<Uuid>> {
    match (wanted, endpoints) {
        (Wanted::Endpoint(name), all) => fitting(all, &name, hostname).map(Some),
        (Wanted::Unsaid, all) if all.len() > 1 => Err(Error::invalid(
            "The app has several certificates; say which one the domain is to have: sni_endpoint, a name or null.",
        )),
        (_, [only]) if only.facts.covers(hostname) => Ok(Some(only.id)),
        _ => Ok(None),
    }
}

fn fitting(endpoints: &[SniEndpoint], name: &str, hostname: &str) -> Result<Uuid> {
    let endpoint = sni::find(endpoints, name)?;
    if !endpoint.facts.covers(hostname) {
        return Err(Error::invalid(format!(
            "The certificate {} is for {}, not for {hostname}.",
            endpoint.name,
            endpoint.facts.names.join(", ")
        )));
    }
    Ok(endpoint.id)
}

fn shown(app: &App, row: AppDomain, endpoints: &[SniEndpoint], managed: &[Managed], now: UnixMs) -> ShownDomain {
    let uploaded = endpoints.iter().find(|e| Some(e.id) == row.sni_endpoint).cloned();
    let own = managed.iter().find(|m| m.name == row.hostname);
    let (acm, step) = match (&uploaded, own) {
        // Clients wait for this word, and there is nothing else to wait for.
        (Some(endpoint), _) => (("cert issued", None), Some(Step::Ready { until: endpoint.facts.expires_at })),
        (None, Some(own)) => {
            let (word, reason) = own.shown(now);
            ((word, reason.map(String::from)), Some(own.step(now)))
        }
        (None, None) => (("pending", None), app.acm_since.map(|_| Step::Checking)),
    };
    let own_endpoint = || acm::managed_endpoint(app, managed).filter(|_| own.is_some_and(|own| own.serves().is_some()));
    let changes = [row.updated_at, app.acm_since, own.map(|own| own.updated_at)].into_iter().flatten();
    let updated_at = changes.fold(row.created_at, UnixMs::max);
    let endpoint = uploaded.or_else(own_endpoint);
    let readable = readable(&row.hostname);
    ShownDomain { row, endpoint, acm: app.acm_since.map(|_| acm), step, readable, updated_at }
}

/// The name as people write it: `xn--bcher-kva.example` is `bücher.example`. What does not decode stays as it is.
fn readable(hostname: &str) -> String {
    let (text, decoded) = idna::domain_to_unicode(hostname);
    if decoded.is_ok() { text } else { hostname.to_string() }
}
