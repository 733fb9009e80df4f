//! What `bin/release` prints (`builds.md` section 3).

use std::collections::BTreeMap;
use yaml_rust2::{Yaml, YamlLoader};

/// The parts that mean something here.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReleaseYaml {
    /// Process types for those that the Procfile does not name.
    pub default_process_types: BTreeMap<String, String>,
    /// Set once, on the first release, never overwritten.
    pub config_vars: BTreeMap<String, String>,
    /// Add-ons that the pack would like; there is none to give yet.
    pub addons: Vec<String>,
}

const YAML_BYTES_MAX: usize = 64 * 1024;

/// Reads the YAML; empty text and `--- {}` are valid.
pub fn parse(text: &str) -> Result<ReleaseYaml, String> {
    if text.len() > YAML_BYTES_MAX {
        return Err(format!("bin/release printed more than {YAML_BYTES_MAX} bytes"));
    }
    let documents = YamlLoader::load_from_str(text).map_err(|e| format!("bin/release printed no valid YAML: {e}"))?;
    let Some(document) = documents.first() else { return Ok(ReleaseYaml::default()) };
    Ok(ReleaseYaml {
        default_process_types: map(&document["default_process_types"]),
        config_vars: map(&document["config_vars"]),
        addons: document["addons"].as_vec().into_iter().flatten().filter_map(scalar).collect(),
    })
}

pub fn map(yaml: &Yaml) -> BTreeMap<String, String> {
    let Some(hash) = yaml.as_hash() else { return BTreeMap::new() };
    hash.iter().filter_map(|(k, v)| Some((scalar(k)?, scalar(v)?))).collect()
}

pub fn scalar(yaml: &Yaml) -> Option<String> {
    match yaml {
        Yaml::String(text) | Yaml::Real(text) => Some(text.clone()),
        Yaml::Integer(number) => Some(number.to_string()),
        Yaml::Boolean(value) => Some(value.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_comments_and_colons() {
        assert_eq!(parse(""), Ok(ReleaseYaml::default()));
        assert_eq!(parse("--- {}\n"), Ok(ReleaseYaml::default()));
        let yaml =
            parse("---\n# c\naddons:\n  - a:b\nconfig_vars:\n  N: 1\ndefault_process_types:\n  web: \"a: b -p $PORT\"\n")
                .unwrap();
        assert_eq!(yaml.default_process_types["web"], "a: b -p $PORT");
        assert_eq!(yaml.config_vars["N"], "1");
        assert_eq!(yaml.addons, ["a:b"]);
        assert!(parse("a: [").is_err());
        assert_eq!(parse("just text"), Ok(ReleaseYaml::default()));
    }
}
