//! Lines as receivers get them. Those of OpenTelemetry get records in JSON; all others frames, octet counted, and without the structured data that the RFC asks for, since all
//! receivers are built for its absence (`logs.md` section 4).

use crate::{
    LogLine,
    line::{push_stamp, stamp_seconds},
    now_us,
};
use bytes::Bytes;
use domain::drain::Protocol;
use serde_json::{Value, json};

const SHUTTLE: u8 = 172;
/// Bytes of a time.
const STAMP: usize = 32;

fn priority(line: &LogLine) -> u8 {
    match (&line.source[..], &line.ps[..]) {
        (b"heroku", b"router") => 158,
        (b"heroku", b"logplex") | (b"app", b"log-shuttle") => SHUTTLE,
        (b"heroku", _) => 45,
        _ => 190,
    }
}

/// Appends frames of one drain.
pub(super) struct Framer {
    pub(super) protocol: Protocol,
    pub(super) token: String,
    /// Name of the app, for OpenTelemetry.
    pub(super) service: String,
}

impl Framer {
    /// What stands before the lines.
    pub(super) fn begin(&self, out: &mut Vec<u8>) {
        if self.protocol == Protocol::Otlp {
            let attributes = json!([attribute("service.name", &self.service), attribute("tidemill.drain", &self.token)]);
            let head = format!(
                "{{\"resourceLogs\":[{{\"resource\":{{\"attributes\":{attributes}}},\"scopeLogs\":[{{\"scope\":{{\"name\":\"tidemill\"}},\"logRecords\":["
            );
            out.extend_from_slice(head.as_bytes());
        }
    }

    /// What stands after them.
    pub(super) fn end(&self, out: &mut Vec<u8>) {
        if self.protocol == Protocol::Otlp {
            out.extend_from_slice(b"]}]}]}");
        }
    }

    /// Appends a line.
    pub(super) fn push(&self, out: &mut Vec<u8>, line: &LogLine) {
        if self.protocol == Protocol::Otlp {
            return record(out, line);
        }
        self.frame(out, priority(line), line.time_us, [&line.source, &line.ps, &line.message]);
    }

    /// Appends the notice of lost lines.
    pub(super) fn push_lost(&self, out: &mut Vec<u8>, lost: u64, since_us: u64) {
        let text = format!("Error L10 (output buffer overflow): {lost} messages dropped since {}.", stamp_seconds(since_us));
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        let (source, ps, message) = (bytes("heroku"), bytes("logplex"), Bytes::from(text));
        self.push(out, &LogLine { seq: 0, time_us: now_us(), release: 0, source, ps, message });
    }

    fn frame(&self, out: &mut Vec<u8>, priority: u8, time_us: u64, [source, ps, message]: [&[u8]; 3]) {
        let host = if self.protocol == Protocol::Syslog { &self.token } else { "host" };
        let gap: &[u8] = if self.protocol == Protocol::Syslog { b" - - " } else { b" - " };
        let priority = priority.to_string();
        let head = priority.len() + "<>1 ".len() + STAMP + 1 + host.len() + 1 + source.len() + 1 + ps.len() + gap.len();
        out.extend_from_slice((head + message.len() + 1).to_string().as_bytes());
        for part in [&b" <"[..], priority.as_bytes(), b">1 "] {
            out.extend_from_slice(part);
        }
        push_stamp(out, time_us);
        for part in [&b" "[..], host.as_bytes(), b" ", source, b" ", ps, gap, message, b"\n"] {
            out.extend_from_slice(part);
        }
    }
}

fn attribute(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// Appends a record of OpenTelemetry, with a comma if there is one before it.
fn record(out: &mut Vec<u8>, line: &LogLine) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut attributes = vec![attribute("source", &text(&line.source)), attribute("ps", &text(&line.ps))];
    if line.release > 0 {
        attributes.push(attribute("release", &format!("v{}", line.release)));
    }
    let nanos = format!("{}000", line.time_us);
    let notice = priority(line) == SHUTTLE;
    let record = json!({
        "timeUnixNano": nanos, "observedTimeUnixNano": nanos, "severityNumber": if notice { 13 } else { 9 },
        "severityText": if notice { "WARN" } else { "INFO" }, "body": { "stringValue": text(&line.message) },
        "attributes": attributes,
    });
    if out.last() == Some(&b'}') {
        out.push(b',');
    }
    out.extend_from_slice(record.to_string().as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(source: &'static str, ps: &'static str, message: &'static str) -> LogLine {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        LogLine {
            seq: 1,
            time_us: 1_714_557_600_123_456,
            release: 0,
            source: bytes(source),
            ps: bytes(ps),
            message: bytes(message),
        }
    }

    fn framed(protocol: Protocol, line: &LogLine) -> String {
        let mut out = Vec::new();
        Framer { protocol, token: "d.1".into(), service: "shop".into() }.push(&mut out, line);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn frames_are_the_published_ones_and_count_bytes() {
        let state = line("heroku", "web.3", "State changed from starting to up");
        assert_eq!(
            framed(Protocol::Http, &state),
            "93 <45>1 2024-05-01T10:00:00.123456+00:00 host heroku web.3 - State changed from starting to up\n"
        );
        assert_eq!(
            framed(Protocol::Syslog, &line("app", "web.1", "ö")),
            "61 <190>1 2024-05-01T10:00:00.123456+00:00 d.1 app web.1 - - ö\n"
        );
        assert!(framed(Protocol::Http, &line("heroku", "router", "x")).contains("<158>1 "));
    }

    #[test]
    fn records_of_opentelemetry_are_one_document() {
        let framer = Framer { protocol: Protocol::Otlp, token: "d.1".into(), service: "shop".into() };
        let mut out = Vec::new();
        framer.begin(&mut out);
        framer.push_lost(&mut out, 5, 0);
        framer.push(&mut out, &LogLine { release: 7, ..line("app", "web.1", "a \"quoted\" line}") });
        framer.end(&mut out);
        let document: Value = serde_json::from_slice(&out).unwrap();
        let logs = &document["resourceLogs"][0];
        assert_eq!(logs["resource"]["attributes"][0], attribute("service.name", "shop"));
        let records = logs["scopeLogs"][0]["logRecords"].as_array().unwrap();
        assert_eq!((records.len(), &records[0]["severityText"]), (2, &json!("WARN")));
        assert_eq!(records[1]["body"]["stringValue"], "a \"quoted\" line}");
        assert_eq!(records[1]["timeUnixNano"], "1714557600123456000");
        assert_eq!(records[1]["attributes"][2], attribute("release", "v7"));
    }
}
