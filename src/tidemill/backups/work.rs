//! Making a backup of this installation, and telling of it.

use crate::{clock::SystemClock, config::Config, wiring};
use backup::{Error, LEFT_OUT, Manifest, Report, Result, Source};
use domain::{UnixMs, backup::Backup, time::Clock};
use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, UdpSocket},
    path::{Path, PathBuf},
    time::Instant,
};
use store::{ReadRows, Sealer, Store, StoreError, tables};

/// What systemd hands to the daemon is there for root, too, as long as that runs.
const CREDENTIAL: &str = "/run/credentials/tidemill.service/master.key";

/// Is there an installation that this user may read?
pub fn check_data(config: &Config) -> Result<()> {
    let dir = &config.data_dir;
    match fs::read_dir(dir.join("store/journal")) {
        Ok(_) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
            Err(Error::Usage(format!("{} may be read by root only; try: sudo tidemill backup create …", dir.display())))
        }
        Err(e) => Err(Error::Usage(format!("there is no installation in {} ({e}); name it with --data-dir", dir.display()))),
    }
}

fn master_key(data: &Path) -> PathBuf {
    let usual = wiring::master_key(data);
    if usual.exists() { usual } else { Some(PathBuf::from(CREDENTIAL)).filter(|file| file.exists()).unwrap_or(usual) }
}

/// Counts the rows that people ask for, and opens every set of config vars: that only works with the right key.
pub fn probe(store: &Store, sealer: &Sealer) -> std::result::Result<BTreeMap<String, u64>, String> {
    let count = || -> std::result::Result<BTreeMap<String, u64>, StoreError> {
        let apps = store.scan(&tables::APPS, &())?;
        let mut configs = 0;
        for app in &apps {
            service::read_config(store, sealer, app.id, app.config_version)
                .map_err(|e| StoreError::Corrupt(format!("config vars of {}: {e:?}", app.name)))?;
            configs += 1;
        }
        let counts = [
            ("apps", apps.len() as u64),
            ("configs", configs),
            ("releases", store.scan(&tables::RELEASES, &())?.len() as u64),
            ("accounts", store.scan(&tables::ACCOUNTS, &())?.len() as u64),
            ("tokens", store.scan(&tables::TOKENS, &())?.len() as u64),
            ("domains", store.scan(&tables::DOMAINS, &())?.len() as u64),
            ("certificates", store.scan(&tables::MANAGED, &())?.len() as u64),
            ("events", store.scan(&tables::EVENTS, &())?.len() as u64),
        ];
        Ok(counts.into_iter().map(|(name, count)| (name.to_string(), count)).collect())
    };
    count().map_err(|e| e.to_string())
}

/// Addresses of this server: as configured, else the one that it would use to speak to the internet. Nothing is sent.
pub fn addresses(config: &Config) -> Vec<IpAddr> {
    if !config.acme.public_addresses.is_empty() {
        return config.acme.public_addresses.clone();
    }
    let route = |own: &str, to: &str| {
        let socket = UdpSocket::bind(own).ok()?;
        socket.connect(to).ok()?;
        Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
    };
    [route("0.0.0.0:0", "192.0.2.1:9"), route("[::]:0", "[2001:db8::1]:9")].into_iter().flatten().collect()
}

/// Makes one, tries it, and remembers what became of it.
pub fn create(config: &Config, to: &Path, passphrase: &str, scheduled: bool) -> Result<Backup> {
    let (began, started) = (SystemClock.now(), Instant::now());
    let source = Source {
        data_dir: config.data_dir.clone(),
        master_key: master_key(&config.data_dir),
        settings: Some(config.file.clone()).filter(|file| file.exists()),
        manifest: Manifest {
            version: env!("CARGO_PKG_VERSION").into(),
            created_ms: began.0,
            domain: config.domain.clone(),
            addresses: addresses(config).iter().map(ToString::to_string).collect(),
            left_out: Vec::new(),
        },
    };
    let made = backup::create(&source, to, passphrase, &probe);
    let mut backup = Backup {
        at: began,
        place: std::path::absolute(to).unwrap_or_else(|_| to.to_path_buf()).display().to_string(),
        scheduled,
        bytes: 0,
        sha256: String::new(),
        millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        apps: 0,
        error: made.as_ref().err().map(ToString::to_string),
    };
    if let Ok(made) = &made {
        backup.bytes = made.file_bytes;
        backup.sha256.clone_from(&made.sha256);
        backup.apps = made.report.counts.get("apps").copied().unwrap_or(0);
    }
    // A full disk may well be why: what is told below says it, too.
    if let Err(e) = backup::remember(&config.data_dir, backup.clone()) {
        eprintln!(" !    The list of backups could not be written: {e}");
    }
    made.map(|_| backup)
}

/// `1.9 GiB`.
#[allow(clippy::cast_precision_loss)] // for people
pub fn size(bytes: u64) -> String {
    match bytes {
        0..0x400 => format!("{bytes} bytes"),
        0x400..0x10_0000 => format!("{:.1} KiB", bytes as f64 / 1024.0),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", bytes as f64 / 1_048_576.0),
        _ => format!("{:.1} GiB", bytes as f64 / 1_073_741_824.0),
    }
}

fn plural(count: u64, word: &str) -> String {
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}

#[allow(clippy::cast_precision_loss)] // for people
fn seconds(millis: u64) -> String {
    format!("{:.1} s", millis as f64 / 1000.0)
}

/// What is said when it is done.
pub fn told(made: &Backup) -> String {
    format!(
        "Backed up {}, {} in {}; verified by a trial restore of the index.\nSHA-256 {}  {}\nNot in it: {}.",
        plural(made.apps, "app"),
        size(made.bytes),
        seconds(made.millis),
        made.sha256,
        made.place,
        LEFT_OUT.iter().filter(|name| **name != "lost+found").copied().collect::<Vec<_>>().join(", "),
    )
}

/// What is in one.
pub fn summary(report: &Report) -> String {
    let count = |name: &str| report.counts.get(name).copied().unwrap_or(0);
    format!(
        "{}, {}, {}, {}; {} in {}; made by version {} for {} at {}",
        plural(count("apps"), "app"),
        plural(count("releases"), "release"),
        plural(count("accounts"), "account"),
        plural(count("tokens"), "token"),
        size(report.sum.bytes),
        plural(report.sum.entries, "entry").replace("entrys", "entries"),
        report.manifest.version,
        report.manifest.domain,
        time(UnixMs(report.manifest.created_ms)),
    )
}

/// RFC 3339, UTC, seconds.
pub fn time(at: UnixMs) -> String {
    wire::time(at.0)
}

/// `backup list`.
pub fn table(all: &[Backup]) -> String {
    if all.is_empty() {
        return "There is no backup yet; make one: tidemill backup create --to FILE\n".into();
    }
    let mut out = String::new();
    for backup in all {
        let what = match &backup.error {
            Some(error) => format!("FAILED: {error}"),
            None => format!("{}, {}, {}", plural(backup.apps, "app"), size(backup.bytes), seconds(backup.millis)),
        };
        let who = if backup.scheduled { "nightly" } else { "by hand" };
        out.push_str(&format!("{}  {who}  {}  {what}\n", time(backup.at), backup.place));
    }
    out
}
