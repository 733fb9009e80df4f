//! Custom domains.

use crate::{
    Api, Out,
    answer::{Body, created, ok},
    auth::User,
    list,
    routes::routes,
    show,
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::IntoResponse,
};
use serde::Deserialize;

routes! {
    get "/apps/{app}/domains" => domains, "read";
    post "/apps/{app}/domains" => add_domain, "write";
    delete "/apps/{app}/domains/{domain}" => remove_domain, "write";
}

async fn domains(State(service): Api, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    let (app, rows) = service.domains(&ctx, &app)?;
    let mut shown = vec![show::default_domain(&service, &app)];
    shown.extend(rows.iter().map(|row| show::domain(&service, &app, row)));
    list::page(&headers, &shown, &["kind", "hostname", "id"])
}

#[derive(Deserialize)]
struct AddDomain {
    hostname: String,
}

async fn add_domain(State(service): Api, User(ctx): User, Path(app): Path<String>, Body(body): Body<AddDomain>) -> Out {
    let (app, row) = service.add_domain(&ctx, &app, &body.hostname).await?;
    Ok(created(show::domain(&service, &app, &row))?.into_response())
}

async fn remove_domain(State(service): Api, User(ctx): User, Path((app, domain)): Path<(String, String)>) -> Out {
    let (app, row) = service.remove_domain(&ctx, &app, &domain).await?;
    Ok(ok(show::domain(&service, &app, &row))?.into_response())
}
