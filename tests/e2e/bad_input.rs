//! Bad input: a clear error with a stable id, the daemon unharmed, nothing half-made.

use crate::support::{Platform, Repo, raw, root_or_skip};
use serde_json::{Value, json};
use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

#[test]
fn wrong_requests_get_their_status_and_id() {
    let platform = Platform::start();
    platform.create("shop");
    let big = "x".repeat(64 * 1024 + 1);
    let cases: Vec<(&str, &str, Option<Value>, u16, &str)> = vec![
        ("GET", "/apps/no-such-app", None, 404, "not_found"),
        ("GET", "/apps/..%2F..%2Fetc", None, 404, "not_found"),
        ("GET", "/apps/a%00b", None, 404, "not_found"),
        ("GET", "/no/such/route", None, 404, "not_found"),
        ("POST", "/apps", Some(json!({ "name": "Bad Name" })), 422, "invalid_params"),
        ("POST", "/apps", Some(json!({ "name": "a/../b" })), 422, "invalid_params"),
        ("POST", "/apps", Some(json!({ "name": "api" })), 422, "invalid_params"),
        ("POST", "/apps", Some(json!({ "name": "shop" })), 422, "invalid_params"),
        ("POST", "/apps", Some(json!({ "name": 7 })), 422, "invalid_params"),
        ("POST", "/apps", Some(json!([1])), 400, "bad_request"),
        ("POST", "/apps", Some(json!({ "stack": "windows" })), 422, "invalid_params"),
        ("PATCH", "/apps/shop/config-vars", Some(json!({ "BIG": big })), 422, "invalid_params"),
        ("PATCH", "/apps/shop/config-vars", Some(json!({ "1A": "x" })), 422, "invalid_params"),
        ("PATCH", "/apps/shop/config-vars", Some(json!({ "A-B": "x" })), 422, "invalid_params"),
        ("PATCH", "/apps/shop/config-vars", Some(json!({ "A": { "b": 1 } })), 422, "invalid_params"),
        ("PATCH", "/apps/shop/config-vars", Some(json!({ "A": "x\u{0}y" })), 422, "invalid_params"),
        ("PATCH", "/apps/shop/formation", Some(json!({ "updates": [{ "type": "nope", "quantity": 1 }] })), 404, "not_found"),
        ("PATCH", "/apps/shop/formation", Some(json!({})), 422, "invalid_params"),
        ("POST", "/apps/shop/builds", Some(json!({})), 422, "invalid_params"),
        ("POST", "/apps/shop/builds", Some(json!({ "source_blob": { "url": "file:///etc/passwd" } })), 422, "invalid_params"),
        (
            "POST",
            "/apps/shop/builds",
            Some(json!({ "source_blob": { "url": "http://x/", "checksum": "SHA256:1" } })),
            422,
            "invalid_params",
        ),
        ("POST", "/apps/shop/releases", Some(json!({ "release": "v99" })), 404, "not_found"),
        ("POST", "/apps/shop/releases", Some(json!({ "release": "v1" })), 422, "invalid_params"),
        ("POST", "/apps/shop/domains", Some(json!({ "hostname": "not a domain" })), 422, "invalid_params"),
        ("POST", "/apps/shop/domains", Some(json!({ "hostname": "x.localhost" })), 422, "invalid_params"),
        ("DELETE", "/apps/shop/dynos/web.7", None, 404, "not_found"),
        ("PUT", "/apps/shop/buildpack-installations", Some(json!({ "updates": [{}] })), 422, "invalid_params"),
        (
            "PUT",
            "/apps/shop/buildpack-installations",
            Some(json!({ "updates": [{ "buildpack": "--upload-pack=x" }] })),
            422,
            "invalid_params",
        ),
    ];
    for (method, path, body, status, id) in cases {
        let answer = platform.api(method, path, body);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        let json = answer.json();
        assert_eq!(json["id"], id, "{method} {path}");
        assert!(json["message"].as_str().is_some_and(|m| !m.is_empty()), "{method} {path}");
    }
    let broken =
        platform.request("POST", "/apps", &[("authorization", &format!("Bearer {}", platform.token))], Some("{no json".into()));
    assert_eq!((broken.status, broken.json()["id"].as_str()), (400, Some("bad_request")));
    let huge = platform.request(
        "POST",
        "/apps",
        &[("authorization", &format!("Bearer {}", platform.token))],
        Some("x".repeat(2 << 20)),
    );
    assert_eq!((huge.status, huge.json()["id"].as_str()), (413, Some("body_too_large")));
    let version =
        [("authorization", format!("Bearer {}", platform.token)), ("accept", "application/vnd.heroku+json; version=2".into())];
    let version: Vec<(&str, &str)> = version.iter().map(|(k, v)| (*k, v.as_str())).collect();
    assert_eq!(platform.request("GET", "/account", &version, None).status, 406);
    assert_eq!(platform.api("GET", "/apps/shop/config-vars", None).json(), json!({}), "nothing half-made");
    assert_eq!(platform.api("GET", "/apps", None).json().as_array().unwrap().len(), 1);
    assert_eq!(platform.api("GET", "/apps/shop/releases", None).json().as_array().unwrap().len(), 2);
}

#[test]
fn a_wildcard_over_the_platforms_own_domain_is_refused() {
    let platform = Platform::start_with(&["--domain", "paas.example.test"]);
    platform.create("shop");
    let add = |name: &str| platform.api("POST", "/apps/shop/domains", Some(json!({ "hostname": name, "sni_endpoint": null })));
    for name in ["*.example.test", "paas.example.test", "api.paas.example.test", "*.paas.example.test", "*.test"] {
        let answer = add(name);
        assert_eq!((answer.status, answer.json()["id"].as_str()), (422, Some("invalid_params")), "{name}: {}", answer.text);
    }
    assert_eq!(add("*.shop.example.test").status, 201);
}

#[test]
fn a_config_var_of_the_full_64_kb_is_kept_byte_for_byte() {
    let platform = Platform::start();
    platform.create("shop");
    let value: String = "aé\n\"$`'\\".chars().cycle().take(50_000).collect::<String>();
    let value: String = value.char_indices().take_while(|(at, c)| at + c.len_utf8() < 64 * 1024).map(|(_, c)| c).collect();
    for _ in 0..4 {
        platform.api("PATCH", "/apps/shop/config-vars", Some(json!({ "V": value })));
        platform.api("PATCH", "/apps/shop/config-vars", Some(json!({ "V": null })));
    }
    assert_eq!(platform.api("PATCH", "/apps/shop/config-vars", Some(json!({ "V": value }))).status, 200);
    assert_eq!(platform.api("GET", "/apps/shop/config-vars", None).json()["V"], value);
    let blobs = std::fs::read_dir(platform.dir.path().join("data/store/sled/blobs")).map(|d| d.count()).unwrap_or(0);
    assert_eq!(blobs, 0, "no value grew so large that sled keeps it outside of its log");
}

#[test]
fn hostile_archives_and_procfiles_fail_their_build_only() {
    if !root_or_skip("building in a cage") {
        return;
    }
    let platform = Platform::start();
    platform.create("shop");
    let good = Repo::of("procfile");
    good.deploy(&platform, "shop");
    let scripts = [
        ("archive_path", "i=t.gettarinfo('Procfile'); i.name='../evil'; t.addfile(i, open('Procfile','rb'))"),
        ("archive_path", "i=t.gettarinfo('Procfile'); i.name='/etc/evil'; t.addfile(i, open('Procfile','rb'))"),
        ("archive_link", "i=tarfile.TarInfo('l'); i.type=tarfile.SYMTYPE; i.linkname='/etc/passwd'; t.addfile(i)"),
        ("archive_type", "i=tarfile.TarInfo('d'); i.type=tarfile.CHRTYPE; i.devmajor=1; i.devminor=3; t.addfile(i)"),
        ("archive_limit", "i=tarfile.TarInfo('big'); i.size=3<<30; t.addfile(i, Zeros())"),
        ("archive_unreadable", "t.fileobj.write(b'garbage'*2000)"),
    ];
    for (id, script) in scripts {
        let tar = platform.dir.path().join("evil.tgz");
        let program = format!(
            "import tarfile,io,os\nclass Zeros:\n  def read(self,n=-1): return b'\\0'*n\nos.chdir({:?})\nt=tarfile.open({:?},'w:gz',compresslevel=1)\n{script}\nt.close()\n",
            good.dir.path(),
            tar
        );
        let made = std::process::Command::new("python3").args(["-c", &program]).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let source = platform.api("POST", "/sources", None).json();
        let url = source["source_blob"]["put_url"].as_str().unwrap();
        let put = std::process::Command::new("curl")
            .args(["-sf", "-T"])
            .arg(&tar)
            .arg(format!("{}{}", platform.base(), &url[url.find("/sources").unwrap()..]))
            .status();
        assert!(put.unwrap().success());
        let build = platform.api("POST", "/apps/shop/builds", Some(json!({ "source_blob": { "url": url } }))).json();
        let stream = build["output_stream_url"].as_str().unwrap();
        let output = platform.request("GET", &stream[stream.find("/streams").unwrap()..], &[], None).text;
        assert!(output.contains(id), "{id}: {output}");
    }
    for (content, text) in
        [("web ./run\n", "expected `type: command`"), ("we b: x\n", "letters, digits"), ("web:\n", "command is missing")]
    {
        good.write("Procfile", content);
        good.commit("nonsense");
        let (ok, output) = good.push(&platform, "shop", "main");
        assert!(!ok && output.contains("Procfile line 1") && output.contains(text), "{output}");
    }
    assert!(platform.web("shop", "/").text.contains("hello"), "the old release serves on");
    assert!(!std::path::Path::new("/etc/evil").exists());
    let left: Vec<_> = std::fs::read_dir(platform.dir.path().join("data/builds")).unwrap().flatten().collect();
    assert!(left.is_empty(), "no work folder is left: {left:?}");
}

#[test]
fn huge_headers_and_slow_clients_harm_nobody() {
    let platform = Platform::start();
    platform.create("shop");
    let port = platform.port;
    let header = format!("GET / HTTP/1.1\r\nHost: shop.localhost\r\nX: {}\r\n\r\n", "x".repeat(200_000));
    assert!(raw(port, header.as_bytes()).starts_with("HTTP/1.1 431"), "too large a head");
    let many: String = (0..1500).map(|n| format!("X-{n}: y\r\n")).collect();
    assert!(raw(port, format!("GET / HTTP/1.1\r\nHost: shop.localhost\r\n{many}\r\n").as_bytes()).starts_with("HTTP/1.1 431"));
    for request in [
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a.localhost\r\nHost: b.localhost\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: shop.localhost\r\nHost: shop.localhost\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: sh op\r\nConnection: close\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: magic\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : shop.localhost\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let answer = raw(port, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400"), "{request:?}: {answer}");
    }
    let mut slow: Vec<TcpStream> = (0..200)
        .map(|_| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.loc").unwrap();
            stream
        })
        .collect();
    assert_eq!(platform.web("shop", "/").status, 502, "others are answered meanwhile (H81: nothing deployed)");
    assert_eq!(platform.api("GET", "/account", None).status, 200);
    slow[0].set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    assert!(slow[0].read(&mut [0u8; 10]).is_err(), "the slow one is still waited for");
}
