//! Apps and the stacks they run on.

use crate::{
    Api, Out,
    answer::{Body, created, ok},
    auth::User,
    list,
    refs::Named,
    routes::routes,
    show,
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::IntoResponse,
};
use serde::Deserialize;
use service::{AppChange, Error, NewApp};

routes! {
    post "/apps" => create_app, "create app";
    get "/apps" => apps, "account";
    get "/apps/{app}" => app, "read";
    patch "/apps/{app}" => update_app, "write; manage to rename";
    delete "/apps/{app}" => destroy_app, "manage";
    get "/stacks" => stacks, "account";
    get "/stacks/{stack}" => stack, "account";
}

#[derive(Deserialize)]
struct CreateApp {
    name: Option<String>,
    stack: Option<Named>,
}

async fn create_app(State(service): Api, User(ctx): User, Body(body): Body<CreateApp>) -> Out {
    let new = NewApp { name: body.name, stack: body.stack.and_then(Named::text), team: None, locked: false };
    let app = service.create_app(&ctx, new).await?;
    Ok(created(show::app(&service, &app)?)?.into_response())
}

async fn apps(State(service): Api, User(ctx): User, headers: HeaderMap) -> Out {
    let shown: Result<Vec<_>, Error> = service.apps(&ctx)?.iter().map(|app| show::app(&service, app)).collect();
    list::page(&headers, &shown?, &["name", "id", "updated_at"])
}

async fn app(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    Ok(ok(show::app(&service, &service.app(&ctx, &app)?)?)?.into_response())
}

#[derive(Deserialize)]
struct UpdateApp {
    name: Option<String>,
    maintenance: Option<bool>,
    build_stack: Option<Named>,
}

async fn update_app(State(service): Api, User(ctx): User, Path(app): Path<String>, Body(body): Body<UpdateApp>) -> Out {
    let change = AppChange {
        name: body.name,
        maintenance: body.maintenance,
        stack: body.build_stack.and_then(Named::text),
        buildpacks: None,
    };
    let app = service.update_app(&ctx, &app, change).await?;
    Ok(ok(show::app(&service, &app)?)?.into_response())
}

async fn destroy_app(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    let shown = show::app(&service, &service.app(&ctx, &app)?)?;
    service.destroy_app(&ctx, &app).await?;
    Ok(ok(shown)?.into_response())
}

async fn stacks(State(service): Api, _user: User, headers: HeaderMap) -> Out {
    let shown: Vec<_> = service.stacks().iter().map(|name| show::stack(name)).collect();
    list::page(&headers, &shown, &["name", "id"])
}

async fn stack(State(service): Api, _user: User, Path(wanted): Path<String>) -> Out {
    let shown = service.stacks().iter().map(|name| show::stack(name)).find(|s| s.name == wanted || s.id.to_string() == wanted);
    Ok(ok(shown.ok_or_else(|| Error::not_found("stack", "Couldn't find that stack."))?)?.into_response())
}
