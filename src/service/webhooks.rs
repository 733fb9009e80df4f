//! Webhooks of apps (`eventing.md` section 2). Who may change the app may have others told about it, who may see it sees
//! the deliveries. What is delivered is made by the engine, a reader of the event log.

use crate::{Action, Ctx, Error, Result, Service, find_app};
use base64::{Engine, engine::general_purpose::STANDARD};
use domain::{
    App, AppId, EventBody, Webhook,
    webhook::{Delivery, HOOKS_MAX, HookEvent, INCLUDES, Level},
};
use ring::{
    hmac,
    rand::{SecureRandom, SystemRandom},
};
use store::{ReadRows, Sealer, Tx, tables, tables::SealedChunk};
use uuid::Uuid;

/// What `POST /apps/A/webhooks` takes.
#[derive(Clone, Debug)]
pub struct NewWebhook {
    /// Where to.
    pub url: String,
    /// What it is to be told of.
    pub include: Vec<String>,
    /// `notify` or `sync`.
    pub level: String,
    /// `None` to have one made.
    pub secret: Option<String>,
    /// Value of the header `Authorization`.
    pub authorization: Option<String>,
}

/// What `PATCH /apps/A/webhooks/W` takes; `None` leaves a part as it is.
#[derive(Clone, Debug, Default)]
pub struct WebhookChange {
    /// New address.
    pub url: Option<String>,
    /// New list.
    pub include: Option<Vec<String>>,
    /// New level.
    pub level: Option<String>,
    /// New secret; `Some(None)` to have one made.
    pub secret: Option<Option<String>>,
    /// New header; `Some(None)` for none.
    pub authorization: Option<Option<String>>,
}

/// What only the sender gets to see.
#[derive(Clone)]
pub struct HookSecrets {
    /// For the signature.
    pub secret: String,
    /// For the header `Authorization`.
    pub authorization: Option<String>,
}

const URL_BYTES_MAX: usize = 2048;
const SECRET_BYTES_MAX: usize = 1024;

fn context(hook: Uuid, what: &str) -> Vec<u8> {
    format!("webhook {hook} {what}").into_bytes()
}

fn sealed(sealer: &Sealer, hook: Uuid, what: &str, plain: Option<&str>) -> Result<Vec<String>> {
    let Some(plain) = plain else { return Ok(Vec::new()) };
    Ok(sealer.seal(&context(hook, what), plain.as_bytes())?.into_iter().map(|chunk| chunk.0).collect())
}

fn opened(sealer: &Sealer, hook: Uuid, what: &str, pieces: &[String]) -> Result<Option<String>> {
    if pieces.is_empty() {
        return Ok(None);
    }
    let chunks: Vec<SealedChunk> = pieces.iter().cloned().map(SealedChunk).collect();
    let plain = sealer.open(&context(hook, what), &chunks)?;
    Ok(Some(String::from_utf8(plain).map_err(|e| Error::internal(e.to_string()))?))
}

/// Opens the secrets of a hook.
///
/// # Errors
/// When they do not open.
pub fn read_hook_secrets(sealer: &Sealer, hook: &Webhook) -> Result<HookSecrets> {
    Ok(HookSecrets {
        secret: opened(sealer, hook.id, "secret", &hook.secret)?.unwrap_or_default(),
        authorization: opened(sealer, hook.id, "authorization", &hook.authorization)?,
    })
}

/// HMAC-SHA256, base64.
pub fn sign(secret: &str, bytes: &[u8]) -> String {
    STANDARD.encode(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()), bytes))
}

/// 64 hexadecimal digits.
pub(crate) fn new_secret() -> Result<String> {
    let mut bytes = [0u8; 32];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Error::internal("no randomness"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(crate) fn check_url(url: &str) -> Result<()> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split(['/', '?', '#']).next()).unwrap_or("");
    let odd = url.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\');
    if host.is_empty() || host.contains('@') || odd || url.len() > URL_BYTES_MAX {
        return Err(Error::invalid(format!(
            "url must be an https or http URL of at most {URL_BYTES_MAX} bytes, without a user name in it."
        )));
    }
    Ok(())
}

fn check_include(include: &[String]) -> Result<()> {
    if let Some(unknown) = include.iter().find(|name| !INCLUDES.contains(&name.as_str())) {
        return Err(Error::invalid(format!("include {unknown:?} is not possible; there is {}.", INCLUDES.join(", "))));
    }
    if include.is_empty() { Err(Error::invalid("include must name at least one entity.")) } else { Ok(()) }
}

fn level_of(text: &str) -> Result<Level> {
    Level::parse(text).ok_or_else(|| Error::invalid(format!("level {text:?} is not possible; there is notify and sync.")))
}

/// A secret, and a header that can be sent.
fn check_secrets(secret: Option<&str>, authorization: Option<&str>) -> Result<()> {
    if secret.is_some_and(|s| s.is_empty() || s.len() > SECRET_BYTES_MAX) {
        return Err(Error::invalid(format!("secret must have 1 to {SECRET_BYTES_MAX} bytes.")));
    }
    let plain = |text: &str| text.len() <= SECRET_BYTES_MAX && text.bytes().all(|b| (0x20..0x7f).contains(&b));
    if authorization.is_some_and(|text| !plain(text)) {
        return Err(Error::invalid(format!("authorization must be printable ASCII of at most {SECRET_BYTES_MAX} bytes.")));
    }
    Ok(())
}

fn find(rows: &impl ReadRows, app: AppId, id: &str) -> Result<Webhook> {
    let missing = || Error::not_found("webhook", "Couldn't find that webhook.");
    let id = domain::ids::parse_uuid(id).map_err(|_| missing())?;
    rows.get(&tables::WEBHOOKS, &(app, id))?.ok_or_else(missing)
}

impl Service {
    /// Makes a hook. Answers the secret, too, which is never shown again.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params`.
    pub async fn create_webhook(&self, ctx: &Ctx, app: &str, new: NewWebhook) -> Result<(App, Webhook, String)> {
        let app = self.app_for(ctx, Action::Write, app)?;
        check_url(&new.url)?;
        check_include(&new.include)?;
        let level = level_of(&new.level)?;
        let secret = new.secret.filter(|secret| !secret.is_empty()).map_or_else(new_secret, Ok)?;
        let authorization = new.authorization.filter(|text| !text.is_empty());
        check_secrets(Some(&secret), authorization.as_deref())?;
        let (id, sealer) = (Uuid::new_v4(), &self.parts().sealer);
        let hook = Webhook {
            id,
            app: app.id,
            url: new.url,
            include: new.include,
            level,
            secret: sealed(sealer, id, "secret", Some(&secret))?,
            authorization: sealed(sealer, id, "authorization", authorization.as_deref())?,
            created_at: ctx.now,
            updated_at: ctx.now,
        };
        let (ctx, row) = (ctx.clone(), hook.clone());
        let work = move |tx: &mut Tx| -> Result<()> {
            find_app(tx, &row.app.to_string())?;
            if tx.scan(&tables::WEBHOOKS, &row.app)?.len() >= HOOKS_MAX {
                return Err(Error::invalid(format!("An app can have {HOOKS_MAX} webhooks; remove one first.")));
            }
            tx.put(&tables::WEBHOOKS, &(row.app, row.id), &row)?;
            tx.event(ctx.now, Some(row.app), ctx.origin(), EventBody::WebhookChanged { webhook: row.id })?;
            Ok(())
        };
        self.store().commit(work).await?;
        Ok((app, hook, secret))
    }

    /// All hooks of an app.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn webhooks(&self, ctx: &Ctx, app: &str) -> Result<(App, Vec<Webhook>)> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let hooks = self.store().scan(&tables::WEBHOOKS, &app.id)?;
        Ok((app, hooks))
    }

    /// One hook.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn webhook(&self, ctx: &Ctx, app: &str, id: &str) -> Result<(App, Webhook)> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let hook = find(self.store(), app.id, id)?;
        Ok((app, hook))
    }

    /// Changes a hook. Answers the secret that was made, if one was.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params`.
    pub async fn update_webhook(
        &self,
        ctx: &Ctx,
        app: &str,
        id: &str,
        change: WebhookChange,
    ) -> Result<(App, Webhook, Option<String>)> {
        let app = self.app_for(ctx, Action::Write, app)?;
        let id = find(self.store(), app.id, id)?.id;
        change.url.as_deref().map_or(Ok(()), check_url)?;
        change.include.as_deref().map_or(Ok(()), check_include)?;
        let level = change.level.as_deref().map(level_of).transpose()?;
        let mut made = None;
        let secret = match change.secret {
            Some(None) => Some(made.insert(new_secret()?).clone()),
            Some(Some(secret)) => Some(secret),
            None => None,
        };
        check_secrets(secret.as_deref(), change.authorization.as_ref().and_then(Option::as_deref))?;
        let sealer = &self.parts().sealer;
        let secret = secret.map(|text| sealed(sealer, id, "secret", Some(&text))).transpose()?;
        let authorization =
            change.authorization.map(|text| sealed(sealer, id, "authorization", text.as_deref())).transpose()?;
        let (ctx, app_id) = (ctx.clone(), app.id);
        let work = move |tx: &mut Tx| {
            let mut hook = find(tx, app_id, &id.to_string())?;
            hook.url = change.url.unwrap_or(hook.url);
            hook.include = change.include.unwrap_or(hook.include);
            hook.level = level.unwrap_or(hook.level);
            hook.secret = secret.unwrap_or(hook.secret);
            hook.authorization = authorization.unwrap_or(hook.authorization);
            hook.updated_at = ctx.now;
            tx.put(&tables::WEBHOOKS, &(app_id, id), &hook)?;
            tx.event(ctx.now, Some(app_id), ctx.origin(), EventBody::WebhookChanged { webhook: id })?;
            Ok::<_, Error>(hook)
        };
        Ok((app, self.store().commit(work).await?, made))
    }

    /// Removes a hook; what was not delivered yet is not.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn remove_webhook(&self, ctx: &Ctx, app: &str, id: &str) -> Result<(App, Webhook)> {
        let app = self.app_for(ctx, Action::Write, app)?;
        let hook = find(self.store(), app.id, id)?;
        let (ctx, key) = (ctx.clone(), (app.id, hook.id));
        let work = move |tx: &mut Tx| -> Result<()> {
            tx.delete(&tables::WEBHOOKS, &key);
            tx.event(ctx.now, Some(key.0), ctx.origin(), EventBody::WebhookChanged { webhook: key.1 })?;
            Ok(())
        };
        self.store().commit(work).await?;
        Ok((app, hook))
    }

    /// Deliveries of an app, oldest first.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn deliveries(&self, ctx: &Ctx, app: &str) -> Result<Vec<Delivery>> {
        let app = self.app_for(ctx, Action::Read, app)?;
        Ok(self.store().scan(&tables::DELIVERIES, &app.id)?)
    }

    /// What the hooks of an app are told.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn hook_events(&self, ctx: &Ctx, app: &str) -> Result<Vec<HookEvent>> {
        let app = self.app_for(ctx, Action::Read, app)?;
        Ok(self.store().scan(&tables::WEBHOOK_EVENTS, &app.id)?)
    }

    /// One of them.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn hook_event(&self, ctx: &Ctx, app: &str, id: &str) -> Result<HookEvent> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let missing = || Error::not_found("webhook_event", "Couldn't find that webhook event.");
        let id = domain::ids::parse_uuid(id).map_err(|_| missing())?;
        self.store().get(&tables::WEBHOOK_EVENTS, &(app.id, id))?.ok_or_else(missing)
    }
}
