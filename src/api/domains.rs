//! Custom domains.

use crate::{
    Api, Out,
    answer::{Body, created, ok},
    auth::User,
    list,
    refs::{Named, said},
    routes::routes,
    show,
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::IntoResponse,
};
use serde::Deserialize;
use service::{Error, Wanted};

routes! {
    get "/apps/{app}/domains" => domains, "read";
    post "/apps/{app}/domains" => add_domain, "write";
    get "/apps/{app}/domains/{domain}" => domain, "read";
    patch "/apps/{app}/domains/{domain}" => update_domain, "write";
    delete "/apps/{app}/domains/{domain}" => remove_domain, "write";
}

async fn domains(State(service): Api, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    let (app, domains) = service.domains(&ctx, &app)?;
    let mut shown = vec![show::default_domain(&service, &app)];
    shown.extend(domains.iter().map(|domain| show::domain(&service, &app, domain)));
    list::page(&headers, &shown, &["kind", "hostname", "id"])
}

async fn domain(State(service): Api, User(ctx): User, Path((app, domain)): Path<(String, String)>) -> Out {
    let owner = service.app(&ctx, &app)?;
    let default = show::default_domain(&service, &owner);
    if domain == default.hostname || domain == default.id.to_string() {
        return Ok(ok(default)?.into_response());
    }
    let (app, domain) = service.domain(&ctx, &app, &domain)?;
    Ok(ok(show::domain(&service, &app, &domain))?.into_response())
}

#[derive(Deserialize)]
struct AddDomain {
    hostname: String,
    #[serde(default, deserialize_with = "said")]
    sni_endpoint: Option<Option<Named>>,
}

async fn add_domain(State(service): Api, User(ctx): User, Path(app): Path<String>, Body(body): Body<AddDomain>) -> Out {
    let wanted = match body.sni_endpoint {
        None => Wanted::Unsaid,
        Some(named) => named.and_then(Named::text).map_or(Wanted::Null, Wanted::Endpoint),
    };
    let (app, domain) = service.add_domain(&ctx, &app, &body.hostname, wanted).await?;
    Ok(created(show::domain(&service, &app, &domain))?.into_response())
}

#[derive(Deserialize)]
struct UpdateDomain {
    #[serde(default, deserialize_with = "said")]
    sni_endpoint: Option<Option<Named>>,
}

async fn update_domain(
    State(service): Api,
    User(ctx): User,
    Path((app, domain)): Path<(String, String)>,
    Body(body): Body<UpdateDomain>,
) -> Out {
    let wanted = body.sni_endpoint.ok_or_else(|| Error::invalid("Say which certificate: sni_endpoint, a name or null."))?;
    let (app, domain) = service.set_domain_endpoint(&ctx, &app, &domain, wanted.and_then(Named::text)).await?;
    Ok(ok(show::domain(&service, &app, &domain))?.into_response())
}

async fn remove_domain(State(service): Api, User(ctx): User, Path((app, domain)): Path<(String, String)>) -> Out {
    let (app, domain) = service.remove_domain(&ctx, &app, &domain).await?;
    Ok(ok(show::domain(&service, &app, &domain))?.into_response())
}
