//! Rows of managed certificates: which there should be, and how they change.

use super::Settings;
use crate::Engine;
use domain::{
    AppId, EventBody, Origin, UnixMs,
    acm::{Entry, Happened, Managed, Noted},
};
use std::collections::BTreeMap;
use store::{ReadRows, Sealer, StoreError, Tx, tables};
use uuid::Uuid;

/// Under this id the key of the account is sealed.
pub const ACCOUNT: Uuid = Uuid::nil();

/// Names that are to have certificates, and whose they are.
fn wanted(tx: &Tx, settings: &Settings) -> Result<BTreeMap<String, Option<AppId>>, StoreError> {
    let mut wanted: BTreeMap<String, Option<AppId>> = settings.own_names.iter().map(|name| (name.clone(), None)).collect();
    if let Some(domain) = &settings.app_domain {
        // An order counts at the authority, so an app must have had something to show.
        for app in tx.scan(&tables::APPS, &())? {
            let Some(version) = app.proven else { continue };
            if tx.get(&tables::RELEASES, &(app.id, version))?.is_some_and(|release| release.slug.is_some()) {
                wanted.insert(format!("{}.{domain}", app.name), None);
            }
        }
    }
    let mut managed = BTreeMap::new();
    for domain in tx.scan(&tables::DOMAINS, &())? {
        let on = match managed.get(&domain.app) {
            Some(on) => *on,
            None => {
                let on = tx.get(&tables::APPS, &domain.app)?.is_some_and(|app| app.acm_since.is_some());
                managed.insert(domain.app, on);
                on
            }
        };
        // An uploaded certificate wins; its domain is left alone.
        if on && domain.sni_endpoint.is_none() {
            wanted.insert(domain.hostname, Some(domain.app));
        }
    }
    Ok(wanted)
}

fn put(tx: &mut Tx, row: &Managed, now: UnixMs) -> Result<(), StoreError> {
    tx.put(&tables::MANAGED, &row.name, row)?;
    let body = EventBody::ManagedCertificateChanged { hostname: row.name.clone() };
    tx.event(now, row.app, Origin::default(), body)?;
    Ok(())
}

/// Makes rows for names that came, marks those that left, forgets what is over. True when something changed.
pub async fn align(engine: &Engine) -> Result<bool, StoreError> {
    let parts = &engine.shared.parts;
    let (now, rules) = (parts.clock.now(), parts.acme.settings.rules.clone());
    let settings = parts.acme.settings.clone();
    let align = move |tx: &mut Tx| -> Result<bool, StoreError> {
        let mut wanted = wanted(tx, &settings)?;
        let mut changed = false;
        for mut row in tx.scan(&tables::MANAGED, &())? {
            match wanted.remove(&row.name) {
                Some(app) if row.left_at.is_none() && row.app == app => continue,
                Some(app) => row.take(Happened::Wanted(app), now, &rules, 0),
                None if row.left_at.is_none() => row.take(Happened::Left, now, &rules, 0),
                None if row.is_over(now) => {
                    tx.delete(&tables::MANAGED, &row.name);
                    if let Some(issued) = &row.issued {
                        tx.delete_all(&tables::MANAGED_KEYS, &issued.key)?;
                    }
                    continue;
                }
                None => continue,
            }
            put(tx, &row, now)?;
            changed = true;
        }
        for (name, app) in wanted {
            put(tx, &Managed::new(name, app, now), now)?;
            changed = true;
        }
        for entry in tx.scan(&tables::ACM_LEDGER, &())?.into_iter().filter(|entry| entry.is_old(now)) {
            tx.delete_all(&tables::ACM_LEDGER, &entry.at.0)?;
        }
        Ok(changed)
    };
    parts.store.commit(align).await
}

/// Tells a name's row what happened; the row as it is then, `None` when nobody wants it any more.
pub async fn take(engine: &Engine, name: &str, happened: Happened) -> Result<Option<Managed>, StoreError> {
    let parts = &engine.shared.parts;
    let (now, rules, name) = (parts.clock.now(), parts.acme.settings.rules.clone(), name.to_string());
    let dice = Uuid::new_v4().as_u64_pair().0;
    let take = move |tx: &mut Tx| -> Result<Option<Managed>, StoreError> {
        let Some(mut row) = tx.get(&tables::MANAGED, &name)?.filter(|row| row.left_at.is_none()) else { return Ok(None) };
        let before = [row.order.as_ref().map(|order| order.key), row.issued.as_ref().map(|issued| issued.key)];
        row.take(happened, now, &rules, dice);
        let after = [row.order.as_ref().map(|order| order.key), row.issued.as_ref().map(|issued| issued.key)];
        for key in before.into_iter().flatten().filter(|key| !after.contains(&Some(*key))) {
            tx.delete_all(&tables::MANAGED_KEYS, &key)?;
        }
        put(tx, &row, now)?;
        Ok(Some(row))
    };
    parts.store.commit(take).await
}

/// Notes what is asked of the authority, before it is asked.
pub async fn note(engine: &Engine, name: &str, what: Noted) -> Result<(), StoreError> {
    let parts = &engine.shared.parts;
    let entry = Entry { at: parts.clock.now(), what, name: name.to_string(), directory: parts.acme.settings.directory.clone() };
    let note = move |tx: &mut Tx| tx.put(&tables::ACM_LEDGER, &(entry.at.0, Uuid::new_v4()), &entry);
    parts.store.commit(note).await
}

fn context(id: Uuid) -> Vec<u8> {
    format!("managed key {id}").into_bytes()
}

/// Seals a key under an id.
pub async fn keep_key(engine: &Engine, id: Uuid, key: Vec<u8>) -> Result<(), StoreError> {
    let parts = &engine.shared.parts;
    let sealer = parts.sealer.clone();
    let keep = move |tx: &mut Tx| -> Result<(), StoreError> {
        for (index, chunk) in (0u32..).zip(sealer.seal(&context(id), &key)?) {
            tx.put(&tables::MANAGED_KEYS, &(id, index), &chunk)?;
        }
        Ok(())
    };
    parts.store.commit(keep).await
}

/// Opens a key; `None` when there is none.
pub fn read_key(rows: &impl ReadRows, sealer: &Sealer, id: Uuid) -> Result<Option<Vec<u8>>, StoreError> {
    let chunks = rows.scan(&tables::MANAGED_KEYS, &id)?;
    if chunks.is_empty() { Ok(None) } else { sealer.open(&context(id), &chunks).map(Some) }
}
