//! Which addresses are out in the world. What users name by URL (sources, webhooks, drains) must not reach services of
//! this host or its network: request forgery (`eventing.md` section 5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// True for an address of the public network. Loopback, private, link-local, shared, reserved and multicast ones are not,
/// nor are those of IPv6 that stand for such an address of IPv4.
pub fn is_public(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let shared = a == 100 && (64..128).contains(&b);
    let protocol = (a, b, c) == (192, 0, 0);
    let benchmark = a == 198 && (b == 18 || b == 19);
    !(ip.is_private() || ip.is_loopback() || ip.is_link_local() || shared || protocol || benchmark || a == 0 || a >= 224)
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    let [first, second, third, .., high, low] = ip.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match (first, second) {
        (0x0064, 0xff9b) => is_public_v4(v4(high, low)), // NAT64
        (0x2002, _) => is_public_v4(v4(second, third)),  // 6to4
        (0, 0) if ip.segments()[..6] == [0; 6] => false, // unspecified, loopback, old forms of IPv4
        _ => {
            let local = first & 0xfe00 == 0xfc00 || first & 0xff80 == 0xfe80;
            !(ip.is_multicast() || local)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_pass() {
        for bad in [
            "127.0.0.1",
            "10.1.2.3",
            "169.254.169.254",
            "192.168.0.1",
            "172.16.0.1",
            "0.0.0.0",
            "100.64.0.1",
            "192.0.0.8",
            "198.18.0.1",
            "224.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fd00::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "::127.0.0.1",
            "64:ff9b::7f00:1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
        ] {
            assert!(!is_public(bad.parse().unwrap()), "{bad}");
        }
        for good in ["93.184.216.34", "2606:2800:220:1::1", "172.32.0.1", "64:ff9b::5db8:d822", "192.0.1.1"] {
            assert!(is_public(good.parse().unwrap()), "{good}");
        }
    }
}
