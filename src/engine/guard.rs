//! The guard before connections to places that users name: names are looked up, and addresses that are not public are
//! refused unless the operator allows them. Checked after the look-up on every connection, which is then made to the very
//! address that was checked, so that a name can not change its meaning in between.

use domain::address::is_public;
use std::{io, net::SocketAddr, time::Duration};
use ureq::{
    Agent,
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

#[derive(Debug)]
struct PublicOnly {
    inner: DefaultResolver,
    allow_private: bool,
}

impl Resolver for PublicOnly {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        check(&found, self.allow_private)?;
        Ok(found)
    }
}

/// All addresses that a name stands for, or none.
///
/// # Errors
/// `PermissionDenied` with the first address that is not public.
pub(crate) fn check(found: &[SocketAddr], allow_private: bool) -> io::Result<()> {
    match found.iter().map(SocketAddr::ip).find(|ip| !allow_private && !is_public(*ip)) {
        Some(ip) => Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{ip} is not a public address"))),
        None => Ok(()),
    }
}

/// A client for one request to a place that a user named. No proxy is asked, since it
/// would look up names itself.
pub(crate) fn agent(allow_private: bool, redirects_max: u32, time_limit: Duration) -> Agent {
    let config = Agent::config_builder().max_redirects(redirects_max).timeout_global(Some(time_limit)).proxy(None);
    let resolver = PublicOnly { inner: DefaultResolver::default(), allow_private };
    Agent::with_parts(config.build(), DefaultConnector::default(), resolver)
}
