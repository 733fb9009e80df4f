//! People and teams: how they come, share and leave.

use crate::{
    matrix::{call, join},
    schema::{check, check_list},
    support::Platform,
};
use serde_json::json;

#[test]
fn who_leaves_takes_nothing_along_and_leaves_nothing_behind() {
    let platform = Platform::start();
    let ana = join(&platform, "ana@example.com", "member");
    let bo = join(&platform, "bo@example.com", "member");
    assert_eq!(call(&platform, &ana, "POST", "/apps", json!({ "name": "shop" })).status, 201);
    let id = call(&platform, &ana, "GET", "/account", json!({})).json()["id"].clone();
    let owner = json!({ "id": id, "type": "user" });
    let made = call(&platform, &ana, "POST", "/pipelines", json!({ "name": "line", "owner": owner }));
    assert_eq!(made.status, 201, "{}", made.text);
    let offer = json!({ "app": "shop", "recipient": "bo@example.com" });
    let offered = call(&platform, &ana, "POST", "/account/app-transfers", offer.clone());
    assert_eq!(offered.status, 201, "{}", offered.text);
    check("app-transfer", &offered.json());

    // The offer goes with its recipient, so that another one can be made.
    assert_eq!(platform.api("DELETE", "/members/bo@example.com", None).status, 200);
    assert_eq!(call(&platform, &bo, "GET", "/account", json!({})).status, 401, "tokens end");
    assert_eq!(call(&platform, &ana, "GET", "/account/app-transfers", json!({})).json(), json!([]));
    let bo = join(&platform, "bo@example.com", "member");
    assert_eq!(call(&platform, &ana, "POST", "/account/app-transfers", offer).status, 201);
    let accepted = call(&platform, &bo, "PATCH", "/account/app-transfers/shop", json!({ "state": "accepted" }));
    assert_eq!((accepted.status, accepted.json()["state"].as_str()), (200, Some("accepted")), "{}", accepted.text);
    assert_eq!(call(&platform, &bo, "GET", "/apps/shop", json!({})).json()["owner"]["email"], "bo@example.com");
    assert_eq!(call(&platform, &ana, "GET", "/apps/shop", json!({})).status, 403, "it is no longer hers");

    // A pipeline without an owner would be nobody's.
    let refused = platform.api("DELETE", "/members/ana@example.com", None);
    assert_eq!((refused.status, refused.text.contains("ana@example.com owns line")), (409, true), "{}", refused.text);
    assert_eq!(call(&platform, &ana, "DELETE", "/pipelines/line", json!({})).status, 200);
    assert_eq!(platform.api("DELETE", "/members/ana@example.com", None).status, 200);
    let own = platform.api("GET", "/account", None).json()["email"].as_str().unwrap().to_string();
    assert_eq!(platform.api("DELETE", &format!("/members/{own}"), None).status, 409, "the only admin stays");
}

#[test]
fn teams_own_apps_and_pipelines_and_give_rights_by_role() {
    let platform = Platform::start();
    let (ana, bo) = (join(&platform, "ana@example.com", "member"), join(&platform, "bo@example.com", "member"));
    let vic = join(&platform, "vic@example.com", "member");
    let team = call(&platform, &ana, "POST", "/teams", json!({ "name": "crew" }));
    assert_eq!(team.status, 201, "{}", team.text);
    check("team", &team.json());
    for (email, role) in [("bo@example.com", "member"), ("vic@example.com", "viewer")] {
        let member = json!({ "email": email, "role": role });
        assert_eq!(call(&platform, &ana, "PUT", "/teams/crew/members", member).status, 200);
    }
    let mut members = call(&platform, &bo, "GET", "/teams/crew/members", json!({})).json();
    // The published schemas have no word for viewers, who are ours (`ux.md` J10).
    members.as_array_mut().unwrap().retain(|member| member["role"] != "viewer");
    check_list("team-member", &members);
    let app = call(&platform, &ana, "POST", "/teams/apps", json!({ "name": "shop", "team": "crew" }));
    assert_eq!(app.status, 201, "{}", app.text);
    check("team-app", &app.json());
    let config = |token: &str| call(&platform, token, "GET", "/apps/shop/config-vars", json!({})).status;
    assert_eq!((config(&ana), config(&bo), config(&vic)), (200, 200, 403), "a viewer sees no values");
    assert_eq!(call(&platform, &vic, "GET", "/apps/shop", json!({})).status, 200, "but the app");

    // Locked: who has not joined only looks, and can not join by himself.
    assert_eq!(call(&platform, &ana, "PATCH", "/teams/apps/shop", json!({ "locked": true })).status, 200);
    assert_eq!(config(&bo), 403);
    let join = json!({ "user": "bo@example.com" });
    assert_eq!(call(&platform, &bo, "POST", "/teams/apps/shop/collaborators", join.clone()).status, 403);
    let deploys = json!({ "user": "bo@example.com", "permissions": ["deploy"] });
    assert_eq!(call(&platform, &ana, "POST", "/teams/apps/shop/collaborators", deploys).status, 201);
    assert_eq!(config(&bo), 403, "to deploy is not to see values");
    assert_eq!(call(&platform, &bo, "POST", "/apps/shop/sources", json!({})).status, 201);
    assert_eq!(call(&platform, &ana, "PATCH", "/teams/apps/shop", json!({ "locked": false })).status, 200);
    assert_eq!(call(&platform, &bo, "POST", "/teams/apps/shop/collaborators", join).status, 201);

    let owner = json!({ "id": team.json()["id"], "type": "team" });
    assert_eq!(call(&platform, &ana, "POST", "/pipelines", json!({ "name": "line", "owner": owner })).status, 201);
    let refused = call(&platform, &ana, "DELETE", "/teams/crew", json!({}));
    assert_eq!((refused.status, refused.text.contains("owns shop, line")), (409, true), "{}", refused.text);
    assert_eq!(call(&platform, &ana, "DELETE", "/teams/crew/members/ana@example.com", json!({})).status, 409, "its only admin");
    assert_eq!(call(&platform, &ana, "PATCH", "/teams/apps/shop", json!({ "owner": "ana@example.com" })).status, 200);
    assert_eq!(call(&platform, &ana, "DELETE", "/pipelines/line", json!({})).status, 200);
    assert_eq!(call(&platform, &ana, "DELETE", "/teams/crew", json!({})).status, 200);
    let told = platform.request("GET", "/events", &[("authorization", &format!("Bearer {}", platform.token))], None).text;
    for action in ["team_changed", "member_changed", "collaborator_changed", "app_transferred"] {
        assert!(told.contains(action), "{action} is not in the audit list");
    }
}
