//! Buildpacks.

use super::{REMOTE, prelude::*};

/// `buildpacks`.
pub const TOPIC: Topic = Topic {
    name: "buildpacks",
    about: "What builds an app",
    verbs: &[
        there("buildpacks", "List buildpacks", list).aliases(&["buildpacks:list"]),
        there("buildpacks:set", "Use one buildpack, or another one at a place", set)
            .args(&[BUILDPACK, INDEX])
            .examples(&["buildpacks:set heroku/nodejs -a shop"]),
        there("buildpacks:add", "Add a buildpack, at the end or at a place", add)
            .args(&[BUILDPACK, INDEX])
            .examples(&["buildpacks:add heroku/nodejs --index 1 -a shop"]),
        there("buildpacks:remove", "Remove a buildpack", remove).args(&[maybe("buildpack", "Its name"), INDEX]),
        there("buildpacks:clear", "Go back to detection", |s| put(s, vec![])),
    ],
};

const BUILDPACK: crate::verb::Arg = need("buildpack", "heroku/NAME, a URL, or a folder of the server");
const INDEX: crate::verb::Arg = value("index", "Place, from 1").short('i');

fn list(s: &Session) -> Result<()> {
    let name = s.app()?;
    let installed = s.client.list(&format!("/apps/{name}/buildpack-installations"))?;
    s.show(&installed, || match items(&installed) {
        [] => format!("{name} has no buildpacks set; they are detected at each build.\n"),
        all => all.iter().enumerate().map(|(n, i)| format!("{}. {}\n", n + 1, field(&i["buildpack"], "name"))).collect(),
    });
    Ok(())
}

fn put(s: &Session, names: Vec<String>) -> Result<()> {
    let name = s.app()?;
    let updates: Vec<Value> = names.iter().map(|n| json!({ "buildpack": n })).collect();
    let path = format!("/apps/{name}/buildpack-installations");
    let installed = s.client.send("PUT", &path, &json!({ "updates": updates }))?;
    if !s.global.quiet {
        match names.len() {
            0 => eprintln!("Buildpacks cleared. The next build of {name} detects its buildpack."),
            n => eprintln!("{n} buildpack(s) set. The next build of {name} uses them: git push {REMOTE} main"),
        }
    }
    s.show(&installed, String::new);
    Ok(())
}

/// What is installed, as it can be sent back.
fn installed(s: &Session) -> Result<Vec<String>> {
    let all = s.client.list(&s.path("/buildpack-installations")?)?;
    Ok(items(&all).iter().map(|i| field(&i["buildpack"], "url").to_string()).collect())
}

/// Index from 0.
fn place(s: &Session) -> Result<Option<usize>> {
    match s.given.number::<usize>("index")? {
        Some(0) => Err(Failure::usage("--index counts from 1.")),
        index => Ok(index.map(|n| n - 1)),
    }
}

fn set(s: &Session) -> Result<()> {
    let buildpack = s.given.need("buildpack").to_string();
    let Some(place) = place(s)? else { return put(s, vec![buildpack]) };
    let mut names = installed(s)?;
    match names.get_mut(place) {
        Some(name) => *name = buildpack,
        None => names.push(buildpack),
    }
    put(s, names)
}

fn add(s: &Session) -> Result<()> {
    let mut names = installed(s)?;
    let place = place(s)?.unwrap_or(names.len()).min(names.len());
    names.insert(place, s.given.need("buildpack").to_string());
    put(s, names)
}

fn remove(s: &Session) -> Result<()> {
    let mut names = installed(s)?;
    let wanted = s.given.text("buildpack");
    let bare = |name: &str| name.trim_start_matches("urn:buildpack:").to_string();
    let found = match (place(s)?, wanted) {
        (Some(place), _) => Some(place).filter(|p| *p < names.len()),
        (None, Some(wanted)) => names.iter().position(|n| bare(n) == bare(wanted)),
        (None, None) => return Err(Failure::usage("Say which: its name, or --index PLACE.")),
    };
    let found = found.ok_or_else(|| nothing("There is no such buildpack. See: tidemill buildpacks"))?;
    names.remove(found);
    put(s, names)
}
