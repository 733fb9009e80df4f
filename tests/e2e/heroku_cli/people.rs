//! access, teams and members with a second account, and what that one may do.

use super::*;
use crate::matrix::join;
use serde_json::json;

fn shared(family: &'static str) -> Option<(Table, String)> {
    let table = Table::start(family)?;
    let bo = join(&table.platform, "bo@example.com", "member");
    for (path, body) in [
        ("/teams", json!({ "name": "crew" })),
        ("/teams/apps", json!({ "name": "staff", "team": "crew" })),
        ("/apps", json!({ "name": "shop" })),
    ] {
        let made = table.platform.api("POST", path, Some(body));
        assert_eq!(made.status, 201, "{}", made.text);
    }
    Some((table, bo))
}

/// Does bo have this on the app?
fn may(platform: &Platform, app: &str) -> bool {
    let list = got(platform, &format!("/apps/{app}/collaborators"));
    list.as_array().unwrap().iter().any(|one| one["user"]["email"] == "bo@example.com")
}

fn role(platform: &Platform) -> Value {
    let list = got(platform, "/teams/crew/members");
    list.as_array()
        .unwrap()
        .iter()
        .find(|one| one["email"] == "bo@example.com")
        .map(|one| one["role"].clone())
        .unwrap_or_default()
}

#[test]
fn heroku_cli_access_of_a_second_account() {
    let Some((mut table, bo)) = shared("access of a second account") else { return };
    table.line("access:add bo@example.com -a shop", 0, &["Adding bo@example.com access to the app shop... done"], |p| {
        may(p, "shop")
    });
    table.shows("access -a shop", &["admin@localhost owner", "bo@example.com collaborator deploy, operate, view"]);
    table.refused("access:update bo@example.com -a shop --permissions deploy", 2, &["is not owned by a team"]);
    table.line("access:remove bo@example.com -a shop", 0, &["Removing bo@example.com access from the app shop... done"], |p| {
        !may(p, "shop")
    });
    let given = ["Adding bo@example.com access to the app staff with deploy, view permissions... done"];
    table.line("access:add bo@example.com -a staff -p deploy,view", 0, &given, |p| may(p, "staff"));
    let changed = ["Updating bo@example.com in application staff with operate,view permissions... done"];
    table.line("access:update bo@example.com -a staff -p operate", 0, &changed, |p| may(p, "staff"));
    table.shows("access -a staff", &["bo@example.com collaborator operate, view"]);
    table.refused("access:update nobody@example.com -a staff -p operate", 2, &["Couldn't find that collaborator."]);
    table.line("access:remove bo@example.com -a staff", 0, &["Removing bo@example.com access"], |p| !may(p, "staff"));
    table.line(
        "apps:transfer bo@example.com -a shop",
        0,
        &["Initiating transfer of shop to bo@example.com... email sent"],
        |p| has(p, "/account/app-transfers", "state", "pending"),
    );

    table.signed_in(&bo);
    table.shows("whoami", &["bo@example.com"]);
    let closed = ["You do not have access to the app shop.", "Error ID: forbidden"];
    table.refused("apps:info -a shop", 2, &closed);
    table.refused("config -a shop", 2, &closed);
    table.line("apps:destroy -a shop --confirm shop", 2, &closed, |p| status(p, "/apps/shop") == 200);
    table.line("create bos", 0, &["Creating bos... done"], |p| got(p, "/apps/bos")["owner"]["email"] == "bo@example.com");
    table.end();
}

#[test]
fn heroku_cli_members_of_a_second_account() {
    let Some((mut table, bo)) = shared("members of a second account") else { return };
    table.line(
        "members:add bo@example.com -r member -t crew",
        0,
        &["Inviting bo@example.com to crew as member... done"],
        |p| has(p, "/teams/crew/invitations", "role", "member"),
    );
    table.shows("members -t crew --pending", &["bo@example.com member pending"]);
    table.line("members:remove bo@example.com -t crew", 0, &["Revoking invite for bo@example.com in crew... done"], |p| {
        got(p, "/teams/crew/invitations") == json!([])
    });
    table.shows("members:add bo@example.com -r member -t crew", &["Inviting bo@example.com to crew as member... done"]);
    table.line("members:set bo@example.com -r viewer -t crew", 0, &["Adding bo@example.com to crew as viewer... done"], |p| {
        role(p) == "viewer" && got(p, "/teams/crew/invitations") == json!([])
    });
    table.line("members:set bo@example.com -r member -t crew", 0, &["as member... done"], |p| role(p) == "member");
    table.refused("members:set bo@example.com -r collaborator -t crew", 2, &["\"collaborator\" is no role; there is admin"]);
    table.shows("members -t crew --role member", &["bo@example.com member"]);
    table.shows("orgs", &["crew", "admin"]);

    table.signed_in(&bo);
    table.shows("teams", &["crew", "member"]);
    table.line("apps:join -a staff", 0, &["Joining staff... done"], |p| may(p, "staff"));
    table.line("apps:leave -a staff", 0, &["Leaving staff... done"], |p| !may(p, "staff"));
    table.line("members:remove admin@localhost -t crew", 2, &["You are not allowed to do this with that team"], |p| {
        has(p, "/teams/crew/members", "email", "admin@localhost")
    });
    table.end();
}
