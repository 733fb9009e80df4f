//! One-off dynos and processes in running ones (`platform-api.md`, `cli-contract.md` section 5).

use crate::{
    Out,
    answer::{Body, created},
    auth::User,
    dynos::release_id,
    error::Failure,
    routes::routes,
    show,
    view::View,
};
use axum::{extract::Path, http::HeaderValue, response::IntoResponse};
use domain::Attach;
use serde::Deserialize;
use serde_json::Value;
use service::{Ctx, Error, NewDyno, Started};
use std::collections::BTreeMap;

/// Sizes of a terminal whose client tells none.
const ROWS: u16 = 24;
const COLUMNS: u16 = 80;

routes! {
    post "/apps/{app}/dynos" => run_dyno, "write";
    post "/apps/{app}/dynos/{dyno}" => run_inside, "write";
}

#[derive(Deserialize)]
pub(crate) struct RunDyno {
    command: String,
    attach: Option<bool>,
    /// Values may be numbers.
    env: Option<BTreeMap<String, Value>>,
    force_no_tty: Option<bool>,
    size: Option<String>,
    #[serde(rename = "type")]
    ptype: Option<String>,
    time_to_live: Option<u64>,
}

/// Text of the values; others than text, numbers and truth values are refused.
fn variables(env: BTreeMap<String, Value>) -> Result<BTreeMap<String, String>, Error> {
    let text = |(key, value)| match value {
        Value::String(text) => Ok((key, text)),
        Value::Number(number) => Ok((key, number.to_string())),
        Value::Bool(value) => Ok((key, value.to_string())),
        _ => Err(Error::invalid(format!("Value of {key} must be a string."))),
    };
    env.into_iter().map(text).collect()
}

fn attach_of(env: &BTreeMap<String, String>, no_terminal: bool) -> Attach {
    if no_terminal {
        return Attach::Pipes;
    }
    let size = |key: &str, default| env.get(key).and_then(|v| v.parse().ok()).filter(|n| *n > 0).unwrap_or(default);
    Attach::Terminal { rows: size("LINES", ROWS), columns: size("COLUMNS", COLUMNS) }
}

pub(crate) async fn run_dyno(view: View, User(ctx): User, Path(name): Path<String>, Body(body): Body<RunDyno>) -> Out {
    let env = variables(body.env.unwrap_or_default())?;
    let new = NewDyno {
        command: body.command,
        ptype: body.ptype,
        size: body.size,
        attach: body.attach.unwrap_or(false).then(|| attach_of(&env, body.force_no_tty.unwrap_or(false))),
        env,
        time_to_live_s: body.time_to_live,
    };
    let started = view.run_dyno(&ctx, &name, new).await?;
    answer(&view, &ctx, &name, started)
}

#[derive(Deserialize)]
pub(crate) struct RunInside {
    command: String,
    env: Option<BTreeMap<String, Value>>,
    force_no_tty: Option<bool>,
}

pub(crate) async fn run_inside(
    view: View,
    User(ctx): User,
    Path((name, dyno)): Path<(String, String)>,
    Body(body): Body<RunInside>,
) -> Out {
    let env = variables(body.env.unwrap_or_default())?;
    let attach = attach_of(&env, body.force_no_tty.unwrap_or(false));
    let started = view.run_inside(&ctx, &name, &dyno, &body.command, env, attach)?;
    answer(&view, &ctx, &name, started)
}

fn answer(view: &View, ctx: &Ctx, name: &str, started: Started) -> Out {
    let Started { app, dyno, secret } = started;
    let mut shown = show::dyno(&app, &dyno, release_id(view, ctx, name, dyno.release));
    let Some(secret) = secret else { return Ok(created(shown)?.into_response()) };
    shown.attach_url = Some(view.base().rendezvous(&secret));
    let mut response = created(shown)?.into_response();
    let certificate = HeaderValue::from_str(view.certificate()).map_err(|e| Failure(Error::internal(e.to_string())))?;
    response.headers_mut().insert(wire::attach::CERTIFICATE_HEADER, certificate);
    Ok(response)
}
