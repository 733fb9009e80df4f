//! What DNS says about a name, judged (`acm.md` section 4, step 1).

use std::{fmt::Write, net::IpAddr};

/// Last labels of names that no public authority makes certificates for.
const INTERNAL: &[&str] = &[
    "localhost",
    "local",
    "internal",
    "intranet",
    "private",
    "corp",
    "home",
    "lan",
    "test",
    "example",
    "invalid",
    "onion",
    "arpa",
    "alt",
];

/// False for names that exist inside of a network only.
pub fn may_be_public(name: &str) -> bool {
    let plain = name.strip_prefix("*.").unwrap_or(name);
    match plain.parse::<IpAddr>() {
        Ok(address) => crate::address::is_public(address),
        Err(_) => plain.rsplit_once('.').is_some_and(|(_, last)| !INTERNAL.contains(&last)),
    }
}

/// True when all of `found` are addresses of this server.
///
/// # Errors
/// A sentence that says what was seen instead.
pub fn leads_here(found: &[IpAddr], ours: &[IpAddr]) -> Result<(), String> {
    let list = |addresses: &[&IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let elsewhere: Vec<&IpAddr> = found.iter().filter(|address| !ours.contains(address)).collect();
    let here: Vec<&IpAddr> = found.iter().filter(|address| ours.contains(address)).collect();
    if found.is_empty() {
        return Err("DNS has no address for the name.".into());
    }
    if elsewhere.is_empty() {
        return Ok(());
    }
    let mut text = String::new();
    let wanted = list(&ours.iter().collect::<Vec<_>>());
    if !here.is_empty() && elsewhere.iter().all(|address| address.is_ipv6()) {
        let _ = write!(text, "A stray AAAA record leads to {}, not to this server; remove it.", list(&elsewhere)); // a string takes all
    } else if here.is_empty() {
        let _ = write!(text, "DNS leads to {}, not to this server ({wanted}).", list(&elsewhere)); // a string takes all
    } else {
        let _ = write!(text, "DNS also leads to {}, which is not this server ({wanted}).", list(&elsewhere)); // a string takes all
    }
    Err(text)
}

/// A CAA record (RFC 8659).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caa {
    /// Whoever does not understand the tag must not issue.
    pub critical: bool,
    /// `issue`, `issuewild` or another one.
    pub tag: String,
    /// Issuer and parameters.
    pub value: String,
}

/// True when the records of the closest name that has any let one of `identities` issue by one of `methods`.
///
/// # Errors
/// A sentence that says what forbids.
pub fn caa_allows(records: &[Caa], identities: &[String], wildcard: bool, methods: &[&str]) -> Result<(), String> {
    let known =
        |tag: &str| ["issue", "issuewild", "iodef", "issuemail", "issuevmc", "contactemail", "contactphone"].contains(&tag);
    if let Some(odd) = records.iter().find(|r| r.critical && !known(&r.tag.to_ascii_lowercase())) {
        return Err(format!("A critical CAA record with the unknown tag {} forbids certificates.", odd.tag));
    }
    let of = |tag: &str| records.iter().filter(|r| r.tag.eq_ignore_ascii_case(tag)).collect::<Vec<_>>();
    let mut relevant = if wildcard { of("issuewild") } else { Vec::new() };
    if relevant.is_empty() {
        relevant = of("issue");
    }
    let names_nobody = |record: &&Caa| record.value.split(';').next().unwrap_or_default().trim().is_empty();
    if relevant.is_empty() || (identities.is_empty() && !relevant.iter().all(names_nobody)) {
        return Ok(()); // an authority that does not say who it is decides by itself
    }
    let mut by_method = false;
    for record in &relevant {
        let mut parts = record.value.split(';').map(str::trim);
        let issuer = parts.next().unwrap_or_default();
        if !identities.iter().any(|identity| identity.eq_ignore_ascii_case(issuer)) {
            continue;
        }
        let allowed =
            parts.filter_map(|p| p.split_once('=')).find(|(key, _)| key.trim().eq_ignore_ascii_case("validationmethods"));
        match allowed {
            Some((_, list)) if !list.split(',').any(|method| methods.contains(&method.trim())) => by_method = true,
            _ => return Ok(()),
        }
    }
    let values: Vec<&str> = relevant.iter().map(|r| r.value.as_str()).collect();
    Err(if by_method {
        format!("CAA allows other ways to prove the name only: {}.", values.join(" and "))
    } else {
        let allowed = if relevant.iter().all(names_nobody) { "nobody".into() } else { values.join(" and ") };
        format!("CAA forbids: it allows {allowed}, and the authority is {}.", identities.join(" or "))
    })
}
