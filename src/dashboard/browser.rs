//! Who is at the browser, and whether a form is one of ours. Cookies are for one host; forms carry a token that goes
//! with the cookie, and must come from our own pages.

use crate::message;
use axum::{
    extract::{ConnectInfo, Form, FromRequest, FromRequestParts, Request},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::{IntoResponse, Redirect, Response},
};
use service::{Ctx, Service};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

/// Cookie of a browser that is not signed in; ends with the browser.
const FORM: &str = "tidemill_form";
/// Cookie of a signed-in browser.
const SESSION: &str = "tidemill_session";
/// Cookie with the look that was chosen in this browser; no secret.
const LOOK: &str = "tidemill_look";
/// The server ends sessions earlier (`domain::sign_in::Session`).
const SESSION_S: u64 = domain::sign_in::Session::AGE_MS / 1000;

/// Marks a request for the twin of a page.
#[derive(Clone, Copy)]
pub struct Twin;

/// Id of a request.
#[derive(Clone)]
pub struct RequestId(pub String);

fn look(chosen: Option<&str>) -> &'static str {
    match chosen {
        Some("light") => "light",
        Some("dark") => "dark",
        _ => "",
    }
}
/// Put on a request by the listener: true when it came over TLS.
#[derive(Clone, Copy, Debug)]
pub struct OverTls(pub bool);

/// Somebody at a page.
pub struct Visitor {
    /// Who, when signed in.
    pub ctx: Option<Ctx>,
    /// Where from.
    pub address: Option<IpAddr>,
    /// What the browser calls itself.
    pub browser: String,
    /// Asks for the twin of the page.
    pub wants_json: bool,
    /// `light`, `dark`, or what the system has.
    pub look: &'static str,
    /// Path and query of the page.
    pub at: String,
    key: String,
    is_new: bool,
    secure: bool,
}

/// A name that only this very host can set, where that is possible.
fn named(name: &str, secure: bool) -> String {
    if secure { format!("__Host-{name}") } else { name.into() }
}

fn cookie(headers: &HeaderMap, name: &str) -> Option<String> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
}

fn set(response: &mut Response, name: &str, value: &str, secure: bool, age: Option<u64>) {
    let name = named(name, secure);
    let age = age.map(|seconds| format!("; Max-Age={seconds}")).unwrap_or_default();
    let secure = if secure { "; Secure" } else { "" };
    let text = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{age}");
    if let Ok(value) = HeaderValue::from_str(&text) {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

impl FromRequestParts<Service> for Visitor {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, service: &Service) -> Result<Self, Response> {
        let secure = parts.extensions.get::<OverTls>().is_some_and(|over| over.0);
        let address = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|peer| peer.0.ip().to_canonical());
        let browser = parts.headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).unwrap_or("Browser").to_string();
        let session = cookie(&parts.headers, &named(SESSION, secure));
        let ctx = match &session {
            Some(secret) => service.browser(secret, address).await.map_err(|e| message::failed(&e))?,
            None => None,
        };
        let request_id = parts.extensions.get::<RequestId>().map(|id| id.0.clone());
        let ctx = ctx.map(|ctx| Ctx { request_id, ..ctx });
        let known = session.filter(|_| ctx.is_some()).or_else(|| cookie(&parts.headers, &named(FORM, secure)));
        let is_new = known.is_none();
        let key = known.map_or_else(service::new_form_key, Ok).map_err(|e| message::failed(&e))?;
        let wants_json = parts.extensions.get::<Twin>().is_some();
        let look = look(cookie(&parts.headers, LOOK).as_deref());
        let at = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
        Ok(Self { ctx, wants_json, look, at, address, browser, key, is_new, secure })
    }
}

impl Visitor {
    /// What forms on this visitor's pages carry.
    pub fn token(&self) -> String {
        service::form_token(&self.key)
    }

    /// Who, or the way to the sign-in page and back.
    pub fn signed_in(&self, back: &str) -> Result<&Ctx, Box<Response>> {
        self.ctx.as_ref().ok_or_else(|| {
            if self.wants_json {
                return Box::new(message::failed_for(self, &service::Error::unauthorized()));
            }
            let back: String = back.bytes().map(escaped).collect();
            Box::new(Redirect::to(&format!("/login?next={back}")).into_response())
        })
    }

    /// A page with forms: the browser gets the cookie that goes with them.
    pub fn with_cookie(&self, mut response: Response) -> Response {
        if self.is_new {
            set(&mut response, FORM, &self.key, self.secure, None);
        }
        response
    }

    /// Signs the browser in.
    pub fn with_session(&self, mut response: Response, secret: &str) -> Response {
        set(&mut response, SESSION, secret, self.secure, Some(SESSION_S));
        response
    }

    /// Keeps the look that was chosen, for a year.
    pub fn with_look(&self, mut response: Response, chosen: &str) -> Response {
        let name = LOOK;
        let secure = if self.secure { "; Secure" } else { "" };
        let text = format!("{name}={}; Path=/; HttpOnly; SameSite=Lax{secure}; Max-Age=31536000", look(Some(chosen)));
        if let Ok(value) = HeaderValue::from_str(&text) {
            response.headers_mut().append(header::SET_COOKIE, value);
        }
        response
    }

    /// Signs it out.
    pub fn without_session(&self, mut response: Response) -> Response {
        set(&mut response, SESSION, "", self.secure, Some(0));
        response
    }
}

fn escaped(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

/// A form of ours that was sent.
pub struct Posted {
    /// By whom.
    pub visitor: Visitor,
    fields: BTreeMap<String, String>,
}

/// Browsers say where a form comes from; programs without a browser do not, and have no cookies either.
fn is_from_here(headers: &HeaderMap) -> bool {
    let text = |name: header::HeaderName| headers.get(name).map(|v| v.to_str().unwrap_or("?"));
    if text(header::HeaderName::from_static("sec-fetch-site")).is_some_and(|site| site != "same-origin" && site != "none") {
        return false;
    }
    match text(header::ORIGIN) {
        None => true,
        Some(origin) => origin.split_once("://").map(|(_, host)| host) == text(header::HOST),
    }
}

impl FromRequest<Service> for Posted {
    type Rejection = Response;

    async fn from_request(request: Request, service: &Service) -> Result<Self, Response> {
        let (mut parts, body) = request.into_parts();
        let visitor = Visitor::from_request_parts(&mut parts, service).await?;
        let here = is_from_here(&parts.headers);
        let form = Form::<BTreeMap<String, String>>::from_request(Request::from_parts(parts, body), service).await;
        let Form(fields) = form.map_err(IntoResponse::into_response)?;
        if !here || fields.get("token") != Some(&visitor.token()) {
            let text =
                "This form did not come from a page of this site, or is too old. Go back, reload the page and try again.";
            return Err(message::page(StatusCode::FORBIDDEN, "Not done", text));
        }
        Ok(Self { visitor, fields })
    }
}

impl Posted {
    /// Text of a field; empty when it is not there.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    /// All that was typed, to be shown again when something is wrong.
    pub fn fields(&self) -> &BTreeMap<String, String> {
        &self.fields
    }

    /// Text of a field; `None` when nothing was typed.
    pub fn filled(&self, name: &str) -> Option<String> {
        Some(self.field(name).trim()).filter(|text| !text.is_empty()).map(String::from)
    }
}
