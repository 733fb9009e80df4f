//! All topics with their verbs, in the order of the help.

use crate::{
    commands::{
        access, addons, alerts, apps, auth, buildpacks, builds, certs, config, doctor, domains, drains, features, git, keys,
        logs, meta, metrics, oauth, one_offs, pipelines, policy, ps, releases, schedules, stacks, teams, usage, volumes,
        webhooks,
    },
    help,
    verb::{Topic, Verb},
};

const TOPICS: &[Topic] = &[
    apps::TOPIC,
    access::TOPIC,
    usage::ACTIVITY,
    addons::TOPIC,
    alerts::TOPIC,
    auth::TOPIC,
    oauth::AUTHORIZATIONS,
    buildpacks::TOPIC,
    builds::TOPIC,
    certs::TOPIC,
    oauth::CLIENTS,
    config::TOPIC,
    doctor::TOPIC,
    domains::TOPIC,
    drains::TOPIC,
    features::TOPIC,
    git::TOPIC,
    policy::TOPIC,
    meta::HEROKU,
    keys::TOPIC,
    features::LABS,
    logs::TOPIC,
    apps::MAINTENANCE,
    teams::MEMBERS,
    metrics::TOPIC,
    pipelines::TOPIC,
    ps::TOPIC,
    meta::REGIONS,
    releases::TOPIC,
    one_offs::TOPIC,
    schedules::TOPIC,
    oauth::SESSIONS,
    stacks::TOPIC,
    usage::STATUS,
    teams::TOPIC,
    usage::TOPIC,
    volumes::TOPIC,
    webhooks::TOPIC,
    meta::BACKUP,
    meta::SERVER,
    meta::TOPIC,
    help::TOPIC,
];

/// All topics.
pub fn all() -> &'static [Topic] {
    TOPICS
}

/// The verb of a name, or of another name of it.
pub fn find(name: &str) -> Option<&'static Verb> {
    TOPICS.iter().flat_map(|t| t.verbs).find(|v| v.is_called(name))
}
