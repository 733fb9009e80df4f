//! What the real service has and this one does not: each such endpoint says what it is and what to use instead. A route of
//! ours always wins over a row here, so a row may stand for a family of which some are served.

use crate::{Api, auth::User, error, published};
use axum::{
    extract::{FromRequestParts, Request, State},
    http::StatusCode,
    response::{IntoResponse, Response},
};
use service::Service;
use wire::ErrorBody;

/// Methods (`*` for any), pattern of the path (`{}` is one part, `**` at the end is any rest), status, error id, sentence.
pub type Refusal = (&'static str, &'static str, u16, &'static str, &'static str);

const SPACES: &str = "Private Spaces are not offered: this installation is a private place of its own; use teams to keep \
     people apart, and a second installation to keep networks apart.";
const ENTERPRISE: &str =
    "Enterprise accounts are not offered; people, roles and teams of this installation serve the same end.";
const IDENTITY: &str =
    "Identity providers for single sign-on are not offered; people sign in here, with two factors if they like.";
const BILLING: &str =
    "Nothing is billed by this installation, so there is nothing to pay; GET /apps/APP/formation says what an app takes.";
const CI: &str = "Test runs are not offered; run tests in a CI of your choice and deploy when they pass.";
const REVIEW: &str = "Review apps are not offered; make an app per branch with POST /apps and push the branch to it.";
const PROVIDER: &str = "The interface for add-on providers is not offered; add-ons of this installation are run by it.";
const ADDONS: &str =
    "This part of the add-on interface is not offered; see GET /addon-services for what can be added to an app.";
const DATA: &str = "The data API is not offered at this address; connect with the address in the app's config vars.";
const SMS: &str = "Text messages are not sent by this installation; use a second factor app or recovery codes.";
const PIPELINES: &str = "This part of pipelines is not offered; each app of a pipeline has the same at /apps/APP.";
const TEAMS: &str = "This part of teams is not offered; see GET /teams/TEAM/members for people and /teams/TEAM/apps for apps.";
const ACCOUNT: &str = "This part of accounts is not offered; an admin of this installation manages people and their passwords.";
const GITHUB: &str =
    "Repositories at GitHub are not connected here; push with git, or build from an archive with POST /apps/APP/builds.";
const METRICS: &str =
    "Metrics are not served in the form of Heroku's metrics service; see the app's log for router and dyno samples.";
const WEBHOOKS: &str = "Webhooks are not offered at this address; read the app's log or its releases instead.";
const TELEMETRY: &str = "Telemetry drains are not offered; add a log drain, or scrape the app itself.";
const CERTS: &str = "Certificates for this domain are not managed at this address; put a TLS proxy before the platform.";
const SHARING: &str = "Sharing of this kind is not offered at this address; ask an admin of this installation.";
const OCI: &str = "Images are not made by this endpoint; set the stack to container and push a heroku.yml or a Dockerfile.";
const SETUPS: &str =
    "App setups from an app.json are not offered; make the app with POST /apps, set its config vars, and push.";
const DRAINS: &str = "Log drains are not offered at this address; read the log with POST /apps/APP/log-sessions.";
const OAUTH: &str = "This part of OAuth is not offered; make a token with an account of this installation.";
const KEYS: &str = "SSH keys are not offered at this address; push over HTTPS with a token.";
const RESULT: &str =
    "The result of a build is in the build itself: GET /apps/APP/builds/BUILD has status and output_stream_url.";

const CACHE: &str =
    "The cache of builds can not be emptied by a call; it goes with the app, and buildpacks refresh it by themselves.";
const CANCEL: &str =
    "Builds can not be cancelled; each ends at the time limit of builds at the latest, and the next one waits for it.";
const SLUGS: &str =
    "Slugs are made by builds: push with git, or POST /apps/APP/builds; POST /apps/APP/releases takes the id of a slug.";

/// The rows; the first that fits counts.
pub const REFUSALS: &[Refusal] = &[
    ("GET", "/apps/{}/builds/{}/result", 410, "gone", RESULT),
    ("DELETE", "/apps/{}/build-cache", 404, "not_found", CACHE),
    ("DELETE", "/apps/{}/builds/{}", 422, "invalid_params", CANCEL),
    ("POST", "/apps/{}/slugs", 404, "not_found", SLUGS),
    ("POST", "/spaces", 422, "invalid_params", SPACES),
    ("*", "/spaces/**", 404, "not_found", SPACES),
    ("GET", "/teams/{}/spaces", 404, "not_found", SPACES),
    ("*", "/enterprise-accounts/**", 404, "not_found", ENTERPRISE),
    ("*", "/identity-providers/**", 404, "not_found", IDENTITY),
    ("*", "/teams/{}/identity-providers/**", 404, "not_found", IDENTITY),
    ("*", "/account/credits/**", 404, "not_found", BILLING),
    ("*", "/account/invoice-address", 404, "not_found", BILLING),
    ("*", "/account/invoices/**", 404, "not_found", BILLING),
    ("*", "/account/payment-method/**", 404, "not_found", BILLING),
    ("*", "/account/payments", 422, "invalid_params", BILLING),
    ("*", "/account/delinquency", 404, "not_found", BILLING),
    ("*", "/teams/{}/delinquency", 404, "not_found", BILLING),
    ("*", "/teams/{}/invoices/**", 404, "not_found", BILLING),
    ("*", "/teams/{}/payments", 422, "invalid_params", BILLING),
    ("*", "/teams/{}/licenses", 404, "not_found", BILLING),
    ("*", "/teams/{}/license-collections", 404, "not_found", BILLING),
    ("*", "/teams/{}/usage/**", 404, "not_found", BILLING),
    ("*", "/teams/{}/apps/{}/usage", 404, "not_found", BILLING),
    ("*", "/resource/{}/usage-history", 404, "not_found", BILLING),
    ("POST", "/test-runs", 422, "invalid_params", CI),
    ("*", "/test-runs/**", 404, "not_found", CI),
    ("*", "/pipelines/{}/test-runs/**", 404, "not_found", CI),
    ("POST", "/review-apps", 410, "gone", REVIEW),
    ("*", "/review-apps/**", 410, "gone", REVIEW),
    ("GET", "/apps/{}/review-app", 410, "gone", REVIEW),
    ("*", "/pipelines/{}/review-apps", 410, "gone", REVIEW),
    ("*", "/pipelines/{}/review-app-config", 410, "gone", REVIEW),
    ("*", "/pipelines/{}/repo/**", 404, "not_found", GITHUB),
    ("*", "/pipelines/**", 404, "not_found", PIPELINES),
    ("*", "/pipeline-couplings/**", 404, "not_found", PIPELINES),
    ("*", "/pipeline-promotions/**", 404, "not_found", PIPELINES),
    ("*", "/pipeline-transfers", 404, "not_found", PIPELINES),
    ("GET", "/apps/{}/pipeline-couplings", 404, "not_found", PIPELINES),
    ("*", "/users/{}/pipeline-couplings", 404, "not_found", PIPELINES),
    ("*", "/teams/{}/pipeline-couplings", 404, "not_found", PIPELINES),
    ("*", "/app-setups/**", 404, "not_found", SETUPS),
    ("*", "/addons/{}/webhooks/**", 404, "not_found", PROVIDER),
    ("*", "/addons/{}/webhook-events/**", 404, "not_found", PROVIDER),
    ("*", "/addons/{}/webhook-deliveries/**", 404, "not_found", PROVIDER),
    ("*", "/addons/{}/log-drains/**", 404, "not_found", PROVIDER),
    ("*", "/addons/{}/actions/{}", 404, "not_found", PROVIDER),
    ("*", "/addons/**", 404, "not_found", ADDONS),
    ("*", "/addon-attachments/**", 404, "not_found", ADDONS),
    ("*", "/addon-region-capabilities", 404, "not_found", ADDONS),
    ("*", "/addon-services/**", 404, "not_found", ADDONS),
    ("*", "/actions/addons/resolve", 404, "not_found", ADDONS),
    ("*", "/actions/addon-attachments/resolve", 404, "not_found", ADDONS),
    ("*", "/plans/**", 404, "not_found", ADDONS),
    ("*", "/regions/{}/addon-region-capabilities", 404, "not_found", ADDONS),
    ("*", "/apps/{}/addons/**", 404, "not_found", ADDONS),
    ("*", "/apps/{}/addon-attachments/**", 404, "not_found", ADDONS),
    ("*", "/teams/{}/addons", 404, "not_found", ADDONS),
    ("*", "/users/{}/addons", 404, "not_found", ADDONS),
    ("*", "/teams/{}/allowed-addon-services/**", 404, "not_found", ADDONS),
    ("*", "/client/v11/**", 404, "not_found", DATA),
    ("*", "/postgres/v0/**", 404, "not_found", DATA),
    ("*", "/redis/v0/**", 404, "not_found", DATA),
    ("*", "/data/**", 404, "not_found", DATA),
    ("*", "/users/{}/sms-number/**", 404, "not_found", SMS),
    ("*", "/users/{}/capabilities", 404, "not_found", ACCOUNT),
    ("*", "/users/{}/gateway-tokens/**", 404, "not_found", OAUTH),
    ("*", "/users/**", 404, "not_found", ACCOUNT),
    ("*", "/password-resets/**", 404, "not_found", ACCOUNT),
    ("*", "/account/app-transfers/**", 404, "not_found", SHARING),
    ("*", "/account/features/**", 404, "not_found", ACCOUNT),
    ("*", "/account/keys/**", 404, "not_found", KEYS),
    ("*", "/account", 404, "not_found", ACCOUNT),
    ("*", "/oauth/**", 404, "not_found", OAUTH),
    ("POST", "/auth", 404, "not_found", OAUTH),
    ("PUT", "/apps/{}/pre-authorizations", 404, "not_found", OAUTH),
    ("*", "/teams/**", 404, "not_found", TEAMS),
    ("*", "/apps/{}/collaborators/**", 404, "not_found", SHARING),
    ("*", "/apps/{}/acm", 404, "not_found", CERTS),
    ("*", "/apps/{}/sni-endpoints/**", 404, "not_found", CERTS),
    ("*", "/apps/{}/domains/**", 404, "not_found", CERTS),
    ("*", "/apps/{}/log-drains/**", 404, "not_found", DRAINS),
    ("*", "/apps/{}/telemetry-drains", 404, "not_found", TELEMETRY),
    ("*", "/telemetry-drains/**", 404, "not_found", TELEMETRY),
    ("*", "/apps/{}/webhooks/**", 404, "not_found", WEBHOOKS),
    ("*", "/apps/{}/webhook-events/**", 404, "not_found", WEBHOOKS),
    ("*", "/apps/{}/webhook-deliveries/**", 404, "not_found", WEBHOOKS),
    ("*", "/apps/{}/oci-images/**", 404, "not_found", OCI),
    ("*", "/apps/{}/build-metadata", 404, "not_found", OCI),
    (
        "*",
        "/apps/{}/config-vars-settings",
        404,
        "not_found",
        "Config vars here have no settings of their own; see GET /apps/APP/config-vars.",
    ),
    ("*", "/apps/{}/router-metrics/**", 404, "not_found", METRICS),
    ("*", "/apps/{}/formation/{}/metrics/**", 404, "not_found", METRICS),
    ("*", "/apps/{}/formation/{}/monitors/**", 404, "not_found", METRICS),
    ("*", "/favorites", 404, "not_found", "Favourites are kept by Heroku's dashboard; GET /users/~/apps lists your apps."),
    (
        "*",
        "/user/notifications",
        404,
        "not_found",
        "Notices by Heroku's dashboard are not offered; releases and logs tell the same.",
    ),
];

/// The row for a call, if there is one.
pub fn refusal(method: &str, path: &str) -> Option<&'static Refusal> {
    REFUSALS.iter().find(|(methods, pattern, ..)| (*methods == "*" || *methods == method) && published::fits(pattern, path))
}

/// Answers what has no route: with a refusal to people who are known, or that there is no such endpoint.
pub(crate) async fn unknown(State(service): Api, request: Request) -> Response {
    match refusal(request.method().as_str(), request.uri().path()) {
        Some(row) => refused(&service, row, request).await,
        None => error::not_found_route().into_response(),
    }
}

/// Answers a method that a path of ours does not have.
pub(crate) async fn wrong_method(State(service): Api, request: Request) -> Response {
    let (method, path) = (request.method().as_str(), request.uri().path());
    // Only what the real service has: a family's row is not about the wrong method of a served path.
    let row = refusal(method, path).filter(|_| published::has(method, path));
    if let Some(row) = row {
        return refused(&service, row, request).await;
    }
    let message = "This endpoint has other methods; the Allow header lists them.".into();
    let body = ErrorBody { id: "method_not_allowed".into(), message, resource: None, app: None };
    error::answer(StatusCode::METHOD_NOT_ALLOWED, body)
}

async fn refused(service: &Service, row: &Refusal, request: Request) -> Response {
    let (mut parts, _) = request.into_parts();
    if let Err(stranger) = User::from_request_parts(&mut parts, service).await {
        return stranger.into_response();
    }
    let (_, _, status, id, sentence) = row;
    let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::NOT_FOUND);
    error::answer(status, ErrorBody { id: (*id).into(), message: (*sentence).into(), resource: None, app: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sound() {
        for (methods, pattern, status, id, sentence) in REFUSALS {
            assert!(["*", "GET", "POST", "PUT", "PATCH", "DELETE"].contains(methods), "{pattern}");
            let right = matches!((*status, *id), (404, "not_found") | (410, "gone") | (422, "invalid_params"));
            assert!(right && pattern.starts_with('/'), "{pattern}");
            assert!(sentence.ends_with('.') && sentence.len() > 40, "{pattern}: say what it is and what to use instead");
        }
        assert!(refusal("GET", "/spaces/mine/nat").is_some() && refusal("GET", "/nonsense").is_none());
        assert!(refusal("PUT", "/client/v11/databases/x/reset").is_some());
    }
}
