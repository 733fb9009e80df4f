//! Scheduled one-off dynos; ours.

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
use service::NewSchedule;

routes! {
    get "/apps/{app}/schedules" => schedules, "read";
    post "/apps/{app}/schedules" => add_schedule, "write";
    delete "/apps/{app}/schedules/{schedule}" => remove_schedule, "write";
}

#[derive(Deserialize)]
struct AddSchedule {
    cron: String,
    command: String,
    size: Option<String>,
}

async fn schedules(State(service): Api, User(ctx): User, Path(name): Path<String>, headers: HeaderMap) -> Out {
    let (_, rows) = service.schedules(&ctx, &name)?;
    let shown: Vec<_> = rows.iter().map(show::schedule).collect();
    list::page(&headers, &shown, &["id", "created_at"])
}

async fn add_schedule(State(service): Api, User(ctx): User, Path(name): Path<String>, Body(body): Body<AddSchedule>) -> Out {
    let new = NewSchedule { cron: body.cron, command: body.command, size: body.size };
    Ok(created(show::schedule(&service.add_schedule(&ctx, &name, new).await?))?.into_response())
}

async fn remove_schedule(State(service): Api, User(ctx): User, Path((name, id)): Path<(String, String)>) -> Out {
    Ok(ok(show::schedule(&service.remove_schedule(&ctx, &name, &id).await?))?.into_response())
}
