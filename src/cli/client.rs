//! Requests to the API.

use crate::{
    args::Global,
    credentials::{Credentials, normal_url},
    failure::{Failure, Result},
};
use serde_json::Value;
use std::{io::Read, time::Duration};
use ureq::{Agent, Body, http::Response};

/// A server and a token for it.
pub struct Client {
    /// Scheme, host and port.
    pub base: String,
    token: String,
    agent: Agent,
}

const ACCEPT: &str = "application/vnd.heroku+json; version=3";
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

fn agent() -> Agent {
    let tls = ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::PlatformVerifier).build();
    Agent::config_builder().http_status_as_error(false).timeout_connect(Some(CONNECT_LIMIT)).tls_config(tls).build().into()
}

/// Address and token: of the server `wanted`, of the environment, or of the last sign-in.
pub fn known_server(wanted: Option<String>) -> Result<(String, String)> {
    let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let credentials = Credentials::load()?;
    let base = wanted.or_else(|| variable("TIDEMILL_HOST")).or_else(|| credentials.default.clone());
    let base = base.ok_or_else(|| Failure { text: "Not signed in. Sign in with: tidemill login URL".into(), exit: 3 })?;
    let base = normal_url(&base)?;
    let token = variable("TIDEMILL_API_KEY").or_else(|| credentials.hosts.get(&base).cloned());
    let token = token
        .ok_or_else(|| Failure { text: format!("Not signed in to {base}. Sign in with: tidemill login {base}"), exit: 3 })?;
    Ok((base, token))
}

impl Client {
    /// For an address and token that are known.
    pub fn new(base: String, token: String) -> Self {
        Self { base, token, agent: agent() }
    }

    /// From flags, environment, or the last sign-in.
    pub fn from_environment(global: &Global) -> Result<Self> {
        let (base, token) = known_server(global.host.clone())?;
        Ok(Self::new(base, token))
    }

    fn unreachable(&self, e: &ureq::Error) -> Failure {
        Failure::unreachable(format!(
            "Can not reach {}: {e}\n !    Is the daemon running, and is the address right?",
            self.base
        ))
    }

    fn checked(mut response: Response<Body>) -> Result<Response<Body>> {
        let status = response.status().as_u16();
        if status < 400 {
            return Ok(response);
        }
        let text = response.body_mut().read_to_string().unwrap_or_default();
        Err(Failure::from_status(status, &text))
    }

    /// GET; `range` is the Range header.
    pub fn get(&self, path: &str, range: Option<&str>) -> Result<Value> {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        request = request.header("Accept", ACCEPT).header("Authorization", format!("Bearer {}", self.token));
        if let Some(range) = range {
            request = request.header("Range", range);
        }
        json(Self::checked(request.call().map_err(|e| self.unreachable(&e))?)?)
    }

    /// POST, PATCH or PUT with a JSON body.
    pub fn send(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        json(self.sent(method, path, body)?)
    }

    /// POST with a JSON body; also a header of the answer.
    pub fn post_for_header(&self, path: &str, body: &Value, header: &str) -> Result<(Value, Option<String>)> {
        let response = self.sent("POST", path, body)?;
        let header = response.headers().get(header).and_then(|value| value.to_str().ok()).map(String::from);
        Ok((json(response)?, header))
    }

    fn sent(&self, method: &str, path: &str, body: &Value) -> Result<Response<Body>> {
        let url = format!("{}{path}", self.base);
        let request = match method {
            "POST" => self.agent.post(url),
            "PATCH" => self.agent.patch(url),
            _ => self.agent.put(url),
        };
        let request = request.header("Accept", ACCEPT).header("Authorization", format!("Bearer {}", self.token));
        Self::checked(request.send_json(body).map_err(|e| self.unreachable(&e))?)
    }

    /// DELETE.
    pub fn delete(&self, path: &str) -> Result<Value> {
        let request = self.agent.delete(format!("{}{path}", self.base));
        let request = request.header("Accept", ACCEPT).header("Authorization", format!("Bearer {}", self.token));
        json(Self::checked(request.call().map_err(|e| self.unreachable(&e))?)?)
    }

    /// A stream at an address that carries its own secret.
    pub fn stream(&self, url: &str) -> Result<impl Read + use<>> {
        let response = self.agent.get(url).call().map_err(|e| self.unreachable(&e))?;
        Ok(Self::checked(response)?.into_body().into_reader())
    }
}

fn json(mut response: Response<Body>) -> Result<Value> {
    let text = response.body_mut().with_config().limit(64 << 20).read_to_string();
    let text = text.map_err(|e| Failure::unreachable(format!("The answer was cut: {e}")))?;
    serde_json::from_str(&text).map_err(|e| Failure::failed(format!("The answer is no JSON: {e}; is this a Tidemill server?")))
}
