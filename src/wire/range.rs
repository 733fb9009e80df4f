//! The `Range` header of lists (`platform-api.md` section 6).

/// Direction of a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Smallest first.
    #[default]
    Asc,
    /// Largest first.
    Desc,
}

/// A parsed range.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// Sort key, when one was named.
    pub key: Option<String>,
    /// Begin at (or after) this value.
    pub start: Option<String>,
    /// True for `]value..`.
    pub after: bool,
    /// Begin after the row with this id among those with the value `start`.
    pub tie: Option<String>,
    /// End at this value.
    pub end: Option<String>,
    /// Page size.
    pub max: usize,
    /// Direction.
    pub order: Order,
}

/// Page size when none is given.
const MAX_DEFAULT: usize = 200;
/// Between a value and an id in `Next-Range`.
const TIE: char = '~';
/// Largest page.
const MAX_LIMIT: usize = 1000;

impl Range {
    /// Parses what real clients send: `id ..; max=10`, `version ..; order=desc,max=1`, `..`, `id ]x..`, or nothing.
    /// Unknown parameters are ignored.
    ///
    /// # Errors
    /// When there is no `..` in it: answer 416.
    pub fn parse(header: &str) -> Result<Self, String> {
        let mut range = Self { max: MAX_DEFAULT, ..Self::default() };
        let header = header.trim();
        if header.is_empty() {
            return Ok(range);
        }
        let (place, parameters) = header.split_once(';').unwrap_or((header, ""));
        let (left, right) = place.split_once("..").ok_or_else(|| format!("Range {header:?} is not understood."))?;
        let left = left.trim();
        let (key, start) = match left.split_once(char::is_whitespace) {
            Some((key, start)) => (Some(key), start.trim()),
            None if left.starts_with([']', '[']) => (None, left),
            None => (Some(left), ""),
        };
        range.key = key.filter(|k| !k.is_empty()).map(String::from);
        range.after = start.starts_with(']');
        let text = |t: &str| (!t.is_empty()).then(|| t.to_string());
        let start = start.trim_start_matches([']', '[']);
        // Our own `Next-Range`; no value that is sorted by ends like this by itself.
        let (start, tie) = match start.rsplit_once(TIE) {
            Some((start, tie)) if range.after && tie.len() == 36 => (start, Some(tie)),
            _ => (start, None),
        };
        range.start = text(start).or(tie.map(|_| String::new()));
        range.tie = tie.map(String::from);
        range.end = text(right.trim().trim_end_matches([']', '[']));
        for parameter in parameters.split([',', ';']) {
            match parameter.trim().split_once('=') {
                Some(("max", n)) => range.max = n.trim().parse::<usize>().unwrap_or(MAX_DEFAULT).clamp(1, MAX_LIMIT),
                Some(("order", "desc")) => range.order = Order::Desc,
                _ => {}
            }
        }
        Ok(range)
    }

    /// What `Next-Range` says after a page that ended with the value `last`, and the id `tie` where values are not unique.
    pub fn next(&self, key: &str, last: &str, tie: Option<&str>) -> String {
        let order = if self.order == Order::Desc { ", order=desc" } else { "" };
        let end = self.end.as_deref().unwrap_or_default();
        let tie = tie.map(|id| format!("{TIE}{id}")).unwrap_or_default();
        format!("{key} ]{last}{tie}..{end}; max={}{order}", self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(header: &str, key: Option<&str>, start: Option<&str>, max: usize, order: Order) {
        let range = Range::parse(header).expect(header);
        assert_eq!(
            (range.key.as_deref(), range.start.as_deref(), range.max, range.order),
            (key, start, max, order),
            "{header}"
        );
    }

    #[test]
    fn every_form_that_clients_send() {
        check("id ..; max=1000;", Some("id"), None, 1000, Order::Asc);
        check("version ..; max=15, order=desc", Some("version"), None, 15, Order::Desc);
        check("version ..; order=desc,max=1", Some("version"), None, 1, Order::Desc);
        check("..", None, None, 200, Order::Asc);
        check("..; max=5", None, None, 5, Order::Asc);
        check("id ]abc..; max=200", Some("id"), Some("abc"), 200, Order::Asc);
        check("", None, None, 200, Order::Asc);
        check("id ..; max=5000", Some("id"), None, 1000, Order::Asc);
        check("id ..; max=0", Some("id"), None, 1, Order::Asc);
        assert!(Range::parse("bytes=0-10").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_text_is_understood_or_refused(text in ".{0,60}") {
            let _ = Range::parse(&text);
        }

        #[test]
        fn the_next_range_leads_on(last in "[a-z0-9-]{1,36}", max in 1usize..1000) {
            let range = Range { max, ..Range::default() };
            let next = Range::parse(&range.next("id", &last, None)).expect("own text");
            prop_assert!(next.after && next.start == Some(last) && next.max == max);
        }
    }
}
