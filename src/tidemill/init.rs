//! `tidemill init`: from an installed daemon to a first admin, by questions or by flags (`ux.md` J1). Each answer is carried out by
//! the daemon, through its control socket, as soon as it is given: Ctrl-C leaves what is done and nothing half done.

use crate::{
    config::Places,
    control::{Refusal, call},
    serve,
};
use clap::Parser;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use serde_json::{Value, json};
use std::{
    io::{self, BufRead, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

/// Between two looks at DNS.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A daemon that starts anew is there again within this time; it may have to finish long requests before.
const RESTART_LIMIT: Duration = Duration::from_secs(90);
/// Stands for the domain that needs no DNS of one's own.
const WITHOUT_DNS: &str = "sslip.io";

/// Set up the server: checks, domain, first admin
#[derive(Debug, Parser)]
#[command(name = "tidemill init", version)]
struct Init {
    #[command(flatten)]
    places: Places,
    /// Where apps should live: a domain of yours, or sslip.io for *.ADDRESS.sslip.io
    #[arg(long)]
    domain: Option<String>,
    /// Make the first admin here, with this e-mail
    #[arg(long)]
    admin_email: Option<String>,
    /// Read the password of the first admin from standard input
    #[arg(long, requires = "admin_email")]
    password_stdin: bool,
    /// Ask nothing; wait for nothing
    #[arg(long)]
    no_input: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Why it ended early.
enum Stop {
    Refused(Refusal),
    Usage(String),
    Failed(String),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Entry.
pub fn main() -> ExitCode {
    let given: Init = match serve::flags() {
        Ok(given) => given,
        Err(code) => return code,
    };
    let Init { places, domain, admin_email, password_stdin, no_input, json } = given;
    let config = match serve::configuration(places.flags()) {
        Ok(config) => config,
        Err(code) => return code,
    };
    let asks = !no_input && std::env::var_os("CI").is_none() && io::stdin().is_terminal() && io::stderr().is_terminal();
    let run = Run { data_dir: config.data_dir, asks };
    match run.all(domain, admin_email, password_stdin) {
        Ok(result) if json => {
            println!("{result:#}");
            ExitCode::SUCCESS
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(Stop::Refused(refusal)) => refusal.told(),
        Err(Stop::Usage(text)) => told(&text, 2),
        Err(Stop::Failed(text)) => told(&text, 1),
    }
}

fn told(text: &str, code: u8) -> ExitCode {
    eprintln!(" !    {text}");
    ExitCode::from(code)
}

/// A check as one line, with its fix at the end.
pub fn check_line(check: &Value) -> String {
    let text = |name: &str| check[name].as_str().unwrap_or_default().to_string();
    let fix = check["fix"].as_str().map(|fix| format!("          fix: {fix}")).unwrap_or_default();
    format!("  {:<4}  {}{fix}", text("level"), text("text"))
}

/// A line of an answer; `None` at the end of the input.
fn line() -> Option<String> {
    let mut text = String::new();
    match io::stdin().lock().read_line(&mut text) {
        Ok(n) if n > 0 => Some(text.trim_end_matches(['\r', '\n']).to_string()),
        _ => None,
    }
}

fn asked(question: &str) -> Result<String, Stop> {
    eprint!("{question}");
    let _ = io::stderr().flush(); // it is not buffered anyway
    line().map(|l| l.trim().to_string()).ok_or_else(|| Stop::Usage("The input ended; what is done so far stays.".into()))
}

/// Asks without showing what is typed.
fn asked_hidden(question: &str) -> Result<String, Stop> {
    let stdin = io::stdin();
    let before = tcgetattr(&stdin).ok();
    if let Some(mut quiet) = before.clone() {
        quiet.local_modes.remove(LocalModes::ECHO);
        quiet.local_modes.insert(LocalModes::ECHONL);
        let _ = tcsetattr(&stdin, OptionalActions::Flush, &quiet); // then it is shown
    }
    eprint!("{question}");
    let typed = line();
    if let Some(before) = before {
        let _ = tcsetattr(&stdin, OptionalActions::Flush, &before); // it was set like this before
    }
    typed.ok_or_else(|| Stop::Usage("The input ended; what is done so far stays.".into()))
}

struct Run {
    data_dir: PathBuf,
    asks: bool,
}

impl Run {
    fn call(&self, method: &str, path: &str, body: &Value) -> Result<Value, Refusal> {
        call(&self.data_dir, method, path, body)
    }

    fn all(&self, domain: Option<String>, email: Option<String>, password_stdin: bool) -> Result<Value, Stop> {
        if !self.asks && email.is_some() && !password_stdin {
            return Err(Stop::Usage("The password of the first admin: give --password-stdin.".into()));
        }
        let state = self.call("GET", "/setup", &Value::Null)?;
        self.checked(&state)?;
        let wanted = self.domain(&state, domain)?;
        let url = self.moved(&state, &wanted)?;
        let records = self.records(&wanted)?;
        let admin = if state["needs_setup"] == true {
            self.admin(&url, email, password_stdin)?
        } else {
            eprintln!("There is an admin already. Sign in: {url}/login   One more admin: sudo tidemill setup-link");
            json!({})
        };
        Ok(json!({
            "checks": state["checks"], "domain": wanted, "url": url, "records": records,
            "admin": admin["email"], "token": admin["token"], "setup_link": admin["setup_link"],
        }))
    }

    fn checked(&self, state: &Value) -> Result<(), Stop> {
        eprintln!("Checking this machine");
        let checks = state["checks"].as_array().map_or(&[][..], Vec::as_slice);
        checks.iter().for_each(|check| eprintln!("{}", check_line(check)));
        match checks.iter().filter(|check| check["level"] == "fail").count() {
            0 => Ok(()),
            _ => Err(Stop::Failed("Mend what failed, then run this again: sudo tidemill init".into())),
        }
    }

    /// Where apps are to live.
    fn domain(&self, state: &Value, flag: Option<String>) -> Result<String, Stop> {
        let now = state["domain"].as_str().unwrap_or_default();
        let without = state["domain_without_dns"].as_str();
        let no_address =
            || Stop::Failed("This machine knows no address of its own: set public_addresses in its settings.".into());
        let no_dns = || without.map(String::from).ok_or_else(no_address);
        match flag.as_deref() {
            Some(WITHOUT_DNS) => return no_dns(),
            Some(domain) => return Ok(domain.trim().trim_end_matches('.').to_lowercase()),
            None if now != "localhost" => return Ok(now.into()),
            None if !self.asks => {
                return Err(Stop::Usage("Where should apps live? Give --domain DOMAIN, or --domain sslip.io.".into()));
            }
            None => {}
        }
        eprintln!("Where should apps live?");
        eprintln!("  1  *.{:<32} now, no DNS; HTTP until a domain of yours is set", without.unwrap_or("(no address is known)"));
        eprintln!("  2  {:<34} two DNS records; HTTPS for every app", "a domain of mine");
        loop {
            match asked("Choose [1]: ")?.as_str() {
                "" | "1" => return no_dns(),
                "2" => break,
                other if other.contains('.') => return Ok(other.trim_end_matches('.').to_lowercase()),
                _ => eprintln!("1 or 2, please."),
            }
        }
        loop {
            let typed = asked("Domain: ")?.trim_end_matches('.').to_lowercase();
            // The daemon judges names; a wrong one is asked for again.
            match self.call("GET", &format!("/records?domain={}", escaped(&typed)), &Value::Null) {
                Ok(_) => return Ok(typed),
                Err(Refusal::Said(422, reason)) => eprintln!(" !    {reason}"),
                Err(other) => return Err(other.into()),
            }
        }
    }

    /// Lets the daemon keep the domain and waits until it has started with it; gives the platform's address.
    fn moved(&self, state: &Value, domain: &str) -> Result<String, Stop> {
        let address = |state: &Value| state["url"].as_str().unwrap_or_default().to_string();
        if state["domain"] == domain {
            return Ok(address(state));
        }
        match self.call("POST", "/domain", &json!({ "domain": domain })) {
            Ok(_) | Err(Refusal::Cut(_)) => {} // it may be gone before it has answered
            Err(other) => return Err(other.into()),
        }
        eprintln!("  ok    apps live at *.{domain}; starting with it");
        let limit = Instant::now() + RESTART_LIMIT;
        loop {
            match self.call("GET", "/setup", &Value::Null) {
                Ok(state) if state["domain"] == domain => return Ok(address(&state)),
                Err(Refusal::NotAllowed) => return Err(Refusal::NotAllowed.into()),
                _ if Instant::now() > limit => break,
                _ => std::thread::sleep(Duration::from_millis(100)),
            }
        }
        Err(Stop::Failed(format!(
            "The daemon did not come back with {domain}. Look: journalctl -u tidemill   Then: sudo systemctl restart tidemill"
        )))
    }

    /// Shows the records and waits for them, if there is somebody to wait with.
    fn records(&self, domain: &str) -> Result<Value, Stop> {
        if domain == "localhost" || domain.ends_with(".sslip.io") {
            return Ok(json!([]));
        }
        let path = format!("/records?domain={}", escaped(domain));
        let mut records = self.call("GET", &path, &Value::Null)?;
        eprintln!(
            "  Add these records{}:",
            if self.asks { " (checked every 5 s; Ctrl-C leaves, certificates follow by themselves)" } else { "" }
        );
        for record in records.as_array().into_iter().flatten() {
            let name = format!("{}.", record["name"].as_str().unwrap_or_default());
            eprintln!(
                "    {name:<32} {:<4} {}",
                record["kind"].as_str().unwrap_or_default(),
                record["want"].as_str().unwrap_or_default()
            );
        }
        let (begun, mut said) = (Instant::now(), String::new());
        loop {
            let all = records.as_array().map_or(&[][..], Vec::as_slice);
            let Some(missing) = all.iter().find(|record| record["found"] != true) else {
                eprintln!("  ok    all records found after {} s", begun.elapsed().as_secs());
                return Ok(records);
            };
            let text = waiting(missing);
            if text != said {
                eprintln!("  wait  {text}");
                said = text;
            }
            if !self.asks {
                return Ok(records);
            }
            std::thread::sleep(LOOK_EVERY);
            records = self.call("GET", &path, &Value::Null)?;
        }
    }

    /// The first admin: by flags, typed here, or later by a link.
    fn admin(&self, url: &str, email: Option<String>, password_stdin: bool) -> Result<Value, Stop> {
        let email = match email {
            Some(email) => email,
            None => {
                let link = self.call("POST", "/setup-link", &Value::Null)?;
                let link = link["url"].as_str().unwrap_or_default();
                eprintln!("First admin: {link}   (works once, for 60 minutes)");
                if !self.asks {
                    return Ok(json!({ "setup_link": link }));
                }
                let typed = asked("          or type an e-mail here to make the account in this terminal: ")?;
                if typed.is_empty() {
                    return Ok(json!({ "setup_link": link }));
                }
                typed
            }
        };
        loop {
            let password =
                if password_stdin { line().unwrap_or_default() } else { asked_hidden("Password (at least 8 characters): ")? };
            match self.call("POST", "/first-admin", &json!({ "email": email, "password": password })) {
                Ok(made) => {
                    eprintln!(
                        "  ok    admin {}; sign in: {url}/login, or from your machine: tidemill login {url}",
                        email.trim()
                    );
                    return Ok(made);
                }
                Err(Refusal::Said(422, reason))
                    if self.asks && !password_stdin && reason.to_lowercase().contains("password") =>
                {
                    eprintln!(" !    {reason}");
                }
                Err(other) => return Err(other.into()),
            }
        }
    }
}

/// What is not there yet.
fn waiting(record: &Value) -> String {
    let text = |name: &str| record[name].as_str().unwrap_or_default().to_string();
    if let Some(problem) = record["problem"].as_str() {
        return problem.trim_end_matches('.').into();
    }
    let seen: Vec<&str> = record["seen"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if seen.is_empty() {
        return format!("no {} record for {} yet", text("kind"), text("name"));
    }
    format!("{} leads to {}, not to {}", text("name"), seen.join(", "), text("want"))
}

fn escaped(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() || b"-._".contains(&b) { char::from(b).to_string() } else { format!("%{b:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn flags_are_sound_and_lines_say_what_to_do() {
        Init::command().debug_assert();
        let check = json!({ "id": "swap", "level": "warn", "text": "no swap", "fix": "sudo tidemill machine:swap 2G" });
        assert_eq!(check_line(&check), "  warn  no swap          fix: sudo tidemill machine:swap 2G");
        let mut record = json!({ "name": "*.a.example", "kind": "A", "want": "192.0.2.1", "seen": [], "problem": null });
        assert_eq!(waiting(&record), "no A record for *.a.example yet");
        record["seen"] = json!(["192.0.2.9"]);
        assert_eq!(waiting(&record), "*.a.example leads to 192.0.2.9, not to 192.0.2.1");
        assert_eq!(escaped("a b&c.d"), "a%20b%26c.d");
    }
}
