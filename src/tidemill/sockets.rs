//! The sockets that the platform listens on: passed by systemd (`sd_listen_fds(3)`), so that they stay open while the
//! daemon is replaced, else bound here.

use crate::config::Config;
use anyhow::{Context, Result, bail};
use std::{
    net::{SocketAddr, TcpListener},
    os::fd::{FromRawFd, RawFd},
};

/// `FileDescriptorName=` of a socket that is for git over SSH alone.
const SSH: &str = "ssh";

/// What to listen on.
pub struct Sockets {
    /// For everything; the first one's port stands in addresses.
    pub web: Vec<TcpListener>,
    /// For git over SSH alone, if there is one.
    pub ssh: Option<TcpListener>,
}

impl Sockets {
    /// Takes what systemd passed; without that, binds what is configured. Called once: the descriptors are owned from then on.
    ///
    /// # Errors
    /// An address that is taken or not this host's; something other than a listening TCP socket was passed.
    pub fn take(config: &Config) -> Result<Self> {
        let passed: Vec<(RawFd, String)> = sd_notify::listen_fds_with_names().context("take systemd's sockets")?.collect();
        let mut sockets = Self { web: Vec::new(), ssh: None };
        for (number, name) in passed {
            let socket = adopted(number).with_context(|| format!("take the socket {name:?} that systemd passed"))?;
            match name.as_str() {
                SSH => sockets.ssh = Some(socket),
                _ => sockets.web.push(socket),
            }
        }
        if sockets.web.is_empty() {
            sockets.web.push(bound(config.http)?);
            sockets.web.extend(config.https.map(bound).transpose()?);
        } else {
            let addresses: Vec<_> = sockets.web.iter().filter_map(|s| s.local_addr().ok()).collect();
            tracing::info!(?addresses, "tidemill.sockets_passed: the settings http and https are not looked at");
        }
        if let (None, Some(address)) = (&sockets.ssh, config.ssh) {
            sockets.ssh = Some(bound(address)?);
        }
        Ok(sockets)
    }
}

fn bound(address: SocketAddr) -> Result<TcpListener> {
    let socket = TcpListener::bind(address).with_context(|| format!("listen on {address}"))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn adopted(number: RawFd) -> Result<TcpListener> {
    // SAFETY: systemd says that this number is an open descriptor that is ours, and each number comes here once.
    let socket = unsafe { TcpListener::from_raw_fd(number) };
    if !socket2::SockRef::from(&socket).is_listener().context("it is no socket")? {
        bail!("it does not listen; the unit needs ListenStream= and Accept=no");
    }
    socket.local_addr().context("it is no TCP socket")?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}
