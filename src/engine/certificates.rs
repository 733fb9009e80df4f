//! From rows to the certificates that answer handshakes.

use crate::Parts;
use certs::serving::{Ready, Snapshot, ready};
use domain::{AppDomain, AppId, EventBody};
use std::{
    collections::HashMap,
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
        *known = all;
        let domains = parts.store.scan(&tables::DOMAINS, &())?;
        parts.certificates.publish(snapshot(&domains, |id| known.get(&id).map(|(_, made)| made.clone())));
        Ok(())
    }
}

fn snapshot(domains: &[AppDomain], ready: impl Fn(Uuid) -> Option<Ready>) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let mut wildcard_apps: HashMap<&str, AppId> = HashMap::new();
    for domain in domains {
        if let Some(parent) = domain.hostname.strip_prefix("*.")
            && let Some(made) = domain.sni_endpoint.and_then(&ready)
        {
            snapshot.wildcards.insert(parent.into(), made);
            wildcard_apps.insert(parent, domain.app);
        }
    }
    for domain in domains.iter().filter(|d| !d.hostname.starts_with("*.")) {
        let made = domain.sni_endpoint.and_then(&ready);
        let parent = domain.hostname.split_once('.').map_or("", |(_, parent)| parent);
        // Another app's wildcard certificate must not speak for this name.
        if made.is_some() || wildcard_apps.get(parent).is_some_and(|app| *app != domain.app) {
            snapshot.hosts.insert(domain.hostname.clone(), made);
        }
    }
    snapshot
}
