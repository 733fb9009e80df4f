//! Who works on somebody else's app, and apps that change hands.

use crate::{
    Action, Actor, Ctx, Error, Kind, On, Result, Service, access, find_app,
    people::{find_account, known_account},
    teams::find_team,
};
use domain::{
    Account, AccountId, App, Collaborator, EventBody, Rights, Role,
    team::{Transfer, TransferState},
};
use store::{ReadRows, Tx, tables};
use uuid::Uuid;

/// A collaborator as people see one; the owner of a personal app is among them.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Public id.
    pub id: Uuid,
    /// Who.
    pub account: Account,
    /// What the person may do.
    pub rights: Rights,
    /// True for the owner.
    pub owner: bool,
    /// When it was shared.
    pub created_at: domain::UnixMs,
    /// Last change.
    pub updated_at: domain::UnixMs,
}

const SHARES_MAX: usize = 200;

fn changed(tx: &mut Tx, ctx: &Ctx, app: &App, account: AccountId, rights: Rights) -> Result<()> {
    let permissions = rights.words().into_iter().map(String::from).collect();
    tx.event(ctx.now, Some(app.id), ctx.origin(), EventBody::CollaboratorChanged { account, permissions })?;
    Ok(())
}

impl Service {
    /// Who works on an app: its owner, unless a team has it, then the others by e-mail.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn collaborators(&self, ctx: &Ctx, app: &str) -> Result<(App, Vec<Shared>)> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let mut all = Vec::new();
        for row in self.store().scan(&tables::COLLABORATORS, &app.id)? {
            all.push(self.shared(&row)?);
        }
        all.sort_by(|a, b| a.account.email.cmp(&b.account.email));
        if app.team.is_none() {
            all.insert(0, self.owner_of(&app)?);
        }
        Ok((app, all))
    }

    fn shared(&self, row: &Collaborator) -> Result<Shared> {
        Ok(Shared {
            id: row.id,
            account: self.account(row.account)?,
            rights: row.rights,
            owner: false,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }

    /// The owner is no row; the id is made of the two others, so that it stays the same.
    fn owner_of(&self, app: &App) -> Result<Shared> {
        let mixed = Uuid::from_u128(app.id.0.as_u128() ^ app.owner.0.as_u128());
        let id = uuid::Builder::from_random_bytes(*mixed.as_bytes()).into_uuid();
        let account = self.account(app.owner)?;
        Ok(Shared { id, account, rights: Rights::ALL, owner: true, created_at: app.created_at, updated_at: app.created_at })
    }

    /// One of them by id, e-mail or account.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn collaborator(&self, ctx: &Ctx, app: &str, who: &str) -> Result<(App, Shared)> {
        let (app, all) = self.collaborators(ctx, app)?;
        let found = all.into_iter().find(|one| {
            one.id.to_string() == who || one.account.id.to_string() == who || one.account.email.eq_ignore_ascii_case(who)
        });
        Ok((app, found.ok_or_else(|| Error::not_found("collaborator", "Couldn't find that collaborator."))?))
    }

    /// Shares an app, or changes what somebody may do with it. Without `rights` a collaborator may do all work, but
    /// not rename, share, hand over or destroy the app. Members of the app's team may join it by themselves.
    ///
    /// # Errors
    /// `invalid_params` when there is no such account; `not_found`, `forbidden`.
    pub async fn share(&self, ctx: &Ctx, app: &str, who: &str, rights: Option<Rights>) -> Result<(App, Shared)> {
        let app = find_app(self.store(), app)?;
        if !self.joins(ctx, &app, who, rights)? {
            access::check(self.store(), ctx, Action::Manage, On::App(&app))?;
        }
        let account = known_account(self.store(), who)?;
        if app.team.is_none() && app.owner == account.id {
            return Err(Error::invalid(format!("{} owns the app.", account.email)));
        }
        // Only apps of teams know finer rights.
        let rights = rights.filter(|_| app.team.is_some()).unwrap_or(Rights::WORK);
        let (ctx, id) = (ctx.clone(), app.id);
        let row = self
            .store()
            .commit(move |tx| {
                let app = find_app(tx, &id.to_string())?;
                let old = tx.get(&tables::COLLABORATORS, &(id, account.id))?;
                if old.is_none() && tx.scan(&tables::COLLABORATORS, &id)?.len() >= SHARES_MAX {
                    return Err(Error::invalid(format!("An app can have {SHARES_MAX} collaborators.")));
                }
                let (public, created_at) = old.map_or((Uuid::new_v4(), ctx.now), |old| (old.id, old.created_at));
                let row = Collaborator { id: public, account: account.id, rights, created_at, updated_at: ctx.now };
                tx.put(&tables::COLLABORATORS, &(id, account.id), &row)?;
                changed(tx, &ctx, &app, account.id, rights)?;
                Ok(row)
            })
            .await?;
        Ok((app, self.shared(&row)?))
    }

    /// A member of the team who wants to work on an app of the team that is not locked.
    fn joins(&self, ctx: &Ctx, app: &App, who: &str, rights: Option<Rights>) -> Result<bool> {
        let Actor::Account(account) = &ctx.actor else { return Ok(false) };
        let own = who.eq_ignore_ascii_case(&account.email) || who == account.id.to_string();
        Ok(own && rights.is_none() && app.team.is_some() && access::may(self.store(), ctx, Action::Write, On::App(app))?)
    }

    /// Ends a share; collaborators may leave by themselves.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params` for the owner.
    pub async fn unshare(&self, ctx: &Ctx, app: &str, who: &str) -> Result<(App, Shared)> {
        let (app, one) = self.collaborator(ctx, app, who)?;
        let action = if ctx.account() == Some(one.account.id) { Action::Read } else { Action::Manage };
        access::check(self.store(), ctx, action, On::App(&app))?;
        if one.owner {
            return Err(Error::invalid("The owner can not be removed; transfer the app: tidemill apps:transfer E-MAIL"));
        }
        let (ctx, gone, account) = (ctx.clone(), app.clone(), one.account.id);
        self.store()
            .commit(move |tx| -> Result<()> {
                tx.delete(&tables::COLLABORATORS, &(gone.id, account));
                changed(tx, &ctx, &gone, account, Rights::NONE)
            })
            .await?;
        Ok((app, one))
    }
}

/// Who gets an app.
fn hand_over(tx: &mut Tx, ctx: &Ctx, app: &mut App, to: &Account) -> Result<()> {
    if to.role == Role::Viewer {
        return Err(Error::invalid(format!("{} is a viewer and can not own apps.", to.email)));
    }
    (app.owner, app.team, app.locked) = (to.id, None, false);
    tx.delete(&tables::COLLABORATORS, &(app.id, to.id));
    app.updated_at = ctx.now;
    tx.put(&tables::APPS, &app.id, app)?;
    tx.event(ctx.now, Some(app.id), ctx.origin(), EventBody::AppTransferred { to: to.email.clone() })?;
    Ok(())
}

impl Service {
    /// Gives an app to a team (by name), or takes it from one to a person (by e-mail), at once.
    ///
    /// # Errors
    /// `forbidden` unless the actor manages the app and may make apps in the team; `not_found`, `invalid_params`.
    pub async fn give_app(&self, ctx: &Ctx, app: &str, to: &str) -> Result<App> {
        let app = self.app_for(ctx, Action::Manage, app)?;
        // What is no team is a person: by e-mail, or by id.
        let team = match find_team(self.store(), to) {
            Ok(team) => Some(team),
            Err(e) if e.kind == Kind::NotFound => None,
            Err(e) => return Err(e),
        };
        if let Some(team) = &team {
            access::check(self.store(), ctx, Action::Create, On::Team(team.id))?;
        }
        let (ctx, to) = (ctx.clone(), to.to_string());
        self.store()
            .commit(move |tx| {
                let mut app = find_app(tx, &app.id.to_string())?;
                match team {
                    Some(team) => {
                        (app.team, app.updated_at) = (Some(team.id), ctx.now);
                        tx.put(&tables::APPS, &app.id, &app)?;
                        tx.event(ctx.now, Some(app.id), ctx.origin(), EventBody::AppTransferred { to: team.name })?;
                    }
                    None => hand_over(tx, &ctx, &mut app, &known_account(tx, &to)?)?,
                }
                Ok(app)
            })
            .await
    }

    /// Locks or unlocks an app of a team.
    ///
    /// # Errors
    /// `invalid_params` for a personal app; `not_found`, `forbidden`.
    pub async fn lock_app(&self, ctx: &Ctx, app: &str, locked: bool) -> Result<App> {
        let app = self.app_for(ctx, Action::Manage, app)?;
        if app.team.is_none() {
            return Err(Error::invalid(format!("{} belongs to no team; only apps of teams can be locked.", app.name)));
        }
        let ctx = ctx.clone();
        self.store()
            .commit(move |tx| {
                let mut app = find_app(tx, &app.id.to_string())?;
                (app.locked, app.updated_at) = (locked, ctx.now);
                tx.put(&tables::APPS, &app.id, &app)?;
                tx.event(ctx.now, Some(app.id), ctx.origin(), EventBody::AppUpdated)?;
                Ok(app)
            })
            .await
    }

    /// True when the actor was made a collaborator of the app.
    ///
    /// # Errors
    /// When the store can not be read.
    pub fn joined(&self, ctx: &Ctx, app: &App) -> Result<bool> {
        let Some(account) = ctx.account() else { return Ok(false) };
        Ok(app.owner == account || self.store().get(&tables::COLLABORATORS, &(app.id, account))?.is_some())
    }

    /// True when `account` owns the app, or may work on it, by whatever way but being an admin of the installation.
    ///
    /// # Errors
    /// When the store can not be read.
    pub fn works_on(&self, account: &Account, app: &App) -> Result<bool> {
        let plain = Account { role: if account.is_admin() { Role::Member } else { account.role }, ..account.clone() };
        Ok(access::rights_on(self.store(), &plain, app)?.view)
    }

    /// True when the app was shared with `account` itself.
    ///
    /// # Errors
    /// When the store can not be read.
    pub fn is_collaborator(&self, account: &Account, app: &App) -> Result<bool> {
        Ok(self.store().get(&tables::COLLABORATORS, &(app.id, account.id))?.is_some())
    }

    /// Name of an app, for showing; empty when it is gone.
    ///
    /// # Errors
    /// When the store can not be read.
    pub fn app_name(&self, id: domain::AppId) -> Result<String> {
        Ok(self.store().get(&tables::APPS, &id)?.map(|app| app.name).unwrap_or_default())
    }

    /// Offers an app to somebody, who has to accept.
    ///
    /// # Errors
    /// `invalid_params` for the recipient, `conflict` when an offer is open; `not_found`, `forbidden`.
    pub async fn offer_app(&self, ctx: &Ctx, app: &str, recipient: &str) -> Result<Transfer> {
        let app = self.app_for(ctx, Action::Manage, app)?;
        let to = known_account(self.store(), recipient)?;
        if app.team.is_some() || to.id == app.owner || to.role == Role::Viewer {
            return Err(Error::invalid(format!("{} can not be offered to {}.", app.name, to.email)));
        }
        let transfer = Transfer {
            id: Uuid::new_v4(),
            app: app.id,
            owner: app.owner,
            recipient: to.id,
            state: TransferState::Pending,
            created_at: ctx.now,
            updated_at: ctx.now,
        };
        let (ctx, stored) = (ctx.clone(), transfer.clone());
        self.store()
            .commit(move |tx| -> Result<()> {
                let all = tx.scan(&tables::TRANSFERS, &())?;
                if all.iter().any(|t| t.app == stored.app && t.state == TransferState::Pending) {
                    return Err(Error::conflict("The app is offered to somebody already; take that back first."));
                }
                tx.put(&tables::TRANSFERS, &stored.id, &stored)?;
                tx.event(ctx.now, Some(stored.app), ctx.origin(), EventBody::AppUpdated)?;
                Ok(())
            })
            .await?;
        Ok(transfer)
    }

    /// Offers that the actor made or got.
    ///
    /// # Errors
    /// When the store can not be read.
    pub fn transfers(&self, ctx: &Ctx) -> Result<Vec<Transfer>> {
        access::check(self.store(), ctx, Action::Account, On::Platform)?;
        let mut all = self.store().scan(&tables::TRANSFERS, &())?;
        all.retain(|t| ctx.account().is_some_and(|id| t.owner == id || t.recipient == id));
        Ok(all)
    }

    /// One of them, by its id or the app's name.
    ///
    /// # Errors
    /// `not_found`.
    pub fn transfer(&self, ctx: &Ctx, which: &str) -> Result<Transfer> {
        let app = find_app(self.store(), which).ok().map(|app| app.id);
        let mut all = self.transfers(ctx)?;
        all.sort_by_key(|t| (t.state != TransferState::Pending, std::cmp::Reverse(t.created_at)));
        let found = all.into_iter().find(|t| t.id.to_string() == which || Some(t.app) == app);
        found.ok_or_else(|| Error::not_found("app_transfer", "Couldn't find that app transfer."))
    }

    /// The recipient accepts or declines.
    ///
    /// # Errors
    /// `forbidden` for others, `invalid_params` when it was answered before; `not_found`.
    pub async fn answer_transfer(&self, ctx: &Ctx, which: &str, accept: bool) -> Result<Transfer> {
        let transfer = self.transfer(ctx, which)?;
        access::check(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        if ctx.account() != Some(transfer.recipient) {
            return Err(Error::forbidden("Only the recipient can accept or decline."));
        }
        let ctx = ctx.clone();
        self.store()
            .commit(move |tx| {
                let mut transfer = tx.get(&tables::TRANSFERS, &transfer.id)?.filter(|t| t.state == TransferState::Pending);
                let transfer = transfer.as_mut().ok_or_else(|| Error::invalid("This transfer was answered or taken back."))?;
                transfer.state = if accept { TransferState::Accepted } else { TransferState::Declined };
                transfer.updated_at = ctx.now;
                if accept {
                    let mut app = find_app(tx, &transfer.app.to_string())?;
                    if app.owner != transfer.owner || app.team.is_some() {
                        return Err(Error::conflict("The app has another owner by now."));
                    }
                    let to = find_account(tx, &transfer.recipient.to_string())?;
                    hand_over(tx, &ctx, &mut app, &to)?;
                }
                tx.put(&tables::TRANSFERS, &transfer.id, transfer)?;
                tx.event(ctx.now, Some(transfer.app), ctx.origin(), EventBody::AppUpdated)?;
                Ok(transfer.clone())
            })
            .await
    }

    /// The owner takes an offer back.
    ///
    /// # Errors
    /// `forbidden` for others, `not_found`.
    pub async fn withdraw_transfer(&self, ctx: &Ctx, which: &str) -> Result<Transfer> {
        let transfer = self.transfer(ctx, which)?;
        access::check(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        if ctx.account() != Some(transfer.owner) {
            return Err(Error::forbidden("Only the owner can take an offer back."));
        }
        let (ctx, gone) = (ctx.clone(), transfer.clone());
        self.store()
            .commit(move |tx| -> Result<()> {
                tx.delete(&tables::TRANSFERS, &gone.id);
                tx.event(ctx.now, Some(gone.app), ctx.origin(), EventBody::AppUpdated)?;
                Ok(())
            })
            .await?;
        Ok(transfer)
    }
}
