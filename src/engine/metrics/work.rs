//! How long builds and releases took.

use crate::Engine;
use domain::{AppId, BuildId, BuildStatus, ReleaseStatus, UnixMs};
use logs::series::Work;
use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};
use store::{ReadRows, tables};

/// Builds and releases that were counted, so that a later change of their rows does not count them again.
#[derive(Default)]
pub struct Counted(Mutex<HashSet<(AppId, String)>>);

/// More are forgotten all at once; rows of old builds and releases do not change.
const COUNTED_MAX: usize = 10_000;

impl Counted {
    fn first(&self, app: AppId, what: String) -> bool {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.len() >= COUNTED_MAX {
            counted.clear();
        }
        counted.insert((app, what))
    }

    /// A build changed; if it is over now, it counts.
    pub fn build(&self, engine: &Engine, id: BuildId) {
        let row = engine.shared.parts.store.get(&tables::BUILDS, &id).ok().flatten();
        let Some(build) = row.filter(|build| build.status != BuildStatus::Pending) else { return };
        // An old one that only changes its row, such as after a restart of the daemon, was counted before.
        if build.updated_at < engine.shared.started_at || !self.first(build.app, id.to_string()) {
            return;
        }
        let ms = span(build.updated_at, build.created_at);
        let failed = u32::from(build.status == BuildStatus::Failed);
        add(engine, build.app, Work { builds: 1, builds_failed: failed, build_ms: ms, build_max_ms: ms, ..Work::default() });
    }

    /// A release changed; if it is proven or failed now, it counts.
    pub fn release(&self, engine: &Engine, app: AppId, version: u64) {
        let parts = &engine.shared.parts;
        let release = parts.store.get(&tables::RELEASES, &(app, version)).ok().flatten();
        let proven = parts.store.get(&tables::APPS, &app).ok().flatten().and_then(|row| row.proven) == Some(version);
        let Some(release) = release.filter(|r| proven || r.status == ReleaseStatus::Failed) else { return };
        if release.created_at < engine.shared.started_at || !self.first(app, format!("v{version}")) {
            return;
        }
        let ms = span(parts.clock.now(), release.created_at);
        let failed = u32::from(!proven);
        let work = Work { releases: 1, releases_failed: failed, release_ms: ms, release_max_ms: ms, ..Work::default() };
        add(engine, app, work);
    }
}

fn span(to: UnixMs, from: UnixMs) -> u32 {
    u32::try_from(to.since_ms(from)).unwrap_or(u32::MAX)
}

fn add(engine: &Engine, app: AppId, work: Work) {
    let series = engine.shared.parts.service.series().clone();
    let minute = (engine.shared.parts.clock.now().0 / 60_000) as u32;
    tokio::task::spawn_blocking(move || {
        if let Err(e) = series.add_work(app, minute, &work) {
            tracing::warn!(error = %e, app = %app, "engine.metrics_lost: a build or release is missing in the metrics");
        }
    });
}
