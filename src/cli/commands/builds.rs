//! Builds.

use super::prelude::*;
use crate::git::git;
use std::{
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

/// `builds`.
pub const TOPIC: Topic = Topic {
    name: "builds",
    about: "Builds of an app",
    verbs: &[
        there("builds", "List builds", list)
            .aliases(&["builds:list"])
            .args(&[value("num", "How many [default: 15]").short('n')])
            .examples(&["builds -a shop"]),
        there("builds:info", "Show a build", info).args(&[BUILD]),
        there("builds:output", "Show the output of a build, as it comes", output)
            .args(&[BUILD])
            .examples(&["builds:output -a shop"]),
        there("builds:create", "Build without git push: the commit here, this folder, an archive, or an address", create)
            .args(&[
                value("source-tar", "An archive (.tar.gz)").aliases(&["tar"]),
                value("source-url", "Address of an archive").aliases(&["url"]),
                value("dir", "A folder [default: this one; of a git repository, what is committed]").aliases(&["source-dir"]),
                value("version", "Name of the version; else the commit"),
                DETACH,
            ])
            .examples(&["builds:create -a shop", "builds:create --source-tar shop.tar.gz --version v1.2 -a shop"]),
        there("builds:cancel", "End a build that runs", cancel).args(&[BUILD]).examples(&["builds:cancel -a shop"]),
        there("builds:rebuild", "Build the source of a build again", rebuild)
            .aliases(&["rebuild"])
            .args(&[BUILD, DETACH])
            .examples(&["rebuild -a shop"]),
    ],
};

const BUILD: crate::verb::Arg = maybe("build", "Id; without it the newest");
const DETACH: crate::verb::Arg = switch("detach", "Do not wait for it");
const STATUS_PAUSE: Duration = Duration::from_millis(500);
/// After its output has ended a build is settled within this time.
const STATUS_LIMIT: Duration = Duration::from_secs(120);

fn list(s: &Session) -> Result<()> {
    let name = s.app()?;
    let num = s.given.number::<usize>("num")?.unwrap_or(15).clamp(1, 1000);
    let builds = s.client.part(&format!("/apps/{name}/builds"), &format!("created_at ..; max={num}, order=desc"))?;
    s.show(&builds, || {
        let commit = |b: &Value| field(&b["source_blob"], "version").chars().take(8).collect::<String>();
        let row = |b: &Value| {
            let who = field(&b["user"], "email").to_string();
            vec![field(b, "id").to_string(), field(b, "status").into(), commit(b), who, field(b, "created_at").into()]
        };
        format!("{}{}", heading(&format!("{name} Builds")), table(&items(&builds).iter().map(row).collect::<Vec<_>>()))
    });
    Ok(())
}

/// The build that was named, or the newest.
fn wanted(s: &Session) -> Result<Value> {
    match s.given.text("build") {
        Some(id) => s.client.get(&s.path(&format!("/builds/{}", encoded(id)?))?),
        None => newest(s, "builds", "created_at"),
    }
}

fn info(s: &Session) -> Result<()> {
    let build = wanted(s)?;
    s.show(&build, || {
        let packs: Vec<String> = items(&build["buildpacks"]).iter().map(|b| text(&b["name"])).collect();
        let fields = [
            ("By", field(&build["user"], "email").to_string()),
            ("Status", field(&build, "status").into()),
            ("Failure", field(&build, "failure").into()),
            ("Version", field(&build["source_blob"], "version").into()),
            ("Stack", field(&build, "stack").into()),
            ("Buildpacks", packs.join(", ")),
            ("Slug", field(&build["slug"], "id").into()),
            ("Release", field(&build["release"], "id").into()),
            ("When", field(&build, "created_at").into()),
        ];
        format!("{}{}", heading(&format!("Build {}", field(&build, "id"))), labelled(&fields))
    });
    Ok(())
}

fn output(s: &Session) -> Result<()> {
    stream_output(s, &wanted(s)?)
}

fn stream_output(s: &Session, build: &Value) -> Result<()> {
    copy(s.client.stream(&own_address(field(build, "output_stream_url"), &s.client.base))?)
}

fn cancel(s: &Session) -> Result<()> {
    let build = wanted(s)?;
    let id = field(&build, "id");
    if s.given.text("build").is_none() && field(&build, "status") != "pending" {
        return Err(nothing(format!("No build of {} is running.", s.app()?)));
    }
    let path = s.path(&format!("/builds/{}", encoded(id)?))?;
    let cancelled = s.doing(&format!("Cancelling build {id}"), |c| c.delete(&path))?;
    s.show(&cancelled, String::new);
    Ok(())
}

/// A file that goes with its name.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// An archive of what is committed here, or of a folder that is no repository.
fn archive(dir: Option<&str>) -> Result<(Temporary, Option<String>)> {
    if let Some(dir) = dir.filter(|dir| !std::path::Path::new(dir).is_dir()) {
        return Err(Failure::usage(format!("{dir} is no folder.")));
    }
    let file = Temporary(std::env::temp_dir().join(format!("tidemill-source-{}.tar.gz", std::process::id())));
    let shown = file.0.display().to_string();
    let commit = git(&["rev-parse", "HEAD"]).filter(|_| dir.is_none());
    let mut command = match &commit {
        Some(_) => {
            let mut command = Command::new("git");
            // From anywhere in the repository all of it is meant.
            let top = git(&["rev-parse", "--show-toplevel"]).unwrap_or_else(|| ".".into());
            command.args(["-C", &top, "archive", "--format=tar.gz", "-o", &shown, "HEAD"]);
            command
        }
        None => {
            let mut command = Command::new("tar");
            command.args(["-czf", &shown, "-C", dir.unwrap_or("."), "."]);
            command
        }
    };
    let made = command.output().map_err(|e| Failure::failed(format!("The archive can not be made: {e}")))?;
    if !made.status.success() {
        let why = String::from_utf8_lossy(&made.stderr).trim().to_string();
        return Err(Failure::failed(format!("The archive can not be made: {why}")));
    }
    Ok((file, commit))
}

fn create(s: &Session) -> Result<()> {
    let version = s.given.text("version").map(String::from);
    if let Some(url) = s.given.text("source-url") {
        return start(s, &json!({ "url": url, "version": version }));
    }
    let (file, commit) = match s.given.text("source-tar") {
        Some(tar) => (None, PathBuf::from(tar)),
        None => {
            let (file, commit) = archive(s.given.text("dir"))?;
            let path = file.0.clone();
            (Some((file, commit)), path)
        }
    };
    let opened = std::fs::File::open(&commit).map_err(|e| Failure::usage(format!("{}: {e}", commit.display())))?;
    let source = s.client.send("POST", &s.path("/sources")?, &json!({}))?;
    let put = own_address(field(&source["source_blob"], "put_url"), &s.client.base);
    s.doing("Uploading source", |c| c.upload(&put, opened).map(|()| Value::Null))?;
    let version = version.or_else(|| file.and_then(|(_, commit)| commit));
    start(s, &json!({ "url": source["source_blob"]["get_url"], "version": version }))
}

fn rebuild(s: &Session) -> Result<()> {
    let blob = wanted(s)?["source_blob"].clone();
    if !field(&blob, "url").starts_with("http") {
        let text = "That build came by git push, and its source is in git. Push again, or use: tidemill builds:create";
        return Err(Failure::usage(text));
    }
    start(s, &json!({ "url": blob["url"], "version": blob["version"], "checksum": blob["checksum"] }))
}

/// Starts a build and stays with it, unless told not to. Ctrl-C ends the watching, not the build.
fn start(s: &Session, blob: &Value) -> Result<()> {
    let builds = s.path("/builds")?;
    let mut build = s.client.send("POST", &builds, &json!({ "source_blob": blob }))?;
    let id = field(&build, "id").to_string();
    let is_watched = !s.given.is("detach");
    if is_watched && !s.global.json && !s.global.quiet {
        stream_output(s, &build)?;
    }
    let begun = Instant::now();
    while is_watched && build["status"] == "pending" {
        // Without the output on screen only the state tells its end.
        if !s.global.json && !s.global.quiet && begun.elapsed() > STATUS_LIMIT {
            return Err(Failure::unreachable(format!("Build {id} goes on. See: tidemill builds:info {id}")));
        }
        std::thread::sleep(STATUS_PAUSE);
        build = s.client.get(&format!("{builds}/{}", encoded(&id)?))?;
    }
    s.show(&build, || if is_watched { String::new() } else { format!("{id}\n") });
    match build["status"] == "failed" {
        true => Err(Failure::failed(format!("Build {id} failed. {}", field(&build, "failure")))),
        false => Ok(()),
    }
}
