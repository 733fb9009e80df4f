//! `doctor`: what is between this machine and the server, looked at step by step, each failure with its fix (`ux.md` section 3).

use super::prelude::*;
use crate::{
    args::{Given, Global},
    client::{self, Client},
    credentials::{Credentials, folder},
    git::git,
};
use std::{
    net::{TcpStream, ToSocketAddrs},
    sync::mpsc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// `doctor`.
pub const TOPIC: Topic = Topic {
    name: "doctor",
    about: "Check this machine, the way to the server, and the server",
    verbs: &[here("doctor", "Check this machine, the way to the server, and the server; each failure with its fix", doctor)
        .examples(&["doctor", "doctor --json"])],
};

/// For each step, so that the whole ends within ten seconds.
const STEP: Duration = Duration::from_secs(2);
const ANSWER: Duration = Duration::from_secs(4);
/// Codes of the second factor and tokens of a short life bear as much.
const CLOCK_OFF_MAX_S: u64 = 30;

/// What was found.
#[derive(Default)]
struct Found(Vec<Value>);

impl Found {
    fn put(&mut self, part: &str, id: &str, level: &str, text: impl Into<String>, fix: Option<&str>) {
        self.0.push(json!({ "part": part, "id": id, "level": level, "text": text.into(), "fix": fix }));
    }

    fn ok(&mut self, part: &str, id: &str, text: impl Into<String>) {
        self.put(part, id, "ok", text, None);
    }

    fn fail(&mut self, part: &str, id: &str, text: impl Into<String>, fix: &str) {
        self.put(part, id, "fail", text, Some(fix));
    }
}

fn doctor(global: &Global, _: &Given) -> Result<()> {
    let mut found = Found::default();
    if let Some(client) = laptop(global, &mut found)
        && route(&client.base, &mut found)
    {
        server(&client, &mut found);
    }
    let result = json!({ "checks": found.0 });
    show(global, &result, || lines(&found.0));
    let failed = found.0.iter().filter(|check| check["level"] == "fail").count();
    match failed {
        0 => Ok(()),
        1 => Err(Failure::failed("One check failed.")),
        n => Err(Failure::failed(format!("{n} checks failed."))),
    }
}

fn lines(checks: &[Value]) -> String {
    let mut text = String::new();
    let mut part = "";
    for check in checks {
        if part != field(check, "part") {
            part = field(check, "part");
            text.push_str(&heading(part));
        }
        text.push_str(&format!("  {:<4}  {}\n", field(check, "level"), field(check, "text")));
        if let Some(fix) = check["fix"].as_str() {
            text.push_str(&format!("        fix: {fix}\n"));
        }
    }
    text
}

/// Settings, sign-in, git. Gives what speaks to the server, when there is somebody to speak to.
fn laptop(global: &Global, found: &mut Found) -> Option<Client> {
    const PART: &str = "This machine";
    match git(&["--version"]) {
        Some(version) => found.ok(PART, "git", version.trim().to_string()),
        None => found.fail(PART, "git", "git is not installed", "install git, for instance: sudo apt install git"),
    }
    let file = folder().map_or_else(|_| "the settings".into(), |f| f.join("credentials.json").display().to_string());
    if let Err(e) = Credentials::load() {
        found.fail(PART, "settings", e.text, &format!("move {file} away, then: tidemill login URL"));
        return None;
    }
    found.ok(PART, "settings", format!("{file} can be read"));
    let client = client::known_server(global.host.clone())
        .and_then(|(base, token)| Client::new(base.clone(), token, &client::trust(global, &base)?));
    match client {
        Ok(client) => {
            found.ok(PART, "token", format!("there is a token for {}", client.base));
            Some(client)
        }
        Err(e) => {
            found.fail(PART, "token", e.text.lines().next().unwrap_or_default(), "tidemill login URL");
            None
        }
    }
}

/// Host and port of an address.
fn host_and_port(base: &str) -> Option<(String, u16)> {
    let (scheme, rest) = base.split_once("://")?;
    let usual = if scheme == "https" { 443 } else { 80 };
    let host = rest.split('/').next()?;
    let port = host.rsplit_once(':').filter(|(name, _)| !name.contains(':') || name.ends_with(']'));
    match port.and_then(|(name, port)| Some((name, port.parse().ok()?))) {
        Some((name, port)) => Some((name.trim_matches(['[', ']']).into(), port)),
        None => Some((host.trim_matches(['[', ']']).into(), usual)),
    }
}

/// DNS and the port; the rest makes no sense without them.
fn route(base: &str, found: &mut Found) -> bool {
    const PART: &str = "Way to the server";
    let Some((host, port)) = host_and_port(base) else {
        found.fail(PART, "dns", format!("{base} is no address"), "tidemill login URL");
        return false;
    };
    let (sender, addresses) = mpsc::channel();
    let name = host.clone();
    // The system's resolver has no limit of its own that could be set.
    std::thread::spawn(move || {
        let all = (name.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>).unwrap_or_default();
        let _ = sender.send(all); // nobody waits any longer
    });
    let addresses = addresses.recv_timeout(STEP).unwrap_or_default();
    let Some(first) = addresses.first() else {
        let fix = format!("check the name; its DNS needs a record that leads to the server: dig {host}");
        found.fail(PART, "dns", format!("{host} has no address"), &fix);
        return false;
    };
    found.ok(PART, "dns", format!("{host} is {}", first.ip()));
    if !addresses.iter().take(2).any(|address| TcpStream::connect_timeout(address, STEP).is_ok()) {
        let fix = format!("let port {port} through to the server; on it: sudo systemctl status tidemill.socket tidemill");
        found.fail(PART, "port", format!("port {port} of {host} does not answer"), &fix);
        return false;
    }
    found.ok(PART, "port", format!("port {port} answers"));
    true
}

/// `Tue, 24 Nov 2026 23:50:11 GMT` as seconds since 1970.
fn http_date(text: &str) -> Option<u64> {
    let words: Vec<&str> = text.split(' ').collect();
    let [_, day, month, year, time, "GMT"] = words.as_slice() else { return None };
    let names = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = names.iter().position(|name| name == month)? + 1;
    wire::unix_s(&format!("{year}-{month:02}-{day}T{time}Z"))
}

/// The sign-in, the clocks, and what the server says of itself.
fn server(client: &Client, found: &mut Found) {
    const PART: &str = "Server";
    let way = if client.base.starts_with("https://") { "over TLS, its certificate is trusted" } else { "without TLS" };
    let answer = match client.request_within(Some(ANSWER), "GET", "/account", &[], None) {
        Ok(answer) => answer,
        Err(e) => {
            let text = e.text.lines().next().unwrap_or_default().to_string();
            let fix = if e.exit == 3 {
                format!("tidemill login {}", client.base)
            } else {
                "see above; on the server: journalctl -u tidemill".into()
            };
            found.fail(PART, if e.exit == 3 { "token" } else { "answer" }, text, &fix);
            return;
        }
    };
    found.ok(PART, "answer", format!("answers {way}; signed in as {}", field(&answer.value, "email")));
    if let Some(theirs) = answer.header("date").and_then(http_date) {
        let ours = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let off = ours.abs_diff(theirs);
        let text = format!("clocks are {off} s apart");
        match off {
            0..=CLOCK_OFF_MAX_S => found.ok(PART, "clock", text),
            _ => found.fail(
                PART,
                "clock",
                text,
                "set the clock of this machine, or of the server: sudo timedatectl set-ntp true",
            ),
        }
    }
    match client.request_within(Some(ANSWER), "GET", "/machine/checks", &[], None) {
        Ok(answer) => {
            for check in items(&answer.value) {
                found.put(PART, field(check, "id"), field(check, "level"), field(check, "text"), check["fix"].as_str());
            }
        }
        Err(e) if e.exit == 3 => found.ok(PART, "machine", "checks of the machine are for admins"),
        Err(e) => found.fail(PART, "machine", e.text.lines().next().unwrap_or_default(), "tidemill doctor, again in a minute"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_dates_are_read() {
        assert_eq!(host_and_port("https://paas.example.com"), Some(("paas.example.com".into(), 443)));
        assert_eq!(host_and_port("http://127.0.0.1:8080"), Some(("127.0.0.1".into(), 8080)));
        assert_eq!(host_and_port("http://[::1]:80"), Some(("::1".into(), 80)));
        assert_eq!(http_date("Thu, 01 Jan 1970 00:01:00 GMT"), Some(60));
        assert_eq!(http_date("yesterday"), None);
    }
}
