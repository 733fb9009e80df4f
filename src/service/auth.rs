//! Signing in: tokens, of which only the hash is stored, and the one-time link of the first start.

use crate::{
    Actor, Ctx, Error, Grant, Result, Service,
    passwords::{check_password, put_password},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use domain::{Account, AccountId, AppId, EventBody, Origin, Role, Scope, Token, UnixMs, account::SetupLink};
use ring::{
    digest::{SHA256, digest},
    rand::{SecureRandom, SystemRandom},
};
use std::net::IpAddr;
use store::{ReadRows, Tx, tables};
use uuid::Uuid;

/// The link is valid this long.
const SETUP_LINK_MS: u64 = 60 * 60 * 1000;
/// Description of the token that a file hands to automation.
const TOKEN_FILE: &str = "admin token file";

/// Under this name wrong links are counted; no e-mail address is like it.
const SETUP: &str = "setup link";

/// The secret of a one-time link; shown once.
pub type SetupSecret = String;

/// 32 random bytes as text.
pub(crate) fn random_key() -> Result<String> {
    let mut bytes = [0u8; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::internal("no randomness"))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// What is stored instead of a secret.
pub(crate) fn hash(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, secret.as_bytes()))
}

/// Groups of characters without look-alikes, five bits each.
pub(crate) fn random_letters(groups: usize, length: usize) -> Result<String> {
    const LETTERS: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
    let mut bytes = vec![0u8; groups * length];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::internal("no randomness"))?;
    let group = |part: &[u8]| part.iter().map(|b| char::from(LETTERS[usize::from(b % 32)])).collect::<String>();
    Ok(bytes.chunks(length).map(group).collect::<Vec<_>>().join("-"))
}

/// What a new token is to be.
#[derive(Clone, Debug)]
pub(crate) struct NewToken {
    /// Whose.
    pub account: AccountId,
    /// What the owner calls it.
    pub description: String,
    /// What it is for.
    pub scopes: Vec<Scope>,
    /// The only app that it is good for.
    pub app: Option<AppId>,
    /// The client that gets it by the web flow, and the hash of its refresh token.
    pub client: Option<(Uuid, String)>,
    /// `None` for no end.
    pub expires_at: Option<UnixMs>,
}

impl NewToken {
    /// One for everything that the account may do, without an end.
    pub fn global(account: AccountId, description: &str) -> Self {
        Self {
            account,
            description: description.into(),
            scopes: vec![Scope::Global],
            app: None,
            client: None,
            expires_at: None,
        }
    }
}

/// Writes a token; returns its row and the token itself, which is shown once.
pub(crate) fn add_token(tx: &mut Tx, ctx: &Ctx, new: NewToken) -> Result<(Token, String)> {
    let secret = format!("HRKU-{}", random_key()?);
    let (client, refresh) = new.client.map(|(client, hash)| (client, (Uuid::new_v4(), hash))).unzip();
    let token = Token {
        id: Uuid::new_v4(),
        account: new.account,
        description: new.description,
        prefix: secret[..13].into(),
        scopes: new.scopes,
        app: new.app,
        client,
        refresh,
        created_at: ctx.now,
        updated_at: None,
        expires_at: new.expires_at,
    };
    let key = hash(&secret);
    tx.put(&tables::TOKEN_BY_ID, &token.id, &key)?;
    tx.put(&tables::TOKENS, &key, &token)?;
    tx.event(ctx.now, None, Origin { actor: Some(new.account), ..ctx.origin() }, EventBody::TokenCreated)?;
    Ok((token, secret))
}

/// Takes a token back.
pub(crate) fn drop_token(tx: &mut Tx, ctx: &Ctx, id: Uuid, key: &String) -> Result<()> {
    tx.delete(&tables::TOKENS, key);
    tx.delete(&tables::TOKEN_BY_ID, &id);
    tx.event(ctx.now, None, ctx.origin(), EventBody::TokenRevoked)?;
    Ok(())
}

/// The normal form of an e-mail address: trimmed, lower case.
///
/// # Errors
/// `invalid_params` when it can be none.
pub(crate) fn check_email(email: &str) -> Result<String> {
    let email = email.trim().to_lowercase();
    let plausible =
        email.len() <= 254 && email.split_once('@').is_some_and(|(name, host)| !name.is_empty() && !host.is_empty());
    if !plausible || email.chars().any(|c| c.is_whitespace() || c.is_control() || c == '/') {
        return Err(Error::invalid(format!("{email:?} is no e-mail address.")));
    }
    Ok(email)
}

/// Writes a new account.
pub(crate) fn add_account(tx: &mut Tx, ctx: &Ctx, email: &str, role: Role) -> Result<Account> {
    let email = check_email(email)?;
    if tx.get(&tables::ACCOUNT_BY_EMAIL, &email)?.is_some() {
        return Err(Error::conflict(format!("There is an account {email} already.")));
    }
    let account = Account {
        id: Uuid::new_v4().into(),
        email,
        name: None,
        role,
        two_factor: false,
        created_at: ctx.now,
        updated_at: None,
        last_login: None,
    };
    tx.put(&tables::ACCOUNTS, &account.id, &account)?;
    tx.put(&tables::ACCOUNT_BY_EMAIL, &account.email, &account.id)?;
    tx.event(ctx.now, None, Origin { actor: Some(account.id), ..ctx.origin() }, EventBody::AccountCreated)?;
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
        let grant = Grant { scopes: found.scopes, app: found.app, token: Some(found.id) };
        Ok(Ctx { grant, request_id, ..Ctx::of(account, now) })
    }

    /// True when nobody has an account yet.
    ///
    /// # Errors
    /// When the store can not be read.
    pub fn needs_setup(&self) -> Result<bool> {
        Ok(self.store().scan(&tables::ACCOUNTS, &())?.is_empty())
    }

    /// Makes a one-time link, valid for 60 minutes. Only for the platform and root on the machine.
    ///
    /// # Errors
    /// `forbidden`; when it can not be stored.
    pub async fn create_setup_link(&self, ctx: &Ctx) -> Result<SetupSecret> {
        if ctx.account().is_some() {
            return Err(Error::forbidden("Links for a first admin are made on the machine: sudo tidemill setup-link"));
        }
        let (now, origin) = (ctx.now, ctx.origin());
        let secret = random_letters(3, 4)?;
        let key = hash(&secret);
        self.store()
            .commit(move |tx| -> Result<()> {
                tx.put(&tables::SETUP_LINKS, &key, &SetupLink { expires_at: now.plus_ms(SETUP_LINK_MS) })?;
                tx.event(now, None, origin, EventBody::SetupLinkCreated)?;
                Ok(())
            })
            .await?;
        Ok(secret)
    }

    /// What the holder of a link may do it with; changes nothing (mail scanners open links). Guessing gets slower and slower,
    /// but whoever has the right link is never in the way of a stranger.
    ///
    /// # Errors
    /// `unauthorized` for a link that is unknown, used or too old; `rate_limit` for guessing.
    pub fn open_setup_link(&self, secret: &str, address: Option<IpAddr>) -> Result<Ctx> {
        let now = self.now();
        let link = self.store().get(&tables::SETUP_LINKS, &hash(secret))?;
        if link.is_some_and(|l| l.expires_at > now) {
            return Ok(Ctx { address, ..Ctx::platform(now) });
        }
        self.begin_try(SETUP, address, now)?;
        Err(Error::unauthorized())
    }

    /// Uses the link: makes an admin with a password, and a token for the command line.
    ///
    /// # Errors
    /// As [`Service::open_setup_link`]; `invalid_params` for the e-mail or password.
    pub async fn use_setup_link(
        &self,
        (secret, address): (&str, Option<IpAddr>),
        email: &str,
        password: &str,
    ) -> Result<(Account, String)> {
        let ctx = self.open_setup_link(secret, address)?;
        self.add_admin(ctx, Some(hash(secret)), email, password).await
    }

    /// The first admin, made by root on the machine.
    ///
    /// # Errors
    /// `forbidden` for others; `conflict` when there is somebody already; `invalid_params` for the e-mail or password.
    pub async fn create_first_admin(&self, ctx: &Ctx, email: &str, password: &str) -> Result<(Account, String)> {
        if ctx.actor != Actor::Root {
            return Err(Error::forbidden("The first admin is made on the machine: sudo tidemill init"));
        }
        if !self.needs_setup()? {
            return Err(Error::conflict("There is an account already. For one more admin: sudo tidemill setup-link"));
        }
        self.add_admin(ctx.clone(), None, email, password).await
    }

    async fn add_admin(&self, ctx: Ctx, link: Option<String>, email: &str, password: &str) -> Result<(Account, String)> {
        let email = check_email(email)?;
        check_password(password, &email)?;
        let phc = self.hash_password(password.into()).await?;
        self.store()
            .commit(move |tx| {
                if let Some(key) = &link {
                    let link = tx.get(&tables::SETUP_LINKS, key)?.filter(|l| l.expires_at > ctx.now);
                    link.ok_or_else(Error::unauthorized)?;
                    tx.delete(&tables::SETUP_LINKS, key);
                }
                let account = add_account(tx, &ctx, &email, Role::Admin)?;
                put_password(tx, &ctx, account.id, phc)?;
                let (_, token) = add_token(tx, &ctx, NewToken::global(account.id, "Setup"))?;
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
                let admin = tx.scan(&tables::ACCOUNTS, &())?.into_iter().find(Account::is_admin);
                let admin = match admin {
                    Some(admin) => admin,
                    None => add_account(tx, &ctx, &email, Role::Admin)?,
                };
                // The file holds one token: those of former starts end with it.
                for key in tx.scan(&tables::TOKEN_BY_ID, &())? {
                    if let Some(old) = tx.get(&tables::TOKENS, &key)?.filter(|t| t.description == TOKEN_FILE) {
                        drop_token(tx, &ctx, old.id, &key)?;
                    }
                }
                Ok(add_token(tx, &ctx, NewToken::global(admin.id, TOKEN_FILE))?.1)
            })
            .await
    }

    /// An account by id, for showing.
    ///
    /// # Errors
    /// When the store can not be read.
    pub fn account(&self, id: AccountId) -> Result<Account> {
        let gone = || Account {
            id,
            email: "deleted@user".into(),
            name: None,
            role: Role::Member,
            two_factor: false,
            created_at: UnixMs(0),
            updated_at: None,
            last_login: None,
        };
        Ok(self.store().get(&tables::ACCOUNTS, &id)?.unwrap_or_else(gone))
    }
}
