//! People of this installation and its teams.

use crate::{
    browser::{Posted, Visitor},
    message, render,
    shell::{self, Outcome, Shell},
    text::{Cli, When},
};
use askama::Template;
use axum::{
    Router,
    extract::State,
    http::StatusCode,
    response::Response,
    routing::{get, post},
};
use domain::{Account, Role};
use serde::Serialize;
use service::{Ctx, Error, NewInvitation, Service};

/// The routes of this page.
pub fn routes() -> Router<Service> {
    Router::new().route("/members", get(members)).route("/members/people", post(people)).route("/members/teams", post(teams))
}

#[derive(Serialize)]
struct Person {
    email: String,
    name: String,
    role: &'static str,
    two_factor: bool,
    #[serde(skip)]
    is_self: bool,
    #[serde(skip)]
    cli: Cli,
}

#[derive(Serialize)]
struct Invited {
    id: String,
    email: String,
    role: &'static str,
    ends: When,
}

#[derive(Serialize)]
struct TeamRow {
    name: String,
    role: &'static str,
    manages: bool,
    people: Vec<Person>,
    apps: Vec<String>,
}

#[derive(Template, Serialize)]
#[template(path = "members.html")]
struct MembersPage {
    shell: Shell,
    people: Vec<Person>,
    invited: Vec<Invited>,
    teams: Vec<TeamRow>,
    /// The link of an invitation that was just made; it is shown once.
    #[serde(skip)]
    link: Option<String>,
    #[serde(skip)]
    cli: Cli,
}

fn person(account: Account, role: Role, ctx: &Ctx, words: &[&str]) -> Person {
    let line = words.iter().copied().take(1).chain([account.email.as_str()]).chain(words.iter().copied().skip(1));
    Person {
        cli: Cli::new(line.collect::<Vec<_>>()),
        is_self: ctx.account() == Some(account.id),
        name: account.name.unwrap_or_default(),
        role: role.as_str(),
        two_factor: account.two_factor,
        email: account.email,
    }
}

fn page(
    service: &Service,
    visitor: &Visitor,
    (ctx, outcome): (&Ctx, Outcome),
    link: Option<String>,
) -> Result<MembersPage, Error> {
    let shell = Shell::new(visitor, ctx, "members", outcome);
    let (mut people, mut invited) = (Vec::new(), Vec::new());
    if shell.admin {
        for account in service.people(ctx)? {
            let role = account.role;
            people.push(person(account, role, ctx, &["members:remove"]));
        }
        invited = service.invitations(ctx, None)?;
    }
    let mut teams = Vec::new();
    for (team, role) in service.teams(ctx)? {
        let id = team.id.to_string();
        let (_, members) = service.team_members(ctx, &id)?;
        teams.push(TeamRow {
            role: role.as_str(),
            manages: role == Role::Admin,
            people: members
                .into_iter()
                .map(|(member, account)| person(account, member.role, ctx, &["members:remove", "-t", &team.name]))
                .collect(),
            apps: service.team_apps(ctx, &id)?.into_iter().map(|app| app.name).collect(),
            name: team.name,
        });
    }
    let row = |invitation: domain::team::Invitation| Invited {
        id: invitation.id.to_string(),
        role: invitation.role.as_str(),
        ends: When::new(invitation.expires_at, ctx.now),
        email: invitation.email,
    };
    Ok(MembersPage {
        shell,
        people,
        invited: invited.into_iter().map(row).collect(),
        teams,
        link,
        cli: Cli::raw("tidemill members:add EMAIL --role member".into()),
    })
}

async fn members(State(service): State<Service>, visitor: Visitor) -> Response {
    shell::shown(&visitor, |ctx, outcome| page(&service, &visitor, (ctx, outcome), None))
}

fn role_of(posted: &Posted) -> Result<Role, Error> {
    Role::parse(posted.field("role")).ok_or_else(|| Error::invalid("Choose a role: admin, member or viewer."))
}

async fn invite(service: &Service, ctx: &Ctx, posted: &Posted) -> Result<String, Error> {
    let new = NewInvitation { email: posted.field("email").trim().into(), role: role_of(posted)?, team: None };
    let (_, secret) = service.invite(ctx, new).await?;
    let addresses = service.addresses();
    Ok(format!("{}/invite/{secret}", addresses.url(&addresses.domain)))
}

async fn people(State(service): State<Service>, posted: Posted) -> Response {
    let ctx = match posted.visitor.signed_in("/members") {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let email = posted.field("email").trim();
    let done = match posted.field("do") {
        "remove" => service.remove_account(ctx, email).await.map(|_| "removed"),
        "withdraw" => service.revoke_invitation(ctx, None, posted.field("id")).await.map(|_| "removed"),
        "role" => match role_of(&posted) {
            Ok(role) => service.set_role(ctx, email, role).await.map(|_| "saved"),
            Err(e) => Err(e),
        },
        _ => match invite(&service, ctx, &posted).await {
            Ok(link) => {
                return match page(&service, &posted.visitor, (ctx, Outcome::default()), Some(link)) {
                    Ok(page) => render::page_or_twin(StatusCode::OK, &posted.visitor, &page),
                    Err(e) => message::failed(&e),
                };
            }
            Err(e) => Err(e),
        },
    };
    shell::answered(&posted, "people", "/members", done, |ctx, outcome| page(&service, &posted.visitor, (ctx, outcome), None))
}

async fn teams(State(service): State<Service>, posted: Posted) -> Response {
    let ctx = match posted.visitor.signed_in("/members") {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let (team, email) = (posted.field("team").trim(), posted.field("email").trim());
    let done = match posted.field("do") {
        "create" => service.create_team(ctx, team).await.map(|_| "added"),
        "remove" => service.remove_member(ctx, team, email).await.map(|_| "removed"),
        "destroy" if posted.field("confirm").trim() != team => {
            Err(Error::invalid(format!("Type {team} to destroy the team; nothing was changed.")))
        }
        "destroy" => service.destroy_team(ctx, team).await.map(|_| "removed"),
        _ => match role_of(&posted) {
            Ok(role) => service.set_member(ctx, team, email, role).await.map(|_| "saved"),
            Err(e) => Err(e),
        },
    };
    shell::answered(&posted, "teams", "/members", done, |ctx, outcome| page(&service, &posted.visitor, (ctx, outcome), None))
}
