//! Who is on this installation: members, invitations, and everybody's own account (`ux.md` J10).

use crate::{
    Action, Actor, Ctx, Error, On, Result, Service, access,
    auth::{NewToken, add_account, add_token, check_email, drop_token, hash, random_letters},
    clients,
    passwords::{check_password, put_password},
    pipelines, sessions,
};
use domain::{Account, AccountId, EventBody, Membership, Role, TeamId, pipeline::Owner, team::Invitation};
use store::{ReadRows, Tx, tables};
use uuid::Uuid;

/// Invitations are good for this long (`ux.md` J10).
const INVITATION_MS: u64 = 72 * 60 * 60 * 1000;
const NAME_CHARS_MAX: usize = 100;
const GONE: &str = "This invitation was used, taken back or is too old; ask for another.";

/// An account by id or e-mail.
pub(crate) fn find_account(rows: &impl ReadRows, who: &str) -> Result<Account> {
    let missing = || Error::not_found("user", "Couldn't find that user.");
    let id = match who.parse::<AccountId>() {
        Ok(id) => id,
        Err(_) => rows.get(&tables::ACCOUNT_BY_EMAIL, &who.trim().to_lowercase())?.ok_or_else(missing)?,
    };
    rows.get(&tables::ACCOUNTS, &id)?.ok_or_else(missing)
}

/// Somebody named in a body: known here, or told how to become it.
pub(crate) fn known_account(rows: &impl ReadRows, who: &str) -> Result<Account> {
    find_account(rows, who).map_err(|e| match e.id {
        "not_found" => Error::invalid(format!(
            "There is no account {} on this server. An admin invites people with: tidemill members:add E-MAIL",
            who.escape_default()
        )),
        _ => e,
    })
}

fn own(ctx: &Ctx) -> Result<&Account> {
    match &ctx.actor {
        Actor::Account(account) => Ok(account),
        Actor::Platform | Actor::Root => Err(Error::unauthorized()),
    }
}

fn check_name(name: Option<&str>) -> Result<()> {
    if name.is_some_and(|n| n.chars().count() > NAME_CHARS_MAX || n.chars().any(char::is_control)) {
        return Err(Error::invalid(format!("A name has at most {NAME_CHARS_MAX} characters and no control characters.")));
    }
    Ok(())
}

fn keeps_an_admin(tx: &Tx, leaving: AccountId) -> Result<()> {
    let others = tx.scan(&tables::ACCOUNTS, &())?;
    if others.iter().any(|a| a.is_admin() && a.id != leaving) {
        return Ok(());
    }
    Err(Error::conflict("This is the only admin; make somebody else one first: tidemill members:set E-MAIL --role admin"))
}

impl Service {
    /// Everybody on this installation, by e-mail.
    ///
    /// # Errors
    /// `forbidden` for others than admins.
    pub fn people(&self, ctx: &Ctx) -> Result<Vec<Account>> {
        access::check(self.store(), ctx, Action::ManagePeople, On::Platform)?;
        let mut people = self.store().scan(&tables::ACCOUNTS, &())?;
        people.sort_by(|a, b| a.email.cmp(&b.email));
        Ok(people)
    }

    /// The account `~`, the own one by id or e-mail, or anybody's for an admin.
    ///
    /// # Errors
    /// `not_found` also for somebody else's, so that nobody can try out e-mails.
    pub fn account_of(&self, ctx: &Ctx, who: &str) -> Result<Account> {
        let account = own(ctx)?;
        access::check(self.store(), ctx, Action::Account, On::Platform)?;
        if who == "~" || who.eq_ignore_ascii_case(&account.email) || who == account.id.to_string() {
            return Ok(account.clone());
        }
        if access::may(self.store(), ctx, Action::ManagePeople, On::Platform)? {
            return find_account(self.store(), who);
        }
        Err(Error::not_found("user", "Couldn't find that user."))
    }

    /// Changes the shown name of [`Service::account_of`]; `None` leaves it.
    ///
    /// # Errors
    /// `not_found`, `forbidden` without the scope global, `invalid_params`.
    pub async fn rename_account(&self, ctx: &Ctx, who: &str, name: Option<String>) -> Result<Account> {
        let account = self.account_of(ctx, who)?;
        access::check(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        if name.is_none() {
            return Ok(account);
        }
        check_name(name.as_deref())?;
        self.change_account(ctx, account.id, "name", move |account| account.name = name).await
    }

    pub(crate) async fn change_account(
        &self,
        ctx: &Ctx,
        id: AccountId,
        what: &'static str,
        change: impl FnOnce(&mut Account) + Send + 'static,
    ) -> Result<Account> {
        let ctx = ctx.clone();
        self.store()
            .commit(move |tx| {
                let mut account = find_account(tx, &id.to_string())?;
                change(&mut account);
                account.updated_at = Some(ctx.now);
                tx.put(&tables::ACCOUNTS, &id, &account)?;
                tx.event(ctx.now, None, ctx.origin(), EventBody::AccountChanged { account: id, what: what.into() })?;
                Ok(account)
            })
            .await
    }

    /// Gives somebody another role.
    ///
    /// # Errors
    /// `forbidden` for others than admins, `not_found`, `conflict` when nobody would be an admin.
    pub async fn set_role(&self, ctx: &Ctx, who: &str, role: Role) -> Result<Account> {
        access::check(self.store(), ctx, Action::ManagePeople, On::Platform)?;
        let (ctx, id) = (ctx.clone(), find_account(self.store(), who)?.id);
        self.store()
            .commit(move |tx| {
                let mut account = find_account(tx, &id.to_string())?;
                if role != Role::Admin {
                    keeps_an_admin(tx, id)?;
                }
                account.role = role;
                account.updated_at = Some(ctx.now);
                tx.put(&tables::ACCOUNTS, &id, &account)?;
                let what = format!("role {}", role.as_str());
                tx.event(ctx.now, None, ctx.origin(), EventBody::AccountChanged { account: id, what })?;
                Ok(account)
            })
            .await
    }

    /// Takes somebody, or oneself, off this installation, with tokens, places in teams and shares.
    ///
    /// # Errors
    /// `conflict` while the person owns apps or pipelines (they are named) or is the only admin; `forbidden`, `not_found`.
    pub async fn remove_account(&self, ctx: &Ctx, who: &str) -> Result<Account> {
        let account = self.account_of(ctx, who)?;
        access::check(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        let ctx = ctx.clone();
        self.store()
            .commit(move |tx| {
                let account = find_account(tx, &account.id.to_string())?;
                let apps = tx.scan(&tables::APPS, &())?;
                let of_account = apps.iter().filter(|a| a.team.is_none() && a.owner == account.id);
                let mut owned: Vec<_> = of_account.map(|a| a.name.clone()).collect();
                owned.extend(pipelines::names_of(tx, Owner::User(account.id))?);
                if !owned.is_empty() {
                    return Err(Error::conflict(format!(
                        "{} owns {}; hand them over or destroy them first: tidemill apps:transfer E-MAIL -a APP, or \
                         pipelines:transfer E-MAIL -p PIPELINE",
                        account.email,
                        owned.join(", ")
                    )));
                }
                keeps_an_admin(tx, account.id)?;
                for app in &apps {
                    tx.delete(&tables::COLLABORATORS, &(app.id, account.id));
                }
                for offer in tx.scan(&tables::TRANSFERS, &())?.into_iter().filter(|t| t.recipient == account.id) {
                    tx.delete(&tables::TRANSFERS, &offer.id);
                }
                for team in tx.scan(&tables::TEAMS, &())? {
                    tx.delete(&tables::MEMBERS, &(team.id, account.id));
                }
                for key in tx.scan(&tables::TOKEN_BY_ID, &())? {
                    if let Some(token) = tx.get(&tables::TOKENS, &key)?.filter(|token| token.account == account.id) {
                        drop_token(tx, &ctx, token.id, &key)?;
                    }
                }
                for key in tx.scan(&tables::SSH_KEYS, &())?.into_iter().filter(|key| key.account == account.id) {
                    tx.delete(&tables::KEY_BY_FINGERPRINT, &key.sha256);
                    tx.delete(&tables::SSH_KEYS, &key.id);
                }
                sessions::end_all(tx, &ctx, account.id, None)?;
                clients::drop_all(tx, &ctx, account.id)?;
                tx.delete(&tables::SECRETS, &account.id);
                tx.delete(&tables::PREFERENCES, &account.id);
                tx.delete(&tables::ACCOUNT_BY_EMAIL, &account.email);
                tx.delete(&tables::ACCOUNTS, &account.id);
                tx.event(ctx.now, None, ctx.origin(), EventBody::AccountRemoved { account: account.id })?;
                Ok(account)
            })
            .await
    }
}

/// What an invitation is for.
#[derive(Clone, Debug)]
pub struct NewInvitation {
    /// Whom.
    pub email: String,
    /// Place on the installation, or in the team.
    pub role: Role,
    /// The team, if it is for one.
    pub team: Option<TeamId>,
}

impl Service {
    /// Makes an invitation; an earlier one for the same person and team ends. Answers it with the secret of its link,
    /// which is shown once.
    ///
    /// # Errors
    /// `forbidden`, `invalid_params` for the e-mail, `conflict` when the person is there already.
    pub async fn invite(&self, ctx: &Ctx, new: NewInvitation) -> Result<(Invitation, String)> {
        match new.team {
            None => access::check(self.store(), ctx, Action::ManagePeople, On::Platform)?,
            Some(team) => access::check(self.store(), ctx, Action::Manage, On::Team(team))?,
        }
        let (by, secret) = (own(ctx)?.id, random_letters(3, 4)?);
        let invitation = Invitation {
            id: Uuid::new_v4(),
            email: check_email(&new.email)?,
            role: new.role,
            team: new.team,
            by,
            created_at: ctx.now,
            expires_at: ctx.now.plus_ms(INVITATION_MS),
        };
        let (ctx, key, stored) = (ctx.clone(), hash(&secret), invitation.clone());
        self.store()
            .commit(move |tx| -> Result<()> {
                let there = tx.get(&tables::ACCOUNT_BY_EMAIL, &stored.email)?;
                let member = match (there, stored.team) {
                    (Some(_), None) => true,
                    (Some(id), Some(team)) => tx.get(&tables::MEMBERS, &(team, id))?.is_some(),
                    (None, _) => false,
                };
                if member {
                    return Err(Error::conflict(format!("{} is a member already.", stored.email)));
                }
                drop_invitations(tx, |old| {
                    (old.email == stored.email && old.team == stored.team) || old.expires_at <= ctx.now
                })?;
                tx.put(&tables::INVITATIONS, &key, &stored)?;
                tx.put(&tables::INVITATION_BY_ID, &stored.id, &key)?;
                tx.event(ctx.now, None, ctx.origin(), EventBody::InvitationChanged { email: stored.email.clone() })?;
                Ok(())
            })
            .await?;
        Ok((invitation, secret))
    }

    /// Open invitations of the installation (`None`) or of a team.
    ///
    /// # Errors
    /// `forbidden`.
    pub fn invitations(&self, ctx: &Ctx, team: Option<TeamId>) -> Result<Vec<Invitation>> {
        match team {
            None => access::check(self.store(), ctx, Action::ManagePeople, On::Platform)?,
            Some(team) => access::check(self.store(), ctx, Action::Manage, On::Team(team))?,
        }
        let mut open = self.store().scan(&tables::INVITATIONS, &())?;
        open.retain(|i| i.team == team && i.expires_at > ctx.now);
        Ok(open)
    }

    /// Takes an invitation back, by e-mail or id.
    ///
    /// # Errors
    /// `forbidden`, `not_found`.
    pub async fn revoke_invitation(&self, ctx: &Ctx, team: Option<TeamId>, which: &str) -> Result<Invitation> {
        let open = self.invitations(ctx, team)?;
        let found = open.into_iter().find(|i| i.email == which.to_lowercase() || i.id.to_string() == which);
        let found = found.ok_or_else(|| Error::not_found("invitation", "Couldn't find that invitation."))?;
        let (ctx, gone) = (ctx.clone(), found.clone());
        self.store()
            .commit(move |tx| -> Result<()> {
                drop_invitations(tx, |old| old.id == gone.id)?;
                tx.event(ctx.now, None, ctx.origin(), EventBody::InvitationChanged { email: gone.email.clone() })?;
                Ok(())
            })
            .await?;
        Ok(found)
    }

    /// What an invitation's link is for; changes nothing (mail scanners open links).
    ///
    /// # Errors
    /// `not_found` when it was used, taken back, or is too old.
    pub fn invitation(&self, secret: &str) -> Result<Invitation> {
        let found = self.store().get(&tables::INVITATIONS, &hash(secret))?;
        let now = self.parts().clock.now();
        found.filter(|i| i.expires_at > now).ok_or_else(|| Error::not_found("invitation", GONE))
    }

    /// Uses an invitation to this installation: makes the account with a password, and a token for it.
    ///
    /// # Errors
    /// `not_found` for a link that is unknown, used or too old; `conflict` when the account was made meanwhile;
    /// `invalid_params` for name or password.
    pub async fn accept_invitation(&self, secret: &str, name: Option<String>, password: &str) -> Result<(Account, String)> {
        let invitation = self.invitation(secret)?;
        check_password(password, &invitation.email)?;
        check_name(name.as_deref())?;
        let phc = self.hash_password(password.into()).await?;
        let ctx = Ctx::platform(self.parts().clock.now());
        self.store()
            .commit(move |tx| {
                use_invitation(tx, &invitation)?;
                // To a team only: the person comes to the installation as a member.
                let role = if invitation.team.is_some() { Role::Member } else { invitation.role };
                let mut account = add_account(tx, &ctx, &invitation.email, role)?;
                account.name = name.filter(|n| !n.trim().is_empty());
                tx.put(&tables::ACCOUNTS, &account.id, &account)?;
                put_password(tx, &ctx, account.id, phc)?;
                if let Some(team) = invitation.team {
                    join(tx, &ctx, team, account.id, invitation.role)?;
                }
                let (_, token) = add_token(tx, &ctx, NewToken::global(account.id, "Invitation"))?;
                Ok((account, token))
            })
            .await
    }

    /// Uses an invitation to a team with the account that is signed in.
    ///
    /// # Errors
    /// `not_found` as [`Service::accept_invitation`], also when it is for somebody else.
    pub async fn accept_team_invitation(&self, ctx: &Ctx, secret: &str) -> Result<Invitation> {
        access::check(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        let invitation = self.invitation(secret)?;
        let account = own(ctx)?;
        let Some(team) = invitation.team.filter(|_| invitation.email == account.email) else {
            return Err(Error::not_found("invitation", GONE));
        };
        let (ctx, id, used) = (ctx.clone(), account.id, invitation.clone());
        self.store()
            .commit(move |tx| -> Result<()> {
                use_invitation(tx, &used)?;
                join(tx, &ctx, team, id, used.role)
            })
            .await?;
        Ok(invitation)
    }
}

/// Takes back the invitations that `which` is true for; their number.
pub(crate) fn drop_invitations(tx: &mut Tx, which: impl Fn(&Invitation) -> bool) -> Result<usize> {
    let mut dropped = 0;
    for key in tx.scan(&tables::INVITATION_BY_ID, &())? {
        if let Some(old) = tx.get(&tables::INVITATIONS, &key)?.filter(&which) {
            tx.delete(&tables::INVITATIONS, &key);
            tx.delete(&tables::INVITATION_BY_ID, &old.id);
            dropped += 1;
        }
    }
    Ok(dropped)
}

/// Once: of two who click at the same time one finds it gone.
fn use_invitation(tx: &mut Tx, invitation: &Invitation) -> Result<()> {
    match drop_invitations(tx, |old| old.id == invitation.id)? {
        0 => Err(Error::not_found("invitation", GONE)),
        _ => Ok(()),
    }
}

/// Puts somebody into a team, or gives another role there.
pub(crate) fn join(tx: &mut Tx, ctx: &Ctx, team: TeamId, account: AccountId, role: Role) -> Result<()> {
    let old = tx.get(&tables::MEMBERS, &(team, account))?;
    let (id, created_at) = old.map_or((Uuid::new_v4(), ctx.now), |old| (old.id, old.created_at));
    let row = Membership { id, team, account, role, created_at, updated_at: ctx.now };
    tx.put(&tables::MEMBERS, &(team, account), &row)?;
    let body = EventBody::MemberChanged { team, account, role: Some(role.as_str().into()) };
    tx.event(ctx.now, None, ctx.origin(), body)?;
    Ok(())
}
