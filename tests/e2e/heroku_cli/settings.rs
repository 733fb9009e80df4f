//! access, teams, keys, authorizations and the like: who may do what.

use super::*;

#[test]
fn heroku_cli_access() {
    let Some(mut table) = Table::start("access") else { return };
    table.platform.create("shop");
    table.end();
}
