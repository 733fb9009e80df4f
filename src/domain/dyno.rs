//! Dynos: one row for each, written before the process is started.

use crate::{AppId, Attach, DynoId, UnixMs};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// What a dyno is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DynoKind {
    /// Keeps a slot of the formation filled.
    Formation,
    /// Runs once.
    OneOff,
}

/// States of the API plus the one that the API does not show (`runtime.md` section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DynoState {
    /// Row written, process may or may not be there yet.
    Starting,
    /// Web: accepts on its port. Others: the process runs.
    Up,
    /// Ended although it should run.
    Crashed,
    /// Was told to stop; no longer listed.
    Stopping,
    /// A slot of a sleeping app, as people see it. No row is in this state.
    Idle,
}

impl DynoState {
    /// The word of the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Up => "up",
            Self::Crashed => "crashed",
            Self::Stopping => "down",
            Self::Idle => "idle",
        }
    }
}

/// One dyno. A slot such as `web.1` may have two for a while (`runtime.md` section 2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dyno {
    /// Key.
    pub id: DynoId,
    /// Owning app.
    pub app: AppId,
    /// Formation or one-off.
    pub kind: DynoKind,
    /// Process type.
    pub ptype: String,
    /// Number within the type, from 1.
    pub num: u32,
    /// Command as in the Procfile.
    pub command: String,
    /// Release it runs.
    pub release: u64,
    /// Generation of the app when it was started.
    pub generation: u64,
    /// Size name.
    pub size: String,
    /// Where it stands.
    pub state: DynoState,
    /// Where web dynos listen, at [`Dyno::address`].
    pub port: Option<u16>,
    /// Where the host reaches it; set when it was started. A row of a time without it means the host's loopback.
    #[serde(default)]
    pub address: Option<IpAddr>,
    /// Number of the unprivileged user within the pool of the driver.
    pub user_slot: u32,
    /// Crashes in a row of this slot, this dyno's own included.
    pub crashes: u32,
    /// True when somebody asked for a replacement of this one.
    pub restart: bool,
    /// One-off dynos are ended after this time.
    #[serde(default)]
    pub time_to_live_s: Option<u64>,
    /// A one-off dyno that waits for a client; `None` when its output goes to the log.
    #[serde(default)]
    pub attach: Option<Attach>,
    /// Creation time.
    pub created_at: UnixMs,
    /// Last change of state.
    pub updated_at: UnixMs,
}

impl Dyno {
    /// Where requests go.
    pub fn socket_address(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.address.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST)), self.port?))
    }

    /// `web.1`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.ptype, self.num)
    }
}
