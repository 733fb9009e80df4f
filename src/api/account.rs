//! The account itself.

use crate::{
    Api, Out,
    answer::{Body, ok},
    auth::User,
    list, people,
    pools::Meter,
    routes::routes,
    show,
    view::View,
};
use axum::{
    Extension,
    extract::{Path, State},
    http::HeaderMap,
    response::IntoResponse,
};
use serde::Deserialize;
use serde_json::json;

routes! {
    get "/account" => account, "account";
    patch "/account" => rename, "account, global";
    delete "/account" => leave, "account, global";
    get "/users/{user}" => user, "account; admin for others";
    patch "/users/{user}" => rename_user, "account, global; admin for others";
    delete "/users/{user}" => remove_user, "account, global; admin for others";
    get "/users/{user}/apps" => apps, "account; admin for others";
    get "/account/rate-limits" => rate_limits, "account";
}

async fn account(State(service): Api, User(ctx): User) -> Out {
    Ok(ok(show::account(&service.account_of(&ctx, "~")?))?.into_response())
}

async fn user(State(service): Api, User(ctx): User, Path(who): Path<String>) -> Out {
    Ok(ok(show::account(&service.account_of(&ctx, &who)?))?.into_response())
}

/// Other properties of the schema belong to products that are not offered here, and are ignored.
#[derive(Deserialize)]
struct Change {
    name: Option<String>,
    /// The former one.
    password: Option<String>,
    new_password: Option<String>,
}

async fn rename(State(service): Api, User(ctx): User, Body(body): Body<Change>) -> Out {
    if let Some(new) = body.new_password {
        service.change_password(&ctx, body.password, new).await?;
    }
    people::rename(&service, &ctx, "~", body.name).await
}

async fn rename_user(State(service): Api, User(ctx): User, Path(who): Path<String>, Body(body): Body<Change>) -> Out {
    people::rename(&service, &ctx, &who, body.name).await
}

async fn leave(State(service): Api, User(ctx): User) -> Out {
    Ok(ok(show::account(&service.remove_account(&ctx, "~").await?))?.into_response())
}

async fn remove_user(State(service): Api, User(ctx): User, Path(who): Path<String>) -> Out {
    Ok(ok(show::account(&service.remove_account(&ctx, &who).await?))?.into_response())
}

/// Apps that somebody owns or was made a collaborator of; those of teams are listed with the team.
async fn apps(view: View, User(ctx): User, Path(who): Path<String>, headers: HeaderMap) -> Out {
    let account = view.account_of(&ctx, &who)?;
    let mut found = Vec::new();
    for app in view.apps(&ctx)? {
        let listed = match app.team {
            None => account.is_admin() || view.works_on(&account, &app)?,
            Some(_) => view.is_collaborator(&account, &app)?,
        };
        if listed {
            found.push(app);
        }
    }
    list::page_of(&headers, &found, &["name", "id", "updated_at"], |app| show::app(&view, app))
}

async fn rate_limits(_user: User, Extension(meter): Extension<Meter>) -> Out {
    Ok(ok(json!({ "remaining": meter.left() }))?.into_response())
}
