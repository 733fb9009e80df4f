//! Every verb of the command line against a server that is played: which requests it sends, and what it prints of the
//! answers. What the daemon really answers is checked beside the daemon; here it is that the verbs keep to the published
//! contract.

use crate::support::BIN;
use serde_json::{Value, json};
use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::{Command, Output, Stdio},
    sync::{Arc, Mutex},
};

/// A request and the answer to it: `METHOD path`, a part of the body, status, body.
struct Scene {
    request: &'static str,
    body: Value,
    status: u16,
    answer: Value,
}

fn get(request: &'static str, answer: Value) -> Scene {
    Scene { request, body: Value::Null, status: 200, answer }
}

fn send(request: &'static str, body: Value, answer: Value) -> Scene {
    Scene { request, body, status: 200, answer }
}

fn refuse(request: &'static str, status: u16, id: &str, message: &str) -> Scene {
    Scene { request, body: Value::Null, status, answer: json!({ "id": id, "message": message }) }
}

/// Every key of `part` is in `whole`.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, value)| whole.get(key).is_some_and(|w| contains(w, value)))
        }
        (_, Value::Null) => true,
        (whole, part) => whole == part,
    }
}

/// Plays the scenes, each as often as it is asked for, and notes what was asked.
fn serve(listener: TcpListener, scenes: Vec<Scene>, seen: Arc<Mutex<Vec<String>>>) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { return };
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_string());
        }
        let Some(first) = head.first() else { continue };
        let length =
            head.iter().find_map(|l| l.to_lowercase().strip_prefix("content-length: ").map(|n| n.parse::<usize>().unwrap()));
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let request = first.trim_end_matches(" HTTP/1.1").to_string();
        let scene = scenes.iter().find(|s| s.request == request && contains(&body, &s.body));
        let missing = json!({ "id": "not_found", "message": format!("not played: {request} {body}") });
        let (status, answer) = scene.map_or((404, &missing), |s| (s.status, &s.answer));
        seen.lock().unwrap().push(if scene.is_some() { request } else { format!("{request} {body}") });
        let text = answer.to_string();
        let _ = write!(
            stream,
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nheroku-webhook-secret: s3cret\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{text}",
            text.len()
        );
    }
}

/// Runs a command line against the scenes; `input` is its standard input.
fn play(args: &[&str], scenes: Vec<Scene>, input: &str) -> (Output, Vec<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    std::thread::spawn(move || serve(listener, scenes, noted));
    let home = tempfile::tempdir().unwrap();
    let mut child = Command::new(BIN)
        .args(args)
        .env_clear()
        .env("PATH", std::env::var("PATH").unwrap())
        .env("HOME", home.path())
        .env("TIDEMILL_HOST", base)
        .env("TIDEMILL_API_KEY", "secret")
        .current_dir(home.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let seen = seen.lock().unwrap().clone();
    (output, seen)
}

/// The command line ends well, asks for every scene, and prints `wanted`, each on one of the two outputs.
fn check(line: &str, scenes: Vec<Scene>, wanted: &[&str]) {
    check_with(line, scenes, wanted, 0);
}

fn check_with(line: &str, scenes: Vec<Scene>, wanted: &[&str], code: i32) {
    let args: Vec<&str> = line.split(' ').collect();
    let requests: Vec<&str> = scenes.iter().map(|s| s.request).collect();
    let (output, seen) = play(&args, scenes, "");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{line}: {out}{err}\n{seen:?}");
    for request in requests {
        assert!(seen.iter().any(|s| s == request), "{line} does not ask for {request}: {seen:?}");
    }
    for text in wanted {
        assert!(out.contains(text) || err.contains(text), "{line} does not say {text:?}: {out}{err}");
    }
}

fn app(name: &str) -> Value {
    json!({
        "id": format!("id-of-{name}"), "name": name, "owner": { "email": "ana@example.com" }, "team": null, "acm": true,
        "web_url": format!("http://{name}.localhost/"), "git_url": format!("http://localhost/{name}.git"), "maintenance": true,
        "stack": { "name": "heroku-24" }, "build_stack": { "name": "heroku-24" }, "region": { "name": "eu" },
    })
}

#[test]
fn people() {
    let bo = json!({ "user": { "email": "bo@example.com" }, "role": "collaborator", "permissions": [{ "name": "deploy" }] });
    check("access -a shop", vec![get("GET /apps/shop/collaborators", json!([bo]))], &["bo@example.com  collaborator  deploy"]);
    let scene = send("POST /apps/shop/collaborators", json!({ "user": "bo@example.com" }), bo.clone());
    check("access:add bo@example.com -a shop", vec![scene], &["Adding bo@example.com access to the app shop... done"]);
    let body = json!({ "user": "bo@example.com", "permissions": ["view", "deploy"] });
    let scene = send("POST /teams/apps/shop/collaborators", body, bo.clone());
    check("access add bo@example.com -p view,deploy -a shop", vec![scene], &["done"]);
    let path = "PATCH /teams/apps/shop/collaborators/bo@example.com";
    let scene = send(path, json!({ "permissions": ["view"] }), bo.clone());
    check("access:update bo@example.com -p view -a shop", vec![scene], &["with view permissions... done"]);
    let scene = get("DELETE /apps/shop/collaborators/bo@example.com", bo);
    check("access:remove bo@example.com -a shop", vec![scene], &["done"]);

    let member = json!({ "id": "m1", "email": "bo@example.com", "role": "member", "invite_url": "http://x/invite/K" });
    check("members", vec![get("GET /members", json!([member]))], &["bo@example.com  member"]);
    check("members -q", vec![get("GET /members", json!([member]))], &["m1\n"]);
    let scene = send("POST /members", json!({ "email": "bo@example.com", "role": "viewer" }), member.clone());
    check("members:add bo@example.com --role viewer", vec![scene], &["http://x/invite/K\n", "72 hours"]);
    let scene = send("PUT /teams/acme/members", json!({ "email": "bo@example.com", "role": "member" }), member.clone());
    check("members:add bo@example.com --team acme", vec![scene], &["done"]);
    let scene = send("PATCH /members/bo@example.com", json!({ "role": "admin" }), member.clone());
    let scenes = vec![
        refuse("PUT /teams/acme/members", 422, "invalid_params", "Nobody has that e-mail."),
        send("PUT /teams/acme/invitations", json!({ "email": "bo@example.com" }), member.clone()),
    ];
    check("members:add bo@example.com -t acme", scenes, &["http://x/invite/K\n"]);
    check("members:set bo@example.com --role admin", vec![scene], &["Setting the role of bo@example.com to admin... done"]);
    check("members:remove bo@example.com", vec![get("DELETE /members/bo@example.com", member.clone())], &["done"]);
    check_with("members:set bo@example.com", vec![], &["--role"], 2);
    check_with("members:add bo@example.com --role king", vec![], &["admin, member, viewer"], 2);

    let team = json!({ "id": "t1", "name": "acme", "role": "admin" });
    check("teams", vec![get("GET /teams", json!([team]))], &["acme  admin"]);
    check("teams:create acme", vec![send("POST /teams", json!({ "name": "acme" }), team.clone())], &["done"]);
    let scenes = vec![
        get("GET /teams/acme", team.clone()),
        get("GET /teams/acme/members", json!([member])),
        get("GET /teams/acme/apps", json!([app("shop")])),
    ];
    check("teams:info acme", scenes, &["=== acme", "Members:    bo@example.com", "Apps:       shop"]);
    check("teams:rename acme umbra", vec![send("PATCH /teams/acme", json!({ "name": "umbra" }), team.clone())], &["done"]);
    check("teams:destroy acme --confirm acme", vec![get("DELETE /teams/acme", team)], &["done"]);
    check_with("teams:destroy acme", vec![], &["--confirm acme"], 2);
}

#[test]
fn account_and_tokens() {
    let account = json!({ "id": "u", "email": "ana@example.com", "two_factor_authentication": false });
    check("auth:whoami", vec![get("GET /account", account.clone())], &["ana@example.com\n"]);
    check("auth:2fa", vec![get("GET /account", account.clone())], &["Two-factor authentication is not enabled"]);
    check("auth:token", vec![], &["secret\n"]);
    let scenes = vec![
        send("POST /account/two-factor", json!({}), json!({ "secret": "ABC", "url": "otpauth://x" })),
        send("PUT /account/two-factor", json!({ "code": "123456" }), json!({ "recovery_codes": ["r1", "r2"] })),
    ];
    check("2fa:on --code 123456", scenes, &["otpauth://x", "r1\nr2\n"]);
    let scene = send("DELETE /account/two-factor", json!({ "code": "1" }), json!({}));
    check("2fa:off --code 1", vec![scene], &["done"]);
    let body = json!({ "password": "old", "new_password": "new" });
    let (output, _) = play(&["auth:password", "--password-stdin"], vec![send("PATCH /account", body, account)], "old\nnew\n");
    assert!(output.status.success(), "{output:?}");
    let auth =
        json!({ "id": "a1", "description": "CI", "scope": ["write"], "access_token": { "token": "HRKU-1", "expires_in": 60 } });
    check("authorizations", vec![get("GET /oauth/authorizations", json!([auth]))], &["CI  a1  write  60"]);
    let scene = send(
        "POST /oauth/authorizations",
        json!({ "description": "CI", "scope": ["write", "read"], "expires_in": 60 }),
        auth.clone(),
    );
    check("authorizations:create -d CI -s write,read -e 60 -S", vec![scene], &["HRKU-1\n"]);
    check("authorizations:info a1", vec![get("GET /oauth/authorizations/a1", auth.clone())], &["Token:        HRKU-1"]);
    let scene = send("PATCH /oauth/authorizations/a1", json!({ "description": "new" }), auth.clone());
    check("authorizations:update a1 -d new", vec![scene], &["done"]);
    check("authorizations:revoke a1", vec![get("DELETE /oauth/authorizations/a1", auth.clone())], &["done, revoked CI"]);
    let scene = get("POST /oauth/authorizations/a1/actions/regenerate-tokens", auth);
    check("authorizations:rotate a1", vec![scene], &["HRKU-1"]);
    let client = json!({ "id": "c1", "name": "dash", "redirect_uri": "https://x/cb", "secret": "s" });
    check("clients", vec![get("GET /oauth/clients", json!([client]))], &["dash  c1  https://x/cb"]);
    let scene = send("POST /oauth/clients", json!({ "name": "dash", "redirect_uri": "https://x/cb" }), client.clone());
    check("clients:create dash https://x/cb -s", vec![scene], &["HEROKU_OAUTH_ID=c1\nHEROKU_OAUTH_SECRET=s\n"]);
    check("clients:info c1", vec![get("GET /oauth/clients/c1", client.clone())], &["=== dash", "Secret:        s"]);
    check("clients:update c1 -n n", vec![send("PATCH /oauth/clients/c1", json!({ "name": "n" }), client.clone())], &["done"]);
    check("clients:rotate c1", vec![get("POST /oauth/clients/c1/actions/rotate-credentials", client.clone())], &["done"]);
    check("clients:destroy c1", vec![get("DELETE /oauth/clients/c1", client)], &["done"]);
    let session = json!({ "id": "s1", "description": "Firefox", "created_at": "2026-01-01T00:00:00Z" });
    check("sessions", vec![get("GET /oauth/sessions", json!([session]))], &["Firefox  s1  2026-01-01T00:00:00Z"]);
    check("sessions:destroy s1", vec![get("DELETE /oauth/sessions/s1", session)], &["done"]);
    let key =
        json!({ "id": "k1", "comment": "ana@laptop", "fingerprint": "aa:bb", "public_key": "ssh-ed25519 AAAA ana@laptop" });
    check("keys", vec![get("GET /account/keys", json!([key]))], &["ana@laptop  aa:bb"]);
    check("keys -l", vec![get("GET /account/keys", json!([key]))], &["ssh-ed25519 AAAA ana@laptop\n"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "ssh-ed25519 AAAA ana@laptop\n").unwrap();
    let scene = send("POST /account/keys", json!({ "public_key": "ssh-ed25519 AAAA ana@laptop\n" }), key.clone());
    check(&format!("keys:add {}", file.path().display()), vec![scene], &["SSH key... done"]);
    std::fs::write(file.path(), "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
    check_with(&format!("keys:add {}", file.path().display()), vec![], &["is a private key"], 2);
    check_with("keys:add", vec![], &["ssh-keygen"], 4);
    let list = || get("GET /account/keys", json!([key]));
    check("keys:remove ana@laptop", vec![list(), get("DELETE /account/keys/k1", key.clone())], &["done"]);
    check_with("keys:remove ana@labtop", vec![list()], &["Did you mean ana@laptop?"], 4);
    check("keys:clear", vec![list(), get("DELETE /account/keys/k1", key.clone())], &["done"]);
}

#[test]
fn pipelines() {
    let pipeline = json!({ "id": "p1", "name": "shop" });
    let list = || get("GET /pipelines", json!([pipeline]));
    let coupling = json!({ "id": "c1", "stage": "staging", "app": { "id": "id-of-shop-staging" }, "pipeline": { "id": "p1" } });
    let other = json!({ "id": "c2", "stage": "production", "app": { "id": "id-of-shop" }, "pipeline": { "id": "p1" } });
    let own = || get("GET /apps/shop-staging/pipeline-couplings", coupling.clone());
    let all = || {
        vec![
            get("GET /pipelines/p1/pipeline-couplings", json!([coupling, other])),
            send(
                "POST /filters/apps",
                json!({ "in": { "id": ["id-of-shop-staging", "id-of-shop"] } }),
                json!([app("shop-staging"), app("shop")]),
            ),
        ]
    };
    check("pipelines", vec![list()], &["shop\n"]);
    let scenes = vec![
        get("GET /account", json!({ "id": "u1" })),
        get("GET /apps/shop-staging", app("shop-staging")),
        send("POST /pipelines", json!({ "name": "shop", "owner": { "id": "u1", "type": "user" } }), pipeline.clone()),
        send(
            "POST /pipeline-couplings",
            json!({ "app": "id-of-shop-staging", "pipeline": "p1", "stage": "staging" }),
            coupling.clone(),
        ),
    ];
    check("pipelines:create shop -a shop-staging", scenes, &["Creating shop pipeline... done", "as staging... done"]);
    let mut scenes = all();
    scenes.push(list());
    check("pipelines:info shop", scenes, &["=== shop", "shop-staging  staging     ana@example.com"]);
    let body = json!({ "app": "id-of-shop", "pipeline": "p1", "stage": "production" });
    let scenes = vec![list(), get("GET /apps/shop", app("shop")), send("POST /pipeline-couplings", body, other.clone())];
    check("pipelines:add shop -a shop -s production", scenes, &["done"]);
    let scene = send("PATCH /pipeline-couplings/c1", json!({ "stage": "development" }), coupling.clone());
    check(
        "pipelines:update -s development -a shop-staging",
        vec![own(), scene],
        &["Changing shop-staging to development... done"],
    );
    check("pipelines:remove -a shop-staging", vec![own(), get("DELETE /pipeline-couplings/c1", coupling.clone())], &["done"]);
    check(
        "pipelines:rename shop store",
        vec![list(), send("PATCH /pipelines/p1", json!({ "name": "store" }), pipeline.clone())],
        &["done"],
    );
    let body = json!({ "pipeline": { "id": "p1" }, "new_owner": { "id": "t1", "type": "team" } });
    let given = send("POST /pipeline-transfers", body.clone(), json!({}));
    let scenes = vec![list(), get("GET /teams/acme", json!({ "id": "t1" })), given];
    check("pipelines:transfer shop acme", scenes, &["done"]);
    let scenes = vec![list(), get("GET /teams/acme", json!({ "id": "t1" })), send("POST /pipeline-transfers", body, json!({}))];
    check("pipelines:transfer acme --pipeline shop --confirm shop", scenes, &["done"]);
    check_with("pipelines:transfer acme", vec![], &["OWNER -p PIPELINE"], 2);
    check_with("pipelines:transfer acme -p shop --confirm other", vec![list()], &["nothing was changed"], 2);
    check("pipelines:destroy shop --confirm shop", vec![list(), get("DELETE /pipelines/p1", pipeline.clone())], &["done"]);
    check_with("pipelines:info shpo", vec![list()], &["Couldn't find the pipeline shpo.", "Did you mean shop?"], 4);
    let body = json!({ "pipeline": { "id": "p1" }, "source": { "app": { "id": "id-of-shop-staging" } }, "targets": [{ "app": { "id": "id-of-shop" } }] });
    let promoted = |status: &str| json!([{ "app": { "id": "id-of-shop" }, "status": status, "error_message": null }]);
    for (status, code) in [("succeeded", 0), ("failed", 1)] {
        let mut scenes = all();
        scenes.extend([
            own(),
            send("POST /pipeline-promotions", body.clone(), json!({ "id": "x" })),
            get("GET /pipeline-promotions/x/promotion-targets", promoted(status)),
        ]);
        check_with("pipelines:promote -a shop-staging", scenes, &["Promoting shop-staging to shop... done", status], code);
    }
    let release = json!([{ "slug": { "id": "s1" } }]);
    let mut scenes = all();
    scenes.extend([
        own(),
        get("GET /apps/shop/releases", release.clone()),
        get("GET /apps/shop-staging/releases", release),
        get("GET /apps/shop/slugs/s1", json!({ "commit": "aaaaaaaaaaaa" })),
        get("GET /apps/shop-staging/slugs/s1", json!({ "commit": "bbbbbbbbbbbb" })),
    ]);
    check("pipelines:diff -a shop-staging", scenes, &["git log aaaaaaaa..bbbbbbbb"]);
}

#[test]
fn certificates_and_domains() {
    let cert = json!({ "id": "e1", "name": "rex-1", "ssl_cert": { "cert_domains": ["www.x.example"], "expires_at": "2027-01-01T00:00:00Z", "acm": false, "self_signed?": true } });
    let list = || get("GET /apps/shop/sni-endpoints", json!([cert]));
    check("certs -a shop", vec![list()], &["rex-1  www.x.example   2027-01-01T00:00:00Z  SNI"]);
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| {
        std::fs::write(dir.path().join(name), name).unwrap();
        dir.path().join(name).display().to_string()
    };
    let (crt, key) = (file("crt"), file("key"));
    let body = || json!({ "certificate_chain": "crt", "private_key": "key" });
    check(
        &format!("certs:add {crt} {key} -a shop"),
        vec![send("POST /apps/shop/sni-endpoints", body(), cert.clone())],
        &["=== rex-1"],
    );
    let scene = send("PATCH /apps/shop/sni-endpoints/rex-1", body(), cert.clone());
    check(&format!("certs:update {crt} {key} -a shop"), vec![list(), scene], &["self-signed"]);
    check("certs:info -a shop", vec![list()], &["Expires At:"]);
    check_with("certs:info --name rax-1 -a shop", vec![list()], &["Did you mean rex-1?"], 4);
    let scene = get("DELETE /apps/shop/sni-endpoints/rex-1", cert.clone());
    check("certs:remove --confirm shop -a shop", vec![list(), scene], &["done"]);
    check_with("certs:add /nowhere /nowhere -a shop", vec![], &["/nowhere"], 2);
    let domain = json!({ "id": "d", "hostname": "www.x.example", "kind": "custom", "cname": "shop.localhost", "status": "succeeded", "acm_status": "cert issued" });
    let scenes = vec![get("GET /apps/shop", app("shop")), get("GET /apps/shop/domains", json!([domain]))];
    check("certs:auto -a shop", scenes, &["is enabled on shop", "www.x.example  cert issued"]);
    check("certs auto enable -a shop", vec![get("POST /apps/shop/acm", app("shop"))], &["done"]);
    check("certs:auto:disable --confirm shop -a shop", vec![get("DELETE /apps/shop/acm", app("shop"))], &["done"]);
    check(
        "certs:auto:refresh -a shop",
        vec![send("PATCH /apps/shop/acm", json!({ "acm_refresh": true }), app("shop"))],
        &["done"],
    );
    let path = "GET /apps/shop/domains/www.x.example";
    check("domains:info www.x.example -a shop", vec![get(path, domain.clone())], &["CNAME:        shop.localhost"]);
    check("domains:wait www.x.example -a shop", vec![get(path, domain.clone())], &["done"]);
    let failed = json!({ "hostname": "www.x.example", "status": "failed", "acm_status_reason": "CAA forbids" });
    check_with("domains:wait www.x.example -a shop", vec![get(path, failed)], &["failed. CAA forbids"], 1);
    let scene = send("PATCH /apps/shop/domains/www.x.example", json!({ "sni_endpoint": "rex-1" }), domain.clone());
    check("domains:update www.x.example --cert rex-1 -a shop", vec![scene], &["done"]);
    let scenes = vec![get("GET /apps/shop/domains", json!([domain])), get("DELETE /apps/shop/domains/www.x.example", domain)];
    check("domains:clear --confirm shop -a shop", scenes, &["done"]);
}

#[test]
fn drains_webhooks_addons_and_labs() {
    let drain = json!({ "id": "d1", "url": "https://x/in", "token": "d.1" });
    let how = json!({ "last_success_at": "2026-01-02T03:04:05Z", "lag": 3, "dropped": 7, "last_error": "no route" });
    let scenes = vec![get("GET /apps/shop/log-drains", json!([drain])), get("GET /apps/shop/log-drains/d1/state", how)];
    check("drains -a shop", scenes, &["https://x/in  d.1  2026-01-02T03:04:05Z  3  7  no route"]);
    let test = "POST /apps/shop/log-drains/d.1/test";
    check("drains:test d.1 -a shop", vec![get(test, json!({ "took_ms": 4, "error": null }))], &["taken after 4 ms"]);
    check_with("drains:test d.1 -a shop", vec![get(test, json!({ "error": "no route" }))], &["not taken: no route"], 1);
    check(
        "drains:add https://x/in -a shop",
        vec![send("POST /apps/shop/log-drains", json!({ "url": "https://x/in" }), drain.clone())],
        &["done"],
    );
    check(
        "drains:remove https://x/in -a shop",
        vec![get("DELETE /apps/shop/log-drains/https%3A%2F%2Fx%2Fin", drain)],
        &["done"],
    );
    let hook = json!({ "id": "w1", "url": "https://x/h", "include": ["api:release"], "level": "sync" });
    check("webhooks -a shop", vec![get("GET /apps/shop/webhooks", json!([hook]))], &["w1  https://x/h  api:release  sync"]);
    let body = json!({ "url": "https://x/h", "include": ["api:release", "api:build"], "level": "sync" });
    let scene = send("POST /apps/shop/webhooks", body, hook.clone());
    check(
        "webhooks:add -u https://x/h -i api:release,api:build -l sync -a shop",
        vec![scene],
        &["Webhooks Signing Secret\ns3cret"],
    );
    check_with("webhooks:add -u https://x/h -a shop", vec![], &["--include"], 2);
    check("webhooks:info w1 -a shop", vec![get("GET /apps/shop/webhooks/w1", hook.clone())], &["=== w1", "url:"]);
    check(
        "webhooks:update w1 -l notify -a shop",
        vec![send("PATCH /apps/shop/webhooks/w1", json!({ "level": "notify" }), hook.clone())],
        &["done"],
    );
    check("webhooks:remove w1 -a shop", vec![get("DELETE /apps/shop/webhooks/w1", hook)], &["done"]);
    let delivery = json!({ "id": "v1", "created_at": "2026", "status": "failed", "event": { "id": "e1", "include": "api:release" }, "num_attempts": 3, "webhook": { "id": "w1" } });
    let path = "GET /apps/shop/webhook-deliveries?eq[status]=failed";
    check(
        "webhooks:deliveries -S failed -a shop",
        vec![get(path, json!([delivery]))],
        &["v1  2026  failed  api:release  3  w1"],
    );
    check("webhooks:deliveries:info v1 -a shop", vec![get("GET /apps/shop/webhook-deliveries/v1", delivery)], &["=== v1"]);
    let event = json!({ "id": "e1", "include": "api:release", "created_at": "2026", "payload": { "action": "create" } });
    check("webhooks:events -a shop", vec![get("GET /apps/shop/webhook-events", json!([event]))], &["e1  api:release  2026"]);
    check("webhooks events info e1 -a shop", vec![get("GET /apps/shop/webhook-events/e1", event)], &["\"action\": \"create\""]);

    let addon = json!({ "id": "x1", "name": "pg-1", "plan": { "name": "postgres:mini" }, "addon_service": { "name": "postgres" }, "state": "provisioned", "app": { "name": "shop" }, "config_vars": ["DATABASE_URL"] });
    let resolve = || send("POST /actions/addons/resolve", json!({ "addon": "pg-1" }), json!([addon]));
    check(
        "addons -a shop",
        vec![get("GET /apps/shop/addons", json!([addon]))],
        &["pg-1  postgres:mini  provisioned  DATABASE_URL  shop"],
    );
    check("addons --all -q", vec![get("GET /addons", json!([addon]))], &["x1\n"]);
    let body = json!({ "plan": { "name": "postgres" }, "attachment": { "name": "ORDERS" } });
    let scenes = vec![send("POST /apps/shop/addons", body, addon.clone()), get("GET /apps/shop/addons/pg-1", addon.clone())];
    check("addons:create postgres --as ORDERS --wait -a shop", scenes, &["pg-1 is provisioned as DATABASE_URL"]);
    let uses = json!([{ "name": "DATABASE", "app": { "name": "shop" } }]);
    check(
        "addons:info pg-1 -a shop",
        vec![resolve(), get("GET /addons/x1/addon-attachments", uses)],
        &["Attachments:  shop::DATABASE"],
    );
    let body = json!({ "addon": { "name": "pg-1" }, "app": { "name": "blog" }, "name": "DB" });
    check(
        "addons:attach pg-1 --as DB -a blog",
        vec![send("POST /addon-attachments", body, json!({ "name": "DB" }))],
        &["done, as DB"],
    );
    let scenes =
        vec![get("GET /apps/blog/addon-attachments/DB", json!({ "id": "at" })), get("DELETE /addon-attachments/at", json!({}))];
    check("addons:detach DB -a blog", scenes, &["Detaching DB from blog... done"]);
    let scene = send("PATCH /apps/shop/addons/pg-1", json!({ "plan": { "name": "postgres:big" } }), addon.clone());
    check("addons:upgrade pg-1 big -a shop", vec![resolve(), scene], &["Changing pg-1 to postgres:big... done"]);
    let scene = send("PATCH /apps/shop/addons/pg-1", json!({ "name": "pg-2" }), addon.clone());
    check("addons:rename pg-1 pg-2", vec![resolve(), scene], &["done"]);
    check("addons:wait pg-1", vec![resolve(), get("GET /apps/shop/addons/pg-1", addon.clone())], &["done"]);
    let scene = send("DELETE /apps/shop/addons/pg-1", json!({ "force": true }), addon.clone());
    check("addons:destroy pg-1 --confirm shop -f", vec![resolve(), scene], &["done"]);
    check_with("addons:destroy pg-1", vec![resolve()], &["--confirm shop", "with its data"], 2);
    check(
        "addons:services",
        vec![get("GET /addon-services", json!([{ "name": "postgres", "human_name": "Postgres", "state": "ga" }]))],
        &["postgres  Postgres  ga"],
    );
    let plans = json!([{ "name": "postgres:mini", "human_name": "Mini", "description": "small" }]);
    check("addons:plans postgres", vec![get("GET /addon-services/postgres/plans", plans)], &["postgres:mini  Mini  small"]);
    let usage = json!({ "addons": [{ "id": "x1", "meters": { "rows": { "quantity": 3 } } }] });
    check("usage:addons -a shop", vec![get("GET /apps/shop/usage", usage)], &["x1  rows  3"]);
}

#[test]
fn labs_and_regions() {
    let lab = json!({ "name": "preview", "enabled": false, "state": "beta", "description": "new" });
    let none = || refuse("GET /account/features/preview", 404, "not_found", "Couldn't find that feature.");
    let scenes = vec![get("GET /account/features", json!([])), get("GET /apps/shop/features", json!([lab]))];
    check("labs -a shop", scenes, &["=== User Features", "[ ]  preview  new"]);
    check(
        "labs:info preview -a shop",
        vec![none(), get("GET /apps/shop/features/preview", lab.clone())],
        &["Enabled:      false"],
    );
    let scene = send("PATCH /apps/shop/features/preview", json!({ "enabled": true }), lab.clone());
    check("labs:enable preview -a shop", vec![none(), scene], &["done"]);
    let scenes = vec![
        get("GET /account/features/preview", lab.clone()),
        send("PATCH /account/features/preview", json!({ "enabled": false }), lab),
    ];
    check("labs:disable preview", scenes, &["for your account... done"]);
    let check_of = json!({ "path": "/up", "successes": 2, "timeout": 5, "interval": 1 });
    check("health-check -a shop", vec![get("GET /apps/shop/health-check", check_of)], &["Path:       /up", "Timeout:    5 s"]);
    check("regions", vec![get("GET /regions", json!([{ "name": "eu", "description": "Europe" }]))], &["eu  Europe"]);
}

#[test]
fn apps_of_teams() {
    let shop = app("shop");
    check("apps -t acme", vec![get("GET /teams/acme/apps", json!([shop]))], &["shop\n"]);
    check(
        "create shop -t acme -n",
        vec![send("POST /teams/apps", json!({ "name": "shop", "team": "acme" }), shop.clone())],
        &["done, shop"],
    );
    let transfer = json!({ "id": "t1", "state": "pending", "app": { "name": "shop" }, "owner": { "email": "a" }, "recipient": { "email": "b" } });
    let body = json!({ "app": "shop", "recipient": "bo@example.com" });
    let scenes = vec![get("GET /apps/shop", shop.clone()), send("POST /account/app-transfers", body, transfer.clone())];
    check("transfer bo@example.com -a shop", scenes, &["done, bo@example.com has to accept it"]);
    let scenes =
        vec![get("GET /apps/shop", shop.clone()), send("PATCH /teams/apps/shop", json!({ "owner": "acme" }), shop.clone())];
    check("transfer acme -a shop", scenes, &["Transferring shop to acme... done"]);
    check("transfers", vec![get("GET /account/app-transfers", json!([transfer]))], &["t1  shop  a  b  pending"]);
    let set = |state: &str| send("PATCH /account/app-transfers/t1", json!({ "state": state }), transfer.clone());
    check("transfers:accept t1", vec![set("accepted")], &["done"]);
    check("transfers:decline t1", vec![set("declined")], &["done"]);
    check("transfers:cancel t1", vec![get("DELETE /account/app-transfers/t1", transfer.clone())], &["done"]);
    for (verb, locked) in [("lock", true), ("unlock", false)] {
        check(
            &format!("{verb} -a shop"),
            vec![send("PATCH /teams/apps/shop", json!({ "locked": locked }), shop.clone())],
            &["done"],
        );
    }
    let me = || get("GET /account", json!({ "email": "ana@example.com" }));
    let scene = send("POST /teams/apps/shop/collaborators", json!({ "user": "ana@example.com" }), json!({}));
    check("join -a shop", vec![me(), scene], &["done"]);
    check("leave -a shop", vec![me(), get("DELETE /apps/shop/collaborators/ana@example.com", json!({}))], &["done"]);
    check("maintenance -a shop", vec![get("GET /apps/shop", shop)], &["on\n"]);
}

#[test]
fn releases_builds_and_buildpacks() {
    let release =
        json!({ "version": 7, "description": "Deploy", "current": true, "slug": { "id": "s1" }, "addon_plan_names": [] });
    let newest = || get("GET /apps/shop/releases", json!([release]));
    let formation = get("GET /apps/shop/formation", json!([{ "type": "release" }]));
    let scene = send("POST /apps/shop/releases", json!({ "slug": "s1" }), json!({ "version": 8 }));
    check("releases:retry -a shop", vec![newest(), formation, scene], &["Retrying v7 on shop... done, v8"]);
    let formation = get("GET /apps/shop/formation", json!([{ "type": "web" }]));
    check_with("releases:retry -a shop", vec![formation], &["no release command"], 2);
    let config = get("GET /apps/shop/releases/7/config-vars", json!({ "A": "two words" }));
    check("releases:info -s -a shop", vec![newest(), config], &["A='two words'\n"]);
    check("releases:output -a shop", vec![newest()], &["Release v7 has no output."]);
    let build = json!({ "id": "b1", "status": "pending", "source_blob": { "url": "http://x/y", "version": "abc" } });
    let builds = || get("GET /apps/shop/builds", json!([build]));
    check(
        "builds:cancel -a shop",
        vec![builds(), get("DELETE /apps/shop/builds/b1", build.clone())],
        &["Cancelling build b1... done"],
    );
    let done = json!({ "id": "b1", "status": "succeeded", "source_blob": { "url": "http://x/y", "version": "abc" } });
    check_with(
        "builds:cancel -a shop",
        vec![get("GET /apps/shop/builds", json!([done]))],
        &["No build of shop is running."],
        4,
    );
    let again =
        || send("POST /apps/shop/builds", json!({ "source_blob": { "url": "http://x/y", "version": "abc" } }), build.clone());
    check("builds:rebuild --detach -a shop", vec![builds(), again()], &["b1\n"]);
    let failed = json!({ "id": "b1", "status": "failed", "failure": "out of memory" });
    let scenes = vec![builds(), again(), get("GET /apps/shop/builds/b1", failed)];
    check_with("rebuild --json -a shop", scenes, &["Build b1 failed. out of memory", "\"status\": \"failed\""], 1);
    let packs = || {
        get(
            "GET /apps/shop/buildpack-installations",
            json!([{ "buildpack": { "url": "urn:buildpack:heroku/go", "name": "heroku/go" } }]),
        )
    };
    let scene = send("PUT /apps/shop/buildpack-installations", json!({ "updates": [] }), json!([]));
    check("buildpacks:remove heroku/go -a shop", vec![packs(), scene], &["Buildpacks cleared."]);
    check_with("buildpacks:remove heroku/nodejs -a shop", vec![packs()], &["no such buildpack"], 4);
    check("open /login -a shop", vec![get("GET /apps/shop", app("shop"))], &["http://shop.localhost/login\n"]);
    check(
        "apps:stacks:set heroku-24 -a shop",
        vec![send("PATCH /apps/shop", json!({ "build_stack": "heroku-24" }), app("shop"))],
        &["done"],
    );
    check(
        "apps:stacks -a shop",
        vec![get("GET /stacks", json!([{ "name": "heroku-24" }])), get("GET /apps/shop", app("shop"))],
        &["* heroku-24\n"],
    );
    check("domains:remove www.x.example -a shop", vec![get("DELETE /apps/shop/domains/www.x.example", json!({}))], &["done"]);
    check("maintenance:off -a shop", vec![send("PATCH /apps/shop", json!({ "maintenance": false }), app("shop"))], &["done"]);
}

#[test]
fn signing_in_and_out() {
    let account = get("GET /account", json!({ "email": "ana@example.com" }));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let started = json!({ "browser_url": "/cli/WXYZ-1234", "cli_url": "/auth/poll", "token": "poll" });
    let own =
        json!({ "id": "a1", "description": "Tidemill CLI login from laptop", "access_token": { "token": "HRKU-1**********" } });
    let other = json!({ "id": "a2", "description": "CI", "access_token": { "token": "HRKU-1**********" } });
    let scenes = vec![
        account,
        send("POST /auth", json!({}), started),
        get("GET /auth/poll", json!({ "access_token": "HRKU-12345" })),
        get("DELETE /oauth/sessions/~", json!({})),
        get("GET /oauth/authorizations", json!([own, other])),
        get("DELETE /oauth/authorizations/a1", own.clone()),
    ];
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = seen.clone();
    std::thread::spawn(move || serve(listener, scenes, noted));
    let home = tempfile::tempdir().unwrap();
    let run = |args: &[&str], input: &str| {
        let mut command = Command::new(BIN);
        command.args(args).env_clear().env("PATH", std::env::var("PATH").unwrap()).env("HOME", home.path());
        command.current_dir(home.path()).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code().unwrap(), text)
    };
    let (code, text) = run(&["login", &base], "");
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&format!("Open {base}/cli/WXYZ-1234 and check that it shows the code WXYZ-1234")), "{text}");
    assert!(text.contains(&format!("Signed in to {base} as ana@example.com")), "{text}");
    assert_eq!(run(&["auth:token"], "").1, "HRKU-12345\n");
    // Git gets the token for this server, over HTTP and TLS, and for no other.
    let host = base.strip_prefix("http://").unwrap();
    for (protocol, host, wanted) in [("http", host, true), ("https", host, true), ("https", "other.example", false)] {
        let answer = run(&["git:credentials", "get"], &format!("protocol={protocol}\nhost={host}\n\n")).1;
        assert_eq!(answer, if wanted { "username=tidemill\npassword=HRKU-12345\n" } else { "" }, "{protocol} {host}");
    }
    let (code, text) = run(&["logout"], "");
    assert!(code == 0 && text.contains("Signed out of"), "{text}");
    let seen = seen.lock().unwrap().clone();
    assert!(seen.contains(&"DELETE /oauth/authorizations/a1".into()) && !seen.iter().any(|s| s.ends_with("/a2")), "{seen:?}");
    assert_eq!(run(&["whoami"], "").0, 3);
    assert_eq!(run(&["login", "not a url"], "").0, 2);
}

#[test]
fn every_verb_is_tested() {
    let (output, _) = play(&["commands", "--json"], vec![], "");
    let verbs: Value = serde_json::from_slice(&output.stdout).unwrap();
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e");
    let files = [
        "cli_contract",
        "cli_here",
        "cli_tls",
        "command_line",
        "one_offs",
        "policy",
        "stacks",
        "attach",
        "api",
        "heroku",
        "bridge",
        "import",
        "metrics",
        "alerts",
        "first_run",
        "backup",
        "volumes",
    ];
    let read = |name: &&str| std::fs::read_to_string(dir.join(format!("{name}.rs"))).unwrap_or_default();
    let text: String = files.iter().map(read).collect();
    let is_used = |name: &str| {
        [name.to_string(), name.replacen(':', "\", \"", 1)]
            .iter()
            .any(|n| text.contains(&format!("\"{n}\"")) || text.contains(&format!("\"{n} ")))
    };
    for verb in verbs.as_array().unwrap() {
        let mut names = vec![verb["name"].as_str().unwrap()];
        names.extend(verb["aliases"].as_array().unwrap().iter().filter_map(Value::as_str));
        let spaced = names.iter().any(|n| is_used(&n.replace(':', " ")));
        assert!(spaced || names.iter().any(|n| is_used(n)), "no test runs {}", names[0]);
    }
}

#[test]
fn what_goes_wrong_has_its_exit_code() {
    for (status, id, code) in [
        (403, "forbidden", 3),
        (404, "not_found", 4),
        (409, "conflict", 5),
        (423, "confirmation_required", 5),
        (422, "invalid_params", 2),
        (429, "rate_limit", 6),
        (500, "internal_server_error", 1),
    ] {
        let scenes = vec![refuse("GET /apps/shop/dynos", status, id, "Because.")];
        check_with("ps -a shop", scenes, &["Because.", &format!("Error ID: {id}")], code);
    }
    let scenes = vec![
        refuse("GET /apps/shpo/dynos", 404, "not_found", "Couldn't find that app."),
        get("GET /apps", json!([app("shop"), app("blog")])),
    ];
    check_with("ps -a shpo", scenes, &["Couldn't find that app.", "Did you mean shop?"], 4);
    let formation = get("GET /apps/shop/formation", json!([{ "type": "worker" }]));
    let scenes =
        vec![refuse("PATCH /apps/shop/formation", 404, "not_found", "Couldn't find that process type (wroker)."), formation];
    check_with("ps:scale wroker=1 -a shop", scenes, &["Did you mean worker?"], 4);
}

#[test]
fn a_long_list_comes_page_by_page() {
    // The played server has no pages; the real one is asked for 1000 at once, which is its largest page.
    let (output, seen) = play(&["apps", "-A", "--json"], vec![get("GET /apps", json!([app("b"), app("a")]))], "");
    let apps: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((apps[0]["name"].as_str(), apps[1]["name"].as_str(), seen.len()), (Some("a"), Some("b"), 1));
}
