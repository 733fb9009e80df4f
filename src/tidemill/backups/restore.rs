//! Restoring, for `tidemill restore` and whoever sets a machine up from a backup.

use super::work;
use crate::config::Config;
use backup::{Error, Report, Result};
use serde::Serialize;
use std::{cell::RefCell, net::IpAddr, path::Path};
use store::{ReadRows, Sealer, Store, tables};

/// What was restored, and what is left to do.
pub struct Restored {
    /// What was in the backup.
    pub report: Report,
    /// Records that must lead here.
    pub records: Vec<Record>,
}

/// A DNS record that has to change when the machine has another address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// Host name.
    pub name: String,
    /// `A` or `AAAA`.
    pub kind: &'static str,
    /// Where it led, as far as known.
    pub old: Option<String>,
    /// Where it is to lead.
    pub new: String,
}

/// Restores `file` into the data folder of `config`, which must be missing or empty, and must not be in use by a daemon.
/// Apps, releases, config vars, tokens, keys and certificates are what they were; no certificate is ordered for that. The
/// settings of the former machine are put beside them as `restored-settings.toml`.
///
/// # Errors
/// When the passphrase does not fit, the file is no good, the folder is not empty or the disk is full: nothing is written
/// then.
pub fn restore(file: &Path, passphrase: &str, config: &Config) -> Result<Restored> {
    let custom: RefCell<Vec<String>> = RefCell::default();
    let probe = |store: &Store, sealer: &Sealer| {
        let domains = store.scan(&tables::DOMAINS, &()).map_err(|e| e.to_string())?;
        *custom.borrow_mut() = domains.into_iter().map(|domain| domain.hostname).collect();
        work::probe(store, sealer)
    };
    let report = backup::restore(file, passphrase, &config.data_dir, &probe).map_err(root_needed)?;
    let records = records(&report, &custom.take(), &work::addresses(config));
    Ok(Restored { report, records })
}

fn root_needed(e: Error) -> Error {
    match e {
        Error::Io(what, why) if why.contains("ermission denied") => {
            Error::Usage(format!("can not {what}: {why}; try: sudo tidemill restore …"))
        }
        other => other,
    }
}

/// Those that lead to another address than they did. Names that are aliases of the platform's follow it by themselves.
fn records(report: &Report, custom: &[String], now: &[IpAddr]) -> Vec<Record> {
    let manifest = &report.manifest;
    let names = [manifest.domain.clone(), format!("*.{}", manifest.domain)].into_iter().chain(custom.iter().cloned());
    let mut all = Vec::new();
    for name in names.filter(|name| !name.ends_with("localhost")) {
        for new in now {
            let kind = if new.is_ipv4() { "A" } else { "AAAA" };
            let same_kind = |old: &&String| old.parse::<IpAddr>().is_ok_and(|old| old.is_ipv4() == new.is_ipv4());
            let old = manifest.addresses.iter().find(same_kind).cloned();
            if old.as_deref() != Some(&new.to_string()) {
                all.push(Record { name: name.clone(), kind, old, new: new.to_string() });
            }
        }
    }
    all
}

impl Restored {
    /// For people.
    pub fn told(&self, config: &Config) -> String {
        let mut out = format!("Restored into {}: {}.\n", config.data_dir.display(), work::summary(&self.report));
        if self.records.is_empty() {
            out.push_str("No DNS record has to change: the addresses are the same, or the names lead nowhere else.\n");
        } else {
            out.push_str("These DNS records must change (aliases, CNAME, of the platform's names follow by themselves):\n");
        }
        for Record { name, kind, old, new } in &self.records {
            let was = old.as_ref().map_or_else(|| "unknown before".to_string(), |old| format!("was {old}"));
            out.push_str(&format!("  {name}.  {kind}  {new}   ({was})\n"));
        }
        out.push_str("Certificates came along; none is ordered before its own time.\n");
        let settings = config.data_dir.join("restored-settings.toml");
        if settings.exists() {
            out.push_str(&format!("The former settings: {}\n", settings.display()));
        }
        let domain = &self.report.manifest.domain;
        if *domain != config.domain {
            out.push_str(&format!("The platform was {domain}; set that here before the start: domain = \"{domain}\"\n"));
        }
        out.push_str("Next: systemctl start tidemill");
        out
    }
}
