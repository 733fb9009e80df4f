//! Custom domains: names in all forms, who has them, the switch for managed certificates.

use crate::{
    schema::check,
    support::{Platform, eventually},
};
use serde_json::{Value, json};

fn add(platform: &Platform, app: &str, host: &str) -> crate::support::Answer {
    let body = json!({ "hostname": host, "sni_endpoint": null });
    platform.api("POST", &format!("/apps/{app}/domains"), Some(body))
}

#[test]
fn domains_are_found_by_name_and_id_in_every_form_of_the_name() {
    let platform = Platform::start();
    platform.create("shop");
    platform.create("other");
    let made = add(&platform, "shop", "Bücher.Example.com");
    assert_eq!((made.status, made.json()["hostname"].as_str()), (201, Some("xn--bcher-kva.example.com")), "{}", made.text);
    check("domain", &made.json());
    assert_eq!(made.json()["cname"], "shop.localhost");
    let id = made.json()["id"].as_str().unwrap().to_string();
    for name in ["xn--bcher-kva.example.com", "b%C3%BCcher.example.com", id.as_str()] {
        let found = platform.api("GET", &format!("/apps/shop/domains/{name}"), None);
        assert_eq!((found.status, found.json()["id"].as_str()), (200, Some(id.as_str())), "{name}: {}", found.text);
        assert_eq!(platform.api("GET", &format!("/apps/other/domains/{name}"), None).status, 404, "another app's");
    }
    for same in ["bücher.example.com", "xn--bcher-kva.example.com", "XN--BCHER-KVA.example.com."] {
        let taken = add(&platform, "other", same);
        assert!(taken.status == 422 && taken.text.contains("already in use"), "{same}: {}", taken.text);
    }
    assert_eq!(add(&platform, "shop", "*.example.org").status, 201);
    let wild = platform.api("GET", "/apps/shop/domains/*.example.org", None);
    assert_eq!((wild.status, wild.json()["hostname"].as_str()), (200, Some("*.example.org")));
    for bad in ["localhost", "x.localhost", "*.*.com", "a_b.com", "x", "", "a b.com", "-a.com", "*.localhost"] {
        assert_eq!(add(&platform, "shop", bad).status, 422, "{bad}");
    }
    let own = platform.api("GET", "/apps/shop/domains/shop.localhost", None).json();
    assert_eq!((own["kind"].as_str(), &own["cname"]), (Some("heroku"), &Value::Null));
    let gone = platform.api("DELETE", &format!("/apps/shop/domains/{id}"), None);
    assert_eq!((gone.status, gone.json()["hostname"].as_str()), (200, Some("xn--bcher-kva.example.com")));
    assert_eq!(add(&platform, "other", "bücher.example.com").status, 201, "free again");
    platform.api("DELETE", "/apps/other", None);
    assert_eq!(add(&platform, "shop", "bücher.example.com").status, 201, "free after the app went");
}

#[test]
fn the_switch_for_managed_certificates_is_kept_and_nobody_waits_for_what_does_not_come() {
    let mut platform = Platform::start();
    platform.create("shop");
    add(&platform, "shop", "www.example.com");
    let domain = |platform: &Platform| platform.api("GET", "/apps/shop/domains/www.example.com", None).json();
    assert_eq!((&domain(&platform)["acm_status"], &domain(&platform)["acm_status_reason"]), (&Value::Null, &Value::Null));
    assert_eq!(platform.api("PATCH", "/apps/shop/acm", Some(json!({ "acm_refresh": true }))).status, 422, "it is off");
    let on = platform.api("POST", "/apps/shop/acm", Some(json!({})));
    assert_eq!((on.status, on.json()["acm"].as_bool()), (200, Some(true)), "{}", on.text);
    check("app", &on.json());
    platform.signal("TERM");
    platform.wait_end();
    platform.boot();
    assert_eq!(platform.api("GET", "/apps/shop", None).json()["acm"], true);
    let shown = eventually("looked at", || Some(domain(&platform)).filter(|shown| shown["acm_status"] == "failed"));
    check("domain", &shown);
    assert!(shown["acm_status_reason"].as_str().unwrap().contains("has no public name"), "{shown}");
    assert_eq!(platform.api("PATCH", "/apps/shop/acm", Some(json!({ "acm_refresh": true }))).status, 200);
    let off = platform.api("DELETE", "/apps/shop/acm", None);
    assert_eq!((off.status, off.json()["acm"].as_bool()), (200, Some(false)));
    assert_eq!(domain(&platform)["acm_status"], Value::Null);
}
