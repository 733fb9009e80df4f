//! The host's packet filter for cages with a network of their own: one `nftables` table of our own, loaded in one
//! transaction. What several daemons on a host add to its sets stays, because cages outlive their daemon.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// Every host end of a cage is named so.
pub const PREFIX: &str = "tm-";
const PROGRAM_DIRS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/usr/local/sbin"];

/// Cages reach: the internet and private networks, name servers, and the ports that this platform serves to everybody.
/// They do not reach: each other, anything else of the host, and link-local addresses, where clouds keep credentials.
const RULES: &str = r#"
table inet tidemill {
  set subnets { type ipv4_addr; flags interval; }
  set name_servers { type ipv4_addr; }
  set public_ports { type inet_service; }
  chain to_host { type filter hook input priority filter - 5; policy accept; }
  chain through { type filter hook forward priority filter - 5; policy accept; }
  chain leaving { type nat hook postrouting priority srcnat; policy accept; }
}
flush chain inet tidemill to_host
flush chain inet tidemill through
flush chain inet tidemill leaving
table inet tidemill {
  chain to_host {
    iifname != "tm-*" return
    ip saddr != @subnets drop
    ct state established,related accept
    ip daddr @name_servers meta l4proto { tcp, udp } th dport 53 accept
    tcp dport @public_ports accept
    meta l4proto tcp reject with tcp reset
    reject
  }
  chain through {
    iifname "tm-*" oifname "tm-*" reject
    oifname "tm-*" ct state established,related accept
    oifname "tm-*" drop
    iifname != "tm-*" return
    ip saddr != @subnets drop
    meta nfproto ipv6 reject
    ip daddr @name_servers meta l4proto { tcp, udp } th dport 53 accept
    ip daddr 169.254.0.0/16 reject
  }
  chain leaving {
    oifname != "tm-*" ip saddr @subnets masquerade
  }
}
"#;

/// Loads the rules and switches forwarding on.
pub fn set_up(subnet: [u8; 2], name_servers: &[IpAddr], public_port: Option<u16>) -> Result<(), String> {
    let nft = program("nft").ok_or("nft is not installed (Debian package nftables)")?;
    let mut text = RULES.to_string();
    let mut element = |set: &str, value: String| {
        let _ = writeln!(text, "add element inet tidemill {set} {{ {value} }}"); // writing to a String can not fail
    };
    element("subnets", format!("{}.{}.0.0/16", subnet[0], subnet[1]));
    name_servers.iter().for_each(|server| element("name_servers", server.to_string()));
    public_port.iter().for_each(|port| element("public_ports", port.to_string()));
    run(&nft, &["-f", "-"], &text)?;
    let forward = "/proc/sys/net/ipv4/ip_forward";
    if std::fs::read_to_string(forward).is_ok_and(|on| on.trim() != "1") {
        std::fs::write(forward, "1").map_err(|e| format!("{forward}: {e}"))?;
    }
    pass_other_filters()
}

/// A filter of somebody else (an engine, a firewall front end) that drops what is forwarded by default would win over ours.
fn pass_other_filters() -> Result<(), String> {
    let Some(iptables) = program("iptables") else { return Ok(()) };
    let listed = run(&iptables, &["-w", "-S", "FORWARD"], "").unwrap_or_default();
    if !listed.lines().any(|line| line == "-P FORWARD DROP") {
        return Ok(());
    }
    let out = ["-i", "tm-+", "-j", "ACCEPT"].as_slice();
    let back = ["-o", "tm-+", "-m", "conntrack", "--ctstate", "RELATED,ESTABLISHED", "-j", "ACCEPT"].as_slice();
    for rule in [out, back] {
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
