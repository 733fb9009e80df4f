//! The one gate: who may do what (`architecture.md` section 6, rule 6).

use crate::{Actor, Ctx, Error, Result};
use domain::App;

/// What is to be done, in the coarseness in which it is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// See the account.
    Account,
    /// Make an app.
    CreateApp,
    /// See an app, its releases, dynos and logs.
    Read,
    /// See config vars.
    ReadSecrets,
    /// Deploy, configure, scale.
    Write,
    /// Rename or destroy.
    Manage,
    /// Use folders of the server as buildpacks.
    ServerFiles,
}

/// May `actor` do this? Admins may do all, owners all with their own app.
pub fn may(actor: &Actor, action: Action, app: Option<&App>) -> bool {
    match actor {
        Actor::Platform => true,
        Actor::Account(account) if account.admin => true,
        Actor::Account(account) => match action {
            Action::Account | Action::CreateApp => true,
            Action::ServerFiles => false,
            Action::Read | Action::ReadSecrets | Action::Write | Action::Manage => {
                app.is_some_and(|app| app.owner == account.id)
            }
        },
    }
}

/// [`may`] as an error.
pub(crate) fn check(ctx: &Ctx, action: Action, app: Option<&App>) -> Result<()> {
    if may(&ctx.actor, action, app) {
        return Ok(());
    }
    Err(match app {
        Some(app) => Error::forbidden(format!("You do not have access to the app {}.", app.name)),
        None => Error::forbidden("You are not allowed to do this; ask an admin of this installation."),
    })
}
