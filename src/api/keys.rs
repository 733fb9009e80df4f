//! Public keys of the account.

use crate::{
    Api, Out,
    answer::{Body, created, ok},
    auth::User,
    list,
    routes::routes,
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::IntoResponse,
};
use domain::SshKey;
use serde::Deserialize;
use service::{Ctx, Error};
use wire::time;

routes! {
    get "/account/keys" => keys, "account";
    post "/account/keys" => add_key, "account";
    get "/account/keys/{key}" => key, "account";
    delete "/account/keys/{key}" => remove_key, "account";
}

fn show(ctx: &Ctx, key: &SshKey) -> wire::Key {
    wire::Key {
        id: key.id.0,
        comment: key.comment.clone(),
        email: ctx.email().into(),
        fingerprint: key.md5.clone(),
        public_key: key.public_key.clone(),
        created_at: time(key.created_at.0),
        updated_at: time(key.created_at.0),
    }
}

async fn keys(State(service): Api, User(ctx): User, headers: HeaderMap) -> Out {
    let shown: Vec<_> = service.keys(&ctx)?.iter().map(|key| show(&ctx, key)).collect();
    list::page(&headers, &shown, &["created_at", "id"])
}

#[derive(Deserialize)]
struct AddKey {
    public_key: Option<String>,
}

async fn add_key(State(service): Api, User(ctx): User, Body(body): Body<AddKey>) -> Out {
    let text = body.public_key.ok_or_else(|| Error::invalid("`public_key` must be the line of a .pub file."))?;
    Ok(created(show(&ctx, &service.add_key(&ctx, &text).await?))?.into_response())
}

async fn key(State(service): Api, User(ctx): User, Path(key): Path<String>) -> Out {
    Ok(ok(show(&ctx, &service.key(&ctx, &key)?))?.into_response())
}

async fn remove_key(State(service): Api, User(ctx): User, Path(key): Path<String>) -> Out {
    Ok(ok(show(&ctx, &service.remove_key(&ctx, &key).await?))?.into_response())
}
