//! Backups: one sealed file of all that a Tidemill installation is, made while it runs; looked through, tried and restored.
//!
//! A file is a sealed stream ([`sealed`]) of a compressed tar: a manifest, the store at one instant, then everything in
//! the data folder that can not be made again, then the sum of it all. It is made and read with nothing but the data
//! folder: the daemon need not run, and is not waited for when it does. This room must not know what the rows are for.

mod error;
mod history;
mod pack;
mod sealed;
mod tree;
mod unpack;

pub use error::{Error, Result};
pub use history::{history, remember};
pub use pack::{LEFT_OUT, Made, Source, create, sweep};
pub use unpack::{Probe, Report, restore, verify};

use serde::{Deserialize, Serialize};

/// What a backup is of. The first entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the program that made it.
    pub version: String,
    /// When, milliseconds since 1970.
    pub created_ms: u64,
    /// Platform domain.
    pub domain: String,
    /// Addresses at which the server was reached.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Folders of the data folder that are not in it.
    #[serde(default)]
    pub left_out: Vec<String>,
}

/// What is inside, counted. The last entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sum {
    /// Files, folders and links.
    pub entries: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Number of the last record of the store.
    pub record: u64,
    /// SHA-256 over the path, kind, size and SHA-256 of each entry.
    pub digest: String,
}

/// Name of the first entry.
const MANIFEST: &str = "manifest.json";
/// Name of the last entry.
const SUM: &str = "sum.json";
/// What the entries below the data folder begin with.
const DATA: &str = "data/";
/// The settings file, if there was one.
const SETTINGS: &str = "settings.toml";
/// The key of the secrets, wherever it was.
const MASTER_KEY: &str = "keys/master.key";

/// Adds entries up; the same while a backup is made and while it is read.
struct Tally {
    sum: Sum,
    digest: ring::digest::Context,
}

impl Tally {
    fn new() -> Self {
        Self { sum: Sum::default(), digest: ring::digest::Context::new(&ring::digest::SHA256) }
    }

    /// `what`: SHA-256 of a file, target of a link, nothing for a folder.
    fn add(&mut self, path: &[u8], kind: u8, size: u64, what: &[u8]) {
        self.sum.entries += 1;
        self.sum.bytes += size;
        for part in [path, &[kind][..], what] {
            self.digest.update(&(part.len() as u64).to_le_bytes());
            self.digest.update(part);
        }
        self.digest.update(&size.to_le_bytes());
    }

    fn finish(mut self, record: u64) -> Sum {
        self.sum.record = record;
        self.sum.digest = hex(self.digest.finish().as_ref());
        self.sum
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}
