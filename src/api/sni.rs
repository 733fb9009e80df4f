//! Uploaded certificates, and the switch for managed ones.

use crate::{
    Api, Out,
    answer::{Body, created, ok},
    auth::User,
    list,
    routes::routes,
    show,
    view::View,
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::IntoResponse,
};
use serde::Deserialize;
use service::ShownEndpoint;
use wire::{NameRef, time};

routes! {
    get "/apps/{app}/sni-endpoints" => endpoints, "read";
    post "/apps/{app}/sni-endpoints" => add_endpoint, "write";
    get "/apps/{app}/sni-endpoints/{endpoint}" => endpoint, "read";
    patch "/apps/{app}/sni-endpoints/{endpoint}" => update_endpoint, "write";
    delete "/apps/{app}/sni-endpoints/{endpoint}" => remove_endpoint, "write";
    post "/apps/{app}/acm" => enable_acm, "write";
    patch "/apps/{app}/acm" => refresh_acm, "write";
    delete "/apps/{app}/acm" => disable_acm, "write";
}

/// An endpoint as the API shows it.
pub(crate) fn shown(app: &domain::App, endpoint: &ShownEndpoint) -> wire::SniEndpoint {
    let (row, facts) = (&endpoint.row, &endpoint.row.facts);
    wire::SniEndpoint {
        id: row.id,
        app: NameRef { id: app.id.0, name: app.name.clone() },
        certificate_chain: facts.chain.clone(),
        created_at: time(row.created_at.0),
        display_name: None,
        domains: endpoint.domains.clone(),
        name: row.name.clone(),
        ssl_cert: wire::SslCert {
            id: row.id,
            acm: endpoint.managed,
            ca_signed: !facts.self_signed,
            self_signed: facts.self_signed,
            cert_domains: facts.names.clone(),
            starts_at: time(facts.starts_at.0),
            expires_at: time(facts.expires_at.0),
            issuer: facts.issuer.clone(),
            subject: facts.subject.clone(),
        },
        updated_at: time(row.updated_at.0),
    }
}

async fn endpoints(State(service): Api, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    let (app, all) = service.sni_endpoints(&ctx, &app)?;
    let all: Vec<_> = all.iter().map(|endpoint| shown(&app, endpoint)).collect();
    list::page(&headers, &all, &["name", "id", "created_at", "updated_at"])
}

async fn endpoint(State(service): Api, User(ctx): User, Path((app, name)): Path<(String, String)>) -> Out {
    let (app, endpoint) = service.sni_endpoint(&ctx, &app, &name)?;
    Ok(ok(shown(&app, &endpoint))?.into_response())
}

#[derive(Deserialize)]
struct Upload {
    certificate_chain: String,
    private_key: String,
}

async fn add_endpoint(State(service): Api, User(ctx): User, Path(app): Path<String>, Body(body): Body<Upload>) -> Out {
    let (app, endpoint) = service.add_sni_endpoint(&ctx, &app, &body.certificate_chain, &body.private_key).await?;
    Ok(created(shown(&app, &endpoint))?.into_response())
}

async fn update_endpoint(
    State(service): Api,
    User(ctx): User,
    Path((app, name)): Path<(String, String)>,
    Body(body): Body<Upload>,
) -> Out {
    let done = service.update_sni_endpoint(&ctx, &app, &name, &body.certificate_chain, &body.private_key).await?;
    Ok(ok(shown(&done.0, &done.1))?.into_response())
}

async fn remove_endpoint(State(service): Api, User(ctx): User, Path((app, name)): Path<(String, String)>) -> Out {
    let (app, endpoint) = service.remove_sni_endpoint(&ctx, &app, &name).await?;
    Ok(ok(shown(&app, &endpoint))?.into_response())
}

async fn enable_acm(view: View, User(ctx): User, Path(app): Path<String>) -> Out {
    let app = view.switch_acm(&ctx, &app, true).await?;
    Ok(ok(show::app(&view, &app)?)?.into_response())
}

async fn disable_acm(view: View, User(ctx): User, Path(app): Path<String>) -> Out {
    let app = view.switch_acm(&ctx, &app, false).await?;
    Ok(ok(show::app(&view, &app)?)?.into_response())
}

async fn refresh_acm(view: View, User(ctx): User, Path(app): Path<String>) -> Out {
    let app = view.refresh_acm(&ctx, &app).await?;
    Ok(ok(show::app(&view, &app)?)?.into_response())
}
