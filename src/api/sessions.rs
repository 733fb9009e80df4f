//! Browsers that are signed in (`platform-api.md` section 4.5). A token is no session: `~` is found by none.

use crate::{Api, Out, answer::ok, auth::User, list, routes::routes, show};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::IntoResponse,
};

routes! {
    get "/oauth/sessions" => sessions, "global scope";
    delete "/oauth/sessions/{session}" => end, "global scope";
}

async fn sessions(State(service): Api, User(ctx): User, headers: HeaderMap) -> Out {
    let shown: Vec<_> = service.sessions(&ctx)?.iter().map(|session| show::session(session, ctx.now)).collect();
    list::page(&headers, &shown, &["id", "created_at"])
}

async fn end(State(service): Api, User(ctx): User, Path(id): Path<String>) -> Out {
    Ok(ok(show::session(&service.end_session(&ctx, &id).await?, ctx.now))?.into_response())
}
