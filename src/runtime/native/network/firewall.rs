//! The host's packet filter for cages with a network of their own: one `nftables` table of our own, loaded in one
//! transaction, and put back when somebody flushes it. It stays when the daemon ends, because the cages do.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Every host end of a cage is named so.
pub const PREFIX: &str = "tm-";
const PROGRAM_DIRS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/usr/local/sbin"];
/// Says that forwarding was off when this platform came.
const SWITCHED_ON: &str = "/run/tidemill.forwarding";
/// See [`guard`].
const GUARD: &str = "ct state new ct status != dnat drop";
const FORWARD: &str = "/proc/sys/net/ipv4/ip_forward";

/// Cages reach: the internet and private networks, name servers, and the ports that this host serves to everybody. They
/// do not reach: each other, anything else of the host, and the addresses where clouds hand out credentials. No cage may
/// fill the host's table of connections. `others` is about packets that have nothing to do with cages; see
/// [`guard`].
const RULES: &str = r#"
table inet tidemill {
  set subnets { type ipv4_addr; flags interval; }
  set name_servers { type ipv4_addr; }
  set public_ports { type inet_service; }
  set connections { type ipv4_addr; size 65535; flags dynamic; }
  chain to_host { type filter hook input priority filter - 5; policy accept; }
  chain through { type filter hook forward priority filter - 5; policy accept; }
  chain leaving { type nat hook postrouting priority srcnat; policy accept; }
  chain others { }
}
flush set inet tidemill name_servers
flush set inet tidemill public_ports
flush chain inet tidemill to_host
flush chain inet tidemill through
flush chain inet tidemill leaving
table inet tidemill {
  chain to_host {
    iifname != "tm-*" return
    ip saddr != @subnets drop
    ct state established,related accept
    ct state new add @connections { ip saddr ct count over 8192 } drop
    ip daddr @name_servers meta l4proto { tcp, udp } th dport 53 accept
    tcp dport @public_ports accept
    meta l4proto tcp reject with tcp reset
    reject
  }
  chain through {
    iifname "tm-*" oifname "tm-*" reject
    oifname "tm-*" ct state established,related accept
    oifname "tm-*" drop
    iifname != "tm-*" goto others
    ip saddr != @subnets drop
    meta nfproto ipv6 reject
    ct state new add @connections { ip saddr ct count over 8192 } drop
    ip daddr @name_servers meta l4proto { tcp, udp } th dport 53 accept
    ip daddr { 169.254.0.0/16, 168.63.129.16, 100.100.100.200, 192.0.0.192 } reject
  }
  chain leaving {
    oifname != "tm-*" ip saddr @subnets masquerade
  }
}
"#;

/// One rule of each chain, as the kernel shows it: enough to see that the table was flushed or replaced.
const SIGNS: [&str; 4] =
    ["reject with tcp reset", "iifname \"tm-*\" oifname \"tm-*\" reject", "goto others", "ip saddr @subnets masquerade"];

/// What the table is made of.
pub struct Firewall {
    nft: PathBuf,
    subnet: [u8; 2],
    public_ports: Vec<u16>,
}

impl Firewall {
    /// Finds the tool and a subnet that nothing else uses.
    pub fn new(subnet: [u8; 2], public_ports: Vec<u16>) -> Result<Self, String> {
        let nft = program("nft").ok_or("nft is not installed (Debian package nftables)")?;
        check_subnet(subnet)?;
        Ok(Self { nft, subnet, public_ports })
    }

    /// Loads the table and lets packets pass.
    pub fn load(&self, name_servers: &[IpAddr]) -> Result<(), String> {
        let mut text = RULES.to_string();
        let mut element = |set: &str, value: String| {
            let _ = writeln!(text, "add element inet tidemill {set} {{ {value} }}"); // writing to a String can not fail
        };
        element("subnets", format!("{}.{}.0.0/16", self.subnet[0], self.subnet[1]));
        name_servers.iter().for_each(|server| element("name_servers", server.to_string()));
        self.public_ports.iter().for_each(|port| element("public_ports", port.to_string()));
        if !forwards() {
            // Written first: a daemon that is killed here must leave the next one in no doubt. Gone after a reboot, as is what
            // it tells of.
            fs::write(SWITCHED_ON, "by tidemill\n").map_err(|e| format!("{SWITCHED_ON}: {e}"))?;
        }
        if must_guard() {
            text.push_str(&guard()?);
        }
        run(&self.nft, &["-f", "-"], &text)?;
        if !forwards() {
            fs::write(FORWARD, "1").map_err(|e| format!("{FORWARD}: {e}"))?;
        }
        pass_other_filters()
    }

    /// Is it still there, and is forwarding on?
    pub fn is_loaded(&self) -> bool {
        let listed = run(&self.nft, &["-t", "list", "table", "inet", "tidemill"], "").unwrap_or_default();
        SIGNS.iter().all(|sign| listed.contains(sign)) && forwards() && (!must_guard() || listed.contains(GUARD))
    }
}

/// True when it was this platform that switched forwarding on.
fn must_guard() -> bool {
    Path::new(SWITCHED_ON).exists()
}

/// A host that did not forward must not become a router for its neighbours: what comes in by a network card and was not
/// sent for is not passed on, unless an engine redirected it to a port that it publishes.
fn guard() -> Result<String, String> {
    let cards = fs::read_dir("/sys/class/net").map_err(|e| format!("/sys/class/net: {e}"))?.flatten();
    let cards = cards.filter(|card| card.path().join("device").exists() || card.path().join("bonding").exists());
    let mut names: Vec<String> = cards.map(|card| card.file_name().to_string_lossy().into_owned()).collect();
    names.extend(outward_card());
    names.sort();
    names.dedup();
    if names.is_empty() {
        return Ok(String::new());
    }
    let names: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
    Ok(format!("flush chain inet tidemill others\nadd rule inet tidemill others iifname {{ {} }} {GUARD}\n", names.join(", ")))
}

/// The interface of the default route.
fn outward_card() -> Option<String> {
    let routes = fs::read_to_string("/proc/net/route").ok()?;
    let fields = |line: &str| line.split_whitespace().map(String::from).collect::<Vec<_>>();
    routes.lines().map(fields).find(|f| f.get(1).is_some_and(|to| to == "00000000"))?.into_iter().next()
}

fn forwards() -> bool {
    fs::read_to_string(FORWARD).is_ok_and(|on| on.trim() == "1")
}

/// A private range, with no address and no route of anybody else in it.
fn check_subnet(subnet: [u8; 2]) -> Result<(), String> {
    let base = Ipv4Addr::new(subnet[0], subnet[1], 0, 0);
    let shared = subnet[0] == 100 && (64..128).contains(&subnet[1]);
    if !base.is_private() && !shared {
        return Err(format!("dyno_subnet {}.{} is no private range", subnet[0], subnet[1]));
    }
    let table = fs::read_to_string("/proc/net/route").map_err(|e| format!("/proc/net/route: {e}"))?;
    match foreign_route(&table, subnet) {
        Some(name) => Err(format!("{base}/16 is in use on {name}; set dyno_subnet to another range")),
        None => Ok(()),
    }
}

/// The interface of a route into the subnet that is not ours. Ours lead to cages, or nowhere (`*`).
fn foreign_route(table: &str, subnet: [u8; 2]) -> Option<&str> {
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let (name, target) = (fields.next()?, u32::from_str_radix(fields.next()?, 16).ok()?);
        let inside = target.to_le_bytes()[..2] == subnet;
        (inside && name != "*" && !name.starts_with(PREFIX)).then_some(name)
    })
}

/// A filter of somebody else (an engine, a firewall front end) that drops what is forwarded by default would win over
/// ours. Only the way to the outside is opened, not that to the other's own networks.
fn pass_other_filters() -> Result<(), String> {
    let Some(iptables) = program("iptables") else { return Ok(()) };
    let listed = run(&iptables, &["-w", "-S", "FORWARD"], "").unwrap_or_default();
    let Some(card) = outward_card().filter(|_| listed.contains("-P FORWARD DROP")) else { return Ok(()) };
    let out = ["-i", "tm-+", "-o", card.as_str(), "-j", "ACCEPT"];
    let back = ["-o", "tm-+", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"];
    for rule in [out.as_slice(), back.as_slice()] {
        let with = |verb: &'static str| [["-w", verb, "FORWARD"].as_slice(), rule].concat();
        if run(&iptables, &with("-C"), "").is_err() {
            run(&iptables, &with("-I"), "")?;
        }
    }
    Ok(())
}

fn program(name: &str) -> Option<PathBuf> {
    PROGRAM_DIRS.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
}

fn run(program: &Path, args: &[&str], input: &str) -> Result<String, String> {
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", program.display());
    let mut command = Command::new(program);
    command.args(args).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|e| failed(&e))?;
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(input.as_bytes()).map_err(|e| failed(&e))?;
    }
    let output = child.wait_with_output().map_err(|e| failed(&e))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    Err(failed(&reason.lines().next().unwrap_or("failed").trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subnet_that_is_public_or_in_use_is_refused() {
        for subnet in [[0, 0], [127, 0], [169, 254], [8, 8], [100, 63], [172, 32]] {
            assert!(check_subnet(subnet).is_err(), "{subnet:?}");
        }
        let table = "Iface\tDestination\tGateway\n*\t0000D10A\t0\ntm-ab12\t12ABD10A\t0\neth0\t000010AC\t0\n";
        assert_eq!(foreign_route(table, [10, 209]), None);
        assert_eq!(foreign_route(table, [172, 16]), Some("eth0"));
    }
}
