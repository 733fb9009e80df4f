//! Light, dark, or as the system has it; chosen for this browser.

use crate::browser::Posted;
use axum::{
    Router,
    response::{IntoResponse, Redirect},
    routing::post,
};
use service::Service;

/// The route of the form.
pub fn routes() -> Router<Service> {
    Router::new().route("/account/look", post(choose))
}

async fn choose(posted: Posted) -> impl IntoResponse {
    posted.visitor.with_look(Redirect::to(crate::account::PATH).into_response(), posted.field("look"))
}
