//! Handlers: parse, call the service, show. One line each in the table of routes.

use crate::{
    Api,
    answer::{Answer, Body, accepted, created, ok},
    auth::User,
    error::Failure,
    list, policy,
    run::{run_dyno, run_inside},
    show,
};
use axum::{
    Router,
    extract::{Path, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::{delete, get, patch, post, put},
};
use domain::SourceBlob;
use logs::Filter;
use serde::Deserialize;
use serde_json::{Value, json};
use service::{AppChange, Error, FormationChange, LogRequest, NewApp, NewBuild, NewSchedule, Quantity, Service};
use std::collections::BTreeMap;

pub(crate) type Out = Result<Response, Failure>;

macro_rules! routes {
    ($($method:ident $path:literal => $handler:path, $needs:literal;)*) => {
        /// Method, path and what the caller needs: `account`, or a right on the app.
        pub const ROUTES: &[(&str, &str, &str)] = &[$((stringify!($method), $path, $needs)),*];

        /// The router of [`ROUTES`].
        pub(crate) fn routes() -> Router<Service> {
            Router::new()$(.route($path, $method($handler)))*
        }
    };
}

routes! {
    get "/account" => account, "account";
    get "/users/~" => account, "account";
    get "/account/rate-limits" => rate_limits, "account";
    post "/apps" => create_app, "create app";
    get "/apps" => apps, "account";
    get "/users/~/apps" => apps, "account";
    get "/apps/{app}" => app, "read";
    patch "/apps/{app}" => update_app, "write; manage to rename";
    delete "/apps/{app}" => destroy_app, "manage";
    get "/apps/{app}/config-vars" => config, "read secrets";
    patch "/apps/{app}/config-vars" => change_config, "write";
    get "/apps/{app}/builds" => builds, "read";
    post "/apps/{app}/builds" => create_build, "write";
    get "/apps/{app}/builds/{build}" => build, "read";
    get "/apps/{app}/buildpack-installations" => buildpacks, "read";
    put "/apps/{app}/buildpack-installations" => set_buildpacks, "write; admin for server folders";
    get "/apps/{app}/slugs/{slug}" => slug, "read";
    get "/apps/{app}/releases" => releases, "read";
    post "/apps/{app}/releases" => rollback, "write";
    get "/apps/{app}/releases/{release}" => release, "read";
    get "/apps/{app}/formation" => formation, "read";
    patch "/apps/{app}/formation" => scale, "write";
    get "/apps/{app}/formation/{type}" => formation_entry, "read";
    patch "/apps/{app}/formation/{type}" => scale_one, "write";
    get "/apps/{app}/features" => policy::features, "read";
    get "/apps/{app}/features/{feature}" => policy::feature, "read";
    patch "/apps/{app}/features/{feature}" => policy::switch_feature, "write";
    get "/apps/{app}/health-check" => policy::health_check, "read";
    put "/apps/{app}/health-check" => policy::set_health_check, "write";
    delete "/apps/{app}/health-check" => policy::remove_health_check, "write";
    get "/apps/{app}/dynos" => dynos, "read";
    delete "/apps/{app}/dynos" => restart_all, "write";
    post "/apps/{app}/dynos" => run_dyno, "write";
    get "/apps/{app}/dynos/{dyno}" => dyno, "read";
    post "/apps/{app}/dynos/{dyno}" => run_inside, "write";
    delete "/apps/{app}/dynos/{dyno}" => restart_one, "write";
    delete "/apps/{app}/formations/{dyno}" => restart_one, "write";
    post "/apps/{app}/dynos/{dyno}/actions/stop" => restart_one, "write";
    get "/apps/{app}/schedules" => schedules, "read";
    post "/apps/{app}/schedules" => add_schedule, "write";
    delete "/apps/{app}/schedules/{schedule}" => remove_schedule, "write";
    get "/apps/{app}/domains" => domains, "read";
    post "/apps/{app}/domains" => add_domain, "write";
    delete "/apps/{app}/domains/{domain}" => remove_domain, "write";
    post "/apps/{app}/log-sessions" => log_session, "read";
    get "/stacks" => stacks, "account";
    get "/stacks/{stack}" => stack, "account";
    post "/sources" => source, "create app";
    post "/apps/{app}/sources" => app_source, "write";
}

async fn account(User(ctx): User) -> Out {
    match &ctx.actor {
        service::Actor::Account(account) => Ok(ok(show::account(account))?.into_response()),
        service::Actor::Platform => Err(Error::unauthorized().into()),
    }
}

async fn rate_limits(_user: User) -> Out {
    Ok(ok(json!({ "remaining": 4500 }))?.into_response())
}

/// A name, given as text or as `{"name": …}` (`platform-api.md` section 9).
#[derive(Deserialize)]
#[serde(untagged)]
enum Named {
    Text(String),
    Object { name: Option<String>, id: Option<String> },
}

impl Named {
    fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Object { name, id } => name.or(id),
        }
    }
}

#[derive(Deserialize)]
struct CreateApp {
    name: Option<String>,
    stack: Option<Named>,
}

async fn create_app(State(service): Api, User(ctx): User, Body(body): Body<CreateApp>) -> Out {
    let new = NewApp { name: body.name, stack: body.stack.and_then(Named::text) };
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

async fn config(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    let config = service.config(&ctx, &app)?;
    Ok(([("cache-control", "private, no-store")], Answer(axum::http::StatusCode::OK, config)).into_response())
}

async fn change_config(
    State(service): Api,
    User(ctx): User,
    Path(app): Path<String>,
    Body(body): Body<BTreeMap<String, Value>>,
) -> Out {
    let mut change = BTreeMap::new();
    for (key, value) in body {
        let value = match value {
            Value::Null => None,
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Array(_) | Value::Object(_) => {
                return Err(Error::invalid(format!("Value of {key} must be a string or null.")).into());
            }
        };
        change.insert(key, value);
    }
    let config = service.change_config(&ctx, &app, change).await?;
    Ok(([("cache-control", "private, no-store")], Answer(axum::http::StatusCode::OK, config)).into_response())
}

#[derive(Deserialize)]
struct PackRef {
    url: Option<String>,
    name: Option<String>,
}

#[derive(Deserialize)]
struct SourceRef {
    url: String,
    version: Option<String>,
    version_description: Option<String>,
    checksum: Option<String>,
}

#[derive(Deserialize)]
struct CreateBuild {
    source_blob: SourceRef,
    buildpacks: Option<Vec<PackRef>>,
}

async fn create_build(State(service): Api, User(ctx): User, Path(app): Path<String>, Body(body): Body<CreateBuild>) -> Out {
    let source = SourceBlob {
        url: body.source_blob.url,
        version: body.source_blob.version,
        version_description: body.source_blob.version_description,
        checksum: body.source_blob.checksum,
    };
    let packs = body.buildpacks.unwrap_or_default().into_iter().filter_map(|p| p.url.or(p.name)).collect();
    let build = service.create_build(&ctx, &app, NewBuild { source, buildpacks: packs, pushed: None }).await?;
    Ok(created(show::build(&service, &build)?)?.into_response())
}

async fn builds(State(service): Api, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    let (_, builds) = service.builds(&ctx, &app)?;
    let shown: Result<Vec<_>, Error> = builds.iter().map(|b| show::build(&service, b)).collect();
    list::page(&headers, &shown?, &["created_at", "id"])
}

async fn build(State(service): Api, User(ctx): User, Path((app, id)): Path<(String, String)>) -> Out {
    let (_, build) = service.build(&ctx, &app, &id)?;
    Ok(ok(show::build(&service, &build)?)?.into_response())
}

fn installations(app: &domain::App) -> Vec<wire::BuildpackInstallation> {
    let packs = (0u32..).zip(&app.buildpacks);
    packs.map(|(ordinal, name)| wire::BuildpackInstallation { ordinal, buildpack: show::buildpack(name) }).collect()
}

async fn buildpacks(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    Ok(ok(installations(&service.app(&ctx, &app)?))?.into_response())
}

#[derive(Deserialize)]
struct PackUpdate {
    buildpack: Option<Named>,
}

#[derive(Deserialize)]
struct SetBuildpacks {
    updates: Vec<PackUpdate>,
}

async fn set_buildpacks(State(service): Api, User(ctx): User, Path(app): Path<String>, Body(body): Body<SetBuildpacks>) -> Out {
    let names: Option<Vec<String>> = body.updates.into_iter().map(|u| u.buildpack.and_then(Named::text)).collect();
    let names = names.ok_or_else(|| Error::invalid("Each update needs a buildpack name or URL."))?;
    let change = AppChange { buildpacks: Some(names), ..AppChange::default() };
    let app = service.update_app(&ctx, &app, change).await?;
    Ok(ok(installations(&app))?.into_response())
}

async fn slug(State(service): Api, User(ctx): User, Path((app, id)): Path<(String, String)>) -> Out {
    Ok(ok(show::slug(&service, &service.slug(&ctx, &app, &id)?))?.into_response())
}

async fn releases(State(service): Api, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    let (app, releases) = service.releases(&ctx, &app)?;
    let shown: Result<Vec<_>, Error> = releases.iter().map(|r| show::release(&service, &app, r)).collect();
    list::page(&headers, &shown?, &["version", "id", "created_at"])
}

async fn release(State(service): Api, User(ctx): User, Path((app, id)): Path<(String, String)>) -> Out {
    let (app, release) = service.release(&ctx, &app, &id)?;
    Ok(ok(show::release(&service, &app, &release)?)?.into_response())
}

#[derive(Deserialize)]
struct NewRelease {
    release: Option<Value>,
    slug: Option<String>,
}

async fn rollback(State(service): Api, User(ctx): User, Path(app): Path<String>, Body(body): Body<NewRelease>) -> Out {
    if body.slug.is_some() {
        return Err(
            Error::invalid("A release from a slug is not offered yet; send `release` to go back to an older one.").into()
        );
    }
    let wanted = version_of(body.release.as_ref()).ok_or_else(|| Error::invalid("`release` must be an id or a version."))?;
    let (app, release) = service.rollback(&ctx, &app, &wanted).await?;
    Ok(created(show::release(&service, &app, &release)?)?.into_response())
}

/// A release reference: text, number, or an object with `id` or `version`.
fn version_of(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Object(map) => version_of(map.get("id").or_else(|| map.get("version"))),
        _ => None,
    }
}

async fn formation(State(service): Api, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    let (app, entries, commands) = service.formation(&ctx, &app)?;
    let command = |t: &str| commands.get(t).map_or("", String::as_str).to_string();
    let shown: Vec<_> = entries.iter().map(|e| show::formation(&app, e, &command(&e.ptype))).collect();
    list::page(&headers, &shown, &["type", "id", "updated_at"])
}

async fn formation_entry(State(service): Api, User(ctx): User, Path((app, ptype)): Path<(String, String)>) -> Out {
    let (app, entries, commands) = service.formation(&ctx, &app)?;
    let found = entries.iter().find(|e| e.ptype == ptype || e.id.to_string() == ptype);
    let entry = found.ok_or_else(|| Error::not_found("formation", "Couldn't find that formation."))?;
    Ok(ok(show::formation(&app, entry, commands.get(&entry.ptype).map_or("", String::as_str)))?.into_response())
}

#[derive(Deserialize)]
struct ScaleLine {
    #[serde(rename = "type")]
    ptype: Option<String>,
    id: Option<String>,
    quantity: Option<Value>,
    size: Option<String>,
    dyno_size: Option<Named>,
}

#[derive(Deserialize)]
struct Scale {
    updates: Vec<ScaleLine>,
}

fn change_of(line: ScaleLine, ptype: Option<String>) -> Result<FormationChange, Error> {
    let ptype = ptype.or(line.ptype).or(line.id).ok_or_else(|| Error::invalid("Each update needs a type."))?;
    let quantity: Option<Quantity> = match line.quantity {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.parse()?),
        // A JSON number is a count, never a step; a negative one is refused.
        Some(Value::Number(number)) => Some(Quantity::Exactly(
            number
                .as_u64()
                .and_then(|n| u32::try_from(n).ok())
                .ok_or_else(|| Error::invalid(format!("Quantity {number} is not possible.")))?,
        )),
        Some(other) => return Err(Error::invalid(format!("Quantity {other} is no number."))),
    };
    Ok(FormationChange { ptype, quantity, size: line.size.or(line.dyno_size.and_then(Named::text)) })
}

async fn scaled(
    service: &Service,
    ctx: &service::Ctx,
    app: &str,
    changes: Vec<FormationChange>,
) -> Result<Vec<wire::Formation>, Failure> {
    let changed = service.scale(ctx, app, changes).await?;
    let (app, _, commands) = service.formation(ctx, app)?;
    let command = |t: &str| commands.get(t).map_or("", String::as_str).to_string();
    Ok(changed.iter().map(|e| show::formation(&app, e, &command(&e.ptype))).collect())
}

async fn scale(State(service): Api, User(ctx): User, Path(app): Path<String>, Body(body): Body<Scale>) -> Out {
    let changes: Result<Vec<_>, Error> = body.updates.into_iter().map(|line| change_of(line, None)).collect();
    Ok(ok(scaled(&service, &ctx, &app, changes?).await?)?.into_response())
}

async fn scale_one(
    State(service): Api,
    User(ctx): User,
    Path((app, ptype)): Path<(String, String)>,
    Body(line): Body<ScaleLine>,
) -> Out {
    let shown = scaled(&service, &ctx, &app, vec![change_of(line, Some(ptype))?]).await?;
    let entry = shown.into_iter().next().ok_or_else(|| Error::not_found("formation", "Couldn't find that formation."))?;
    Ok(ok(entry)?.into_response())
}

pub(crate) fn release_id(service: &Service, ctx: &service::Ctx, app: &str, version: u64) -> uuid::Uuid {
    // A dyno of a release that is gone shows the nil id rather than failing the whole list.
    service.release(ctx, app, &version.to_string()).map(|(_, r)| r.id.0).unwrap_or_default()
}

async fn dynos(State(service): Api, User(ctx): User, Path(name): Path<String>, headers: HeaderMap) -> Out {
    let (app, dynos) = service.dynos(&ctx, &name)?;
    let shown: Vec<_> = dynos.iter().map(|d| show::dyno(&app, d, release_id(&service, &ctx, &name, d.release))).collect();
    list::page(&headers, &shown, &["name", "id", "created_at"])
}

async fn dyno(State(service): Api, User(ctx): User, Path((name, dyno)): Path<(String, String)>) -> Out {
    let (app, dyno) = service.dyno(&ctx, &name, &dyno)?;
    let release = release_id(&service, &ctx, &name, dyno.release);
    Ok(ok(show::dyno(&app, &dyno, release))?.into_response())
}

async fn restart_all(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    service.restart(&ctx, &app, None).await?;
    Ok(accepted(json!({}))?.into_response())
}

async fn restart_one(State(service): Api, User(ctx): User, Path((app, dyno)): Path<(String, String)>) -> Out {
    service.restart(&ctx, &app, Some(&dyno)).await?;
    Ok(accepted(json!({}))?.into_response())
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

#[derive(Deserialize)]
struct NewLogSession {
    lines: Option<usize>,
    dyno: Option<String>,
    source: Option<String>,
    tail: Option<bool>,
    #[serde(rename = "type")]
    ptype: Option<String>,
}

async fn log_session(State(service): Api, User(ctx): User, Path(app): Path<String>, Body(body): Body<NewLogSession>) -> Out {
    let request = LogRequest {
        lines: body.lines,
        filter: Filter { source: body.source, ps: body.dyno.or(body.ptype) },
        tail: body.tail.unwrap_or(false),
    };
    let key = service.create_log_session(&ctx, &app, request)?;
    let base = service.addresses().url(&service.addresses().domain);
    let now = wire::time(ctx.now.0);
    let session = wire::LogSession {
        id: uuid::Uuid::new_v4(),
        created_at: now.clone(),
        logplex_url: format!("{base}/streams/logs/{key}"),
        updated_at: now,
    };
    Ok(created(session)?.into_response())
}

fn source_answer(service: &Service, ctx: &service::Ctx) -> Out {
    let source = service.create_source(ctx)?;
    let base = service.addresses().url(&service.addresses().domain);
    let url = format!("{base}/sources/blob/{}", source.key);
    let urls = wire::SourceUrls { get_url: url.clone(), put_url: url };
    Ok(created(wire::Source { source_blob: urls })?.into_response())
}

async fn stacks(State(service): Api, _user: User, headers: HeaderMap) -> Out {
    let shown: Vec<_> = service.stacks().iter().map(|name| show::stack(name)).collect();
    list::page(&headers, &shown, &["name", "id"])
}

async fn stack(State(service): Api, _user: User, Path(wanted): Path<String>) -> Out {
    let shown = service.stacks().iter().map(|name| show::stack(name)).find(|s| s.name == wanted || s.id.to_string() == wanted);
    Ok(ok(shown.ok_or_else(|| Error::not_found("stack", "Couldn't find that stack."))?)?.into_response())
}

async fn source(State(service): Api, User(ctx): User) -> Out {
    source_answer(&service, &ctx)
}

async fn app_source(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    service.app_to_deploy(&ctx, &app)?;
    source_answer(&service, &ctx)
}
