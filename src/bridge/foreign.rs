//! The CLI has the names of other hosts built in (`cli-contract.md` section 1.3). It is told that the bridge is its proxy, so it
//! asks here instead of resolving them, and gets a refusal that it can show.

use crate::{
    Inner, door,
    forward::{Body, refused},
};
use http::{Request, Response, StatusCode};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use std::{convert::Infallible, sync::Arc, time::Duration};

/// A tunnel that is not used is closed.
const LIMIT: Duration = Duration::from_secs(10);

const HTTPS: u16 = 443;

/// The answer in place of another host's.
pub(crate) fn refusal(host: &str) -> Response<Body> {
    let text = format!("{host} was not asked: this command needs a service of Heroku that Tidemill does not have.");
    refused(StatusCode::GONE, "gone", &text)
}

/// Takes a tunnel. To the bridge itself it is one more connection: the CLI must not be told to go there without the proxy, for
/// then it would go everywhere without. In one to another host the refusal is given, since the CLI tries again and again when a
/// tunnel is refused, and shows no reason; but nobody here can speak TLS for another host.
pub(crate) fn tunnel(mut request: Request<Incoming>, inner: Arc<Inner>) -> Response<Body> {
    let Some(named) = request.uri().authority().cloned() else { return refusal("") };
    let own = inner.is_own(&named);
    if !own && named.port_u16() == Some(HTTPS) {
        return refusal(named.host());
    }
    let opened = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let Ok(stream) = opened.await.map(TokioIo::new) else { return };
        if own {
            let _ = door::connection(Box::new(stream), inner).await; // its end is the answer
            return;
        }
        let service = service_fn(|_| {
            let answer = refusal(named.host());
            async move { Ok::<_, Infallible>(answer) }
        });
        let connection = http1::Builder::new().keep_alive(false).serve_connection(TokioIo::new(stream), service);
        let _ = tokio::time::timeout(LIMIT, connection).await; // its end is the answer
    });
    Response::new(Body::default())
}
