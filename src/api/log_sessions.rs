//! Where a log can be read.

use crate::{
    Out,
    answer::{Body, created},
    auth::User,
    routes::routes,
    view::View,
};
use axum::{extract::Path, response::IntoResponse};
use logs::{Filter, Grep};
use serde::Deserialize;
use service::{Error, LogRequest};

routes! {
    post "/apps/{app}/log-sessions" => log_session, "read";
}

/// The published fields, and our own: all after `type`.
#[derive(Deserialize)]
struct NewLogSession {
    lines: Option<usize>,
    dyno: Option<String>,
    source: Option<String>,
    tail: Option<bool>,
    #[serde(rename = "type")]
    ptype: Option<String>,
    /// Times as in answers, such as `2026-01-02T03:04:05Z`.
    since: Option<String>,
    until: Option<String>,
    /// Pattern that messages match.
    grep: Option<String>,
    /// `v12` or `12`.
    release: Option<String>,
    request_id: Option<String>,
    /// Number of a line.
    before: Option<u64>,
    all: Option<bool>,
    /// `text` or `json`.
    format: Option<String>,
}

fn time(name: &str, text: Option<&str>) -> Result<Option<u64>, Error> {
    let bad = |text| Error::invalid(format!("{name} is no time such as 2026-01-02T03:04:05Z: {text:?}."));
    let read = |text| logs::parse_stamp(text).ok_or_else(|| bad(text));
    text.map(read).transpose()
}

impl NewLogSession {
    fn request(self) -> Result<LogRequest, Error> {
        let release = self.release.map(|text| {
            let number = text.trim_start_matches('v').parse::<u32>().ok().filter(|n| *n > 0);
            number.ok_or_else(|| Error::invalid(format!("release is no release such as v12: {text:?}.")))
        });
        let json = match self.format.as_deref() {
            None | Some("text") => false,
            Some("json") => true,
            Some(other) => return Err(Error::invalid(format!("format is text or json, not {other:?}."))),
        };
        Ok(LogRequest {
            lines: self.lines,
            before: self.before,
            all: self.all.unwrap_or(false),
            filter: Filter {
                source: self.source,
                ps: self.dyno.or(self.ptype),
                since_us: time("since", self.since.as_deref())?,
                until_us: time("until", self.until.as_deref())?,
                release: release.transpose()?,
                contains: self.request_id.filter(|id| !id.is_empty()),
                grep: self.grep.as_deref().map(Grep::new).transpose().map_err(Error::invalid)?,
            },
            tail: self.tail.unwrap_or(false),
            json,
        })
    }
}

async fn log_session(view: View, User(ctx): User, Path(app): Path<String>, Body(body): Body<NewLogSession>) -> Out {
    let key = view.create_log_session(&ctx, &app, body.request()?)?;
    let now = wire::time(ctx.now.0);
    let session = wire::LogSession {
        id: uuid::Uuid::new_v4(),
        created_at: now.clone(),
        logplex_url: view.base().url(&format!("/streams/logs/{key}")),
        updated_at: now,
    };
    Ok(created(session)?.into_response())
}
