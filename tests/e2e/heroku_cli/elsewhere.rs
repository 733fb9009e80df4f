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
    table.refused("spaces", 2, &["Error"]);
    let no_space = ["Private Spaces are not offered", "Error ID: not_found"];
    table.refused("spaces:info -s mine", 2, &no_space);
    table.refused("spaces:ps -s mine", 2, &no_space);
    table.refused("spaces:topology -s mine", 2, &no_space);
    table.refused("spaces:rename --from mine --to yours", 2, &no_space);
    table.refused("spaces:trusted-ips -s mine", 2, &no_space);
    table.refused("spaces:peerings -s mine", 2, &no_space);
    table.refused("spaces:vpn:connections -s mine", 2, &no_space);
    table.refused("spaces:drains:get -s mine", 2, &no_space);
    table.refused("container:release web -a shop", 1, &["This command is for Docker apps only."]);
    table.refused("ps:autoscale:enable --min 1 --max 2 -a shop", 1, &["shop does not have any web dynos to scale"]);
    table.refused("nosuchcommand", 127, &["is not a heroku command"]);
    table.end();
}
