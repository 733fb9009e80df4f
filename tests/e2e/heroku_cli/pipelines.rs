//! pipelines with their couplings and promotions; review apps and CI, which are not offered.

use super::*;

#[test]
fn heroku_cli_pipelines() {
    let Some(mut table) = Table::start("pipelines") else { return };
    for app in ["shop-staging", "shop-prod"] {
        table.platform.create(app);
    }
    let stage = |p: &Platform, app: &str| got(p, &format!("/apps/{app}/pipeline-couplings"))["stage"].clone();
    let holds = ["Creating shop pipeline... done", "Adding shop-staging to shop pipeline as staging... done"];
    table.line("pipelines:create shop -a shop-staging -s staging", 0, &holds, |p| stage(p, "shop-staging") == "staging");
    table.refused("pipelines:create shop -a shop-prod -s staging", 2, &["Error ID"]);
    table.line("pipelines:add shop -a shop-prod -s production", 0, &["Adding shop-prod to shop pipeline as production"], |p| {
        stage(p, "shop-prod") == "production"
    });
    table.refused("pipelines:add shop -a shop-prod -s production", 2, &["Error ID"]);
    table.shows("pipelines", &["My Pipelines", "shop"]);
    table.shows("pipelines --json", &["\"name\": \"shop\""]);
    table.shows("pipelines:info shop", &["owner: admin@localhost", "shop-staging", "staging", "shop-prod", "production"]);
    table.shows("pipelines:info shop --with-owners --json", &["\"shop-prod\"", "admin@localhost"]);
    table.refused("pipelines:info nothere", 1, &["Pipeline not found"]);
    table.line("pipelines:update -a shop-prod -s development", 0, &["Changing shop-prod to development... done"], |p| {
        stage(p, "shop-prod") == "development"
    });
    table.line("pipelines:update -a shop-prod -s production", 0, &["done"], |p| stage(p, "shop-prod") == "production");
    table.line("pipelines:rename shop store", 0, &["Renaming shop pipeline to store... done"], |p| {
        got(p, "/pipelines")[0]["name"] == "store"
    });
    table.refused("pipelines:promote -a shop-staging", 2, &["App shop-staging has no code to promote; deploy to it first."]);
    table.refused("pipelines:diff -a shop-staging", 2, &["shop-staging does not seem to be connected to GitHub!"]);
    table.refused("pipelines:connect store --repo x/y", 1, &["Account not connected to GitHub."]);
    table.line("pipelines:transfer admin@localhost --pipeline store --confirm store", 0, &["Transferring store"], |p| {
        got(p, "/pipelines")[0]["owner"]["type"] == "user"
    });
    not_offered(&mut table);
    table.line("pipelines:remove -a shop-prod", 0, &["Removing shop-prod... done"], |p| {
        status(p, "/apps/shop-prod/pipeline-couplings") == 404
    });
    table.line("pipelines:destroy store", 0, &["Destroying store pipeline... done"], |p| {
        got(p, "/pipelines") == Value::Array(vec![])
    });
    table.refused("pipelines:destroy store", 1, &["Pipeline not found"]);
    table.end();
}

/// Config of tests is kept, but nobody runs them.
fn not_offered(table: &mut Table) {
    let variables = |p: &Platform| {
        let id = got(p, "/pipelines")[0]["id"].as_str().unwrap_or_default().to_string();
        got(p, &format!("/pipelines/{id}/stage/test/config-vars"))
    };
    table.shows("ci:config --pipeline store", &["store test config vars"]);
    table.line("ci:config:set A=1 --pipeline store", 0, &["Setting A... done", "A: 1"], |p| variables(p)["A"] == "1");
    table.shows("ci:config:get A --pipeline store", &["1"]);
    table.line("ci:config:unset A --pipeline store", 0, &["Unsetting A... done"], |p| variables(p) == serde_json::json!({}));
    table.shows("ci --pipeline store", &["Showing latest test runs for the store pipeline"]);
    let no_run = ["Couldn't find that test run; run tests in a CI of your choice and deploy when they pass.", "Error ID"];
    table.refused("ci:info 1 --pipeline store", 2, &no_run);
    table.shows("ci:last --pipeline store", &["No Heroku CI runs found for the specified app and/or pipeline."]);
    table.refused("ci:run --pipeline store", 2, &["outside of your app's git repository."]);
    table.refused("ci:rerun --pipeline store", 2, &["outside of your app's git repository."]);
    let no_reviews = ["Review apps are not offered; make an app per branch", "Error ID: gone"];
    table.refused("reviewapps:create -b main -p store", 1, &["The branch main doesn't exist."]);
    table.refused("reviewapps:enable -p store", 2, &no_reviews);
    table.refused("reviewapps:disable -p store", 2, &no_reviews);
    table.refused("reviewapps:wait shop-staging", 2, &no_reviews);
}

#[test]
fn heroku_cli_promotes_code_that_serves() {
    if !root_or_skip("running dynos") {
        return;
    }
    let Some(mut table) = Table::start("promotion") else { return };
    for app in ["shop-staging", "shop-prod"] {
        table.platform.create(app);
    }
    Repo::of("procfile").deploy(&table.platform, "shop-staging");
    table.shows("pipelines:create shop -a shop-staging -s staging", &["done"]);
    table.shows("pipelines:add shop -a shop-prod -s production", &["done"]);
    table.line("pipelines:promote -a shop-staging", 0, &["Starting promotion to production", "Promotion successful"], |p| {
        let release = newest_release(p, "shop-prod");
        release["slug"]["id"].is_string()
            && release["description"].as_str().is_some_and(|text| text.starts_with("Promote shop"))
    });
    table.shows("releases -a shop-prod", &["Promote shop"]);
    table.end();
}
