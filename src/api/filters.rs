//! Filters: of lists by `?eq[key]=value`, and of apps by id.

use crate::{Out, answer::Body, auth::User, list, routes::routes, show, view::View};
use axum::http::HeaderMap;
use serde::Deserialize;
use service::Error;
use std::collections::BTreeMap;

routes! {
    post "/filters/apps" => apps, "account";
}

/// What follows the `?`, decoded.
pub(crate) type Query = axum::extract::Query<BTreeMap<String, String>>;

/// The value of `?eq[key]=`; brackets may be encoded (`platform-api.md` section 6).
pub(crate) fn eq<'a>(query: &'a Query, key: &str) -> Option<&'a str> {
    query.get(&format!("eq[{key}]")).map(String::as_str)
}

#[derive(Deserialize)]
struct Ids {
    #[serde(default)]
    id: Vec<String>,
}

#[derive(Deserialize)]
struct Filter {
    r#in: Option<Ids>,
}

async fn apps(view: View, User(ctx): User, headers: HeaderMap, Body(body): Body<Filter>) -> Out {
    let ids = body.r#in.map(|ids| ids.id).unwrap_or_default();
    let shown: Result<Vec<_>, Error> = view.apps_by_id(&ctx, &ids)?.iter().map(|app| show::app(&view, app)).collect();
    list::page(&headers, &shown?, &["id", "name"])
}
