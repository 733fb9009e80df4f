//! One request of the platform's own to a dyno: the health check.

use crate::{
    proxy::Body,
    upstream::{self, ConnectError},
};
use bytes::Bytes;
use http::{Request, header};
use http_body_util::{BodyExt, Empty};
use std::{net::SocketAddr, time::Duration};

/// Status of `GET path` at a dyno, or why there is none. The body is not read.
///
/// # Errors
/// With what was seen, for the app's log.
pub async fn probe(address: SocketAddr, host: &str, path: &str, limit: Duration) -> Result<u16, String> {
    let body: Body = Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync();
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, "Tidemill-Health-Check")
        .header(header::CONNECTION, "close")
        .header("x-forwarded-proto", "https") // else apps that want TLS only send everybody away
        .body(body)
        .map_err(|e| e.to_string())?;
    let asked = async {
        let mut sender = upstream::connect(address).await.map_err(|e| match e {
            ConnectError::Refused => "connection refused".to_string(),
            ConnectError::Timeout => "connection timed out".to_string(),
        })?;
        let answer = sender.send_request(request).await;
        answer.map(|response| response.status().as_u16()).map_err(|_| "no valid answer".to_string())
    };
    let seconds = limit.as_secs();
    tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| Err(format!("no answer in {seconds} s")))
}
