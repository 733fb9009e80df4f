//! What clients ask about add-ons, telemetry drains and features of accounts, on a server that has no provider.

use crate::{schema::check_list, support::Platform};
use serde_json::{Value, json};

#[test]
fn lists_are_empty_and_whatever_is_asked_for_is_not_there() {
    let platform = Platform::start();
    platform.create("shop");
    for path in [
        "/addons",
        "/users/~/addons",
        "/apps/shop/addons",
        "/addon-attachments",
        "/apps/shop/addon-attachments",
        "/addon-services",
        "/addon-region-capabilities",
        "/regions/local/addon-region-capabilities",
        "/apps/shop/telemetry-drains",
    ] {
        let answer = platform.api("GET", path, None);
        assert_eq!((answer.status, answer.json()), (200, json!([])), "{path}");
        assert!(!answer.header("content-range").is_empty() && answer.header("next-range").is_empty(), "{path}");
    }
    let missing = |method: &str, path: &str, body: Option<Value>, resource: &str| {
        let answer = platform.api(method, path, body);
        assert_eq!((answer.status, answer.json()["id"].as_str()), (404, Some("not_found")), "{method} {path}: {}", answer.text);
        assert_eq!(answer.json()["resource"], resource, "{method} {path}");
        assert!(answer.json()["message"].is_string());
        answer.json()["message"].as_str().unwrap().to_string()
    };
    let told = missing("POST", "/apps/shop/addons", Some(json!({ "plan": { "name": "postgres:small" } })), "add_on_service");
    assert!(told.contains("no provider on this server offers postgres"), "{told}");
    missing("POST", "/apps/shop/addons", Some(json!({ "plan": "redis" })), "add_on_service");
    missing("GET", "/addons/x", None, "add_on");
    missing("GET", "/addons/x/addon-attachments", None, "add_on");
    missing("DELETE", "/apps/shop/addons/x", Some(json!({ "force": false })), "add_on");
    missing("GET", "/apps/shop/addon-attachments/DATABASE", None, "add_on attachment");
    missing("DELETE", "/addon-attachments/x", None, "add_on attachment");
    missing("POST", "/addon-attachments", Some(json!({ "addon": "x", "app": "shop" })), "add_on");
    missing("GET", "/addon-services/postgres", None, "add_on_service");
    missing("GET", "/addon-services/postgres/plans", None, "add_on_service");
    missing("GET", "/plans/postgres:small", None, "add_on_service");
    missing("GET", "/regions/mars/addon-region-capabilities", None, "region");
    missing("GET", "/telemetry-drains/x", None, "telemetry_drain");
    for app in [json!("shop"), Value::Null] {
        missing("POST", "/actions/addons/resolve", Some(json!({ "addon": "x", "app": app })), "add_on");
        let body = json!({ "addon_attachment": "DATABASE_URL", "app": app });
        missing("POST", "/actions/addon-attachments/resolve", Some(body), "add_on attachment");
    }
    missing("GET", "/apps/nosuch/addons", None, "app");
    missing("POST", "/actions/addons/resolve", Some(json!({ "addon": "x", "app": "nosuch" })), "app");
    assert_eq!(platform.api("POST", "/apps/shop/addons", Some(json!({}))).status, 422);
    let body = json!({ "owner": { "id": "x", "type": "app" }, "signals": ["logs"], "exporter": { "type": "otlp" } });
    let refused = platform.api("POST", "/telemetry-drains", Some(body));
    assert_eq!((refused.status, refused.json()["id"].as_str()), (422, Some("telemetry_unavailable")), "{}", refused.text);
}

#[test]
fn features_of_accounts_are_not_those_of_apps() {
    let platform = Platform::start();
    platform.create("shop");
    check_list("account-feature", &platform.api("GET", "/account/features", None).json());
    let one = platform.api("GET", "/account/features/dashboard-repositories-api", None);
    assert_eq!((one.status, one.json()["enabled"].as_bool()), (200, Some(false)), "{}", one.text);
    // Else labs:enable would not look for a feature of the app.
    assert_eq!(platform.api("GET", "/account/features/preboot", None).status, 404);
    let path = "/account/features/dashboard-repositories-api";
    assert_eq!(platform.api("PATCH", path, Some(json!({ "enabled": true }))).status, 422);
    assert_eq!(platform.api("PATCH", path, Some(json!({ "enabled": false }))).status, 200);
}
