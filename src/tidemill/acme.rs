//! Configuration of certificates from an authority.

use certs::acme::Trust;
use domain::{
    acm::{Limits, Method, Rules, may_be_public},
    names::{check_domain, normal_host},
};
use engine::acme::{LETS_ENCRYPT, LETS_ENCRYPT_STAGING, Settings};
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

/// Ways to prove a name, the best first.
pub const METHODS: &[Method] = &[Method::Http01, Method::TlsAlpn01, Method::Dns01];

/// Checked, but not yet with its defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Acme {
    pub directory: Option<String>,
    pub staging: bool,
    pub ca_file: Option<PathBuf>,
    pub email: Option<String>,
    pub methods: Vec<Method>,
    pub dns_hook: Option<PathBuf>,
    pub backoff_s: Option<Vec<u64>>,
    pub names: Option<Vec<String>>,
    pub public_addresses: Vec<IpAddr>,
    pub dns_servers: Vec<SocketAddr>,
}

impl Acme {
    /// Nothing was said.
    pub fn nothing() -> Self {
        Self {
            directory: None,
            staging: false,
            ca_file: None,
            email: None,
            methods: METHODS.to_vec(),
            dns_hook: None,
            backoff_s: None,
            names: None,
            public_addresses: Vec::new(),
            dns_servers: Vec::new(),
        }
    }

    /// For the engine of a platform at `domain` that listens on `port`.
    pub fn settings(&self, domain: &str, port: u16) -> Settings {
        let own_names = self.names.clone().unwrap_or_else(|| own_names(domain, port, self.dns_hook.is_some()));
        // One for all of them would need a program that changes DNS.
        let each_app = own_names.iter().any(|name| name == domain) && !own_names.contains(&format!("*.{domain}"));
        let usual = if self.staging { LETS_ENCRYPT_STAGING } else { LETS_ENCRYPT };
        Settings {
            directory: self.directory.clone().unwrap_or_else(|| usual.into()),
            trust: Trust { ca_file: self.ca_file.clone() },
            contact: self.email.clone(),
            methods: self.methods.clone(),
            dns_hook: self.dns_hook.clone(),
            rules: self.backoff_s.as_deref().map_or_else(Rules::default, Rules::from_seconds),
            limits: Limits::default(),
            own_names,
            app_domain: each_app.then(|| domain.to_string()),
            public_addresses: self.public_addresses.clone(),
            dns_servers: self.dns_servers.clone(),
        }
    }
}

/// What visitors of the platform itself come to. An authority looks at port 80, so on another one nothing is asked of it.
fn own_names(domain: &str, port: u16, wildcards: bool) -> Vec<String> {
    if port != 80 || !may_be_public(domain) || domain.parse::<IpAddr>().is_ok() {
        return Vec::new();
    }
    let mut names = vec![domain.to_string(), format!("api.{domain}"), format!("git.{domain}")];
    names.extend(wildcards.then(|| format!("*.{domain}")));
    names
}

/// Checks the address of an authority.
pub fn directory(text: &str) -> Result<String, String> {
    let good = text.strip_prefix("https://").is_some_and(|rest| !rest.is_empty()) && !text.contains(char::is_whitespace);
    if good { Ok(text.to_string()) } else { Err("must be a URL that begins with https://".into()) }
}

/// Checks an e-mail.
pub fn email(text: &str) -> Result<String, String> {
    let good = text.split_once('@').is_some_and(|(name, host)| !name.is_empty() && normal_host(host).is_some());
    if good { Ok(text.to_string()) } else { Err("must be an e-mail".into()) }
}

/// Checks the path of a program.
pub fn program(text: &str) -> Result<PathBuf, String> {
    if text.starts_with('/') { Ok(text.into()) } else { Err("must be the whole path of a program".into()) }
}

/// Ways with commas between.
pub fn methods(text: &str) -> Result<Vec<Method>, String> {
    let one = |word: &str| METHODS.iter().copied().find(|method| method.word() == word.trim());
    let all: Option<Vec<Method>> = text.split(',').map(one).collect();
    all.ok_or_else(|| "must be http-01, tls-alpn-01 or dns-01, with commas between".into())
}

/// Names or addresses with commas between; `none` for none.
pub fn names(text: &str) -> Result<Vec<String>, String> {
    if text == "none" {
        return Ok(Vec::new());
    }
    let one = |name: &str| match name.trim().parse::<IpAddr>() {
        Ok(address) => Ok(address.to_string()),
        Err(_) => check_domain(name.trim()),
    };
    text.split(',').map(one).collect()
}

/// Addresses with commas between.
pub fn each<T: FromStr>(text: &str) -> Result<Vec<T>, String> {
    let all: Result<Vec<T>, _> = text.split(',').map(|one| one.trim().parse()).collect();
    all.map_err(|_| "must be addresses with commas between".to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_platform_asks_for_its_own_names_only_where_an_authority_could_look() {
        assert_eq!(
            own_names("paas.example.com", 80, false),
            ["paas.example.com", "api.paas.example.com", "git.paas.example.com"]
        );
        assert_eq!(own_names("paas.example.com", 80, true).last().map(String::as_str), Some("*.paas.example.com"));
        for (domain, port) in [("paas.example.com", 8080), ("localhost", 80), ("paas.test", 80), ("192.0.2.1", 80)] {
            assert!(own_names(domain, port, true).is_empty(), "{domain}:{port}");
        }
    }

    #[test]
    fn values_are_checked() {
        assert!(directory("http://ca.example/dir").is_err() && directory("https://ca.example/dir").is_ok());
        assert!(methods("http-01, dns-01").is_ok() && methods("http").is_err() && methods("").is_err());
        assert!(email("a@example.com").is_ok() && email("a").is_err());
        assert!(program("/usr/bin/hook").is_ok() && program("hook --x").is_err());
        assert_eq!(names("none"), Ok(Vec::new()));
        assert!(names("192.0.2.1,a.example.com").is_ok() && names("a b").is_err());
        assert!(each::<IpAddr>("192.0.2.1, ::1").is_ok() && each::<SocketAddr>("192.0.2.1").is_err());
    }
}
