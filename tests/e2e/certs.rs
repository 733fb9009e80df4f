//! Uploaded certificates: checks, who gets which, handshakes, restarts.

use crate::{
    schema::{check, check_list},
    support::{Answer, Platform, Repo, eventually, root_or_skip},
};
use certs_rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};
use std::{path::PathBuf, process::Command};

/// An authority of the test's own; clients trust its file.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub file: PathBuf,
}

impl Authority {
    pub fn new(dir: &std::path::Path) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Authority of the test");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let file = dir.join("test-ca.pem");
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file }
    }

    /// Chain and key, PEM.
    pub fn issue(&self, names: &[&str]) -> (String, String) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names.clone()).unwrap();
        params.distinguished_name.push(DnType::CommonName, names[0].clone());
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &self.issuer).unwrap();
        (leaf.pem(), key.serialize_pem())
    }
}

fn upload(platform: &Platform, app: &str, (chain, key): &(String, String)) -> Answer {
    let body = json!({ "certificate_chain": chain, "private_key": key });
    platform.api("POST", &format!("/apps/{app}/sni-endpoints"), Some(body))
}

fn add(platform: &Platform, app: &str, host: &str) -> Value {
    let body = json!({ "hostname": host, "sni_endpoint": null });
    let answer = platform.api("POST", &format!("/apps/{app}/domains"), Some(body));
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.json()
}

/// What curl gets at `https://host/`, trusting `ca`; `None` when it does not trust the certificate.
pub fn visit(platform: &Platform, ca: &std::path::Path, host: &str) -> Option<String> {
    let output = Command::new("curl")
        .args(["--silent", "--max-time", "20", "--cacert"])
        .arg(ca)
        .args(["--resolve", &format!("{host}:{}:127.0.0.1", platform.port)])
        .arg(format!("https://{host}:{}/", platform.port))
        .output()
        .unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

/// Subject of the certificate that answers for `host`.
pub fn subject(platform: &Platform, host: &str) -> String {
    let output = Command::new("curl")
        .args(["--silent", "--insecure", "--max-time", "20", "--output", "/dev/null", "--write-out", "%{certs}"])
        .args(["--resolve", &format!("{host}:{}:127.0.0.1", platform.port)])
        .arg(format!("https://{host}:{}/", platform.port))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("Subject:")).unwrap_or("none").to_string()
}

#[test]
fn visitors_reach_an_app_under_its_own_name_with_its_own_certificate() {
    if !root_or_skip("running dynos") {
        return;
    }
    let mut platform = Platform::start();
    let authority = Authority::new(platform.dir.path());
    platform.create("shop");
    let repo = Repo::empty();
    repo.write("index.html", "hello from the shop").write("Procfile", "web: exec python3 -m http.server $PORT\n");
    repo.commit("first");
    repo.deploy(&platform, "shop");
    let domain = add(&platform, "shop", "www.shop.test");
    assert_eq!((&domain["sni_endpoint"], domain["status"].as_str()), (&Value::Null, Some("none")));
    assert_eq!(
        visit(&platform, &authority.file, "www.shop.test"),
        None,
        "the platform's own answers, which curl does not trust"
    );
    let first = authority.issue(&["www.shop.test", "*.wild.test"]);
    let answer = upload(&platform, "shop", &first);
    assert_eq!(answer.status, 201, "{}", answer.text);
    let endpoint = answer.json();
    check("sni-endpoint", &endpoint);
    assert_eq!(endpoint["domains"], json!([domain["id"]]), "a domain that it is for gets it");
    assert_eq!(endpoint["ssl_cert"]["cert_domains"], json!(["www.shop.test", "*.wild.test"]));
    assert_eq!((&endpoint["ssl_cert"]["ca_signed?"], &endpoint["ssl_cert"]["acm"]), (&json!(true), &json!(false)));
    assert!(!answer.text.contains("PRIVATE"));
    eventually("the certificate answers", || visit(&platform, &authority.file, "www.shop.test"));
    assert_eq!(visit(&platform, &authority.file, "www.shop.test").as_deref(), Some("hello from the shop"));
    // A wildcard domain: one label deep, and not for what belongs to nobody.
    let wild = add(&platform, "shop", "*.wild.test");
    assert_eq!(wild["sni_endpoint"]["name"], endpoint["name"], "the only certificate there is, and it is for that name");
    eventually("the wildcard answers", || visit(&platform, &authority.file, "a.wild.test"));
    assert_eq!(visit(&platform, &authority.file, "b.a.wild.test"), None);
    // Another app's name below the wildcard is not spoken for.
    platform.create("other");
    add(&platform, "other", "c.wild.test");
    eventually("not mixed", || visit(&platform, &authority.file, "c.wild.test").is_none().then_some(()));
    assert!(visit(&platform, &authority.file, "a.wild.test").is_some());
    // Without a restart of anything the new one answers; a kill and a start lose nothing.
    let name = endpoint["name"].as_str().unwrap();
    let path = format!("/apps/shop/sni-endpoints/{name}");
    let second = authority.issue(&["new.shop.test", "www.shop.test", "*.wild.test"]);
    let body = json!({ "certificate_chain": second.0, "private_key": second.1 });
    let updated = platform.api("PATCH", &path, Some(body));
    assert_eq!((updated.status, &updated.json()["id"]), (200, &endpoint["id"]), "{}", updated.text);
    eventually("the new one answers", || subject(&platform, "www.shop.test").contains("new.shop.test").then_some(()));
    platform.signal("KILL");
    platform.wait_end();
    platform.boot();
    eventually("the app is back", || visit(&platform, &authority.file, "www.shop.test").filter(|text| text.contains("hello")));
    assert!(subject(&platform, "www.shop.test").contains("new.shop.test"));
    let again = platform.api("GET", &path, None).json();
    assert_eq!((&again["id"], &again["ssl_cert"]), (&endpoint["id"], &updated.json()["ssl_cert"]));
    // Gone: the platform's own answers again.
    let gone = platform.api("DELETE", &path, None);
    assert_eq!((gone.status, &gone.json()["name"]), (200, &endpoint["name"]));
    eventually("the own one answers", || subject(&platform, "www.shop.test").contains("localhost").then_some(()));
    assert_eq!(platform.api("GET", &path, None).status, 404);
    assert_eq!(platform.api("GET", "/apps/shop/domains/www.shop.test", None).json()["sni_endpoint"], Value::Null);
    let stored = std::fs::read_dir(platform.data_dir().join("store/journal")).unwrap().flatten();
    for segment in stored {
        let bytes = std::fs::read(segment.path()).unwrap();
        let secret = second.1.lines().nth(1).unwrap().as_bytes();
        assert!(!bytes.windows(secret.len()).any(|window| window == secret), "a key lies open in the store");
    }
}

#[test]
fn what_can_not_serve_is_refused_and_says_why() {
    let platform = Platform::start();
    let authority = Authority::new(platform.dir.path());
    platform.create("shop");
    let good = authority.issue(&["www.shop.test"]);
    let refused = |pair: (String, String), reason: &str| {
        let answer = upload(&platform, "shop", &pair);
        assert_eq!((answer.status, answer.json()["id"].as_str()), (422, Some("invalid_params")), "{}", answer.text);
        assert!(answer.text.contains(reason), "{}", answer.text);
        assert!(!answer.text.contains("BEGIN PRIVATE KEY") || reason.contains("no private key"));
    };
    refused((good.0.clone(), authority.issue(&["x.test"]).1), "does not belong");
    refused(("nothing".into(), good.1.clone()), "no certificate");
    refused((good.0.clone(), "nothing".into()), "no private key");
    let key = KeyPair::generate().unwrap();
    let mut old = CertificateParams::new(vec!["old.test".to_string()]).unwrap();
    old.not_after = certs_rcgen::date_time_ymd(2020, 1, 1);
    refused((old.self_signed(&key).unwrap().pem(), key.serialize_pem()), "expired on 2020-01-01");
    assert_eq!(platform.api("POST", "/apps/shop/sni-endpoints", Some(json!({ "certificate_chain": good.0 }))).status, 422);
    assert_eq!(platform.api("GET", "/apps/shop/sni-endpoints", None).json(), json!([]));
    // Which domain may have which.
    let one = upload(&platform, "shop", &good).json();
    let two = upload(&platform, "shop", &authority.issue(&["*.two.test"])).json();
    check_list("sni-endpoint", &platform.api("GET", "/apps/shop/sni-endpoints", None).json());
    let post = |body: Value| platform.api("POST", "/apps/shop/domains", Some(body));
    let unsaid = post(json!({ "hostname": "www.shop.test" }));
    assert_eq!(unsaid.status, 422, "with several certificates it must be said: {}", unsaid.text);
    let wrong = post(json!({ "hostname": "www.shop.test", "sni_endpoint": two["name"] }));
    assert!(wrong.status == 422 && wrong.text.contains("not for www.shop.test"), "{}", wrong.text);
    assert_eq!(post(json!({ "hostname": "www.shop.test", "sni_endpoint": "nosuch" })).status, 404);
    let right = post(json!({ "hostname": "www.shop.test", "sni_endpoint": one["id"] }));
    assert_eq!((right.status, &right.json()["sni_endpoint"]["name"]), (201, &one["name"]), "{}", right.text);
    let patch = |body: Value| platform.api("PATCH", "/apps/shop/domains/www.shop.test", Some(body));
    assert_eq!(patch(json!({})).status, 422);
    assert_eq!(patch(json!({ "sni_endpoint": null })).json()["sni_endpoint"], Value::Null);
    assert_eq!(patch(json!({ "sni_endpoint": one["name"] })).json()["sni_endpoint"]["id"], one["id"]);
    // A certificate that no longer is for its domain does not take the old one's place.
    let (chain, key) = authority.issue(&["elsewhere.test"]);
    let path = format!("/apps/shop/sni-endpoints/{}", one["name"].as_str().unwrap());
    let update = platform.api("PATCH", &path, Some(json!({ "certificate_chain": chain, "private_key": key })));
    assert!(update.status == 422 && update.text.contains("not for www.shop.test"), "{}", update.text);
}

#[test]
fn an_app_may_ask_its_visitors_to_come_over_tls_and_to_remember_it() {
    let platform = Platform::start();
    platform.create("shop");
    let head = |scheme: &str| {
        let output = Command::new("curl")
            .args(["--silent", "--insecure", "--max-time", "20", "--output", "/dev/null", "--dump-header", "-"])
            .args(["--resolve", &format!("shop.localhost:{}:127.0.0.1", platform.port)])
            .arg(format!("{scheme}://shop.localhost:{}/a?b=c", platform.port))
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap().to_ascii_lowercase()
    };
    let plain = head("http");
    assert!(plain.starts_with("http/1.1 502") && !plain.contains("location"), "{plain}");
    for feature in ["https-redirect", "http-strict-transport-security"] {
        let on = platform.api("PATCH", &format!("/apps/shop/features/{feature}"), Some(json!({ "enabled": true })));
        assert_eq!(on.status, 200, "{}", on.text);
    }
    let location = format!("location: https://shop.localhost:{}/a?b=c", platform.port);
    eventually("sent to TLS", || Some(head("http")).filter(|h| h.starts_with("http/1.1 308") && h.contains(&location)));
    let secured = head("https");
    assert!(secured.contains("strict-transport-security: max-age=31536000") && !secured.contains("308"), "{secured}");
}
