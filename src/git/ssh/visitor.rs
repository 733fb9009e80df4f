//! One client: which key it has proven, and what it asks for.

use super::{
    Inner, command,
    guard::Phase,
    job::{Ask, Job},
};
use russh::{
    Channel, ChannelId, ChannelOpenFailure, Pty,
    keys::{Algorithm, PublicKey},
    server::{Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey},
};
use service::Ctx;
use std::{collections::HashMap, net::IpAddr, sync::Arc};
use tokio::sync::watch;

/// The only user there is; who it is says the key.
const USER: &str = "git";
/// Channels of one connection at the same time; git uses one.
const CHANNELS_MAX: usize = 4;
/// Longest value of a variable that is kept.
const VARIABLE_BYTES_MAX: usize = 256;

/// A channel without a request yet.
struct Opened {
    channel: Channel<Msg>,
    protocol: Option<String>,
}

pub struct Visitor {
    inner: Arc<Inner>,
    address: IpAddr,
    phase: Arc<watch::Sender<Phase>>,
    /// The proven key in its form on the wire.
    key: Option<Vec<u8>>,
    opened: HashMap<ChannelId, Opened>,
}

impl Visitor {
    pub fn new(inner: Arc<Inner>, address: IpAddr, phase: Arc<watch::Sender<Phase>>) -> Self {
        Self { inner, address, phase, key: None, opened: HashMap::new() }
    }

    /// Whose key this is. One answer for all others: nothing is said about users, accounts or why.
    fn known(&self, user: &str, key: &PublicKey, algorithm: &Algorithm) -> Option<Vec<u8>> {
        let sha1 = matches!(algorithm, Algorithm::Rsa { hash: None });
        let blob = key.to_bytes().ok()?;
        let found = self.inner.receiver.inner.service.authenticate_key(&blob).is_ok();
        (found && user == USER && !sha1).then_some(blob)
    }

    /// Asked anew for every request, since the connection may be older than the loss of the key.
    fn ctx(&self) -> Option<Ctx> {
        let ctx = self.inner.receiver.inner.service.authenticate_key(self.key.as_deref()?).ok()?;
        Some(Ctx { address: Some(self.address), ..ctx })
    }

    /// Begins with what was asked for on a channel; each has one request in its life.
    fn begin(&mut self, id: ChannelId, ask: Ask, session: &mut Session) -> Result<(), russh::Error> {
        let Some(opened) = self.opened.remove(&id) else { return session.channel_failure(id) };
        session.channel_success(id)?;
        let job = Job::new(self.inner.receiver.clone(), self.ctx(), opened.protocol, self.phase.clone());
        tokio::spawn(job.run(opened.channel, ask));
        Ok(())
    }
}

impl Handler for Visitor {
    type Error = russh::Error;

    async fn auth_publickey_offered(&mut self, user: &str, offer: PublicKeyOffer<'_>) -> Result<Auth, Self::Error> {
        Ok(self.known(user, offer.public_key, offer.algorithm).map_or_else(Auth::reject, |_| Auth::Accept))
    }

    async fn auth_publickey(&mut self, user: &str, key: VerifiedPublicKey<'_>) -> Result<Auth, Self::Error> {
        self.key = self.known(user, key.public_key, key.algorithm);
        if self.key.is_none() {
            return Ok(Auth::reject());
        }
        self.phase.send_modify(|phase| phase.signed_in = true);
        Ok(Auth::Accept)
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.opened.len() + self.phase.borrow().running >= CHANNELS_MAX {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return Ok(());
        }
        self.opened.insert(channel.id(), Opened { channel, protocol: None });
        reply.accept().await;
        Ok(())
    }

    async fn channel_close(&mut self, channel: ChannelId, _session: &mut Session) -> Result<(), Self::Error> {
        self.opened.remove(&channel);
        Ok(())
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        name: &str,
        value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        let kept = self.opened.get_mut(&channel).filter(|_| name == "GIT_PROTOCOL" && value.len() <= VARIABLE_BYTES_MAX);
        match kept {
            Some(opened) => {
                opened.protocol = Some(value.into());
                session.channel_success(channel)
            }
            None => session.channel_failure(channel),
        }
    }

    async fn exec_request(&mut self, channel: ChannelId, data: &[u8], session: &mut Session) -> Result<(), Self::Error> {
        let ask = command::parse(data).map_or(Ask::Other, Ask::Git);
        self.begin(channel, ask, session)
    }

    async fn shell_request(&mut self, channel: ChannelId, session: &mut Session) -> Result<(), Self::Error> {
        self.begin(channel, Ask::Shell, session)
    }

    async fn subsystem_request(&mut self, channel: ChannelId, _name: &str, session: &mut Session) -> Result<(), Self::Error> {
        self.begin(channel, Ask::Other, session)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn x11_request(
        &mut self,
        channel: ChannelId,
        _single: bool,
        _protocol: &str,
        _cookie: &str,
        _screen: u32,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }
}
