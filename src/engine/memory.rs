//! R14 and R15: what a dyno uses against its quota (`runtime.md` section 9).

use crate::{Engine, rows, sinks::DynoSink};
use domain::Dyno;
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// A dyno's memory is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// R14 is said again after this time while it is true.
const SAY_EVERY: Duration = Duration::from_secs(20);
/// R15: this many times the quota.
const VASTLY: u64 = 2;

/// Watches until it is dropped. Cache is not counted, since the kernel takes it back before anybody suffers.
pub async fn watch(engine: Engine, dyno: Dyno, sink: Arc<DynoSink>) {
    let runtime = &engine.shared.parts.runtime;
    let quota = rows::limits_of(&dyno.size).memory_bytes;
    let mut said: Option<Instant> = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let Some(used) = runtime.stats(dyno.id).await.map(|stats| stats.memory.rss_bytes + stats.memory.swap_bytes) else {
            continue;
        };
        if used <= quota {
            said = None;
            continue;
        }
        let vastly = used >= quota * VASTLY;
        if vastly || said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            said = Some(Instant::now());
            let tenths = used * 1000 / quota;
            sink.platform(&format!("Process running mem={}M({}.{}%)", used >> 20, tenths / 10, tenths % 10));
            if vastly {
                sink.platform("Error R15 (Memory quota vastly exceeded)");
                sink.platform("Stopping process with SIGKILL");
                let _ = runtime.stop(dyno.id, 0).await; // ended by itself is as good
                return;
            }
            sink.platform("Error R14 (Memory quota exceeded)");
        }
    }
}
