//! Teams, their members and invitations.

use crate::{
    Api, Out,
    answer::{Body, created, ok},
    auth::User,
    list,
    people::role,
    routes::routes,
    show, show_people,
    view::View,
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::IntoResponse,
};
use serde::Deserialize;
use serde_json::{Value, json};
use service::{Error, NewInvitation};
use std::collections::BTreeMap;

routes! {
    get "/teams" => teams, "account";
    post "/teams" => create, "create";
    get "/teams/{team}" => team, "team read";
    patch "/teams/{team}" => rename, "team manage";
    delete "/teams/{team}" => destroy, "team manage";
    get "/teams/{team}/members" => members, "team read";
    put "/teams/{team}/members" => set_member, "team manage";
    post "/teams/{team}/members" => add_member, "team manage";
    patch "/teams/{team}/members" => set_member, "team manage";
    delete "/teams/{team}/members/{member}" => remove_member, "team manage; oneself";
    get "/teams/{team}/members/{member}/apps" => member_apps, "team read";
    get "/teams/{team}/invitations" => invitations, "team manage";
    put "/teams/{team}/invitations" => invite, "team manage";
    delete "/teams/{team}/invitations/{invitation}" => revoke, "team manage";
    get "/teams/invitations/{token}" => invitation, "account";
    post "/teams/invitations/{token}/accept" => accept, "account, global";
    get "/teams/permissions" => permissions, "account";
    get "/teams/{team}/permissions" => team_permissions, "team read";
    get "/teams/{team}/features" => features, "team read";
    get "/teams/{team}/features/{feature}" => feature, "team read";
    get "/teams/{team}/preferences" => preferences, "team read";
}

async fn teams(State(service): Api, User(ctx): User, headers: HeaderMap) -> Out {
    let shown: Vec<_> = service.teams(&ctx)?.iter().map(|(team, role)| show_people::team(team, *role)).collect();
    list::page(&headers, &shown, &["name", "id", "created_at", "updated_at"])
}

#[derive(Deserialize)]
struct TeamName {
    name: Option<String>,
}

async fn create(State(service): Api, User(ctx): User, Body(body): Body<TeamName>) -> Out {
    let name = body.name.ok_or_else(|| Error::invalid("A team needs a name."))?;
    Ok(created(show_people::team(&service.create_team(&ctx, &name).await?, domain::Role::Admin))?.into_response())
}

async fn team(State(service): Api, User(ctx): User, Path(team): Path<String>) -> Out {
    let (team, role) = service.team(&ctx, &team)?;
    Ok(ok(show_people::team(&team, role))?.into_response())
}

async fn rename(State(service): Api, User(ctx): User, Path(name): Path<String>, Body(body): Body<TeamName>) -> Out {
    let team = match body.name {
        Some(new) => service.rename_team(&ctx, &name, &new).await?,
        None => service.team_to_manage(&ctx, &name)?,
    };
    let (team, role) = service.team(&ctx, &team.id.to_string())?;
    Ok(ok(show_people::team(&team, role))?.into_response())
}

async fn destroy(State(service): Api, User(ctx): User, Path(team): Path<String>) -> Out {
    Ok(ok(show_people::team(&service.destroy_team(&ctx, &team).await?, domain::Role::Admin))?.into_response())
}

async fn members(State(service): Api, User(ctx): User, Path(team): Path<String>, headers: HeaderMap) -> Out {
    let (_, members) = service.team_members(&ctx, &team)?;
    let shown: Vec<_> = members.iter().map(|(member, account)| show_people::member(member, account)).collect();
    list::page(&headers, &shown, &["email", "id", "created_at", "updated_at"])
}

#[derive(Deserialize)]
struct Member {
    email: String,
    role: Option<String>,
}

async fn set_member(State(service): Api, User(ctx): User, Path(team): Path<String>, Body(body): Body<Member>) -> Out {
    let (_, member, account) = service.set_member(&ctx, &team, &body.email, role(body.role.as_deref())?).await?;
    Ok(ok(show_people::member(&member, &account))?.into_response())
}

async fn add_member(State(service): Api, User(ctx): User, Path(team): Path<String>, Body(body): Body<Member>) -> Out {
    let (_, member, account) = service.set_member(&ctx, &team, &body.email, role(body.role.as_deref())?).await?;
    Ok(created(show_people::member(&member, &account))?.into_response())
}

async fn remove_member(State(service): Api, User(ctx): User, Path((team, who)): Path<(String, String)>) -> Out {
    let (_, member, account) = service.remove_member(&ctx, &team, &who).await?;
    Ok(ok(show_people::member(&member, &account))?.into_response())
}

async fn member_apps(view: View, User(ctx): User, Path((team, who)): Path<(String, String)>, headers: HeaderMap) -> Out {
    let (_, _, account) = view.team_member(&ctx, &team, &who)?;
    let mut found = Vec::new();
    for app in view.team_apps(&ctx, &team)? {
        if view.works_on(&account, &app)? {
            found.push(app);
        }
    }
    list::page_of(&headers, &found, &["name", "id", "updated_at"], |app| show::app(&view, app))
}

async fn invitations(State(service): Api, User(ctx): User, Path(team): Path<String>, headers: HeaderMap) -> Out {
    let team = service.team_to_manage(&ctx, &team)?;
    let open = service.invitations(&ctx, Some(team.id))?;
    let shown: Result<Vec<_>, Error> = open.iter().map(|i| show_people::team_invitation(&service, &team, i, None)).collect();
    list::page(&headers, &shown?, &["id", "created_at"])
}

async fn invite(State(service): Api, User(ctx): User, Path(team): Path<String>, Body(body): Body<Member>) -> Out {
    let team = service.team_to_manage(&ctx, &team)?;
    let new = NewInvitation { email: body.email, role: role(body.role.as_deref())?, team: Some(team.id) };
    let (invitation, secret) = service.invite(&ctx, new).await?;
    let url = Some(show_people::invite_url(&service, &secret));
    Ok(ok(show_people::team_invitation(&service, &team, &invitation, url)?)?.into_response())
}

async fn revoke(State(service): Api, User(ctx): User, Path((team, which)): Path<(String, String)>) -> Out {
    let team = service.team_to_manage(&ctx, &team)?;
    let gone = service.revoke_invitation(&ctx, Some(team.id), &which).await?;
    Ok(ok(show_people::team_invitation(&service, &team, &gone, None)?)?.into_response())
}

fn team_of(service: &service::Service, invitation: &domain::team::Invitation) -> Result<domain::Team, Error> {
    let missing = || Error::not_found("invitation", "Couldn't find that invitation.");
    let id = invitation.team.ok_or_else(missing)?;
    service.team_by_id(id)?.ok_or_else(missing)
}

async fn invitation(State(service): Api, User(_): User, Path(secret): Path<String>) -> Out {
    let invitation = service.invitation(&secret)?;
    let team = team_of(&service, &invitation)?;
    Ok(ok(show_people::team_invitation(&service, &team, &invitation, None)?)?.into_response())
}

async fn accept(State(service): Api, User(ctx): User, Path(secret): Path<String>) -> Out {
    let used = service.accept_team_invitation(&ctx, &secret).await?;
    let team = team_of(&service, &used)?;
    Ok(ok(show_people::team_invitation(&service, &team, &used, None)?)?.into_response())
}

/// Words that somebody may be given on an app of a team.
const PERMISSIONS: [&str; 4] = ["view", "deploy", "operate", "manage"];

async fn permissions(_: User) -> Out {
    let all: Vec<_> = PERMISSIONS.into_iter().map(show_people::permission).collect();
    Ok(ok(all)?.into_response())
}

/// Who may do what with which app of the team.
async fn team_permissions(State(service): Api, User(ctx): User, Path(name): Path<String>, headers: HeaderMap) -> Out {
    let (team, _) = service.team(&ctx, &name)?;
    let mut shown = Vec::new();
    for app in service.team_apps(&ctx, &name)? {
        let (_, shares) = service.collaborators(&ctx, &app.id.to_string())?;
        let users: Vec<Value> = shares
            .iter()
            .map(|one| json!({ "id": one.account.id.0, "email": one.account.email, "permissions": one.rights.words() }))
            .collect();
        shown.push(json!({ "id": app.id.0, "name": app.name, "team_id": team.id.0, "type": "app", "users": users }));
    }
    list::page(&headers, &shown, &["name", "id"])
}

/// What every team has: finer rights on its apps, and invitations that wait to be accepted.
const FEATURES: [(&str, &str); 2] = [
    ("org-access-controls", "Rights on the apps of a team are given one by one."),
    ("team-invite-acceptance", "Who is invited has to accept."),
];

fn shown_feature(service: &service::Service, team: &domain::Team, (name, text): (&str, &str)) -> BTreeMap<&'static str, Value> {
    let addresses = service.addresses();
    BTreeMap::from([
        ("id", json!(show_people::feature_id(name))),
        ("name", json!(name)),
        ("created_at", json!(wire::time(team.created_at.0))),
        ("description", json!(text)),
        ("display_name", json!(name)),
        ("doc_url", json!(addresses.url(&addresses.domain))),
        ("enabled", json!(true)),
        ("feedback_email", json!(format!("feedback@{}", addresses.domain))),
        ("state", json!("general")),
        ("updated_at", json!(wire::time(team.created_at.0))),
    ])
}

async fn features(State(service): Api, User(ctx): User, Path(team): Path<String>, headers: HeaderMap) -> Out {
    let (team, _) = service.team(&ctx, &team)?;
    let shown: Vec<_> = FEATURES.into_iter().map(|f| shown_feature(&service, &team, f)).collect();
    list::page(&headers, &shown, &["name", "id"])
}

async fn feature(State(service): Api, User(ctx): User, Path((team, name)): Path<(String, String)>) -> Out {
    let (team, _) = service.team(&ctx, &team)?;
    let found = FEATURES.into_iter().find(|(known, _)| *known == name || show_people::feature_id(known).to_string() == name);
    let found = found.ok_or_else(|| Error::not_found("feature", "Couldn't find that feature."))?;
    Ok(ok(shown_feature(&service, &team, found))?.into_response())
}

async fn preferences(State(service): Api, User(ctx): User, Path(team): Path<String>) -> Out {
    service.team(&ctx, &team)?;
    Ok(ok(json!({ "default-permission": "member", "addons-controls": false }))?.into_response())
}
