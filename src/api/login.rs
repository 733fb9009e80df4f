//! Signing in a command line by way of a browser: its two calls (`platform-api.md` section 4.4). The page is in the
//! dashboard.

use crate::{Api, Out, answer::Body, auth::bearer};
use axum::{
    Json, Router,
    body::Body as Raw,
    extract::{ConnectInfo, Path, State},
    http::{HeaderMap, header},
    response::IntoResponse,
    routing::{get, post},
};
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::json;
use service::{Error, Service};
use std::{convert::Infallible, net::SocketAddr, time::Duration};

/// Clients give a silent connection up after 60 s.
const BLANK_EVERY: Duration = Duration::from_secs(20);

/// Nobody is signed in yet.
pub fn open_routes() -> Router<Service> {
    Router::new().route("/auth", post(start)).route("/auth/{code}", get(wait))
}

#[derive(Deserialize)]
struct Start {
    description: Option<String>,
}

async fn start(State(service): Api, peer: Option<axum::Extension<ConnectInfo<SocketAddr>>>, Body(body): Body<Start>) -> Out {
    let address = peer.map(|peer| peer.0.0.ip().to_canonical());
    let login = service.start_login(&body.description.unwrap_or_default(), address)?;
    let answer = json!({
        "browser_url": format!("/cli/{}", login.code),
        "cli_url": format!("/auth/{}", login.code),
        "token": login.poll_token,
    });
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(answer)).into_response())
}

/// Held open until the person has answered: a blank now and then, the JSON last.
async fn wait(State(service): Api, Path(code): Path<String>, headers: HeaderMap) -> Out {
    let token = bearer(&headers).ok_or_else(Error::unauthorized)?;
    let waiting = service.wait_for_login(&code, &token)?;
    let answer = Box::pin(async move {
        let body = match service.finish_login(waiting).await {
            Ok(token) => json!({ "access_token": token }),
            Err(e) => json!({ "error": e.public }),
        };
        Bytes::from(body.to_string())
    });
    let pieces = stream::unfold(Some(answer), |answer| async move {
        let mut answer = answer?;
        match tokio::time::timeout(BLANK_EVERY, &mut answer).await {
            Ok(body) => Some((body, None)),
            Err(_) => Some((Bytes::from_static(b" "), Some(answer))),
        }
    });
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    Ok((headers, Raw::from_stream(pieces.map(Ok::<_, Infallible>))).into_response())
}
