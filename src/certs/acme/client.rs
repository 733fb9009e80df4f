//! HTTP to an authority: over TLS only, with a limit on time and size, and with an eye on `Retry-After`.

use bytes::Bytes;
use http::{Request, Response, header::RETRY_AFTER};
use http_body_util::{BodyExt, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use std::{fs, future::Future, path::PathBuf, pin::Pin, time::Duration};
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// For one request and its answer.
const TIME_LIMIT: Duration = Duration::from_secs(30);
/// No answer of an authority is nearly as long.
const ANSWER_BYTES_MAX: u64 = 1 << 20;

/// Whom to believe to be the authority.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Authorities (PEM) in place of those of the system.
    pub ca_file: Option<PathBuf>,
}

/// It answered that too much was asked.
#[derive(Debug)]
pub(super) struct Limited {
    pub after: Option<Duration>,
    pub detail: String,
}

impl std::fmt::Display for Limited {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Limited {}

/// Cheap to clone; connections are kept.
#[derive(Clone)]
pub(super) struct Client(ureq::Agent);

impl Client {
    pub fn new(trust: &Trust) -> Result<Self, String> {
        let roots = match &trust.ca_file {
            None => RootCerts::PlatformVerifier,
            Some(file) => {
                let bytes = fs::read(file).map_err(|e| format!("{}: {e}", file.display()))?;
                let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
                let all = all.map_err(|e| format!("{}: {e}", file.display()))?;
                let all: Vec<_> = all.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
                RootCerts::from(all)
            }
        };
        let tls = TlsConfig::builder().root_certs(roots).build();
        let config = ureq::Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_global(Some(TIME_LIMIT))
            .user_agent(concat!("tidemill/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self(config.into()))
    }

    /// A document without a signature.
    pub async fn get_json(&self, url: &str) -> Result<serde_json::Value, String> {
        let request = Request::builder().uri(url).body(Bytes::new()).map_err(|e| e.to_string())?;
        let answer = self.send(request).await?;
        if !answer.status().is_success() {
            return Err(format!("The authority answers {} at {url}.", answer.status()));
        }
        serde_json::from_slice(answer.body()).map_err(|e| format!("What is at {url} is no directory of an authority: {e}."))
    }

    /// Blocking in a thread for that, since few are sent and the connection library is the one that the rest uses.
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let agent = self.0.clone();
        let sent = tokio::task::spawn_blocking(move || {
            let (parts, body) = request.into_parts();
            let answer = if body.is_empty() {
                agent.run(Request::from_parts(parts, ()))
            } else {
                agent.run(Request::from_parts(parts, body.to_vec()))
            };
            let (parts, mut body) = answer.map_err(|e| e.to_string())?.into_parts();
            let bytes = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(|e| e.to_string())?;
            Ok(Response::from_parts(parts, Bytes::from(bytes)))
        });
        sent.await.map_err(|e| e.to_string())?
    }
}

/// How long it says to wait.
fn retry_after(answer: &Response<Bytes>) -> Option<Duration> {
    let value = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    value.parse().ok().map(Duration::from_secs)
}

fn limited(answer: &Response<Bytes>) -> Option<Limited> {
    if !matches!(answer.status().as_u16(), 429 | 503) {
        return None;
    }
    let problem: serde_json::Value = serde_json::from_slice(answer.body()).unwrap_or_default();
    let detail = problem["detail"].as_str().unwrap_or("too many requests").to_string();
    Some(Limited { after: retry_after(answer), detail })
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let client = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = match body.collect().await {
                Ok(body) => body.to_bytes(),
                Err(never) => match never {},
            };
            let answer = client.send(Request::from_parts(parts, body)).await.map_err(|e| Error::Other(e.into()))?;
            match limited(&answer) {
                Some(limited) => Err(Error::Other(Box::new(limited))),
                None => Ok(answer.map(Full::new).into()),
            }
        })
    }
}
