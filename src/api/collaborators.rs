//! Shares of apps, apps of teams, and apps that change hands.

use crate::{
    Api, Out,
    answer::{Body, created, ok},
    auth::User,
    list,
    refs::Named,
    routes::routes,
    show, show_people,
    view::View,
};
use axum::{
    extract::{Path, State},
    http::HeaderMap,
    response::IntoResponse,
};
use domain::Rights;
use serde::Deserialize;
use service::{Error, NewApp};

routes! {
    get "/apps/{app}/collaborators" => collaborators, "read";
    post "/apps/{app}/collaborators" => add, "manage";
    get "/apps/{app}/collaborators/{collaborator}" => collaborator, "read";
    delete "/apps/{app}/collaborators/{collaborator}" => remove, "manage; oneself";
    get "/teams/apps/{app}/collaborators" => collaborators, "read";
    post "/teams/apps/{app}/collaborators" => add, "manage; members of the team themselves";
    get "/teams/apps/{app}/collaborators/{collaborator}" => collaborator, "read";
    patch "/teams/apps/{app}/collaborators/{collaborator}" => update, "manage";
    delete "/teams/apps/{app}/collaborators/{collaborator}" => remove, "manage; oneself";
    post "/teams/apps" => create_team_app, "team create";
    get "/teams/apps/{app}" => team_app, "read";
    patch "/teams/apps/{app}" => update_team_app, "manage";
    get "/teams/{team}/apps" => team_apps, "team read";
    get "/account/app-transfers" => transfers, "account";
    post "/account/app-transfers" => offer, "manage";
    get "/account/app-transfers/{transfer}" => transfer, "account";
    patch "/account/app-transfers/{transfer}" => answer, "account, global; recipient";
    delete "/account/app-transfers/{transfer}" => withdraw, "account, global; owner";
}

async fn collaborators(State(service): Api, User(ctx): User, Path(app): Path<String>, headers: HeaderMap) -> Out {
    let (app, shares) = service.collaborators(&ctx, &app)?;
    let shown: Vec<_> = shares.iter().map(|one| show_people::collaborator(&app, one)).collect();
    list::page(&headers, &shown, &["id", "created_at", "updated_at"])
}

async fn collaborator(State(service): Api, User(ctx): User, Path((app, who)): Path<(String, String)>) -> Out {
    let (app, one) = service.collaborator(&ctx, &app, &who)?;
    Ok(ok(show_people::collaborator(&app, &one))?.into_response())
}

/// A person: e-mail, id, or an object with one of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Who {
    Text(String),
    Object { email: Option<String>, id: Option<String> },
}

impl Who {
    fn text(self) -> Result<String, Error> {
        let text = match self {
            Self::Text(text) => Some(text),
            Self::Object { email, id } => email.or(id),
        };
        text.ok_or_else(|| Error::invalid("Say who: an e-mail or an id."))
    }
}

#[derive(Deserialize)]
struct Share {
    user: Who,
    permissions: Option<Vec<String>>,
}

fn rights(words: Option<&Vec<String>>) -> Result<Option<Rights>, Error> {
    words.map(|words| Rights::parse(words.iter().map(String::as_str)).map_err(Error::invalid)).transpose()
}

async fn add(State(service): Api, User(ctx): User, Path(app): Path<String>, Body(body): Body<Share>) -> Out {
    let rights = rights(body.permissions.as_ref())?;
    let (app, one) = service.share(&ctx, &app, &body.user.text()?, rights).await?;
    Ok(created(show_people::collaborator(&app, &one))?.into_response())
}

#[derive(Deserialize)]
struct SetPermissions {
    permissions: Vec<String>,
}

async fn update(
    State(service): Api,
    User(ctx): User,
    Path((app, who)): Path<(String, String)>,
    Body(body): Body<SetPermissions>,
) -> Out {
    let (found, one) = service.collaborator(&ctx, &app, &who)?;
    let rights = rights(Some(&body.permissions))?;
    let (app, one) = service.share(&ctx, &found.id.to_string(), &one.account.id.to_string(), rights).await?;
    Ok(ok(show_people::collaborator(&app, &one))?.into_response())
}

async fn remove(State(service): Api, User(ctx): User, Path((app, who)): Path<(String, String)>) -> Out {
    let (app, gone) = service.unshare(&ctx, &app, &who).await?;
    Ok(ok(show_people::collaborator(&app, &gone))?.into_response())
}

#[derive(Deserialize)]
struct CreateTeamApp {
    name: Option<String>,
    team: Option<Named>,
    personal: Option<bool>,
    locked: Option<bool>,
    stack: Option<Named>,
}

async fn create_team_app(view: View, User(ctx): User, Body(body): Body<CreateTeamApp>) -> Out {
    let team = body.team.and_then(Named::text).filter(|_| body.personal != Some(true));
    let stack = body.stack.and_then(Named::text);
    let new = NewApp { name: body.name, stack, team, locked: body.locked.unwrap_or(false) };
    let app = view.create_app(&ctx, new).await?;
    Ok(created(show::joined_app(&view, &ctx, &app)?)?.into_response())
}

async fn team_app(view: View, User(ctx): User, Path(app): Path<String>) -> Out {
    Ok(ok(show::joined_app(&view, &ctx, &view.app(&ctx, &app)?)?)?.into_response())
}

#[derive(Deserialize)]
struct UpdateTeamApp {
    locked: Option<bool>,
    owner: Option<Who>,
}

async fn update_team_app(view: View, User(ctx): User, Path(name): Path<String>, Body(body): Body<UpdateTeamApp>) -> Out {
    let app = match (body.locked, body.owner) {
        (Some(locked), None) => view.lock_app(&ctx, &name, locked).await?,
        (None, Some(owner)) => view.give_app(&ctx, &name, &owner.text()?).await?,
        _ => return Err(Error::invalid("Send either `locked` or `owner`.").into()),
    };
    Ok(ok(show::joined_app(&view, &ctx, &app)?)?.into_response())
}

async fn team_apps(view: View, User(ctx): User, Path(team): Path<String>, headers: HeaderMap) -> Out {
    let apps = view.team_apps(&ctx, &team)?;
    list::page_of(&headers, &apps, &["name", "id", "updated_at", "created_at"], |app| show::joined_app(&view, &ctx, app))
}

#[derive(Deserialize)]
struct Offer {
    app: Named,
    recipient: Who,
}

fn shown_transfer(service: &service::Service, transfer: &domain::team::Transfer) -> Result<wire::AppTransfer, Error> {
    show_people::transfer(service, transfer, &service.app_name(transfer.app)?)
}

async fn offer(State(service): Api, User(ctx): User, Body(body): Body<Offer>) -> Out {
    let app = body.app.text().ok_or_else(|| Error::invalid("Say which app."))?;
    let transfer = service.offer_app(&ctx, &app, &body.recipient.text()?).await?;
    Ok(created(shown_transfer(&service, &transfer)?)?.into_response())
}

async fn transfers(State(service): Api, User(ctx): User, headers: HeaderMap) -> Out {
    let all = service.transfers(&ctx)?;
    let shown: Result<Vec<_>, Error> = all.iter().map(|one| shown_transfer(&service, one)).collect();
    list::page(&headers, &shown?, &["id", "created_at", "updated_at"])
}

async fn transfer(State(service): Api, User(ctx): User, Path(which): Path<String>) -> Out {
    Ok(ok(shown_transfer(&service, &service.transfer(&ctx, &which)?)?)?.into_response())
}

#[derive(Deserialize)]
struct Answer {
    state: String,
}

async fn answer(State(service): Api, User(ctx): User, Path(which): Path<String>, Body(body): Body<Answer>) -> Out {
    let accept = match body.state.as_str() {
        "accepted" => true,
        "declined" => false,
        other => return Err(Error::invalid(format!("State {other:?} must be accepted or declined.")).into()),
    };
    let transfer = service.answer_transfer(&ctx, &which, accept).await?;
    Ok(ok(shown_transfer(&service, &transfer)?)?.into_response())
}

async fn withdraw(State(service): Api, User(ctx): User, Path(which): Path<String>) -> Out {
    let gone = service.withdraw_transfer(&ctx, &which).await?;
    Ok(ok(shown_transfer(&service, &gone)?)?.into_response())
}
