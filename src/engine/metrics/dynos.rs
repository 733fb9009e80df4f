//! What dynos use, and the lines that say so (`logs.md` section 9).

use crate::{Engine, rows};
use domain::{App, AppId, Dyno, DynoId, DynoKind, DynoState, feature};
use logs::series::{DynoNow, Usage};
use runtime::Stats;
use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};
use store::{ReadRows, StoreError, tables};
use tokio::time::Instant;

/// What was seen of dynos since it was last taken.
#[derive(Default)]
pub struct Seen {
    last: HashMap<DynoId, Last>,
    sums: BTreeMap<(AppId, String), Usage>,
}

/// How a dyno stood when it was looked at.
struct Last {
    stats: Stats,
    at: Instant,
    load: [f64; 3],
}

/// A dyno that was just made has used nothing before it was first seen.
const YOUNG: u32 = 2;

fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Dynos of a formation have a series of their own; one-off dynos share that of their type.
fn series_name(dyno: &Dyno) -> String {
    match dyno.kind {
        DynoKind::Formation => dyno.name(),
        DynoKind::OneOff => dyno.ptype.clone(),
    }
}

/// Two dynos in one slot, as during a deploy, are seen as one that uses what both use.
fn beside(a: Usage, b: Usage) -> Usage {
    let seconds = a.seconds.max(b.seconds);
    let state = |a: u16, b: u16| a.max(b);
    let up_s = state(a.up_s, b.up_s);
    Usage {
        seconds,
        memory_kib: a.memory_kib + b.memory_kib,
        memory_max_kib: a.memory_max_kib + b.memory_max_kib,
        cache_kib: a.cache_kib + b.cache_kib,
        swap_kib: a.swap_kib + b.swap_kib,
        limit_kib: a.limit_kib.max(b.limit_kib),
        cpu_ms: a.cpu_ms + b.cpu_ms,
        throttled_ms: a.throttled_ms + b.throttled_ms,
        tasks: a.tasks + b.tasks,
        oom_kills: a.oom_kills.saturating_add(b.oom_kills),
        up_s,
        starting_s: if up_s > 0 { 0 } else { state(a.starting_s, b.starting_s) },
        crashed_s: if up_s > 0 { 0 } else { state(a.crashed_s, b.crashed_s) },
    }
}

impl Seen {
    /// Looks at every dyno, writes the lines of those that want them, and notes what there is.
    pub async fn look(&mut self, engine: &Engine, every: Duration) -> Result<(), StoreError> {
        let parts = &engine.shared.parts;
        let dynos = parts.store.scan(&tables::DYNOS, &())?;
        let mut apps: HashMap<AppId, Option<App>> = HashMap::new();
        let mut now: BTreeMap<(AppId, String), DynoNow> = BTreeMap::new();
        let mut last = HashMap::with_capacity(dynos.len());
        for dyno in &dynos {
            let stats = parts.runtime.stats(dyno.id).await;
            let before = self.last.remove(&dyno.id);
            let (figures, kept) = self.figures(engine, dyno, stats, before, every);
            if let std::collections::hash_map::Entry::Vacant(entry) = apps.entry(dyno.app) {
                entry.insert(parts.store.get(&tables::APPS, &dyno.app)?);
            }
            if let Some(app) = apps.get(&dyno.app).and_then(Option::as_ref)
                && let Some(stats) = stats.filter(|_| wants_lines(app, dyno))
            {
                say(engine, dyno, &stats, figures.load);
            }
            last.extend(kept.map(|kept| (dyno.id, kept)));
            let slot = now.entry((dyno.app, series_name(dyno))).or_insert(DynoNow { at_s: figures.at_s, ..DynoNow::default() });
            slot.usage = beside(slot.usage, figures.usage);
            slot.load = figures.load;
            tokio::task::yield_now().await;
        }
        self.last = last;
        for (key, figures) in &now {
            let sum = self.sums.remove(key).map_or(figures.usage, |sum| sum.then(&figures.usage));
            self.sums.insert(key.clone(), sum);
        }
        parts.service.series().set_dynos(now);
        Ok(())
    }

    /// What a dyno used since it was last looked at.
    fn figures(
        &self,
        engine: &Engine,
        dyno: &Dyno,
        stats: Option<Stats>,
        before: Option<Last>,
        every: Duration,
    ) -> (DynoNow, Option<Last>) {
        let wall = engine.shared.parts.clock.now();
        let at = Instant::now();
        let span = before.as_ref().map_or(every, |last| at - last.at).min(every * 3).max(Duration::from_millis(1));
        let seconds = (span.as_secs_f64().round() as u16).max(1);
        let state = |wanted: DynoState| if dyno.state == wanted { seconds } else { 0 };
        let mut usage = Usage {
            seconds: u32::from(seconds),
            limit_kib: narrow(rows::limits_of(&dyno.size).memory_bytes / 1024),
            starting_s: state(DynoState::Starting),
            crashed_s: state(DynoState::Crashed),
            up_s: state(DynoState::Up),
            ..Usage::default()
        };
        let at_s = wall.0 / 1000;
        let Some(stats) = stats else { return (DynoNow { usage, load: [0.0; 3], at_s }, None) };
        let young = wall.since_ms(dyno.created_at) <= u64::try_from((every * YOUNG).as_millis()).unwrap_or(u64::MAX);
        let base = before.as_ref().map_or(if young { Stats::default() } else { stats }, |last| last.stats);
        let memory = narrow((stats.memory.rss_bytes + stats.memory.swap_bytes) / 1024);
        usage.memory_kib = memory;
        usage.memory_max_kib = memory;
        usage.cache_kib = narrow(stats.memory.cache_bytes / 1024);
        usage.swap_kib = narrow(stats.memory.swap_bytes / 1024);
        usage.cpu_ms = narrow(stats.cpu_us.saturating_sub(base.cpu_us) / 1000);
        usage.throttled_ms = narrow(stats.throttled_us.saturating_sub(base.throttled_us) / 1000);
        usage.tasks = narrow(stats.tasks);
        usage.oom_kills = u16::try_from(stats.oom_kills.saturating_sub(base.oom_kills)).unwrap_or(u16::MAX);
        // Control groups know no load. What ran, and what would have but for a limit, is the nearest there is.
        let running = f64::from(usage.cpu_ms + usage.throttled_ms) / 1000.0 / span.as_secs_f64();
        let load = damped(before.map_or([0.0; 3], |last| last.load), running, span);
        (DynoNow { usage, load, at_s }, Some(Last { stats, at, load }))
    }

    /// What was seen since it was last taken.
    pub fn take(&mut self) -> BTreeMap<(AppId, String), Usage> {
        std::mem::take(&mut self.sums)
    }
}

/// Exponentially damped means over 1, 5 and 15 minutes.
fn damped(before: [f64; 3], running: f64, span: Duration) -> [f64; 3] {
    let minutes = [1.0, 5.0, 15.0];
    std::array::from_fn(|n| {
        let keep = (-span.as_secs_f64() / (60.0 * minutes[n])).exp();
        before[n] * keep + running * (1.0 - keep)
    })
}

/// The feature counts for dynos that were started after it was switched on.
fn wants_lines(app: &App, dyno: &Dyno) -> bool {
    app.features.get(feature::RUNTIME_METRICS).is_some_and(|since| *since <= dyno.created_at)
        && matches!(dyno.state, DynoState::Up | DynoState::Starting)
}

/// The two lines of a dyno.
fn say(engine: &Engine, dyno: &Dyno, stats: &Stats, load: [f64; 3]) {
    let log = engine.shared.parts.logs.app(dyno.app);
    let name = dyno.name();
    let [first, second] = lines(dyno, stats, load, rows::limits_of(&dyno.size).memory_bytes);
    log.write("heroku", &name, first);
    log.write("heroku", &name, second);
}

/// Formats are read by many programs and must not drift.
fn lines(dyno: &Dyno, stats: &Stats, load: [f64; 3], quota: u64) -> [String; 2] {
    let [a, b, c, d, ..] = *dyno.app.as_bytes();
    let begin = format!("source={} dyno=heroku.{}.{}", dyno.name(), u32::from_be_bytes([a, b, c, d]), dyno.id);
    let mb = |bytes: u64| format!("{:.2}MB", bytes as f64 / 1_048_576.0);
    let memory = stats.memory;
    let [one, five, fifteen] = load;
    [
        format!("{begin} sample#load_avg_1m={one:.2} sample#load_avg_5m={five:.2} sample#load_avg_15m={fifteen:.2}"),
        format!(
            "{begin} sample#memory_total={} sample#memory_rss={} sample#memory_cache={} sample#memory_swap={} \
             sample#memory_pgpgin=0pages sample#memory_pgpgout=0pages sample#memory_quota={}",
            mb(memory.rss_bytes + memory.cache_bytes + memory.swap_bytes),
            mb(memory.rss_bytes),
            mb(memory.cache_bytes),
            mb(memory.swap_bytes),
            mb(quota)
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn load_nears_what_runs_and_fades() {
        let span = Duration::from_secs(20);
        let after = (0..30).fold([0.0; 3], |load, _| damped(load, 2.0, span));
        assert!(after[0] > 1.99 && after[1] > 1.7 && after[2] < 1.0, "{after:?}");
        let later = damped(after, 0.0, Duration::from_secs(60));
        assert!((later[0] - after[0] * (-1.0f64).exp()).abs() < 1e-9);
    }

    #[test]
    fn two_in_a_slot_use_what_both_use_for_the_same_time() {
        let one = Usage { seconds: 20, memory_kib: 100, cpu_ms: 5, up_s: 20, ..Usage::default() };
        let two = Usage { seconds: 20, memory_kib: 50, cpu_ms: 1, starting_s: 20, ..Usage::default() };
        let both = beside(one, two);
        assert_eq!((both.seconds, both.memory_kib, both.cpu_ms, both.up_s, both.starting_s), (20, 150, 6, 20, 0));
    }
}
