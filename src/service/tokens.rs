//! Authorizations: tokens that people make, see and take back (`platform-api.md` section 4.7). A token itself is shown
//! once; afterwards there is only its hash and its first characters.

use crate::{
    Action, Ctx, Error, On, Result, Service, access,
    auth::{NewToken, add_token, drop_token, hash, random_key},
    find_app,
    passwords::Attempt,
};
use domain::{Account, AccountId, AppId, EventBody, Scope, Token, UnixMs};
use store::{ReadRows, Tx, tables};
use uuid::Uuid;

/// Tokens that one account may have.
const TOKENS_MAX: usize = 1000;
/// Text that people may write on a token.
const DESCRIPTION_MAX: usize = 200;
/// What the token of nobody's own making is called (`platform-api.md` section 4.7).
const DESCRIPTION: &str = "Long-lived user authorization";
/// Access tokens of clients end after this time; they have a refresh token.
pub(crate) const CLIENT_TOKEN_MS: u64 = 8 * 60 * 60 * 1000;

/// What a new authorization is to be.
#[derive(Clone, Debug, Default)]
pub struct NewAuthorization {
    /// `None` for a standard text.
    pub description: Option<String>,
    /// Words of section 4.1; `None` for `global`, or `write` when it is bound to an app.
    pub scopes: Option<Vec<String>>,
    /// Seconds until it ends; `None` for never.
    pub expires_in_s: Option<u64>,
    /// Name or id of the only app that it is to be good for.
    pub app: Option<String>,
}

/// A token that was made anew.
pub struct Rotated {
    /// The authorization.
    pub token: Token,
    /// Its new access token.
    pub secret: String,
    /// Its new refresh token, if it has one.
    pub refresh: Option<String>,
}

fn missing() -> Error {
    Error::not_found("authorization", "Couldn't find that authorization.")
}

/// Reads scopes.
///
/// # Errors
/// `invalid_params` for a word that is none.
pub(crate) fn parse_scopes<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Vec<Scope>> {
    let mut scopes = Vec::new();
    for word in words {
        let scope = Scope::parse(word).ok_or_else(|| {
            let known = Scope::ALL.map(Scope::as_str).join(", ");
            Error::invalid(format!("Scope {word:?} is not known; there is {known}."))
        })?;
        if !scopes.contains(&scope) {
            scopes.push(scope);
        }
    }
    Ok(scopes)
}

fn described(text: Option<String>) -> Result<String> {
    let text = text.map(|text| text.trim().to_string()).filter(|text| !text.is_empty());
    let text = text.unwrap_or_else(|| DESCRIPTION.into());
    if text.chars().count() > DESCRIPTION_MAX || text.chars().any(char::is_control) {
        return Err(Error::invalid(format!("A description is at most {DESCRIPTION_MAX} characters on one line.")));
    }
    Ok(text)
}

fn is_over(token: &Token, now: UnixMs) -> bool {
    token.refresh.is_none() && token.expires_at.is_some_and(|end| end <= now)
}

/// All tokens of an account, with their keys. Those that ended are not among them.
pub(crate) fn tokens_of(rows: &impl ReadRows, account: AccountId, now: UnixMs) -> Result<Vec<(String, Token)>> {
    let mut found = Vec::new();
    for key in rows.scan(&tables::TOKEN_BY_ID, &())? {
        if let Some(token) = rows.get(&tables::TOKENS, &key)?.filter(|t| t.account == account && !is_over(t, now)) {
            found.push((key, token));
        }
    }
    Ok(found)
}

/// Removes tokens that ended, since nobody asks for them any more, and refuses too many.
fn make_room(tx: &mut Tx, account: AccountId, now: UnixMs) -> Result<()> {
    for key in tx.scan(&tables::TOKEN_BY_ID, &())? {
        if let Some(old) = tx.get(&tables::TOKENS, &key)?.filter(|token| is_over(token, now)) {
            tx.delete(&tables::TOKENS, &key);
            tx.delete(&tables::TOKEN_BY_ID, &old.id);
        }
    }
    if tokens_of(tx, account, now)?.len() >= TOKENS_MAX {
        return Err(Error::conflict(format!("An account has at most {TOKENS_MAX} tokens; take some back first.")));
    }
    Ok(())
}

/// Writes a token where there is room for it.
pub(crate) fn issue(tx: &mut Tx, ctx: &Ctx, new: NewToken) -> Result<(Token, String)> {
    make_room(tx, new.account, ctx.now)?;
    add_token(tx, ctx, new)
}

/// Takes back all tokens that are bound to an app.
pub(crate) fn drop_bound(tx: &mut Tx, ctx: &Ctx, app: AppId) -> Result<()> {
    for key in tx.scan(&tables::TOKEN_BY_ID, &())? {
        if let Some(token) = tx.get(&tables::TOKENS, &key)?.filter(|token| token.app == Some(app)) {
            drop_token(tx, ctx, token.id, &key)?;
        }
    }
    Ok(())
}

/// Gives an authorization another access token; the former one ends.
pub(crate) fn renew(tx: &mut Tx, ctx: &Ctx, key: &String, mut token: Token) -> Result<(Token, String)> {
    let secret = format!("HRKU-{}", random_key()?);
    tx.delete(&tables::TOKENS, key);
    token.prefix = secret[..13].into();
    token.updated_at = Some(ctx.now);
    if token.refresh.is_some() {
        token.expires_at = Some(ctx.now.plus_ms(CLIENT_TOKEN_MS));
    }
    let key = hash(&secret);
    tx.put(&tables::TOKEN_BY_ID, &token.id, &key)?;
    tx.put(&tables::TOKENS, &key, &token)?;
    tx.event(ctx.now, None, ctx.origin(), EventBody::TokenChanged)?;
    Ok((token, secret))
}

/// Key and row of an authorization of the actor's.
fn find(rows: &impl ReadRows, ctx: &Ctx, id: &str) -> Result<(String, Token)> {
    let id = domain::ids::parse_uuid(id).map_err(|_| missing())?;
    let key = rows.get(&tables::TOKEN_BY_ID, &id)?.ok_or_else(missing)?;
    let token = rows.get(&tables::TOKENS, &key)?.filter(|token| Some(token.account) == ctx.account());
    Ok((key, token.filter(|token| !is_over(token, ctx.now)).ok_or_else(missing)?))
}

/// Every token may see and end itself, whatever it is for.
fn check(rows: &impl ReadRows, ctx: &Ctx, id: Uuid) -> Result<()> {
    if ctx.grant.token == Some(id) {
        return Ok(());
    }
    access::check(rows, ctx, Action::ManageAccount, On::Platform)
}

impl Service {
    fn drafted(&self, ctx: &Ctx, account: &Account, new: NewAuthorization) -> Result<NewToken> {
        let app = match &new.app {
            Some(name) => {
                let app = find_app(self.store(), name)?;
                access::check(self.store(), ctx, Action::Manage, On::App(&app))?;
                Some(app.id)
            }
            None => None,
        };
        let standard = if app.is_some() { Scope::Write } else { Scope::Global };
        let scopes = parse_scopes(new.scopes.iter().flatten().map(String::as_str))?;
        if new.expires_in_s == Some(0) {
            return Err(Error::invalid("expires_in is a number of seconds above 0."));
        }
        Ok(NewToken {
            account: account.id,
            description: described(new.description)?,
            scopes: if scopes.is_empty() { vec![standard] } else { scopes },
            app,
            client: None,
            expires_at: new.expires_in_s.map(|seconds| ctx.now.plus_ms(seconds.saturating_mul(1000))),
        })
    }

    /// Makes a token for the actor; returns it, too.
    ///
    /// # Errors
    /// `forbidden` for a token of a narrow scope, `invalid_params`, `not_found` for the app.
    pub async fn create_authorization(&self, ctx: &Ctx, new: NewAuthorization) -> Result<(Token, String)> {
        access::check(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        let crate::Actor::Account(account) = &ctx.actor else { return Err(Error::unauthorized()) };
        let (draft, ctx) = (self.drafted(ctx, account, new)?, ctx.clone());
        self.store().commit(move |tx| issue(tx, &ctx, draft)).await
    }

    /// Makes a token for who signs in with a password.
    ///
    /// # Errors
    /// Those of signing in, and of [`Service::create_authorization`].
    pub async fn sign_in_for_token(&self, attempt: Attempt, new: NewAuthorization) -> Result<(Token, String)> {
        let service = self.clone();
        self.sign_in(attempt, move |tx, ctx, account| {
            let draft = service.drafted(ctx, account, new)?;
            issue(tx, ctx, draft)
        })
        .await
    }

    /// The actor's authorizations; a token of a narrow scope sees only itself.
    ///
    /// # Errors
    /// When they can not be read.
    pub fn authorizations(&self, ctx: &Ctx) -> Result<Vec<Token>> {
        let Some(account) = ctx.account() else { return Ok(Vec::new()) };
        let all = access::may(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        let own = tokens_of(self.store(), account, ctx.now)?.into_iter().map(|(_, token)| token);
        Ok(own.filter(|token| all || ctx.grant.token == Some(token.id)).collect())
    }

    /// One authorization of the actor's.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn authorization(&self, ctx: &Ctx, id: &str) -> Result<Token> {
        let (_, token) = find(self.store(), ctx, id)?;
        check(self.store(), ctx, token.id)?;
        Ok(token)
    }

    /// Writes another description on it.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params`.
    pub async fn describe_authorization(&self, ctx: &Ctx, id: &str, text: Option<String>) -> Result<Token> {
        access::check(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        let (ctx, id) = (ctx.clone(), id.to_string());
        self.store()
            .commit(move |tx| {
                let (key, mut token) = find(tx, &ctx, &id)?;
                if text.is_some() {
                    token.description = described(text)?;
                    token.updated_at = Some(ctx.now);
                    tx.put(&tables::TOKENS, &key, &token)?;
                    tx.event(ctx.now, None, ctx.origin(), EventBody::TokenChanged)?;
                }
                Ok(token)
            })
            .await
    }

    /// Takes it back. A token may always do that to itself.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn revoke_authorization(&self, ctx: &Ctx, id: &str) -> Result<Token> {
        let (ctx, id) = (ctx.clone(), id.to_string());
        self.store()
            .commit(move |tx| {
                let (key, token) = find(tx, &ctx, &id)?;
                check(tx, &ctx, token.id)?;
                drop_token(tx, &ctx, token.id, &key)?;
                Ok(token)
            })
            .await
    }

    /// Makes its tokens anew; the former ones end.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn rotate_authorization(&self, ctx: &Ctx, id: &str) -> Result<Rotated> {
        access::check(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        let (ctx, id) = (ctx.clone(), id.to_string());
        self.store()
            .commit(move |tx| {
                let (key, mut token) = find(tx, &ctx, &id)?;
                let refresh = token.refresh.is_some().then(random_key).transpose()?;
                token.refresh = token.refresh.zip(refresh.as_deref()).map(|((id, _), secret)| (id, hash(secret)));
                let (token, secret) = renew(tx, &ctx, &key, token)?;
                Ok(Rotated { token, secret, refresh })
            })
            .await
    }
}
