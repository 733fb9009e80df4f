//! Git over SSH: on the platform's one port, and on an address of its own when one is configured.

use anyhow::{Context, Result};
use git::{Receiver, SshServer};
use router::Pass;
use std::{net::SocketAddr, path::Path, sync::Arc};
use tokio::net::TcpListener;

/// File of the host key in the data directory.
const HOST_KEY: &str = "keys/ssh/host_ed25519";
/// Port of an SSH address that needs not be written.
const PORT: u16 = 22;

/// The server, and where it is.
pub struct Ssh {
    server: SshServer,
    /// For people: its own address, else the platform's port.
    host: String,
}

impl Ssh {
    /// Reads or makes the host key, and serves `socket` from now on.
    pub fn start(
        receiver: Receiver,
        data: &Path,
        domain: &str,
        platform: SocketAddr,
        socket: Option<std::net::TcpListener>,
    ) -> Result<Self> {
        let server = SshServer::new(receiver, &data.join(HOST_KEY)).context("start git over SSH")?;
        let port = match socket {
            Some(socket) => {
                let port = socket.local_addr()?.port();
                tokio::spawn(server.clone().listen(TcpListener::from_std(socket)?));
                port
            }
            None => platform.port(),
        };
        let host = if port == PORT { domain.to_string() } else { format!("{domain}:{port}") };
        Ok(Self { server, host })
    }

    /// Address for `git push`.
    pub fn url(&self, app: &str) -> String {
        format!("ssh://git@{}/{app}.git", self.host)
    }

    /// `SHA256:…` of the host key.
    pub fn fingerprint(&self) -> &str {
        self.server.fingerprint()
    }

    /// Takes SSH clients off the router's hands. They are served on the control plane's threads; the router waits for
    /// them at its end, as for requests.
    pub fn pass(&self) -> Pass {
        let (server, handle) = (self.server.clone(), tokio::runtime::Handle::current());
        Arc::new(move |stream, peer| {
            let server = server.clone();
            let served = handle.spawn(async move { server.serve(stream, peer).await });
            Box::pin(async move {
                let _ = served.await; // a panic is told by its hook
            })
        })
    }

    /// Ends connections that have nothing in progress.
    pub fn close(&self) {
        self.server.close();
    }
}
