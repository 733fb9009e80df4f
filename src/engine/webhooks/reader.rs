//! From events to deliveries. The cursor moves in the transaction that writes the deliveries, so each event makes them once.
//!
//! A payload shows the resource as it is when the event is read, which is a moment after it happened; a dyno that is gone
//! by then is shown as it was last seen.

use crate::Engine;
use domain::{
    AppId, Build, DynoId, Event, EventBody, UnixMs, Webhook,
    webhook::{DELIVERIES_KEPT, Delivery, DeliveryStatus, HookEvent, PAYLOAD_BYTES_MAX, Subject},
};
use serde_json::{Value, json};
use std::{collections::HashMap, time::Duration};
use store::{ReadRows, StoreError, Tx, tables};
use uuid::Uuid;

/// In the table of facts: the last event that was read.
const CURSOR: &str = "webhooks_cursor";
/// In the table of facts: the last number of a delivery.
const COUNTER: &str = "webhooks_deliveries";
const EVENTS_AT_ONCE: usize = 200;
/// The wake-up is a hint only.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Dynos whose last state is remembered.
const SEEN_MAX: usize = 10_000;
const VERSION: &str = "application/vnd.heroku+json; version=3";

/// What an event says to hooks: `include`, action, and the resource.
struct Told {
    include: &'static str,
    action: &'static str,
    resource: &'static str,
    data: Value,
}

/// Dynos as they were last shown.
type Seen = HashMap<DynoId, Value>;

/// What hooks were last told, since the start of the daemon.
#[derive(Default)]
struct Memory {
    dynos: Seen,
    /// By resource and id.
    shown: HashMap<String, Value>,
}

impl Memory {
    /// Keeps what is told now; answers what the changed properties were before, of an update.
    fn previous(&mut self, told: &Told) -> Value {
        let key = format!("{} {}", told.resource, told.data["id"]);
        let before = if told.action == "destroy" { self.shown.remove(&key) } else { self.shown.insert(key, told.data.clone()) };
        if self.shown.len() > SEEN_MAX {
            self.shown.clear();
        }
        let before = before.filter(|_| told.action == "update");
        let changed = before.as_ref().and_then(Value::as_object).into_iter().flatten();
        let changed = changed.filter(|(name, value)| told.data.get(name.as_str()) != Some(*value));
        Value::Object(changed.map(|(name, value)| (name.clone(), value.clone())).collect())
    }
}

/// Reads for ever.
pub async fn run(engine: Engine) {
    let store = &engine.shared.parts.store;
    let mut committed = store.committed();
    let mut cursor = match store.get(&tables::META, &CURSOR.to_string()) {
        Ok(Some(cursor)) => cursor,
        _ => *committed.borrow(),
    };
    let mut seen = Memory::default();
    while !engine.is_closing() {
        let newest = *committed.borrow_and_update();
        if cursor < newest {
            match batch(&engine, &mut seen, cursor).await {
                Ok(read) => cursor = read,
                Err(e) => {
                    tracing::error!(error = %e, "engine.webhooks_unreadable: trying again");
                    tokio::time::sleep(LOOK_EVERY).await;
                }
            }
        } else if let Ok(Err(_)) = tokio::time::timeout(LOOK_EVERY, committed.changed()).await {
            return; // the store was closed
        }
    }
}

/// Reads some events; answers the new cursor.
async fn batch(engine: &Engine, seen: &mut Memory, cursor: u64) -> Result<u64, StoreError> {
    let parts = &engine.shared.parts;
    let events = parts.store.scan_from(&tables::EVENTS, &(cursor + 1), EVENTS_AT_ONCE)?;
    let Some(last) = events.last().map(|event| event.seq) else { return Ok(cursor) };
    let hooks = parts.store.scan(&tables::WEBHOOKS, &())?;
    if hooks.is_empty() {
        return Ok(last); // hooks that come later are told of later events only
    }
    let mut news: Vec<(HookEvent, Vec<Webhook>)> = Vec::new();
    for event in &events {
        let Some(app) = event.app else { continue };
        // Second by second: a hook is not told of what was before it.
        let of_app: Vec<&Webhook> = hooks.iter().filter(|h| h.app == app && h.created_at <= event.at).collect();
        if of_app.is_empty() {
            continue;
        }
        if matches!(event.body, EventBody::WebhookChanged { .. })
            && let Some(data) = (parts.show)(&Subject::App(app))
        {
            // So that the first change has something to be compared with.
            seen.previous(&Told { include: "api:app", action: "update", resource: "app", data });
        }
        for told in told(engine, seen, app, event) {
            let previous = seen.previous(&told);
            let to: Vec<Webhook> =
                of_app.iter().filter(|h| h.include.iter().any(|i| i == told.include)).map(|h| (*h).clone()).collect();
            if !to.is_empty() {
                news.push((hook_event(engine, app, event, told, previous), to));
            }
        }
    }
    let now = parts.clock.now();
    let made = parts.store.commit(move |tx| record(tx, now, last, &news)).await?;
    for delivery in made {
        engine.shared.hooks.put(delivery.webhook, (now, delivery.seq, delivery.app));
    }
    Ok(last)
}

/// Writes events, deliveries and the cursor.
fn record(tx: &mut Tx, now: UnixMs, cursor: u64, news: &[(HookEvent, Vec<Webhook>)]) -> Result<Vec<Delivery>, StoreError> {
    let mut made = Vec::new();
    let mut seq = tx.get(&tables::META, &COUNTER.to_string())?.unwrap_or(0);
    for (event, hooks) in news {
        let mut kept = 0;
        for hook in hooks {
            if tx.get(&tables::WEBHOOKS, &(hook.app, hook.id))?.is_none() {
                continue; // removed meanwhile
            }
            seq += 1;
            kept += 1;
            let delivery = Delivery {
                id: Uuid::new_v4(),
                app: hook.app,
                seq,
                event: event.id,
                include: event.include.clone(),
                webhook: hook.id,
                level: hook.level,
                status: DeliveryStatus::Pending,
                num_attempts: 0,
                next_attempt_at: Some(now),
                last_attempt: None,
                created_at: now,
                updated_at: now,
            };
            tx.put(&tables::DELIVERIES, &(hook.app, seq), &delivery)?;
            made.push(delivery);
        }
        if kept > 0 {
            tx.put(&tables::WEBHOOK_EVENTS, &(event.app, event.id), event)?;
            forget_old(tx, event.app)?;
        }
    }
    tx.put(&tables::META, &COUNTER.to_string(), &seq)?;
    tx.put(&tables::META, &CURSOR.to_string(), &cursor)?;
    Ok(made)
}

/// Only so many deliveries of an app are kept, and the events that they carry.
fn forget_old(tx: &mut Tx, app: AppId) -> Result<(), StoreError> {
    let all = tx.scan(&tables::DELIVERIES, &app)?;
    let over = all.len().saturating_sub(DELIVERIES_KEPT);
    let (old, kept) = all.split_at(over);
    for delivery in old {
        if !delivery.status.is_final() {
            tracing::warn!(app = %app, delivery = %delivery.id, "engine.webhooks_dropped: too many deliveries wait");
        }
        tx.delete(&tables::DELIVERIES, &(app, delivery.seq));
        if !kept.iter().any(|k| k.event == delivery.event) {
            tx.delete(&tables::WEBHOOK_EVENTS, &(app, delivery.event));
        }
    }
    Ok(())
}

fn hook_event(engine: &Engine, app: AppId, event: &Event, told: Told, previous: Value) -> HookEvent {
    let parts = &engine.shared.parts;
    let id = Uuid::new_v4();
    let actor = event.actor.and_then(|actor| parts.service.account(actor).ok());
    let actor = actor.map_or_else(
        || json!({ "email": format!("platform@{}", parts.settings.domain), "id": Uuid::nil() }),
        |account| json!({ "email": account.email, "id": account.id }),
    );
    let at = wire::time(event.at.0);
    let mut payload = json!({
        "id": id,
        "action": told.action,
        "actor": actor,
        "created_at": at,
        "data": told.data,
        "previous_data": previous,
        "published_at": wire::time(parts.clock.now().0),
        "resource": told.resource,
        "sequence": event.seq.to_string(),
        "updated_at": at,
        "version": VERSION,
    });
    let mut text = payload.to_string();
    if text.len() > PAYLOAD_BYTES_MAX {
        payload["data"] = json!({ "id": payload["data"]["id"], "truncated": true });
        payload["previous_data"] = json!({});
        text = payload.to_string();
    }
    HookEvent { id, app, include: told.include.into(), payload: text, created_at: event.at }
}

/// What an event says to hooks.
fn told(engine: &Engine, seen: &mut Memory, app: AppId, event: &Event) -> Vec<Told> {
    let show = |subject: Subject| (engine.shared.parts.show)(&subject);
    let one = |include, action, resource, data: Option<Value>| {
        data.map(|data| Told { include, action, resource, data }).into_iter().collect::<Vec<_>>()
    };
    match &event.body {
        EventBody::AppCreated => one("api:app", "create", "app", show(Subject::App(app))),
        EventBody::AppUpdated | EventBody::AppTransferred { .. } => one("api:app", "update", "app", show(Subject::App(app))),
        EventBody::BuildCreated { build } => {
            let data = show(Subject::Build(app, *build)).map(|data| as_asked(engine, *build, data));
            one("api:build", "create", "build", data)
        }
        EventBody::BuildChanged { build } => one("api:build", "update", "build", show(Subject::Build(app, *build))),
        EventBody::ReleaseCreated { version } => one("api:release", "create", "release", show(Subject::Release(app, *version))),
        EventBody::ReleaseChanged { version } => one("api:release", "update", "release", show(Subject::Release(app, *version))),
        EventBody::FormationChanged => {
            let entries = engine.shared.parts.store.scan(&tables::FORMATION, &app).unwrap_or_default();
            let changed = entries.into_iter().filter(|entry| entry.updated_at >= event.at);
            let shown = changed.filter_map(|entry| show(Subject::Formation(app, entry.ptype)));
            shown.flat_map(|data| one("api:formation", "update", "formation", Some(data))).collect()
        }
        EventBody::DomainChanged { hostname } => {
            let there = show(Subject::Domain(app, hostname.clone()));
            let action = if there.is_some() { "create" } else { "destroy" };
            let data = there.unwrap_or_else(|| json!({ "app": { "id": app }, "hostname": hostname }));
            one("api:domain", action, "domain", Some(data))
        }
        EventBody::CollaboratorChanged { account, permissions } => {
            let there = show(Subject::Collaborator(app, *account));
            let action = if permissions.is_empty() { "destroy" } else { "create" };
            let data = there.unwrap_or_else(|| json!({ "app": { "id": app }, "user": { "id": account } }));
            one("api:collaborator", action, "collaborator", Some(data))
        }
        EventBody::DynoChanged { dyno } => told_of_dyno(&mut seen.dynos, *dyno, show(Subject::Dyno(app, *dyno))),
        EventBody::SniEndpointChanged { endpoint } => {
            let there = show(Subject::SniEndpoint(app, *endpoint));
            let action = match &there {
                None => "destroy",
                Some(data) if data["created_at"] == data["updated_at"] => "create",
                Some(_) => "update",
            };
            let data = there.unwrap_or_else(|| json!({ "app": { "id": app }, "id": endpoint }));
            one("api:sni-endpoint", action, "sni-endpoint", Some(data))
        }
        _ => Vec::new(),
    }
}

/// A build that has ended by the time its beginning is read is still shown as it began.
fn as_asked(engine: &Engine, id: domain::BuildId, mut data: Value) -> Value {
    let row: Option<Build> = engine.shared.parts.store.get(&tables::BUILDS, &id).ok().flatten();
    if let Some(row) = row {
        data["status"] = json!("pending");
        data["release"] = Value::Null;
        data["slug"] = Value::Null;
        data["updated_at"] = json!(wire::time(row.created_at.0));
    }
    data
}

/// A dyno is told of as made when it is first seen, then as it changes, and as gone once.
fn told_of_dyno(seen: &mut Seen, id: DynoId, there: Option<Value>) -> Vec<Told> {
    let tell = |include, action, data| Told { include, action, resource: "dyno", data };
    let Some(data) = there else {
        let last = seen.remove(&id).map(|mut data| {
            data["state"] = json!("down");
            data
        });
        return last.map(|data| tell("dyno", "destroy", data)).into_iter().collect();
    };
    let before = seen.insert(id, data.clone());
    if seen.len() > SEEN_MAX {
        seen.clear();
    }
    let crashed = data["state"] == "crashed";
    match before {
        Some(before) if before["state"] == data["state"] => Vec::new(),
        Some(_) if crashed => vec![tell("dyno", "destroy", data)],
        Some(_) => vec![tell("dyno", "update", data)],
        // After a restart of the daemon all are new to it; only a young one is.
        None if data["created_at"] == data["updated_at"] => {
            vec![tell("api:dyno", "create", data.clone()), tell("dyno", "update", data)]
        }
        None => vec![tell("dyno", if crashed { "destroy" } else { "update" }, data)],
    }
}
