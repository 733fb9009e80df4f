//! Databases, caches and spaces of Heroku: every command of theirs says what there is not, and ends. None leaves an add-on behind.

use super::*;

/// Ended with 1, and that the app has no databases.
const NO_DATABASE: &[&str] = &[
    "data:pg:upgrade:run thing -a shop --confirm shop",
    "pg:backups:capture -a shop",
    "pg:backups:restore -a shop --confirm shop",
    "pg:backups:schedule -a shop --at '02:00 UTC'",
    "pg:bloat -a shop",
    "pg:blocking -a shop",
    "pg:cache-hit -a shop",
    "pg:calls -a shop",
    "pg:connection-pooling:attach -a shop",
    "pg:copy db thing -a shop --confirm shop",
    "pg:credentials -a shop",
    "pg:credentials:create -a shop --name one",
    "pg:credentials:destroy -a shop --confirm shop --name one",
    "pg:credentials:repair-default -a shop --confirm shop",
    "pg:credentials:rotate -a shop --confirm shop",
    "pg:credentials:url -a shop",
    "pg:diagnose -a shop",
    "pg:extensions -a shop",
    "pg:fdwsql thing -a shop",
    "pg:index-size -a shop",
    "pg:index-usage -a shop",
    "pg:kill 12 -a shop",
    "pg:killall -a shop",
    "pg:links:destroy thing thing -a shop --confirm shop",
    "pg:locks -a shop",
    "pg:long-running-queries -a shop",
    "pg:mandelbrot -a shop",
    "pg:outliers -a shop",
    "pg:promote thing -a shop",
    "pg:ps -a shop",
    "pg:pull db thing -a shop",
    "pg:push db thing -a shop",
    "pg:records-rank -a shop",
    "pg:reset -a shop --confirm shop",
    "pg:seq-scans -a shop",
    "pg:settings -a shop",
    "pg:settings:auto-explain -a shop",
    "pg:settings:auto-explain:log-analyze -a shop",
    "pg:settings:auto-explain:log-buffers -a shop",
    "pg:settings:auto-explain:log-format -a shop",
    "pg:settings:auto-explain:log-min-duration -a shop",
    "pg:settings:auto-explain:log-nested-statements -a shop",
    "pg:settings:auto-explain:log-triggers -a shop",
    "pg:settings:auto-explain:log-verbose -a shop",
    "pg:settings:data-connector-details-logs -a shop",
    "pg:settings:explain-data-connector-details -a shop",
    "pg:settings:log-connections -a shop",
    "pg:settings:log-lock-waits -a shop",
    "pg:settings:log-min-duration-statement -a shop",
    "pg:settings:log-min-error-statement -a shop",
    "pg:settings:log-statement -a shop",
    "pg:settings:track-functions -a shop",
    "pg:stats-reset -a shop",
    "pg:table-indexes-size -a shop",
    "pg:table-size -a shop",
    "pg:table_size -a shop",
    "pg:total-index-size -a shop",
    "pg:total-table-size -a shop",
    "pg:total_table_size -a shop",
    "pg:unfollow thing -a shop --confirm shop",
    "pg:unused-indexes -a shop",
    "pg:unused_indexes -a shop",
    "pg:upgrade:cancel -a shop --confirm shop",
    "pg:upgrade:dryrun -a shop --confirm shop",
    "pg:upgrade:prepare -a shop --confirm shop",
    "pg:upgrade:run -a shop --confirm shop",
    "pg:user-connections -a shop",
    "pg:vacuum-stats -a shop",
    "psql -a shop",
    "pg:psql -a shop",
    "data:pg:psql thing -a shop",
    "data:pg:wait thing -a shop",
    "data:pg:upgrade:wait thing -a shop",
];

/// Ended with 2, and that there is no such add-on.
const NO_ADD_ON: &[&str] = &[
    "data:maintenances:history thing -a shop",
    "data:maintenances:info thing -a shop",
    "data:maintenances:run thing -a shop --confirm shop",
    "data:maintenances:schedule thing -a shop",
    "data:maintenances:wait thing -a shop",
    "data:maintenances:window thing -a shop",
    "data:maintenances:window:update thing monday 10:00 -a shop",
    "data:pg:attachments thing -a shop",
    "data:pg:attachments:create thing -a shop --confirm shop",
    "data:pg:attachments:destroy thing -a shop --confirm shop",
    "data:pg:credentials thing -a shop",
    "data:pg:credentials:create thing -a shop --name one",
    "data:pg:credentials:destroy thing -a shop --confirm shop --name one",
    "data:pg:credentials:rotate thing -a shop --confirm shop",
    "data:pg:credentials:url thing -a shop",
    "data:pg:destroy thing -a shop --confirm shop",
    "data:pg:quotas thing -a shop",
    "data:pg:settings thing -a shop",
    "pg:links:create thing thing -a shop",
    "data:pg:info thing -a shop",
    "data:pg:fork thing -a shop --confirm shop",
];

/// Ended with 2, and what to use in place of the data API.
const NO_DATA_API: &[&str] = &[
    "data:maintenances -a shop",
    "data:pg:create -a shop --confirm shop",
    "data:pg:levels",
    "pg:backups -a shop --confirm shop",
    "pg:backups:cancel -a shop",
    "pg:backups:info -a shop",
    "pg:backups:url -a shop",
    "pg:backups:download -a shop",
];

/// Ended with 1, and that there is none.
const NO_REDIS: &[&str] = &[
    "redis:cli -a shop --confirm shop",
    "redis:credentials -a shop",
    "redis:keyspace-notifications -a shop --config K",
    "redis:maxmemory -a shop --policy noeviction",
    "redis:promote -a shop",
    "redis:stats-reset -a shop --confirm shop",
    "redis:timeout -a shop --seconds 30",
    "redis:upgrade -a shop --confirm shop --version 15",
    "redis:wait -a shop",
];

/// Ended with 2, and what to use in place of spaces.
const NO_SPACE: &[&str] = &[
    "spaces:create mine --team crew",
    "spaces:destroy mine --confirm mine",
    "spaces:drains:get --space mine",
    "spaces:drains:set thing --space mine",
    "spaces:info mine",
    "spaces:peerings mine",
    "spaces:peerings:info mine",
    "spaces:ps mine",
    "spaces:rename --from mine --to yours",
    "spaces:topology mine",
    "spaces:transfer --space mine --team crew",
    "spaces:trusted-ips mine",
    "spaces:trusted-ips:add 10.0.0.0/24 --confirm mine --space mine",
    "spaces:trusted-ips:remove 10.0.0.0/24 --confirm mine --space mine",
    "spaces:vpn:config thing --space mine",
    "spaces:vpn:connect thing --cidrs 10.0.0.0/16 --ip 192.0.2.1 --space mine",
    "spaces:vpn:connections --space mine",
    "spaces:vpn:info thing --space mine",
    "spaces:vpn:update thing --cidrs 10.0.0.0/16 --space mine",
    "spaces:wait mine",
    "spaces:vpn:wait thing --space mine",
    "spaces:vpn:destroy thing --confirm thing --space mine",
    "spaces:peerings:accept pcx-1 --space mine",
    "spaces:peerings:destroy pcx-1 --confirm pcx-1 --space mine",
    "drains:get --space mine",
    "drains:set x --space mine",
];

/// Nothing came of it: no add-on, no config var, no release.
fn untouched(platform: &Platform) -> bool {
    let releases = got(platform, "/apps/shop/releases").as_array().map(Vec::len);
    got(platform, "/apps/shop/addons") == serde_json::json!([]) && releases == Some(2)
}

#[test]
fn heroku_cli_postgres_and_redis() {
    let Some(mut table) = Table::start("databases") else { return };
    table.platform.create("shop");
    let data_api = "The data API is not offered at this address; connect with the address in the app's config vars.";
    let families: [(&[&str], i32, &[&str]); 4] = [
        (NO_DATABASE, 1, &["shop has no databases"]),
        (NO_ADD_ON, 2, &["Couldn't find that add-on", "Error ID: not_found"]),
        (NO_DATA_API, 2, &[data_api, "Error ID: not_found"]),
        (NO_REDIS, 1, &["No Redis instances found."]),
    ];
    for (lines, exit, holds) in families {
        for line in lines {
            table.line(line, exit, holds, untouched);
        }
    }
    for line in ["pg -a shop", "pg:info -a shop"] {
        table.shows(line, &["shop has no heroku-postgresql databases."]);
    }
    for line in ["redis -a shop", "redis:info -a shop", "pg:wait -a shop"] {
        table.line(line, 0, &[], untouched);
    }
    table.refused("pg:links -a shop", 1, &["No databases on shop"]);
    table.refused("pg:backups:delete thing -a shop --confirm shop", 1, &["Invalid Backup: thing"]);
    for line in ["pg:backups:schedules -a shop", "pg:backups:unschedule -a shop"] {
        table.refused(line, 1, &["No Heroku Postgres legacy database on shop"]);
    }
    table.refused("pg:upgrade:wait -a shop", 2, &["You must provide a database."]);
    table.refused("data:pg:update -a shop", 2, &["No Heroku Postgres Advanced-tier databases found on the app."]);
    let nothing_to_set = "You must set a value for either the warning, critical, or enforcement-action flags";
    table.refused("data:pg:quotas:update thing -a shop --type storage", 2, &[nothing_to_set]);
    table.end();
}

#[test]
fn heroku_cli_spaces() {
    let Some(mut table) = Table::start("spaces") else { return };
    for line in NO_SPACE {
        table.refused(line, 2, &["Private Spaces are not offered: this installation is a private place of its own"]);
    }
    table.end();
}
