//! Authorizations, and the log-in with a password (`platform-api.md` sections 4.3, 4.5 and 4.7).

use crate::{
    Api, Out,
    answer::{Body, created, ok},
    auth::{Caller, User},
    error::bad_request,
    list,
    refs::Named,
    routes::routes,
    show,
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::IntoResponse,
};
use serde::Deserialize;
use service::{Error, NewAuthorization};

routes! {
    get "/oauth/authorizations" => authorizations, "account; all of them with global scope";
    post "/oauth/authorizations" => create, "global scope; or e-mail and password";
    get "/oauth/authorizations/{authorization}" => authorization, "itself; others with global scope";
    patch "/oauth/authorizations/{authorization}" => update, "global scope";
    delete "/oauth/authorizations/{authorization}" => revoke, "itself; others with global scope";
    post "/oauth/authorizations/{authorization}/actions/regenerate-tokens" => rotate, "global scope";
}

/// Some clients send numbers as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Seconds {
    Number(u64),
    Text(String),
}

#[derive(Deserialize)]
struct Create {
    description: Option<String>,
    scope: Option<Vec<String>>,
    expires_in: Option<Seconds>,
    app: Option<Named>,
}

impl Create {
    fn into_new(self) -> Result<NewAuthorization, Error> {
        let expires_in_s = match self.expires_in {
            None => None,
            Some(Seconds::Number(seconds)) => Some(seconds),
            Some(Seconds::Text(text)) => Some(
                text.trim().parse().map_err(|_| Error::invalid(format!("expires_in is a number of seconds, not {text:?}.")))?,
            ),
        };
        let app = self.app.and_then(Named::text);
        Ok(NewAuthorization { description: self.description, scopes: self.scope, expires_in_s, app })
    }
}

async fn create(State(service): Api, caller: Caller, Body(body): Body<Create>) -> Out {
    let new = body.into_new()?;
    let (token, secret) = match caller {
        Caller::User(ctx) => service.create_authorization(&ctx, new).await?,
        Caller::Password(attempt) => service.sign_in_for_token(attempt, new).await?,
    };
    Ok(created(show::authorization(&service, &token, Some(&secret), None)?)?.into_response())
}

async fn authorizations(State(service): Api, User(ctx): User, headers: HeaderMap) -> Out {
    let tokens = service.authorizations(&ctx)?;
    let shown: Result<Vec<_>, Error> = tokens.iter().map(|token| show::authorization(&service, token, None, None)).collect();
    list::page(&headers, &shown?, &["id", "created_at", "description", "updated_at"])
}

async fn authorization(State(service): Api, User(ctx): User, Path(id): Path<String>) -> Out {
    Ok(ok(show::authorization(&service, &service.authorization(&ctx, &id)?, None, None)?)?.into_response())
}

#[derive(Deserialize)]
struct Update {
    description: Option<String>,
    client: Option<serde_json::Value>,
}

async fn update(State(service): Api, User(ctx): User, Path(id): Path<String>, Body(body): Body<Update>) -> Out {
    if body.client.is_some_and(|client| !client.is_null()) {
        return Err(bad_request("An authorization can not be given to another client; only its description changes."));
    }
    let token = service.describe_authorization(&ctx, &id, body.description).await?;
    Ok(ok(show::authorization(&service, &token, None, None)?)?.into_response())
}

async fn revoke(State(service): Api, User(ctx): User, Path(id): Path<String>) -> Out {
    let token = service.revoke_authorization(&ctx, &id).await?;
    Ok(ok(show::authorization(&service, &token, None, None)?)?.into_response())
}

async fn rotate(State(service): Api, User(ctx): User, Path(id): Path<String>) -> Out {
    let new = service.rotate_authorization(&ctx, &id).await?;
    let shown = show::authorization(&service, &new.token, Some(&new.secret), new.refresh.as_deref())?;
    Ok(created(shown)?.into_response())
}
