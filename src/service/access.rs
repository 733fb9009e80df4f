//! The one gate: who may do what (`architecture.md` section 6, rule 6). Three things have to agree: what the token is
//! for, what the person is to the installation, and what the person is to the app or team.

use crate::{Actor, Ctx, Error, Result};
use domain::{Account, App, Pipeline, Rights, Role, Scope, TeamId, pipeline::Owner, team};
use store::{ReadRows, tables};

/// What is to be done, in the coarseness in which it is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// See the own account, and what is the same for everybody.
    Account,
    /// Change the own account, its tokens and keys.
    ManageAccount,
    /// Make an app, a team or a pipeline.
    Create,
    /// See an app, its releases, dynos and logs; see a team.
    Read,
    /// See config vars.
    ReadSecrets,
    /// Build and release.
    Deploy,
    /// Scale, restart, route.
    Write,
    /// Set config vars, run commands: both lead to the values.
    WriteSecrets,
    /// Rename, share, hand over or destroy an app; members and name of a team.
    Manage,
    /// Use folders of the server as buildpacks.
    ServerFiles,
    /// Who is on this installation, and all that happened on it.
    ManagePeople,
}

/// What it is to be done with.
#[derive(Clone, Copy, Debug)]
pub enum On<'a> {
    /// The installation, or the actor's own account.
    Platform,
    /// An app.
    App(&'a App),
    /// A team.
    Team(TeamId),
    /// A pipeline; the rule is in `pipelines.rs`.
    Pipeline(&'a Pipeline),
}

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Its scopes.
    pub scopes: Vec<Scope>,
    /// The only app that it is good for.
    pub app: Option<domain::AppId>,
    /// The authorization, to tell which of a list is in use.
    pub token: Option<uuid::Uuid>,
}

impl Default for Grant {
    /// Everything: a person at a form of ours, or the platform on behalf of somebody.
    fn default() -> Self {
        Self { scopes: vec![Scope::Global], app: None, token: None }
    }
}

impl Grant {
    /// Scopes that allow an action (`platform-api.md` section 4.1). To write includes to read.
    fn scopes_for(action: Action) -> &'static [Scope] {
        use Scope::{Global, Identity, Read, ReadProtected, Write, WriteProtected};
        match action {
            Action::Account => &[Global, Identity, Read, Write, ReadProtected, WriteProtected],
            Action::Read => &[Global, Read, Write, ReadProtected, WriteProtected],
            Action::ReadSecrets => &[Global, ReadProtected, WriteProtected],
            Action::Create | Action::Deploy | Action::Write | Action::Manage => &[Global, Write, WriteProtected],
            Action::WriteSecrets => &[Global, WriteProtected],
            // Else a token could make itself a stronger one.
            Action::ManageAccount | Action::ServerFiles | Action::ManagePeople => &[Global],
        }
    }

    fn refusal(&self, action: Action, on: On<'_>) -> Option<Error> {
        if let Some(only) = self.app {
            let fits = match on {
                On::App(app) => app.id == only && action != Action::Manage,
                On::Platform => action == Action::Account,
                On::Team(_) | On::Pipeline(_) => false,
            };
            if !fits {
                return Some(Error::forbidden("This token is bound to one app and can not be used for this."));
            }
        }
        let needed = Self::scopes_for(action);
        if self.scopes.iter().any(|scope| needed.contains(scope)) {
            return None;
        }
        let words = |scopes: &[Scope]| scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>().join(", ");
        Some(Error::forbidden(format!(
            "This token has the scope {}; this needs one of: {}. Make another with authorizations:create.",
            words(&self.scopes),
            words(needed)
        )))
    }
}

/// What somebody may do with an app, whatever the token is for.
///
/// # Errors
/// When the store can not be read.
pub fn rights_on(rows: &impl ReadRows, account: &Account, app: &App) -> Result<Rights> {
    if account.is_admin() {
        return Ok(Rights::ALL);
    }
    let shared = rows.get(&tables::COLLABORATORS, &(app.id, account.id))?.map_or(Rights::NONE, |row| row.rights);
    let own = match app.team {
        Some(team) => {
            let place = rows.get(&tables::MEMBERS, &(team, account.id))?;
            place.map_or(Rights::NONE, |member| team::team_rights(member.role, app.locked))
        }
        None if app.owner == account.id => Rights::ALL,
        None => Rights::NONE,
    };
    Ok(own.or(shared).capped(account.role))
}

/// A person's place in a team; admins of the installation are admins of every team.
///
/// # Errors
/// When the store can not be read.
pub fn role_in(rows: &impl ReadRows, account: &Account, team: TeamId) -> Result<Option<Role>> {
    if account.is_admin() {
        return Ok(Some(Role::Admin));
    }
    let place = rows.get(&tables::MEMBERS, &(team, account.id))?.map(|member| member.role);
    Ok(place.map(|role| if account.role == Role::Viewer { Role::Viewer } else { role }))
}

fn with_app(rights: Rights, action: Action) -> bool {
    match action {
        Action::Account | Action::Read => rights.view,
        Action::Deploy => rights.deploy,
        Action::ReadSecrets | Action::Write | Action::WriteSecrets => rights.operate,
        Action::Manage => rights.manage,
        Action::ManageAccount | Action::Create | Action::ServerFiles | Action::ManagePeople => false,
    }
}

fn with_team(role: Option<Role>, action: Action) -> bool {
    match role {
        None => false,
        Some(Role::Admin) => !matches!(action, Action::ServerFiles | Action::ManagePeople),
        Some(Role::Member) => matches!(action, Action::Account | Action::Read | Action::Create),
        Some(Role::Viewer) => matches!(action, Action::Account | Action::Read),
    }
}

fn with_platform(account: &Account, action: Action) -> bool {
    match action {
        Action::Account | Action::ManageAccount => true,
        Action::Create => account.role != Role::Viewer,
        _ => account.is_admin(),
    }
}

/// What the owner may; else what the rights on the apps of the pipeline give.
fn with_pipeline(rows: &impl ReadRows, account: &Account, pipeline: &Pipeline, action: Action) -> Result<bool> {
    let looks = matches!(action, Action::Account | Action::Read);
    let works = looks || matches!(action, Action::Write | Action::ReadSecrets | Action::WriteSecrets);
    let own = match pipeline.owner {
        Owner::User(owner) if owner == account.id || account.is_admin() => {
            if account.role == Role::Viewer {
                looks
            } else {
                works || action == Action::Manage
            }
        }
        Owner::User(_) => false,
        Owner::Team(team) => match role_in(rows, account, team)? {
            Some(Role::Admin) => works || action == Action::Manage,
            Some(Role::Member) => works,
            Some(Role::Viewer) => looks,
            None => false,
        },
    };
    if own || !matches!(action, Action::Account | Action::Read | Action::Write) {
        return Ok(own);
    }
    for app in crate::couplings::apps_of(rows, pipeline.id)? {
        if with_app(rights_on(rows, account, &app)?, action) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn refusal(rows: &impl ReadRows, ctx: &Ctx, action: Action, on: On<'_>) -> Result<Option<Error>> {
    let account = match &ctx.actor {
        Actor::Platform | Actor::Root => return Ok(None),
        Actor::Account(account) => account,
    };
    let allowed = match on {
        On::Platform => with_platform(account, action),
        On::App(app) => with_app(rights_on(rows, account, app)?, action),
        On::Team(team) => with_team(role_in(rows, account, team)?, action),
        On::Pipeline(pipeline) => with_pipeline(rows, account, pipeline, action)?,
    };
    if allowed {
        return Ok(ctx.grant.refusal(action, on));
    }
    Ok(Some(match on {
        On::App(app) if with_app(rights_on(rows, account, app)?, Action::Read) => {
            Error::forbidden(format!("Your rights on the app {} do not allow this; ask its owner.", app.name))
        }
        On::App(app) => Error::forbidden(format!("You do not have access to the app {}.", app.name)),
        On::Pipeline(pipeline) => {
            Error::forbidden(format!("You are not allowed to do this with the pipeline {}; ask its owner.", pipeline.name))
        }
        On::Team(_) => Error::forbidden("You are not allowed to do this with that team; ask an admin of the team."),
        On::Platform => Error::forbidden("You are not allowed to do this; ask an admin of this installation."),
    }))
}

/// May the actor do this?
///
/// # Errors
/// When the store can not be read.
pub fn may(rows: &impl ReadRows, ctx: &Ctx, action: Action, on: On<'_>) -> Result<bool> {
    Ok(refusal(rows, ctx, action, on)?.is_none())
}

impl crate::Service {
    /// What the actor may do with an app; for pages, which do not show what would be refused.
    ///
    /// # Errors
    /// When the store can not be read.
    pub fn rights(&self, ctx: &Ctx, app: &App) -> Result<Rights> {
        match &ctx.actor {
            Actor::Platform | Actor::Root => Ok(Rights::ALL),
            Actor::Account(account) => rights_on(self.store(), account, app),
        }
    }
}

/// [`may`] as an error.
///
/// # Errors
/// `forbidden`, with the reason.
pub(crate) fn check(rows: &impl ReadRows, ctx: &Ctx, action: Action, on: On<'_>) -> Result<()> {
    refusal(rows, ctx, action, on)?.map_or(Ok(()), Err)
}
