//! Figures of the host, from `/proc` and the disk of the data directory.

use crate::Engine;
use logs::series::Host;
use std::{fs, time::Instant};

/// Ticks of `/proc/stat` in a second; the same on all Linux.
const TICKS: u64 = 100;

/// What was seen of the host since it was last taken.
#[derive(Default)]
pub struct Seen {
    last: Option<(Raw, Instant)>,
    sum: Option<Host>,
}

/// Numbers that only grow.
#[derive(Clone, Copy, Default)]
struct Raw {
    busy: u64,
    daemon: u64,
    received: u64,
    sent: u64,
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn narrow(n: u64) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// A line `name: number kB`.
fn kib(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

impl Raw {
    fn now() -> Self {
        let stat = read("/proc/stat");
        let times: Vec<u64> =
            stat.lines().next().unwrap_or("").split_whitespace().skip(1).filter_map(|n| n.parse().ok()).collect();
        // user nice system idle iowait irq softirq steal; guest times are in user already.
        let busy = times.iter().take(8).enumerate().filter(|(n, _)| !matches!(n, 3 | 4)).map(|(_, n)| n).sum();
        let own = read("/proc/self/stat");
        let fields: Vec<&str> = own.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
        let field = |n: usize| fields.get(n).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
        let net = read("/proc/net/dev");
        let (mut received, mut sent) = (0, 0);
        for line in net.lines() {
            let Some((name, rest)) = line.split_once(':') else { continue };
            let numbers: Vec<u64> = rest.split_whitespace().filter_map(|n| n.parse().ok()).collect();
            if name.trim() != "lo" && numbers.len() > 8 {
                received += numbers[0];
                sent += numbers[8];
            }
        }
        Self { busy, daemon: field(11) + field(12), received, sent }
    }
}

impl Seen {
    /// Looks at the host.
    pub fn look(&mut self, engine: &Engine) {
        let (raw, at) = (Raw::now(), Instant::now());
        let (before, since) = self.last.unwrap_or((raw, at));
        self.last = Some((raw, at));
        let memory = read("/proc/meminfo");
        let load = read("/proc/loadavg").split_whitespace().next().and_then(|n| n.parse::<f64>().ok()).unwrap_or(0.0);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let total = kib(&memory, "MemTotal");
        let used = narrow(total.saturating_sub(kib(&memory, "MemAvailable")));
        let (disk, free) = rustix::fs::statvfs(&engine.shared.parts.settings.dyno_dir).map_or((0, 0), |stat| {
            (stat.f_blocks.saturating_mul(stat.f_frsize) >> 20, stat.f_bavail.saturating_mul(stat.f_frsize) >> 20)
        });
        let ms = |ticks: u64| narrow(ticks * 1000 / TICKS);
        let grown = |now: u64, before: u64| now.saturating_sub(before);
        let host = Host {
            // What grows has no span at the first look.
            seconds: narrow(at.duration_since(since).as_secs_f64().round() as u64),
            busy_ms: ms(grown(raw.busy, before.busy)),
            cores: narrow(cores as u64),
            load_milli: (load * 1000.0) as u32,
            memory_kib: narrow(total),
            memory_used_kib: used,
            memory_used_max_kib: used,
            swap_used_kib: narrow(kib(&memory, "SwapTotal").saturating_sub(kib(&memory, "SwapFree"))),
            disk_mib: narrow(disk),
            disk_used_mib: narrow(disk.saturating_sub(free)),
            daemon_kib: narrow(kib(&read("/proc/self/status"), "VmRSS")),
            daemon_ms: ms(grown(raw.daemon, before.daemon)),
            received_kib: narrow(grown(raw.received, before.received) / 1024),
            sent_kib: narrow(grown(raw.sent, before.sent) / 1024),
        };
        engine.shared.parts.service.series().set_host(host);
        self.sum = Some(self.sum.map_or(host, |sum| sum.then(&host)));
    }

    /// What was seen since it was last taken.
    pub fn take(&mut self) -> Host {
        self.sum.take().unwrap_or_default()
    }
}
