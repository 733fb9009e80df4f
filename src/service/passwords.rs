//! Passwords: argon2id in PHC form, signing in with one, setting one (`platform-api.md` section 4.3).

use crate::{
    Action, Actor, Ctx, Error, On, Result, Service, access,
    auth::{check_email, hash, random_key},
    sessions, two_factor,
};
use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use domain::{Account, AccountId, EventBody, UnixMs, sign_in::Secrets};
use std::net::IpAddr;
use store::{ReadRows, Tx, tables};
use tokio::sync::{OnceCell, Semaphore};

/// Shorter ones are guessed.
const LENGTH_MIN: usize = 8;
/// Longer ones only cost time.
const BYTES_MAX: usize = 256;
/// Hashing costs 19 MiB and a good part of a core for about 50 ms.
const HASHES_AT_ONCE: usize = 2;
/// Three passes over 19 MiB.
const PASSES: u32 = 3;

/// Bounds the cost of hashing.
pub(crate) struct Hashing {
    places: Semaphore,
    /// Stands in for accounts that do not exist, so that they take as long.
    nobody: OnceCell<String>,
}

impl Default for Hashing {
    fn default() -> Self {
        Self { places: Semaphore::new(HASHES_AT_ONCE), nobody: OnceCell::new() }
    }
}

fn argon2() -> Result<Argon2<'static>> {
    let params = Params::new(Params::DEFAULT_M_COST, PASSES, Params::DEFAULT_P_COST, None);
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params.map_err(|e| Error::internal(e.to_string()))?))
}

/// What somebody types to sign in.
#[derive(Clone)]
pub struct Attempt {
    /// E-mail of the account.
    pub email: String,
    /// Its password.
    pub password: String,
    /// Code of the second factor, or a recovery code.
    pub code: Option<String>,
    /// Where the request comes from.
    pub address: Option<IpAddr>,
    /// For the audit list.
    pub request_id: Option<String>,
}

/// Refuses what is too easy to guess.
///
/// # Errors
/// `invalid_params`, with the rule.
pub(crate) fn check_password(password: &str, email: &str) -> Result<()> {
    if password.chars().count() < LENGTH_MIN {
        return Err(Error::invalid(format!("The password is too short; it needs at least {LENGTH_MIN} characters.")));
    }
    if password.len() > BYTES_MAX {
        return Err(Error::invalid(format!("The password is too long; at most {BYTES_MAX} bytes are taken.")));
    }
    if password.eq_ignore_ascii_case(email) {
        return Err(Error::invalid("The password must not be the e-mail address."));
    }
    Ok(())
}

pub(crate) fn secrets_of(rows: &impl ReadRows, account: AccountId) -> Result<Secrets> {
    Ok(rows.get(&tables::SECRETS, &account)?.unwrap_or_default())
}

/// Writes a password that was hashed before.
pub(crate) fn put_password(tx: &mut Tx, ctx: &Ctx, account: AccountId, phc: String) -> Result<()> {
    let secrets = Secrets { password: Some(phc), ..secrets_of(tx, account)? };
    tx.put(&tables::SECRETS, &account, &secrets)?;
    tx.event(ctx.now, None, ctx.origin(), EventBody::AccountChanged { account, what: "password".into() })?;
    Ok(())
}

impl Service {
    /// The PHC string of a password; on a thread of its own.
    pub(crate) async fn hash_password(&self, password: String) -> Result<String> {
        let _place = self.inner.hashing.places.acquire().await.map_err(|e| Error::internal(e.to_string()))?;
        let work = move || -> Result<String> {
            let phc = argon2()?.hash_password(password.as_bytes()).map_err(|e| Error::internal(e.to_string()))?;
            Ok(phc.to_string())
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(e.to_string()))?
    }

    async fn password_fits(&self, phc: String, password: String) -> Result<bool> {
        let _place = self.inner.hashing.places.acquire().await.map_err(|e| Error::internal(e.to_string()))?;
        let work = move || -> Result<bool> {
            let hash = PasswordHash::new(&phc).map_err(|e| Error::internal(e.to_string()))?;
            Ok(argon2()?.verify_password(password.as_bytes(), &hash).is_ok())
        };
        tokio::task::spawn_blocking(work).await.map_err(|e| Error::internal(e.to_string()))?
    }

    pub(crate) fn begin_try(&self, name: &str, address: Option<IpAddr>, now: UnixMs) -> Result<()> {
        self.inner.throttle.begin(name, address, now).map_err(|seconds| {
            let text = format!("Too many wrong tries; the next one is possible in {seconds} s.");
            Error::throttled(text, u32::try_from(seconds).unwrap_or(u32::MAX))
        })
    }

    /// Account and PHC string for an e-mail and password. What is wrong takes as long whether the account exists or not.
    async fn check_credentials(&self, attempt: &Attempt) -> Result<Option<(Account, String)>> {
        let email = check_email(&attempt.email).unwrap_or_default();
        let id = self.store().get(&tables::ACCOUNT_BY_EMAIL, &email)?;
        let account = id.map(|id| self.store().get(&tables::ACCOUNTS, &id)).transpose()?.flatten();
        let known =
            account.map(|account| Ok::<_, Error>((secrets_of(self.store(), account.id)?.password, account))).transpose()?;
        let nobody = || async { self.hash_password(random_key()?).await };
        let (phc, account) = match known {
            Some((Some(phc), account)) => (phc, Some(account)),
            _ => (self.inner.hashing.nobody.get_or_try_init(nobody).await?.clone(), None),
        };
        let mut password = attempt.password.clone();
        if password.len() > BYTES_MAX {
            password.clear();
        }
        let fits = self.password_fits(phc.clone(), password).await?;
        Ok(account.filter(|_| fits).map(|account| (account, phc)))
    }

    /// Signs in and does `then` in the same transaction, which uses up the code.
    ///
    /// # Errors
    /// `unauthorized` for a wrong password, `two_factor` when a code is missing or wrong, `rate_limit` after many tries.
    pub(crate) async fn sign_in<T: Send + 'static>(
        &self,
        attempt: Attempt,
        then: impl FnOnce(&mut Tx, &Ctx, &Account) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let now = self.parts().clock.now();
        let name = attempt.email.trim().to_lowercase();
        self.begin_try(&name, attempt.address, now)?;
        let (account, phc) = self.check_credentials(&attempt).await?.ok_or_else(Error::unauthorized)?;
        if attempt.code.is_none() && account.two_factor {
            // Not forgotten: else codes could be guessed between two of these.
            self.inner.throttle.undo(&name, attempt.address);
            return Err(Error::two_factor("A code of your second factor is needed, too."));
        }
        let (address, sealer) = (attempt.address, self.parts().sealer.clone());
        let done = self
            .store()
            .commit(move |tx| -> Result<T> {
                let mut account = tx.get(&tables::ACCOUNTS, &account.id)?.ok_or_else(Error::unauthorized)?;
                // It may have been changed while this one was looked at.
                if secrets_of(tx, account.id)?.password.as_ref() != Some(&phc) {
                    return Err(Error::unauthorized());
                }
                let ctx = Ctx { address: attempt.address, request_id: attempt.request_id, ..Ctx::of(account.clone(), now) };
                if account.two_factor {
                    two_factor::use_code(tx, &ctx, &sealer, account.id, attempt.code.as_deref().unwrap_or(""))?;
                }
                account.last_login = Some(now);
                tx.put(&tables::ACCOUNTS, &account.id, &account)?;
                tx.event(now, None, ctx.origin(), EventBody::SignedIn)?;
                then(tx, &ctx, &account)
            })
            .await?;
        self.inner.throttle.right(&name, address);
        Ok(done)
    }

    /// Sets the own password; the former one is needed if there is one. Ends all other browser sessions.
    ///
    /// # Errors
    /// `forbidden` when the former one is wrong, `invalid_params` for a bad new one.
    pub async fn change_password(&self, ctx: &Ctx, old: Option<String>, new: String) -> Result<()> {
        access::check(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        let Actor::Account(account) = &ctx.actor else { return Err(Error::unauthorized()) };
        check_password(&new, &account.email)?;
        let known = secrets_of(self.store(), account.id)?.password;
        if let Some(phc) = known.clone() {
            self.begin_try(&account.email, ctx.address, ctx.now)?;
            if !self.password_fits(phc, old.unwrap_or_default()).await? {
                return Err(Error::forbidden("The old password is wrong; nothing was changed."));
            }
            self.inner.throttle.right(&account.email, ctx.address);
        }
        let phc = self.hash_password(new).await?;
        let (ctx, id) = (ctx.clone(), account.id);
        self.store()
            .commit(move |tx| {
                if secrets_of(tx, id)?.password != known {
                    return Err(Error::conflict("The password was changed by somebody else just now."));
                }
                put_password(tx, &ctx, id, phc)?;
                sessions::end_all(tx, &ctx, id, ctx.session)
            })
            .await
    }

    /// Sets the password of an account from the server itself and ends its browser sessions.
    ///
    /// # Errors
    /// `not_found`, `invalid_params`.
    pub async fn reset_password(&self, email: &str, new: String) -> Result<()> {
        let email = check_email(email)?;
        check_password(&new, &email)?;
        let phc = self.hash_password(new).await?;
        let ctx = Ctx::platform(self.parts().clock.now());
        self.store()
            .commit(move |tx| {
                let id = tx.get(&tables::ACCOUNT_BY_EMAIL, &email)?;
                let id = id.ok_or_else(|| Error::not_found("user", format!("There is no account {email}.")))?;
                put_password(tx, &ctx, id, phc)?;
                sessions::end_all(tx, &ctx, id, None)
            })
            .await
    }

    /// True when the actor can sign in with a password.
    ///
    /// # Errors
    /// When the store can not be read.
    pub fn has_password(&self, ctx: &Ctx) -> Result<bool> {
        let Some(id) = ctx.account() else { return Ok(false) };
        Ok(secrets_of(self.store(), id)?.password.is_some())
    }
}

/// The context of somebody at a page of ours.
pub(crate) fn at_browser(account: Account, session: uuid::Uuid, address: Option<IpAddr>, now: UnixMs) -> Ctx {
    Ctx { session: Some(session), address, ..Ctx::of(account, now) }
}

/// Compares secrets by their hashes, which tells nothing by its time.
pub(crate) fn same_secret(one: &str, other: &str) -> bool {
    hash(one) == hash(other)
}
