//! The dashboard in a real browser over WebDriver: every page as each role, without script too, in light, dark and on a
//! phone. No console errors, nothing from elsewhere, no barriers; pictures are kept under `target/pages`.

use crate::{
    dashboard::{PAGES, TABS, shop},
    matrix::join,
    sign_in::{Browser, PASSWORD, with_password},
    support::*,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A browser that is driven.
struct Driver {
    child: Child,
    session: String,
    _profile: tempfile::TempDir,
}

impl Driver {
    fn start() -> Self {
        let mut child = Command::new("chromedriver")
            .args(["--port=0", "--log-level=SEVERE"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("started successfully on port")).unwrap();
        let port: u16 = line.rsplit(' ').next().unwrap().trim_end_matches('.').parse().unwrap();
        std::thread::spawn(move || lines.for_each(drop));
        let profile = tempfile::tempdir().unwrap();
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--window-size=1280,900",
            &format!("--user-data-dir={}", profile.path().display()),
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "args": args },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let base = format!("http://127.0.0.1:{port}/session");
        let mut driver = Self { child, session: base.clone(), _profile: profile };
        let made = driver.send("POST", "", wanted);
        driver.session = format!("{base}/{}", made["sessionId"].as_str().unwrap());
        driver
    }

    fn send(&self, method: &str, path: &str, body: Value) -> Value {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.session));
        let mut answer = agent().run(request.header("content-type", "application/json").body(body).unwrap()).unwrap();
        let text = answer.body_mut().with_config().limit(64 << 20).read_to_string().unwrap();
        let mut value: Value = serde_json::from_str(&text).unwrap();
        assert!(answer.status().is_success(), "{method} {path}: {text}");
        value["value"].take()
    }

    fn cdp(&self, command: &str, params: Value) {
        self.send("POST", "/goog/cdp/execute", json!({ "cmd": command, "params": params }));
    }

    fn open(&self, url: &str) {
        self.send("POST", "/url", json!({ "url": url }));
    }

    fn run(&self, script: &str, args: Value) -> Value {
        self.send("POST", "/execute/sync", json!({ "script": script, "args": args }))
    }

    fn keys(&self, text: &str) {
        let presses: Vec<Value> = text
            .chars()
            .flat_map(|c| [json!({ "type": "keyDown", "value": c }), json!({ "type": "keyUp", "value": c })])
            .collect();
        self.send("POST", "/actions", json!({ "actions": [{ "type": "key", "id": "keys", "actions": presses }] }));
    }

    fn dark(&self, dark: bool) {
        let value = if dark { "dark" } else { "light" };
        let features = json!([{ "name": "prefers-color-scheme", "value": value }]);
        self.cdp("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    fn width(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500 });
        self.cdp("Emulation.setDeviceMetricsOverride", metrics);
    }

    fn picture(&self, name: &str) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/pages");
        fs::create_dir_all(&dir).unwrap();
        let png = self.send("GET", "/screenshot", Value::Null);
        fs::write(dir.join(format!("{name}.png")), STANDARD.decode(png.as_str().unwrap()).unwrap()).unwrap();
    }

    /// What axe-core finds on the page, in words.
    fn barriers(&self, axe: &str) -> Vec<String> {
        let script = format!(
            "const done = arguments[arguments.length - 1]; if (!window.axe) {{ {axe} }} \
             axe.run(document, {{ resultTypes: ['violations'] }}).then((found) => done(found.violations.map((one) => \
             one.id + ': ' + one.nodes.map((node) => node.html.slice(0, 120) + ' ' + (node.any[0] || node.all[0] || {{}}).message).join(' | '))), \
             (e) => done(['axe: ' + e]));"
        );
        let found = self.send("POST", "/execute/async", json!({ "script": script, "args": [] }));
        found.as_array().unwrap().iter().map(|one| one.as_str().unwrap().to_string()).collect()
    }

    /// Errors on the console and requests to other hosts since the last look.
    fn complaints(&self, base: &str) -> Vec<String> {
        let mut found = Vec::new();
        for entry in self.send("POST", "/se/log", json!({ "type": "browser" })).as_array().unwrap() {
            if entry["level"] == "SEVERE" || entry["level"] == "WARNING" {
                found.push(entry["message"].to_string());
            }
        }
        for entry in self.send("POST", "/se/log", json!({ "type": "performance" })).as_array().unwrap() {
            let message: Value = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            let url = message["message"]["params"]["request"]["url"].as_str().unwrap_or("");
            if message["message"]["method"] == "Network.requestWillBeSent" && url.starts_with("http") && !url.starts_with(base)
            {
                found.push(format!("a request to {url}"));
            }
        }
        found
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let request = ureq::http::Request::builder().method("DELETE").uri(&self.session);
        let _ = agent().run(request.body(String::new()).unwrap()); // it may be gone
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The file of axe-core, when browser, driver and it are there.
fn tools() -> Option<String> {
    let there =
        |program: &str| Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    let file = std::env::var_os("TIDEMILL_TEST_AXE")
        .map_or_else(|| PathBuf::from("/var/tmp/tidemill-tests/axe-4.10.3/node_modules/axe-core/axe.min.js"), PathBuf::from);
    let axe = fs::read_to_string(file).ok();
    if !there("chromedriver") || !there("chromium") || axe.is_none() {
        println!("SKIPPED: pages in a browser need chromium, chromedriver and axe-core; see tests/run");
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
        return None;
    }
    axe
}

fn sign_in(driver: &Driver, platform: &Platform, email: &str) {
    let browser = Browser::new(platform);
    assert_eq!(browser.sign_in(email, PASSWORD).status, 303);
    driver.open(&format!("{}/login", platform.base()));
    driver.send("DELETE", "/cookie", Value::Null);
    for (name, value) in browser.cookies.borrow().iter() {
        driver.send("POST", "/cookie", json!({ "cookie": { "name": name, "value": value, "path": "/", "httpOnly": true } }));
    }
}

fn name_of(path: &str) -> String {
    let name: String = path.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let name = name.trim_matches('-').to_string();
    if name.is_empty() { "apps".into() } else { name }
}

#[test]
fn every_page_is_right_in_a_browser() {
    let Some(axe) = tools() else { return };
    let platform = Platform::start();
    shop(&platform);
    let email = with_password(&platform);
    for (person, role) in [("bo@example.com", "member"), ("vi@example.com", "viewer")] {
        join(&platform, person, role);
        assert_eq!(platform.api("POST", "/apps/shop/collaborators", Some(json!({ "user": person }))).status, 201);
    }
    let mut all: Vec<String> =
        PAGES.iter().map(ToString::to_string).chain(TABS.iter().map(|tab| format!("/apps/shop{tab}"))).collect();
    if root_or_skip("running dynos") {
        Repo::of("procfile").deploy(&platform, "shop");
        let build = platform.api("GET", "/apps/shop/builds", None).json()[0]["id"].as_str().unwrap().to_string();
        all.push(format!("/apps/shop/builds/{build}"));
    }
    let driver = Driver::start();
    let base = platform.base();
    let mut problems = Vec::new();
    let mut told = |what: String, found: Vec<String>| problems.extend(found.into_iter().map(|one| format!("{what}: {one}")));
    driver.open(&format!("{base}/login"));
    told("/login".into(), driver.barriers(&axe));
    sign_in(&driver, &platform, &email);
    for path in &all {
        driver.width(1280, 900);
        driver.dark(false);
        driver.open(&format!("{base}{path}"));
        told(format!("{path} light"), driver.barriers(&axe));
        driver.picture(&format!("{}-light", name_of(path)));
        driver.dark(true);
        told(format!("{path} dark"), driver.barriers(&axe));
        driver.picture(&format!("{}-dark", name_of(path)));
        driver.dark(false);
        driver.width(360, 740);
        told(format!("{path} at 360 px"), driver.barriers(&axe));
        let wide = driver.run("return document.documentElement.scrollWidth", json!([]));
        told(format!("{path} at 360 px"), if wide.as_u64() > Some(360) { vec![format!("is {wide} px wide")] } else { vec![] });
        driver.picture(&format!("{}-360", name_of(path)));
        told(path.clone(), driver.complaints(&base));
    }
    driver.width(1280, 900);
    for person in ["bo@example.com", "vi@example.com"] {
        sign_in(&driver, &platform, person);
        for path in
            all.iter().filter(|path| person != "vi@example.com" || !(path.contains("/config") || path.ends_with("/new")))
        {
            driver.open(&format!("{base}{path}"));
            told(format!("{path} for {person}"), driver.complaints(&base));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn pages_are_live_and_work_with_keys_and_without_script() {
    if tools().is_none() {
        return;
    }
    let platform = Platform::start();
    shop(&platform);
    let email = with_password(&platform);
    let driver = Driver::start();
    let base = platform.base();
    sign_in(&driver, &platform, &email);
    driver.open(&format!("{base}/apps/shop"));
    let text = |selector: &str| driver.run("return document.querySelector(arguments[0])?.textContent || ''", json!([selector]));
    let shows = |selector: &str, word: &str| {
        eventually(&format!("{word:?} in {selector}"), || text(selector).as_str().unwrap().contains(word).then_some(()));
    };
    shows("#link", "live");
    assert_eq!(platform.api("PATCH", "/apps/shop", Some(json!({ "maintenance": true }))).status, 200);
    shows("#apphead", "maintenance");
    // A new line of the log comes by itself; a pause holds it back.
    driver.open(&format!("{base}/apps/shop/logs"));
    shows("#link", "live");
    assert_eq!(platform.api("PATCH", "/apps/shop/config-vars", Some(json!({ "FRESH": "1" }))).status, 200);
    shows("#log", "FRESH");
    driver.run("document.querySelector('[data-do=pause]').click()", json!([]));
    assert_eq!(platform.api("PATCH", "/apps/shop/config-vars", Some(json!({ "LATER": "1" }))).status, 200);
    shows(".more", "new line");
    assert!(!text("#log").as_str().unwrap().contains("LATER"));
    driver.run("document.querySelector('.more').click()", json!([]));
    shows("#log", "LATER");
    // The palette and the keys.
    driver.run("document.activeElement.blur()", json!([]));
    driver.keys("gc");
    shows("h2", "Config vars");
    driver.run("document.dispatchEvent(new KeyboardEvent('keydown', { key: 'k', ctrlKey: true, bubbles: true }))", json!([]));
    driver.keys("rename shop");
    shows("dialog li", "Rename shop");
    driver.keys("\u{e007}");
    shows("h2", "Settings");
    driver.run("document.querySelector('#main').click()", json!([]));
    driver.keys("?");
    shows("#help", "palette");
    assert!(driver.complaints(&base).is_empty());
    // Without script: the page is whole, and its form does what it says.
    driver.cdp("Emulation.setScriptExecutionDisabled", json!({ "value": true }));
    driver.open(&format!("{base}/apps/shop"));
    let button = driver.send(
        "POST",
        "/element",
        json!({ "using": "css selector", "value": "form[action='/apps/shop/maintenance'] button" }),
    );
    let id = button.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_string();
    driver.send("POST", &format!("/element/{id}/click"), json!({}));
    eventually("maintenance is over", || {
        (platform.api("GET", "/apps/shop", None).json()["maintenance"] == false).then_some(())
    });
    let source = driver.send("GET", "/source", Value::Null);
    assert!(source.as_str().unwrap().contains("Maintenance is off"), "{source}");
}
