//! Add-ons, attachments, services, plans (`cli-contract.md` section 2.9). There are none; see `service`.

use crate::{
    Api, Out,
    answer::{Body, ok},
    auth::User,
    list,
    refs::Named,
    routes::routes,
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::{Value, json};
use service::{Ctx, Error, Service};
use std::convert::Infallible;

routes! {
    get "/addons" => all, "account";
    get "/addons/{addon}" => addon, "account";
    get "/addons/{addon}/addon-attachments" => addon, "account";
    get "/addons/{addon}/config" => addon, "account";
    patch "/addons/{addon}/config" => addon, "account";
    get "/addons/{addon}/config/{name}" => addon, "account";
    get "/addons/{addon}/log-drains" => addon, "account";
    post "/addons/{addon}/actions/provision" => addon, "account";
    post "/addons/{addon}/actions/deprovision" => addon, "account";
    post "/addons/{addon}/actions/peer" => addon, "account";
    post "/addons/{addon}/actions/unpeer" => addon, "account";
    post "/addons/{addon}/actions/{action}" => addon, "account";
    get "/addons/{addon}/webhooks" => addon, "account";
    get "/users/{user}/addons" => of_user, "account; admin for others";
    get "/teams/{team}/addons" => of_team, "team read";
    get "/addons/{addon}/sso" => addon, "account";
    get "/apps/{app}/addons/{addon}/sso" => addon_of_app, "read";
    get "/addon-attachments/{attachment}/telemetry-ingress-info" => attachment, "account";
    get "/plans/{plan}/meters" => plan, "account";
    get "/plans/{plan}/meters/{meter}" => plan_part, "account";
    get "/teams/{team}/usage" => team_usage, "team read";
    get "/teams/{team}/apps/{app}/usage" => team_app_usage, "read";
    get "/apps/{app}/usage" => usage, "read";
    get "/apps/{app}/addons" => of_app, "read";
    post "/apps/{app}/addons" => create, "write";
    get "/apps/{app}/addons/{addon}" => addon_of_app, "read";
    patch "/apps/{app}/addons/{addon}" => addon_of_app, "write";
    delete "/apps/{app}/addons/{addon}" => addon_of_app, "write";
    get "/addon-attachments" => all, "account";
    post "/addon-attachments" => resolve, "account";
    get "/addon-attachments/{attachment}" => attachment, "account";
    delete "/addon-attachments/{attachment}" => attachment, "account";
    get "/apps/{app}/addon-attachments" => of_app, "read";
    get "/apps/{app}/addon-attachments/{attachment}" => attachment_of_app, "read";
    get "/addon-services" => all, "account";
    get "/addon-services/{service}" => offered, "account";
    get "/addon-services/{service}/plans" => offered, "account";
    get "/addon-services/{service}/plans/{plan}" => offered_part, "account";
    get "/addon-services/{service}/region-capabilities" => offered, "account";
    get "/plans/{plan}" => plan, "account";
    get "/addon-region-capabilities" => all, "account";
    get "/regions/{region}/addon-region-capabilities" => of_region, "account";
    post "/actions/addons/resolve" => resolve, "account";
    post "/actions/addon-attachments/resolve" => resolve_attachment, "account";
}

const KEYS: &[&str] = &["id", "name", "created_at", "updated_at"];

/// What is asked for is never there.
fn never(asked: Result<Infallible, Error>) -> Out {
    match asked {
        Ok(never) => match never {},
        Err(e) => Err(e.into()),
    }
}

fn none(headers: &HeaderMap) -> Result<Response, crate::error::Failure> {
    list::page::<Value>(headers, &[], KEYS)
}

async fn all(State(service): Api, User(ctx): User, headers: HeaderMap) -> Out {
    service.ask_for_addons(&ctx)?;
    none(&headers)
}

/// What the add-ons of an app have used: there are none.
async fn usage(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    service.app(&ctx, &app)?;
    Ok(ok(json!({ "addons": [] }))?.into_response())
}

async fn of_app(State(service): Api, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    service.app_with_addons(&ctx, &app)?;
    none(&headers)
}

async fn of_user(State(service): Api, User(ctx): User, Path(who): Path<String>, headers: HeaderMap) -> Out {
    service.account_of(&ctx, &who)?;
    none(&headers)
}

async fn of_team(State(service): Api, User(ctx): User, Path(team): Path<String>, headers: HeaderMap) -> Out {
    service.team(&ctx, &team)?;
    none(&headers)
}

/// What the add-ons of the apps of a team have used.
async fn team_usage(State(service): Api, User(ctx): User, Path(team): Path<String>) -> Out {
    let apps = service.team_apps(&ctx, &team)?;
    let apps: Vec<Value> = apps.iter().map(|app| json!({ "id": app.id.0, "name": app.name, "addons": [] })).collect();
    Ok(ok(json!({ "apps": apps }))?.into_response())
}

async fn team_app_usage(State(service): Api, User(ctx): User, Path((team, app)): Path<(String, String)>) -> Out {
    let (team, _) = service.team(&ctx, &team)?;
    let app = service.app(&ctx, &app)?;
    if app.team != Some(team.id) {
        return Err(Error::not_found("app", "Couldn't find that app in this team.").into());
    }
    Ok(ok(json!({ "addons": [] }))?.into_response())
}

/// The only region is `local`.
async fn of_region(State(service): Api, User(ctx): User, Path(region): Path<String>, headers: HeaderMap) -> Out {
    service.ask_for_addons(&ctx)?;
    if region != "local" {
        return Err(Error::not_found("region", "Couldn't find that region; there is local.").into());
    }
    none(&headers)
}

async fn addon(State(service): Api, User(ctx): User) -> Out {
    never(service.addon(&ctx, None))
}

async fn addon_of_app(State(service): Api, User(ctx): User, Path((app, _addon)): Path<(String, String)>) -> Out {
    never(service.addon(&ctx, Some(&app)))
}

#[derive(Deserialize)]
struct Create {
    plan: Named,
}

async fn create(State(service): Api, User(ctx): User, Path(app): Path<String>, Body(body): Body<Create>) -> Out {
    never(service.create_addon(&ctx, &app, &body.plan.text().unwrap_or_default()))
}

async fn attachment(State(service): Api, User(ctx): User) -> Out {
    never(service.addon_attachment(&ctx, None))
}

async fn attachment_of_app(State(service): Api, User(ctx): User, Path((app, _name)): Path<(String, String)>) -> Out {
    never(service.addon_attachment(&ctx, Some(&app)))
}

async fn offered(State(service): Api, User(ctx): User, Path(name): Path<String>) -> Out {
    never(service.addon_service(&ctx, &name))
}

async fn offered_part(State(service): Api, User(ctx): User, Path((name, _plan)): Path<(String, String)>) -> Out {
    never(service.addon_service(&ctx, &name))
}

async fn plan(State(service): Api, User(ctx): User, Path(plan): Path<String>) -> Out {
    never(service.addon_service(&ctx, plan.split(':').next().unwrap_or_default()))
}

async fn plan_part(State(service): Api, User(ctx): User, Path((plan, _meter)): Path<(String, String)>) -> Out {
    never(service.addon_service(&ctx, plan.split(':').next().unwrap_or_default()))
}

#[derive(Deserialize)]
struct About {
    app: Option<Named>,
}

impl About {
    fn ask(self, service: &Service, ctx: &Ctx, ask: impl Fn(&Service, &Ctx, Option<&str>) -> Result<Infallible, Error>) -> Out {
        let app = self.app.and_then(Named::text);
        never(ask(service, ctx, app.as_deref()))
    }
}

async fn resolve(State(service): Api, User(ctx): User, Body(body): Body<About>) -> Out {
    body.ask(&service, &ctx, Service::addon)
}

async fn resolve_attachment(State(service): Api, User(ctx): User, Body(body): Body<About>) -> Out {
    body.ask(&service, &ctx, Service::addon_attachment)
}
