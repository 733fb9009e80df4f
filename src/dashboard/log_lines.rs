//! Lines of logs and of build output as HTML: colours of terminals become classes, everything else is text.

use crate::text::{Safe, escaped};
use jiff::Timestamp;
use logs::LogLine;
use std::fmt::Write;

/// One line of an app's log; `#L12` leads to line 12.
pub fn html(line: &LogLine) -> Safe {
    let at = i64::try_from(line.time_us).ok().and_then(|us| Timestamp::from_microsecond(us).ok()).unwrap_or_default();
    let (source, ps) = (String::from_utf8_lossy(&line.source), String::from_utf8_lossy(&line.ps));
    let class = match (source.as_ref(), ps.split('.').next().unwrap_or("")) {
        ("app", "web") => "s-web",
        ("app", "api") => "s-api",
        ("app", _) => "s-app",
        (_, "router") => "s-router",
        _ => "s-heroku",
    };
    let bad = is_bad(&line.message);
    Safe(format!(
        "<div class=\"ln{}\" id=\"L{seq}\"><a href=\"#L{seq}\"><time datetime=\"{}\" title=\"{}\">{}</time></a> <b \
         class=\"{class}\">{}[{}]</b> <span>{}</span></div>",
        if bad { " bad" } else { "" },
        at.strftime("%Y-%m-%dT%H:%M:%S%.3fZ"),
        at.strftime("%Y-%m-%d %H:%M:%S%.3f UTC"),
        at.strftime("%H:%M:%S"),
        escaped(&source),
        escaped(&ps),
        colours(&String::from_utf8_lossy(&line.message)),
        seq = line.seq,
    ))
}

/// Lines that people look for when something is wrong.
fn is_bad(message: &[u8]) -> bool {
    [&b"at=error"[..], b"Error R", b"Error H", b"State changed from up to crashed"]
        .iter()
        .any(|word| message.windows(word.len()).any(|part| part == *word))
}

/// Build output: each line with its number.
pub fn output(text: &str, first: usize) -> String {
    let mut html = String::new();
    for (number, line) in (first..).zip(text.lines()) {
        let line = line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or("");
        let class = if line.trim_start().starts_with("-----> ") {
            " head"
        } else if line.trim_start().starts_with('!') {
            " bad"
        } else {
            ""
        };
        let line = colours(line);
        let _ = write!(
            html,
            "<div class=\"ln{class}\" id=\"L{number}\"><a href=\"#L{number}\">{number}</a> <span>{line}</span></div>"
        );
    }
    html
}

/// Text with its colours. A `\r` rewrites the line, as in a terminal.
fn colours(text: &str) -> String {
    let text = text.trim_end_matches('\r');
    let text = text.rsplit('\r').next().unwrap_or(text);
    let (mut html, mut open, mut rest) = (String::new(), false, text);
    while let Some(at) = rest.find('\u{1b}') {
        html.push_str(&escaped(&plain(&rest[..at])));
        rest = &rest[at + 1..];
        let Some(after) = rest.strip_prefix('[') else { continue };
        let end = after.find(|c: char| c.is_ascii_alphabetic() || c == '~').unwrap_or(after.len());
        let (codes, tail) = after.split_at(end);
        rest = tail.get(1..).unwrap_or("");
        if !tail.starts_with('m') {
            continue;
        }
        if open {
            html.push_str("</i>");
        }
        let class = codes.split(';').filter_map(class_of).next_back();
        open = class.is_some();
        if let Some(class) = class {
            let _ = write!(html, "<i class=\"{class}\">"); // text can not fail
        }
    }
    html.push_str(&escaped(&plain(rest)));
    if open {
        html.push_str("</i>");
    }
    html
}

fn plain(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

fn class_of(code: &str) -> Option<&'static str> {
    Some(match code {
        "1" => "bold",
        "2" | "90" => "dim",
        "31" | "91" => "red",
        "32" | "92" => "green",
        "33" | "93" => "yellow",
        "34" | "94" => "blue",
        "35" | "95" => "magenta",
        "36" | "96" => "cyan",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_become_classes_and_nothing_foreign_becomes_html() {
        let cases = [
            ("plain <b>", "plain &lt;b&gt;"),
            ("\u{1b}[31mred\u{1b}[0m end", "<i class=\"red\">red</i> end"),
            ("\u{1b}[1;32mok", "<i class=\"green\">ok</i>"),
            ("\u{1b}[2Kx\u{1b}]0;title\u{7}y", "x]0;titley"),
            ("10 %\r50 %\r100 %", "100 %"),
            ("\u{1b}[\"><script>m", "&gt;&lt;script&gt;m"),
            ("\u{1b}", ""),
            ("\u{1b}[", ""),
        ];
        for (text, html) in cases {
            let made = colours(text);
            assert!(!made.contains("<script") && !made.contains("<b>"), "{made}");
            if !text.contains("script") {
                assert_eq!(made, html, "{text:?}");
            }
        }
    }

    #[test]
    fn output_is_numbered_and_marks_steps_and_faults() {
        let html = output("-----> Node\n plain\n !     no", 7);
        assert!(
            html.contains("<div class=\"ln head\" id=\"L7\">") && html.contains("<div class=\"ln bad\" id=\"L9\">"),
            "{html}"
        );
    }
}
