//! Questions to name servers before an authority is asked (`acm.md` section 4): addresses, CAA, and records of a hook.
//! Nothing is cached here, since people wait for their change to be seen.

use domain::acm::Caa;
use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{NetError, runtime::TokioRuntimeProvider},
    proto::rr::{RData, RecordType},
};
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// For one question to one server.
const TIME_LIMIT: Duration = Duration::from_secs(3);
/// Where a host keeps the addresses of its name servers.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Servers of a zone that are asked.
const ZONE_SERVERS_MAX: usize = 2;

/// Asks.
pub struct Dns {
    resolver: TokioResolver,
}

impl Dns {
    /// Asks `servers`, or those of this host when there are none.
    ///
    /// # Errors
    /// The reason, when there is nobody to ask.
    pub fn new(servers: &[SocketAddr]) -> Result<Self, String> {
        let servers = if servers.is_empty() { of_this_host() } else { servers.to_vec() };
        if servers.is_empty() {
            return Err(format!("no name server is known: there is none in {RESOLV_CONF}"));
        }
        Ok(Self { resolver: resolver(&servers)? })
    }

    /// All addresses of a name, of both kinds; none when it has none. CNAMEs are followed.
    ///
    /// # Errors
    /// A sentence, when no server answers.
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, String> {
        addresses(&self.resolver, name).await
    }

    /// Addresses of a name as the servers of its own zone tell them, before any cache; `None` when these can not be asked or
    /// only lead on to another zone.
    pub async fn authoritative(&self, name: &str) -> Option<Vec<IpAddr>> {
        let mut zone = name;
        let servers = loop {
            let (_, parent) = zone.split_once('.')?;
            let found = records(&self.resolver, zone, RecordType::NS).await.ok()?;
            let names: Vec<String> = found
                .into_iter()
                .filter_map(|data| if let RData::NS(ns) = data { Some(ns.0.to_string()) } else { None })
                .collect();
            if !names.is_empty() {
                break names;
            }
            zone = parent;
        };
        let mut addresses_of_servers = Vec::new();
        for server in servers.iter().take(ZONE_SERVERS_MAX) {
            let found = addresses(&self.resolver, server.trim_end_matches('.')).await.unwrap_or_default();
            addresses_of_servers.extend(found.into_iter().map(|ip| SocketAddr::new(ip, 53)));
        }
        let resolver = resolver(&addresses_of_servers).ok()?;
        addresses(&resolver, name).await.ok().filter(|found| !found.is_empty())
    }

    /// The CAA records of the closest name upwards that has any.
    ///
    /// # Errors
    /// A sentence, when no server answers: an authority would not issue then.
    pub async fn caa(&self, name: &str) -> Result<Vec<Caa>, String> {
        let mut name = name.strip_prefix("*.").unwrap_or(name);
        loop {
            let found = records(&self.resolver, name, RecordType::CAA).await?;
            let found: Vec<Caa> = found
                .into_iter()
                .filter_map(|data| if let RData::CAA(caa) = data { Some(caa) } else { None })
                .map(read)
                .collect();
            match name.split_once('.') {
                Some((_, parent)) if found.is_empty() => name = parent,
                _ => return Ok(found),
            }
        }
    }

    /// True when a TXT record with that text is seen.
    pub async fn has_text(&self, name: &str, text: &str) -> bool {
        let found = records(&self.resolver, name, RecordType::TXT).await.unwrap_or_default();
        found.iter().any(|data| matches!(data, RData::TXT(txt) if txt.txt_data.concat() == text.as_bytes()))
    }
}

fn read(caa: hickory_resolver::proto::rr::rdata::CAA) -> Caa {
    Caa { critical: caa.issuer_critical, tag: caa.tag, value: String::from_utf8_lossy(&caa.value).trim().to_string() }
}

fn of_this_host() -> Vec<SocketAddr> {
    let text = fs::read_to_string(RESOLV_CONF).unwrap_or_default();
    let lines = text.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    lines.filter_map(|address| address.trim().parse::<IpAddr>().ok()).map(|ip| SocketAddr::new(ip, 53)).collect()
}

fn resolver(servers: &[SocketAddr]) -> Result<TokioResolver, String> {
    let server = |address: &SocketAddr| {
        let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
            connection.port = address.port();
            connection
        });
        NameServerConfig::new(address.ip(), true, connections.to_vec())
    };
    let config = ResolverConfig::from_name_servers(servers.iter().map(server).collect());
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    options.timeout = TIME_LIMIT;
    options.attempts = 1;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.edns0 = true;
    builder.build().map_err(|e| e.to_string())
}

async fn records(resolver: &TokioResolver, name: &str, kind: RecordType) -> Result<Vec<RData>, String> {
    // With a dot at the end nothing is appended to it.
    match resolver.lookup(format!("{}.", name.trim_end_matches('.')), kind).await {
        Ok(found) => Ok(found.answers().iter().map(|record| record.data.clone()).collect()),
        Err(e) if is_nothing(&e) => Ok(Vec::new()),
        Err(e) => Err(format!("The name servers do not answer for {name}: {e}.")),
    }
}

fn is_nothing(error: &NetError) -> bool {
    error.is_nx_domain() || error.is_no_records_found()
}

async fn addresses(resolver: &TokioResolver, name: &str) -> Result<Vec<IpAddr>, String> {
    let mut found = Vec::new();
    for kind in [RecordType::A, RecordType::AAAA] {
        for data in records(resolver, name, kind).await? {
            match data {
                RData::A(a) => found.push(IpAddr::V4(a.0)),
                RData::AAAA(aaaa) => found.push(IpAddr::V6(aaaa.0)),
                _ => {} // the CNAMEs on the way
            }
        }
    }
    Ok(found)
}
