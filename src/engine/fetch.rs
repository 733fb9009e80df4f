//! Fetching what users name by URL: bounded, and not from private addresses.

use domain::target::is_public;
use std::{fs::File, io, net::SocketAddr, path::Path, time::Duration};
use ureq::{
    Agent,
    config::Config,
    http::Uri,
    unversioned::{
        resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver},
        transport::{DefaultConnector, NextTimeout},
    },
};

const BYTES_MAX: u64 = 1 << 30;
const REDIRECTS_MAX: u32 = 3;
const TIME_LIMIT: Duration = Duration::from_secs(300);

/// Resolves names, and refuses addresses that are not public unless an operator allowed them: a URL from a user must not
/// reach services of this host or its network (request forgery). Checked after the look-up, on every connection.
#[derive(Debug)]
struct PublicOnly {
    inner: DefaultResolver,
    allow_private: bool,
}

impl Resolver for PublicOnly {
    fn resolve(&self, uri: &Uri, config: &Config, timeout: NextTimeout) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let found = self.inner.resolve(uri, config, timeout)?;
        let forbidden = found.iter().map(SocketAddr::ip).find(|ip| !self.allow_private && !is_public(*ip));
        match forbidden {
            Some(ip) => Err(io::Error::new(io::ErrorKind::PermissionDenied, format!("{ip} is not a public address")).into()),
            None => Ok(found),
        }
    }
}

/// Downloads `url` into `target`. Blocking.
///
/// # Errors
/// The text for the user; the file is removed then.
pub fn fetch_into(url: &str, target: &Path, allow_private: bool) -> Result<(), String> {
    let config = Agent::config_builder().max_redirects(REDIRECTS_MAX).timeout_global(Some(TIME_LIMIT)).build();
    let resolver = PublicOnly { inner: DefaultResolver::default(), allow_private };
    let agent = Agent::with_parts(config, DefaultConnector::default(), resolver);
    let mut answer = agent.get(url).call().map_err(|e| e.to_string())?;
    let mut body = answer.body_mut().with_config().limit(BYTES_MAX).reader();
    let written = File::create(target).and_then(|mut file| io::copy(&mut body, &mut file));
    written.map(|_| ()).map_err(|e| {
        let _ = std::fs::remove_file(target); // the error that counts is already on its way
        e.to_string()
    })
}
