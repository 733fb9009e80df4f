//! Signing in a command line by way of a browser (`platform-api.md` section 4.4). Kept in memory: a restart ends the
//! logins that are open, and their clients start over. The token is made when the client fetches it, so it is nowhere
//! before.

use crate::{
    Action, Ctx, Error, On, Result, Service, access,
    auth::{NewToken, hash, random_key, random_letters},
    tokens,
};
use domain::{AccountId, Scope, UnixMs};
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::watch;

/// The whole flow ends after this time.
const LOGIN_MS: u64 = 10 * 60 * 1000;
/// Logins that may be open at once, and how many of them from one address.
const LOGINS_MAX: usize = 1000;
const LOGINS_PER_ADDRESS: usize = 20;
/// What the client says about itself, as far as it is shown.
const DESCRIPTION_MAX: usize = 100;
/// The token of a command line lives a year.
const TOKEN_MS: u64 = 365 * 24 * 60 * 60 * 1000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Open,
    Approved(AccountId),
    Denied,
}

struct Login {
    poll: String,
    description: String,
    address: Option<IpAddr>,
    ends_at: UnixMs,
    answer: watch::Sender<Answer>,
}

/// Those that are open, by code.
#[derive(Default)]
pub(crate) struct Logins(Mutex<HashMap<String, Login>>);

/// What a client needs to go on.
pub struct NewLogin {
    /// Shown by the client and by the page: they must agree.
    pub code: String,
    /// Lets the client, and nobody else, fetch the token.
    pub poll_token: String,
}

/// What a person is asked about.
#[derive(Clone, Debug)]
pub struct BrowserLogin {
    /// What the client says about itself.
    pub description: String,
    /// Where it is.
    pub address: Option<IpAddr>,
}

/// A client that waits.
pub struct Waiting {
    code: String,
    description: String,
    address: Option<IpAddr>,
    answer: watch::Receiver<Answer>,
    limit: Duration,
}

fn missing() -> Error {
    Error::not_found("login", "This login is unknown, was answered already, or is older than 10 minutes; start it again.")
}

impl Service {
    fn logins(&self) -> std::sync::MutexGuard<'_, HashMap<String, Login>> {
        let mut open = self.inner.logins.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.parts().clock.now();
        open.retain(|_, login| login.ends_at > now);
        open
    }

    /// A client begins; nobody is signed in yet.
    ///
    /// # Errors
    /// `rate_limit` when too many are open.
    pub fn start_login(&self, description: &str, address: Option<IpAddr>) -> Result<NewLogin> {
        let (code, poll_token) = (random_letters(2, 4)?, random_key()?);
        let mut open = self.logins();
        let here = open.values().filter(|login| login.address == address).count();
        if open.len() >= LOGINS_MAX || here >= LOGINS_PER_ADDRESS {
            return Err(Error::throttled("Too many logins wait for an answer; try again in a minute.", 60));
        }
        let text: String = description.chars().filter(|c| !c.is_control()).take(DESCRIPTION_MAX).collect();
        let login = Login {
            poll: hash(&poll_token),
            description: if text.trim().is_empty() { "Command line".into() } else { text },
            address,
            ends_at: self.parts().clock.now().plus_ms(LOGIN_MS),
            answer: watch::Sender::new(Answer::Open),
        };
        open.insert(code.clone(), login);
        Ok(NewLogin { code, poll_token })
    }

    /// What the page of a code shows.
    ///
    /// # Errors
    /// `not_found` when it is unknown, answered or too old.
    pub fn browser_login(&self, code: &str) -> Result<BrowserLogin> {
        let open = self.logins();
        let login = open.get(code).filter(|login| *login.answer.borrow() == Answer::Open).ok_or_else(missing)?;
        Ok(BrowserLogin { description: login.description.clone(), address: login.address })
    }

    /// A person says yes or no.
    ///
    /// # Errors
    /// `not_found` as above.
    pub fn answer_login(&self, ctx: &Ctx, code: &str, approve: bool) -> Result<()> {
        access::check(self.store(), ctx, Action::ManageAccount, On::Platform)?;
        let account = ctx.account().ok_or_else(Error::unauthorized)?;
        let open = self.logins();
        let login = open.get(code).filter(|login| *login.answer.borrow() == Answer::Open).ok_or_else(missing)?;
        login.answer.send_replace(if approve { Answer::Approved(account) } else { Answer::Denied });
        Ok(())
    }

    /// The client comes back to wait.
    ///
    /// # Errors
    /// `not_found` for a code that is not open, `unauthorized` with a wrong poll token.
    pub fn wait_for_login(&self, code: &str, poll_token: &str) -> Result<Waiting> {
        let now = self.parts().clock.now();
        let open = self.logins();
        let login = open.get(code).ok_or_else(missing)?;
        if login.poll != hash(poll_token) {
            return Err(Error::unauthorized());
        }
        Ok(Waiting {
            code: code.into(),
            description: login.description.clone(),
            address: login.address,
            answer: login.answer.subscribe(),
            limit: Duration::from_millis(login.ends_at.since_ms(now)),
        })
    }

    /// Waits for the answer and makes the token.
    ///
    /// # Errors
    /// `forbidden` when the person said no, `not_found` when nobody answered in time or another waited, too.
    pub async fn finish_login(&self, mut waiting: Waiting) -> Result<String> {
        let answered = waiting.answer.wait_for(|answer| *answer != Answer::Open);
        let answer = tokio::time::timeout(waiting.limit, answered).await.ok().and_then(|a| a.ok().map(|a| *a));
        // Who takes it out of the map is the only one.
        let taken = self.logins().remove(&waiting.code).is_some();
        match answer {
            Some(Answer::Approved(account)) if taken => {
                let now = self.parts().clock.now();
                let ctx = Ctx { address: waiting.address, ..Ctx::platform(now) };
                let new = NewToken {
                    account,
                    description: waiting.description,
                    scopes: vec![Scope::Global],
                    app: None,
                    client: None,
                    expires_at: Some(now.plus_ms(TOKEN_MS)),
                };
                self.store().commit(move |tx| Ok(tokens::issue(tx, &ctx, new)?.1)).await
            }
            Some(Answer::Denied) => Err(Error::forbidden("The login was denied in the browser.")),
            _ => Err(missing()),
        }
    }
}
