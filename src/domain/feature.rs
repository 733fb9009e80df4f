//! Features that an app can switch on (`platform-api.md` section 13, `runtime.md` sections 4 and 11).

/// One of them.
#[derive(Debug, PartialEq, Eq)]
pub struct Feature {
    /// As in the API.
    pub name: &'static str,
    /// Stable id shown by the API.
    pub id: &'static str,
    /// `general` for lists of features, anything else for lists of experiments (labs).
    pub state: &'static str,
    /// For lists.
    pub display_name: &'static str,
    /// What it does.
    pub description: &'static str,
}

/// New web dynos are warm before they take over.
pub const PREBOOT: &str = "preboot";
/// Dynos are told about app, release and dyno.
pub const DYNO_METADATA: &str = "runtime-dyno-metadata";
/// Dynos are told about the build, in place of the slug.
pub const BUILD_METADATA: &str = "runtime-dyno-build-metadata";

/// Dynos tell what they use, as lines of the log.
pub const RUNTIME_METRICS: &str = "log-runtime-metrics";
/// Visitors without TLS are sent to come with it.
pub const HTTPS_REDIRECT: &str = "https-redirect";
/// Browsers are told to come over TLS only.
pub const HSTS: &str = "http-strict-transport-security";

/// Secrets and big changes need a code of the second factor.
pub const TWO_FACTOR: &str = "two-factor";

/// All of them, by name.
pub const FEATURES: &[Feature] = &[
    Feature {
        name: RUNTIME_METRICS,
        id: "7e4bd2a0-93c1-4d0c-9f57-2a5c0d6b1e05",
        state: "beta",
        display_name: "Runtime metrics in the log",
        description: "Every 20 seconds each dyno says in the log what memory it uses and what its load is. Counts for dynos that start later.",
    },
    Feature {
        name: PREBOOT,
        id: "7e4bd2a0-93c1-4d0c-9f57-2a5c0d6b1e01",
        state: "general",
        display_name: "Preboot",
        description: "New web dynos start beside the old ones and take over when they are warm. For Standard sizes and up.",
    },
    Feature {
        name: BUILD_METADATA,
        id: "7e4bd2a0-93c1-4d0c-9f57-2a5c0d6b1e02",
        state: "beta",
        display_name: "Dyno build metadata",
        description: "Dynos get HEROKU_BUILD_COMMIT and HEROKU_BUILD_DESCRIPTION in place of the variables of the slug.",
    },
    Feature {
        name: DYNO_METADATA,
        id: "7e4bd2a0-93c1-4d0c-9f57-2a5c0d6b1e03",
        state: "beta",
        display_name: "Dyno metadata",
        description: "Dynos get HEROKU_APP_ID, HEROKU_DYNO_ID, HEROKU_RELEASE_VERSION and others in their environment.",
    },
    Feature {
        name: HSTS,
        id: "7e4bd2a0-93c1-4d0c-9f57-2a5c0d6b1e06",
        state: "general",
        display_name: "Strict transport security",
        description: "Answers over TLS carry Strict-Transport-Security for a year, unless the app sets it itself.",
    },
    Feature {
        name: HTTPS_REDIRECT,
        id: "7e4bd2a0-93c1-4d0c-9f57-2a5c0d6b1e0e",
        state: "general",
        display_name: "Redirect to HTTPS",
        description: "Visitors who come over plain HTTP are sent to the same address over TLS, before a dyno sees them.",
    },
    Feature {
        state: "general",
        name: TWO_FACTOR,
        id: "7e4bd2a0-93c1-4d0c-9f57-2a5c0d6b1e04",
        display_name: "Second factor",
        description: "Tokens see config vars, run commands, and rename, share or destroy the app only after a two-factor code.",
    },
];

/// Features of accounts, which nobody can switch.
pub const ACCOUNT_FEATURES: &[Feature] = &[Feature {
    name: "dashboard-repositories-api",
    id: "7e4bd2a0-93c1-4d0c-9f57-2a5c0d6b1e11",
    state: "general",
    display_name: "Repositories of pipelines",
    description: "Pipelines can be connected to a repository of a hosting service. Not offered on this server.",
}];

/// Finds a feature of accounts by name or id.
pub fn find_of_account(name_or_id: &str) -> Option<&'static Feature> {
    ACCOUNT_FEATURES.iter().find(|f| f.name == name_or_id || f.id == name_or_id)
}

/// Finds one by name or id.
pub fn find(name_or_id: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|f| f.name == name_or_id || f.id == name_or_id)
}
