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
use serde_json::Value;
use service::Error;
use std::collections::BTreeMap;

routes! {
    get "/apps/{app}/config-vars" => config, "read secrets";
    patch "/apps/{app}/config-vars" => change_config, "write";
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
