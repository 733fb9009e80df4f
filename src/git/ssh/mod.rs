//! Git over SSH (`git-contract.md` section 6): the same pushes and clones as over HTTP, admitted by the public keys of
//! accounts. Nothing else is served: no shells, no files, no forwarding.
//!
//! ```text
//! connection -> places -> russh -> visitor (keys, requests) -> job (git of one channel) -> receive.rs, as over HTTP
//! ```

mod command;
mod guard;
mod host_key;
mod job;
mod visitor;

use crate::Receiver;
use guard::{Guarded, Phase, Places, until_over};
use russh::{
    MethodKind, MethodSet, Preferred, SshId,
    keys::{Algorithm, EcdsaCurve, HashAlg},
    server::{Config, run_stream},
};
use std::{borrow::Cow, io, net::SocketAddr, path::Path, sync::Arc, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    sync::watch,
};
use visitor::Visitor;

/// An unknown key is refused after this time, however long the look-up took.
const REFUSAL_TIME: Duration = Duration::from_millis(300);
/// Keys that a client may offer; one with an agent offers all it has.
const KEYS_OFFERED_MAX: usize = 10;
/// Nothing heard and nothing to say for this long, keep-alives not counted: the client is gone.
const SILENCE_MAX: Duration = Duration::from_secs(120);
/// Keep-alives; living clients answer them, so that silent builds are not cut.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// After a failed accept (no descriptors left) the next try waits this long, as there is nothing to wait on.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves git over SSH. Cheap to clone.
#[derive(Clone)]
pub struct SshServer {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    receiver: Receiver,
    config: Arc<Config>,
    fingerprint: String,
    places: Places,
    end: watch::Sender<bool>,
}

impl SshServer {
    /// Reads the host key, or makes it when there is none.
    ///
    /// # Errors
    /// When the key can not be read, made or written.
    pub fn new(receiver: Receiver, host_key: &Path) -> io::Result<Self> {
        let key = host_key::load_or_create(host_key)?;
        let fingerprint = key.public_key().fingerprint(HashAlg::Sha256).to_string();
        let config = Config {
            server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-Tidemill")),
            methods: MethodSet::from(&[MethodKind::PublicKey][..]),
            auth_rejection_time: REFUSAL_TIME,
            auth_rejection_time_initial: Some(Duration::ZERO), // a client asks first how it may sign in
            keys: vec![key],
            preferred: preferred(),
            max_auth_attempts: KEYS_OFFERED_MAX,
            inactivity_timeout: Some(SILENCE_MAX),
            keepalive_interval: Some(KEEP_ALIVE),
            keepalive_max: 0, // some clients do not answer; git's own keep-alives count for them
            ..Config::default()
        };
        let end = watch::channel(false).0;
        Ok(Self { inner: Arc::new(Inner { receiver, config: Arc::new(config), fingerprint, places: Places::default(), end }) })
    }

    /// `SHA256:…` of the host key, as clients show it.
    pub fn fingerprint(&self) -> &str {
        &self.inner.fingerprint
    }

    /// Serves one connection until it ends.
    pub async fn serve<S>(&self, mut stream: S, peer: SocketAddr)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let Some(_place) = self.inner.places.take(peer.ip()) else {
            // A line before the greeting is for people who look closely; the client is told by the end.
            let _ = stream.write_all(b"Too many connections; close some or wait.\r\n").await;
            return;
        };
        let phase = Arc::new(watch::channel(Phase::default()).0);
        let stream = Guarded::new(stream, until_over(phase.subscribe(), self.inner.end.subscribe()));
        let visitor = Visitor::new(self.inner.clone(), peer.ip().to_canonical(), phase.clone());
        let ended = match run_stream(self.inner.config.clone(), stream, visitor).await {
            Ok(session) => session.await,
            Err(e) => Err(e),
        };
        phase.send_modify(|phase| phase.over = true);
        if let Err(e) = ended {
            tracing::debug!(error = %e, %peer, "git.ssh_ended");
        }
    }

    /// Serves the connections of an address that is for SSH alone, until [`SshServer::close`].
    pub async fn listen(self, socket: TcpListener) {
        let mut end = self.inner.end.subscribe();
        loop {
            let accepted = tokio::select! {
                accepted = socket.accept() => accepted,
                _ = end.wait_for(|end| *end) => return,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let _ = stream.set_nodelay(true); // only a matter of speed
                    let server = self.clone();
                    tokio::spawn(async move { server.serve(stream, peer).await });
                }
                Err(e) => {
                    tracing::warn!(error = %e, "git.ssh_accept_failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Ends connections that have nothing in progress, now or later.
    pub fn close(&self) {
        self.inner.end.send_replace(true);
    }
}

/// The library's choice without SHA-1. Packs are compressed already.
fn preferred() -> Preferred {
    let curves = [EcdsaCurve::NistP256, EcdsaCurve::NistP384, EcdsaCurve::NistP521];
    let mut key = vec![Algorithm::Ed25519];
    key.extend(curves.map(|curve| Algorithm::Ecdsa { curve }));
    key.extend([HashAlg::Sha512, HashAlg::Sha256].map(|hash| Algorithm::Rsa { hash: Some(hash) }));
    Preferred { key: Cow::Owned(key), compression: Cow::Borrowed(&[russh::compression::NONE]), ..Preferred::DEFAULT }
}
