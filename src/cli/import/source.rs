//! What the other server says about the app.

use crate::{
    client::Client,
    failure::{Failure, Result},
    session::{encoded, field, items},
};
use serde_json::Value;

/// Everything that is looked at.
pub struct Source {
    /// The app.
    pub app: Value,
    /// Map of config vars.
    pub config: Value,
    /// List: types with quantity and size.
    pub formation: Value,
    /// List, in order.
    pub buildpacks: Value,
    /// List.
    pub domains: Value,
    /// List.
    pub drains: Value,
    /// List.
    pub collaborators: Value,
    /// List.
    pub features: Value,
    /// List.
    pub addons: Value,
    /// Pipeline and stage, if it is in one.
    pub coupling: Option<Value>,
}

impl Source {
    /// Reads it. What the other server does not have counts as empty.
    pub fn read(client: &Client, name: &str) -> Result<Self> {
        let path = format!("/apps/{}", encoded(name)?);
        let at_source = |failure: Failure| Failure { text: format!("{}: {}", client.base, failure.text), ..failure };
        let app = client.get(&path).map_err(at_source)?;
        let list = |what: &str| or_nothing(client.list(&format!("{path}/{what}")), Value::Array(Vec::new())).map_err(at_source);
        Ok(Self {
            config: client.get(&format!("{path}/config-vars")).map_err(at_source)?,
            formation: list("formation")?,
            buildpacks: list("buildpack-installations")?,
            domains: list("domains")?,
            drains: list("log-drains")?,
            collaborators: list("collaborators")?,
            features: list("features")?,
            addons: list("addons")?,
            coupling: Some(or_nothing(client.get(&format!("{path}/pipeline-couplings")), Value::Null).map_err(at_source)?)
                .filter(|found| !found.is_null()),
            app,
        })
    }

    /// Names of config vars that belong to add-ons.
    pub fn of_addons(&self) -> Vec<&str> {
        items(&self.addons).iter().flat_map(|addon| items(&addon["config_vars"])).filter_map(Value::as_str).collect()
    }

    /// Names of custom domains.
    pub fn hostnames(&self) -> Vec<&str> {
        items(&self.domains).iter().filter(|d| field(d, "kind") == "custom").map(|d| field(d, "hostname")).collect()
    }

    /// Addresses of drains that no add-on has made.
    pub fn drain_urls(&self) -> Vec<&str> {
        items(&self.drains).iter().filter(|d| d["addon"].is_null()).map(|d| field(d, "url")).collect()
    }

    /// Buildpacks in order, as they are given to the API.
    pub fn buildpack_names(&self) -> Vec<String> {
        buildpack_names(&self.buildpacks)
    }
}

/// A server that lacks a thing, or does not let us see it, says so with these.
pub fn or_nothing(answer: Result<Value>, nothing: Value) -> Result<Value> {
    match answer {
        Err(failure) if matches!(failure.exit, 3 | 4) => Ok(nothing),
        other => other,
    }
}

/// Buildpacks of `GET buildpack-installations`, in order.
pub fn buildpack_names(list: &Value) -> Vec<String> {
    let mut all: Vec<&Value> = items(list).iter().collect();
    all.sort_by_key(|installation| installation["ordinal"].as_u64());
    all.iter().map(|i| field(&i["buildpack"], "url").trim_start_matches("urn:buildpack:").to_string()).collect()
}
