//! Alerts: rules are looked at every so many seconds; what opens or closes is written together with the notices about it,
//! and those are then brought to their channels. What opens, when, and who is told, is decided by [`domain::alert`].

mod send;
mod values;

pub use send::{Mail, MailTls};

use crate::Engine;
use domain::{
    App, AppId, EventBody, Origin, UnixMs,
    alert::{Alert, Channel, HELD_MAX, NOTICES_KEPT, Rule, Step, Watch, What, built_in, may_send},
};
use serde_json::json;
use std::collections::{HashMap, HashSet};
use store::{ReadRows, StoreError, Tx, tables};
use uuid::Uuid;
use values::Value;

/// Starts looking and sending.
pub fn start(engine: &Engine) {
    tokio::spawn(look_for_ever(engine.clone()));
    tokio::spawn(send::run(engine.clone()));
}

async fn look_for_ever(engine: Engine) {
    let mut watches: HashMap<String, Watch> = HashMap::new();
    while !engine.is_closing() {
        tokio::time::sleep(engine.shared.parts.settings.look_every).await;
        if let Err(e) = look(&engine, &mut watches).await {
            tracing::error!(error = %e, "engine.alerts_failed: looking again soon");
        }
    }
}

/// A change of an alert that is to be written.
struct Change {
    alert: Alert,
    what: Option<What>,
    rule: Rule,
    app: Option<App>,
}

fn key(app: Option<AppId>, rule: &Rule, subject: &str) -> String {
    let place = app.map_or_else(|| "host".to_string(), |app| app.to_string());
    let rule = if rule.id.is_nil() { rule.metric.as_str().to_string() } else { rule.id.to_string() };
    format!("{place} {rule} {subject}")
}

/// Looks at all rules once.
async fn look(engine: &Engine, watches: &mut HashMap<String, Watch>) -> Result<(), StoreError> {
    let parts = &engine.shared.parts;
    let now = parts.clock.now();
    let last: HashMap<String, Alert> =
        parts.store.scan(&tables::ALERTS, &())?.into_iter().map(|alert| (alert.key.clone(), alert)).collect();
    let built_in = built_in();
    let mut own: HashMap<AppId, Vec<Rule>> = HashMap::new();
    for rule in parts.store.scan(&tables::ALERT_RULES, &())? {
        rule.app.into_iter().for_each(|app| own.entry(app).or_default().push(rule.clone()));
    }
    let (mut changes, mut seen) = (Vec::new(), HashSet::new());
    let apps = parts.store.scan(&tables::APPS, &())?;
    for place in std::iter::once(None).chain(apps.into_iter().map(Some)) {
        let rules = place.as_ref().and_then(|app| own.get(&app.id)).map_or(&[][..], Vec::as_slice);
        let values = values::of(engine, place.as_ref(), now)?;
        for rule in built_in.iter().chain(rules) {
            for value in values.iter().filter(|value| value.is_for(rule)) {
                let key = key(place.as_ref().map(|app| app.id), rule, &value.subject);
                let before = last.get(&key);
                let step = watches.entry(key.clone()).or_default().step(rule, value.value, before, now);
                changes.extend(change(step, rule, value, before, place.as_ref(), &key, now));
                seen.insert(key);
            }
        }
    }
    // What an open alert is about may be gone altogether, such as a dyno that was scaled away.
    let lost: Vec<_> = last.iter().filter(|(key, alert)| alert.closed_at.is_none() && !seen.contains(*key)).collect();
    for (key, alert) in lost {
        let Some(rule) =
            built_in.iter().chain(own.values().flatten()).find(|rule| self::key(alert.app, rule, &alert.subject) == *key)
        else {
            continue;
        };
        let app = alert.app.map(|app| parts.store.get(&tables::APPS, &app)).transpose()?.flatten();
        let gone = Value::unknown(rule.metric, &alert.subject);
        let step = watches.entry(key.clone()).or_default().step(rule, None, Some(alert), now);
        changes.extend(change(step, rule, &gone, Some(alert), app.as_ref(), key, now));
        seen.insert(key.clone());
    }
    watches.retain(|key, _| seen.contains(key));
    write(engine, changes, now).await
}

/// What a step does to the alert; `None` when it does nothing.
fn change(
    step: Step,
    rule: &Rule,
    value: &Value,
    before: Option<&Alert>,
    app: Option<&App>,
    key: &str,
    now: UnixMs,
) -> Option<Change> {
    let mut alert = match (step, before) {
        (Step::Rest, _) | (_, None) if step != Step::Open => return None,
        (Step::Open, _) | (_, None) => Alert {
            id: Uuid::new_v4(),
            app: app.map(|app| app.id),
            key: key.into(),
            rule: rule.name.clone(),
            subject: value.subject.clone(),
            text: value.text.clone(),
            fix: value.fix.clone(),
            value: value.value.unwrap_or(0.0),
            opened_at: now,
            closed_at: None,
            count: 1,
            told_at: now,
            told: true,
        },
        (_, Some(before)) => before.clone(),
    };
    alert.take(step, value.value, now);
    if matches!(step, Step::Count | Step::Tell) {
        alert.text.clone_from(&value.text);
    }
    let what = match step {
        Step::Open | Step::Tell => Some(What::Opened),
        Step::Close => Some(What::Closed),
        _ => None,
    };
    Some(Change { alert, what, rule: rule.clone(), app: app.cloned() })
}

/// Writes alerts and the notices about them in one transaction; then they are sent.
async fn write(engine: &Engine, changes: Vec<Change>, now: UnixMs) -> Result<(), StoreError> {
    let parts = &engine.shared.parts;
    let waiting = parts.store.scan(&tables::CHANNELS, &())?.iter().any(|channel| channel.held_count > 0);
    if changes.is_empty() && !waiting {
        return Ok(());
    }
    let addresses = parts.service.addresses();
    let home = addresses.url(&addresses.domain);
    let work = move |tx: &mut Tx| -> Result<(), StoreError> {
        let mut channels = tx.scan(&tables::CHANNELS, &())?;
        for change in &changes {
            let alert = &change.alert;
            if alert.app.is_some_and(|app| tx.get(&tables::APPS, &app).is_ok_and(|row| row.is_none())) {
                continue; // removed meanwhile
            }
            tx.put(&tables::ALERTS, &alert.key, alert)?;
            tx.event(now, alert.app, Origin::default(), EventBody::AlertChanged { alert: alert.id })?;
            let Some(what) = change.what else { continue };
            let notice = Words::of(change, what, &home);
            for channel in channels.iter_mut().filter(|c| c.app.is_none() || c.app == alert.app) {
                tell(tx, channel, what, &notice, now)?;
            }
        }
        for channel in channels.iter_mut().filter(|channel| channel.held_count > 0) {
            summarise(tx, channel, now)?;
        }
        Ok(())
    };
    parts.store.commit(work).await?;
    engine.shared.notices.notify_one();
    Ok(())
}

/// What a notice says.
struct Words {
    subject: String,
    text: String,
    data: String,
}

impl Words {
    fn of(change: &Change, what: What, home: &str) -> Self {
        let Change { alert, rule, app, .. } = change;
        let place = app.as_ref().map_or("the server", |app| app.name.as_str());
        let about = if alert.subject.is_empty() { place.to_string() } else { format!("{} of {place}", alert.subject) };
        let page = app.as_ref().map_or_else(|| format!("{home}/machine"), |app| format!("{home}/apps/{}", app.name));
        let state = if what == What::Closed { "over" } else { "open" };
        let subject = format!("[{state}] {}: {about}", alert.rule);
        let often = if alert.count > 1 { format!("\nIt came back {} times.", alert.count - 1) } else { String::new() };
        let text = match what {
            What::Closed => format!("It is over: {}{often}\n\n{page}", alert.text),
            _ => format!("{}{often}\n\nNext: {}\n{page}", alert.text, alert.fix),
        };
        let data = json!({
            "type": format!("alert.{}", what.as_str()),
            "alert": {
                "id": alert.id,
                "app": app.as_ref().map(|app| json!({ "id": app.id, "name": app.name })),
                "rule": alert.rule,
                "metric": rule.metric.as_str(),
                "subject": alert.subject,
                "value": alert.value,
                "threshold": rule.threshold,
                "text": alert.text,
                "fix": alert.fix,
                "count": alert.count,
                "opened_at": wire::time(alert.opened_at.0),
                "closed_at": alert.closed_at.map(|at| wire::time(at.0)),
                "url": page,
            },
        });
        Self { subject, text, data: data.to_string() }
    }
}

/// Puts a notice on its way, or holds it back when the channel had its share of this hour.
fn tell(tx: &mut Tx, channel: &mut Channel, what: What, words: &Words, now: UnixMs) -> Result<(), StoreError> {
    let sent = tx.scan(&tables::NOTICES, &channel.id)?;
    let counts = sent.iter().filter(|notice| notice.what != What::Test).map(|notice| notice.created_at);
    if channel.held_count > 0 || !may_send(counts, now) {
        channel.held.push(words.subject.clone());
        let over = channel.held.len().saturating_sub(HELD_MAX);
        channel.held.drain(..over);
        channel.held_count += 1;
        return tx.put(&tables::CHANNELS, &channel.id, channel);
    }
    let seq = sent.last().map_or(1, |notice| notice.seq + 1);
    let notice = service::new_notice(channel.id, seq, what, &words.subject, &words.text, &words.data, now);
    tx.put(&tables::NOTICES, &(channel.id, seq), &notice)?;
    sent.iter().rev().skip(NOTICES_KEPT - 1).for_each(|old| tx.delete(&tables::NOTICES, &(channel.id, old.seq)));
    Ok(())
}

/// One notice for all that were held back, as soon as there may be one.
fn summarise(tx: &mut Tx, channel: &mut Channel, now: UnixMs) -> Result<(), StoreError> {
    let (count, held) = (std::mem::take(&mut channel.held_count), std::mem::take(&mut channel.held));
    let before = tx.scan(&tables::NOTICES, &channel.id)?;
    let counts = before.iter().filter(|notice| notice.what != What::Test).map(|notice| notice.created_at);
    if !may_send(counts, now) {
        (channel.held_count, channel.held) = (count, held);
        return Ok(());
    }
    let more = (count as usize).saturating_sub(held.len());
    let before_that = if more > 0 { format!("… and {more} before.\n") } else { String::new() };
    let words = Words {
        subject: format!("[summary] {count} notices were held back"),
        text: format!("{before_that}{}", held.join("\n")),
        data: json!({ "type": "alert.summary", "count": count, "subjects": held }).to_string(),
    };
    tell(tx, channel, What::Summary, &words, now)?;
    tx.put(&tables::CHANNELS, &channel.id, channel)
}
