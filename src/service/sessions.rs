//! Browsers that are signed in. The cookie is a random secret of which only the hash is kept.

use crate::{
    Action, Ctx, Error, On, Result, Service, access,
    auth::{hash, random_key},
    passwords::{Attempt, at_browser},
};
use domain::{AccountId, EventBody, UnixMs, sign_in::Session};
use std::net::IpAddr;
use store::{ReadRows, Tx, tables};
use uuid::Uuid;

/// The last use is written at most this often.
const TOUCH_MS: u64 = 60 * 60 * 1000;
/// Signed-in browsers of one account; past it the one that was used longest ago is signed out.
const SESSIONS_MAX: usize = 50;
/// Characters of a browser's name for itself that are kept.
const DESCRIPTION_MAX: usize = 200;

/// A browser that wants to be signed in.
#[derive(Clone, Debug, Default)]
pub struct NewSession {
    /// What it calls itself.
    pub description: String,
}

/// A secret for the forms of a browser that is not signed in.
///
/// # Errors
/// When there is no randomness.
pub fn new_form_key() -> Result<String> {
    random_key()
}

/// What a form carries to show that a page of ours made it: the cookie's secret can not be told from it.
pub fn form_token(key: &str) -> String {
    hash(&format!("form:{key}"))
}

fn all(rows: &impl ReadRows, account: AccountId) -> Result<Vec<Session>> {
    Ok(rows.scan(&tables::SESSIONS, &())?.into_iter().map(|row| row.1).filter(|s| s.account == account).collect())
}

fn missing() -> Error {
    Error::not_found("session", "Couldn't find that session.")
}

fn end(tx: &mut Tx, ctx: &Ctx, id: Uuid) -> Result<()> {
    let found = tx.scan(&tables::SESSIONS, &())?.into_iter().find(|(_, session)| session.id == id);
    let (key, _) = found.ok_or_else(missing)?;
    tx.delete(&tables::SESSIONS, &key);
    tx.event(ctx.now, None, ctx.origin(), EventBody::SignedOut)?;
    Ok(())
}

/// Signs out all browsers of an account, but one.
pub(crate) fn end_all(tx: &mut Tx, ctx: &Ctx, account: AccountId, kept: Option<Uuid>) -> Result<()> {
    for session in all(tx, account)?.into_iter().filter(|session| kept != Some(session.id)) {
        end(tx, ctx, session.id)?;
    }
    Ok(())
}

/// Signs a browser in; returns its cookie. Removes sessions that are over.
pub(crate) fn open(tx: &mut Tx, ctx: &Ctx, account: AccountId, new: &NewSession) -> Result<String> {
    for (key, session) in tx.scan(&tables::SESSIONS, &())? {
        if session.ends_at() <= ctx.now {
            tx.delete(&tables::SESSIONS, &key);
        }
    }
    let mut others = all(tx, account)?;
    others.sort_by_key(|session| std::cmp::Reverse(session.used_at));
    for old in others.iter().skip(SESSIONS_MAX - 1) {
        end(tx, ctx, old.id)?;
    }
    let cookie = random_key()?;
    let session = Session {
        id: Uuid::new_v4(),
        account,
        description: new.description.chars().filter(|c| !c.is_control()).take(DESCRIPTION_MAX).collect(),
        address: ctx.address,
        created_at: ctx.now,
        used_at: ctx.now,
    };
    tx.put(&tables::SESSIONS, &hash(&cookie), &(hash(&cookie), session))?;
    Ok(cookie)
}

impl Service {
    /// Signs a browser in with a password; returns its cookie.
    ///
    /// # Errors
    /// `unauthorized`, `two_factor`, `rate_limit`.
    pub async fn sign_in_browser(&self, attempt: Attempt, new: NewSession) -> Result<String> {
        self.sign_in(attempt, move |tx, ctx, account| open(tx, ctx, account.id, &new)).await
    }

    /// Who a browser's cookie belongs to; `None` when it is over.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn browser(&self, cookie: &str, address: Option<IpAddr>) -> Result<Option<Ctx>> {
        let (key, now) = (hash(cookie), self.parts().clock.now());
        let Some((_, session)) = self.store().get(&tables::SESSIONS, &key)? else { return Ok(None) };
        if session.ends_at() <= now {
            return Ok(None);
        }
        let Some(account) = self.store().get(&tables::ACCOUNTS, &session.account)? else { return Ok(None) };
        if now.since_ms(session.used_at) >= TOUCH_MS {
            self.touch(key, now).await?;
        }
        Ok(Some(at_browser(account, session.id, address, now)))
    }

    async fn touch(&self, key: String, now: UnixMs) -> Result<()> {
        self.store()
            .commit(move |tx| {
                if let Some((_, session)) = tx.get(&tables::SESSIONS, &key)? {
                    tx.put(&tables::SESSIONS, &key, &(key.clone(), Session { used_at: now, ..session }))?;
                }
                Ok(())
            })
            .await
    }

    /// The actor's browsers.
    ///
    /// # Errors
    /// `forbidden` for a token of a narrow scope.
    pub fn sessions(&self, ctx: &Ctx) -> Result<Vec<Session>> {
        access::check(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        let Some(account) = ctx.account() else { return Ok(Vec::new()) };
        Ok(all(self.store(), account)?.into_iter().filter(|session| session.ends_at() > ctx.now).collect())
    }

    /// Signs out a browser of the actor's: one by id, or `~` for the one in use.
    ///
    /// # Errors
    /// `not_found` when there is none; a token is no session.
    pub async fn end_session(&self, ctx: &Ctx, id: &str) -> Result<Session> {
        let id = if id == "~" { ctx.session } else { domain::ids::parse_uuid(id).ok() };
        let (id, account) = id.zip(ctx.account()).ok_or_else(missing)?;
        access::check(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        let ctx = ctx.clone();
        self.store()
            .commit(move |tx| {
                let session = all(tx, account)?.into_iter().find(|session| session.id == id).ok_or_else(missing)?;
                end(tx, &ctx, id)?;
                Ok(session)
            })
            .await
    }
}
