//! Alerts of apps and of the host: rules, channels, and what became of them. Who sees the app sees its alerts, who may
//! change it may have others told. Those of the host, and channels for everything, are for admins. What opens, closes and
//! tells is the engine.

use crate::{Action, Ctx, Error, On, Result, Service, access};
use domain::{
    App, AppId, EventBody, UnixMs,
    alert::{Alert, CHANNELS_MAX, Channel, ChannelKind, Metric, Notice, NoticeStatus, RULES_PER_APP_MAX, Rule, What, built_in},
};
use store::{ReadRows, Sealer, Tx, tables, tables::SealedChunk};
use uuid::Uuid;

/// What a new rule is made of.
#[derive(Clone, Debug)]
pub struct NewRule {
    /// For people.
    pub name: String,
    /// `5xx-share` and others.
    pub metric: String,
    /// From here on it is too much.
    pub threshold: f64,
    /// For so many seconds.
    pub for_s: u32,
    /// It closes when the value has been good for so many seconds.
    pub clear_s: u32,
    /// Only this type or dyno.
    pub process: Option<String>,
}

/// What a new channel is made of.
#[derive(Clone, Debug)]
pub struct NewChannel {
    /// `email`, `webhook`, `chat` or `ntfy`.
    pub kind: String,
    /// Address.
    pub target: String,
    /// For signatures; one is made if none is given.
    pub secret: Option<String>,
}

/// A channel with its newest notice.
#[derive(Clone, Debug)]
pub struct ShownChannel {
    /// Its row.
    pub row: Channel,
    /// The newest notice, if there was one.
    pub last: Option<Notice>,
}

/// Where a channel leads, and what it signs with.
pub struct ChannelSecrets {
    /// Address.
    pub target: String,
    /// For signatures; empty where nothing is signed.
    pub secret: String,
}

fn context(channel: Uuid, what: &str) -> Vec<u8> {
    format!("alert channel {channel} {what}").into_bytes()
}

fn sealed(sealer: &Sealer, channel: Uuid, what: &str, plain: &str) -> Result<Vec<String>> {
    Ok(sealer.seal(&context(channel, what), plain.as_bytes())?.into_iter().map(|chunk| chunk.0).collect())
}

fn opened(sealer: &Sealer, channel: Uuid, what: &str, pieces: &[String]) -> Result<String> {
    if pieces.is_empty() {
        return Ok(String::new());
    }
    let chunks: Vec<SealedChunk> = pieces.iter().cloned().map(SealedChunk).collect();
    let plain = sealer.open(&context(channel, what), &chunks)?;
    String::from_utf8(plain).map_err(|e| Error::internal(e.to_string()))
}

/// Opens the address and secret of a channel.
///
/// # Errors
/// When they do not open.
pub fn read_channel(sealer: &Sealer, channel: &Channel) -> Result<ChannelSecrets> {
    Ok(ChannelSecrets {
        target: opened(sealer, channel.id, "target", &channel.target)?,
        secret: opened(sealer, channel.id, "secret", &channel.secret)?,
    })
}

/// A target that can be used; and how it is shown, since the path of a chat's webhook is a secret.
fn check_target(kind: ChannelKind, target: &str) -> Result<String> {
    if kind == ChannelKind::Email {
        let odd = |c: char| c.is_whitespace() || c.is_control() || "<>,;\"()".contains(c);
        let parts = target.split_once('@').filter(|(user, host)| !user.is_empty() && host.contains('.') && !host.contains('@'));
        if parts.is_none() || target.chars().any(odd) || target.len() > 254 {
            return Err(Error::invalid("target must be an e-mail address, such as ana@example.com."));
        }
        return Ok(target.to_string());
    }
    crate::webhooks::check_url(target)?;
    let (scheme, rest) = target.split_once("://").unwrap_or(("https", target));
    let host = rest.split(['/', '?', '#']).next().unwrap_or("");
    Ok(if rest.len() > host.len() + 1 { format!("{scheme}://{host}/…") } else { target.to_string() })
}

fn check_rule(new: &NewRule) -> Result<Metric> {
    let possible = || Metric::of_apps().join(", ");
    let metric = Metric::parse(&new.metric).filter(|metric| !metric.is_of_host());
    let metric =
        metric.ok_or_else(|| Error::invalid(format!("metric {:?} is not possible; there is {}.", new.metric, possible())))?;
    if new.name.is_empty() || new.name.len() > 100 || new.name.chars().any(char::is_control) {
        return Err(Error::invalid("name must have 1 to 100 printable characters."));
    }
    if !new.threshold.is_finite() || new.threshold <= 0.0 {
        return Err(Error::invalid("threshold must be a number above 0."));
    }
    if new.for_s > 86_400 || new.clear_s > 86_400 {
        return Err(Error::invalid("for_s and clear_s must be at most a day: 86400 seconds."));
    }
    if new.process.as_deref().is_some_and(|p| p.is_empty() || p.len() > 100) {
        return Err(Error::invalid("process must be a type or the name of a dyno, such as web or web.1."));
    }
    Ok(metric)
}

/// A notice that is to be sent.
pub fn new_notice(channel: Uuid, seq: u64, what: What, subject: &str, text: &str, data: &str, now: UnixMs) -> Notice {
    Notice {
        id: Uuid::new_v4(),
        channel,
        seq,
        what,
        subject: subject.into(),
        text: text.into(),
        data: data.into(),
        status: NoticeStatus::Pending,
        attempts: 0,
        error: None,
        next_at: now,
        created_at: now,
        updated_at: now,
    }
}

/// The next number of a channel's notices.
///
/// # Errors
/// Of the store.
fn next_notice(rows: &impl ReadRows, channel: Uuid) -> Result<u64> {
    Ok(rows.scan(&tables::NOTICES, &channel)?.last().map_or(1, |notice| notice.seq + 1))
}

/// Removes what an app leaves behind; a part of its removal.
///
/// # Errors
/// Of the store.
pub(crate) fn remove_alerts(tx: &mut Tx, app: AppId) -> Result<()> {
    tx.delete_all(&tables::ALERT_RULES, &app)?;
    for channel in tx.scan(&tables::CHANNELS, &())?.into_iter().filter(|c| c.app == Some(app)) {
        tx.delete(&tables::CHANNELS, &channel.id);
        tx.delete_all(&tables::NOTICES, &channel.id)?;
    }
    for alert in tx.scan(&tables::ALERTS, &())?.into_iter().filter(|alert| alert.app == Some(app)) {
        tx.delete(&tables::ALERTS, &alert.key);
    }
    Ok(())
}

impl Service {
    /// The app, or `None` for the installation, if the actor may do `action` with it.
    fn alert_scope(&self, ctx: &Ctx, action: Action, app: Option<&str>) -> Result<Option<App>> {
        match app {
            Some(app) => self.app_for(ctx, action, app).map(Some),
            None => {
                access::check(self.store(), ctx, Action::ManagePeople, On::Platform)?;
                Ok(None)
            }
        }
    }

    /// Alerts, newest first: of an app, or (`None`, for admins) of the host and all apps.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn alerts(&self, ctx: &Ctx, app: Option<&str>) -> Result<Vec<(Alert, Option<App>)>> {
        let scope = self.alert_scope(ctx, Action::Read, app)?;
        let mut found = Vec::new();
        for alert in self.store().scan(&tables::ALERTS, &())? {
            if scope.as_ref().is_some_and(|app| alert.app != Some(app.id)) {
                continue;
            }
            let of = match (&scope, alert.app) {
                (Some(app), _) => Some(app.clone()),
                (None, Some(id)) => self.store().get(&tables::APPS, &id)?,
                (None, None) => None,
            };
            found.push((alert, of));
        }
        found.sort_by_key(|(alert, _)| std::cmp::Reverse(alert.opened_at));
        Ok(found)
    }

    /// The rules of an app, the built-in ones first.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn alert_rules(&self, ctx: &Ctx, app: &str) -> Result<Vec<Rule>> {
        let app = self.app_for(ctx, Action::Read, app)?;
        let mut rules = built_in();
        let mut own = self.store().scan(&tables::ALERT_RULES, &app.id)?;
        own.sort_by_key(|rule| rule.created_at);
        rules.extend(own);
        Ok(rules)
    }

    /// Makes a rule.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params`.
    pub async fn add_alert_rule(&self, ctx: &Ctx, app: &str, new: NewRule) -> Result<Rule> {
        let app = self.app_for(ctx, Action::Write, app)?;
        let metric = check_rule(&new)?;
        let rule = Rule {
            id: Uuid::new_v4(),
            app: Some(app.id),
            name: new.name,
            metric,
            threshold: new.threshold,
            for_s: new.for_s,
            clear_s: new.clear_s,
            process: new.process,
            created_at: ctx.now,
        };
        let (ctx, row) = (ctx.clone(), rule.clone());
        let work = move |tx: &mut Tx| -> Result<()> {
            if tx.scan(&tables::ALERT_RULES, &app.id)?.len() >= RULES_PER_APP_MAX {
                return Err(Error::invalid(format!("An app can have {RULES_PER_APP_MAX} rules; remove one first.")));
            }
            tx.put(&tables::ALERT_RULES, &(app.id, row.id), &row)?;
            tx.event(ctx.now, Some(app.id), ctx.origin(), EventBody::AlertRuleChanged { rule: row.id })?;
            Ok(())
        };
        self.store().commit(work).await?;
        Ok(rule)
    }

    /// Removes a rule by id or name; its open alert goes with it.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn remove_alert_rule(&self, ctx: &Ctx, app: &str, rule: &str) -> Result<Rule> {
        let app = self.app_for(ctx, Action::Write, app)?;
        let missing = || Error::not_found("alert_rule", "Couldn't find that rule; those that are built in stay.");
        let own = self.store().scan(&tables::ALERT_RULES, &app.id)?;
        let found = own.into_iter().find(|r| r.id.to_string() == rule || r.name == rule).ok_or_else(missing)?;
        let (ctx, gone) = (ctx.clone(), found.clone());
        let work = move |tx: &mut Tx| -> Result<()> {
            tx.delete(&tables::ALERT_RULES, &(app.id, gone.id));
            let begin = format!("{} {} ", app.id, gone.id);
            for alert in tx.scan(&tables::ALERTS, &())?.into_iter().filter(|alert| alert.key.starts_with(&begin)) {
                tx.delete(&tables::ALERTS, &alert.key);
            }
            tx.event(ctx.now, Some(app.id), ctx.origin(), EventBody::AlertRuleChanged { rule: gone.id })?;
            Ok(())
        };
        self.store().commit(work).await?;
        Ok(found)
    }

    /// Channels of an app, or (`None`, for admins) those that get everything.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn alert_channels(&self, ctx: &Ctx, app: Option<&str>) -> Result<(Option<App>, Vec<ShownChannel>)> {
        let app = self.alert_scope(ctx, Action::Read, app)?;
        let mut rows = self.store().scan(&tables::CHANNELS, &())?;
        rows.retain(|channel| channel.app == app.as_ref().map(|app| app.id));
        rows.sort_by_key(|channel| channel.created_at);
        let shown = rows.into_iter().map(|row| {
            let last = self.store().scan(&tables::NOTICES, &row.id)?.pop();
            Ok(ShownChannel { row, last })
        });
        let shown: Result<Vec<_>> = shown.collect();
        Ok((app, shown?))
    }

    fn alert_channel(&self, ctx: &Ctx, action: Action, app: Option<&str>, id: &str) -> Result<(Option<App>, ShownChannel)> {
        self.alert_scope(ctx, action, app)?;
        let (app, all) = self.alert_channels(ctx, app)?;
        let found = all.into_iter().find(|channel| channel.row.id.to_string() == id || channel.row.shown == id);
        Ok((app, found.ok_or_else(|| Error::not_found("alert_channel", "Couldn't find that channel."))?))
    }

    /// Makes a channel. Answers the secret of its signatures, too, which is never shown again; empty for other kinds.
    ///
    /// # Errors
    /// `not_found`, `forbidden`, `invalid_params`.
    pub async fn add_alert_channel(
        &self,
        ctx: &Ctx,
        app: Option<&str>,
        new: NewChannel,
    ) -> Result<(Option<App>, ShownChannel, String)> {
        let app = self.alert_scope(ctx, Action::Write, app)?;
        let kind = ChannelKind::parse(&new.kind).ok_or_else(|| {
            Error::invalid(format!("kind {:?} is not possible; there is email, webhook, chat and ntfy.", new.kind))
        })?;
        let shown = check_target(kind, &new.target)?;
        let secret = match (kind, new.secret.filter(|secret| !secret.is_empty())) {
            (ChannelKind::Webhook, Some(secret)) if secret.len() > 1024 => {
                return Err(Error::invalid("secret must have at most 1024 bytes."));
            }
            (ChannelKind::Webhook, Some(secret)) => secret,
            (ChannelKind::Webhook, None) => crate::webhooks::new_secret()?,
            _ => String::new(),
        };
        let (id, sealer) = (Uuid::new_v4(), &self.parts().sealer);
        let row = Channel {
            id,
            app: app.as_ref().map(|app| app.id),
            kind,
            target: sealed(sealer, id, "target", &new.target)?,
            shown,
            secret: if secret.is_empty() { Vec::new() } else { sealed(sealer, id, "secret", &secret)? },
            held: Vec::new(),
            held_count: 0,
            created_at: ctx.now,
        };
        let (ctx, put) = (ctx.clone(), row.clone());
        let work = move |tx: &mut Tx| -> Result<()> {
            if tx.scan(&tables::CHANNELS, &())?.iter().filter(|c| c.app == put.app).count() >= CHANNELS_MAX {
                return Err(Error::invalid(format!("There can be {CHANNELS_MAX} channels; remove one first.")));
            }
            tx.put(&tables::CHANNELS, &put.id, &put)?;
            tx.event(ctx.now, put.app, ctx.origin(), EventBody::AlertChannelChanged { channel: put.id })?;
            Ok(())
        };
        self.store().commit(work).await?;
        Ok((app, ShownChannel { row, last: None }, secret))
    }

    /// Removes a channel with its notices, by id or address.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn remove_alert_channel(&self, ctx: &Ctx, app: Option<&str>, id: &str) -> Result<(Option<App>, ShownChannel)> {
        let (app, channel) = self.alert_channel(ctx, Action::Write, app, id)?;
        let (ctx, gone) = (ctx.clone(), channel.row.clone());
        let work = move |tx: &mut Tx| -> Result<()> {
            tx.delete(&tables::CHANNELS, &gone.id);
            tx.delete_all(&tables::NOTICES, &gone.id)?;
            tx.event(ctx.now, gone.app, ctx.origin(), EventBody::AlertChannelChanged { channel: gone.id })?;
            Ok(())
        };
        self.store().commit(work).await?;
        Ok((app, channel))
    }

    /// Asks for a notice that tries a channel; it is sent within seconds, whatever else the channel got.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub async fn test_alert_channel(&self, ctx: &Ctx, app: Option<&str>, id: &str) -> Result<Notice> {
        let (_, channel) = self.alert_channel(ctx, Action::Write, app, id)?;
        let (ctx, id) = (ctx.clone(), channel.row.id);
        let text = format!("{} tries this channel. Nothing is wrong.", ctx.email());
        let data = serde_json::json!({ "type": "test" }).to_string();
        let work = move |tx: &mut Tx| -> Result<Notice> {
            let seq = next_notice(tx, id)?;
            let notice = new_notice(id, seq, What::Test, "Tidemill: a test of this channel", &text, &data, ctx.now);
            tx.put(&tables::NOTICES, &(id, seq), &notice)?;
            tx.event(ctx.now, channel.row.app, ctx.origin(), EventBody::AlertChannelChanged { channel: id })?;
            Ok(notice)
        };
        self.store().commit(work).await
    }

    /// Notices of the channels of an app, or (`None`, for admins) of those that get everything; newest first.
    ///
    /// # Errors
    /// `not_found`, `forbidden`.
    pub fn alert_deliveries(&self, ctx: &Ctx, app: Option<&str>) -> Result<Vec<Notice>> {
        let (_, channels) = self.alert_channels(ctx, app)?;
        let mut found = Vec::new();
        for channel in channels {
            found.extend(self.store().scan(&tables::NOTICES, &channel.row.id)?);
        }
        found.sort_by_key(|notice| std::cmp::Reverse((notice.created_at, notice.seq)));
        Ok(found)
    }
}
