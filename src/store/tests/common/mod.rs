//! Helpers of the store's tests: a world of apps where every transaction writes two rows and one event.
#![allow(dead_code, missing_docs)]

use domain::{AccountId, App, AppId, EventBody, Origin, UnixMs};
use std::path::Path;
use store::{Options, ReadRows, Store, StoreError, Tx, tables};
use uuid::Uuid;

pub fn app(n: u64) -> App {
    App {
        id: AppId(Uuid::from_u128(u128::from(n) + 1)),
        name: format!("app-{n}"),
        owner: AccountId(Uuid::nil()),
        team: None,
        locked: false,
        stack: "heroku-24".into(),
        buildpacks: vec![],
        maintenance: false,
        detected: None,
        next_version: n,
        current: None,
        proven: None,
        config_version: 0,
        generation: 0,
        created_at: UnixMs(n),
        updated_at: UnixMs(n),
        released_at: None,
        repo_bytes: None,
        slug_bytes: None,
        asleep_since: None,
        in_steps: None,
        features: Default::default(),
        health_check: None,
        acm_since: None,
        volume_user: None,
    }
}

/// Two rows and one event that belong together.
pub fn write(tx: &mut Tx, n: u64) -> Result<u64, StoreError> {
    let app = app(n);
    tx.put(&tables::APPS, &app.id, &app)?;
    tx.put(&tables::APP_BY_NAME, &app.name, &app.id)?;
    tx.event(UnixMs(n), Some(app.id), Origin::default(), EventBody::AppCreated)
}

pub fn open(dir: &Path) -> Store {
    Store::open(Options::new(dir)).expect("the store opens")
}

/// Checks that rows, index and events agree and that events have no gap; gives the numbers that are there.
pub fn check(store: &Store) -> Vec<u64> {
    let apps = store.scan(&tables::APPS, &()).expect("apps");
    let names = store.scan(&tables::APP_BY_NAME, &()).expect("names");
    let events = store.scan(&tables::EVENTS, &()).expect("events");
    assert_eq!(apps.len(), names.len(), "half a transaction is visible");
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event.seq, index as u64 + 1, "events have a gap");
    }
    let mut numbers: Vec<u64> = apps.iter().map(|a| a.next_version).collect();
    numbers.sort_unstable();
    let mut from_events: Vec<u64> = events.iter().map(|e| e.at.0).collect();
    from_events.sort_unstable();
    from_events.dedup();
    assert_eq!(numbers, from_events, "rows and events differ");
    numbers
}
