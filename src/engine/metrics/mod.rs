//! Fills the series: looks at every dyno and at the host every so many seconds, and takes what the router has counted.

mod dynos;
mod host;
mod work;

pub use work::Counted;

use crate::Engine;
use domain::AppId;
use logs::series::{Meters, Snapshot};
use std::{collections::HashMap, io, time::Duration};
use store::{ReadRows, tables};

/// Looks after which what was seen is written, at the latest.
const LOOKS_KEPT: u32 = 4;
/// Series of apps that are gone, and such that nobody writes any more, are looked for this often.
const SWEEP_EVERY: Duration = Duration::from_secs(24 * 3600);

/// Counts what the router tells it. Takes no lock.
pub struct Counter(pub Meters);

impl router::Observer for Counter {
    fn request(&self, record: &router::Record) {
        let number = record.code.and_then(|code| code.name().get(1..)?.parse::<u16>().ok());
        let service_us = record.service.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        self.0.with(record.app, |meter| meter.count(record.status, number, record.bytes, service_us));
    }
}

/// What was seen and is not written yet.
#[derive(Default)]
struct Pending {
    minute: u32,
    looks: u32,
    dynos: dynos::Seen,
    host: host::Seen,
    /// What the meters had counted when it was last written.
    counted: HashMap<AppId, Snapshot>,
}

/// Runs until the daemon ends.
pub async fn run(engine: Engine) {
    let every = engine.shared.parts.settings.look_every;
    let mut pending = Pending::default();
    let mut swept: Option<tokio::time::Instant> = None;
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !engine.is_closing() {
        ticks.tick().await;
        if swept.is_none_or(|at| at.elapsed() >= SWEEP_EVERY) {
            swept = Some(tokio::time::Instant::now());
            sweep(&engine);
        }
        let minute = (engine.shared.parts.clock.now().0 / 60_000) as u32;
        if pending.looks > 0 && (pending.minute != minute || pending.looks >= LOOKS_KEPT) {
            pending = write(&engine, pending).await;
        }
        pending.minute = minute;
        pending.looks += 1;
        if let Err(e) = pending.dynos.look(&engine, every).await {
            tracing::warn!(error = %e, "engine.metrics_dynos");
        }
        pending.host.look(&engine);
    }
    write(&engine, pending).await;
}

fn sweep(engine: &Engine) {
    let parts = &engine.shared.parts;
    parts.service.series().sweep(|app| parts.store.get(&tables::APPS, &app).map_or(true, |row| row.is_some()));
}

/// Writes what is pending to its minute; outside of the threads that answer requests, since the disk may be slow.
async fn write(engine: &Engine, mut pending: Pending) -> Pending {
    let series = engine.shared.parts.service.series().clone();
    let writing = tokio::task::spawn_blocking(move || {
        let minute = pending.minute;
        let mut failed: Option<io::Error> = None;
        let mut note = |result: io::Result<()>| failed = result.err().or(failed.take());
        for ((app, name), usage) in pending.dynos.take() {
            note(series.add_usage(app, &name, minute, &usage));
        }
        note(series.add_host(minute, &pending.host.take()));
        let meters = series.meters().all();
        for (app, meter) in meters.iter() {
            let (now, before) = (meter.snapshot(), pending.counted.entry(*app).or_default());
            if let Some(requests) = now.since(before) {
                note(series.add_requests(*app, minute, &requests));
                *before = now;
            }
        }
        pending.counted.retain(|app, _| meters.contains_key(app));
        if let Some(e) = failed {
            tracing::warn!(error = %e, "engine.metrics_lost: a minute of metrics could not be written");
        }
        pending.looks = 0;
        pending
    });
    writing.await.unwrap_or_default()
}
