//! One line for each request, whatever becomes of it (`router.md` section 11).

use crate::{Code, Observer, Record, traffic::Open};
use domain::AppId;
use logs::{AppLog, Logs};
use std::{
    fmt::Write,
    sync::Arc,
    time::{Duration, Instant},
};

/// Collects what the line says; writes it when dropped, so that no request goes without one.
pub struct AccessLog {
    log: Arc<AppLog>,
    app: AppId,
    observer: Option<Arc<dyn Observer>>,
    method: String,
    path: String,
    host: String,
    request_id: String,
    forwarded: String,
    protocol: &'static str,
    /// Name of the dyno, once chosen.
    pub dyno: Option<String>,
    /// Milliseconds to connect.
    pub connect_ms: Option<u64>,
    /// Since when the dyno has been at work.
    pub service_from: Option<Instant>,
    /// Status that the client got.
    pub status: Option<u16>,
    /// Body bytes to the client.
    pub bytes: Option<u64>,
    /// Set when something went wrong.
    pub code: Option<Code>,
    /// True when the answer was delivered whole.
    pub complete: bool,
    /// Counts as traffic while the line is not written.
    pub open: Option<Open>,
}

/// What is known before a dyno is chosen.
pub struct Start<'a> {
    /// App.
    pub app: AppId,
    /// Method.
    pub method: &'a str,
    /// Path with query.
    pub path: &'a str,
    /// Host.
    pub host: &'a str,
    /// Request id as sent on.
    pub request_id: &'a str,
    /// X-Forwarded-For as sent on.
    pub forwarded: &'a str,
    /// `http` or `https`.
    pub protocol: &'static str,
}

impl AccessLog {
    /// Begins a line.
    pub fn new(logs: &Logs, observer: Option<Arc<dyn Observer>>, start: &Start<'_>) -> Self {
        Self {
            log: logs.app(start.app),
            app: start.app,
            observer,
            method: escape(start.method),
            path: escape(start.path),
            host: escape(start.host),
            request_id: start.request_id.into(),
            forwarded: escape(start.forwarded),
            protocol: start.protocol,
            dyno: None,
            connect_ms: None,
            service_from: None,
            status: None,
            bytes: None,
            code: None,
            complete: false,
            open: None,
        }
    }

    /// The code of the line and of the record.
    fn ended(&self) -> Option<Code> {
        self.code.or((!self.complete).then_some(Code::H27))
    }

    fn record(&self) -> Record {
        let code = self.ended();
        Record {
            app: self.app,
            code,
            status: self.status.or(code.map(Code::status)).unwrap_or(0),
            bytes: self.bytes.unwrap_or(0),
            connect: self.connect_ms.map(Duration::from_millis),
            service: self.service_from.map(|from| from.elapsed()),
        }
    }

    fn line(&self) -> String {
        let code = self.ended();
        let mut line = String::with_capacity(300);
        let number = |n: Option<u64>, unit: &str| n.map_or_else(String::new, |n| format!("{n}{unit}"));
        let service = self.service_from.map(|from| u64::try_from(from.elapsed().as_millis()).unwrap_or(u64::MAX));
        let status = self.status.or(code.map(Code::status));
        // Writing to a String can not fail.
        if let Some(sock) = code.and_then(Code::sock) {
            let _ = write!(line, "sock={sock} ");
        }
        let _ = write!(line, "at={} ", code.map_or("info", Code::at));
        if let Some(code) = code {
            let _ = write!(line, "code={} desc=\"{}\" ", code.name(), code.description());
        }
        let _ = write!(
            line,
            "method={} path=\"{}\" host={} request_id={} fwd=\"{}\" dyno={} connect={} service={} status={} bytes={} protocol={}",
            self.method,
            self.path,
            self.host,
            self.request_id,
            self.forwarded,
            self.dyno.as_deref().unwrap_or(""),
            number(self.connect_ms, "ms"),
            number(service, "ms"),
            number(status.map(u64::from), ""),
            number(self.bytes, ""),
            self.protocol
        );
        line
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        if let Some(observer) = &self.observer {
            observer.request(&self.record());
        }
        self.log.write("heroku", "router", self.line());
    }
}

/// No client may forge a line or a field.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => out.push_str("%22"),
            c if c.is_control() => {
                let _ = write!(out, "%{:02X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}
