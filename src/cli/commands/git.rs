//! Git: remotes, clones, and its password.

use super::{REMOTE, apps::git_address, prelude::*};
use crate::{
    args::{Given, Global},
    client::known_server,
    credentials::Credentials,
    git,
};
use std::io::BufRead;

/// `git`.
pub const TOPIC: Topic = Topic {
    name: "git",
    about: "Git remotes and clones of apps",
    verbs: &[
        there("git:remote", "Add the app's git remote to this repository", remote)
            .args(&[value("remote", "Name of the remote [default: tidemill]").short('r')])
            .examples(&["git:remote -a shop", "git:remote -r staging -a shop-staging"]),
        there("git:clone", "Clone the app's repository", clone)
            .args(&[
                maybe("directory", "Where to [default: the name of the app]"),
                value("remote", "Name of the remote [default: tidemill]").short('r'),
            ])
            .examples(&["git:clone -a shop"]),
        here("git:credentials", "Answer git's questions for a password", credentials)
            .args(&[need("action", "get, store or erase")])
            .hidden(),
    ],
};

fn remote_name(s: &Session) -> String {
    s.given.text("remote").unwrap_or(REMOTE).to_string()
}

/// The app of `-a` or the environment: here `-r` names the remote that is to be made.
fn wanted(s: &Session) -> Result<Value> {
    let mut global = s.global.clone();
    global.remote = None;
    let session = Session { global, given: s.given.clone(), client: s.client.with_token(s.client.token.clone()) };
    s.client.get(&session.path("")?)
}

fn remote(s: &Session) -> Result<()> {
    let app = wanted(s)?;
    let (name, url) = (remote_name(s), git_address(s, &app));
    if !git::set_remote(&name, &url) {
        return Err(Failure::usage("This folder is no git repository."));
    }
    s.show(&json!({ "remote": name, "url": url }), || format!("set git remote {name} to {url}\n"));
    Ok(())
}

fn clone(s: &Session) -> Result<()> {
    let app = wanted(s)?;
    let directory = s.given.text("directory").unwrap_or_else(|| field(&app, "name"));
    let (name, url) = (remote_name(s), git_address(s, &app));
    let status = std::process::Command::new("git").args(["clone", "-o", &name, "--", &url, directory]).status();
    let status = status.map_err(|e| Failure::failed(format!("git does not start: {e}")))?;
    if !status.success() {
        return Err(Failure::failed(format!("git could not clone {url}.")));
    }
    s.show(&json!({ "directory": directory, "remote": name, "url": url }), String::new);
    Ok(())
}

/// The helper protocol of git: key=value lines in, user and password out.
fn credentials(_: &Global, given: &Given) -> Result<()> {
    if given.need("action") != "get" {
        return Ok(());
    }
    let mut wanted = (String::new(), String::new());
    for line in std::io::stdin().lock().lines().map_while(std::result::Result::ok) {
        match line.split_once('=') {
            Some(("protocol", value)) => wanted.0 = value.into(),
            Some(("host", value)) => wanted.1 = value.into(),
            _ => {}
        }
    }
    let known = Credentials::load()?;
    // A server signed in to over HTTP speaks TLS, too; the reverse would show the token to the net.
    let host = wanted.1.strip_prefix("git.").unwrap_or(&wanted.1);
    let mut places = vec![format!("{}://{}", wanted.0, wanted.1), format!("{}://{host}", wanted.0)];
    if wanted.0 == "https" {
        places.push(format!("http://{}", wanted.1));
    }
    let kept = places.iter().find_map(|place| known.hosts.get(place).cloned());
    let variable = std::env::var("TIDEMILL_API_KEY").ok().filter(|t| !t.is_empty());
    // The token of the environment is for one server only: that of the environment, or of the last sign-in.
    let token = match variable {
        Some(token) => known_server(None).ok().filter(|(base, _)| places.contains(base)).map(|_| token).or(kept),
        None => kept,
    };
    token.into_iter().for_each(|token| crate::output::print(&format!("username=tidemill\npassword={token}\n")));
    Ok(())
}
