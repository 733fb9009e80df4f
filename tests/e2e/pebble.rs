//! An authority of the test's own: Debian's `pebble` with its name server, all on loopback and on ports of its own.

use crate::{certs::Authority, support::eventually};
use serde_json::json;
use std::{
    fs,
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Ports that were free a moment ago.
pub struct Ports {
    pub directory: u16,
    management: u16,
    pub dns: u16,
    records: u16,
}

impl Ports {
    pub fn find() -> Self {
        let tcp: Vec<_> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let dns = loop {
            let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
            let port = udp.local_addr().unwrap().port();
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                break port;
            }
        };
        let port = |at: usize| tcp[at].local_addr().unwrap().port();
        Self { directory: port(0), management: port(1), dns, records: port(2) }
    }

    /// Flags of a daemon that uses it.
    pub fn flags(&self, dir: &Path) -> Vec<String> {
        [
            "--acme-directory".into(),
            format!("https://127.0.0.1:{}/dir", self.directory),
            "--acme-ca-file".into(),
            dir.join("test-ca.pem").display().to_string(),
            "--dns-servers".into(),
            format!("127.0.0.1:{}", self.dns),
            "--public-addresses".into(),
            "127.0.0.1".into(),
        ]
        .to_vec()
    }
}

/// The running authority; ended when dropped.
pub struct Pebble {
    ports: Ports,
    children: Vec<Child>,
    authority: PathBuf,
    dir: PathBuf,
}

/// False, said in one visible line, where the programs are missing outside of CI.
pub fn pebble_or_skip() -> bool {
    let there = ["pebble", "pebble-challtestsrv"]
        .iter()
        .all(|program| std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|dir| dir.join(program).exists()));
    assert!(there || std::env::var_os("CI").is_none(), "pebble is not here");
    if !there {
        println!("SKIPPED: Debian's pebble is not here; apt-get install pebble");
    }
    there
}

impl Pebble {
    /// `http` and `tls` are the ports that it looks at; `life_s` is how long its certificates are good for.
    pub fn start(dir: &Path, ports: Ports, (http, tls): (u16, u16), life_s: u64, faults: &[(&str, &str)]) -> Self {
        let authority = Authority::new(dir);
        let (chain, key) = authority.issue(&["127.0.0.1"]);
        let file = |name: &str, text: &str| {
            let path = dir.join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let config = json!({ "pebble": {
            "listenAddress": format!("127.0.0.1:{}", ports.directory),
            "managementListenAddress": format!("127.0.0.1:{}", ports.management),
            "certificate": file("pebble.pem", &chain),
            "privateKey": file("pebble.key", &key),
            "httpPort": http,
            "tlsPort": tls,
            "ocspResponderURL": "",
            "externalAccountBindingRequired": false,
            "certificateValidityPeriod": life_s,
        }});
        let config = file("pebble.json", &config.to_string());
        let dns = format!("127.0.0.1:{}", ports.dns);
        let records = format!("127.0.0.1:{}", ports.records);
        let names = ["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", &dns, "-management", &records];
        let off = ["-http01", "", "-https01", "", "-tlsalpn01", ""];
        let log = || Stdio::from(fs::OpenOptions::new().create(true).append(true).open(dir.join("pebble.log")).unwrap());
        let mut children = Vec::new();
        let mut servers = Command::new("pebble-challtestsrv");
        children.push(servers.args(names).args(off).stdout(log()).stderr(log()).spawn().unwrap());
        let mut pebble = Command::new("pebble");
        pebble.args(["-strict", "-config", &config, "-dnsserver", &dns]).env("PEBBLE_VA_NOSLEEP", "1");
        pebble.envs(faults.iter().copied()).stdout(log()).stderr(log());
        children.push(pebble.spawn().unwrap());
        let mut this = Self { ports, children, authority: authority.file, dir: dir.to_path_buf() };
        let root = eventually("pebble answers", || this.get_root());
        fs::write(dir.join("pebble-root.pem"), root).unwrap();
        this.authority = dir.join("test-ca.pem");
        this
    }

    fn get_root(&self) -> Option<Vec<u8>> {
        let url = format!("https://127.0.0.1:{}/roots/0", self.ports.management);
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "--max-time", "5", "--cacert"]).arg(&self.authority).arg(url);
        Some(curl.output().unwrap()).filter(|output| output.status.success()).map(|output| output.stdout)
    }

    /// What visitors trust.
    pub fn root(&self) -> PathBuf {
        self.dir.join("pebble-root.pem")
    }

    /// Tells its name server something, such as `add-a` with `{"host": …, "addresses": […]}`.
    pub fn records(&self, verb: &str, body: &serde_json::Value) {
        let url = format!("http://127.0.0.1:{}/{verb}", self.ports.records);
        let set = Command::new("curl").args(["--silent", "--fail", "--data", &body.to_string(), &url]).status();
        assert!(set.unwrap().success(), "{verb} {body}");
    }

    /// Address of its name server's desk.
    pub fn desk(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.records)
    }

    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("pebble.log")).unwrap()
    }
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
