//! authorizations, clients and sessions.

use super::*;

/// What follows `name` in a line of an output.
fn after(text: &str, name: &str) -> String {
    let rest = text.split(name).nth(1).unwrap_or_else(|| panic!("no {name} in {text}"));
    rest.split_whitespace().next().unwrap_or_default().to_string()
}

/// How the API takes a token.
fn taken(platform: &Platform, token: &str) -> u16 {
    platform.request("GET", "/account", &[("authorization", &format!("Bearer {token}"))], None).status
}

#[test]
fn heroku_cli_authorizations() {
    let Some(mut table) = Table::start("authorizations") else { return };
    table.shows("authorizations", &["Description", "Scope", "global"]);
    let made = table.line(
        "authorizations:create -d mine --expires-in 3600 --scope read,write",
        0,
        &["Token:", "in about 1 hour"],
        |p| {
            let all = got(p, "/oauth/authorizations");
            all.as_array()
                .unwrap()
                .iter()
                .any(|one| one["description"] == "mine" && one["scope"] == serde_json::json!(["read", "write"]))
        },
    );
    let (id, token) = (after(&made, "ID:"), after(&made, "Token:"));
    assert_eq!(taken(&table.platform, &token), 200);
    table.shows("authorizations --json", &["\"description\": \"mine\""]);
    table.shows(&format!("authorizations:info {id}"), &["mine", "read,write"]);
    table.line(&format!("authorizations:update {id} -d yours"), 0, &["Updating", "done"], |p| {
        has(p, "/oauth/authorizations", "description", "yours")
    });
    let rotated = table.shows(&format!("authorizations:rotate {id}"), &["Rotating", "done", "Token:"]);
    let newer = after(&rotated, "Token:");
    assert_eq!((taken(&table.platform, &token), taken(&table.platform, &newer)), (401, 200), "the old one has ended");
    table.line(&format!("authorizations:revoke {id}"), 0, &["Revoking", "done", "yours"], |p| taken(p, &newer) == 401);
    table.refused(&format!("authorizations:info {id}"), 2, &["Couldn't find that authorization", "Error ID: not_found"]);
    table.shows("authorizations:create -S", &["HRKU-"]);
    table.refused("authorizations:create --scope nonsense", 2, &["Error ID"]);
    table.shows("sessions", &["No OAuth sessions."]);
    table.shows("sessions --json", &["[]"]);
    table.refused("sessions:destroy nothere", 2, &["Couldn't find that session"]);
    table.end();
}

#[test]
fn heroku_cli_clients() {
    let Some(mut table) = Table::start("clients") else { return };
    table.shows("clients", &["No OAuth clients."]);
    let made = table.line("clients:create page https://page.example/back", 0, &["Creating page... done"], |p| {
        has(p, "/oauth/clients", "redirect_uri", "https://page.example/back")
    });
    let (id, secret) = (after(&made, "HEROKU_OAUTH_ID="), after(&made, "HEROKU_OAUTH_SECRET="));
    table.shows("clients", &["page", "https://page.example/back"]);
    table.shows("clients --json", &["\"name\": \"page\""]);
    table.shows(&format!("clients:info {id}"), &["page", "https://page.example/back"]);
    table.line(&format!("clients:update {id} -n site --url https://site.example/back"), 0, &["done"], |p| {
        has(p, "/oauth/clients", "name", "site")
    });
    let rotated = table.shows(&format!("clients:rotate {id}"), &["done"]);
    assert!(!rotated.contains(&secret), "it has another secret");
    table.line(&format!("clients:destroy {id}"), 0, &["done"], |p| got(p, "/oauth/clients") == Value::Array(vec![]));
    table.refused(&format!("clients:info {id}"), 2, &["Couldn't find that OAuth client", "Error ID: not_found"]);
    table.refused("clients:create page http://page.example/back", 1, &["Unsupported callback URL."]);
    table.end();
}
