//! The account: signing in and out, token, password, second factor.

use super::{login::login, prelude::*};
use crate::{
    args::{Given, Global},
    client::{Client, known_server},
    credentials::Credentials,
    git,
    output::{ask, ask_secret},
};

/// `auth`.
pub const TOPIC: Topic = Topic {
    name: "auth",
    about: "Sign in and out; the account",
    verbs: &[
        here("login", "Sign in to a server, by its page in a browser", login)
            .aliases(&["auth:login"])
            .args(&[
                maybe("url", "Address such as https://paas.example.com; else the server of the last time"),
                value("token", "An API token; else TIDEMILL_API_KEY"),
                switch("interactive", "By e-mail and password, here").short('i'),
            ])
            .examples(&[
                "login https://paas.example.com",
                "login https://paas.example.com -i",
                "login https://10.0.0.5 --ca ca.pem",
            ]),
        here("logout", "Sign out: the token is revoked and forgotten", logout).aliases(&["auth:logout"]),
        there("whoami", "Who is signed in", whoami).aliases(&["auth:whoami"]),
        here("auth:token", "Print the token", token),
        there("auth:2fa", "Show whether a second factor is asked for at sign-in", two_factor)
            .aliases(&["2fa", "auth:2fa:status"]),
        there("auth:2fa:on", "Ask for a code of an authenticator app at sign-in", two_factor_on)
            .aliases(&["2fa:on", "2fa:enable", "auth:2fa:enable"])
            .args(&[
                value("code", "The first code, to prove that the app works"),
                value("password", "The password; else it is asked for"),
            ]),
        there("auth:2fa:off", "Do not ask for a second factor any more", two_factor_off)
            .aliases(&["2fa:off", "2fa:disable", "auth:2fa:disable"])
            .args(&[value("code", "A code, or a recovery code"), value("password", "The password; else it is asked for")]),
        there("auth:password", "Change the password", password)
            .aliases(&["password"])
            .args(&[switch("password-stdin", "Read the old and the new one from standard input, a line each")]),
    ],
};

fn whoami(s: &Session) -> Result<()> {
    let account = s.client.get("/account")?;
    s.show(&account, || format!("{}\n", field(&account, "email")));
    Ok(())
}

fn logout(global: &Global, given: &Given) -> Result<()> {
    let mut credentials = Credentials::load()?;
    let (base, token) = known_server(global.host.clone().or_else(|| given.text("url").map(String::from)))?;
    let trust = crate::client::trust(global, &base)?;
    let client = Client::new(base.clone(), token.clone(), &trust)?;
    // The token goes here even when the server can not be reached, or has forgotten it.
    let revoked = revoke(&client);
    credentials.forget(&base);
    credentials.save()?;
    git::forget(&base);
    match revoked {
        Err(failure) if failure.exit == 6 => {
            warn("The server could not be reached: the token is forgotten here, but not revoked.")
        }
        Err(failure) if failure.exit != 3 && failure.exit != 4 => return Err(failure),
        _ => {}
    }
    if !global.quiet {
        eprintln!("Signed out of {base}");
    }
    show(global, &json!({ "host": base }), String::new);
    Ok(())
}

/// Takes the token back, unless it is one that is kept for automation.
fn revoke(client: &Client) -> Result<()> {
    let _ = client.delete("/oauth/sessions/~"); // a token that is no session has none
    let all = client.list("/oauth/authorizations")?;
    let is_own = |a: &&Value| {
        let shown = field(&a["access_token"], "token");
        let start = shown.split('*').next().unwrap_or_default();
        field(a, "description").contains("CLI login") && !start.is_empty() && client.token.starts_with(start)
    };
    for authorization in items(&all).iter().filter(is_own) {
        client.delete(&format!("/oauth/authorizations/{}", encoded(field(authorization, "id"))?))?;
    }
    Ok(())
}

fn token(global: &Global, _: &Given) -> Result<()> {
    let (base, token) = known_server(global.host.clone())?;
    show(global, &json!({ "host": base, "token": token }), || format!("{token}\n"));
    Ok(())
}

fn two_factor(s: &Session) -> Result<()> {
    let account = s.client.get("/account")?;
    s.show(&account, || {
        let state = if account["two_factor_authentication"] == true { "enabled" } else { "not enabled" };
        format!("Two-factor authentication is {state}\n")
    });
    Ok(())
}

fn the_password(s: &Session, question: &str) -> Result<String> {
    match s.given.text("password") {
        Some(password) => Ok(password.to_string()),
        None => ask_secret(question, s.global.no_input, "--password"),
    }
}

fn two_factor_on(s: &Session) -> Result<()> {
    let password = the_password(s, "Password: ")?;
    let started = s.client.send("POST", "/account/two-factor", &json!({ "password": password }))?;
    eprintln!("Add this to your authenticator app:\n  {}", field(&started, "otpauth_url"));
    eprintln!("or type its key there: {}", field(&started, "secret"));
    let code = match s.given.text("code") {
        Some(code) => code.to_string(),
        None => ask("Code of the app: ", s.global.no_input, "--code")?,
    };
    let done =
        s.doing("Enabling two-factor authentication", |c| c.send("PUT", "/account/two-factor", &json!({ "code": code })))?;
    s.show(&done, || {
        let codes: String = items(&done["recovery_codes"]).iter().map(|c| format!("{}\n", text(c))).collect();
        if codes.is_empty() { codes } else { format!("Keep these codes; each one works once instead of the app:\n{codes}") }
    });
    Ok(())
}

fn two_factor_off(s: &Session) -> Result<()> {
    let password = the_password(s, "Password: ")?;
    let code = match s.given.text("code") {
        Some(code) => code.to_string(),
        None => ask("Code of the app, or a recovery code: ", s.global.no_input, "--code")?,
    };
    let body = json!({ "password": password, "code": code });
    let done = s.doing("Disabling two-factor authentication", |c| {
        Ok(c.request("DELETE", "/account/two-factor", &[("heroku-two-factor-code", &code)], Some(&body))?.value)
    })?;
    s.show(&done, String::new);
    Ok(())
}

fn password(s: &Session) -> Result<()> {
    let (old, new) = if s.given.is("password-stdin") {
        let mut lines = std::io::stdin().lines().map_while(std::result::Result::ok);
        (lines.next().unwrap_or_default(), lines.next().unwrap_or_default())
    } else {
        let old = ask_secret("Password now: ", s.global.no_input, "--password-stdin")?;
        let new = ask_secret("New password: ", s.global.no_input, "--password-stdin")?;
        if ask_secret("Again: ", s.global.no_input, "--password-stdin")? != new {
            return Err(Failure::usage("The two are not the same. Nothing was changed."));
        }
        (old, new)
    };
    let body = json!({ "password": old, "new_password": new });
    let account = s.doing("Changing the password", |c| c.send("PUT", "/account/password", &body))?;
    s.show(&account, String::new);
    Ok(())
}
