//! Charts as SVG, drawn on the server. Axes start at 0, gaps stay gaps, and every chart says in words what it shows.
//!
//! The picture stretches with the page; its labels are text beside it, so that they stay readable at any width.

use crate::text::escaped;
use askama::filters::HtmlSafe;
use domain::UnixMs;
use jiff::Timestamp;
use serde::Serialize;
use std::fmt::{self, Display, Formatter, Write};

/// Width and height of the picture in its own units.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;

/// How the values are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// One line for each series.
    Lines,
    /// Bars, one series on top of the other.
    Bars,
    /// A filled area for each series.
    Area,
    /// A dot where a value is not 0; one row for each series.
    Dots,
}

/// Values of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct Series {
    /// As people call it.
    pub name: String,
    /// One for each step; `None` where nothing is known.
    pub values: Vec<Option<f64>>,
}

/// A chart over time.
#[derive(Clone, Debug, Serialize)]
pub struct Chart {
    /// Unique on its page.
    pub id: &'static str,
    /// What it shows.
    pub title: &'static str,
    /// Of the values.
    pub unit: &'static str,
    /// How it is drawn.
    pub form: Form,
    /// Time of the first value.
    pub start: UnixMs,
    /// From one value to the next.
    pub step_ms: u64,
    /// At most four.
    pub series: Vec<Series>,
    /// A line that should not be crossed.
    pub limit: Option<f64>,
    /// Releases and the like: when, and what.
    pub marks: Vec<(UnixMs, String)>,
    /// Where the same is shown as a table; empty for nowhere.
    #[serde(skip)]
    pub table: String,
}

/// A number as people read it: three digits are enough.
pub fn number(value: f64) -> String {
    let text = match value.abs() {
        v if v >= 100.0 || v.fract() == 0.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

/// The next round number: a power of ten by a small one.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    [1.0, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0]
        .into_iter()
        .map(|step| step * power)
        .find(|round| *round >= value)
        .unwrap_or(value)
}

fn clock(at: UnixMs, days: bool) -> String {
    let at = i64::try_from(at.0).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or_default();
    at.strftime(if days { "%d %b %H:%M" } else { "%H:%M" }).to_string()
}

#[allow(clippy::cast_precision_loss)] // steps and milliseconds of a chart are small
fn real(value: u64) -> f64 {
    value as f64
}

impl Chart {
    fn steps(&self) -> usize {
        self.series.iter().map(|series| series.values.len()).max().unwrap_or(0)
    }

    fn end(&self) -> UnixMs {
        self.start.plus_ms(self.step_ms.saturating_mul(self.steps() as u64))
    }

    fn days(&self) -> bool {
        self.end().since_ms(self.start) > 86_400_000
    }

    /// Is there anything to draw?
    pub fn is_empty(&self) -> bool {
        self.series.iter().all(|series| series.values.iter().all(Option::is_none))
    }

    fn stacked(&self, step: usize) -> f64 {
        self.series.iter().filter_map(|series| series.values.get(step).copied().flatten()).sum()
    }

    fn peak(&self) -> f64 {
        let all = self.series.iter().flat_map(|series| series.values.iter().flatten().copied());
        let values = if self.form == Form::Bars {
            (0..self.steps()).map(|step| self.stacked(step)).fold(0.0, f64::max)
        } else {
            all.fold(0.0, f64::max)
        };
        values.max(self.limit.unwrap_or(0.0))
    }

    /// Latest, peak and when, for those who do not see the picture.
    fn words(&self) -> String {
        let one = |series: &Series| {
            let latest = series.values.iter().rev().flatten().next();
            let known = series.values.iter().enumerate().filter_map(|(step, value)| value.map(|value| (step, value)));
            let peak = known.max_by(|a, b| a.1.total_cmp(&b.1));
            let latest = latest.map_or_else(|| "no data".into(), |value| format!("{} {}", number(*value), self.unit));
            match peak {
                Some((step, value)) => {
                    let at = clock(self.start.plus_ms(self.step_ms * step as u64), self.days());
                    format!("{}: latest {latest}, peak {} at {at} UTC", series.name, number(value))
                }
                None => format!("{}: no data", series.name),
            }
        };
        self.series.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    fn x(&self, step: usize) -> f64 {
        WIDTH * real(step as u64) / real(self.steps().max(1) as u64)
    }

    /// Pieces of a line: a value that is not known ends one.
    fn line(&self, series: &Series, top: f64, fill: bool) -> String {
        let (mut path, mut open) = (String::new(), None);
        for step in 0..=series.values.len() {
            let value = series.values.get(step).copied().flatten();
            let x = self.x(step);
            match (value, open) {
                (Some(value), None) => {
                    let _ = write!(path, "M{x:.1} {:.1}", HEIGHT - value / top * HEIGHT); // text can not fail
                    open = Some(x);
                }
                (Some(value), Some(_)) => {
                    let _ = write!(path, "L{x:.1} {:.1}", HEIGHT - value / top * HEIGHT);
                }
                (None, Some(from)) => {
                    let last = self.x(step - 1);
                    if fill {
                        let _ = write!(path, "L{last:.1} {HEIGHT}L{from:.1} {HEIGHT}Z");
                    } else if (last - from).abs() < f64::EPSILON {
                        let _ = write!(path, "h.1");
                    }
                    open = None;
                }
                (None, None) => {}
            }
        }
        path
    }

    fn bars(&self, index: usize, top: f64) -> String {
        let mut path = String::new();
        let width = (self.x(1) * 0.8).max(1.0);
        for step in 0..self.steps() {
            let at = |series: &Series| series.values.get(step).copied().flatten();
            let Some(value) = at(&self.series[index]).filter(|value| *value > 0.0) else { continue };
            let below: f64 = self.series[..index].iter().filter_map(at).sum();
            let (height, base) = (value / top * HEIGHT, HEIGHT - below / top * HEIGHT);
            let _ = write!(path, "M{:.1} {base:.1}v-{height:.1}h{width:.1}v{height:.1}z", self.x(step));
        }
        path
    }

    fn dots(&self, index: usize) -> String {
        let rows = real(self.series.len().max(1) as u64);
        let y = HEIGHT * (real(index as u64) + 0.5) / rows;
        let some = self.series[index].values.iter().enumerate().filter(|(_, value)| value.is_some_and(|value| value > 0.0));
        some.map(|(step, _)| format!("M{:.1} {y:.1}h.1", self.x(step))).collect()
    }

    fn picture(&self, top: f64) -> String {
        let mut svg = String::new();
        for at in [0.25, 0.5, 0.75] {
            let _ = write!(svg, "<path class=\"grid\" d=\"M0 {}h{WIDTH}\"/>", HEIGHT * at);
        }
        let length = real(self.end().since_ms(self.start).max(1));
        for (at, what) in self.marks.iter().filter(|(at, _)| *at >= self.start) {
            let x = (real(at.since_ms(self.start)) / length * WIDTH).min(WIDTH);
            let _ = write!(svg, "<path class=\"mark\" d=\"M{x:.1} 0v{HEIGHT}\"><title>{}</title></path>", escaped(what));
        }
        for (index, series) in self.series.iter().enumerate() {
            let class = index + 1;
            let _ = match self.form {
                Form::Lines => write!(svg, "<path class=\"l c{class}\" d=\"{}\"/>", self.line(series, top, false)),
                Form::Area => write!(
                    svg,
                    "<path class=\"a c{class}\" d=\"{}\"/><path class=\"l c{class}\" d=\"{}\"/>",
                    self.line(series, top, true),
                    self.line(series, top, false)
                ),
                Form::Bars => write!(svg, "<path class=\"b c{class}\" d=\"{}\"/>", self.bars(index, top)),
                Form::Dots => write!(svg, "<path class=\"d c{class}\" d=\"{}\"/>", self.dots(index)),
            };
        }
        if let Some(limit) = self.limit {
            let _ = write!(svg, "<path class=\"limit\" d=\"M0 {:.1}h{WIDTH}\"/>", HEIGHT - limit / top * HEIGHT);
        }
        svg
    }

    fn labels(&self) -> String {
        let latest = |series: &Series| series.values.iter().rev().flatten().next().copied();
        let mut order: Vec<usize> = (0..self.series.len()).collect();
        order.sort_by(|a, b| latest(&self.series[*b]).unwrap_or(-1.0).total_cmp(&latest(&self.series[*a]).unwrap_or(-1.0)));
        let one = |index: usize| {
            let series = &self.series[index];
            let value = latest(series).map_or_else(|| "–".into(), |value| format!("{} {}", number(value), self.unit));
            format!("<li class=\"c{}\">{} <b>{value}</b></li>", index + 1, escaped(&series.name))
        };
        order.into_iter().map(one).collect()
    }
}

impl Display for Chart {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (id, title) = (self.id, self.title);
        if self.is_empty() {
            let why =
                if self.form == Form::Dots { "None in this range." } else { "No data yet; it comes in about one minute." };
            return write!(
                f,
                "<figure class=\"chart\" id=\"{id}\"><figcaption>{title}</figcaption><p class=\"muted\">{why}</p></figure>"
            );
        }
        let top = if self.form == Form::Dots { 1.0 } else { round_up(self.peak()) };
        let table = if self.table.is_empty() {
            String::new()
        } else {
            format!(" <a href=\"{}#{id}\" aria-label=\"{title} as a table\">table</a>", escaped(&self.table))
        };
        let highest = if self.form == Form::Dots { String::new() } else { format!("{} {}", number(top), self.unit) };
        write!(
            f,
            "<figure class=\"chart\" id=\"{id}\"><figcaption>{title}{table}</figcaption><div class=\"plot\"><span class=\"top\">\
             {highest}</span><svg role=\"img\" aria-labelledby=\"{id}-t {id}-d\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             preserveAspectRatio=\"none\"><title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">{}</desc>{}</svg><span \
             class=\"from\">{}</span><span class=\"to\">{} UTC</span></div><ul>{}</ul></figure>",
            escaped(&self.words()),
            self.picture(top),
            clock(self.start, self.days()),
            clock(self.end(), self.days()),
            self.labels()
        )
    }
}

impl HtmlSafe for Chart {}

/// Rows of a chart, newest first, for those who read tables.
#[derive(Serialize)]
pub struct Table {
    /// Time and values.
    pub rows: Vec<(String, Vec<String>)>,
}

impl Chart {
    /// The same as a table.
    pub fn rows(&self) -> Table {
        let row = |step: usize| {
            let at = clock(self.start.plus_ms(self.step_ms * step as u64), self.days());
            let value = |series: &Series| series.values.get(step).copied().flatten().map_or_else(|| "–".into(), number);
            (at, self.series.iter().map(value).collect())
        };
        Table { rows: (0..self.steps()).rev().map(row).collect() }
    }
}

/// A small line without axes, for a table.
pub fn spark(values: &[Option<f64>], what: &str) -> String {
    let top = values.iter().flatten().copied().fold(0.0, f64::max).max(1.0);
    let (mut path, mut open) = (String::new(), false);
    for (step, value) in values.iter().enumerate() {
        if let Some(value) = value {
            let x = 60.0 * real(step as u64) / real(values.len().max(2) as u64 - 1);
            let _ = write!(path, "{}{x:.1} {:.1}", if open { 'L' } else { 'M' }, 15.0 - value / top * 14.0); // text can not fail
        }
        open = value.is_some();
    }
    format!(
        "<svg class=\"spark\" role=\"img\" aria-label=\"{}\" viewBox=\"0 0 60 16\" preserveAspectRatio=\"none\"><path class=\"l \
         c1\" d=\"{path}\"/></svg>",
        escaped(what)
    )
}

/// The last builds: how long each took and whether it was good, oldest first.
pub fn builds(all: &[(u64, bool)]) -> String {
    let longest = real(all.iter().map(|(ms, _)| *ms).max().unwrap_or(1).max(1));
    let (mut good, mut bad) = (String::new(), String::new());
    for (number, (ms, ok)) in (0u64..).zip(all) {
        let height = (real(*ms) / longest * 30.0).max(2.0);
        let path = if *ok { &mut good } else { &mut bad };
        let _ = write!(path, "M{} 32v-{height:.1}h7v{height:.1}z", number * 10); // text can not fail
    }
    let failed = all.iter().filter(|(_, ok)| !ok).count();
    let words = format!(
        "The last {} builds; {failed} failed; the longest took {}",
        all.len(),
        crate::text::took(all.iter().map(|(ms, _)| *ms).max().unwrap_or(0))
    );
    format!(
        "<figure class=\"chart small\"><figcaption>{words}</figcaption><svg role=\"img\" aria-label=\"{words}\" viewBox=\"0 0 {} \
         32\" width=\"{}\" height=\"32\"><path class=\"b s2\" d=\"{good}\"/><path class=\"b s3\" d=\"{bad}\"/></svg></figure>",
        all.len() * 10,
        all.len() * 10
    )
}

/// Words and classes of the states of a dyno, in the order of their numbers.
const STATES: [(&str, &str); 4] = [("down", "s0"), ("starting", "s1"), ("up", "s2"), ("crashed", "s3")];

impl Chart {
    /// One lane for each series, coloured by state; the state of the end is told in words.
    pub fn lanes(&self) -> String {
        let state =
            |value: f64| STATES.iter().enumerate().rev().find(|(number, _)| value >= real(*number as u64)).map(|(_, s)| s);
        let (mut html, width) =
            (format!("<figure class=\"chart lanes\" id=\"{}\"><figcaption>{}</figcaption>", self.id, self.title), self.x(1));
        if self.is_empty() {
            return html + "<p class=\"muted\">No data yet; it comes in about one minute.</p></figure>";
        }
        for series in &self.series {
            let mut svg = String::new();
            for (class, wanted) in STATES.iter().map(|(_, class)| class).zip(0u64..) {
                let is = |value: &Option<f64>| value.is_some_and(|value| (value.floor() - real(wanted)).abs() < 0.5);
                let at = series.values.iter().enumerate().filter(|(_, value)| is(value));
                let path: String = at.map(|(step, _)| format!("M{:.1} 0h{width:.1}v12h-{width:.1}z", self.x(step))).collect();
                if !path.is_empty() {
                    let _ = write!(svg, "<path class=\"b {class}\" d=\"{path}\"/>"); // text can not fail
                }
            }
            let last =
                series.values.iter().rev().flatten().next().and_then(|value| state(*value)).map_or("no data", |(word, _)| word);
            let name = escaped(&series.name);
            let _ = write!(
                html,
                "<div><span>{name} <b>{last}</b></span><svg role=\"img\" aria-label=\"States of {name}: now {last}\" viewBox=\"0 0 \
                 {WIDTH} 12\" preserveAspectRatio=\"none\">{svg}</svg></div>"
            );
        }
        html + "</figure>"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(form: Form, values: Vec<Option<f64>>) -> Chart {
        Chart {
            id: "x",
            title: "Things",
            unit: "ms",
            form,
            start: UnixMs(0),
            step_ms: 60_000,
            series: vec![Series { name: "<p50>".into(), values }],
            limit: None,
            marks: vec![(UnixMs(60_000), "v2 \"a\"".into())],
            table: "/t".into(),
        }
    }

    #[test]
    fn a_gap_stays_a_gap_and_the_axis_starts_at_zero() {
        let chart = chart(Form::Lines, vec![Some(10.0), Some(0.0), None, Some(5.0)]);
        let path = chart.line(&chart.series[0], 10.0, false);
        assert_eq!(path, "M0.0 0.0L150.0 120.0M450.0 60.0h.1");
        let bars = Chart { form: Form::Bars, ..chart };
        assert_eq!(bars.bars(0, 10.0).matches('M').count(), 2, "no bar for nothing");
    }

    #[test]
    fn a_chart_says_in_words_what_it_shows_and_escapes_names() {
        let text = chart(Form::Lines, vec![Some(10.0), Some(4.5)]).to_string();
        assert!(text.contains("&lt;p50&gt;: latest 4.5 ms, peak 10 at 00:00 UTC</desc>"), "{text}");
        assert!(text.contains("<title>v2 &quot;a&quot;</title>") && !text.contains("<p50>"));
        assert!(text.contains("<span class=\"top\">10 ms</span>"));
        let empty = chart(Form::Area, vec![None, None]).to_string();
        assert!(empty.contains("No data yet") && !empty.contains("<svg"));
    }

    #[test]
    fn tops_are_round_and_numbers_short() {
        for (value, top) in [(0.0, 1.0), (3.0, 3.0), (11.0, 15.0), (0.45, 0.5), (512.0, 600.0), (500.0, 500.0)] {
            assert!((round_up(value) - top).abs() < 1e-9, "{value}");
        }
        for (value, text) in [(0.0, "0"), (1234.5, "1234"), (12.34, "12.3"), (1.5, "1.5"), (0.25, "0.25")] {
            assert_eq!(number(value), text);
        }
    }
}
