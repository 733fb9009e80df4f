//! The account itself.

use crate::{Out, answer::ok, auth::User, routes::routes, show};
use axum::response::IntoResponse;
use serde_json::json;
use service::Error;

routes! {
    get "/account" => account, "account";
    get "/users/~" => account, "account";
    get "/account/rate-limits" => rate_limits, "account";
}

async fn account(User(ctx): User) -> Out {
    match &ctx.actor {
        service::Actor::Account(account) => Ok(ok(show::account(account))?.into_response()),
        service::Actor::Platform => Err(Error::unauthorized().into()),
    }
}

async fn rate_limits(_user: User) -> Out {
    Ok(ok(json!({ "remaining": 4500 }))?.into_response())
}
