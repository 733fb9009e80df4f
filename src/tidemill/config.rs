//! Configuration: flags over environment over file over defaults. Every problem is found before the first is told.

use crate::{
    acme::{self, Acme},
    host,
};
use clap::Parser;
use engine::MailTls;
use runtime::native::network::{DEFAULT_SUBNET, DynoNetwork};
use serde::Deserialize;
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Run the platform.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "tidemill serve", version, about = "Run the platform")]
pub struct Flags {
    /// Configuration file (TOML); its keys are the long flags with underscores
    #[arg(long, env = "TIDEMILL_CONFIG")]
    config: Option<PathBuf>,
    /// Where everything is kept [default: /var/lib/tidemill]
    #[arg(long, env = "TIDEMILL_DATA_DIR")]
    data_dir: Option<String>,
    /// Address to listen on [default: 0.0.0.0:80]
    #[arg(long, env = "TIDEMILL_HTTP")]
    http: Option<String>,
    /// Second address for visitors over TLS, such as 0.0.0.0:443; the first one speaks it as well [default: none]
    #[arg(long, env = "TIDEMILL_HTTPS")]
    https: Option<String>,
    /// A further address for git over SSH alone; the main one speaks it too [default: none]
    #[arg(long, env = "TIDEMILL_SSH")]
    ssh: Option<String>,
    /// Platform domain; apps are at APP.DOMAIN [default: localhost]
    #[arg(long, env = "TIDEMILL_DOMAIN")]
    domain: Option<String>,
    /// Driver of dynos: native, or docker (builds run natively all the same) [default: native]
    #[arg(long, env = "TIDEMILL_RUNTIME")]
    runtime: Option<String>,
    /// Socket of the container engine; beside the native driver it runs apps that are images [default: /var/run/docker.sock]
    #[arg(long, env = "TIDEMILL_DOCKER_HOST")]
    docker_host: Option<String>,
    /// Image below the slugs of dynos with runtime = docker; must be made of the system that builds run on [default: none]
    #[arg(long, env = "TIDEMILL_DOCKER_IMAGE")]
    docker_image: Option<String>,
    /// Network of the engine for builds of images, none for none [default: bridge]
    #[arg(long, env = "TIDEMILL_DOCKER_BUILD_NETWORK")]
    docker_build_network: Option<String>,
    /// Seconds after which containers of this platform that nobody knows are removed [default: 600]
    #[arg(long, env = "TIDEMILL_DOCKER_SWEEP_AFTER_S")]
    docker_sweep_after_s: Option<String>,
    /// Only say which containers would be removed: true or false [default: false]
    #[arg(long, env = "TIDEMILL_DOCKER_SWEEP_DRY_RUN")]
    docker_sweep_dry_run: Option<String>,
    /// Network of dynos and builds: own (apart from each other and the host; a must when given) or host [default: own if possible]
    #[arg(long, env = "TIDEMILL_DYNO_NETWORK")]
    dyno_network: Option<String>,
    /// First two numbers of the addresses of dynos, a /16 that nothing else on this network uses [default: 10.209]
    #[arg(long, env = "TIDEMILL_DYNO_SUBNET")]
    dyno_subnet: Option<String>,
    /// Further ports of this server that dynos may reach, such as those of a TLS proxy: 80,443 [default: none]
    #[arg(long, env = "TIDEMILL_PUBLIC_PORTS")]
    public_ports: Option<String>,
    /// Write an API token for automation to this file (mode 0600)
    #[arg(long, env = "TIDEMILL_ADMIN_TOKEN_FILE")]
    admin_token_file: Option<String>,
    /// Seconds for a web dyno to accept on $PORT [default: 60]
    #[arg(long, env = "TIDEMILL_BOOT_TIMEOUT_S")]
    boot_timeout_s: Option<String>,
    /// Seconds for a build [default: 900]
    #[arg(long, env = "TIDEMILL_BUILD_TIMEOUT_S")]
    build_timeout_s: Option<String>,
    /// MiB of memory for a build [default: 2048]
    #[arg(long, env = "TIDEMILL_BUILD_MEMORY_MB")]
    build_memory_mb: Option<String>,
    /// Builds at the same time [default: 2]
    #[arg(long, env = "TIDEMILL_BUILDS_AT_ONCE")]
    builds_at_once: Option<String>,
    /// MiB of the largest push [default: 1024]
    #[arg(long, env = "TIDEMILL_PUSH_MB_MAX")]
    push_mb_max: Option<String>,
    /// MiB of the largest source tree, unpacked [default: 2048]
    #[arg(long, env = "TIDEMILL_TREE_MB_MAX")]
    tree_mb_max: Option<String>,
    /// Seconds to wait before start 1, 2, 3 … of a dyno that crashes [default: 0,1200,2400,3600,10800,19200]
    #[arg(long, env = "TIDEMILL_CRASH_BACKOFF_S")]
    crash_backoff_s: Option<String>,
    /// Seconds after which a dyno is replaced, a random part of up to 15 % on top; 0: never [default: 86400]
    #[arg(long, env = "TIDEMILL_CYCLE_AFTER_S")]
    cycle_after_s: Option<String>,
    /// MiB that must stay free on the disk: with less, the dyno that wrote most is ended; 0: never [default: 256]
    #[arg(long, env = "TIDEMILL_DISK_RESERVE_MB")]
    disk_reserve_mb: Option<String>,
    /// Seconds for a release phase [default: 3600]
    #[arg(long, env = "TIDEMILL_RELEASE_TIMEOUT_S")]
    release_timeout_s: Option<String>,
    /// Seconds without a request after which an app with Eco web dynos sleeps; 0: never [default: 1800]
    #[arg(long, env = "TIDEMILL_SLEEP_AFTER_S")]
    sleep_after_s: Option<String>,
    /// Seconds from a release on for which the old web dynos of an app with preboot serve [default: 180]
    #[arg(long, env = "TIDEMILL_PREBOOT_HOLD_S")]
    preboot_hold_s: Option<String>,
    /// MiB of memory of this host for dynos; 0: no limit [default: its memory and swap]
    #[arg(long, env = "TIDEMILL_CAPACITY_MB")]
    capacity_mb: Option<String>,
    /// So much of it, in percent, may be promised to dynos, which seldom use all of their quota [default: 200]
    #[arg(long, env = "TIDEMILL_OVERCOMMIT_PERCENT")]
    overcommit_percent: Option<String>,
    /// Dynos that boot at the same time, as after a reboot of this host [default: 2 for each processor, at least 4]
    #[arg(long, env = "TIDEMILL_STARTS_AT_ONCE")]
    starts_at_once: Option<String>,
    /// API calls that an account has in an hour, all at once if it likes [default: 100000]
    #[arg(long, env = "TIDEMILL_RATE_LIMIT_PER_HOUR")]
    rate_limit_per_hour: Option<String>,
    /// Let builds fetch sources and buildpack archives from private addresses: true or false [default: false]
    #[arg(long, env = "TIDEMILL_ALLOW_PRIVATE_SOURCES")]
    allow_private_sources: Option<String>,
    /// Let webhooks and log drains lead to private addresses: true or false [default: false]
    #[arg(long, env = "TIDEMILL_ALLOW_PRIVATE_TARGETS")]
    allow_private_targets: Option<String>,
    /// Seconds between looks at what dynos and the host use, and between the lines of log-runtime-metrics [default: 20]
    #[arg(long, env = "TIDEMILL_METRICS_EVERY_S")]
    metrics_every_s: Option<String>,
    /// Mail server for notices, HOST:PORT [default: none]
    #[arg(long, env = "TIDEMILL_SMTP")]
    smtp: Option<String>,
    /// How it is spoken to: starttls, tls (from the first byte) or none [default: starttls]
    #[arg(long, env = "TIDEMILL_SMTP_TLS")]
    smtp_tls: Option<String>,
    /// Name to sign in to it with [default: none]
    #[arg(long, env = "TIDEMILL_SMTP_USER")]
    smtp_user: Option<String>,
    /// File with the password for it [default: none]
    #[arg(long, env = "TIDEMILL_SMTP_PASSWORD_FILE")]
    smtp_password_file: Option<String>,
    /// Sender of mails [default: tidemill@ the platform domain]
    #[arg(long, env = "TIDEMILL_MAIL_FROM")]
    mail_from: Option<String>,
    /// File of certificate authorities (PEM) that log drains trust besides those of the system [default: none]
    #[arg(long, env = "TIDEMILL_DRAIN_CA_FILE")]
    drain_ca_file: Option<String>,
    /// Directory (URL) of the authority that certificates are ordered from [default: Let's Encrypt]
    #[arg(long, env = "TIDEMILL_ACME_DIRECTORY")]
    acme_directory: Option<String>,
    /// Order certificates for trying out, which nobody trusts, from Let's Encrypt: true or false [default: false]
    #[arg(long, env = "TIDEMILL_ACME_STAGING")]
    acme_staging: Option<String>,
    /// File of certificate authorities (PEM) that stand for the directory [default: those of the system]
    #[arg(long, env = "TIDEMILL_ACME_CA_FILE")]
    acme_ca_file: Option<String>,
    /// E-mail that the authority may write to [default: none]
    #[arg(long, env = "TIDEMILL_ACME_EMAIL")]
    acme_email: Option<String>,
    /// Ways to prove a name, the best first: http-01, tls-alpn-01, dns-01 [default: http-01,tls-alpn-01,dns-01]
    #[arg(long, env = "TIDEMILL_ACME_METHODS")]
    acme_methods: Option<String>,
    /// Program that is run as HOOK add|remove NAME RECORD TEXT, for dns-01 and wildcards [default: none]
    #[arg(long, env = "TIDEMILL_ACME_DNS_HOOK")]
    acme_dns_hook: Option<String>,
    /// Seconds between tries, with commas [default: for DNS 5,5,10,... and for the authority 60,600,3600,...]
    #[arg(long, env = "TIDEMILL_ACME_BACKOFF_S")]
    acme_backoff_s: Option<String>,
    /// Names and addresses of the platform itself that are to have certificates [default: its names, if public, on port 80]
    #[arg(long, env = "TIDEMILL_ACME_NAMES")]
    acme_names: Option<String>,
    /// Addresses at which this server is reached, with commas [default: those that its domain has in DNS]
    #[arg(long, env = "TIDEMILL_PUBLIC_ADDRESSES")]
    public_addresses: Option<String>,
    /// Name servers that are asked before certificates are ordered, with ports and commas [default: those of this host]
    #[arg(long, env = "TIDEMILL_DNS_SERVERS")]
    dns_servers: Option<String>,
    /// Days that log lines are kept [default: 7]
    #[arg(long, env = "TIDEMILL_LOG_KEEP_DAYS")]
    log_keep_days: Option<String>,
    /// Disk for the log of one app, compressed [default: 256]
    #[arg(long, env = "TIDEMILL_LOG_APP_MB")]
    log_app_mb: Option<String>,
    /// Disk for the logs of all apps, compressed [default: 8192]
    #[arg(long, env = "TIDEMILL_LOG_HOST_MB")]
    log_host_mb: Option<String>,
    /// Make a backup every night: true or false [default: true]
    #[arg(long, env = "TIDEMILL_BACKUP_NIGHTLY")]
    backup_nightly: Option<String>,
    /// Hour of the day, UTC, in which it is made [default: 3]
    #[arg(long, env = "TIDEMILL_BACKUP_HOUR")]
    backup_hour: Option<String>,
    /// So many nightly backups are kept in their folder [default: 7]
    #[arg(long, env = "TIDEMILL_BACKUP_KEEP")]
    backup_keep: Option<String>,
    /// Folder of nightly backups [default: backups in the data directory]
    #[arg(long, env = "TIDEMILL_BACKUP_DIR")]
    backup_dir: Option<String>,
    /// File with the passphrase of backups [default: keys/backup.passphrase in the data directory, made when missing]
    #[arg(long, env = "TIDEMILL_BACKUP_PASSPHRASE_FILE")]
    backup_passphrase_file: Option<String>,
    /// Stop all dynos when the daemon ends: true or false; without it they live on and are taken back [default: false]
    #[arg(long, env = "TIDEMILL_STOP_DYNOS")]
    stop_dynos: Option<String>,
    /// Seconds for requests in flight at the end [default: 30]
    #[arg(long, env = "TIDEMILL_SHUTDOWN_S")]
    shutdown_s: Option<String>,
}

/// The same keys in the file; values as text or number.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileValues {
    data_dir: Option<toml::Value>,
    http: Option<toml::Value>,
    https: Option<toml::Value>,
    ssh: Option<toml::Value>,
    domain: Option<toml::Value>,
    runtime: Option<toml::Value>,
    docker_host: Option<toml::Value>,
    docker_image: Option<toml::Value>,
    docker_build_network: Option<toml::Value>,
    docker_sweep_after_s: Option<toml::Value>,
    docker_sweep_dry_run: Option<toml::Value>,
    dyno_network: Option<toml::Value>,
    dyno_subnet: Option<toml::Value>,
    public_ports: Option<toml::Value>,
    admin_token_file: Option<toml::Value>,
    boot_timeout_s: Option<toml::Value>,
    build_timeout_s: Option<toml::Value>,
    build_memory_mb: Option<toml::Value>,
    builds_at_once: Option<toml::Value>,
    push_mb_max: Option<toml::Value>,
    tree_mb_max: Option<toml::Value>,
    crash_backoff_s: Option<toml::Value>,
    cycle_after_s: Option<toml::Value>,
    disk_reserve_mb: Option<toml::Value>,
    release_timeout_s: Option<toml::Value>,
    sleep_after_s: Option<toml::Value>,
    preboot_hold_s: Option<toml::Value>,
    capacity_mb: Option<toml::Value>,
    overcommit_percent: Option<toml::Value>,
    starts_at_once: Option<toml::Value>,
    rate_limit_per_hour: Option<toml::Value>,
    allow_private_sources: Option<toml::Value>,
    allow_private_targets: Option<toml::Value>,
    metrics_every_s: Option<toml::Value>,
    smtp: Option<toml::Value>,
    smtp_tls: Option<toml::Value>,
    smtp_user: Option<toml::Value>,
    smtp_password_file: Option<toml::Value>,
    mail_from: Option<toml::Value>,
    drain_ca_file: Option<toml::Value>,
    acme_directory: Option<toml::Value>,
    acme_staging: Option<toml::Value>,
    acme_ca_file: Option<toml::Value>,
    acme_email: Option<toml::Value>,
    acme_methods: Option<toml::Value>,
    acme_dns_hook: Option<toml::Value>,
    acme_backoff_s: Option<toml::Value>,
    acme_names: Option<toml::Value>,
    public_addresses: Option<toml::Value>,
    dns_servers: Option<toml::Value>,
    log_keep_days: Option<toml::Value>,
    log_app_mb: Option<toml::Value>,
    log_host_mb: Option<toml::Value>,
    backup_nightly: Option<toml::Value>,
    backup_hour: Option<toml::Value>,
    backup_keep: Option<toml::Value>,
    backup_dir: Option<toml::Value>,
    backup_passphrase_file: Option<toml::Value>,
    stop_dynos: Option<toml::Value>,
    shutdown_s: Option<toml::Value>,
}

/// What runs dynos.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Driver {
    Native,
    Docker,
}

/// Checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Config {
    pub data_dir: PathBuf,
    pub http: SocketAddr,
    pub https: Option<SocketAddr>,
    pub ssh: Option<SocketAddr>,
    pub domain: String,
    /// The file with the settings, be it there or not.
    pub file: PathBuf,
    /// The domain was given by flag or environment, which win over the file.
    pub domain_is_fixed: bool,
    pub driver: Driver,
    pub docker_host: PathBuf,
    pub docker_image: Option<String>,
    pub docker_build_network: String,
    pub docker_sweep_after_s: u64,
    pub docker_sweep_dry_run: bool,
    pub dyno_network: DynoNetwork,
    pub public_ports: Vec<u16>,
    pub admin_token_file: Option<PathBuf>,
    pub boot_timeout_s: u64,
    pub build_timeout_s: u64,
    pub build_memory_mb: u64,
    pub builds_at_once: usize,
    pub push_mb_max: u64,
    pub tree_mb_max: u64,
    pub crash_backoff_s: Option<Vec<u64>>,
    pub cycle_after_s: u64,
    pub disk_reserve_mb: u64,
    pub release_timeout_s: u64,
    pub sleep_after_s: u64,
    pub preboot_hold_s: u64,
    pub capacity_mb: u64,
    pub overcommit_percent: u64,
    pub starts_at_once: usize,
    pub rate_limit_per_hour: u32,
    pub allow_private_sources: bool,
    pub allow_private_targets: bool,
    pub metrics_every_s: u64,
    pub smtp: Option<(String, u16)>,
    pub smtp_tls: MailTls,
    pub smtp_user: Option<String>,
    pub smtp_password_file: Option<PathBuf>,
    pub mail_from: Option<String>,
    pub drain_ca_file: Option<PathBuf>,
    pub acme: Acme,
    pub log_keep_days: u64,
    pub log_app_mb: u64,
    pub log_host_mb: u64,
    pub backup_nightly: bool,
    pub backup_hour: u64,
    pub backup_keep: usize,
    pub backup_dir: Option<PathBuf>,
    pub backup_passphrase_file: Option<PathBuf>,
    pub stop_dynos: bool,
    pub shutdown_s: u64,
}

const DEFAULT_FILE: &str = "/etc/tidemill/tidemill.toml";

/// Where settings and data are.
#[derive(Debug, Default, clap::Args)]
pub struct Places {
    /// Configuration file of the daemon [default: /etc/tidemill/tidemill.toml]
    #[arg(long, env = "TIDEMILL_CONFIG")]
    config: Option<PathBuf>,
    /// Where the daemon keeps everything [default: /var/lib/tidemill]
    #[arg(long, env = "TIDEMILL_DATA_DIR")]
    data_dir: Option<String>,
}

impl Places {
    /// For a daemon with nothing else said.
    pub fn flags(self) -> Flags {
        Flags { config: self.config, data_dir: self.data_dir, ..Flags::default() }
    }
}

impl Config {
    /// Bytes that may be promised to dynos; `None` for no limit.
    pub fn capacity_bytes(&self) -> Option<u64> {
        let bytes = (self.capacity_mb << 20).saturating_mul(self.overcommit_percent) / 100;
        (bytes > 0).then_some(bytes)
    }
}

/// Collects problems while values are read.
struct Reader {
    problems: Vec<String>,
}

impl Reader {
    fn parsed<T>(&mut self, key: &str, value: Option<String>, default: T, check: impl Fn(&str) -> Result<T, String>) -> T {
        let Some(text) = value else { return default };
        check(text.trim()).unwrap_or_else(|why| {
            self.problems.push(format!("{key} = {text:?}: {why}"));
            default
        })
    }

    fn number(&mut self, key: &str, value: Option<String>, default: u64, from: u64, to: u64) -> u64 {
        self.parsed(key, value, default, |text| {
            let number = text.parse::<u64>().ok().filter(|n| (from..=to).contains(n));
            number.ok_or_else(|| format!("must be a number from {from} to {to}"))
        })
    }

    /// A number of things at the same time, at least 4 when nothing is said.
    fn count(&mut self, key: &str, value: Option<String>, default: usize) -> usize {
        let default = default.max(4);
        usize::try_from(self.number(key, value, default as u64, 1, 10_000)).unwrap_or(default)
    }

    fn switch(&mut self, key: &str, value: Option<String>) -> bool {
        self.parsed(key, value, false, |text| match text {
            "true" | "1" | "yes" => Ok(true),
            "false" | "0" | "no" => Ok(false),
            _ => Err("must be true or false".into()),
        })
    }
}

fn text(value: Option<toml::Value>) -> Option<String> {
    match value? {
        toml::Value::String(text) => Some(text),
        toml::Value::Array(items) => Some(items.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
        other => Some(other.to_string()),
    }
}

fn read_file(path: Option<&Path>, problems: &mut Vec<String>) -> FileValues {
    let (path, named) = path.map_or((Path::new(DEFAULT_FILE), false), |p| (p, true));
    match std::fs::read_to_string(path) {
        Ok(content) => toml::from_str(&content).unwrap_or_else(|e| {
            problems.push(format!("{}: {}", path.display(), e.to_string().trim()));
            FileValues::default()
        }),
        Err(e) if named || e.kind() != std::io::ErrorKind::NotFound => {
            problems.push(format!("{}: {e}", path.display()));
            FileValues::default()
        }
        Err(_) => FileValues::default(),
    }
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("must not be empty".to_string()) } else { Ok(PathBuf::from(text)) }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "must be an address with a port, such as 127.0.0.1:8080".to_string())
}

fn host_name(text: &str) -> Result<String, String> {
    let normal = domain::names::normal_host(text).filter(|n| n == text && !text.starts_with('.') && !text.contains(':'));
    normal.ok_or_else(|| "must be a host name in lower case, such as paas.example.com".to_string())
}

/// Numbers with commas between.
fn list<T: std::str::FromStr>(text: &str) -> Result<Vec<T>, String> {
    let all: Result<Vec<T>, _> = text.split(',').map(|n| n.trim().parse()).collect();
    all.map_err(|_| "must be numbers with commas between".to_string())
}

fn driver(text: &str) -> Result<Driver, String> {
    match text {
        "native" => Ok(Driver::Native),
        "docker" => Ok(Driver::Docker),
        _ => Err("must be native or docker".into()),
    }
}

fn host_port(text: &str) -> Result<(String, u16), String> {
    let parts = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let found = parts.and_then(|(host, port)| Some((host.to_string(), port.parse().ok()?)));
    found.ok_or_else(|| "must be a host and a port, such as mail.example.com:587".to_string())
}

fn mail_tls(text: &str) -> Result<MailTls, String> {
    match text {
        "starttls" => Ok(MailTls::Starttls),
        "tls" => Ok(MailTls::Tls),
        "none" => Ok(MailTls::None),
        _ => Err("must be starttls, tls or none".into()),
    }
}

fn first_numbers(text: &str) -> Result<[u8; 2], String> {
    let numbers = text.split_once('.').and_then(|(first, second)| Some([first.parse().ok()?, second.parse().ok()?]));
    numbers.ok_or_else(|| "must be two numbers, such as 10.209".to_string())
}

fn network_name(text: &str) -> Result<String, String> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    // The host's own would lead builds to everything that listens on the loopback.
    if text.is_empty() || text == "host" || text.contains(':') || !text.bytes().all(good) {
        return Err("must be the name of a network of the engine, other than host".into());
    }
    Ok(text.to_string())
}

fn socket_path(text: &str) -> Result<PathBuf, String> {
    match text.strip_prefix("unix://").unwrap_or(text) {
        socket if socket.starts_with('/') => Ok(PathBuf::from(socket)),
        _ => Err("must be the path of a socket on this host".into()),
    }
}

fn image_name(text: &str) -> Result<Option<String>, String> {
    if text.is_empty() { Err("must not be empty".into()) } else { Ok(Some(text.to_string())) }
}

/// Reads everything; all problems at once.
pub fn read(flags: Flags) -> Result<Config, Vec<String>> {
    let mut reader = Reader { problems: Vec::new() };
    let file = read_file(flags.config.as_deref(), &mut reader.problems);
    // A key is spelled once: it names the flag, the key of the file, and the problem.
    macro_rules! given {
        ($key:ident) => {
            flags.$key.or(text(file.$key))
        };
    }
    macro_rules! parsed {
        ($key:ident, $default:expr, $check:expr $(,)?) => {
            reader.parsed(stringify!($key), given!($key), $default, $check)
        };
    }
    macro_rules! number {
        ($key:ident, $default:expr, $from:expr, $to:expr) => {
            reader.number(stringify!($key), given!($key), $default, $from, $to)
        };
    }
    macro_rules! switch {
        ($key:ident) => {
            reader.switch(stringify!($key), given!($key))
        };
    }
    let subnet = parsed!(dyno_subnet, DEFAULT_SUBNET, first_numbers);
    let dyno_network = |text: &str| match text {
        "own" => Ok(DynoNetwork::Own { subnet, required: true }),
        "host" => Ok(DynoNetwork::Host),
        _ => Err("must be own or host".into()),
    };
    let config = Config {
        file: flags.config.clone().unwrap_or_else(|| DEFAULT_FILE.into()),
        domain_is_fixed: flags.domain.is_some(),
        driver: parsed!(runtime, Driver::Native, driver),
        docker_host: parsed!(docker_host, "/var/run/docker.sock".into(), socket_path),
        docker_image: parsed!(docker_image, None, image_name),
        docker_build_network: parsed!(docker_build_network, "bridge".to_string(), network_name),
        docker_sweep_after_s: number!(docker_sweep_after_s, 600, 1, 1 << 32),
        docker_sweep_dry_run: switch!(docker_sweep_dry_run),
        dyno_network: parsed!(dyno_network, DynoNetwork::Own { subnet, required: false }, dyno_network,),
        public_ports: parsed!(public_ports, Vec::new(), list),
        data_dir: parsed!(data_dir, "/var/lib/tidemill".into(), path),
        http: parsed!(http, SocketAddr::from(([0, 0, 0, 0], 80)), address),
        https: parsed!(https, None, |text| address(text).map(Some)),
        ssh: parsed!(ssh, None, |text| address(text).map(Some)),
        domain: parsed!(domain, "localhost".into(), host_name),
        admin_token_file: parsed!(admin_token_file, None, |t| path(t).map(Some),),
        boot_timeout_s: number!(boot_timeout_s, 60, 1, 3600),
        build_timeout_s: number!(build_timeout_s, 900, 1, 86_400),
        build_memory_mb: number!(build_memory_mb, 2048, 64, 1 << 20),
        builds_at_once: usize::try_from(number!(builds_at_once, 2, 1, 100)).unwrap_or(2),
        push_mb_max: number!(push_mb_max, 1024, 1, 1 << 20),
        tree_mb_max: number!(tree_mb_max, 2048, 1, 1 << 20),
        crash_backoff_s: parsed!(crash_backoff_s, None, |text| list(text).map(Some)),
        release_timeout_s: number!(release_timeout_s, 3600, 1, 86_400),
        disk_reserve_mb: number!(disk_reserve_mb, 256, 0, 1 << 32),
        cycle_after_s: number!(cycle_after_s, 86_400, 0, 1 << 32),
        sleep_after_s: number!(sleep_after_s, 1800, 0, 1 << 32),
        preboot_hold_s: number!(preboot_hold_s, 180, 0, 86_400),
        capacity_mb: number!(capacity_mb, host::memory_bytes() >> 20, 0, 1 << 32),
        overcommit_percent: number!(overcommit_percent, 200, 10, 10_000),
        starts_at_once: reader.count("starts_at_once", flags.starts_at_once.or(text(file.starts_at_once)), 2 * host::cores()),
        rate_limit_per_hour: u32::try_from(number!(rate_limit_per_hour, 100_000, 60, 1 << 30)).unwrap_or(100_000),
        allow_private_sources: switch!(allow_private_sources),
        allow_private_targets: switch!(allow_private_targets),
        metrics_every_s: number!(metrics_every_s, 20, 1, 60),
        smtp: parsed!(smtp, None, |text| host_port(text).map(Some)),
        smtp_tls: parsed!(smtp_tls, MailTls::Starttls, mail_tls),
        smtp_user: parsed!(smtp_user, None, |text| Ok(Some(text.to_string()))),
        smtp_password_file: parsed!(smtp_password_file, None, |t| path(t).map(Some)),
        mail_from: parsed!(mail_from, None, |text| {
            if text.contains('@') { Ok(Some(text.to_string())) } else { Err("must be an e-mail address".into()) }
        }),
        drain_ca_file: parsed!(drain_ca_file, None, |t| path(t).map(Some)),
        acme: Acme {
            directory: parsed!(acme_directory, None, |t| acme::directory(t).map(Some)),
            staging: switch!(acme_staging),
            ca_file: parsed!(acme_ca_file, None, |t| path(t).map(Some)),
            email: parsed!(acme_email, None, |t| acme::email(t).map(Some)),
            methods: parsed!(acme_methods, acme::METHODS.to_vec(), acme::methods),
            dns_hook: parsed!(acme_dns_hook, None, |t| acme::program(t).map(Some)),
            backoff_s: parsed!(acme_backoff_s, None, |t| list(t).map(Some)),
            names: parsed!(acme_names, None, |t| acme::names(t).map(Some)),
            public_addresses: parsed!(public_addresses, Vec::new(), acme::each),
            dns_servers: parsed!(dns_servers, Vec::new(), acme::each),
        },
        log_keep_days: number!(log_keep_days, 7, 1, 3650),
        log_app_mb: number!(log_app_mb, 256, 1, 1 << 24),
        log_host_mb: number!(log_host_mb, 8192, 1, 1 << 24),
        backup_nightly: given!(backup_nightly).is_none_or(|text| reader.switch("backup_nightly", Some(text))),
        backup_hour: number!(backup_hour, 3, 0, 23),
        backup_keep: usize::try_from(number!(backup_keep, 7, 1, 10_000)).unwrap_or(7),
        backup_dir: parsed!(backup_dir, None, |t| path(t).map(Some)),
        backup_passphrase_file: parsed!(backup_passphrase_file, None, |t| path(t).map(Some)),
        stop_dynos: switch!(stop_dynos),
        shutdown_s: number!(shutdown_s, 30, 0, 3600),
    };
    if reader.problems.is_empty() { Ok(config) } else { Err(reader.problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_problems_come_at_once_and_flags_win_over_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.toml");
        std::fs::write(&file, "domain = \"a.example\"\nboot_timeout_s = 5\ncrash_backoff_s = [1, 2]\n").unwrap();
        let flags = Flags { config: Some(file.clone()), domain: Some("b.example".into()), ..Flags::default() };
        let config = read(flags).unwrap();
        assert_eq!((config.domain.as_str(), config.boot_timeout_s), ("b.example", 5));
        assert_eq!(config.crash_backoff_s, Some(vec![1, 2]));
        std::fs::write(&file, "unknown = 1\n").unwrap();
        let flags = Flags {
            config: Some(file),
            http: Some("nowhere".into()),
            ssh: Some("22".into()),
            domain: Some("Bad Domain".into()),
            boot_timeout_s: Some("0".into()),
            runtime: Some("magic".into()),
            ..Flags::default()
        };
        let problems = read(flags).unwrap_err();
        assert_eq!(problems.len(), 6, "{problems:?}");
    }
}
