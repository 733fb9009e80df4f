//! Certificates of an app: uploaded ones, and the managed ones as one more (`acm.md` section 3).

use crate::{Action, Ctx, Error, Result, Service, acm, domains};
use domain::{App, AppId, EventBody, SniEndpoint, limits::SNI_ENDPOINTS_PER_APP_MAX, names, sni::CertFacts};
use store::{ReadRows, Sealer, Tx, tables};
use uuid::Uuid;

/// Tries to find a free generated name.
const NAME_TRIES: u32 = 20;

/// An uploaded certificate as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownEndpoint {
    /// Its row.
    pub row: SniEndpoint,
    /// Ids of the domains that it answers for.
    pub domains: Vec<Uuid>,
    /// It stands for the managed certificates.
    pub managed: bool,
}

/// The private key of an uploaded certificate, PEM.
///
/// # Errors
/// When it is not there or does not open.
pub fn read_sni_key(rows: &impl ReadRows, sealer: &Sealer, endpoint: Uuid) -> Result<String> {
    let chunks = rows.scan(&tables::SNI_KEYS, &endpoint)?;
    let plain = sealer.open(&context(endpoint), &chunks)?;
    String::from_utf8(plain).map_err(|_| Error::internal(format!("key of {endpoint}: no text")))
}

fn context(endpoint: Uuid) -> Vec<u8> {
    format!("sni key {endpoint}").into_bytes()
}

impl Service {
    /// Certificates of an app: the uploaded ones, and last all managed ones together, if there are any.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn sni_endpoints(&self, ctx: &Ctx, app: &str) -> Result<(App, Vec<ShownEndpoint>)> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let domains = domains::domains_of(self.store(), app.id)?;
        let of = |id| domains.iter().filter(|d| d.sni_endpoint == Some(id)).map(|d| d.id).collect();
        let rows = endpoints_of(self.store(), app.id)?;
        let mut shown: Vec<_> =
            rows.into_iter().map(|row| ShownEndpoint { domains: of(row.id), row, managed: false }).collect();
        let managed = acm::managed_of(self.store(), app.id, &domains)?;
        if let Some(row) = acm::managed_endpoint(&app, &managed) {
            let served = |d: &&domain::AppDomain| managed.iter().any(|m| m.name == d.hostname && m.serves().is_some());
            let domains = domains.iter().filter(served).map(|d| d.id).collect();
            shown.push(ShownEndpoint { row, domains, managed: true });
        }
        Ok((app, shown))
    }

    /// One of them by id or name.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn sni_endpoint(&self, ctx: &Ctx, app: &str, id_or_name: &str) -> Result<(App, ShownEndpoint)> {
        let (app, all) = self.sni_endpoints(ctx, app)?;
        let found = all.into_iter().find(|e| e.row.name == id_or_name || e.row.id.to_string() == id_or_name);
        Ok((app, found.ok_or_else(missing)?))
    }

    /// Uploads a certificate. Domains of the app that it is for and that have none get it.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params` with the reason why it can not serve.
    pub async fn add_sni_endpoint(&self, ctx: &Ctx, app: &str, chain: &str, key: &str) -> Result<(App, ShownEndpoint)> {
        let app = self.app_for(ctx, Action::Write, app)?;
        let facts = self.parts().inspect.inspect(chain, key, ctx.now).map_err(Error::invalid)?;
        let (ctx2, id, sealer, key) = (ctx.clone(), app.id, self.parts().sealer.clone(), key.to_string());
        let shown = self
            .store()
            .commit(move |tx| -> Result<_> {
                let others = endpoints_of(tx, id)?;
                if others.len() >= SNI_ENDPOINTS_PER_APP_MAX {
                    return Err(Error::invalid(format!("An app can have {SNI_ENDPOINTS_PER_APP_MAX} certificates.")));
                }
                let name = free_name(&others)?;
                let (created_at, updated_at) = (ctx2.now, ctx2.now);
                let row = SniEndpoint { id: Uuid::new_v4(), app: id, name, facts, created_at, updated_at };
                tx.put(&tables::SNI_BY_APP, &(id, row.id), &row.id)?;
                write(tx, &ctx2, &sealer, &row, &key)?;
                let mut attached = Vec::new();
                for mut domain in domains::domains_of(tx, id)? {
                    if domain.sni_endpoint.is_none() && row.facts.covers(&domain.hostname) {
                        domain.sni_endpoint = Some(row.id);
                        domain.updated_at = Some(ctx2.now);
                        domains::put(tx, &ctx2, &domain)?;
                        attached.push(domain.id);
                    }
                }
                Ok(ShownEndpoint { row, domains: attached, managed: false })
            })
            .await?;
        self.log_action(app.id, ctx, &format!("Add certificate {}", shown.row.name));
        Ok((app, shown))
    }

    /// Replaces a certificate; its domains keep it.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params`, also when it is not for one of its domains.
    pub async fn update_sni_endpoint(
        &self,
        ctx: &Ctx,
        app: &str,
        id_or_name: &str,
        chain: &str,
        key: &str,
    ) -> Result<(App, ShownEndpoint)> {
        let app = self.app_for(ctx, Action::Write, app)?;
        let found = self.uploaded(ctx, &app, id_or_name)?;
        let facts = self.parts().inspect.inspect(chain, key, ctx.now).map_err(Error::invalid)?;
        let (ctx2, id, sealer, key) = (ctx.clone(), app.id, self.parts().sealer.clone(), key.to_string());
        let shown = self
            .store()
            .commit(move |tx| -> Result<_> {
                let mut row = tx.get(&tables::SNI, &found)?.ok_or_else(missing)?;
                let mut attached = domains::domains_of(tx, id)?;
                attached.retain(|d| d.sni_endpoint == Some(found));
                check_covered(&facts, &attached)?;
                row.facts = facts;
                row.updated_at = ctx2.now;
                write(tx, &ctx2, &sealer, &row, &key)?;
                Ok(ShownEndpoint { row, domains: attached.iter().map(|d| d.id).collect(), managed: false })
            })
            .await?;
        self.log_action(app.id, ctx, &format!("Update certificate {}", shown.row.name));
        Ok((app, shown))
    }

    /// Removes a certificate; the platform's own answers for its domains from then on.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn remove_sni_endpoint(&self, ctx: &Ctx, app: &str, id_or_name: &str) -> Result<(App, ShownEndpoint)> {
        let app = self.app_for(ctx, Action::Write, app)?;
        let found = self.uploaded(ctx, &app, id_or_name)?;
        let (ctx2, id) = (ctx.clone(), app.id);
        let row = self
            .store()
            .commit(move |tx| -> Result<_> {
                let row = tx.get(&tables::SNI, &found)?.ok_or_else(missing)?;
                for mut domain in domains::domains_of(tx, id)?.into_iter().filter(|d| d.sni_endpoint == Some(found)) {
                    domain.sni_endpoint = None;
                    domain.updated_at = Some(ctx2.now);
                    domains::put(tx, &ctx2, &domain)?;
                }
                tx.delete(&tables::SNI, &found);
                tx.delete(&tables::SNI_BY_APP, &(id, found));
                tx.delete_all(&tables::SNI_KEYS, &found)?;
                tx.event(ctx2.now, Some(id), ctx2.origin(), EventBody::SniEndpointChanged { endpoint: found })?;
                Ok(row)
            })
            .await?;
        self.log_action(app.id, ctx, &format!("Remove certificate {}", row.name));
        Ok((app, ShownEndpoint { row, domains: Vec::new(), managed: false }))
    }
}

impl Service {
    /// Id of an uploaded certificate; the managed ones can not be changed like these.
    fn uploaded(&self, ctx: &Ctx, app: &App, id_or_name: &str) -> Result<Uuid> {
        let (_, endpoint) = self.sni_endpoint(ctx, &app.id.to_string(), id_or_name)?;
        if endpoint.managed {
            return Err(Error::invalid(format!(
                "{} is managed by the platform; it goes with certs:auto:disable, and an uploaded one is put before it.",
                endpoint.row.name
            )));
        }
        Ok(endpoint.row.id)
    }
}

fn missing() -> Error {
    Error::not_found("sni_endpoint", "Couldn't find that SNI endpoint.")
}

/// Rows of an app.
pub(crate) fn endpoints_of(rows: &impl ReadRows, app: AppId) -> Result<Vec<SniEndpoint>> {
    let ids = rows.scan(&tables::SNI_BY_APP, &app)?;
    let found: std::result::Result<Vec<_>, _> = ids.iter().map(|id| rows.get(&tables::SNI, id)).collect();
    Ok(found?.into_iter().flatten().collect())
}

/// One of `all` by id or name.
pub(crate) fn find<'a>(all: &'a [SniEndpoint], id_or_name: &str) -> Result<&'a SniEndpoint> {
    all.iter().find(|e| e.name == id_or_name || e.id.to_string() == id_or_name).ok_or_else(missing)
}

fn check_covered(facts: &CertFacts, domains: &[domain::AppDomain]) -> Result<()> {
    let bare: Vec<&str> = domains.iter().map(|d| d.hostname.as_str()).filter(|host| !facts.covers(host)).collect();
    if bare.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "The new certificate is for {}, not for {}, which has the old one; give that domain another certificate first.",
        facts.names.join(", "),
        bare.join(", ")
    )))
}

fn free_name(others: &[SniEndpoint]) -> Result<String> {
    for _ in 0..NAME_TRIES {
        let name = names::generated_endpoint_name(Uuid::new_v4().as_u64_pair().0);
        if others.iter().all(|other| other.name != name) {
            return Ok(name);
        }
    }
    Err(Error::conflict("No free name was found; try again."))
}

fn write(tx: &mut Tx, ctx: &Ctx, sealer: &Sealer, row: &SniEndpoint, key: &str) -> Result<()> {
    tx.delete_all(&tables::SNI_KEYS, &row.id)?;
    for (index, chunk) in (0u32..).zip(sealer.seal(&context(row.id), key.as_bytes())?) {
        tx.put(&tables::SNI_KEYS, &(row.id, index), &chunk)?;
    }
    tx.put(&tables::SNI, &row.id, row)?;
    tx.event(ctx.now, Some(row.app), ctx.origin(), EventBody::SniEndpointChanged { endpoint: row.id })?;
    Ok(())
}
