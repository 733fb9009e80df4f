//! Names that people choose, checked once at the edge (`platform-api.md` section 10).

/// Names that an app can not have because the platform answers there itself.
const RESERVED: &[&str] =
    &["api", "git", "www", "admin", "dashboard", "tidemill", "localhost", "registry", "static", "status", "setup", "login"];

/// Checks an app name: 3 to 30 characters, `^[a-z][a-z0-9-]{1,28}[a-z0-9]$`, not reserved.
///
/// # Errors
/// The text for the user.
pub fn check_app_name(name: &str) -> Result<(), String> {
    let bytes = name.as_bytes();
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    let shape = (3..=30).contains(&bytes.len())
        && bytes[0].is_ascii_lowercase()
        && bytes.iter().all(inner)
        && bytes[bytes.len() - 1] != b'-';
    if !shape {
        return Err("Name must start with a letter, end with a letter or digit and can only contain lowercase letters, \
                    numbers, and dashes; 3 to 30 characters."
            .into());
    }
    if RESERVED.contains(&name) {
        return Err(format!("Name {name} is reserved by the platform."));
    }
    Ok(())
}

/// Checks a config var key: `^[A-Za-z_][A-Za-z0-9_]*$`.
///
/// # Errors
/// The text for the user.
pub fn check_config_key(key: &str) -> Result<(), String> {
    let mut bytes = key.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !first || !bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_') {
        return Err(format!(
            "Config var key {key:?} is invalid: letters, digits and underscores only, not starting with a digit."
        ));
    }
    if key.len() > crate::limits::CONFIG_KEY_BYTES_MAX {
        return Err(format!("Config var key is longer than {} bytes.", crate::limits::CONFIG_KEY_BYTES_MAX));
    }
    Ok(())
}

/// True for a process type: `^[-\w]{1,128}$`.
pub fn is_process_type(name: &str) -> bool {
    (1..=128).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// Lower-cases a host name, drops port and trailing dot; `None` when it is no host name.
pub fn normal_host(host: &str) -> Option<String> {
    let host = if host.starts_with('[') {
        host.split_once(']').map_or(host, |(inside, _)| &inside[1..])
    } else {
        host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit())).map_or(host, |(name, _)| name)
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b':');
    if host.is_empty() || host.len() > 253 || !host.bytes().all(good) {
        return None;
    }
    Some(host.to_ascii_lowercase())
}

/// Checks a custom domain such as `www.example.com` or `*.example.com` and gives its normal form.
///
/// # Errors
/// The text for the user.
pub fn check_domain(hostname: &str) -> Result<String, String> {
    let bad = || format!("{hostname:?} is not a valid domain name.");
    let plain = hostname.strip_prefix("*.").unwrap_or(hostname);
    let normal = normal_host(plain).filter(|n| !n.contains([':', '_'])).ok_or_else(bad)?;
    let label = |l: &str| (1..=63).contains(&l.len()) && !l.starts_with('-') && !l.ends_with('-');
    if !normal.contains('.') || !normal.split('.').all(label) {
        return Err(bad());
    }
    Ok(if hostname.starts_with("*.") { format!("*.{normal}") } else { normal })
}

const ADJECTIVES: &[&str] = &[
    "amber", "autumn", "brave", "bright", "calm", "clear", "cobalt", "cool", "crisp", "deep", "dry", "early", "even", "fair",
    "fresh", "gentle", "golden", "grand", "green", "high", "keen", "late", "light", "low", "mild", "misty", "north", "open",
    "pale", "plain", "proud", "quick", "quiet", "rapid", "round", "salty", "silver", "slow", "small", "snug", "soft", "steady",
    "still", "sunny", "swift", "tidal", "warm", "west", "wide", "young",
];
const NOUNS: &[&str] = &[
    "bay", "beach", "brook", "cape", "cliff", "coast", "coral", "cove", "creek", "current", "delta", "dock", "dune", "estuary",
    "ferry", "fjord", "ford", "gull", "harbor", "haven", "heron", "inlet", "island", "jetty", "kelp", "lagoon", "lock",
    "marsh", "mill", "mole", "otter", "pier", "pond", "quay", "reef", "river", "sail", "sand", "shoal", "shore", "sluice",
    "sound", "spray", "strand", "stream", "surf", "tern", "tide", "wave", "weir",
];

/// A name like `quiet-harbor-04217`; `seed` is the caller's randomness.
pub fn generated_app_name(seed: u64) -> String {
    let pick = |list: &[&'static str], n: u64| list[usize::try_from(n % list.len() as u64).unwrap_or(0)];
    format!("{}-{}-{:05}", pick(ADJECTIVES, seed), pick(NOUNS, seed >> 16), (seed >> 32) % 100_000)
}

/// A name for a certificate, like `heron-04217`; `seed` is the caller's randomness.
pub fn generated_endpoint_name(seed: u64) -> String {
    let noun = NOUNS[usize::try_from(seed % NOUNS.len() as u64).unwrap_or(0)];
    format!("{noun}-{:05}", (seed >> 32) % 100_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_names_follow_the_published_pattern() {
        for good in ["abc", "a-1", "quiet-harbor-04217", "abcdefghijklmnopqrstuvwxyz0123"] {
            assert!(check_app_name(good).is_ok(), "{good}");
        }
        let long = "a".repeat(31);
        for bad in ["", "ab", "1ab", "Abc", "ab-", "a b", "a/../b", "äbc", "api", long.as_str(), "a\nb"] {
            assert!(check_app_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn generated_names_are_valid_for_every_seed() {
        for n in 0..5000u64 {
            let name = generated_app_name(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            assert!(check_app_name(&name).is_ok(), "{name}");
        }
    }

    #[test]
    fn hosts_lose_port_case_and_dot() {
        assert_eq!(normal_host("Shop.Example.COM:8080").as_deref(), Some("shop.example.com"));
        assert_eq!(normal_host("shop.example.com.").as_deref(), Some("shop.example.com"));
        assert_eq!(normal_host("[::1]:80").as_deref(), Some("::1"));
        assert_eq!(normal_host("a b"), None);
        assert_eq!(normal_host(""), None);
    }

    #[test]
    fn domains_are_checked_label_by_label() {
        assert_eq!(check_domain("WWW.Example.com").as_deref(), Ok("www.example.com"));
        assert_eq!(check_domain("*.example.com").as_deref(), Ok("*.example.com"));
        for bad in ["example", "-a.com", "a..b", "a.com/..", "*", "*.*.com", "a b.com"] {
            assert!(check_domain(bad).is_err(), "{bad}");
        }
    }
}
