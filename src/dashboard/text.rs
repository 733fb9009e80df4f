//! Small things that pages show: times, states, sizes, command lines. Each knows its HTML and its JSON.

use askama::filters::HtmlSafe;
use domain::UnixMs;
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use std::fmt::{self, Display, Formatter};

/// `text` with the characters escaped that mean something in HTML.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(c),
        }
    }
    out
}

/// A part of an address.
pub fn url_escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'-' | b'.' | b'_' | b'~' => char::from(byte).to_string(),
        _ if byte.is_ascii_alphanumeric() => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

/// A moment, told relative to now, with the exact time beside it.
#[derive(Clone, Debug)]
pub struct When {
    at: Timestamp,
    ago: String,
}

impl When {
    /// `at` as seen at `now`.
    pub fn new(at: UnixMs, now: UnixMs) -> Self {
        let stamp = i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
        let ago = if at > now { format!("in {}", span(at.since_ms(now))) } else { relative(now.since_ms(at)) };
        Self { at: stamp, ago }
    }
}

fn relative(ms: u64) -> String {
    if ms < 5000 { "just now".into() } else { format!("{} ago", span(ms)) }
}

/// A length of time in its largest unit.
pub fn span(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..=59 => format!("{s} s"),
        60..=3599 => format!("{} min", s / 60),
        3600..=86_399 => format!("{} h", s / 3600),
        86_400..=2_591_999 => format!("{} d", s / 86_400),
        2_592_000..=31_535_999 => format!("{} mo", s / 2_592_000),
        _ => format!("{} y", s / 31_536_000),
    }
}

/// How long something took.
pub fn took(ms: u64) -> String {
    match ms {
        0..=999 => format!("{ms} ms"),
        1000..=59_999 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => format!("{} min {} s", ms / 60_000, ms / 1000 % 60),
    }
}

impl Display for When {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let exact = self.at.strftime("%Y-%m-%d %H:%M:%S UTC");
        let iso = self.at.strftime("%Y-%m-%dT%H:%M:%SZ");
        write!(f, "<time datetime=\"{iso}\" title=\"{exact}\">{}</time>", self.ago)
    }
}

impl HtmlSafe for When {}

impl Serialize for When {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.at.strftime("%Y-%m-%dT%H:%M:%SZ"))
    }
}

/// A state: a glyph and a word, and a colour for those who see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Badge {
    /// Serves.
    Up,
    /// On its way up.
    Starting,
    /// Ended although it should run.
    Crashed,
    /// Nothing runs, as wanted.
    Down,
    /// Sleeps until somebody wants it.
    Idle,
    /// A build runs.
    Building,
    /// Done.
    Succeeded,
    /// Not done.
    Failed,
    /// Waits.
    Pending,
    /// The release that is in use.
    Live,
}

impl Badge {
    /// Class of the element, glyph, word.
    fn parts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Up => ("up", "●", "up"),
            Self::Starting => ("starting", "◐", "starting"),
            Self::Crashed => ("crashed", "✕", "crashed"),
            Self::Down => ("down", "○", "down"),
            Self::Idle => ("idle", "☾", "idle"),
            Self::Building => ("build", "▲", "building"),
            Self::Succeeded => ("up", "✓", "succeeded"),
            Self::Failed => ("crashed", "✕", "failed"),
            Self::Pending => ("starting", "◐", "pending"),
            Self::Live => ("up", "●", "live"),
        }
    }

    /// State of a dyno.
    pub fn of(state: domain::DynoState) -> Self {
        use domain::DynoState;
        match state {
            DynoState::Starting => Self::Starting,
            DynoState::Up => Self::Up,
            DynoState::Crashed => Self::Crashed,
            DynoState::Stopping => Self::Down,
            DynoState::Idle => Self::Idle,
        }
    }
}

impl Display for Badge {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (class, glyph, word) = self.parts();
        write!(f, "<span class=\"st {class}\"><span aria-hidden=\"true\">{glyph}</span> {word}</span>")
    }
}

impl HtmlSafe for Badge {}

impl Serialize for Badge {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.parts().2)
    }
}

/// The line that does the same in a terminal.
#[derive(Clone, Debug)]
pub struct Cli(String);

impl Cli {
    /// `tidemill` and these words; what a shell would take apart is quoted.
    pub fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let plain =
            |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./:=@,+%".contains(&b));
        let quoted = |word: &str| if plain(word) { word.to_string() } else { format!("'{}'", word.replace('\'', "'\\''")) };
        let words: Vec<String> = words.into_iter().map(quoted).collect();
        Self(format!("tidemill {}", words.join(" ")))
    }

    /// As [`Cli::new`] for an app.
    pub fn of<'a>(app: &'a str, words: impl IntoIterator<Item = &'a str>) -> Self {
        Self::new(words.into_iter().chain(["-a", app]))
    }

    /// The line itself.
    pub fn line(&self) -> &str {
        &self.0
    }

    /// A line as it stands, with places to fill in.
    pub fn raw(line: String) -> Self {
        Self(line)
    }
}

impl Display for Cli {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "<code class=\"cli\" data-copy>{}</code>", escaped(&self.0))
    }
}

impl HtmlSafe for Cli {}

impl Serialize for Cli {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// HTML that was made here, with everything foreign in it escaped.
#[derive(Clone, Debug, Default)]
pub struct Safe(pub String);

impl Display for Safe {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl HtmlSafe for Safe {}

/// Bytes in MiB or GiB.
pub fn size(bytes: u64) -> String {
    const MIB: u64 = 1 << 20;
    match bytes {
        0..MIB => format!("{} KiB", bytes >> 10),
        MIB..0x4000_0000 => format!("{} MiB", bytes >> 20),
        _ => format!("{}.{} GiB", bytes >> 30, ((bytes & 0x3fff_ffff) * 10) >> 30),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_their_largest_unit() {
        for (ms, text) in [(0, "0 s"), (59_999, "59 s"), (60_000, "1 min"), (7_200_000, "2 h"), (86_400_000, "1 d")] {
            assert_eq!(span(ms), text);
        }
        let when = When::new(UnixMs(1_700_000_000_000), UnixMs(1_700_000_120_000)).to_string();
        assert_eq!(when, "<time datetime=\"2023-11-14T22:13:20Z\" title=\"2023-11-14 22:13:20 UTC\">2 min ago</time>");
        assert!(When::new(UnixMs(90_000), UnixMs(0)).to_string().contains(">in 1 min<"));
        assert_eq!((took(999), took(17_900), took(61_000)), ("999 ms".into(), "17.9 s".into(), "1 min 1 s".into()));
    }

    #[test]
    fn command_lines_are_quoted_for_a_shell_and_escaped_for_html() {
        let line = Cli::of("shop", ["config:set", "A=b c", "B=it's<b>"]).to_string();
        assert!(line.contains("config:set &#39;A=b c&#39;") && line.ends_with(" -a shop</code>"), "{line}");
        assert!(!line.contains("<b>"));
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!((size(2048), size(5 << 20), size(3 << 29)), ("2 KiB".into(), "5 MiB".into(), "1.5 GiB".into()));
    }
}
