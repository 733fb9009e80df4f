//! Where a client meets a process: the port between whoever allows it and whoever connects the two
//! (`cli-contract.md` section 5).

use crate::DynoId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How an attached process is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Attach {
    /// A pipe each way.
    Pipes,
    /// A terminal of this size, in characters.
    Terminal {
        /// Lines.
        rows: u16,
        /// Characters of a line.
        columns: u16,
    },
}

/// What a client that knows the secret gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meeting {
    /// The main process of a one-off dyno that waits for it.
    Dyno(DynoId),
    /// A further process in a running dyno (`run:inside`).
    Inside {
        /// The dyno.
        dyno: DynoId,
        /// For bash.
        command: String,
        /// On top of the dyno's environment.
        env: BTreeMap<String, String>,
        /// Terminal or pipes.
        attach: Attach,
    },
}

/// Keeps appointments. One use of each secret, and only for a short time; none outlives the daemon.
pub trait Rendezvous: Send + Sync {
    /// From now on a client may come with `secret`.
    fn arrange(&self, secret: String, meeting: Meeting);
    /// Nobody shall come.
    fn forget(&self, secret: &str);
}
