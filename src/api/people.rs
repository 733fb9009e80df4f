//! Who is on this installation (ours), and what happened on it.

use crate::{
    Api, Out,
    answer::{Body, created, ok},
    auth::User,
    list,
    routes::routes,
    show, show_people,
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::IntoResponse,
};
use domain::Role;
use serde::Deserialize;
use service::{Error, NewInvitation};

routes! {
    get "/members" => people, "admin";
    post "/members" => invite, "admin";
    patch "/members/{member}" => set_role, "admin";
    delete "/members/{member}" => remove, "admin";
    get "/events" => events, "admin";
    get "/apps/{app}/events" => app_events, "read";
}

/// A role by its word.
pub(crate) fn role(word: Option<&str>) -> Result<Role, Error> {
    let word = word.unwrap_or("member");
    Role::parse(word).ok_or_else(|| Error::invalid(format!("{word:?} is no role; there is admin, member and viewer.")))
}

async fn people(State(service): Api, User(ctx): User, headers: HeaderMap) -> Out {
    let mut shown: Vec<_> = service.people(&ctx)?.iter().map(show_people::person).collect();
    shown.extend(service.invitations(&ctx, None)?.iter().map(|i| show_people::invited(i, None)));
    list::page(&headers, &shown, &["email", "id", "created_at"])
}

#[derive(Deserialize)]
struct Invite {
    email: String,
    role: Option<String>,
}

async fn invite(State(service): Api, User(ctx): User, Body(body): Body<Invite>) -> Out {
    let new = NewInvitation { email: body.email, role: role(body.role.as_deref())?, team: None };
    let (invitation, secret) = service.invite(&ctx, new).await?;
    let url = show_people::invite_url(&service, &secret);
    Ok(created(show_people::invited(&invitation, Some(url)))?.into_response())
}

#[derive(Deserialize)]
struct SetRole {
    role: String,
}

async fn set_role(State(service): Api, User(ctx): User, Path(who): Path<String>, Body(body): Body<SetRole>) -> Out {
    let account = service.set_role(&ctx, &who, role(Some(&body.role))?).await?;
    Ok(ok(show_people::person(&account))?.into_response())
}

/// A member, or an invitation that was not used yet.
async fn remove(State(service): Api, User(ctx): User, Path(who): Path<String>) -> Out {
    match service.revoke_invitation(&ctx, None, &who).await {
        Ok(gone) => Ok(ok(show_people::invited(&gone, None))?.into_response()),
        Err(e) if e.id == "not_found" => {
            Ok(ok(show_people::person(&service.remove_account(&ctx, &who).await?))?.into_response())
        }
        Err(e) => Err(e.into()),
    }
}

/// The audit list is read backwards from `before`; its numbers have gaps when it is that of one app.
fn page(headers: &HeaderMap) -> Result<(Option<u64>, usize), crate::error::Failure> {
    let header = headers.get(axum::http::header::RANGE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let range = wire::Range::parse(header).map_err(crate::error::bad_range)?;
    let start = range.start.as_deref().and_then(|s| s.parse::<u64>().ok());
    // One more than asked for tells that there is a next page.
    Ok((start.map(|s| if range.after { s } else { s.saturating_add(1) }), range.max + 1))
}

fn newest_first(mut headers: HeaderMap, shown: &[wire::Event]) -> Out {
    let given = headers.get(axum::http::header::RANGE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let range = wire::Range::parse(given).map_err(crate::error::bad_range)?;
    let place = range.start.map_or_else(String::new, |s| if range.after { format!("]{s}") } else { s });
    let text = format!("seq {place}..; max={}, order=desc", range.max);
    if let Ok(value) = text.parse() {
        headers.insert(axum::http::header::RANGE, value);
    }
    list::page(&headers, shown, &["seq"])
}

async fn events(State(service): Api, User(ctx): User, headers: HeaderMap) -> Out {
    let (before, max) = page(&headers)?;
    let rows = service.all_events(&ctx, before, max)?;
    let shown: Result<Vec<_>, Error> = rows.iter().map(|event| show_people::event(&service, event)).collect();
    newest_first(headers, &shown?)
}

async fn app_events(State(service): Api, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    let (before, max) = page(&headers)?;
    let rows = service.app_events(&ctx, &app, before, max)?;
    let shown: Result<Vec<_>, Error> = rows.iter().map(|event| show_people::event(&service, event)).collect();
    newest_first(headers, &shown?)
}

/// The own account, changed or removed, under both of its addresses.
pub(crate) async fn rename(service: &service::Service, ctx: &service::Ctx, who: &str, name: Option<String>) -> Out {
    Ok(ok(show::account(&service.rename_account(ctx, who, name).await?))?.into_response())
}
