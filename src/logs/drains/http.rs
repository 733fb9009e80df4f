//! Requests of many lines (`logs.md` section 5): one at a time, on a connection that is kept.

use super::connect::{Failure, Trust};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use domain::drain::{DrainUrl, Protocol};
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, StatusCode,
    client::conn::http1::{SendRequest, handshake},
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, USER_AGENT},
};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// For the whole request.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
/// No connection lives longer.
const LIFE: Duration = Duration::from_secs(5 * 3600);
/// So much of an answer's body is read to keep the connection.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// Lines that belong together; the same on every try.
pub(super) struct Batch {
    pub(super) body: Bytes,
    pub(super) count: u64,
    pub(super) frame_id: String,
}

pub(super) struct HttpSender {
    url: DrainUrl,
    token: String,
    connection: Option<(SendRequest<Full<Bytes>>, Instant)>,
}

impl HttpSender {
    pub(super) fn new(url: DrainUrl, token: String) -> Self {
        Self { url, token, connection: None }
    }

    pub(super) fn close(&mut self) {
        self.connection = None;
    }

    /// One try, at once a second one when the receiver had closed the kept connection.
    pub(super) async fn send(&mut self, trust: &Trust, batch: &Batch) -> Result<(), Failure> {
        let kept = self.connection.as_ref().is_some_and(|(sender, born)| !sender.is_closed() && born.elapsed() < LIFE);
        if kept {
            match self.request(batch).await {
                Err(Failure::Away(_)) => {}
                answered => return answered,
            }
        }
        let stream = trust.connect(&self.url).await?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(|e| Failure::Away(format!("connect: {e}")))?;
        tokio::spawn(async move {
            let _ = connection.await; // the request has the error
        });
        self.connection = Some((sender, Instant::now()));
        match self.request(batch).await {
            Err(Failure::Away(text)) => Err(Failure::Answer(text)), // it was there and did not answer
            answered => answered,
        }
    }

    async fn request(&mut self, batch: &Batch) -> Result<(), Failure> {
        let Some((mut sender, born)) = self.connection.take() else { return Err(Failure::Away("no connection".into())) };
        let request = self.built(batch).map_err(|e| Failure::Refused(e.to_string()))?;
        let answered = timeout(REQUEST_LIMIT, async {
            sender.ready().await?;
            let answer = sender.send_request(request).await?;
            let (status, mut body, mut read) = (answer.status(), answer.into_body(), 0);
            while let Some(Ok(frame)) = body.frame().await {
                read += frame.data_ref().map_or(0, Bytes::len);
                if read > ANSWER_BYTES_MAX {
                    return Ok((status, false));
                }
            }
            Ok::<_, hyper::Error>((status, true))
        });
        let (status, whole) = match answered.await {
            Err(_) => return Err(Failure::Answer(format!("no answer within {} s", REQUEST_LIMIT.as_secs()))),
            Ok(Err(e)) => return Err(Failure::Away(format!("request: {e}"))),
            Ok(Ok(answer)) => answer,
        };
        if whole {
            self.connection = Some((sender, born));
        }
        judged(status)
    }

    fn built(&self, batch: &Batch) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let mut request = Request::post(self.url.path.as_str())
            .header(HOST, self.url.authority())
            .header(USER_AGENT, concat!("Logplex/v", env!("CARGO_PKG_VERSION")))
            .header("Logplex-Frame-Id", batch.frame_id.as_str()); // one that is used to them may drop doubles
        request = if self.url.protocol == Protocol::Otlp {
            request.header(CONTENT_TYPE, "application/json")
        } else {
            request
                .header(CONTENT_TYPE, "application/logplex-1")
                .header("Logplex-Msg-Count", batch.count)
                .header("Logplex-Drain-Token", self.token.as_str())
        };
        if let Some(user) = &self.url.user {
            let pair = if user.contains(':') { user.clone() } else { format!("{user}:") };
            request = request.header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(pair)));
        }
        request.body(Full::new(batch.body.clone()))
    }
}

fn judged(status: StatusCode) -> Result<(), Failure> {
    let text = format!("the receiver answered {}", status.as_u16());
    if status.is_success() {
        Ok(())
    } else if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
        Err(Failure::Refused(text))
    } else {
        Err(Failure::Answer(text)) // also a redirect, which is not followed
    }
}
