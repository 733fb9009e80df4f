//! Config vars.

use crate::{
    Api, Out,
    answer::{Answer, Body},
    auth::User,
    routes::routes,
};
use axum::{
    extract::{Path, State},
    response::IntoResponse,
};
use serde::Deserialize;
use serde_json::{Value, json};
use service::Error;
use std::collections::BTreeMap;

routes! {
    get "/apps/{app}/config-vars" => config, "read secrets";
    patch "/apps/{app}/config-vars" => change_config, "write";
    get "/apps/{app}/config-vars-settings" => settings, "read secrets";
    patch "/apps/{app}/config-vars-settings" => change_settings, "write";
}

async fn config(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    let config = service.config(&ctx, &app)?;
    Ok(([("cache-control", "private, no-store")], Answer(axum::http::StatusCode::OK, config)).into_response())
}

/// What a body sets (`Some`) and removes (`None`). Numbers and truth values become text.
pub(crate) fn changes_of(body: BTreeMap<String, Value>) -> Result<BTreeMap<String, Option<String>>, Error> {
    let mut change = BTreeMap::new();
    for (key, value) in body {
        let value = match value {
            Value::Null => None,
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(value) => Some(value.to_string()),
            Value::Array(_) | Value::Object(_) => {
                return Err(Error::invalid(format!("Value of {key} must be a string or null.")));
            }
        };
        change.insert(key, value);
    }
    Ok(change)
}

async fn change_config(
    State(service): Api,
    User(ctx): User,
    Path(app): Path<String>,
    Body(body): Body<BTreeMap<String, Value>>,
) -> Out {
    let config = service.change_config(&ctx, &app, changes_of(body)?).await?;
    Ok(([("cache-control", "private, no-store")], Answer(axum::http::StatusCode::OK, config)).into_response())
}

/// Config vars one by one. Masking belongs to a product that is not offered.
fn settings_of(config: &BTreeMap<String, String>) -> Vec<Value> {
    let one =
        |(key, value): (&String, &String)| json!({ "key": key, "value": value, "masked": false, "masking_supported": false });
    config.iter().map(one).collect()
}

fn unkept(settings: Vec<Value>) -> Out {
    Ok(([("cache-control", "private, no-store")], Answer(axum::http::StatusCode::OK, settings)).into_response())
}

async fn settings(State(service): Api, User(ctx): User, Path(app): Path<String>) -> Out {
    unkept(settings_of(&service.config(&ctx, &app)?))
}

#[derive(Deserialize)]
struct Setting {
    key: String,
    #[serde(default, deserialize_with = "crate::refs::said")]
    value: Option<Option<String>>,
    masked: Option<bool>,
}

#[derive(Deserialize)]
struct Settings {
    config: Vec<Setting>,
}

async fn change_settings(State(service): Api, User(ctx): User, Path(app): Path<String>, Body(body): Body<Settings>) -> Out {
    if let Some(one) = body.config.iter().find(|one| one.masked == Some(true)) {
        let text = format!("{} can not be masked: whoever may read config vars of an app reads all of them.", one.key);
        return Err(Error::invalid(text).into());
    }
    let change = body.config.into_iter().filter_map(|one| Some((one.key, one.value?))).collect();
    unkept(settings_of(&service.change_config(&ctx, &app, change).await?))
}
