//! Who asks: a token as Bearer, or as the password of Basic with any user name (`platform-api.md` section 4).

use crate::{contract::RequestId, error::Failure, pools::Meter};
use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{HeaderMap, header::AUTHORIZATION, request::Parts},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use service::{Attempt, Ctx, Error, Kind, Service};
use std::net::{IpAddr, SocketAddr};

/// The context of an authenticated request.
pub struct User(pub Ctx);

/// A user, or somebody who signs in with a password: only at `POST /oauth/authorizations`.
pub enum Caller {
    /// With a token.
    User(Ctx),
    /// With e-mail and password, which are not looked at yet.
    Password(Attempt),
}

struct From {
    id: Option<String>,
    address: Option<IpAddr>,
}

fn from(parts: &Parts) -> From {
    From {
        id: parts.extensions.get::<RequestId>().map(|id| id.0.clone()),
        address: parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_canonical()),
    }
}

/// Takes a call from the pool of the account, or of the address of a stranger.
fn metered(parts: &Parts, found: Result<Ctx, Error>) -> Result<Ctx, Failure> {
    let meter = parts.extensions.get::<Meter>();
    match found {
        Ok(ctx) => {
            meter.map_or(Ok(()), |meter| meter.spend(&ctx))?;
            Ok(ctx)
        }
        Err(e) => {
            meter.map_or(Ok(()), Meter::spend_of_stranger)?;
            Err(e.into())
        }
    }
}

impl FromRequestParts<Service> for User {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Failure> {
        let (_, token) = credentials(&parts.headers).ok_or_else(Error::unauthorized)?;
        let From { id, address } = from(parts);
        let ctx = metered(parts, service.authenticate(&token, id))?;
        Ok(Self(Ctx { address, ..ctx }))
    }
}

impl FromRequestParts<Service> for Caller {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Failure> {
        let (name, secret) = credentials(&parts.headers).ok_or_else(Error::unauthorized)?;
        let From { id, address } = from(parts);
        let found = service.authenticate(&secret, id.clone());
        if found.as_ref().is_err_and(|e| e.kind == Kind::Unauthorized) && name.contains('@') {
            let code = code_of(&parts.headers);
            return Ok(Self::Password(Attempt { email: name, password: secret, code, address, request_id: id }));
        }
        Ok(Self::User(Ctx { address, ..metered(parts, found)? }))
    }
}

/// The code of the second factor that came with a request.
pub fn code_of(headers: &HeaderMap) -> Option<String> {
    let code = headers.get("heroku-two-factor-code")?.to_str().ok()?.trim();
    (!code.is_empty()).then(|| code.to_string())
}

/// The token of a Bearer header.
pub fn bearer(headers: &HeaderMap) -> Option<String> {
    let (scheme, value) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| value.trim().to_string())
}

/// User name, if there is one, and token or password.
fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    if let Some(token) = bearer(headers) {
        return (!token.is_empty()).then(|| (String::new(), token));
    }
    let (scheme, value) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(value.trim()).ok()?).ok()?;
    let (name, secret) = text.split_once(':')?;
    (!secret.is_empty()).then(|| (name.to_string(), secret.to_string()))
}
