//! The second factor: codes of six digits by time (RFC 6238), each good once, and recovery codes.

use crate::{
    Action, Actor, Ctx, Error, On, Result, Service, access,
    auth::{hash, random_letters},
    passwords::secrets_of,
};
use domain::{Account, AccountId, App, AppId, EventBody, UnixMs, feature, sign_in::SecondFactor};
use ring::rand::{SecureRandom, SystemRandom};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};
use store::{ReadRows, Sealer, Tx, tables, tables::SealedChunk};
use totp_rs::{Builder, Secret, Totp};
use uuid::Uuid;

/// Codes to write down when the second factor is switched on.
const RECOVERY_CODES: usize = 10;
/// What the app that makes the codes shows.
const ISSUER: &str = "Tidemill";

/// A code that was given for an app counts this long, for the token that it came with.
const TRUST_MS: u64 = 10 * 60 * 1000;

/// Token and app, until when. In memory: a restart asks again.
#[derive(Default)]
pub(crate) struct Trusted(Mutex<HashMap<(Uuid, AppId), UnixMs>>);

/// What an app that makes codes is to be given.
#[derive(Clone)]
pub struct Enrolment {
    /// To type.
    pub secret: String,
    /// To scan: `otpauth://…`.
    pub url: String,
}

/// Codes of this step and its two neighbours are taken: clocks differ.
fn totp(secret: Vec<u8>) -> Result<Totp> {
    Builder::new().with_secret(secret).with_skew(1).build().map_err(|e| Error::internal(e.to_string()))
}

fn context(account: AccountId) -> Vec<u8> {
    format!("totp:{account}").into_bytes()
}

fn open(sealer: &Sealer, account: AccountId, sealed: &str) -> Result<Vec<u8>> {
    Ok(sealer.open(&context(account), &[SealedChunk(sealed.into())])?)
}

fn enrolment(account: &Account, secret: &[u8]) -> Enrolment {
    let secret = Secret::new(secret.into()).to_base32();
    let label: String = account.email.bytes().map(escaped).collect();
    let url = format!("otpauth://totp/{ISSUER}:{label}?secret={secret}&issuer={ISSUER}");
    Enrolment { secret, url }
}

fn escaped(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"-._~@".contains(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }
}

fn wrong() -> Error {
    Error::two_factor("This code is wrong, too old or was used already; wait for the next one.")
}

/// The step of a code, if it is right and newer than the last one that was used.
fn step_of(factor: &SecondFactor, secret: Vec<u8>, code: &str, now: UnixMs) -> Result<u64> {
    let step = totp(secret)?.check(code, now.0 / 1000);
    step.filter(|step| *step > factor.last_step).ok_or_else(wrong)
}

/// Uses up a code or a recovery code of an account.
///
/// # Errors
/// `two_factor` when it is none.
pub(crate) fn use_code(tx: &mut Tx, ctx: &Ctx, sealer: &Sealer, account: AccountId, code: &str) -> Result<()> {
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    let mut secrets = secrets_of(tx, account)?;
    let factor = secrets.second_factor.as_mut().ok_or_else(wrong)?;
    if code.len() == 6 {
        let secret = open(sealer, account, &factor.secret)?;
        factor.last_step = step_of(factor, secret, &code, ctx.now)?;
    } else {
        let hashed = hash(&code.to_uppercase());
        let place = factor.recovery.iter().position(|left| *left == hashed).ok_or_else(wrong)?;
        factor.recovery.remove(place);
        tx.event(ctx.now, None, ctx.origin(), EventBody::AccountChanged { account, what: "recovery code used".into() })?;
    }
    tx.put(&tables::SECRETS, &account, &secrets)?;
    Ok(())
}

fn mark(tx: &mut Tx, ctx: &Ctx, id: AccountId, on: bool) -> Result<()> {
    let mut account = tx.get(&tables::ACCOUNTS, &id)?.ok_or_else(Error::unauthorized)?;
    account.two_factor = on;
    account.updated_at = Some(ctx.now);
    tx.put(&tables::ACCOUNTS, &id, &account)?;
    let what = if on { "second factor on" } else { "second factor off" };
    tx.event(ctx.now, None, ctx.origin(), EventBody::AccountChanged { account: id, what: what.into() })?;
    Ok(())
}

impl Service {
    fn manager<'a>(&self, ctx: &'a Ctx) -> Result<&'a Account> {
        access::check(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        match &ctx.actor {
            Actor::Account(account) => Ok(account),
            Actor::Platform | Actor::Root => Err(Error::unauthorized()),
        }
    }

    /// Makes a secret for an app that makes codes. Nothing is asked for before a code was confirmed.
    ///
    /// # Errors
    /// `conflict` when the second factor is on already, `invalid_params` without a password.
    pub async fn start_two_factor(&self, ctx: &Ctx) -> Result<Enrolment> {
        let account = self.manager(ctx)?.clone();
        let mut secret = [0u8; 20];
        SystemRandom::new().fill(&mut secret).map_err(|_| Error::internal("no randomness"))?;
        let sealed = self.parts().sealer.seal(&context(account.id), &secret)?.pop();
        let sealed = sealed.ok_or_else(|| Error::internal("nothing sealed"))?.0;
        let id = account.id;
        self.store()
            .commit(move |tx| {
                let mut secrets = secrets_of(tx, id)?;
                if secrets.password.is_none() {
                    return Err(Error::invalid("A second factor needs a first one: set a password before."));
                }
                if secrets.second_factor.is_some_and(|factor| factor.confirmed) {
                    return Err(Error::conflict("The second factor is on already; switch it off before making a new one."));
                }
                secrets.second_factor =
                    Some(SecondFactor { secret: sealed, confirmed: false, last_step: 0, recovery: Vec::new() });
                Ok(tx.put(&tables::SECRETS, &id, &secrets)?)
            })
            .await?;
        Ok(enrolment(&account, &secret))
    }

    /// The secret that waits for its first code, to show it again.
    ///
    /// # Errors
    /// When it can not be read.
    pub fn waiting_two_factor(&self, ctx: &Ctx) -> Result<Option<Enrolment>> {
        let account = self.manager(ctx)?;
        let factor = secrets_of(self.store(), account.id)?.second_factor.filter(|factor| !factor.confirmed);
        let opened = factor.map(|factor| open(&self.parts().sealer, account.id, &factor.secret)).transpose()?;
        Ok(opened.map(|secret| enrolment(account, &secret)))
    }

    /// Switches the second factor on with its first code; returns the recovery codes, which are shown once.
    ///
    /// # Errors
    /// `two_factor` for a wrong code, `conflict` when nothing was started.
    pub async fn confirm_two_factor(&self, ctx: &Ctx, code: &str) -> Result<Vec<String>> {
        let id = self.manager(ctx)?.id;
        let name = format!("code of {id}");
        self.begin_try(&name, ctx.address, ctx.now)?;
        let codes = (0..RECOVERY_CODES).map(|_| random_letters(2, 5)).collect::<Result<Vec<_>>>()?;
        let recovery: Vec<String> = codes.iter().map(|code| hash(code)).collect();
        let (code, within, sealer) = (code.trim().to_string(), ctx.clone(), self.parts().sealer.clone());
        self.store()
            .commit(move |tx| {
                let mut secrets = secrets_of(tx, id)?;
                let factor = secrets.second_factor.as_mut().filter(|factor| !factor.confirmed);
                let factor = factor
                    .ok_or_else(|| Error::conflict("No second factor waits for its first code; start with a new one."))?;
                let secret = open(&sealer, id, &factor.secret)?;
                factor.last_step = step_of(factor, secret, &code, within.now)?;
                factor.confirmed = true;
                factor.recovery = recovery;
                tx.put(&tables::SECRETS, &id, &secrets)?;
                mark(tx, &within, id, true)
            })
            .await?;
        self.inner.throttle.right(&name, ctx.address);
        Ok(codes)
    }

    /// Switches the second factor off with a code or a recovery code.
    ///
    /// # Errors
    /// `two_factor` for a wrong code, `conflict` when it is not on.
    pub async fn stop_two_factor(&self, ctx: &Ctx, code: &str) -> Result<()> {
        let id = self.manager(ctx)?.id;
        let name = format!("code of {id}");
        self.begin_try(&name, ctx.address, ctx.now)?;
        let (code, within, sealer) = (code.to_string(), ctx.clone(), self.parts().sealer.clone());
        self.store()
            .commit(move |tx| {
                if !secrets_of(tx, id)?.second_factor.is_some_and(|factor| factor.confirmed) {
                    return Err(Error::conflict("The second factor is not on."));
                }
                use_code(tx, &within, &sealer, id, &code)?;
                let mut secrets = secrets_of(tx, id)?;
                secrets.second_factor = None;
                tx.put(&tables::SECRETS, &id, &secrets)?;
                mark(tx, &within, id, false)
            })
            .await?;
        self.inner.throttle.right(&name, ctx.address);
        Ok(())
    }

    /// Uses up a code for one app: for some minutes the token in use may do what the app asks a code for.
    ///
    /// # Errors
    /// `two_factor` for a code that is missing or wrong, `invalid_params` when the account has no second factor.
    pub async fn preauthorize(&self, ctx: &Ctx, app: &str, code: Option<String>) -> Result<App> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let id = ctx.account().ok_or_else(Error::unauthorized)?;
        if !self.account(id)?.two_factor {
            return Err(Error::invalid("Your account has no second factor; switch it on first."));
        }
        let code = code.ok_or_else(|| asks_for_code(&app))?;
        let name = format!("code of {id}");
        self.begin_try(&name, ctx.address, ctx.now)?;
        let (within, sealer) = (ctx.clone(), self.parts().sealer.clone());
        self.store().commit(move |tx| use_code(tx, &within, &sealer, id, &code)).await?;
        self.inner.throttle.right(&name, ctx.address);
        if let Some(token) = ctx.grant.token {
            let mut trusted = self.inner.trusted.0.lock().unwrap_or_else(PoisonError::into_inner);
            trusted.retain(|_, end| *end > ctx.now);
            trusted.insert((token, app.id), ctx.now.plus_ms(TRUST_MS));
        }
        Ok(app)
    }

    /// An app with the feature `two-factor` asks tokens for a code before secrets are seen or big things happen to it.
    pub(crate) fn check_code(&self, ctx: &Ctx, action: Action, app: &App) -> Result<()> {
        let asks = matches!(action, Action::Manage | Action::ReadSecrets | Action::WriteSecrets);
        let (Some(token), Some(account)) = (ctx.grant.token, ctx.account()) else { return Ok(()) };
        if !asks || !app.features.contains_key(feature::TWO_FACTOR) {
            return Ok(());
        }
        if !self.account(account)?.two_factor {
            return Err(Error::forbidden("This app is only for accounts with a second factor; switch yours on."));
        }
        let trusted = self.inner.trusted.0.lock().unwrap_or_else(PoisonError::into_inner);
        if trusted.get(&(token, app.id)).is_some_and(|end| *end > ctx.now) {
            return Ok(());
        }
        Err(asks_for_code(app))
    }
}

fn asks_for_code(app: &App) -> Error {
    Error { app: Some(app.name.as_str().into()), ..Error::two_factor("This app asks for a code of your second factor.") }
}
