//! A log line, its display form and its form on disk.

use bytes::Bytes;
use jiff::Timestamp;

/// One line; cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Counts up within the app, also over restarts; the order of lines, whatever the clock does.
    pub seq: u64,
    /// When the platform read it, microseconds since 1970.
    pub time_us: u64,
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

    /// The display form without the time.
    pub fn text(&self) -> String {
        let part = |bytes: &Bytes| String::from_utf8_lossy(bytes).into_owned();
        format!("{}[{}]: {}", part(&self.source), part(&self.ps), part(&self.message))
    }

    /// Appends the record for the disk: fields separated by one space, the message last, LF at the end.
    pub(crate) fn push_record(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(format!("{} {} ", self.seq, self.time_us).as_bytes());
        for field in [&self.source, &self.ps] {
            out.extend_from_slice(field);
            out.push(b' ');
        }
        out.extend_from_slice(&self.message);
        out.push(b'\n');
    }
}

/// Reads a record as it stands on disk, without its LF. `None` for anything that is no record.
pub fn parse_record(record: &[u8]) -> Option<LogLine> {
    let mut fields = record.splitn(5, |b| *b == b' ');
    let mut number = || std::str::from_utf8(fields.next()?).ok()?.parse::<u64>().ok();
    let (seq, time_us) = (number()?, number()?);
    let mut field = || fields.next().map(Bytes::copy_from_slice);
    let (source, ps, message) = (field()?, field()?, field()?);
    (!source.is_empty() && !ps.is_empty()).then_some(LogLine { seq, time_us, source, ps, message })
}

/// Six digits and always `+00:00`, never `Z` (`logs.md` section 1).
pub(crate) fn stamp(time_us: u64) -> String {
    let time = i64::try_from(time_us).ok().and_then(|t| Timestamp::from_microsecond(t).ok()).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%S%.6f+00:00").to_string()
}

/// A time in notices such as L11: whole seconds.
pub(crate) fn stamp_seconds(time_us: u64) -> String {
    let time = i64::try_from(time_us).ok().and_then(|t| Timestamp::from_microsecond(t).ok()).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(message: &[u8]) -> LogLine {
        LogLine {
            seq: 7,
            time_us: 1_427_997_642_123_456,
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
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn records_come_back_as_they_were(message in proptest::collection::vec(any::<u8>().prop_filter("no LF", |b| *b != b'\n'), 0..200)) {
            let mut record = Vec::new();
            line(&message).push_record(&mut record);
            prop_assert_eq!(record.pop(), Some(b'\n'));
            prop_assert_eq!(parse_record(&record), Some(line(&message)));
        }

        #[test]
        fn any_bytes_are_a_record_or_not_but_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = parse_record(&bytes);
        }
    }
}
