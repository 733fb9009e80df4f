//! Brings notices to their channels.

use crate::{
    Engine,
    webhooks::post::{self, Post},
};
use domain::alert::{Channel, ChannelKind, Notice, NoticeStatus, What};
use lettre::{
    Message, SmtpTransport, Transport,
    message::header::ContentType,
    transport::smtp::{
        authentication::Credentials,
        client::{Tls, TlsParameters},
    },
};
use serde_json::json;
use service::ChannelSecrets;
use std::{path::PathBuf, time::Duration};
use store::{ReadRows, StoreError, Tx, tables};

/// Notices that are due are looked for this often, and when there is a new one.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// For a whole conversation with a mail server.
const MAIL_LIMIT: Duration = Duration::from_secs(20);
const USER_AGENT: &str = concat!("tidemill-alerts/", env!("CARGO_PKG_VERSION"));

/// How the mail server is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailTls {
    /// Plain first, then TLS, which it must offer.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// Plain; for one on this host.
    None,
}

/// The mail server that notices go through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// Host name.
    pub host: String,
    /// Port.
    pub port: u16,
    /// How it is spoken to.
    pub tls: MailTls,
    /// Name to sign in with, if it wants that.
    pub user: Option<String>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// Sender of the mails.
    pub from: String,
}

/// Sends for ever.
pub async fn run(engine: Engine) {
    while !engine.is_closing() {
        match round(&engine).await {
            Ok(true) => continue, // more may be due
            Ok(false) => {}
            Err(e) => tracing::error!(error = %e, "engine.notices_failed: trying again soon"),
        }
        let _ = tokio::time::timeout(LOOK_EVERY, engine.shared.notices.notified()).await; // either is a reason to look
    }
}

/// The first due notice of each channel, all at the same time; true when there was one.
async fn round(engine: &Engine) -> Result<bool, StoreError> {
    let parts = &engine.shared.parts;
    let now = parts.clock.now();
    let mut due = Vec::new();
    for channel in parts.store.scan(&tables::CHANNELS, &())? {
        let notices = parts.store.scan(&tables::NOTICES, &channel.id)?;
        let first = notices.into_iter().find(|n| n.status == NoticeStatus::Pending && n.next_at <= now);
        due.extend(first.map(|notice| (channel, notice)));
    }
    let any = !due.is_empty();
    let sent = due.into_iter().map(async |(channel, notice)| {
        let key = (channel.id, notice.seq);
        let error = send(engine, channel, notice).await.err();
        let now = parts.clock.now();
        let work = move |tx: &mut Tx| -> Result<(), StoreError> {
            let Some(mut row) = tx.get(&tables::NOTICES, &key)? else { return Ok(()) }; // removed meanwhile
            row.end(error, now);
            tx.put(&tables::NOTICES, &key, &row)
        };
        parts.store.commit(work).await
    });
    futures_util::future::join_all(sent).await.into_iter().collect::<Result<Vec<()>, StoreError>>()?;
    Ok(any)
}

/// Sends one; why it failed otherwise.
async fn send(engine: &Engine, channel: Channel, notice: Notice) -> Result<(), String> {
    let parts = &engine.shared.parts;
    let secrets = service::read_channel(&parts.sealer, &channel).map_err(|e| e.to_string())?;
    let (mail, allow_private) = (parts.settings.mail.clone(), parts.settings.allow_private_targets);
    let seconds = parts.clock.now().0 / 1000;
    let sending = tokio::task::spawn_blocking(move || match channel.kind {
        ChannelKind::Email => by_mail(mail.as_ref(), &secrets.target, &notice),
        kind => {
            let post = posted(kind, secrets, &notice, seconds, allow_private);
            post::send(post).error.map_or(Ok(()), Err)
        }
    });
    sending.await.unwrap_or_else(|_| Err("unknown".into()))
}

/// Header values take printable ASCII only.
fn plain(text: &str) -> String {
    text.chars().map(|c| if (' '..='~').contains(&c) { c } else { '?' }).collect()
}

fn posted(kind: ChannelKind, secrets: ChannelSecrets, notice: &Notice, seconds: u64, allow_private: bool) -> Post {
    let mut headers = vec![("user-agent", USER_AGENT.to_string())];
    let body = match kind {
        ChannelKind::Ntfy => {
            headers.push(("title", plain(&notice.subject)));
            headers.push(("priority", if notice.what == What::Opened { "4" } else { "3" }.into()));
            headers.push(("content-type", "text/plain; charset=utf-8".into()));
            notice.text.clone()
        }
        ChannelKind::Chat => {
            headers.push(("content-type", "application/json".into()));
            json!({ "text": format!("*{}*\n{}", notice.subject, notice.text) }).to_string()
        }
        ChannelKind::Webhook | ChannelKind::Email => {
            let id = notice.id.to_string();
            let stamped = service::sign(&secrets.secret, format!("{id}.{seconds}.{}", notice.data).as_bytes());
            headers.push(("content-type", "application/json".into()));
            headers.push(("webhook-id", id));
            headers.push(("webhook-timestamp", seconds.to_string()));
            headers.push(("webhook-signature", format!("v1,{stamped}")));
            notice.data.clone()
        }
    };
    Post { url: secrets.target, headers, body, allow_private }
}

fn by_mail(mail: Option<&Mail>, to: &str, notice: &Notice) -> Result<(), String> {
    let mail = mail.ok_or("no mail server is set; see smtp and mail_from in the configuration")?;
    let address = |text: &str| text.parse().map_err(|e| format!("address {text}: {e}"));
    let message = Message::builder()
        .from(address(&mail.from)?)
        .to(address(to)?)
        .subject(&notice.subject)
        .message_id(Some(format!("<{}@tidemill>", notice.id)))
        .header(ContentType::TEXT_PLAIN)
        .body(notice.text.clone())
        .map_err(|e| e.to_string())?;
    let parameters = || TlsParameters::new(mail.host.clone()).map_err(|e| format!("tls: {e}"));
    let tls = match mail.tls {
        MailTls::None => Tls::None,
        MailTls::Starttls => Tls::Required(parameters()?),
        MailTls::Tls => Tls::Wrapper(parameters()?),
    };
    // Named by the operator, so it may be anywhere.
    let mut transport = SmtpTransport::builder_dangerous(&mail.host).port(mail.port).tls(tls).timeout(Some(MAIL_LIMIT));
    if let Some(user) = &mail.user {
        let read = |file: &PathBuf| std::fs::read_to_string(file).map_err(|e| format!("{}: {e}", file.display()));
        let password = mail.password_file.as_ref().map_or(Ok(String::new()), read)?;
        transport = transport.credentials(Credentials::new(user.clone(), password.trim_end().to_string()));
    }
    transport.build().send(&message).map(|_| ()).map_err(|e| e.to_string())
}
