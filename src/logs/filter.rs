//! Which lines a reader wants.

use crate::{LogLine, store::Batch};
use regex::bytes::{Regex, RegexBuilder};

/// Longest pattern of a search.
pub const GREP_BYTES_MAX: usize = 1000;
/// Memory of a compiled pattern, and of what it keeps while it runs.
const PROGRAM_BYTES_MAX: usize = 1 << 20;
const CACHE_BYTES_MAX: usize = 4 << 20;

/// A pattern that lines are searched for. It takes time in proportion to the lines, whatever it is.
#[derive(Clone, Debug)]
pub struct Grep {
    each: Regex,
    /// It finds the same in many lines at once as in each alone.
    together: bool,
}

impl Grep {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// The text for the user, when it is no pattern or too large a one.
    pub fn new(pattern: &str) -> Result<Self, String> {
        if pattern.len() > GREP_BYTES_MAX {
            return Err(format!("The pattern is longer than {GREP_BYTES_MAX} bytes."));
        }
        let built = RegexBuilder::new(pattern)
            .multi_line(true)
            .size_limit(PROGRAM_BYTES_MAX)
            .dfa_size_limit(CACHE_BYTES_MAX)
            .nest_limit(50)
            .build();
        let each = built.map_err(|e| format!("The pattern can not be used: {}", e.to_string().replace('\n', " ")))?;
        // Anchors to the whole text, and flags that make them of others, see the difference.
        let plain = pattern.replace("(?i)", "").replace("(?:", "");
        let together = !["\\A", "\\z", "(?"].iter().any(|part| plain.contains(part));
        Ok(Self { each, together })
    }
}

/// Which lines a reader wants: those that meet all that is given.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Exact source.
    pub source: Option<String>,
    /// A dyno (`web.1`) or a type (`web`): equal, or beginning with the value and a dot.
    pub ps: Option<String>,
    /// Not before this time, microseconds since 1970.
    pub since_us: Option<u64>,
    /// Not after this time.
    pub until_us: Option<u64>,
    /// Version of the release.
    pub release: Option<u32>,
    /// A text that the message holds, such as a request id.
    pub contains: Option<String>,
    /// A pattern that the message matches.
    pub grep: Option<Grep>,
}

impl Filter {
    /// True when the line is wanted.
    pub fn matches(&self, line: &LogLine) -> bool {
        self.matches_place(&line.source, &line.ps, line.release)
            && self.matches_span(line.time_us, line.time_us)
            && self.matches_message(&line.message)
    }

    fn matches_place(&self, source: &[u8], ps: &[u8], release: u32) -> bool {
        let of_source = self.source.as_ref().is_none_or(|s| s.as_bytes() == source);
        let of_ps = self
            .ps
            .as_ref()
            .is_none_or(|p| ps.strip_prefix(p.as_bytes()).is_some_and(|rest| rest.is_empty() || rest.first() == Some(&b'.')));
        of_source && of_ps && self.release.is_none_or(|wanted| wanted == release)
    }

    /// May lines of these times be wanted?
    pub(crate) fn matches_span(&self, first_us: u64, last_us: u64) -> bool {
        self.since_us.is_none_or(|since| last_us >= since) && self.until_us.is_none_or(|until| first_us <= until)
    }

    /// May lines of this batch be wanted? Its messages are still to be looked at.
    pub(crate) fn matches_batch(&self, batch: &Batch) -> bool {
        batch.lines > 0
            && self.matches_place(&batch.source, &batch.ps, batch.release)
            && self.matches_span(batch.time_us, batch.time_us)
    }

    /// Is this the message of a wanted line?
    pub(crate) fn matches_message(&self, message: &[u8]) -> bool {
        self.contains.as_ref().is_none_or(|text| memchr::memmem::find(message, text.as_bytes()).is_some())
            && self.grep.as_ref().is_none_or(|grep| grep.each.is_match(message))
    }

    /// May one of these records hold a wanted line? Looks at all of them at once.
    pub(crate) fn may_match(&self, records: &[u8]) -> bool {
        self.contains.as_ref().is_none_or(|text| memchr::memmem::find(records, text.as_bytes()).is_some())
            && self.grep.as_ref().is_none_or(|grep| !grep.together || grep.each.is_match(records))
    }

    /// All lines of a wanted batch are wanted.
    pub(crate) fn takes_any_message(&self) -> bool {
        self.contains.is_none() && self.grep.is_none()
    }
}
