//! The platform as one client sees it: addresses in answers are built from its request (`cli-contract.md` section 1.1), since
//! it may come through a tunnel or a forwarder.

use crate::error::Failure;
use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, header, request::Parts},
};
use service::{Addresses, Service};
use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    ops::Deref,
    sync::{Mutex, PoisonError},
};
use wire::UserRef;

/// Where a forwarder on the client's own machine listens, e.g. `http://localhost:5000`.
const BASE: HeaderName = HeaderName::from_static("x-tidemill-base");

/// What the listener knows of a request's connection; an extension of the request.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// Who connected.
    pub peer: IpAddr,
    /// True over TLS.
    pub secure: bool,
}

impl Connection {
    /// Of a request; one that came without a connection is a local one.
    pub(crate) fn of(extensions: &axum::http::Extensions) -> Self {
        extensions.get().copied().unwrap_or(Self { peer: IpAddr::V4(Ipv4Addr::LOCALHOST), secure: false })
    }
}

/// The API's own address in the client's eyes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Base {
    scheme: &'static str,
    /// Host, with the port if the client named one.
    host: String,
}

impl Base {
    /// From the forwarder's header when that names the client's own machine, else from the request's host.
    pub(crate) fn of(parts: &Parts, addresses: &Addresses) -> Self {
        let secure = Connection::of(&parts.extensions).secure;
        let target = parts.uri.authority().map(|a| a.as_str());
        forwarded(&parts.headers).unwrap_or_else(|| Self {
            scheme: if secure { "https" } else { "http" },
            host: target.or_else(|| text(&parts.headers, &header::HOST)).map_or_else(|| own_host(addresses), String::from),
        })
    }

    /// `path` (with its slash) at this address.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.host)
    }

    /// What the official command line uses as remote: always https, at the host and port of the API.
    pub(crate) fn git_url(&self, app: &str) -> String {
        format!("https://{}/{app}.git", self.host)
    }

    /// Where a client meets an attached process. The port is a must (`cli-contract.md` section 5).
    pub(crate) fn rendezvous(&self, secret: &str) -> String {
        let has_port = port_of(&self.host).is_some();
        let default = if self.scheme == "https" { ":443" } else { ":80" };
        format!("rendezvous://{}{}/{secret}", self.host, if has_port { "" } else { default })
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

fn own_host(addresses: &Addresses) -> String {
    with_port(&addresses.domain, addresses.port)
}

fn with_port(host: &str, port: Option<u16>) -> String {
    port.map_or_else(|| host.to_string(), |port| format!("{host}:{port}"))
}

/// The port of `host:port`; an address in brackets has colons of its own.
fn port_of(host: &str) -> Option<u16> {
    let (name, port) = host.rsplit_once(':')?;
    let whole = !name.contains(':') || (name.starts_with('[') && name.ends_with(']'));
    (whole && !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit())).then(|| port.parse().ok())?
}

/// Anybody could send the header, so it may only name the machine that the client runs on.
fn forwarded(headers: &HeaderMap) -> Option<Base> {
    let value = text(headers, &BASE)?.trim_end_matches('/');
    let (scheme, host) = match value.split_once("://")? {
        ("http", host) => ("http", host),
        ("https", host) => ("https", host),
        _ => return None,
    };
    let name = match port_of(host) {
        Some(_) => host.rsplit_once(':')?.0,
        None => host,
    };
    ["localhost", "127.0.0.1", "[::1]"].contains(&name).then(|| Base { scheme, host: host.to_string() })
}

/// The operations, and how this client reaches them. It is an extractor in place of `State<Service>` for handlers whose
/// answers hold addresses.
pub(crate) struct View {
    service: Service,
    base: Base,
    /// Lists name the same few people again and again.
    people: Mutex<HashMap<domain::AccountId, UserRef>>,
}

impl View {
    /// As the installation calls itself, for what is told without a request.
    pub(crate) fn own(service: &Service) -> Self {
        let addresses = service.addresses();
        let (scheme, port) = addresses.way(&addresses.domain);
        let base = Base { scheme, host: with_port(&addresses.domain, port) };
        Self { base, service: service.clone(), people: Mutex::default() }
    }

    /// The API's own address in the client's eyes.
    pub(crate) fn base(&self) -> &Base {
        &self.base
    }

    /// An account as resources name it.
    pub(crate) fn user(&self, id: domain::AccountId) -> Result<UserRef, service::Error> {
        let mut people = self.people.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = people.get(&id) {
            return Ok(known.clone());
        }
        let account = self.service.account(id)?;
        let user = UserRef { id: account.id.0, email: account.email };
        people.insert(id, user.clone());
        Ok(user)
    }
}

impl Deref for View {
    type Target = Service;
    fn deref(&self) -> &Service {
        &self.service
    }
}

impl FromRequestParts<Service> for View {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Failure> {
        Ok(Self { base: Base::of(parts, service.addresses()), service: service.clone(), people: Mutex::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn base(headers: &[(&str, &str)], secure: bool) -> Base {
        let mut request = Request::builder().uri("/apps");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let peer = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (parts, ()) = request.extension(Connection { peer, secure }).body(()).expect("a request").into_parts();
        Base::of(&parts, &Addresses { domain: "paas.test".into(), port: Some(8080), secure: None })
    }

    #[test]
    fn addresses_follow_the_request() {
        let seen = base(&[("host", "localhost:5000")], false);
        assert_eq!(seen.url("/x"), "http://localhost:5000/x");
        assert_eq!(seen.git_url("shop"), "https://localhost:5000/shop.git");
        assert_eq!(seen.rendezvous("s"), "rendezvous://localhost:5000/s");
        let seen = base(&[("host", "api.paas.test")], true);
        assert_eq!(seen.url("/x"), "https://api.paas.test/x");
        assert_eq!(seen.rendezvous("s"), "rendezvous://api.paas.test:443/s");
        assert_eq!(base(&[("host", "paas.test")], false).rendezvous("s"), "rendezvous://paas.test:80/s");
        assert_eq!(base(&[("host", "[::1]")], false).rendezvous("s"), "rendezvous://[::1]:80/s");
        assert_eq!(base(&[], false).url("/"), "http://paas.test:8080/");
    }

    #[test]
    fn only_the_clients_own_machine_may_be_named_by_a_forwarder() {
        let seen = |value: &str| base(&[("host", "paas.test"), ("x-tidemill-base", value)], true).url("/");
        assert_eq!(seen("http://localhost:5000"), "http://localhost:5000/");
        assert_eq!(seen("http://127.0.0.1:7/"), "http://127.0.0.1:7/");
        assert_eq!(seen("http://[::1]:7"), "http://[::1]:7/");
        for foreign in [
            "http://evil.test",
            "http://localhost.evil.test:1",
            "http://localhost:1@evil.test",
            "http://localhost:1/evil",
            "localhost:1",
            "ftp://localhost:1",
            "http://localhost:",
            "http://localhost:123456",
            "",
        ] {
            assert_eq!(seen(foreign), "https://paas.test/", "{foreign}");
        }
    }
}
