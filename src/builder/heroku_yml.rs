//! `heroku.yml`: how an app of images is built and run (`builds.md`, "heroku.yml").

use crate::yaml::{map, scalar};
use domain::names::is_process_type;
use std::collections::BTreeMap;
use yaml_rust2::{Yaml, YamlLoader};

/// What is in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct HerokuYml {
    /// Process type to Dockerfile, a path in the source.
    pub dockerfiles: BTreeMap<String, String>,
    /// Arguments of every build.
    pub arguments: BTreeMap<String, String>,
    /// Process type to what runs.
    pub run: BTreeMap<String, Run>,
}

/// One process type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// For `/bin/sh`; empty for the image's own.
    pub command: String,
    /// Type whose image it uses; its own when none is named.
    pub image: Option<String>,
}

const BYTES_MAX: usize = 64 * 1024;

/// Reads it.
///
/// # Errors
/// The text for the user.
pub fn parse(text: &str) -> Result<HerokuYml, String> {
    if text.len() > BYTES_MAX {
        return Err(format!("heroku.yml is larger than {BYTES_MAX} bytes."));
    }
    let documents = YamlLoader::load_from_str(text).map_err(|e| format!("heroku.yml is no valid YAML: {e}."))?;
    let none = Yaml::BadValue;
    let document = documents.first().unwrap_or(&none);
    let dockerfiles = map(&document["build"]["docker"]);
    if dockerfiles.is_empty() {
        return Err("heroku.yml names no Dockerfile; it needs build, docker, and a line such as `web: Dockerfile`.".into());
    }
    let mut run: BTreeMap<String, Run> = BTreeMap::new();
    for (key, value) in document["run"].as_hash().into_iter().flatten() {
        run.insert(scalar(key).unwrap_or_default(), run_of(value));
    }
    if !document["release"].is_badvalue() {
        run.insert("release".into(), run_of(&document["release"]));
    }
    for ptype in dockerfiles.keys() {
        run.entry(ptype.clone()).or_default();
    }
    for (ptype, entry) in &run {
        let image = entry.image.as_ref().unwrap_or(ptype);
        let known = dockerfiles.contains_key(image) || (entry.image.is_none() && dockerfiles.len() == 1);
        if !is_process_type(ptype) || !known {
            return Err(format!("heroku.yml: {ptype} needs an image; build.docker names no {image}."));
        }
    }
    Ok(HerokuYml { dockerfiles, arguments: map(&document["build"]["config"]), run })
}

/// Text, a list of words, or `command` and `image`.
fn run_of(yaml: &Yaml) -> Run {
    let words = |yaml: &Yaml| match yaml.as_vec() {
        Some(words) => words.iter().filter_map(scalar).collect::<Vec<_>>().join(" "),
        None => scalar(yaml).unwrap_or_default(),
    };
    match yaml.as_hash() {
        Some(_) => Run { command: words(&yaml["command"]), image: scalar(&yaml["image"]) },
        None => Run { command: words(yaml), image: None },
    }
}

impl HerokuYml {
    /// The type whose image a process type runs on.
    pub fn image_of(&self, ptype: &str) -> Option<&String> {
        let named = self.run.get(ptype).and_then(|run| run.image.as_ref());
        named.or_else(|| self.dockerfiles.keys().find(|key| *key == ptype)).or_else(|| self.dockerfiles.keys().next())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_is_documented() {
        let text = "build:\n  docker:\n    web: Dockerfile\n    worker: jobs/Dockerfile\n  config:\n    RACK_ENV: production\n\
                    release:\n  image: worker\n  command:\n    - ./deploy.sh\n    - --now\n\
                    run:\n  web: bundle exec puma\n  clock:\n    command:\n      - tick\n    image: worker\n";
        let yml = parse(text).expect("valid");
        let run = |command: &str, image: Option<&str>| Run { command: command.into(), image: image.map(Into::into) };
        assert_eq!(yml.run["web"], run("bundle exec puma", None));
        assert_eq!(yml.run["worker"], run("", None), "the image's own command");
        assert_eq!(yml.run["clock"], run("tick", Some("worker")));
        assert_eq!(yml.run["release"], run("./deploy.sh --now", Some("worker")));
        assert_eq!(yml.arguments["RACK_ENV"], "production");
        assert_eq!(yml.image_of("clock").map(String::as_str), Some("worker"));
        let one = parse("build:\n  docker:\n    web: Dockerfile\nrun:\n  job: ls\n").expect("one image for all");
        assert_eq!(one.image_of("job").map(String::as_str), Some("web"));
        for bad in ["", "build:\n  docker: {}\n", "build: [", "build:\n  docker:\n    web: D\n    b: E\nrun:\n  c: x\n"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
