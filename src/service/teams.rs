//! Teams: several people who own apps together.

use crate::{
    Action, Actor, Ctx, Error, On, Result, Service, access,
    people::{drop_invitations, join, known_account},
    pipelines,
};
use domain::{Account, App, EventBody, Membership, Role, Team, TeamId, names, pipeline::Owner};
use store::{ReadRows, Tx, tables};
use uuid::Uuid;

/// A team by id or name.
pub(crate) fn find_team(rows: &impl ReadRows, id_or_name: &str) -> Result<Team> {
    let missing = || Error::not_found("team", "Couldn't find that team.");
    let id = match id_or_name.parse::<TeamId>() {
        Ok(id) => id,
        Err(_) => rows.get(&tables::TEAM_BY_NAME, &id_or_name.to_string())?.ok_or_else(missing)?,
    };
    rows.get(&tables::TEAMS, &id)?.ok_or_else(missing)
}

/// Words that are parts of the addresses of teams.
const RESERVED: &[&str] = &["apps", "invitations", "permissions"];

fn check_name(name: &str) -> Result<()> {
    names::check_app_name(name).map_err(Error::invalid)?;
    if RESERVED.contains(&name) {
        return Err(Error::invalid(format!("Name {name} is reserved by the platform.")));
    }
    Ok(())
}

fn take_name(tx: &mut Tx, name: &str, id: TeamId) -> Result<()> {
    if tx.get(&tables::TEAM_BY_NAME, &name.to_string())?.is_some() {
        return Err(Error::invalid(format!("Name {name} is already taken")));
    }
    tx.put(&tables::TEAM_BY_NAME, &name.to_string(), &id)?;
    Ok(())
}

fn keeps_an_admin(tx: &Tx, member: &Membership) -> Result<()> {
    let others = tx.scan(&tables::MEMBERS, &member.team)?;
    if member.role != Role::Admin || others.iter().any(|m| m.role == Role::Admin && m.account != member.account) {
        return Ok(());
    }
    Err(Error::conflict("This is the only admin of the team; make somebody else one first, or destroy the team."))
}

impl Service {
    pub(crate) fn team_for(&self, ctx: &Ctx, action: Action, id_or_name: &str) -> Result<Team> {
        let team = find_team(self.store(), id_or_name)?;
        access::check(self.store(), ctx, action, On::Team(team.id))?;
        Ok(team)
    }

    /// Teams that the actor is in (all, for an admin), by name, with the actor's role.
    ///
    /// # Errors
    /// When the store can not be read.
    pub fn teams(&self, ctx: &Ctx) -> Result<Vec<(Team, Role)>> {
        let mut seen = Vec::new();
        for team in self.store().scan(&tables::TEAMS, &())? {
            if access::may(self.store(), ctx, Action::Read, On::Team(team.id))? {
                let role = self.role_in_team(ctx, &team)?;
                seen.push((team, role));
            }
        }
        seen.sort_by(|a, b| a.0.name.cmp(&b.0.name));
        Ok(seen)
    }

    fn role_in_team(&self, ctx: &Ctx, team: &Team) -> Result<Role> {
        match &ctx.actor {
            Actor::Account(account) => Ok(access::role_in(self.store(), account, team.id)?.unwrap_or(Role::Viewer)),
            Actor::Platform | Actor::Root => Ok(Role::Admin),
        }
    }

    /// One team with the actor's role in it.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn team(&self, ctx: &Ctx, id_or_name: &str) -> Result<(Team, Role)> {
        let team = self.team_for(ctx, Action::Read, id_or_name)?;
        let role = self.role_in_team(ctx, &team)?;
        Ok((team, role))
    }

    /// A team that the actor may change.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn team_to_manage(&self, ctx: &Ctx, id_or_name: &str) -> Result<Team> {
        self.team_for(ctx, Action::Manage, id_or_name)
    }

    /// Makes a team; its maker is its first admin.
    ///
    /// # Errors
    /// `invalid_params` for the name, `forbidden` for viewers.
    pub async fn create_team(&self, ctx: &Ctx, name: &str) -> Result<Team> {
        access::check(self.store(), ctx, Action::Create, On::Platform)?;
        check_name(name)?;
        let account = ctx.account().ok_or_else(Error::unauthorized)?;
        let team = Team { id: Uuid::new_v4().into(), name: name.into(), created_at: ctx.now, updated_at: ctx.now };
        let ctx = ctx.clone();
        self.store()
            .commit(move |tx| {
                take_name(tx, &team.name, team.id)?;
                tx.put(&tables::TEAMS, &team.id, &team)?;
                tx.event(ctx.now, None, ctx.origin(), EventBody::TeamChanged { team: team.id })?;
                join(tx, &ctx, team.id, account, Role::Admin)?;
                Ok(team)
            })
            .await
    }

    /// Gives a team another name.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params`.
    pub async fn rename_team(&self, ctx: &Ctx, team: &str, name: &str) -> Result<Team> {
        let team = self.team_for(ctx, Action::Manage, team)?;
        check_name(name)?;
        let (ctx, name) = (ctx.clone(), name.to_string());
        self.store()
            .commit(move |tx| {
                let mut team = find_team(tx, &team.id.to_string())?;
                if name != team.name {
                    take_name(tx, &name, team.id)?;
                    tx.delete(&tables::TEAM_BY_NAME, &team.name);
                    team.name = name;
                    team.updated_at = ctx.now;
                    tx.put(&tables::TEAMS, &team.id, &team)?;
                    tx.event(ctx.now, None, ctx.origin(), EventBody::TeamChanged { team: team.id })?;
                }
                Ok(team)
            })
            .await
    }

    /// Removes a team that owns nothing.
    ///
    /// # Errors
    /// `conflict` while it has apps or pipelines, which are named; `not_found`, `forbidden`.
    pub async fn destroy_team(&self, ctx: &Ctx, team: &str) -> Result<Team> {
        let team = self.team_for(ctx, Action::Manage, team)?;
        let ctx = ctx.clone();
        self.store()
            .commit(move |tx| {
                let apps = tx.scan(&tables::APPS, &())?;
                let mut owned: Vec<_> = apps.iter().filter(|a| a.team == Some(team.id)).map(|a| a.name.clone()).collect();
                owned.extend(pipelines::names_of(tx, Owner::Team(team.id))?);
                if !owned.is_empty() {
                    return Err(Error::conflict(format!(
                        "The team {} owns {}. Hand them over or destroy them first.",
                        team.name,
                        owned.join(", ")
                    )));
                }
                tx.delete_all(&tables::MEMBERS, &team.id)?;
                tx.delete(&tables::TEAM_BY_NAME, &team.name);
                tx.delete(&tables::TEAMS, &team.id);
                tx.event(ctx.now, None, ctx.origin(), EventBody::TeamChanged { team: team.id })?;
                Ok(team)
            })
            .await
    }

    /// Members of a team, by e-mail.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn team_members(&self, ctx: &Ctx, team: &str) -> Result<(Team, Vec<(Membership, Account)>)> {
        let team = self.team_for(ctx, Action::Read, team)?;
        let mut members = Vec::new();
        for member in self.store().scan(&tables::MEMBERS, &team.id)? {
            let account = self.account(member.account)?;
            members.push((member, account));
        }
        members.sort_by(|a, b| a.1.email.cmp(&b.1.email));
        Ok((team, members))
    }

    /// One member by id, e-mail or account.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn team_member(&self, ctx: &Ctx, team: &str, who: &str) -> Result<(Team, Membership, Account)> {
        let (team, members) = self.team_members(ctx, team)?;
        let found = members.into_iter().find(|(member, account)| {
            account.email.eq_ignore_ascii_case(who) || member.id.to_string() == who || account.id.to_string() == who
        });
        let (member, account) = found.ok_or_else(|| Error::not_found("team_member", "Couldn't find that team member."))?;
        Ok((team, member, account))
    }

    /// Puts somebody into a team, or gives another role there.
    ///
    /// # Errors
    /// `invalid_params` when there is no such account, `conflict` when the team would have no admin; `forbidden`.
    pub async fn set_member(&self, ctx: &Ctx, team: &str, who: &str, role: Role) -> Result<(Team, Membership, Account)> {
        let team = self.team_for(ctx, Action::Manage, team)?;
        let account = known_account(self.store(), who)?;
        let (ctx2, id, email) = (ctx.clone(), account.id, account.email.clone());
        self.store()
            .commit(move |tx| -> Result<()> {
                if let Some(old) = tx.get(&tables::MEMBERS, &(team.id, id))?.filter(|_| role != Role::Admin) {
                    keeps_an_admin(tx, &old)?;
                }
                // Whoever is in has no use for an open invitation, which would give the role of then.
                drop_invitations(tx, |old| old.team == Some(team.id) && old.email == email)?;
                join(tx, &ctx2, team.id, id, role)
            })
            .await?;
        let row = self.store().get(&tables::MEMBERS, &(team.id, id))?;
        Ok((team, row.ok_or_else(|| Error::conflict("The member was removed meanwhile."))?, account))
    }

    /// Takes somebody out of a team; members may leave by themselves.
    ///
    /// # Errors
    /// `conflict` for the only admin, `not_found`, `forbidden`.
    pub async fn remove_member(&self, ctx: &Ctx, team: &str, who: &str) -> Result<(Team, Membership, Account)> {
        let (team, member, account) = self.team_member(ctx, team, who)?;
        if ctx.account() != Some(account.id) {
            access::check(self.store(), ctx, Action::Manage, On::Team(team.id))?;
        } else {
            access::check(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        }
        let (ctx, gone) = (ctx.clone(), member.clone());
        self.store()
            .commit(move |tx| -> Result<()> {
                keeps_an_admin(tx, &gone)?;
                tx.delete(&tables::MEMBERS, &(gone.team, gone.account));
                let body = EventBody::MemberChanged { team: gone.team, account: gone.account, role: None };
                tx.event(ctx.now, None, ctx.origin(), body)?;
                Ok(())
            })
            .await?;
        Ok((team, member, account))
    }

    /// Apps of a team that the actor may see.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn team_apps(&self, ctx: &Ctx, team: &str) -> Result<Vec<App>> {
        let team = self.team_for(ctx, Action::Read, team)?;
        let mut apps = self.apps(ctx)?;
        apps.retain(|app| app.team == Some(team.id));
        Ok(apps)
    }

    /// A team by id, for showing; `None` when it is gone.
    ///
    /// # Errors
    /// When the store can not be read.
    pub fn team_by_id(&self, id: TeamId) -> Result<Option<Team>> {
        Ok(self.store().get(&tables::TEAMS, &id)?)
    }
}
