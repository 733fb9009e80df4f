//! Who may work on an app.

use crate::{
    browser::{Posted, Visitor},
    shell::{self, Head, Outcome, Shell},
    text::{Cli, When},
};
use askama::Template;
use axum::{
    Router,
    extract::{Path, State},
    response::Response,
    routing::get,
};
use domain::Rights;
use serde::Serialize;
use service::{Ctx, Error, Service};

/// The route of this page.
pub fn routes() -> Router<Service> {
    Router::new().route("/apps/{app}/access", get(access).post(change))
}

#[derive(Serialize)]
struct Row {
    email: String,
    rights: String,
    owner: bool,
    since: When,
    #[serde(skip)]
    cli: Cli,
}

#[derive(Template, Serialize)]
#[template(path = "access.html")]
struct AccessPage {
    shell: Shell,
    head: Head,
    people: Vec<Row>,
    team: Option<String>,
    locked: bool,
    #[serde(skip)]
    add_cli: Cli,
}

fn page(service: &Service, visitor: &Visitor, ctx: &Ctx, outcome: Outcome, name: &str) -> Result<AccessPage, Error> {
    let (app, head) = Head::new(service, ctx, name, "access")?;
    let (_, people) = service.collaborators(ctx, name)?;
    let team = match app.team {
        Some(team) => service.team_by_id(team)?.map(|team| team.name),
        None => None,
    };
    let row = |shared: service::Shared| Row {
        rights: if shared.owner { "owner".into() } else { shared.rights.words().join(", ") },
        owner: shared.owner,
        since: When::new(shared.created_at, ctx.now),
        cli: Cli::of(&app.name, ["access:remove", &shared.account.email]),
        email: shared.account.email,
    };
    Ok(AccessPage {
        shell: Shell::new(visitor, ctx, "apps", outcome),
        people: people.into_iter().map(row).collect(),
        team,
        locked: app.locked,
        add_cli: Cli::raw(format!("tidemill access:add EMAIL -a {}", app.name)),
        head,
    })
}

async fn access(State(service): State<Service>, visitor: Visitor, Path(app): Path<String>) -> Response {
    shell::shown(&visitor, |ctx, outcome| page(&service, &visitor, ctx, outcome, &app))
}

async fn change(State(service): State<Service>, Path(app): Path<String>, posted: Posted) -> Response {
    let back = format!("/apps/{app}/access");
    let ctx = match posted.visitor.signed_in(&back) {
        Ok(ctx) => ctx,
        Err(way) => return *way,
    };
    let email = posted.field("email").trim();
    let rights = ["deploy", "operate", "manage"].into_iter().filter(|word| !posted.field(word).is_empty());
    let wanted = match Rights::parse(rights) {
        Ok(rights) => Ok((!posted.field("team").is_empty()).then_some(rights)),
        Err(why) => Err(Error::invalid(why)),
    };
    let done = match (posted.field("do"), wanted) {
        ("remove", _) => service.unshare(ctx, &app, email).await.map(|_| "removed"),
        (_, Ok(rights)) => service.share(ctx, &app, email, rights).await.map(|_| "added"),
        (_, Err(e)) => Err(e),
    };
    shell::answered(&posted, "access", &back, done, |ctx, outcome| page(&service, &posted.visitor, ctx, outcome, &app))
}
