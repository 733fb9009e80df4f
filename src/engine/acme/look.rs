//! Looks before an authority is asked, since a proof that fails is what costs (`acm.md` section 4, step 1).

use super::{Desk, Settings};
use certs::{acme::About, dns::Dns};
use domain::acm::{Cause, Method, Trouble, caa_allows, leads_here, may_be_public};
use std::net::IpAddr;

fn dns_trouble(reason: String) -> Trouble {
    Trouble { cause: Cause::Dns, reason, not_before: None, order_is_over: true }
}

fn hopeless(reason: String) -> Trouble {
    Trouble { cause: Cause::Hopeless, reason, not_before: None, order_is_over: true }
}

/// Ways in which `name` can be proven here, the best first. After a failure the next one is tried.
pub fn methods(settings: &Settings, name: &str, failures: u32) -> Result<Vec<Method>, Trouble> {
    let can = |method: &Method| match method {
        Method::Dns01 => settings.dns_hook.is_some() && name.parse::<IpAddr>().is_err(),
        Method::Http01 | Method::TlsAlpn01 => !name.starts_with("*."),
    };
    let mut all: Vec<Method> = settings.methods.iter().copied().filter(can).collect();
    if all.is_empty() && name.starts_with("*.") {
        return Err(hopeless(
            "A wildcard is proven in DNS, and this server has no DNS hook; upload a certificate with certs:add.".into(),
        ));
    }
    if all.is_empty() {
        return Err(hopeless("None of the ways to prove a name that this server is set to fits it.".into()));
    }
    let turns = usize::try_from(failures).unwrap_or(0) % all.len();
    all.rotate_left(turns);
    Ok(all)
}

/// Is this a name that leads here?
pub async fn leads(desk: &Desk, settings: &Settings, platform: &str, name: &str, methods: &[Method]) -> Result<(), Trouble> {
    if settings.is_public() && !may_be_public(name) {
        return Err(hopeless(format!("{name} is a name of an inner network; public authorities make no certificates for it.")));
    }
    if name.parse::<IpAddr>().is_ok() || methods.first() == Some(&Method::Dns01) {
        return Ok(()); // nothing in DNS leads anywhere
    }
    if settings.public_addresses.is_empty() && !may_be_public(platform) {
        return Err(hopeless(format!(
            "This server has no public name (it is {platform}) and was not told its addresses; see --domain and --public-addresses."
        )));
    }
    let dns = dns(desk, settings).await?;
    let ours = match settings.public_addresses.as_slice() {
        [] => dns.addresses(platform).await.map_err(dns_trouble)?,
        given => given.to_vec(),
    };
    if ours.is_empty() {
        return Err(dns_trouble(format!("DNS has no address for this server's own name {platform}.")));
    }
    leads_here(&dns.addresses(name).await.map_err(dns_trouble)?, &ours).map_err(dns_trouble)?;
    match dns.authoritative(name).await {
        Some(found) => leads_here(&found, &ours)
            .map_err(|seen| dns_trouble(format!("{seen} The name servers of the domain say so; others have an older answer."))),
        None => Ok(()),
    }
}

/// May this authority make one for the name?
pub async fn allowed(desk: &Desk, settings: &Settings, about: &About, name: &str, methods: &[Method]) -> Result<(), Trouble> {
    if name.parse::<IpAddr>().is_ok() {
        return Ok(());
    }
    let records = dns(desk, settings).await?.caa(name).await.map_err(dns_trouble)?;
    let words: Vec<&str> = methods.iter().map(|method| method.word()).collect();
    caa_allows(&records, &about.identities, name.starts_with("*."), &words).map_err(dns_trouble)
}

/// Whom to ask; opened when it is needed, since few servers ever do.
pub async fn dns<'a>(desk: &'a Desk, settings: &Settings) -> Result<&'a Dns, Trouble> {
    let opened = desk.dns.get_or_try_init(async || Dns::new(&settings.dns_servers)).await;
    opened.map_err(|reason| dns_trouble(format!("DNS can not be asked: {reason}.")))
}
