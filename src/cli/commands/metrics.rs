//! Numbers over time.

use super::prelude::*;

/// `metrics`.
pub const TOPIC: Topic = Topic {
    name: "metrics",
    about: "What apps and the server use, and how they answer",
    verbs: &[
        there("metrics", "Show the newest figures of the app, or one of them over time", metrics)
            .args(&[
                maybe("metric", "requests, response-time, router-errors, memory, cpu, builds and others"),
                value("process", "Only this type or dyno").short('p').live(Live::Dynos),
                value("last", "How far back, such as 30m, 2h, 7d [default: 2h]").short('l'),
                value("step", "Time of a row, such as 1m, 10m, 1h"),
                value("num", "Rows at most, the newest [default: 30]").short('n'),
            ])
            .examples(&["metrics -a shop", "metrics response-time --last 24h -a shop", "metrics memory -p web -a shop"]),
        there("metrics:host", "Show the newest figures of the server, or one of them over time (admins)", host).args(&[
            maybe("metric", "host-cpu, host-load, host-memory, host-disk, host-network, daemon"),
            value("last", "How far back [default: 2h]").short('l'),
            value("step", "Time of a row"),
            value("num", "Rows at most, the newest [default: 30]").short('n'),
        ]),
    ],
};

/// Seconds of `90`, `90s`, `30m`, `2h` or `7d`.
pub fn seconds(text: &str) -> Result<u64> {
    let bad = || Failure::usage(format!("{text:?} is no time; write 90s, 30m, 2h or 7d."));
    let (number, unit) = match text.char_indices().find(|(_, c)| !c.is_ascii_digit()) {
        Some((at, _)) => (&text[..at], &text[at..]),
        None => (text, "s"),
    };
    let unit = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(bad()),
    };
    number.parse::<u64>().ok().and_then(|n| n.checked_mul(unit)).filter(|n| *n > 0).ok_or_else(bad)
}

fn metrics(s: &Session) -> Result<()> {
    shown(s, &s.path("/metrics")?)
}

fn host(s: &Session) -> Result<()> {
    shown(s, "/machine/metrics")
}

fn shown(s: &Session, path: &str) -> Result<()> {
    let Some(kind) = s.given.text("metric") else {
        let now = s.client.get(path)?;
        s.show(&now, || newest_of_all(&now));
        return Ok(());
    };
    let mut query = format!("last={}", s.given.text("last").map_or(Ok(7200), seconds)?);
    if let Some(step) = s.given.text("step") {
        query.push_str(&format!("&step={}", seconds(step)?));
    }
    if let Some(process) = s.given.text("process") {
        query.push_str(&format!("&process={}", encoded(process)?));
    }
    let series = s.client.get(&format!("{path}/{}?{query}", encoded(kind)?))?;
    let rows = s.given.number("num")?.unwrap_or(30);
    s.show(&series, || over_time(&series, rows));
    Ok(())
}

/// A number with as many digits as say something.
fn figure(value: &Value) -> String {
    match value.as_f64() {
        None => "–".into(),
        Some(0.0) => "0".into(),
        Some(n) if n.abs() < 10.0 => format!("{n:.2}"),
        Some(n) if n.abs() < 100.0 => format!("{n:.1}"),
        Some(n) => format!("{n:.0}"),
    }
}

fn newest_of_all(now: &Value) -> String {
    let kinds = now["latest"].as_object().cloned().unwrap_or_default();
    if kinds.is_empty() {
        return "No figures yet; the first come in about one minute.\n".into();
    }
    let mut all = Vec::new();
    for (kind, lines) in &kinds {
        for (n, (name, value)) in lines.as_object().into_iter().flatten().enumerate() {
            all.push(vec![if n == 0 { kind.clone() } else { String::new() }, name.clone(), figure(value)]);
        }
    }
    table(&all)
}

fn over_time(series: &Value, count: usize) -> String {
    let lines = items(&series["lines"]);
    let steps = lines.iter().map(|line| items(&line["values"]).len()).max().unwrap_or(0);
    if steps == 0 {
        return "No figures in this time.\n".into();
    }
    let (from, step) = (series["from_s"].as_u64().unwrap_or(0), series["step_s"].as_u64().unwrap_or(60));
    let head = lines.iter().map(|line| field(line, "name").to_string());
    let unit = field(series, "unit");
    let mut all = vec![std::iter::once(format!("UTC ({unit})")).chain(head).collect::<Vec<_>>()];
    for n in steps.saturating_sub(count)..steps {
        let at = from + n as u64 * step;
        let (day, rest) = (at / 86_400, at % 86_400);
        let day = if step >= 3600 { format!("{} ", date(day)) } else { String::new() };
        let cells = lines.iter().map(|line| figure(line["values"].get(n).unwrap_or(&Value::Null)));
        all.push(std::iter::once(format!("{day}{:02}:{:02}", rest / 3600, rest / 60 % 60)).chain(cells).collect());
    }
    table(&all)
}

/// `MM-DD` of a day since 1970 (the civil calendar of Howard Hinnant's well-known algorithm).
fn date(day: u64) -> String {
    let z = day + 719_468;
    let doe = z % 146_097;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    format!("{month:02}-{:02}", doy - (153 * mp + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_dates_are_read_and_written() {
        assert_eq!([seconds("90").unwrap_or(0), seconds("2h").unwrap_or(0), seconds("7d").unwrap_or(0)], [90, 7200, 604_800]);
        assert!(["", "h", "0m", "1x", "-1h", "99999999999999999999d"].iter().all(|bad| seconds(bad).is_err()));
        assert_eq!([date(0), date(59), date(19_782), date(20_819)], ["01-01", "03-01", "02-29", "01-01"]);
        assert_eq!(
            [figure(&json!(0.5)), figure(&json!(41.26)), figure(&json!(1234.5)), figure(&Value::Null)],
            ["0.50", "41.3", "1234", "–"]
        );
    }
}
