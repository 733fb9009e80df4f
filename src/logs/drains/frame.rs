//! Lines as receivers get them: octet counted, and without the structured data that the RFC asks for, since all
//! receivers are built for its absence (`logs.md` section 4).

use crate::{
    LogLine,
    line::{stamp, stamp_seconds},
    now_us,
};
use domain::drain::Protocol;

const SHUTTLE: u8 = 172;

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
}

impl Framer {
    /// Appends a line.
    pub(super) fn push(&self, out: &mut Vec<u8>, line: &LogLine) {
        self.frame(out, priority(line), line.time_us, [&line.source, &line.ps, &line.message]);
    }

    /// Appends the notice of lost lines.
    pub(super) fn push_lost(&self, out: &mut Vec<u8>, lost: u64, since_us: u64) {
        let text = format!("Error L10 (output buffer overflow): {lost} messages dropped since {}.", stamp_seconds(since_us));
        self.frame(out, SHUTTLE, now_us(), [b"heroku", b"logplex", text.as_bytes()]);
    }

    fn frame(&self, out: &mut Vec<u8>, priority: u8, time_us: u64, [source, ps, message]: [&[u8]; 3]) {
        let time = stamp(time_us);
        let host = if self.protocol == Protocol::Http { "host" } else { &self.token };
        let mut head = format!("<{priority}>1 {time} {host} ").into_bytes();
        head.extend_from_slice(source);
        head.push(b' ');
        head.extend_from_slice(ps);
        head.extend_from_slice(if self.protocol == Protocol::Http { b" - " } else { b" - - " });
        out.extend_from_slice(format!("{} ", head.len() + message.len() + 1).as_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(message);
        out.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn line(source: &'static str, ps: &'static str, message: &'static str) -> LogLine {
        let bytes = |text: &'static str| Bytes::from_static(text.as_bytes());
        LogLine { seq: 1, time_us: 1_714_557_600_123_456, source: bytes(source), ps: bytes(ps), message: bytes(message) }
    }

    fn framed(protocol: Protocol, line: &LogLine) -> String {
        let mut out = Vec::new();
        Framer { protocol, token: "d.1".into() }.push(&mut out, line);
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
}
