//! Log drains (`logs.md` section 4).

use crate::{AppId, UnixMs};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Drains of one app (`logs.md` section 4).
pub const DRAINS_PER_APP_MAX: usize = 5;
/// Longest URL of a drain.
pub const DRAIN_URL_BYTES_MAX: usize = 2048;

/// A drain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogDrain {
    /// Public id.
    pub id: Uuid,
    /// Owning app.
    pub app: AppId,
    /// `d.` and a uuid; receivers tell drains apart by it.
    pub token: String,
    /// Its URL, sealed in pieces: it may hold a password.
    pub sealed_url: Vec<String>,
    /// It gets the lines after this number of the app's log.
    pub after_seq: u64,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change.
    pub updated_at: UnixMs,
}

/// How lines are handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Requests of many lines.
    Http,
    /// Frames on a stream.
    Syslog,
    /// Requests of OpenTelemetry, OTLP over HTTP with JSON.
    Otlp,
}

/// A URL of a drain, taken apart.
#[derive(Clone, PartialEq, Eq)]
pub struct DrainUrl {
    /// How lines are handed over.
    pub protocol: Protocol,
    /// Over TLS.
    pub tls: bool,
    /// Any certificate is good enough (`#insecure`).
    pub insecure: bool,
    /// Name or address, without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
    /// `user:password`, as written.
    pub user: Option<String>,
    /// Path and query, begins with a slash.
    pub path: String,
}

impl DrainUrl {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// The text for the user; it does not repeat the URL, which may hold a password.
    pub fn parse(url: &str) -> Result<Self, String> {
        if url.len() > DRAIN_URL_BYTES_MAX || !url.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(format!("Url must be at most {DRAIN_URL_BYTES_MAX} printable ASCII characters without spaces."));
        }
        let (scheme, rest) = url.split_once("://").ok_or(
            "Url is no URL; it must begin with https://, http://, syslog+tls://, syslog://, otlp+https:// or otlp+http://.",
        )?;
        let (protocol, tls, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "http" => (Protocol::Http, false, 80),
            "https" => (Protocol::Http, true, 443),
            "syslog" => (Protocol::Syslog, false, 514),
            "syslog+tls" => (Protocol::Syslog, true, 6514),
            "otlp+http" => (Protocol::Otlp, false, 4318),
            "otlp+https" => (Protocol::Otlp, true, 443),
            _ => return Err("Url has an unknown scheme; use https, http, syslog+tls, syslog, otlp+https or otlp+http.".into()),
        };
        let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(split);
        let (user, place) = authority.rsplit_once('@').map_or((None, authority), |(user, place)| (Some(user), place));
        let (host, port) = host_and_port(place)?;
        Ok(Self {
            protocol,
            tls,
            insecure: tls && fragment == "insecure",
            host,
            port: port.unwrap_or(default_port),
            user: user.filter(|user| !user.is_empty()).map(percent_decoded),
            path: match (protocol, path) {
                (Protocol::Otlp, "" | "/") => "/v1/logs".into(), // where all of them take it
                (_, path) if path.starts_with('/') => path.into(),
                (_, path) => format!("/{path}"),
            },
        })
    }

    /// `host:port` as headers name it.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let usual = if self.tls { 443 } else { 80 };
        if self.protocol != Protocol::Syslog && self.port == usual { host } else { format!("{host}:{}", self.port) }
    }

    /// For messages: without user, path and query.
    pub fn shown(&self) -> String {
        let scheme = match (self.protocol, self.tls) {
            (Protocol::Http, false) => "http",
            (Protocol::Http, true) => "https",
            (Protocol::Syslog, false) => "syslog",
            (Protocol::Syslog, true) => "syslog+tls",
            (Protocol::Otlp, false) => "otlp+http",
            (Protocol::Otlp, true) => "otlp+https",
        };
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        format!("{scheme}://{host}:{}/", self.port)
    }
}

impl std::fmt::Debug for DrainUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown()) // never a password
    }
}

fn host_and_port(place: &str) -> Result<(String, Option<u16>), String> {
    let bad = || "Url has no usable host and port.".to_string();
    let (host, port) = match place.strip_prefix('[') {
        Some(inside) => {
            let (host, rest) = inside.split_once(']').ok_or_else(bad)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| bad())?;
            (host, rest.strip_prefix(':').map_or_else(|| if rest.is_empty() { Ok(None) } else { Err(bad()) }, |p| Ok(Some(p)))?)
        }
        None => place.rsplit_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    if host.is_empty() || (!place.starts_with('[') && (host.contains(':') || crate::names::normal_host(host).is_none())) {
        return Err(bad());
    }
    let port = port.map(|p| p.parse::<u16>().ok().filter(|p| *p > 0).ok_or_else(bad)).transpose()?;
    Ok((host.to_ascii_lowercase(), port))
}

/// `%40` and the like; what is no such code stays as it is.
fn percent_decoded(text: &str) -> String {
    let (bytes, mut out, mut at) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while at < bytes.len() {
        let code =
            (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten().and_then(|hex| u8::from_str_radix(hex, 16).ok());
        out.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = DrainUrl::parse("https://us%40er:pa:ss@Logs.example.com/in?x=1").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.tls), ("logs.example.com", 443, true));
        assert_eq!((url.user.as_deref(), url.path.as_str()), (Some("us@er:pa:ss"), "/in?x=1"));
        assert_eq!(
            (url.authority().as_str(), format!("{url:?}").as_str()),
            ("logs.example.com", "https://logs.example.com:443/")
        );
        let url = DrainUrl::parse("syslog+tls://[::1]#insecure").unwrap();
        assert_eq!((url.host.as_str(), url.port, url.insecure, url.protocol), ("::1", 6514, true, Protocol::Syslog));
        assert_eq!(DrainUrl::parse("syslog://h").unwrap().port, 514);
        assert_eq!(DrainUrl::parse("http://h?a").unwrap().path, "/?a");
        let otlp = DrainUrl::parse("otlp+http://h").unwrap();
        assert_eq!((otlp.path.as_str(), otlp.authority().as_str()), ("/v1/logs", "h:4318"));
        assert_eq!(DrainUrl::parse("otlp+https://h/in").unwrap().authority(), "h");
    }

    #[test]
    fn what_is_no_drain_is_refused_without_repeating_it() {
        for bad in [
            "",
            "x",
            "ftp://secret@h",
            "http://",
            "http://:80",
            "http://secret@:80",
            "http://h:0",
            "http://h:70000",
            "http://a b",
            "http://[::1",
            "http://[::1]x",
            "http://[zz]:80",
            "http://a:b:c",
            "http://hö",
        ] {
            let error = DrainUrl::parse(bad).unwrap_err();
            assert!(!error.contains("secret"), "{bad}: {error}");
        }
    }
}
