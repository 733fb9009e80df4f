//! A log line and its display form.

use bytes::Bytes;

/// One line; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Counts up within the app, also over restarts; the order of lines, whatever the clock does.
    pub seq: u64,
    /// When the platform read it, microseconds since 1970.
    pub time_us: u64,
    /// Version of the release that it is of; 0 when that is not known.
    pub release: u32,
    /// `app` or `heroku`.
    pub source: Bytes,
    /// `web.1`, `router`, `api` …
    pub ps: Bytes,
    /// Without line end.
    pub message: Bytes,
}

impl LogLine {
    /// `2015-04-02T18:00:42.123456+00:00 app[web.1]: message`, without line end.
    pub fn display(&self) -> String {
        format!("{} {}", stamp(self.time_us), self.text())
    }

    /// Appends the display form as it is, without line end.
    pub fn push_display(&self, out: &mut Vec<u8>) {
        push_stamp(out, self.time_us);
        for part in [&b" "[..], &self.source, b"[", &self.ps, b"]: ", &self.message] {
            out.extend_from_slice(part);
        }
    }

    /// The display form without the time.
    pub fn text(&self) -> String {
        let part = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        format!("{}[{}]: {}", part(&self.source), part(&self.ps), part(&self.message))
    }
}

/// Six digits and always `+00:00`, never `Z` (`logs.md` section 1).
pub fn stamp(time_us: u64) -> String {
    let mut out = Vec::with_capacity(32);
    push_stamp(&mut out, time_us);
    String::from_utf8_lossy(&out).into_owned()
}

/// Reads a time as answers and lines have it, such as `2026-01-02T03:04:05Z`; `None` for anything else.
pub fn parse_stamp(text: &str) -> Option<u64> {
    let time: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(time.as_microsecond()).ok()
}

/// A time in notices such as L11: whole seconds.
pub fn stamp_seconds(time_us: u64) -> String {
    let mut text = stamp(time_us);
    text.replace_range(19..26, "");
    text
}

/// Written out by hand: every line that is read has one.
pub(crate) fn push_stamp(out: &mut Vec<u8>, time_us: u64) {
    let (seconds, micros) = (time_us / 1_000_000, time_us % 1_000_000);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days to year, month and day of the Gregorian calendar, with years that begin in March.
    let days = days.min(2_932_896) + 719_468; // to the end of the year 9999
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let mut text = *b"0000-00-00T00:00:00.000000+00:00";
    let mut put = |at: usize, width: usize, mut number: u64| {
        for digit in text[at..at + width].iter_mut().rev() {
            *digit = b'0' + (number % 10) as u8;
            number /= 10;
        }
    };
    for (at, width, number) in [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, of_day / 3600),
        (14, 2, of_day / 60 % 60),
        (17, 2, of_day % 60),
        (20, 6, micros),
    ] {
        put(at, width, number);
    }
    out.extend_from_slice(&text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn line(message: &[u8]) -> LogLine {
        LogLine {
            seq: 7,
            time_us: 1_427_997_642_123_456,
            release: 0,
            source: Bytes::from_static(b"app"),
            ps: Bytes::from_static(b"web.1"),
            message: Bytes::copy_from_slice(message),
        }
    }

    #[test]
    fn display_form_is_the_published_one() {
        assert_eq!(line(b"hello").display(), "2015-04-02T18:00:42.123456+00:00 app[web.1]: hello");
        let whole = LogLine { time_us: 1_427_997_642_000_000, ..line(b"x") };
        assert_eq!(whole.display(), "2015-04-02T18:00:42.000000+00:00 app[web.1]: x");
        assert_eq!(stamp_seconds(1_427_997_642_123_456), "2015-04-02T18:00:42+00:00");
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn times_are_those_of_the_calendar(time_us in 0i64..253_402_207_200_000_000) {
            let time = Timestamp::from_microsecond(time_us).unwrap();
            prop_assert_eq!(stamp(time_us.unsigned_abs()), time.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string());
        }
    }
}
