//! Looks at this machine: what `init`, the set-up page, `status` and `doctor` show (`ux.md` J1), and the file that keeps the
//! platform domain.

use crate::{config::Config, host, setup_host::rewritten};
use certs::dns::Dns;
use domain::machine::{Check, Level, Machine, Record};
use std::{
    fs,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
    sync::{Arc, OnceLock},
};
use tokio::sync::Notify;

const GIB: u64 = 1 << 30;
/// Less memory starts no app of use.
const MEMORY_MIN: u64 = 400 << 20;
/// Builds are known to need more than this.
const MEMORY_GOOD: u64 = 900 << 20;
/// Slugs, caches and logs of a few apps.
const DISK_MIN: u64 = GIB;
const DISK_GOOD: u64 = 5 * GIB;
/// A label below the domain that nobody has: what leads it here is the wildcard.
const PROBE: &str = "tidemill-looks";

/// This machine under this configuration.
pub struct Host {
    config: Config,
    restart: Arc<Notify>,
    listens: Vec<SocketAddr>,
    limits: OnceLock<Vec<String>>,
}

impl Host {
    /// `restart` is told when the daemon is to start anew; `listens` is where visitors come in.
    pub fn new(config: Config, restart: Arc<Notify>, listens: Vec<SocketAddr>) -> Self {
        Self { config, restart, listens, limits: OnceLock::new() }
    }

    /// Tells what the driver of dynos can not do here.
    pub fn is_limited(&self, sentences: Vec<String>) {
        let _ = self.limits.set(sentences); // told once, at the start
    }

    fn disk(&self) -> Check {
        let free = rustix::fs::statvfs(&self.config.data_dir).map(|s| s.f_bavail.saturating_mul(s.f_frsize));
        let Ok(free) = free else {
            return Check::bad("disk", Level::Fail, "the data directory can not be read", "run it as root");
        };
        let text = format!("{} free for {}", size(free), self.config.data_dir.display());
        let level = if free < DISK_MIN { Level::Fail } else { Level::Warn };
        if free >= DISK_GOOD {
            return Check::ok("disk", text);
        }
        Check::bad("disk", level, text, format!("free some space, or give {} a larger disk", self.config.data_dir.display()))
    }

    fn ports(&self) -> Check {
        let mut ports: Vec<u16> = self.listens.iter().map(SocketAddr::port).collect();
        ports.sort_unstable();
        ports.dedup();
        let named = ports.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
        let held =
            format!("port{} {named} {} held by tidemill", plural(ports.len()), if ports.len() == 1 { "is" } else { "are" });
        if [80, 443].iter().all(|port| ports.contains(port)) {
            return Check::ok("ports", held);
        }
        let fix = "sudo systemctl enable --now tidemill.socket, which holds 80 and 443; or http and https in the settings file";
        Check::bad("ports", Level::Warn, format!("{held}, visitors come to 80 and 443"), fix)
    }

    fn name_servers(&self) -> Check {
        let asked = looked(&self.config.acme.dns_servers, async |dns| dns.addresses("tidemill.invalid").await);
        match asked {
            Ok(_) => Check::ok("dns", "name servers answer"),
            Err(reason) => Check::bad(
                "dns",
                Level::Warn,
                format!("names can not be looked up: {}", reason.trim_end_matches('.')),
                "mend /etc/resolv.conf, or name servers with dns_servers in the settings file",
            ),
        }
    }

    fn kernel(&self) -> Vec<Check> {
        let limits = self.limits.get().map_or(&[][..], Vec::as_slice);
        if limits.is_empty() {
            return vec![Check::ok("isolation", "the kernel has what keeps apps apart: name spaces, control groups, networks")];
        }
        let fix = |text: &str| match text {
            text if text.contains("not root") => "run the daemon as root: sudo systemctl start tidemill",
            text if text.contains("network") => "apt install nftables, then: systemctl restart tidemill",
            _ => "a kernel of 5.12 or newer with control groups version 2, such as that of Debian 12",
        };
        limits.iter().map(|text| Check::bad("isolation", Level::Warn, text.clone(), fix(text))).collect()
    }
}

impl Machine for Host {
    fn checks(&self) -> Vec<Check> {
        let mut all =
            vec![system(), memory(), self.disk(), control_groups(), self.ports(), swap(), clock(), self.name_servers()];
        all.extend(self.kernel());
        all
    }

    fn addresses(&self) -> Vec<IpAddr> {
        if !self.config.acme.public_addresses.is_empty() {
            return self.config.acme.public_addresses.clone();
        }
        let only_here = !self.listens.is_empty() && self.listens.iter().all(|address| address.ip().is_loopback());
        if only_here {
            return self.listens.iter().map(SocketAddr::ip).take(1).collect();
        }
        // Nothing is sent: the kernel only says from which address it would.
        let towards = [("0.0.0.0:0", "203.0.113.1:9"), ("[::]:0", "[2001:db8::1]:9")];
        let own = |(from, to): (&str, &str)| {
            let socket = UdpSocket::bind(from).ok()?;
            socket.connect(to).ok()?;
            socket.local_addr().ok().map(|own| own.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
        };
        towards.into_iter().filter_map(own).filter(|ip| ip.is_ipv4() || is_global(*ip)).collect()
    }

    fn records(&self, domain: &str) -> Vec<Record> {
        let ours = self.addresses();
        let names = [domain.to_string(), format!("{PROBE}.{domain}")];
        let looked = looked(&self.config.acme.dns_servers, async |dns| {
            let mut all = Vec::new();
            for name in &names {
                // What the domain's own servers say is true before caches know it.
                let seen = match dns.authoritative(name).await {
                    Some(seen) => Ok(seen),
                    None => dns.addresses(name).await,
                };
                all.push(seen);
            }
            Ok(all)
        });
        let seen = looked.unwrap_or_else(|reason| vec![Err(reason.clone()), Err(reason)]);
        let shown = [domain.to_string(), format!("*.{domain}")];
        let mut all = Vec::new();
        for want in ours {
            let kind = if want.is_ipv4() { "A" } else { "AAAA" };
            for (name, seen) in shown.iter().zip(&seen) {
                let same = |ip: &&IpAddr| ip.is_ipv4() == want.is_ipv4();
                let (seen, problem) = match seen {
                    Ok(seen) => (seen.iter().filter(same).copied().collect::<Vec<_>>(), None),
                    Err(reason) => (Vec::new(), Some(reason.clone())),
                };
                all.push(Record { name: name.clone(), kind: kind.into(), want, found: seen.contains(&want), seen, problem });
            }
        }
        all
    }

    fn set_domain(&self, domain: &str) -> Result<(), String> {
        let file = self.config.file.display();
        if self.config.domain_is_fixed {
            return Err(format!(
                "The daemon was started with --domain or TIDEMILL_DOMAIN, which wins over {file}. Change it there and restart it."
            ));
        }
        keep_domain(&self.config.file, domain).map_err(|e| format!("{file} stays as it was: {e:#}. Is the disk full?"))?;
        self.restart.notify_one();
        Ok(())
    }
}

/// Asks name servers, from a thread that may wait.
fn looked<T>(servers: &[SocketAddr], ask: impl AsyncFnOnce(&Dns) -> Result<T, String>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async { ask(&Dns::new(servers)?).await })
}

/// Whole or not at all; the other lines stay as they are.
fn keep_domain(file: &Path, domain: &str) -> anyhow::Result<()> {
    let text = match fs::read_to_string(file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
        other => other?,
    };
    rewritten(file, with_domain(&text, domain).as_bytes())
}

/// The settings with this domain: in place of the line that has one, or of the example, or at the end.
fn with_domain(text: &str, domain: &str) -> String {
    let line = format!("domain = {domain:?}");
    let is = |l: &str, head: &str| l.trim_start().strip_prefix(head).is_some_and(|rest| rest.trim_start().starts_with('='));
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    let place = lines.iter().position(|l| is(l, "domain")).or_else(|| lines.iter().position(|l| is(l, "# domain")));
    match place {
        Some(at) => lines[at] = line,
        None => lines.push(line),
    }
    lines.join("\n") + "\n"
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[allow(clippy::cast_precision_loss)] // for people
fn size(bytes: u64) -> String {
    format!("{:.1} GiB", bytes as f64 / GIB as f64)
}

/// May be seen from elsewhere: neither of a link nor of an inner network.
fn is_global(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(v6) if v6.segments()[0] & 0xe000 == 0x2000)
}

fn system() -> Check {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|l| l.strip_prefix("PRETTY_NAME=")).unwrap_or("an unknown system").trim_matches('"');
    let cores = host::cores();
    Check::ok("system", format!("{name}, {cores} core{}", plural(cores)))
}

fn memory() -> Check {
    let bytes = host::plain_memory_bytes();
    let text = format!("{} memory", size(bytes));
    let fix = "a machine with at least 1 GiB";
    match bytes {
        0..MEMORY_MIN => Check::bad("memory", Level::Fail, text, fix),
        MEMORY_MIN..MEMORY_GOOD => Check::bad("memory", Level::Warn, format!("{text}, little for builds"), fix),
        _ => Check::ok("memory", text),
    }
}

fn control_groups() -> Check {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return Check::ok("cgroups", "control groups version 2");
    }
    let fix = "systemd.unified_cgroup_hierarchy=1 on the kernel's command line, then a reboot";
    Check::bad("cgroups", Level::Warn, "control groups version 1: limits hold, figures are fewer", fix)
}

fn swap() -> Check {
    let swaps = fs::read_to_string("/proc/swaps").unwrap_or_default();
    if swaps.lines().count() > 1 {
        return Check::ok("swap", "there is swap");
    }
    Check::bad(
        "swap",
        Level::Warn,
        "no swap; what needs more memory than is free gets stopped",
        "sudo tidemill machine:swap 2G",
    )
}

fn clock() -> Check {
    // SAFETY: all zero is a valid value of this plain struct; with no modes set, the call only reads.
    let (state, status) = unsafe {
        let mut timex: libc::timex = std::mem::zeroed();
        (libc::adjtimex(&raw mut timex), timex.status)
    };
    if state >= 0 && state != libc::TIME_ERROR && status & libc::STA_UNSYNC == 0 {
        return Check::ok("clock", "the clock is kept by a time server");
    }
    let fix = "sudo apt install systemd-timesyncd; sudo timedatectl set-ntp true";
    Check::bad("clock", Level::Warn, "no time server keeps the clock; certificates and codes need the right time", fix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_is_kept_among_other_settings() {
        let shipped = include_str!("../../systemd/tidemill.toml");
        let once = with_domain(shipped, "a.example.com");
        assert!(once.ends_with("\ndomain = \"a.example.com\"\n") && !once.contains("# domain ="), "{once}");
        let twice = with_domain(&format!("{once}smtp = \"x:1\"\n"), "b.example.com");
        assert_eq!(twice.matches("domain = ").count(), 1);
        assert!(twice.contains("domain = \"b.example.com\"\nsmtp"), "{twice}");
        assert_eq!(with_domain("", "c.example"), "domain = \"c.example\"\n");
    }

    #[test]
    fn looks_never_fail() {
        assert!(!system().text.is_empty() && memory().level == Level::Ok);
        assert!([swap(), clock(), control_groups()].iter().all(|c| (c.level == Level::Ok) == c.fix.is_none()));
        assert!(is_global("2001:db8::1".parse().unwrap()) && !is_global("fe80::1".parse().unwrap()));
    }
}
