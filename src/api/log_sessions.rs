//! Where a log can be read.

use crate::{
    Out,
    answer::{Body, created},
    auth::User,
    routes::routes,
    view::View,
};
use axum::{extract::Path, response::IntoResponse};
use logs::Filter;
use serde::Deserialize;
use service::LogRequest;

routes! {
    post "/apps/{app}/log-sessions" => log_session, "read";
}

#[derive(Deserialize)]
struct NewLogSession {
    lines: Option<usize>,
    dyno: Option<String>,
    source: Option<String>,
    tail: Option<bool>,
    #[serde(rename = "type")]
    ptype: Option<String>,
}

async fn log_session(view: View, User(ctx): User, Path(app): Path<String>, Body(body): Body<NewLogSession>) -> Out {
    let request = LogRequest {
        lines: body.lines,
        filter: Filter { source: body.source, ps: body.dyno.or(body.ptype) },
        tail: body.tail.unwrap_or(false),
    };
    let key = view.create_log_session(&ctx, &app, request)?;
    let now = wire::time(ctx.now.0);
    let session = wire::LogSession {
        id: uuid::Uuid::new_v4(),
        created_at: now.clone(),
        logplex_url: view.base().url(&format!("/streams/logs/{key}")),
        updated_at: now,
    };
    Ok(created(session)?.into_response())
}
