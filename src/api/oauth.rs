//! OAuth clients, and what they turn codes into (`platform-api.md` section 4.7). The page that asks people is in the
//! dashboard.

use crate::{
    Api, Out,
    answer::{Body, created, ok},
    auth::User,
    list,
    routes::routes,
    show,
};
use axum::{
    Json, Router,
    extract::{ConnectInfo, Form, Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::post,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::json;
use service::{ClientChange, Error, Issued, Kind, Service};
use std::net::SocketAddr;

routes! {
    get "/oauth/clients" => clients, "global scope";
    post "/oauth/clients" => create, "global scope";
    get "/oauth/clients/{client}" => client, "global scope";
    patch "/oauth/clients/{client}" => update, "global scope";
    delete "/oauth/clients/{client}" => delete, "global scope";
    post "/oauth/clients/{client}/actions/rotate-credentials" => rotate, "global scope";
    delete "/oauth/tokens/{token}" => revoke, "itself; others with global scope";
}

/// Here the client's secret is what is asked for.
pub fn open_routes() -> Router<Service> {
    Router::new().route("/oauth/token", post(token_form)).route("/oauth/tokens", post(token_json))
}

async fn clients(State(service): Api, User(ctx): User, headers: HeaderMap) -> Out {
    let shown: Result<Vec<_>, Error> = service.clients(&ctx)?.iter().map(|client| show::client(&service, client)).collect();
    list::page(&headers, &shown?, &["id", "name", "created_at", "updated_at"])
}

#[derive(Deserialize)]
struct Create {
    name: String,
    redirect_uri: String,
}

async fn create(State(service): Api, User(ctx): User, Body(body): Body<Create>) -> Out {
    let client = service.create_client(&ctx, body.name, body.redirect_uri).await?;
    Ok(created(show::client(&service, &client)?)?.into_response())
}

async fn client(State(service): Api, User(ctx): User, Path(id): Path<String>) -> Out {
    Ok(ok(show::client(&service, &service.client(&ctx, &id)?)?)?.into_response())
}

#[derive(Deserialize)]
struct Update {
    name: Option<String>,
    redirect_uri: Option<String>,
}

async fn update(State(service): Api, User(ctx): User, Path(id): Path<String>, Body(body): Body<Update>) -> Out {
    let change = ClientChange { name: body.name, redirect_uri: body.redirect_uri };
    Ok(ok(show::client(&service, &service.update_client(&ctx, &id, change).await?)?)?.into_response())
}

async fn delete(State(service): Api, User(ctx): User, Path(id): Path<String>) -> Out {
    Ok(ok(show::client(&service, &service.delete_client(&ctx, &id).await?)?)?.into_response())
}

async fn rotate(State(service): Api, User(ctx): User, Path(id): Path<String>) -> Out {
    Ok(created(show::client(&service, &service.rotate_client(&ctx, &id).await?)?)?.into_response())
}

/// A token has the id of its authorization.
async fn revoke(State(service): Api, User(ctx): User, Path(id): Path<String>) -> Out {
    let token = service.revoke_authorization(&ctx, &id).await?;
    Ok(ok(show::oauth_token(&service, &token, None)?)?.into_response())
}

type Peer = Option<axum::Extension<ConnectInfo<SocketAddr>>>;

fn address(peer: Peer) -> Option<std::net::IpAddr> {
    peer.map(|peer| peer.0.0.ip().to_canonical())
}

#[derive(Deserialize)]
struct TokenForm {
    grant_type: String,
    code: Option<String>,
    refresh_token: Option<String>,
    client_secret: Option<String>,
    code_verifier: Option<String>,
}

/// RFC 6749 wants its own words, our clients want theirs.
fn refused(error: &Error) -> Response {
    let known = ["invalid_grant", "invalid_request", "unsupported_grant_type"].contains(&error.id);
    if !known && error.kind != Kind::Invalid {
        return crate::error::Failure(error.clone()).into_response();
    }
    let word = if known { error.id } else { "invalid_request" };
    let body = json!({ "id": word, "message": error.public, "error": word, "error_description": error.public });
    (StatusCode::BAD_REQUEST, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

/// The secret may come as the password of Basic, too.
fn secret_of(headers: &HeaderMap) -> Option<String> {
    let basic = headers.get(header::AUTHORIZATION)?.to_str().ok()?.strip_prefix("Basic ")?;
    let text = String::from_utf8(STANDARD.decode(basic.trim()).ok()?).ok()?;
    Some(text.split_once(':')?.1.to_string())
}

async fn issued(
    service: &Service,
    peer: Peer,
    grant: &str,
    given: (Option<String>, Option<String>),
    secret: Option<String>,
    verifier: Option<&str>,
) -> Result<Issued, Error> {
    let secret = secret.unwrap_or_default();
    let missing = |name: &str| Error { id: "invalid_request", ..Error::invalid(format!("{name} is missing.")) };
    match grant {
        "authorization_code" => {
            let code = given.0.ok_or_else(|| missing("code"))?;
            service.use_code(address(peer), &code, &secret, verifier).await
        }
        "refresh_token" => {
            let refresh = given.1.ok_or_else(|| missing("refresh_token"))?;
            service.use_refresh(address(peer), &refresh, &secret).await
        }
        other => Err(Error {
            id: "unsupported_grant_type",
            ..Error::invalid(format!("Grants of type {other:?} are not served; there is authorization_code and refresh_token."))
        }),
    }
}

async fn token_form(State(service): Api, peer: Peer, headers: HeaderMap, Form(form): Form<TokenForm>) -> Response {
    let secret = form.client_secret.or_else(|| secret_of(&headers));
    let given = (form.code, form.refresh_token);
    match issued(&service, peer, &form.grant_type, given, secret, form.code_verifier.as_deref()).await {
        Ok(issued) => {
            let body = json!({
                "access_token": issued.access,
                "token_type": "Bearer",
                "expires_in": show::seconds_left(&service, &issued.token),
                "refresh_token": issued.refresh,
                "scope": issued.token.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(" "),
                "user_id": issued.token.account,
                "session_nonce": null,
            });
            ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
        Err(error) => refused(&error),
    }
}

#[derive(Deserialize, Default)]
struct TokenBody {
    #[serde(default)]
    client: Secret,
    #[serde(default)]
    grant: Grant,
    #[serde(default)]
    refresh_token: Refresh,
    code_verifier: Option<String>,
}

#[derive(Deserialize, Default)]
struct Secret {
    secret: Option<String>,
}

#[derive(Deserialize, Default)]
struct Grant {
    r#type: Option<String>,
    code: Option<String>,
}

#[derive(Deserialize, Default)]
struct Refresh {
    token: Option<String>,
}

async fn token_json(State(service): Api, peer: Peer, Body(body): Body<TokenBody>) -> Out {
    let grant = body.grant.r#type.unwrap_or_default();
    let given = (body.grant.code, body.refresh_token.token);
    match issued(&service, peer, &grant, given, body.client.secret, body.code_verifier.as_deref()).await {
        Ok(issued) => Ok(created(show::oauth_token(&service, &issued.token, Some(&issued))?)?.into_response()),
        Err(error) => Ok(refused(&error)),
    }
}
