//! How many dynos of which size.

use crate::{
    Api, Out,
    answer::{Body, ok},
    auth::User,
    error::Failure,
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
use serde_json::Value;
use service::{Error, FormationChange, Quantity, Service};

routes! {
    get "/apps/{app}/formation" => formation, "read";
    patch "/apps/{app}/formation" => scale, "write";
    get "/apps/{app}/formation/{type}" => formation_entry, "read";
    patch "/apps/{app}/formation/{type}" => scale_one, "write";
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
