//! Signing in: by browser, by password, or by a token; and whom to trust.

use super::{apps::browse, prelude::*};
use crate::{
    args::{Given, Global},
    client::{Client, trust},
    credentials::{Credentials, folder, normal_url, write},
    git,
    output::{ask, ask_secret, can_ask},
    tls::{self, Trust},
};
use std::time::{Duration, Instant};

/// The whole of a sign-in by browser (`platform-api.md` section 4.4).
const BROWSER_LIMIT: Duration = Duration::from_secs(600);
/// Life of a token that was made by signing in, in seconds: 30 days.
const TOKEN_LIFE_S: u64 = 2_592_000;

/// `login`.
pub fn login(global: &Global, given: &Given) -> Result<()> {
    let mut credentials = Credentials::load()?;
    let address = given.text("url").map(String::from).or_else(|| global.host.clone()).or_else(|| credentials.default.clone());
    let address = match address {
        Some(address) => address,
        None => ask("Address of the server, such as https://paas.example.com: ", global.no_input, "tidemill login URL")?,
    };
    let base = normal_url(&address)?;
    let trust = trusted(global, &base)?;
    let anonymous = Client::new(base.clone(), String::new(), &trust)?;
    let variable = std::env::var("TIDEMILL_API_KEY").ok().filter(|t| !t.is_empty());
    let token = match given.text("token").map(String::from).or(variable) {
        Some(token) => token,
        None if given.is("interactive") => by_password(global, &anonymous)?,
        None => by_browser(global, &anonymous)?,
    };
    let account = anonymous.with_token(token.clone()).get("/account")?;
    keep(&mut credentials, &base, token, &trust)?;
    if !git::use_credential_helper(&base) {
        warn("git could not be told about the token; it will ask for a password: that is the token.");
    }
    if !global.quiet {
        eprintln!("Signed in to {base} as {}", field(&account, "email"));
    }
    if global.json {
        show(global, &account, String::new);
    }
    Ok(())
}

fn keep(credentials: &mut Credentials, base: &str, token: String, trust: &Trust) -> Result<()> {
    credentials.forget(base);
    credentials.hosts.insert(base.into(), token);
    credentials.default = Some(base.into());
    let pem = match trust {
        Trust::System => None,
        Trust::Authorities(pem) => {
            credentials.authorities.insert(base.into(), pem.clone());
            Some(pem.clone())
        }
        Trust::Certificate(fingerprint) => {
            credentials.certificates.insert(base.into(), fingerprint.clone());
            Some(tls::shown_by(base)?).filter(|der| tls::fingerprint(der) == *fingerprint).map(|der| tls::pem(&der))
        }
    };
    credentials.save()?;
    if let Some(pem) = pem {
        let name: String = base.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '_' }).collect();
        let file = folder()?.join(format!("{name}.pem"));
        write(&file, pem.as_bytes())?;
        if !git::use_certificates(base, &file.display().to_string()) {
            warn("git could not be told about the certificate; it will refuse it.");
        }
    }
    Ok(())
}

/// Whom to trust: as told, or, where the system does not trust the server, the certificate that a person confirms.
fn trusted(global: &Global, base: &str) -> Result<Trust> {
    let told = trust(global, base)?;
    if !base.starts_with("https://") || matches!(told, Trust::Authorities(_)) {
        return Ok(told);
    }
    let reason = match tls::agent(&told)?.get(format!("{base}/account")).call() {
        Err(e) => tls::distrust(&e),
        Ok(_) => None,
    };
    // What else goes wrong is told by the request that counts.
    let Some(reason) = reason else { return Ok(told) };
    let fingerprint = tls::fingerprint(&tls::shown_by(base)?);
    if matches!(told, Trust::Certificate(_)) {
        warn(&format!("{base} has another certificate than the one that was confirmed at the last sign-in."));
    }
    let pairs: Vec<&str> = fingerprint.as_bytes().chunks(2).filter_map(|p| std::str::from_utf8(p).ok()).collect();
    warn(&format!(
        "{base} shows a certificate that this system does not trust: {reason}\nIts SHA-256 is {}\nCompare it with the one on the \
         server: openssl x509 -noout -fingerprint -sha256 -in DATA/keys/tls/cert.pem",
        pairs.join(":").to_uppercase()
    ));
    let question = " !    Is it the same? Type yes to trust it from now on: ";
    if ask(question, global.no_input, "--ca FILE, with keys/tls/ca.pem of the server's data folder")? == "yes" {
        return Ok(Trust::Certificate(fingerprint));
    }
    Err(Failure { text: "The certificate was not confirmed. Nothing was sent to the server.".into(), exit: 3 })
}

fn description() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("Tidemill CLI login from {host}")
}

/// E-mail, password, and the second factor if there is one (`platform-api.md` section 4.3).
fn by_password(global: &Global, client: &Client) -> Result<String> {
    let email = ask("Email: ", global.no_input, "--token or TIDEMILL_API_KEY")?;
    let password = ask_secret("Password: ", global.no_input, "--token or TIDEMILL_API_KEY")?;
    let basic = format!("Basic {}", base64(format!("{email}:{password}").as_bytes()));
    let body = json!({ "description": description(), "expires_in": TOKEN_LIFE_S, "scope": ["global"] });
    let first = client.request("POST", "/oauth/authorizations", &[("authorization", &basic)], Some(&body));
    let answer = match first {
        Err(failure) if failure.text.contains("Error ID: two_factor") => {
            let code = ask("Two-factor code: ", global.no_input, "--token or TIDEMILL_API_KEY")?;
            let headers = [("authorization", basic.as_str()), ("heroku-two-factor-code", code.as_str())];
            client.request("POST", "/oauth/authorizations", &headers, Some(&body))?
        }
        other => other?,
    };
    Ok(field(&answer.value["access_token"], "token").to_string())
}

/// A page of the server, opened in a browser, while the answer is waited for.
fn by_browser(global: &Global, client: &Client) -> Result<String> {
    if global.no_input || std::env::var_os("CI").is_some() {
        return Err(Failure::usage("This needs a browser or an answer; use --token or TIDEMILL_API_KEY."));
    }
    let started = client.request("POST", "/auth", &[], Some(&json!({ "description": description() })));
    let started = match started {
        Ok(answer) => answer.value,
        // A server that has no such page takes a token all the same.
        Err(failure) if failure.exit == 4 => return ask_secret("API token: ", global.no_input, "--token or TIDEMILL_API_KEY"),
        Err(failure) => return Err(failure),
    };
    let page = format!("{}{}", client.base, field(&started, "browser_url"));
    eprintln!("Open {page} and check that it shows the code {}", page.rsplit('/').next().unwrap_or_default());
    if can_ask(false) {
        browse(&page);
    }
    let waiting = client.with_token(field(&started, "token").to_string());
    let begun = Instant::now();
    loop {
        match waiting.request("GET", field(&started, "cli_url"), &[], None).map(|a| a.value) {
            Ok(answer) => match answer["access_token"].as_str() {
                Some(token) => return Ok(token.to_string()),
                None => return Err(Failure { text: format!("Not signed in: {}", field(&answer, "error")), exit: 3 }),
            },
            Err(failure) if failure.exit == 6 && begun.elapsed() < BROWSER_LIMIT => std::thread::sleep(Duration::from_secs(1)),
            Err(failure) => return Err(failure),
        }
    }
}

fn base64(bytes: &[u8]) -> String {
    let pem = tls::pem(bytes);
    pem.lines().filter(|line| !line.starts_with('-')).collect()
}
