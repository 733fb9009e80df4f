//! Metrics: kept, read by API and command line, scraped; lines of log-runtime-metrics.

use crate::support::{Answer, Platform, Repo, eventually, root_or_skip};
use serde_json::{Value, json};
use std::{
    io::Write,
    process::{Command, Stdio},
};

const FAST: [&str; 2] = ["--metrics-every-s", "1"];

/// Answers 200, 404 and 500 by path, slowly at `/slow`.
const WEB: &str = r#"
import http.server, os, time
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path == '/burn':
            end = time.time() + 6
            while time.time() < end: pass
        if self.path == '/slow': time.sleep(0.3)
        code = int(self.path[1:]) if self.path[1:].isdigit() else 200
        self.send_response(code); self.send_header('content-length', '5'); self.end_headers(); self.wfile.write(b'hello')
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(('', int(os.environ['PORT'])), H).serve_forever()
"#;

pub fn web_app() -> Repo {
    let repo = Repo::empty();
    repo.write("Procfile", "web: python3 web.py\n").write("web.py", WEB).commit("an app");
    repo
}

fn get(platform: &Platform, path: &str) -> Value {
    let answer = platform.api("GET", path, None);
    assert_eq!(answer.status, 200, "{path}: {}", answer.text);
    answer.json()
}

/// Sum of a line's values.
fn sum(series: &Value, name: &str) -> f64 {
    let line = series["lines"].as_array().unwrap().iter().find(|line| line["name"] == name);
    line.map_or(0.0, |line| line["values"].as_array().unwrap().iter().filter_map(Value::as_f64).sum())
}

fn scrape(platform: &Platform) -> Answer {
    platform.request("GET", "/metrics", &[("authorization", &format!("Bearer {}", platform.token))], None)
}

#[test]
fn what_an_app_does_is_counted_kept_over_a_kill_and_gone_with_it() {
    if !root_or_skip("running dynos") {
        return;
    }
    let mut platform = Platform::start_with(&FAST);
    platform.create("shop");
    let on = json!({ "enabled": true });
    assert_eq!(platform.api("PATCH", "/apps/shop/features/log-runtime-metrics", Some(on)).status, 200);
    web_app().deploy(&platform, "shop");
    for (path, times) in [("/", 20), ("/404", 3), ("/500", 2), ("/slow", 4)] {
        (0..times).for_each(|_| drop(platform.web("shop", path)));
    }
    let requests = eventually("all requests are counted", || {
        let series = get(&platform, "/apps/shop/metrics/requests");
        (sum(&series, "2xx") >= 24.0).then_some(series)
    });
    assert_eq!((requests["unit"].as_str(), requests["step_s"].as_u64()), (Some("req/min"), Some(60)));
    assert_eq!([sum(&requests, "2xx"), sum(&requests, "4xx"), sum(&requests, "5xx")], [24.0, 3.0, 2.0]);
    let times = get(&platform, "/apps/shop/metrics/response-time?last=600");
    let of = |name: &str| {
        let lines = times["lines"].as_array().unwrap();
        let line = lines.iter().find(|line| line["name"] == name).unwrap();
        line["values"].as_array().unwrap().iter().filter_map(Value::as_f64).fold(0.0, f64::max)
    };
    assert!((280.0..2000.0).contains(&of("p99")) && of("p50") < of("p99"), "{times}");
    let memory = eventually("memory of the dyno", || {
        let series = get(&platform, "/apps/shop/metrics/memory?process=web");
        (sum(&series, "web.1") > 1.0).then_some(series)
    });
    assert_eq!(memory["lines"][0]["limit"], 512.0);
    let states = get(&platform, "/apps/shop/metrics/states");
    assert_eq!(states["lines"][0]["name"], "web.1");
    eventually("the build and the release", || {
        let builds = get(&platform, "/apps/shop/metrics/builds");
        let releases = get(&platform, "/apps/shop/metrics/releases");
        (sum(&builds, "builds") == 1.0 && sum(&builds, "failed") == 0.0 && sum(&releases, "releases") >= 1.0).then_some(())
    });
    let host = eventually("figures of the host", || {
        let series = get(&platform, "/machine/metrics/host-memory");
        (sum(&series, "used") > 1.0).then_some(series)
    });
    assert!(host["lines"][0]["limit"].as_f64().unwrap() > 100.0);
    let log = platform.wait_log("shop", "sample#memory_quota=512.00MB");
    let line = log.lines().find(|line| line.contains("sample#memory_total=")).unwrap();
    assert!(line.contains(" heroku[web.1]: source=web.1 dyno=heroku."), "{line}");
    assert!(line.contains("sample#memory_pgpgin=0pages") && log.contains("sample#load_avg_15m="), "{line}");
    let text = platform.cli(&["metrics", "requests", "--last", "10m", "-a", "shop"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.starts_with("UTC (req/min)  2xx"), "{text}");
    let now = platform.cli(&["metrics", "-a", "shop", "--json"]);
    let now: Value = serde_json::from_slice(&now.stdout).unwrap();
    assert!(now["latest"]["memory"]["web.1"].as_f64().unwrap() > 1.0, "{now}");
    let host = platform.cli(&["metrics:host"]);
    assert!(String::from_utf8_lossy(&host.stdout).contains("host-memory"), "{host:?}");
    // A kill loses at most what was not written yet, and nothing that was.
    let app = get(&platform, "/apps/shop")["id"].as_str().unwrap().to_string();
    platform.signal("KILL");
    platform.wait_end();
    platform.boot();
    let after = get(&platform, "/apps/shop/metrics/requests");
    assert_eq!([sum(&after, "2xx"), sum(&after, "5xx")], [24.0, 2.0]);
    let folder = platform.data_dir().join("metrics").join(app);
    assert_eq!(std::fs::metadata(folder.join("requests.v1")).unwrap().len(), 884_736);
    platform.api("DELETE", "/apps/shop", None);
    eventually("its series are gone", || (!folder.exists()).then_some(()));
}

#[test]
fn what_makes_no_sense_is_refused() {
    let platform = Platform::start_with(&FAST);
    platform.create("shop");
    for (path, status) in [
        ("/apps/shop/metrics/nosuch", 404),
        ("/apps/shop/metrics/host-cpu", 404),
        ("/machine/metrics/memory", 404),
        ("/apps/none/metrics/memory", 404),
        ("/apps/shop/metrics/memory?last=5", 422),
        ("/apps/shop/metrics/memory?step=abc", 422),
        ("/apps/shop/metrics/memory?from=99999999999999999", 422),
        ("/apps/shop/metrics/memory?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", 422),
    ] {
        let answer = platform.api("GET", path, None);
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        assert!(answer.json()["id"].is_string(), "{path}");
    }
    let wide = get(&platform, "/apps/shop/metrics/requests?from=0&step=60");
    assert!(wide["lines"][0]["values"].as_array().unwrap().len() <= 1501);
    assert_eq!(platform.request("GET", "/metrics", &[], None).status, 401);
}

/// Shows that a tool is there, or says that a part is skipped.
pub fn tool(name: &str) -> bool {
    let found = Command::new(name).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        println!("SKIPPED: {name} is not installed");
        assert!(std::env::var_os("CI").is_none(), "nothing may be skipped in CI");
    }
    found
}

fn promtool(args: &[&str], input: &str) {
    let mut child = Command::new("promtool")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {args:?}: {said}\n{input}");
}

#[test]
fn prometheus_can_read_it_with_an_admins_token() {
    let platform = Platform::start_with(&FAST);
    platform.create("shop");
    assert!(platform.web("shop", "/").status >= 400);
    let page = eventually("figures of the host", || {
        let answer = scrape(&platform);
        assert_eq!(answer.status, 200, "{}", answer.text);
        (!answer.text.contains("tidemill_host_memory_bytes 0\n")).then_some(answer)
    });
    assert_eq!(page.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let lines = ["tidemill_apps 1", "tidemill_router_errors_total{app=\"shop\",code=\"H81\"} "];
    lines.iter().for_each(|line| assert!(page.text.contains(line), "{line} in\n{}", page.text));
    let viewer = platform.api("POST", "/oauth/authorizations", Some(json!({ "scope": ["identity"] })));
    let token = viewer.json()["access_token"]["token"].as_str().unwrap().to_string();
    let refused = platform.request("GET", "/metrics", &[("authorization", &format!("Bearer {token}"))], None);
    assert_eq!(refused.status, 403, "{}", refused.text);
    if tool("promtool") {
        promtool(&["check", "metrics"], &page.text);
    }
}

/// Every name that the shipped files use is one that is scraped, and Prometheus takes the rules and expressions.
#[test]
fn the_shipped_dashboard_and_rules_fit_what_is_scraped() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("web/docs/ops");
    let rules = std::fs::read_to_string(folder.join("prometheus-rules.yml")).unwrap();
    let dashboard: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.join("grafana-dashboard.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let expressions: Vec<&str> = targets.map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(expressions.len() >= 8, "{expressions:?}");
    let platform = Platform::start_with(&FAST);
    let page = scrape(&platform).text;
    let all = format!("{rules}\n{}", expressions.join("\n"));
    let words = all.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("tidemill_"));
    for word in words {
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| word.strip_suffix(end)).unwrap_or(word);
        assert!(
            page.contains(&format!("# TYPE {word} ")) || page.contains(&format!("# TYPE {base} ")),
            "{word} is not scraped"
        );
    }
    if tool("promtool") {
        promtool(&["check", "rules", folder.join("prometheus-rules.yml").to_str().unwrap()], "");
        // As recording rules, since there is no other way to have an expression parsed.
        let plain = |expr: &str| expr.replace("$__rate_interval", "5m").replace("$app", ".*");
        let each = expressions.iter().enumerate();
        let text: String = each.map(|(n, e)| format!("  - record: a:b:c{n}\n    expr: {:?}\n", plain(e))).collect();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("rules.yml");
        std::fs::write(&file, format!("groups:\n- name: dashboard\n  rules:\n{text}")).unwrap();
        promtool(&["check", "rules", file.to_str().unwrap()], "");
    }
}
