//! Domains of an app, the records that they need, and how far each of them is.

use crate::{
    browser::{Posted, Visitor},
    shell::{self, Head, Outcome, Shell},
    text::{Cli, When},
};
use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::get,
};
use serde::Serialize;
use service::{Ctx, Error, Service, ShownDomain, Wanted};

/// The route of this page.
pub fn routes() -> Router<Service> {
    Router::new().route("/apps/{app}/domains", get(domains).post(change))
}

#[derive(Serialize)]
struct Record {
    kind: &'static str,
    name: String,
    target: String,
}

#[derive(Serialize)]
struct Row {
    hostname: String,
    /// Word of the managed certificate, and a sentence.
    state: String,
    reason: String,
    certificate: Option<String>,
    valid_to: Option<When>,
    record: Record,
    since: When,
    #[serde(skip)]
    cli: Cli,
}

#[derive(Template, Serialize)]
#[template(path = "domains.html")]
struct DomainsPage {
    shell: Shell,
    head: Head,
    rows: Vec<Row>,
    managed: bool,
    default: String,
    #[serde(skip)]
    add_cli: Cli,
    #[serde(skip)]
    acm_cli: Cli,
}

fn row(app: &domain::App, target: &str, domain: ShownDomain, ctx: &Ctx) -> Row {
    let (state, reason) = match (&domain.acm, &domain.endpoint) {
        (Some((word, text)), _) => ((*word).to_string(), text.clone().unwrap_or_default()),
        (None, Some(endpoint)) => {
            ("own certificate".into(), format!("The uploaded certificate {} answers for it.", endpoint.name))
        }
        (None, None) => ("no certificate".into(), "The platform's own certificate answers over HTTPS; browsers warn.".into()),
    };
    Row {
        state,
        reason,
        valid_to: domain.endpoint.as_ref().map(|endpoint| When::new(endpoint.facts.expires_at, ctx.now)),
        certificate: domain.endpoint.map(|endpoint| endpoint.name),
        record: Record { kind: "CNAME", name: domain.row.hostname.clone(), target: target.into() },
        since: When::new(domain.row.created_at, ctx.now),
        cli: Cli::of(&app.name, ["domains:remove", &domain.row.hostname]),
        hostname: domain.row.hostname,
    }
}

fn page(service: &Service, visitor: &Visitor, ctx: &Ctx, outcome: Outcome, name: &str) -> Result<DomainsPage, Error> {
    let (app, head) = Head::new(service, ctx, name, "domains")?;
    let (_, domains) = service.domains(ctx, name)?;
    let default = format!("{}.{}", app.name, service.addresses().domain);
    let verb = if app.acm_since.is_some() { "certs:auto:disable" } else { "certs:auto:enable" };
    Ok(DomainsPage {
        shell: Shell::new(visitor, ctx, "apps", outcome),
        rows: domains.into_iter().map(|domain| row(&app, &default, domain, ctx)).collect(),
        managed: app.acm_since.is_some(),
        add_cli: Cli::raw(format!("tidemill domains:add HOSTNAME -a {}", app.name)),
        acm_cli: Cli::of(&app.name, [verb]),
        default,
        head,
    })
}

async fn domains(State(service): State<Service>, visitor: Visitor, Path(app): Path<String>) -> Response {
    shell::shown(&visitor, |ctx, outcome| page(&service, &visitor, ctx, outcome, &app))
}

async fn change(State(service): State<Service>, Path(app): Path<String>, posted: Posted) -> Response {
    let back = format!("/apps/{app}/domains");
    let ctx = match posted.visitor.signed_in(&back) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let hostname = posted.field("hostname").trim();
    let done = match posted.field("do") {
        "remove" => service.remove_domain(ctx, &app, hostname).await.map(|_| "removed"),
        "managed" => service.switch_acm(ctx, &app, posted.field("on") == "true").await.map(|_| "saved"),
        "check" => service.refresh_acm(ctx, &app).await.map(|_| "looked"),
        _ => service.add_domain(ctx, &app, hostname, Wanted::Unsaid).await.map(|_| "added"),
    };
    shell::answered(&posted, "domains", &back, done, |ctx, outcome| page(&service, &posted.visitor, ctx, outcome, &app))
}
