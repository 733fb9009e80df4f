//! Managed certificates against a real authority: ways to prove, DNS that is wrong, faults, kills, renewals, many domains.

use crate::{
    certs::{subject, visit},
    metrics::web_app,
    pebble::{Pebble, Ports, pebble_or_skip},
    schema::check,
    support::{Platform, eventually, root_or_skip},
};
use serde_json::{Value, json};
use std::{collections::HashSet, path::Path, process::Command, time::Instant};

/// Longer than any test.
const LONG: u64 = 90 * 24 * 3600;

/// A platform and its authority, which looks at the platform's port for both ways.
fn start(extra: &[&str], life_s: u64, faults: &[(&str, &str)]) -> (Platform, Pebble, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::find();
    let flags = ports.flags(dir.path());
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(extra.iter().copied()).collect();
    let platform = Platform::start_with(&flags);
    let port = platform.port;
    let pebble = Pebble::start(dir.path(), ports, (port, port), life_s, faults);
    (platform, pebble, dir)
}

fn add(platform: &Platform, app: &str, host: &str) {
    let answer = platform.api("POST", &format!("/apps/{app}/domains"), Some(json!({ "hostname": host, "sni_endpoint": null })));
    assert_eq!(answer.status, 201, "{}", answer.text);
}

fn domain(platform: &Platform, app: &str, host: &str) -> Value {
    platform.api("GET", &format!("/apps/{app}/domains/{host}"), None).json()
}

fn enable(platform: &Platform, app: &str) {
    assert_eq!(platform.api("POST", &format!("/apps/{app}/acm"), Some(json!({}))).status, 200);
}

/// Waits for a word; the reason with it.
fn word(platform: &Platform, host: &str, word: &str) -> String {
    let seen = std::cell::RefCell::new(Value::Null);
    eventually(&format!("{host} is {word}"), || {
        *seen.borrow_mut() = domain(platform, "shop", host);
        (seen.borrow()["acm_status"] == word).then_some(())
    });
    seen.borrow()["acm_status_reason"].as_str().unwrap_or_default().to_string()
}

/// Orders that the authority was asked for.
fn orders(pebble: &Pebble) -> usize {
    pebble.log().matches("Added order").count()
}

/// Serial number of the certificate that answers.
fn serial(platform: &Platform, host: &str) -> String {
    let args = ["s_client", "-connect", &format!("127.0.0.1:{}", platform.port), "-servername", host];
    let shown = Command::new("openssl").args(args).stdin(std::process::Stdio::null()).output().unwrap().stdout;
    let mut parse = Command::new("openssl");
    parse.args(["x509", "-noout", "-serial"]).stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
    let mut child = parse.spawn().unwrap();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), &shown).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn a_domain_gets_its_certificate_and_keeps_it() {
    if !pebble_or_skip() {
        return;
    }
    let (mut platform, pebble, _dir) =
        start(&["--acme-names", "127.0.0.1", "--acme-backoff-s", "1,1,1,1,1,1,1,1,1,1"], LONG, &[]);
    platform.create("shop");
    add(&platform, "shop", "www.shop.test");
    assert_eq!(domain(&platform, "shop", "www.shop.test")["acm_status"], Value::Null, "it is off");
    assert!(visit(&platform, &pebble.root(), "www.shop.test").is_none());
    enable(&platform, "shop");
    assert_eq!(word(&platform, "www.shop.test", "cert issued"), "");
    eventually("it answers", || visit(&platform, &pebble.root(), "www.shop.test"));
    check("domain", &domain(&platform, "shop", "www.shop.test"));
    // Clients see all managed ones as one certificate, which can not be taken away like an uploaded one.
    let endpoints = platform.api("GET", "/apps/shop/sni-endpoints", None).json();
    check("sni-endpoint", &endpoints[0]);
    assert_eq!((&endpoints[0]["ssl_cert"]["acm"], endpoints.as_array().unwrap().len()), (&json!(true), 1));
    assert_eq!(endpoints[0]["ssl_cert"]["cert_domains"], json!(["www.shop.test"]));
    let shown = domain(&platform, "shop", "www.shop.test");
    assert_eq!(shown["sni_endpoint"]["name"], endpoints[0]["name"]);
    let path = format!("/apps/shop/sni-endpoints/{}", endpoints[0]["name"].as_str().unwrap());
    assert_eq!(platform.api("DELETE", &path, None).status, 422);
    add(&platform, "shop", "two.shop.test");
    word(&platform, "two.shop.test", "cert issued");
    let listed = platform.api("GET", "/apps/shop/sni-endpoints", None).json();
    assert_eq!(listed[0]["domains"].as_array().map(Vec::len), Some(2), "{listed}");
    // The address of the host itself, for whoever names nobody.
    let bare = || {
        Command::new("curl")
            .args(["--silent", "--max-time", "20", "--cacert"])
            .arg(pebble.root())
            .arg(format!("https://127.0.0.1:{}/", platform.port))
            .status()
    };
    eventually("the address has one", || bare().unwrap().success().then_some(()));
    // Neither a kill, nor off and on again, nor removing and adding asks for another one.
    let (before, count) = (serial(&platform, "www.shop.test"), orders(&pebble));
    platform.signal("KILL");
    platform.wait_end();
    platform.boot();
    eventually("it answers again", || visit(&platform, &pebble.root(), "www.shop.test"));
    assert_eq!(platform.api("DELETE", "/apps/shop/acm", None).status, 200);
    eventually("off", || visit(&platform, &pebble.root(), "www.shop.test").is_none().then_some(()));
    assert_eq!(platform.api("GET", "/apps/shop/sni-endpoints", None).json(), json!([]));
    enable(&platform, "shop");
    eventually("on", || visit(&platform, &pebble.root(), "www.shop.test"));
    assert_eq!(platform.api("DELETE", "/apps/shop/domains/www.shop.test", None).status, 200);
    // Another app takes it over, and with it the state.
    platform.create("other");
    enable(&platform, "other");
    eventually("gone", || visit(&platform, &pebble.root(), "www.shop.test").is_none().then_some(()));
    add(&platform, "other", "www.shop.test");
    eventually("moved", || visit(&platform, &pebble.root(), "www.shop.test"));
    assert_eq!(domain(&platform, "other", "www.shop.test")["acm_status"], "cert issued");
    assert_eq!((serial(&platform, "www.shop.test"), orders(&pebble)), (before, count));
    // An uploaded one wins.
    let own = crate::certs::Authority::new(platform.dir.path()).issue(&["www.shop.test"]);
    let body = json!({ "certificate_chain": own.0, "private_key": own.1 });
    assert_eq!(platform.api("POST", "/apps/other/sni-endpoints", Some(body)).status, 201);
    eventually("the uploaded one answers", || {
        subject(&platform, "www.shop.test")
            .contains("www.shop.test")
            .then(|| visit(&platform, &pebble.root(), "www.shop.test").is_none().then_some(()))
            .flatten()
    });
}

#[test]
fn an_app_that_served_has_a_certificate_for_its_name_here_and_is_shown_with_https() {
    if !pebble_or_skip() || !root_or_skip("running dynos") {
        return;
    }
    let (platform, pebble, _dir) =
        start(&["--domain", "paas.test", "--acme-names", "paas.test", "--acme-backoff-s", "1,1,1,1,1,1,1,1"], LONG, &[]);
    platform.create("shop");
    platform.create("idle");
    let url = |app: &str| platform.api("GET", &format!("/apps/{app}"), None).json()["web_url"].as_str().unwrap().to_string();
    assert_eq!(url("shop"), format!("http://shop.paas.test:{}/", platform.port));
    web_app().deploy(&platform, "shop");
    let body = eventually("it answers", || visit(&platform, &pebble.root(), "shop.paas.test"));
    assert!(!body.is_empty());
    assert_eq!(url("shop"), format!("https://shop.paas.test:{}/", platform.port));
    // Nothing is asked for an app that never served.
    eventually("the platform's own", || {
        pebble.log().contains("for paas.test").then_some(()).or(visit(&platform, &pebble.root(), "paas.test").map(drop))
    });
    assert_eq!((url("idle"), orders(&pebble)), (format!("http://idle.paas.test:{}/", platform.port), 2));
    // Its new name gets one of its own.
    let renamed = platform.api("PATCH", "/apps/shop", Some(json!({ "name": "store" })));
    assert_eq!(renamed.status, 200, "{}", renamed.text);
    eventually("the new name answers", || visit(&platform, &pebble.root(), "store.paas.test"));
    assert!(visit(&platform, &pebble.root(), "shop.paas.test").is_none(), "nobody has the old name");
}

#[test]
fn what_dns_says_is_told_in_plain_words_and_mended_without_help() {
    if !pebble_or_skip() {
        return;
    }
    let (platform, pebble, _dir) = start(&["--acme-backoff-s", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1"], LONG, &[]);
    platform.create("shop");
    let a = |host: &str, address: &str| pebble.records("add-a", &json!({ "host": host, "addresses": [address] }));
    a("away.shop.test", "192.0.2.7");
    pebble.records("add-aaaa", &json!({ "host": "stray.shop.test", "addresses": ["2001:db8::7"] }));
    pebble.records("add-caa", &json!({ "host": "caa.shop.test", "policies": [{ "tag": "issue", "value": ";" }] }));
    enable(&platform, "shop");
    for host in ["away.shop.test", "stray.shop.test", "caa.shop.test", "*.wild.test", "good.shop.test"] {
        add(&platform, "shop", host);
    }
    assert!(word(&platform, "away.shop.test", "failing").contains("leads to 192.0.2.7, not to this server (127.0.0.1)"));
    assert!(word(&platform, "stray.shop.test", "failing").contains("stray AAAA"));
    assert!(word(&platform, "caa.shop.test", "failing").contains("CAA forbids"));
    assert!(word(&platform, "*.wild.test", "failed").contains("proven in DNS"));
    word(&platform, "good.shop.test", "cert issued");
    assert_eq!(orders(&pebble), 1, "nothing was asked for those that can not be");
    pebble.records("clear-a", &json!({ "host": "away.shop.test" })); // else it has both
    a("away.shop.test", "127.0.0.1");
    pebble.records("clear-aaaa", &json!({ "host": "stray.shop.test" }));
    word(&platform, "away.shop.test", "cert issued");
    word(&platform, "stray.shop.test", "cert issued");
}

#[test]
fn handshakes_and_records_prove_names_as_well() {
    if !pebble_or_skip() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let hook = dir.path().join("hook");
    let flags = ["--acme-methods", "tls-alpn-01,dns-01", "--acme-dns-hook", hook.to_str().unwrap()];
    let (platform, pebble, _dir) = start(&flags, LONG, &[]);
    let script = format!(
        "#!/bin/sh\n[ $# = 4 ] || exit 9\necho \"$*\" >> {log}\nverb=set-txt\n[ \"$1\" = add ] || verb=clear-txt\nexec curl --silent --fail --data \"{{\\\"host\\\": \\\"$3.\\\", \\\"value\\\": \\\"$4\\\"}}\" {desk}/$verb\n",
        log = dir.path().join("said").display(),
        desk = pebble.desk(),
    );
    std::fs::write(&hook, script).unwrap();
    std::fs::set_permissions(&hook, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    platform.create("shop");
    add(&platform, "shop", "www.shop.test");
    add(&platform, "shop", "*.wild.test");
    enable(&platform, "shop");
    word(&platform, "www.shop.test", "cert issued");
    word(&platform, "*.wild.test", "cert issued");
    eventually("handshake", || visit(&platform, &pebble.root(), "www.shop.test"));
    eventually("record", || visit(&platform, &pebble.root(), "any.wild.test"));
    let said = std::fs::read_to_string(dir.path().join("said")).unwrap();
    assert!(said.contains("add *.wild.test _acme-challenge.wild.test ") && said.contains("remove *.wild.test "), "{said}");
    // A stranger who speaks the authority's protocol gets nothing, and no app hears of it.
    let args = [
        "s_client",
        "-connect",
        &format!("127.0.0.1:{}", platform.port),
        "-alpn",
        "acme-tls/1",
        "-servername",
        "www.shop.test",
    ];
    let stranger = Command::new("openssl").args(args).stdin(std::process::Stdio::null()).output().unwrap();
    assert!(String::from_utf8_lossy(&stranger.stdout).contains("no peer certificate"), "{stranger:?}");
    for version in ["--tls-max=1.2", "--tlsv1.3"] {
        let flags = if version == "--tls-max=1.2" { vec!["--tls-max", "1.2"] } else { vec![version] };
        assert!(speaks(&platform, &pebble.root(), &flags), "{version}");
    }
}

fn speaks(platform: &Platform, root: &Path, flags: &[&str]) -> bool {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "20", "--cacert"]).arg(root).args(flags);
    curl.args(["--resolve", &format!("www.shop.test:{}:127.0.0.1", platform.port)]);
    curl.arg(format!("https://www.shop.test:{}/", platform.port)).status().unwrap().success()
}

#[test]
fn a_way_that_is_closed_is_left_for_the_other_and_the_old_certificate_serves_until_the_new_one_is_here() {
    if !pebble_or_skip() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let ports = Ports::find();
    let mut flags = ports.flags(dir.path());
    flags.extend(["--acme-backoff-s", "1,1,1,1,1,1,1,1"].map(String::from));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let platform = Platform::start_with(&flags);
    // Nothing is at the port where files are looked for.
    let pebble = Pebble::start(dir.path(), ports, (1, platform.port), 12, &[("PEBBLE_AUTHZREUSE", "0")]);
    platform.create("shop");
    add(&platform, "shop", "www.shop.test");
    enable(&platform, "shop");
    word(&platform, "www.shop.test", "cert issued");
    assert!(pebble.log().contains("Added order") && orders(&pebble) >= 2, "the first way failed");
    let first = serial(&platform, "www.shop.test");
    // Good for a few seconds only: renewed before its end, and no visitor finds none.
    eventually("a new one", || {
        assert!(visit(&platform, &pebble.root(), "www.shop.test").is_some(), "never without");
        (serial(&platform, "www.shop.test") != first).then_some(())
    });
}

#[test]
fn two_hundred_domains_get_theirs_over_refused_nonces_and_kills() {
    if !pebble_or_skip() {
        return;
    }
    const COUNT: usize = 200;
    let (mut platform, pebble, _dir) =
        start(&["--acme-backoff-s", "1,1,1,1,1,1,1,1"], LONG, &[("PEBBLE_WFE_NONCEREJECT", "20")]);
    platform.create("shop");
    for at in 0..COUNT {
        // Under many registered domains, since the guard counts these.
        add(&platform, "shop", &format!("h{at}.site{}.test", at / 20));
    }
    let begun = Instant::now();
    enable(&platform, "shop");
    let issued = |platform: &Platform| -> usize {
        let token = format!("Bearer {}", platform.token);
        let headers = [("authorization", token.as_str()), ("range", "hostname ..; max=1000")];
        let shown = platform.request("GET", "/apps/shop/domains", &headers, None).json();
        shown.as_array().unwrap().iter().filter(|d| d["acm_status"] == "cert issued").count()
    };
    for share in [3, 2] {
        eventually("some are there", || (issued(&platform) >= COUNT / share).then_some(()));
        platform.signal("KILL");
        platform.wait_end();
        platform.boot();
    }
    eventually("all are there", || (issued(&platform) == COUNT).then_some(()));
    let serials: HashSet<String> =
        [0, COUNT / 2, COUNT - 1].map(|at| serial(&platform, &format!("h{at}.site{}.test", at / 20))).into();
    assert_eq!(serials.len(), 3);
    let asked = orders(&pebble);
    println!("{COUNT} domains in {:.1} s with 2 kills: {asked} orders", begun.elapsed().as_secs_f32());
    // At most those whose answer was lost in a kill, or that were given up for the nonces.
    assert!(asked <= COUNT + 40, "{asked}");
}
