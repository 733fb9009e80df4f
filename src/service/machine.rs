//! The machine below, and the domain that apps live at (`ux.md` J1). For admins, root on the machine, and who holds a setup link.

use crate::{Action, Ctx, Error, On, Result, Service, access};
use domain::{
    EventBody,
    machine::{Check, Machine, Record, sslip_domain},
    names::normal_host,
};
use std::sync::Arc;

impl Service {
    fn machine_for(&self, ctx: &Ctx) -> Result<Arc<dyn Machine>> {
        access::check(self.store(), ctx, Action::ManagePeople, On::Platform)?;
        Ok(self.parts().machine.clone())
    }

    /// Looks at the machine: what is well, and what to do about the rest.
    ///
    /// # Errors
    /// `forbidden` for others than admins.
    pub async fn machine_checks(&self, ctx: &Ctx) -> Result<Vec<Check>> {
        let machine = self.machine_for(ctx)?;
        blocking(move || machine.checks()).await
    }

    /// The records that `domain` needs to be the platform domain, and what DNS says of them now.
    ///
    /// # Errors
    /// `forbidden`; `invalid_params` for what is no host name.
    pub async fn domain_records(&self, ctx: &Ctx, domain: &str) -> Result<Vec<Record>> {
        let machine = self.machine_for(ctx)?;
        let domain = platform_domain(domain)?;
        blocking(move || machine.records(&domain)).await
    }

    /// The domain that needs no DNS of one's own, when this machine knows an address of it.
    ///
    /// # Errors
    /// `forbidden`.
    pub async fn domain_without_dns(&self, ctx: &Ctx) -> Result<Option<String>> {
        let machine = self.machine_for(ctx)?;
        let addresses = blocking(move || machine.addresses()).await?;
        Ok(addresses.iter().find(|a| a.is_ipv4()).or(addresses.first()).map(|address| sslip_domain(*address)))
    }

    /// Lets apps live at another domain; the daemon starts anew for that, apps and visitors do not notice.
    ///
    /// # Errors
    /// `forbidden`; `invalid_params` for what is no host name; `conflict` when the setting can not be kept.
    pub async fn set_platform_domain(&self, ctx: &Ctx, domain: &str) -> Result<String> {
        let machine = self.machine_for(ctx)?;
        let domain = platform_domain(domain)?;
        if domain == self.addresses().domain {
            return Ok(domain);
        }
        let (now, origin, event) = (ctx.now, ctx.origin(), EventBody::PlatformDomainChanged { domain: domain.clone() });
        self.store()
            .commit(move |tx| -> Result<()> {
                tx.event(now, None, origin, event)?;
                Ok(())
            })
            .await?;
        let kept = domain.clone();
        blocking(move || machine.set_domain(&kept)).await?.map_err(Error::conflict)?;
        Ok(domain)
    }
}

async fn blocking<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(look).await.map_err(|e| Error::internal(e.to_string()))
}

/// A host name with at least two parts, or `localhost` for a try at home.
fn platform_domain(text: &str) -> Result<String> {
    let text = text.trim().trim_end_matches('.').to_lowercase();
    let good =
        |name: &String| (name.contains('.') || name == "localhost") && !name.starts_with(['*', '.']) && name.len() <= 200;
    normal_host(&text)
        .filter(|name| *name == text && !text.contains(':') && good(name) && text.parse::<std::net::IpAddr>().is_err())
        .ok_or_else(|| Error::invalid(format!("{text:?} is no domain. It must be a host name, such as paas.example.com.")))
}

#[cfg(test)]
mod tests {
    use super::platform_domain;

    #[test]
    fn domains_are_checked() {
        assert_eq!(platform_domain(" PaaS.example.com. ").unwrap(), "paas.example.com");
        for bad in ["", "a b.c", "*.example.com", "paas", "203.0.113.10", "a.example:80", ".example.com", "a\nb.c"] {
            assert!(platform_domain(bad).is_err(), "{bad}");
        }
    }
}
