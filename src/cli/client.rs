//! Requests to the API.

use crate::{
    args::Global,
    credentials::{Credentials, normal_url},
    failure::{Failure, Result},
    tls::{self, Trust},
};
use serde_json::Value;
use std::{io::Read, time::Duration};
use ureq::{
    Agent, Body,
    http::{HeaderMap, Request, Response},
};

/// A server and a token for it.
pub struct Client {
    /// Scheme, host and port.
    pub base: String,
    /// The token.
    pub token: String,
    agent: Agent,
}

/// An answer.
pub struct Answer {
    /// Body.
    pub value: Value,
    /// Headers.
    pub headers: HeaderMap,
}

impl Answer {
    /// A header, if it is there and a text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

const ACCEPT: &str = "application/vnd.heroku+json; version=3";
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Pages of a list that are fetched; the server's pages are up to 1000 long.
const PAGES_MAX: usize = 1000;

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|v| !v.is_empty())
}

/// Address and token: of the server `wanted`, of the environment, or of the last sign-in.
pub fn known_server(wanted: Option<String>) -> Result<(String, String)> {
    let credentials = Credentials::load()?;
    let base = wanted.or_else(|| variable("TIDEMILL_HOST")).or_else(|| credentials.default.clone());
    let base = base.ok_or_else(|| Failure { text: "Not signed in. Sign in with: tidemill login URL".into(), exit: 3 })?;
    let base = normal_url(&base)?;
    let token = variable("TIDEMILL_API_KEY").or_else(|| credentials.hosts.get(&base).cloned());
    let token = token
        .ok_or_else(|| Failure { text: format!("Not signed in to {base}. Sign in with: tidemill login {base}"), exit: 3 })?;
    Ok((base, token))
}

/// Whom to trust for a server: `--ca`, `TIDEMILL_CA`, or what was kept at sign-in.
pub fn trust(global: &Global, base: &str) -> Result<Trust> {
    match global.ca.clone().or_else(|| variable("TIDEMILL_CA")) {
        Some(file) => {
            let pem = std::fs::read_to_string(&file).map_err(|e| Failure::usage(format!("{file}: {e}")))?;
            Ok(Trust::Authorities(pem))
        }
        None => Ok(Credentials::load()?.trust(base)),
    }
}

impl Client {
    /// For an address and token that are known.
    pub fn new(base: String, token: String, trust: &Trust) -> Result<Self> {
        Ok(Self { base, token, agent: tls::agent(trust)? })
    }

    /// From flags, environment, or the last sign-in.
    pub fn from_environment(global: &Global) -> Result<Self> {
        let (base, token) = known_server(global.host.clone())?;
        let trust = trust(global, &base)?;
        Self::new(base, token, &trust)
    }

    fn unreachable(&self, e: &ureq::Error) -> Failure {
        let base = &self.base;
        match tls::distrust(e) {
            Some(reason) => Failure::unreachable(format!(
                "{base} shows a certificate that is not trusted: {reason}\n !    Somebody may be between you and the server, \
                 or it has a certificate of its own authority.\n !    To trust that: tidemill login {base} --ca FILE, with \
                 keys/tls/ca.pem of the server's data folder; or tidemill login {base}, which shows the certificate and asks."
            )),
            None => Failure::unreachable(format!(
                "Can not reach {base}: {e}\n !    Is the daemon running, and is the address right?"
            )),
        }
    }

    fn checked(mut response: Response<Body>) -> Result<Response<Body>> {
        if response.status().as_u16() < 400 {
            return Ok(response);
        }
        let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string().unwrap_or_default();
        Err(Failure::from_status(response.status().as_u16(), &text))
    }

    /// Any request with the token; headers go before the usual ones.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&Value>) -> Result<Answer> {
        self.request_within(None, method, path, headers, body)
    }

    /// As [`Client::request`], with a limit for the whole of it.
    pub fn request_within(
        &self,
        limit: Option<Duration>,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        let token = format!("Bearer {}", self.token);
        for (name, value) in [("accept", ACCEPT), ("authorization", &token)] {
            if !headers.iter().any(|(n, _)| *n == name) {
                request = request.header(name, value);
            }
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let bad = |e: ureq::http::Error| Failure::usage(format!("{path}: {e}"));
        let response = match body {
            Some(body) => {
                let request = request.body(body.to_string()).map_err(bad)?;
                self.agent
                    .run(self.agent.configure_request(request).timeout_global(limit).allow_non_standard_methods(true).build())
            }
            None => {
                let request = request.body(()).map_err(bad)?;
                self.agent.run(self.agent.configure_request(request).timeout_global(limit).build())
            }
        };
        let mut response = Self::checked(response.map_err(|e| self.unreachable(&e))?)?;
        let text = response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_string();
        let text = text.map_err(|e| Failure::unreachable(format!("The answer was cut: {e}")))?;
        let value = serde_json::from_str(&text)
            .map_err(|e| Failure::failed(format!("The answer is no JSON: {e}; is {} a Tidemill server?", self.base)))?;
        Ok(Answer { value, headers: response.headers().clone() })
    }

    /// GET.
    pub fn get(&self, path: &str) -> Result<Value> {
        Ok(self.request("GET", path, &[], None)?.value)
    }

    /// GET of a list, or of the part of it that `range` names.
    pub fn part(&self, path: &str, range: &str) -> Result<Value> {
        Ok(self.request("GET", path, &[("range", range)], None)?.value)
    }

    /// GET of a whole list, page by page.
    pub fn list(&self, path: &str) -> Result<Value> {
        let mut all = Vec::new();
        let mut range = "..; max=1000".to_string();
        for _ in 0..PAGES_MAX {
            let answer = self.request("GET", path, &[("range", &range)], None)?;
            let next = answer.header("next-range").map(String::from);
            match answer.value {
                Value::Array(items) => all.extend(items),
                other => return Ok(other),
            }
            match next {
                Some(next) => range = next,
                None => break,
            }
        }
        Ok(Value::Array(all))
    }

    /// POST, PATCH or PUT with a JSON body, DELETE without.
    pub fn send(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let body = Some(body).filter(|_| method != "DELETE");
        Ok(self.request(method, path, &[], body)?.value)
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> Result<Value> {
        self.send("DELETE", path, &Value::Null)
    }

    /// A stream at an address that carries its own secret.
    pub fn stream(&self, url: &str) -> Result<impl Read + use<>> {
        let response = self.agent.get(url).call().map_err(|e| self.unreachable(&e))?;
        Ok(Self::checked(response)?.into_body().into_reader())
    }

    /// A stream of events, from after the one that was seen last.
    pub fn events(&self, url: &str, last: Option<u64>) -> Result<impl Read + use<>> {
        let mut request = self.agent.get(url).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last.to_string());
        }
        Ok(Self::checked(request.call().map_err(|e| self.unreachable(&e))?)?.into_body().into_reader())
    }

    /// Uploads a file to an address that carries its own secret.
    pub fn upload(&self, url: &str, file: std::fs::File) -> Result<()> {
        Self::checked(self.agent.put(url).send(file).map_err(|e| self.unreachable(&e))?).map(|_| ())
    }

    /// The same server with another token.
    pub fn with_token(&self, token: String) -> Self {
        Self { base: self.base.clone(), token, agent: self.agent.clone() }
    }
}
