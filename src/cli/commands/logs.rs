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
            value("since", "Only lines younger than this: 30s, 10m, 2h, 3d"),
            value("grep", "Only lines with this text"),
            switch("no-color", "As they are, which is how they always come"),
        ])
        .examples(&[
            "logs -t -a shop",
            "logs -n 500 -d web.1 -s app -a shop",
            "logs --since 1h --grep timeout --json -a shop",
        ])],
};

/// Longest history that a server gives.
const HISTORY_MAX: usize = 1500;
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
/// Tries to connect again, before giving up.
const RECONNECTS_MAX: usize = 120;

/// What is shown of the log.
struct Filter {
    since: Option<String>,
    grep: Option<String>,
    json: bool,
}

impl Filter {
    /// False when nobody reads on.
    fn show(&self, line: &str) -> bool {
        let old = self.since.as_ref().is_some_and(|since| line.get(..19).is_some_and(|time| time < since.as_str()));
        if old || self.grep.as_ref().is_some_and(|text| !line.contains(text)) {
            return true;
        }
        use std::io::Write;
        let mut out = std::io::stdout().lock();
        let written = if self.json { writeln!(out, "{}", log_object(line)) } else { writeln!(out, "{line}") };
        written.and_then(|()| out.flush()).is_ok()
    }
}

fn logs(s: &Session) -> Result<()> {
    let since = s.given.text("since").map(since).transpose()?;
    let filter = Filter { grep: s.given.text("grep").map(String::from), json: s.global.json, since };
    let wide = filter.since.is_some() || filter.grep.is_some();
    let lines = s.given.number::<usize>("num")?.unwrap_or(if wide { HISTORY_MAX } else { 100 });
    let tail = s.given.is("tail");
    let mut last = None;
    if read(s, &filter, lines, tail, &mut last)? || !tail {
        return Ok(());
    }
    // A server that restarts ends the stream; what came meanwhile is in its history, and ids tell what was shown.
    let mut tries = 0;
    loop {
        std::thread::sleep(RECONNECT_PAUSE);
        let before = last;
        match read(s, &filter, HISTORY_MAX, true, &mut last) {
            Ok(true) => return Ok(()),
            Err(failure) if failure.exit != 6 || tries >= RECONNECTS_MAX => return Err(failure),
            _ if before == last => tries += 1,
            _ => tries = 0,
        }
    }
}

/// Reads a session to its end; true when nobody reads on. Lines up to `last` were shown.
fn read(s: &Session, filter: &Filter, lines: usize, tail: bool, last: &mut Option<u64>) -> Result<bool> {
    let body = json!({
        "lines": lines, "dyno": s.given.text("dyno"), "source": s.given.text("source"), "tail": tail,
    });
    let session = s.client.send("POST", &s.path("/log-sessions")?, &body)?;
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
            if id.is_some() && id <= *last {
                continue; // shown before the stream was cut
            }
            *last = id.or(*last);
            if !filter.show(data) {
                return Ok(true);
            }
        }
    }
}

/// The time so long ago, as lines of the log begin.
fn since(text: &str) -> Result<String> {
    let bad = || Failure::usage(format!("--since takes a time such as 30s, 10m, 2h or 3d, not {text:?}."));
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
    Ok(wire::time(u64::try_from(then.as_millis()).unwrap_or(0)).trim_end_matches('Z').to_string())
}

/// `time source[ps]: message` as an object.
fn log_object(line: &str) -> Value {
    let parsed = line.split_once(' ').and_then(|(time, rest)| {
        let (head, message) = rest.split_once(": ")?;
        let (source, ps) = head.strip_suffix(']')?.split_once('[')?;
        Some(json!({ "time": time, "source": source, "ps": ps, "message": message }))
    });
    parsed.unwrap_or_else(|| json!({ "message": line }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_become_objects_and_ages_times() {
        assert_eq!(log_object("T app[web.1]: a: b")["message"], "a: b");
        let (an_hour, a_day) = (since("1h").expect("fine"), since("1d").expect("fine"));
        assert!(a_day < an_hour && an_hour.len() == 19);
        assert!(["", "h", "1x", "x1h", "é"].iter().all(|bad| since(bad).is_err()));
    }
}
