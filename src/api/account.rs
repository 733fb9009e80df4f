//! The account itself.

use crate::{
    Api, Out,
    answer::{Body, ok},
    auth::User,
    routes::routes,
    show,
};
use axum::{extract::State, response::IntoResponse};
use serde::Deserialize;
use serde_json::json;
use service::Error;

routes! {
    get "/account" => account, "account";
    patch "/account" => update, "global scope";
    get "/users/~" => account, "account";
    patch "/users/~" => update, "global scope";
    get "/account/rate-limits" => rate_limits, "account";
}

async fn account(User(ctx): User) -> Out {
    match &ctx.actor {
        service::Actor::Account(account) => Ok(ok(show::account(account))?.into_response()),
        service::Actor::Platform => Err(Error::unauthorized().into()),
    }
}

#[derive(Deserialize)]
struct Update {
    name: Option<String>,
    password: Option<String>,
    new_password: Option<String>,
}

/// Name and password; `allow_tracking` and `beta` of the schema are taken and stay `false`.
async fn update(State(service): Api, User(ctx): User, Body(body): Body<Update>) -> Out {
    if let Some(new) = body.new_password {
        service.change_password(&ctx, body.password, new).await?;
    }
    let account = service.rename_account(&ctx, body.name).await?;
    Ok(ok(show::account(&account))?.into_response())
}

async fn rate_limits(_user: User) -> Out {
    Ok(ok(json!({ "remaining": 4500 }))?.into_response())
}
