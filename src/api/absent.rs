//! What accounts, teams and pipelines have at the real service and have none of here: each list is empty, and nothing is
//! found in it. Also what follows from that nothing is billed.

use crate::{
    Api, Out,
    answer::{Body, ok},
    auth::User,
    list,
    routes::routes,
    show,
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::IntoResponse,
};
use serde_json::{Value, json};
use service::Error;
use std::collections::BTreeMap;

routes! {
    get "/account/delinquency" => never_late, "account";
    get "/account/invoices/{invoice}" => no_invoice, "account";
    get "/account/credits/{credit}" => no_credit, "account";
    get "/users/{user}/sms-number" => no_number, "account; admin for others";
    get "/users/{user}/preferences" => preferences, "account; admin for others";
    patch "/users/{user}/preferences" => set_preferences, "account, global";
    get "/teams/{team}/delinquency" => team_never_late, "team read";
    get "/teams/{team}/invoices" => of_team, "team read";
    get "/teams/{team}/invoices/{invoice}" => no_team_invoice, "team read";
    get "/teams/{team}/spaces" => of_team, "team read";
    get "/teams/{team}/licenses" => of_team, "team read";
    get "/teams/{team}/license-collections" => of_team, "team read";
    get "/teams/{team}/identity-providers" => of_team, "team read";
    get "/teams/{team}/oauth/authorizations" => of_team, "team read";
    get "/teams/{team}/allowed-addon-services" => of_team, "team read";
    delete "/teams/{team}/allowed-addon-services/{service}" => no_allowed_service, "team manage";
    get "/teams/{team}/available-generations" => generations, "team read";
    get "/pipelines/{pipeline}/test-runs" => of_pipeline, "pipeline read";
    get "/pipelines/{pipeline}/test-runs/{run}" => no_run_of_pipeline, "pipeline read";
    get "/test-runs/{run}" => no_run, "account";
    patch "/test-runs/{run}" => no_run, "account";
    get "/test-runs/{run}/test-cases" => no_run, "account";
    get "/test-runs/{run}/test-nodes" => no_run, "account";
}

fn none(headers: &HeaderMap) -> Out {
    list::page::<Value>(headers, &[], &["id"])
}

fn missing<T>(resource: &'static str, text: &str) -> Result<T, crate::error::Failure> {
    Err(Error::not_found(resource, text).into())
}

/// Nobody owes anything, so nothing is suspended or deleted for it.
fn in_good_standing() -> Out {
    Ok(ok(json!({ "scheduled_suspension_time": null, "scheduled_deletion_time": null }))?.into_response())
}

async fn never_late(_: User) -> Out {
    in_good_standing()
}

async fn no_invoice(_: User) -> Out {
    missing("invoice", "Couldn't find that invoice; nothing is billed by this installation.")
}

async fn no_credit(_: User) -> Out {
    missing("credit", "Couldn't find that credit; nothing is billed by this installation.")
}

/// Text messages are not sent, so no number is kept.
async fn no_number(State(service): Api, User(ctx): User, Path(who): Path<String>) -> Out {
    service.account_of(&ctx, &who)?;
    Ok(ok(json!({ "sms_number": null }))?.into_response())
}

async fn preferences(State(service): Api, User(ctx): User, Path(who): Path<String>) -> Out {
    Ok(ok(service.preferences(&ctx, &who)?)?.into_response())
}

async fn set_preferences(
    State(service): Api,
    User(ctx): User,
    Path(who): Path<String>,
    Body(body): Body<BTreeMap<String, Value>>,
) -> Out {
    Ok(ok(service.set_preferences(&ctx, &who, body).await?)?.into_response())
}

async fn team_never_late(State(service): Api, User(ctx): User, Path(team): Path<String>) -> Out {
    service.team(&ctx, &team)?;
    in_good_standing()
}

async fn of_team(State(service): Api, User(ctx): User, Path(team): Path<String>, headers: HeaderMap) -> Out {
    service.team(&ctx, &team)?;
    none(&headers)
}

async fn no_team_invoice(State(service): Api, User(ctx): User, Path((team, _)): Path<(String, String)>) -> Out {
    service.team(&ctx, &team)?;
    missing("invoice", "Couldn't find that invoice; nothing is billed by this installation.")
}

async fn no_allowed_service(State(service): Api, User(ctx): User, Path((team, _)): Path<(String, String)>) -> Out {
    service.team_to_manage(&ctx, &team)?;
    missing("allowed_addon_service", "Couldn't find that add-on service among the allowed ones; there are none.")
}

async fn generations(State(service): Api, User(ctx): User, Path(team): Path<String>, headers: HeaderMap) -> Out {
    service.team(&ctx, &team)?;
    list::page(&headers, &[show::whole_generation()], &["name"])
}

async fn of_pipeline(State(service): Api, User(ctx): User, Path(pipeline): Path<String>, headers: HeaderMap) -> Out {
    service.pipeline(&ctx, &pipeline)?;
    none(&headers)
}

const NO_RUN: &str = "Couldn't find that test run; run tests in a CI of your choice and deploy when they pass.";

async fn no_run_of_pipeline(State(service): Api, User(ctx): User, Path((pipeline, _)): Path<(String, String)>) -> Out {
    service.pipeline(&ctx, &pipeline)?;
    missing("test_run", NO_RUN)
}

async fn no_run(_: User) -> Out {
    missing("test_run", NO_RUN)
}
