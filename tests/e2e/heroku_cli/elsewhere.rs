//! What belongs to services that Tidemill does not have: each command says so and ends.

use super::*;

#[test]
fn heroku_cli_what_is_not_offered_says_so() {
    let Some(mut table) = Table::start("not offered") else { return };
    table.platform.create("shop");
    let not_asked = |host: &str| format!("{host} was not asked: this command needs a service of Heroku");
    table.refused("notifications", 2, &[&not_asked("telex.heroku.com"), "Error ID: gone"]);
    table.refused("apps:errors -a shop", 2, &[&not_asked("api.metrics.herokai.com")]);
    table.refused("apps:favorites", 2, &[&not_asked("particleboard.heroku.com")]);
    table.refused("apps:favorites:add -a shop", 2, &[&not_asked("particleboard.heroku.com")]);
    table.refused("apps:favorites:remove -a shop", 2, &[&not_asked("particleboard.heroku.com")]);
    table.refused("ps:autoscale:disable -a shop", 2, &[&not_asked("api.metrics.heroku.com")]);
    table.refused("spaces", 2, &["You do not have access to any spaces."]);
    for line in ["ps:exec -a shop", "ps:copy a.txt -a shop", "ps:forward 8080 -a shop", "ps:socks -a shop"] {
        table.refused(line, 2, &["Couldn't find that feature", "Error ID: not_found"]);
    }
    table.refused("container:push web -a shop", 1, &["This command is for Docker apps only."]);
    for line in ["container:rm web -a shop", "container:pull web -a shop", "container:run web -a shop"] {
        table.refused(line, 1, &["This command is for Docker apps only."]);
    }
    table.refused("accounts", 2, &["You don't have any accounts in your cache."]);
    table.refused("accounts:current", 2, &["You haven't set an account."]);
    table.refused("accounts:set nothere", 2, &["nothere doesn't exist in your accounts cache."]);
    table.refused("accounts:remove nothere", 2, &["nothere doesn't exist in your accounts cache."]);
    table.refused("container:release web -a shop", 1, &["This command is for Docker apps only."]);
    table.refused("ps:autoscale:enable --min 1 --max 2 -a shop", 1, &["shop does not have any web dynos to scale"]);
    table.refused("nosuchcommand", 127, &["is not a heroku command"]);
    table.end();
}
