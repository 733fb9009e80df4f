//! From rows to the certificates that answer handshakes.

use crate::{Parts, acme};
use certs::serving::{Ready, Snapshot, ready};
use domain::{AppDomain, AppId, EventBody, acm::Issued};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
};
use store::{ReadRows, tables};
use uuid::Uuid;

/// Certificates that are ready, so that a change of one does not mean to read the keys of all.
#[derive(Default)]
pub struct Certificates(Mutex<HashMap<Uuid, (String, Ready)>>);

impl Certificates {
    /// True when the event may change which certificate answers.
    pub fn concerns(body: &EventBody) -> bool {
        matches!(body, EventBody::DomainChanged { .. } | EventBody::SniEndpointChanged { .. } | EventBody::AppDestroyed)
    }

    /// Reads all anew and publishes. One that can not be read is told and left out; the others serve.
    pub fn refresh(&self, parts: &Parts) -> Result<(), service::Error> {
        // Held to the end, so that an older snapshot never follows a newer one.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = HashMap::new();
        for row in parts.store.scan(&tables::SNI, &())? {
            let made = match known.get(&row.id) {
                Some((chain, made)) if *chain == row.facts.chain => Ok(made.clone()),
                _ => service::read_sni_key(&parts.store, &parts.sealer, row.id)
                    .map_err(|e| e.to_string())
                    .and_then(|key| ready(&row.facts.chain, &key)),
            };
            match made {
                Ok(made) => drop(all.insert(row.id, (row.facts.chain, made))),
                Err(reason) => tracing::error!(endpoint = %row.id, %reason, "engine.certificate_unusable"),
            }
        }
        let mut managed = HashMap::new();
        for row in parts.store.scan(&tables::MANAGED, &())? {
            let Some(issued) = row.serves() else { continue };
            match made_of(&known, issued, parts) {
                Ok(made) => {
                    all.insert(issued.key, (issued.facts.chain.clone(), made.clone()));
                    managed.insert(row.name, (row.app, made));
                }
                Err(reason) => tracing::error!(name = %row.name, %reason, "engine.certificate_unusable"),
            }
        }
        *known = all;
        let domains = parts.store.scan(&tables::DOMAINS, &())?;
        parts.certificates.publish(snapshot(&domains, &managed, |id| known.get(&id).map(|(_, made)| made.clone())));
        Ok(())
    }
}

/// A managed certificate, ready; the one of before where it is the same.
fn made_of(known: &HashMap<Uuid, (String, Ready)>, issued: &Issued, parts: &Parts) -> Result<Ready, String> {
    if let Some((_, made)) = known.get(&issued.key) {
        return Ok(made.clone());
    }
    let key = acme::read_key(&parts.store, &parts.sealer, issued.key).map_err(|e| e.to_string())?;
    let key = key.and_then(|key| String::from_utf8(key).ok()).ok_or("its key is gone")?;
    ready(&issued.facts.chain, &key)
}

fn snapshot(
    domains: &[AppDomain],
    managed: &HashMap<String, (Option<AppId>, Ready)>,
    uploaded: impl Fn(Uuid) -> Option<Ready>,
) -> Snapshot {
    let made = |domain: &AppDomain| match domain.sni_endpoint {
        Some(id) => uploaded(id),
        None => managed.get(&domain.hostname).filter(|(app, _)| *app == Some(domain.app)).map(|(_, made)| made.clone()),
    };
    let mut snapshot = Snapshot::default();
    for (name, (_, made)) in managed.iter().filter(|(_, (app, _))| app.is_none()) {
        match name.strip_prefix("*.") {
            _ if name.parse::<IpAddr>().is_ok() => snapshot.bare = Some(made.clone()),
            Some(parent) => drop(snapshot.wildcards.insert(parent.into(), made.clone())),
            None => drop(snapshot.hosts.insert(name.clone(), Some(made.clone()))),
        }
    }
    let mut wildcard_apps: HashMap<&str, AppId> = HashMap::new();
    for domain in domains {
        if let Some(parent) = domain.hostname.strip_prefix("*.")
            && let Some(made) = made(domain)
        {
            snapshot.wildcards.insert(parent.into(), made);
            wildcard_apps.insert(parent, domain.app);
        }
    }
    for domain in domains.iter().filter(|d| !d.hostname.starts_with("*.")) {
        let made = made(domain);
        let parent = domain.hostname.split_once('.').map_or("", |(_, parent)| parent);
        // Another app's wildcard certificate must not speak for this name.
        if made.is_some() || wildcard_apps.get(parent).is_some_and(|app| *app != domain.app) {
            snapshot.hosts.insert(domain.hostname.clone(), made);
        }
    }
    snapshot
}
