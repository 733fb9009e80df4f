//! The set-up page behind a one-time link (`ux.md` J1): the machine, the domain, the first admin. Opening changes nothing, since
//! mail scanners open links; the secret in the address is what makes the forms ours.

use crate::{browser::Visitor, message, render, sign_in::ReadyPage};
use askama::Template;
use axum::{
    Form, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use domain::machine::{Check, Level, Record};
use serde::Deserialize;
use service::{Ctx, Error, Kind, Service};

/// The routes of these pages.
pub fn routes() -> Router<Service> {
    Router::new()
        .route("/setup/{secret}", get(setup).post(use_setup))
        .route("/setup/{secret}/domain", get(domain).post(set_domain))
}

#[derive(Template)]
#[template(path = "setup.html")]
struct SetupPage {
    secret: String,
    email: String,
    problem: Option<String>,
    valid: bool,
    domain: String,
    checks: Vec<Check>,
}

/// The class of a state's colour and glyph.
fn class(level: &Level) -> &'static str {
    match level {
        Level::Ok => "up",
        Level::Warn => "starting",
        Level::Fail => "crashed",
    }
}

async fn page(service: &Service, ctx: &Ctx, secret: String, email: String, problem: Option<&Error>) -> Response {
    let checks = match service.machine_checks(ctx).await {
        Ok(checks) => checks,
        Err(e) => return message::failed(&e),
    };
    let domain = service.addresses().domain.clone();
    let text = problem.map(|e| e.public.clone());
    let status = problem.map_or(StatusCode::OK, message::status);
    render::secret_page(status, &SetupPage { secret, email, problem: text, valid: true, domain, checks })
}

/// The link is not, or no longer, one; or there was too much guessing.
fn refused(secret: String, error: &Error) -> Response {
    let problem = (error.kind == Kind::Throttled).then(|| error.public.clone());
    let page = SetupPage { secret, email: String::new(), problem, valid: false, domain: String::new(), checks: Vec::new() };
    render::secret_page(message::status(error), &page)
}

async fn setup(State(service): State<Service>, visitor: Visitor, Path(secret): Path<String>) -> Response {
    match service.open_setup_link(&secret, visitor.address) {
        Ok(ctx) => page(&service, &ctx, secret, String::new(), None).await,
        Err(e) => refused(secret, &e),
    }
}

#[derive(Deserialize)]
struct SetupForm {
    email: String,
    #[serde(default)]
    password: String,
}

async fn use_setup(
    State(service): State<Service>,
    visitor: Visitor,
    Path(secret): Path<String>,
    Form(form): Form<SetupForm>,
) -> Response {
    let error = match service.use_setup_link((&secret, visitor.address), &form.email, &form.password).await {
        Ok((account, token)) => {
            let addresses = service.addresses();
            let page = ReadyPage { email: account.email, token, url: addresses.url(&addresses.domain) };
            return render::secret_page(StatusCode::OK, &page);
        }
        Err(error) => error,
    };
    match service.open_setup_link(&secret, visitor.address) {
        Ok(ctx) => page(&service, &ctx, secret, form.email, Some(&error)).await,
        Err(_) => refused(secret, &error),
    }
}

#[derive(Template)]
#[template(path = "setup_domain.html")]
struct DomainPage {
    secret: String,
    /// In use.
    domain: String,
    /// Chosen just now; the daemon may not yet have started with it.
    chosen: Option<String>,
    without_dns: Option<String>,
    typed: String,
    problem: Option<String>,
    records: Vec<Record>,
    /// Something is still to come: the page looks again by itself.
    waits: bool,
}

#[derive(Deserialize, Default)]
struct Asked {
    /// The domain that was chosen.
    #[serde(rename = "for")]
    chosen: Option<String>,
}

/// Where no record of one's own is needed.
fn needs_no_dns(domain: &str) -> bool {
    domain == "localhost" || domain.ends_with(".sslip.io")
}

async fn domain_page(
    service: &Service,
    ctx: &Ctx,
    secret: String,
    chosen: Option<String>,
    (typed, problem): (String, Option<&Error>),
) -> Result<Response, Error> {
    let domain = service.addresses().domain.clone();
    let records = match &chosen {
        Some(chosen) if !needs_no_dns(chosen) => service.domain_records(ctx, chosen).await?,
        _ => Vec::new(),
    };
    let waits = chosen.as_ref().is_some_and(|chosen| *chosen != domain) || records.iter().any(|record| !record.found);
    let page = DomainPage {
        secret,
        chosen,
        without_dns: service.domain_without_dns(ctx).await?,
        typed,
        problem: problem.map(|e| e.public.clone()),
        records,
        waits,
        domain,
    };
    Ok(render::secret_page(problem.map_or(StatusCode::OK, message::status), &page))
}

async fn domain(
    State(service): State<Service>,
    visitor: Visitor,
    Path(secret): Path<String>,
    Query(asked): Query<Asked>,
) -> Response {
    match service.open_setup_link(&secret, visitor.address) {
        Ok(ctx) => {
            let made = domain_page(&service, &ctx, secret, asked.chosen, (String::new(), None)).await;
            made.unwrap_or_else(|e| message::failed(&e))
        }
        Err(e) => refused(secret, &e),
    }
}

#[derive(Deserialize)]
struct DomainForm {
    #[serde(default)]
    choice: String,
    #[serde(default)]
    domain: String,
}

async fn set_domain(
    State(service): State<Service>,
    visitor: Visitor,
    Path(secret): Path<String>,
    Form(form): Form<DomainForm>,
) -> Response {
    let ctx = match service.open_setup_link(&secret, visitor.address) {
        Ok(ctx) => ctx,
        Err(e) => return refused(secret, &e),
    };
    let wanted = match form.choice.as_str() {
        "address" => service.domain_without_dns(&ctx).await.map(Option::unwrap_or_default),
        _ => Ok(form.domain.clone()),
    };
    let set = match wanted {
        Ok(wanted) => service.set_platform_domain(&ctx, &wanted).await,
        Err(e) => Err(e),
    };
    match set {
        // Checked to be a host name, which needs no escape.
        Ok(domain) => Redirect::to(&format!("/setup/{secret}/domain?for={domain}")).into_response(),
        Err(e) => {
            let made = domain_page(&service, &ctx, secret, None, (form.domain, Some(&e))).await;
            made.unwrap_or_else(|e| message::failed(&e))
        }
    }
}
