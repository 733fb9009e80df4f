//! access, teams and members: who may do what.

use super::*;
use serde_json::json;

#[test]
fn heroku_cli_access_and_teams() {
    let Some(mut table) = Table::start("access and teams") else { return };
    table.platform.create("shop");
    table.shows("access -a shop", &["admin@localhost", "owner"]);
    table.shows("access -a shop --json", &["\"role\": \"owner\""]);
    table.refused("access:add nobody@shop.example -a shop", 2, &["Error ID: invalid_params"]);
    table.refused("access:remove nobody@shop.example -a shop", 2, &["Error ID: not_found"]);
    table.refused("access:remove admin@localhost -a shop", 2, &["The owner can not be removed"]);
    let made = table.platform.api("POST", "/teams", Some(json!({ "name": "crew" })));
    assert_eq!(made.status, 201, "{}", made.text);
    table.shows("teams", &["crew", "admin"]);
    table.shows("teams --json", &["\"name\": \"crew\""]);
    table.shows("members -t crew", &["admin@localhost", "admin"]);
    table.shows("members -t crew --json", &["\"email\": \"admin@localhost\""]);
    table.refused("members -t nothere", 2, &["Error ID: not_found"]);
    table.refused("members:set admin@localhost -r member -t crew", 2, &["Error ID"]);
    table.refused("members:remove nobody@shop.example -t crew", 2, &["Error ID: not_found"]);
    table.line("create staff -t crew", 0, &["Creating staff... done"], |p| got(p, "/apps/staff")["team"]["name"] == "crew");
    table.shows("apps -t crew", &["Apps in team crew", "staff"]);
    table.line("apps:lock -a staff", 0, &["Locking staff... done"], |p| got(p, "/teams/apps/staff")["locked"] == true);
    table.refused("apps:lock -a staff", 1, &["cannot lock staff"]);
    table.line("apps:unlock -a staff", 0, &["Unlocking staff... done"], |p| got(p, "/teams/apps/staff")["locked"] == false);
    table.refused("apps:unlock -a staff", 1, &["cannot unlock staff"]);
    table.line("apps:transfer crew -a shop", 0, &["Transferring shop to crew", "done"], |p| {
        got(p, "/apps/shop")["team"]["name"] == "crew"
    });
    table.shows("access -a staff", &["admin@localhost"]);
    table.end();
}

/// A public key that nobody has the other half of.
const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJm2Jm9t3N2ZkF5Jw0vC0d0o2z3wqk0yTQ0q8m1zq3pB ana@laptop";

#[test]
fn heroku_cli_keys_and_the_platform() {
    let Some(mut table) = Table::start("keys and the platform") else { return };
    let file = table.dir.join("id.pub");
    std::fs::write(&file, format!("{KEY}\n")).unwrap();
    table.shows("keys", &["You have no SSH keys."]);
    let count = |p: &Platform| got(p, "/account/keys").as_array().map(Vec::len);
    table.line(&format!("keys:add {} -y", file.display()), 0, &["Uploading", "done"], |p| count(p) == Some(1));
    table.shows("keys", &["admin@localhost keys", "ana@laptop"]);
    table.shows("keys --json", &["\"comment\": \"ana@laptop\""]);
    table.refused(&format!("keys:add {} -y", file.display()), 2, &["Error ID"]);
    table.line("keys:remove ana@laptop", 0, &["Removing ana@laptop SSH key... done"], |p| count(p) == Some(0));
    table.shows(&format!("keys:add {} -y", file.display()), &["done"]);
    table.line("keys:clear", 0, &["Removing all SSH keys... done"], |p| count(p) == Some(0));
    table.shows("regions", &["ID", "Location", "Runtime"]);
    table.shows("regions --json", &["\"name\""]);
    table.shows("status", &["No known issues at this time."]);
    table.shows("status --json", &["\"status\""]);
    table.shows("buildpacks:search python", &["heroku/python"]);
    table.shows("buildpacks:info heroku/python", &["=== heroku/python", "category: languages"]);
    table.shows("buildpacks:versions heroku/python", &["Version"]);
    table.refused("buildpacks:set heroku/nosuchpack -a nothere", 2, &["Error ID: not_found"]);
    table.end();
}
