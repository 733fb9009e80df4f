//! From deliveries to requests. An attempt is written before it is sent: after a crash one without an end is sent again
//! for `sync`, and given up for `notify`.

use super::{
    Due,
    post::{self, Post, Sent},
};
use crate::Engine;
use domain::{
    Webhook,
    webhook::{Delivery, HookEvent},
};
use serde_json::{Value, json};
use std::time::Duration;
use store::{ReadRows, StoreError, Tx, tables};
use uuid::Uuid;

const IDLE_LOOK: Duration = Duration::from_secs(60);
/// After an error of the store.
const ERROR_PAUSE_MS: u64 = 5_000;
const USER_AGENT: &str = concat!("tidemill-webhooks/", env!("CARGO_PKG_VERSION"));

/// Queues what a daemon before this one did not deliver.
pub fn load(engine: &Engine) -> Result<(), StoreError> {
    let now = engine.shared.parts.clock.now();
    for delivery in engine.shared.parts.store.scan(&tables::DELIVERIES, &())?.into_iter().filter(|d| !d.status.is_final()) {
        engine.shared.hooks.put(delivery.webhook, (delivery.next_attempt_at.unwrap_or(now), delivery.seq, delivery.app));
    }
    Ok(())
}

/// Sends for ever.
pub async fn run(engine: Engine) {
    while !engine.is_closing() {
        let now = engine.shared.parts.clock.now();
        let (taken, next) = engine.shared.hooks.take(now);
        for (hook, due) in taken {
            let engine = engine.clone();
            tokio::spawn(async move {
                match one(&engine, due).await {
                    Ok(Some(again)) => engine.shared.hooks.put(hook, again),
                    Ok(None) => {}
                    Err(e) => {
                        tracing::error!(error = %e, "engine.webhook_not_recorded: trying again");
                        let at = engine.shared.parts.clock.now().plus_ms(ERROR_PAUSE_MS);
                        engine.shared.hooks.put(hook, (at, due.1, due.2));
                    }
                }
                engine.shared.hooks.free(hook);
            });
        }
        let wait = next.map_or(IDLE_LOOK, |at| Duration::from_millis(at.since_ms(now) + 1).min(IDLE_LOOK));
        let _ = tokio::time::timeout(wait, engine.shared.hooks.changed.notified()).await; // either is a reason to look
    }
}

/// One attempt; when to try again, if at all.
async fn one(engine: &Engine, due: Due) -> Result<Option<Due>, StoreError> {
    let (_, seq, app) = due;
    let parts = &engine.shared.parts;
    let (now, attempt) = (parts.clock.now(), Uuid::new_v4());
    let begun = parts.store.commit(move |tx| begin(tx, app, seq, attempt, now)).await?;
    let (delivery, hook, event) = match begun {
        Begun::Ready(delivery, hook, event) => (delivery, hook, event),
        Begun::Later(at) => return Ok(Some((at, seq, app))),
        Begun::Nothing => return Ok(None),
    };
    let sent = match post(engine, &delivery, &hook, &event, attempt) {
        Ok(post) => {
            let sent = tokio::task::spawn_blocking(move || post::send(post)).await;
            sent.unwrap_or_else(|_| Sent::failed("unknown"))
        }
        Err(e) => {
            tracing::error!(error = %e, webhook = %hook.id, "engine.webhook_secret");
            Sent::failed("secret")
        }
    };
    let now = parts.clock.now();
    let percent = u64::from(attempt.as_bytes()[0]) * 100 / 256;
    let work = move |tx: &mut Tx| -> Result<Option<Due>, StoreError> {
        let Some(mut row) = tx.get(&tables::DELIVERIES, &(app, seq))? else { return Ok(None) };
        row.end(now, sent.code, sent.error, percent);
        sent.pause_s.into_iter().for_each(|seconds| row.pause(now, seconds));
        tx.put(&tables::DELIVERIES, &(app, seq), &row)?;
        Ok(row.next_attempt_at.map(|at| (at, seq, app)))
    };
    parts.store.commit(work).await
}

enum Begun {
    Ready(Box<Delivery>, Box<Webhook>, Box<HookEvent>),
    Later(domain::UnixMs),
    Nothing,
}

fn begin(tx: &mut Tx, app: domain::AppId, seq: u64, attempt: Uuid, now: domain::UnixMs) -> Result<Begun, StoreError> {
    let Some(mut row) = tx.get(&tables::DELIVERIES, &(app, seq))? else { return Ok(Begun::Nothing) };
    row.recover(now);
    let hook = tx.get(&tables::WEBHOOKS, &(app, row.webhook))?;
    let event = tx.get(&tables::WEBHOOK_EVENTS, &(app, row.event))?;
    let begun = match (row.status.is_final(), hook, event) {
        (true, ..) => Begun::Nothing,
        (false, Some(hook), Some(event)) => {
            if let Some(at) = row.next_attempt_at.filter(|at| *at > now) {
                return Ok(Begun::Later(at));
            }
            row.begin(attempt, now);
            Begun::Ready(Box::new(row.clone()), Box::new(hook), Box::new(event))
        }
        _ => {
            row.status = domain::webhook::DeliveryStatus::Failed; // the hook was removed
            row.next_attempt_at = None;
            Begun::Nothing
        }
    };
    tx.put(&tables::DELIVERIES, &(app, seq), &row)?;
    Ok(begun)
}

/// The request, signed byte for byte as it is sent.
fn post(
    engine: &Engine,
    delivery: &Delivery,
    hook: &Webhook,
    event: &HookEvent,
    attempt: Uuid,
) -> Result<Post, service::Error> {
    let parts = &engine.shared.parts;
    let secrets = service::read_hook_secrets(&parts.sealer, hook)?;
    let mut payload: Value = serde_json::from_str(&event.payload).unwrap_or_default();
    payload["webhook_metadata"] = json!({
        "attempt": { "id": attempt },
        "delivery": { "id": delivery.id },
        "event": { "id": event.id, "include": event.include },
        "webhook": { "id": hook.id },
    });
    let body = payload.to_string();
    let (id, seconds) = (event.id.to_string(), (parts.clock.now().0 / 1000).to_string());
    let stamped = service::sign(&secrets.secret, format!("{id}.{seconds}.{body}").as_bytes());
    let mut headers = vec![
        ("content-type", "application/json".to_string()),
        ("user-agent", USER_AGENT.to_string()),
        ("heroku-webhook-hmac-sha256", service::sign(&secrets.secret, body.as_bytes())),
        ("webhook-id", id),
        ("webhook-timestamp", seconds),
        ("webhook-signature", format!("v1,{stamped}")),
    ];
    headers.extend(secrets.authorization.map(|value| ("authorization", value)));
    Ok(Post { url: hook.url.clone(), headers, body, allow_private: parts.settings.allow_private_targets })
}
