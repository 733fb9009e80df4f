//! Signing in: tokens, of which only the hash is stored, and the one-time link of the first start.

use crate::{Actor, Ctx, Error, Result, Service};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{Account, AccountId, EventBody, Token, UnixMs, app::SetupLink};
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};
use store::{ReadRows, Tx, tables};
use uuid::Uuid;

/// The link is valid this long.
const SETUP_LINK_MS: u64 = 60 * 60 * 1000;

/// The secret of a one-time link; shown once.
pub type SetupSecret = String;

/// 32 random bytes as text.
pub(crate) fn random_key() -> Result<String> {
    let mut bytes = [0u8; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::internal("no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

fn hash(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, secret.as_bytes()))
}

/// Twelve characters without look-alikes in three groups: 60 bits (`ux.md` J1).
fn readable_secret() -> Result<String> {
    const LETTERS: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
    let mut bytes = [0u8; 12];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::internal("no randomness"))?;
    let text: String = bytes.iter().map(|b| char::from(LETTERS[usize::from(b % 32)])).collect();
    Ok(format!("{}-{}-{}", &text[..4], &text[4..8], &text[8..]))
}

/// Writes a token for `account`; returns the token itself.
fn add_token(tx: &mut Tx, ctx: &Ctx, account: AccountId, description: &str) -> Result<String> {
    let secret = format!("HRKU-{}", random_key()?);
    let token = Token {
        id: Uuid::new_v4(),
        account,
        description: description.into(),
        prefix: secret[..13].into(),
        created_at: ctx.now,
        expires_at: None,
    };
    tx.put(&tables::TOKENS, &hash(&secret), &token)?;
    tx.event(ctx.now, None, Some(account), ctx.request_id.clone(), EventBody::TokenCreated)?;
    Ok(secret)
}

fn add_admin(tx: &mut Tx, ctx: &Ctx, email: &str) -> Result<Account> {
    let email = email.trim().to_lowercase();
    let plausible =
        email.len() <= 254 && email.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    if !plausible || email.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Error::invalid(format!("{email:?} is no e-mail address.")));
    }
    if tx.get(&tables::ACCOUNT_BY_EMAIL, &email)?.is_some() {
        return Err(Error::conflict(format!("There is an account {email} already.")));
    }
    let account = Account { id: Uuid::new_v4().into(), email, name: None, admin: true, created_at: ctx.now };
    tx.put(&tables::ACCOUNTS, &account.id, &account)?;
    tx.put(&tables::ACCOUNT_BY_EMAIL, &account.email, &account.id)?;
    tx.event(ctx.now, None, Some(account.id), ctx.request_id.clone(), EventBody::AccountCreated)?;
    Ok(account)
}

impl Service {
    /// The context of a request that carries `token`.
    ///
    /// # Errors
    /// `unauthorized` when the token is not known or has expired.
    pub fn authenticate(&self, token: &str, request_id: Option<String>) -> Result<Ctx> {
        let now = self.parts().clock.now();
        // The look-up is by hash, so its time tells nothing about the token.
        let found = self.store().get(&tables::TOKENS, &hash(token))?.ok_or_else(Error::unauthorized)?;
        if found.expires_at.is_some_and(|end| end <= now) {
            return Err(Error::unauthorized());
        }
        let account = self.store().get(&tables::ACCOUNTS, &found.account)?.ok_or_else(Error::unauthorized)?;
        Ok(Ctx { actor: Actor::Account(account), request_id, now })
    }

    /// True when nobody has an account yet.
    ///
    /// # Errors
    /// When the store can not be read.
    pub fn needs_setup(&self) -> Result<bool> {
        Ok(self.store().scan(&tables::ACCOUNTS, &())?.is_empty())
    }

    /// Makes a one-time link, valid for 60 minutes.
    ///
    /// # Errors
    /// When it can not be stored.
    pub async fn create_setup_link(&self) -> Result<SetupSecret> {
        let now = self.parts().clock.now();
        let secret = readable_secret()?;
        let key = hash(&secret);
        self.store()
            .commit(move |tx| -> Result<()> {
                tx.put(&tables::SETUP_LINKS, &key, &SetupLink { expires_at: now.plus_ms(SETUP_LINK_MS) })?;
                tx.event(now, None, None, None, EventBody::SetupLinkCreated)?;
                Ok(())
            })
            .await?;
        Ok(secret)
    }

    /// True when the link would be taken; changes nothing (mail scanners open links).
    ///
    /// # Errors
    /// When the store can not be read.
    pub fn setup_link_is_valid(&self, secret: &str) -> Result<bool> {
        let link = self.store().get(&tables::SETUP_LINKS, &hash(secret))?;
        Ok(link.is_some_and(|l| l.expires_at > self.parts().clock.now()))
    }

    /// Uses the link: makes an admin and a token for it.
    ///
    /// # Errors
    /// `unauthorized` for a link that is unknown, used or too old; `invalid_params` for the e-mail.
    pub async fn use_setup_link(&self, secret: &str, email: &str) -> Result<(Account, String)> {
        let (key, email, ctx) = (hash(secret), email.to_string(), Ctx::platform(self.parts().clock.now()));
        self.store()
            .commit(move |tx| {
                let link = tx.get(&tables::SETUP_LINKS, &key)?.filter(|l| l.expires_at > ctx.now);
                link.ok_or_else(Error::unauthorized)?;
                tx.delete(&tables::SETUP_LINKS, &key);
                let account = add_admin(tx, &ctx, &email)?;
                let token = add_token(tx, &ctx, account.id, "Setup")?;
                Ok((account, token))
            })
            .await
    }

    /// A token of an admin for automation; makes the admin `admin@DOMAIN` when there is no account yet.
    ///
    /// # Errors
    /// When it can not be stored.
    pub async fn create_admin_token(&self) -> Result<String> {
        let (email, ctx) = (format!("admin@{}", self.addresses().domain), Ctx::platform(self.parts().clock.now()));
        self.store()
            .commit(move |tx| {
                let admin = tx.scan(&tables::ACCOUNTS, &())?.into_iter().find(|a| a.admin);
                let admin = match admin {
                    Some(admin) => admin,
                    None => add_admin(tx, &ctx, &email)?,
                };
                add_token(tx, &ctx, admin.id, "admin token file")
            })
            .await
    }

    /// An account by id, for showing.
    ///
    /// # Errors
    /// When the store can not be read.
    pub fn account(&self, id: AccountId) -> Result<Account> {
        let gone = || Account { id, email: "deleted@user".into(), name: None, admin: false, created_at: UnixMs(0) };
        Ok(self.store().get(&tables::ACCOUNTS, &id)?.unwrap_or_else(gone))
    }
}
