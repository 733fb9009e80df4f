//! The second factor (`platform-api.md` section 4.2).

use crate::{
    Api, Out,
    answer::{Body, created, ok},
    auth::{User, code_of},
    routes::routes,
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::IntoResponse,
};
use serde::Deserialize;
use serde_json::json;
use service::Error;

routes! {
    post "/account/two-factor" => start, "global scope";
    put "/account/two-factor" => confirm, "global scope";
    delete "/account/two-factor" => stop, "global scope";
    put "/apps/{app}/pre-authorizations" => preauthorize, "read";
}

async fn start(State(service): Api, User(ctx): User) -> Out {
    let new = service.start_two_factor(&ctx).await?;
    Ok(created(json!({ "secret": new.secret, "url": new.url }))?.into_response())
}

#[derive(Deserialize)]
struct Code {
    code: Option<String>,
}

impl Code {
    /// From the body, else from the header.
    fn text(self, headers: &HeaderMap) -> Result<String, Error> {
        self.code.or_else(|| code_of(headers)).ok_or_else(|| Error::two_factor("A code of your second factor is needed."))
    }
}

async fn confirm(State(service): Api, User(ctx): User, headers: HeaderMap, Body(body): Body<Code>) -> Out {
    let codes = service.confirm_two_factor(&ctx, &body.text(&headers)?).await?;
    Ok(ok(json!({ "two_factor_authentication": true, "recovery_codes": codes }))?.into_response())
}

async fn stop(State(service): Api, User(ctx): User, headers: HeaderMap, Body(body): Body<Code>) -> Out {
    service.stop_two_factor(&ctx, &body.text(&headers)?).await?;
    Ok(ok(json!({ "two_factor_authentication": false }))?.into_response())
}

async fn preauthorize(State(service): Api, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    let app = service.preauthorize(&ctx, &app, code_of(&headers)).await?;
    Ok(ok(json!({ "app": { "id": app.id, "name": app.name } }))?.into_response())
}
