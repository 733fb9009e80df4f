//! The table of routes: each family of handlers lists its own, this file joins them.

use axum::Router;
use service::Service;

/// Method (lower case), path, and what the caller needs: `account`, or a right on the app.
pub type Route = (&'static str, &'static str, &'static str);

/// Lists routes once, for the router and for the golden file.
macro_rules! routes {
    ($($method:ident $path:literal => $handler:path, $needs:literal;)*) => {
        /// Method, path and what the caller needs.
        pub(crate) const ROUTES: &[crate::routes::Route] = &[$((stringify!($method), $path, $needs)),*];

        /// The router of [`ROUTES`].
        pub(crate) fn routes() -> axum::Router<service::Service> {
            axum::Router::new()$(.route($path, axum::routing::$method($handler)))*
        }
    };
}
pub(crate) use routes;

macro_rules! families {
    ($($family:ident),* $(,)?) => {
        const FAMILIES: &[&[Route]] = &[$(crate::$family::ROUTES),*];

        /// All families in one router.
        pub(crate) fn router() -> Router<Service> {
            Router::new()$(.merge(crate::$family::routes()))*
        }
    };
}

families! {
    account, people, teams, collaborators, apps, config, builds, releases, formation, policy, dynos, run, schedules, domains, log_sessions, keys, catalog, authorizations, sessions, oauth, two_factor, pipelines, promotions, setups, webhooks, sni, drains, addons, metrics, alerts, volumes, absent, openapi,
}

/// All routes.
pub fn all() -> Vec<Route> {
    FAMILIES.iter().flat_map(|family| family.iter().copied()).collect()
}

/// Served, though there is nothing of the kind here: lists are always empty, single ones are never found, and what would
/// make one says why not.
pub fn of_nothing() -> Vec<Route> {
    /// Of the two families of such things, what is really kept or known.
    const REAL: [&str; 2] = ["/users/{user}/preferences", "/teams/{team}/available-generations"];
    /// Such things in other families.
    const OTHERS: [&str; 4] = ["/spaces", "/enterprise-accounts", "/account/invoices", "/account/credits"];
    let families =
        [crate::addons::ROUTES, crate::absent::ROUTES].concat().into_iter().filter(|(_, path, _)| !REAL.contains(path));
    let others = all().into_iter().filter(|(_, path, _)| OTHERS.contains(path) || path.contains("telemetry-drains"));
    families.chain(others).collect()
}
