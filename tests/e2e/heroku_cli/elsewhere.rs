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
    table.refused("nosuchcommand", 127, &["is not a heroku command"]);
    table.end();
}
