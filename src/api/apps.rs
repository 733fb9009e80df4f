//! Apps and the stacks they run on.

use crate::{
    Api, Out,
    answer::{Body, created, ok},
    auth::User,
    list,
    refs::Named,
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

async fn create_app(view: View, User(ctx): User, Body(body): Body<CreateApp>) -> Out {
    let new = NewApp { name: body.name, stack: body.stack.and_then(Named::text), team: None, locked: false };
    let app = view.create_app(&ctx, new).await?;
    Ok(created(show::app(&view, &app)?)?.into_response())
}

async fn apps(view: View, User(ctx): User, headers: HeaderMap) -> Out {
    list::page_of(&headers, &view.apps(&ctx)?, &["name", "id", "updated_at"], |app| show::app(&view, app))
}

async fn app(view: View, User(ctx): User, Path(app): Path<String>) -> Out {
    Ok(ok(show::app(&view, &view.app(&ctx, &app)?)?)?.into_response())
}

#[derive(Deserialize)]
struct UpdateApp {
    name: Option<String>,
    #[serde(default, deserialize_with = "crate::refs::flag")]
    maintenance: Option<bool>,
    build_stack: Option<Named>,
}

async fn update_app(view: View, User(ctx): User, Path(app): Path<String>, Body(body): Body<UpdateApp>) -> Out {
    let change = AppChange {
        name: body.name,
        maintenance: body.maintenance,
        stack: body.build_stack.and_then(Named::text),
        buildpacks: None,
    };
    let app = view.update_app(&ctx, &app, change).await?;
    Ok(ok(show::app(&view, &app)?)?.into_response())
}

async fn destroy_app(view: View, User(ctx): User, Path(app): Path<String>) -> Out {
    let shown = show::app(&view, &view.app(&ctx, &app)?)?;
    view.destroy_app(&ctx, &app).await?;
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
