//! What a cage sees of the network. Three ways, the best that the host allows is taken and the others are named at start:
//!
//! - [`own`]: a network name space for each cage, tied to the host by a pair of virtual interfaces; the host's kernel
//!   routes and translates. Default, since apps can then reach neither each other's ports nor the daemon's.
//! - [`outbound`]: a name space with a way out in user space, for builds where the first can not be had (no root).
//! - the host's own network: by setting, or when nothing else works.

mod firewall;
pub mod outbound;
pub mod own;

use std::{fs, net::IpAddr, path::Path};

/// How dynos get their network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DynoNetwork {
    /// One name space each, with addresses from this /16.
    Own {
        /// First two bytes of every address.
        subnet: [u8; 2],
        /// Without it nothing is started; else the host's network does, and the loss is told.
        required: bool,
    },
    /// They share the host's.
    Host,
}

/// Private addresses that clouds, engines and home routers seldom use.
pub const DEFAULT_SUBNET: [u8; 2] = [10, 209];

/// The stub of systemd-resolved listens on the host's loopback; the servers behind it stand here.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// Text of `/etc/resolv.conf` for a cage that can not reach the host's loopback, and the servers in it. Without a server
/// names do not resolve in cages, which is told at start.
pub(crate) fn resolver() -> (String, Vec<IpAddr>) {
    for path in ["/etc/resolv.conf", RESOLVED] {
        let text = fs::read_to_string(Path::new(path)).unwrap_or_default();
        let servers = name_servers(&text);
        if !servers.is_empty() {
            let keep = |line: &&str| !line.starts_with("nameserver") || !name_servers(line).is_empty();
            let lines: Vec<&str> = text.lines().filter(keep).collect();
            return (lines.join("\n") + "\n", servers);
        }
    }
    (String::new(), Vec::new())
}

/// Servers that can be reached over IPv4 from elsewhere than the host itself.
fn name_servers(text: &str) -> Vec<IpAddr> {
    let words = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    words.filter_map(|w| w.trim().parse().ok()).filter(|a: &IpAddr| a.is_ipv4() && !a.is_loopback()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_servers_on_the_loopback_are_left_out() {
        let text = "search a.example\nnameserver 127.0.0.53\nnameserver 10.0.0.2\nnameserver ::1\n# nameserver 9.9.9.9\n";
        assert_eq!(name_servers(text), [IpAddr::from([10, 0, 0, 2])]);
        assert!(name_servers("nameserver 127.0.0.1\n").is_empty());
    }
}
