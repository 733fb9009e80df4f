//! Who asks: a token as Bearer, or as the password of Basic with any user name (`platform-api.md` section 4).

use crate::{contract::RequestId, error::Failure, pools::Meter};
use axum::{
    extract::{ConnectInfo, FromRequestParts},
    http::{header::AUTHORIZATION, request::Parts},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use service::{Ctx, Error, Service};
use std::net::SocketAddr;

/// The context of an authenticated request.
pub struct User(pub Ctx);

impl FromRequestParts<Service> for User {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Failure> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()).ok_or_else(Error::unauthorized)?;
        let token = token(header).ok_or_else(Error::unauthorized)?;
        let id = parts.extensions.get::<RequestId>().map(|id| id.0.clone());
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_canonical());
        let meter = parts.extensions.get::<Meter>();
        match service.authenticate(&token, id) {
            Ok(ctx) => {
                meter.map_or(Ok(()), |meter| meter.spend(&ctx))?;
                Ok(Self(Ctx { address, ..ctx }))
            }
            Err(e) => {
                meter.map_or(Ok(()), Meter::spend_of_stranger)?;
                Err(e.into())
            }
        }
    }
}

fn token(header: &str) -> Option<String> {
    let (scheme, value) = header.split_once(' ')?;
    let value = value.trim();
    let token = if scheme.eq_ignore_ascii_case("bearer") {
        value.to_string()
    } else if scheme.eq_ignore_ascii_case("basic") {
        let text = String::from_utf8(STANDARD.decode(value).ok()?).ok()?;
        text.split_once(':')?.1.to_string()
    } else {
        return None;
    };
    (!token.is_empty()).then_some(token)
}
