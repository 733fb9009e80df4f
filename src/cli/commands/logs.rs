//! The log.

use super::prelude::*;
use std::{
    io::{BufRead, BufReader},
    time::{Duration, SystemTime},
};

/// `logs`.
pub const TOPIC: Topic = Topic {
    name: "logs",
    about: "The log of an app",
    verbs: &[there("logs", "Show the log", logs)
        .args(&[
            switch("tail", "Keep it coming, over deploys and restarts").short('t'),
            value("num", "Lines of history [default: 100]").short('n'),
            value("dyno", "Only this dyno or type").short('d').aliases(&["dyno-name", "process-type", "ps"]).live(Live::Dynos),
            value("source", "Only this source: app or heroku").short('s'),
            value("since", "Only lines from this time on: an age (30s, 10m, 2h, 3d) or 2026-01-02T03:04:05Z"),
            value("until", "Only lines up to this time"),
            value("grep", "Only lines whose message matches this regular expression"),
            value("release", "Only lines of this release, such as v12"),
            value("request-id", "Only lines that name this request"),
            value("before", "Only lines before this number, which --json shows: the page before"),
            switch("all", "Every line that is kept, oldest first, whatever -n says"),
            switch("no-color", "As they are, which is how they always come"),
        ])
        .examples(&[
            "logs -t -a shop",
            "logs -n 500 -d web.1 -s app -a shop",
            "logs --since 1h --grep 'time ?out' --json -a shop",
            "logs --all --since 7d -a shop > shop.log",
        ])],
};

/// Longest history that a server gives.
const HISTORY_MAX: usize = 1500;
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// Tries to connect again, before giving up.
const RECONNECTS_MAX: usize = 120;

/// Prints a line; false when nobody reads on.
fn show(line: &str) -> bool {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).is_ok()
}

fn logs(s: &Session) -> Result<()> {
    let wanted = wanted(s)?;
    let tail = s.given.is("tail");
    let mut last = None;
    if read(s, &wanted, tail, &mut last)? || !tail {
        return Ok(());
    }
    // A server that restarts ends the stream; what came meanwhile is in its history, and ids tell what was shown.
    let mut tries = 0;
    loop {
        std::thread::sleep(RECONNECT_PAUSE);
        let before = last;
        match read(s, &wanted, true, &mut last) {
            Ok(true) => return Ok(()),
            Err(failure) if failure.exit != 6 || tries >= RECONNECTS_MAX => return Err(failure),
            _ if before == last => tries += 1,
            _ => tries = 0,
        }
    }
}

/// The body of the request.
fn wanted(s: &Session) -> Result<Value> {
    let time = |name| s.given.text(name).map(|text| moment(name, text)).transpose();
    let (since, until) = (time("since")?, time("until")?);
    let wide =
        since.is_some() || until.is_some() || ["grep", "release", "request-id"].iter().any(|n| s.given.text(n).is_some());
    let lines = s.given.number::<usize>("num")?.unwrap_or(if wide { HISTORY_MAX } else { 100 });
    Ok(json!({
        "lines": lines, "dyno": s.given.text("dyno"), "source": s.given.text("source"), "tail": s.given.is("tail"),
        "since": since, "until": until, "grep": s.given.text("grep"), "release": s.given.text("release"),
        "request_id": s.given.text("request-id"), "before": s.given.number::<u64>("before")?, "all": s.given.is("all"),
        "format": if s.global.json { "json" } else { "text" },
    }))
}

/// Reads a session to its end; true when nobody reads on. Lines up to `last` were shown.
fn read(s: &Session, wanted: &Value, tail: bool, last: &mut Option<u64>) -> Result<bool> {
    let session = s.client.send("POST", &s.path("/log-sessions")?, wanted)?;
    let url = own_address(field(&session, "logplex_url"), &s.client.base);
    let mut reader = BufReader::new(s.client.events(&url, *last)?);
    let (mut id, mut line) = (None, Vec::new());
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(_) if tail => return Ok(false),
            Err(e) => return Err(Failure::unreachable(format!("The stream was cut: {e}"))),
        }
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        if let Some(text) = text.strip_prefix("id: ") {
            id = text.parse::<u64>().ok();
        } else if let Some(data) = text.strip_prefix("data: ") {
            *last = id.max(*last);
            if !show(data) {
                return Ok(true);
            }
        }
    }
}

/// A time as the server reads it: that time, or so long ago.
fn moment(name: &str, text: &str) -> Result<String> {
    let bad = || Failure::usage(format!("--{name} takes an age such as 30s, 10m, 2h or 3d, or a time, not {text:?}."));
    if text.contains('T') {
        return Ok(text.to_string()); // the server reads it
    }
    let unit = text.chars().last().ok_or_else(bad)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(bad()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_| bad())?;
    let ago = Duration::from_secs(number.saturating_mul(factor));
    let then = SystemTime::now().checked_sub(ago).and_then(|t| t.duration_since(SystemTime::UNIX_EPOCH).ok());
    let then = then.unwrap_or_default();
    Ok(wire::time(u64::try_from(then.as_millis()).unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_become_times() {
        let (an_hour, a_day) = (moment("since", "1h").expect("fine"), moment("since", "1d").expect("fine"));
        assert!(a_day < an_hour && an_hour.len() == 20);
        assert_eq!(moment("until", "2026-01-02T03:04:05Z").expect("fine"), "2026-01-02T03:04:05Z");
        assert!(["", "h", "1x", "x1h", "é"].iter().all(|bad| moment("since", bad).is_err()));
    }
}
