//! Lists: sorting and paging by `Range` (`platform-api.md` section 6).
//!
//! Rows with the same sort value are ordered by id, and `Next-Range` names both, so that a page may end between them. The
//! next page begins after the last row of this one, wherever that is by then: rows that come and go meanwhile do no harm.

use crate::error::{Failure, bad_range};
use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{
    Deserializer, Serialize,
    de::{IgnoredAny, MapAccess, Visitor},
};
use serde_json::Value;
use std::{borrow::Cow, cmp::Ordering};
use wire::{Order, Range};

/// What every list can be sorted by, when its rows have it.
const COMMON: [&str; 4] = ["id", "name", "created_at", "updated_at"];

/// A row in its place; what it is shown from, or what it is shown as.
struct Row<T> {
    key: Sorted,
    id: String,
    of: T,
}

/// A value in its order: numbers before text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sorted {
    /// A number, as a version.
    Number(i64),
    /// Text, as the row shows it; empty for what the row does not have.
    Text(String),
}

impl Sorted {
    /// As the `Range` headers show it.
    fn shown(&self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text.clone(),
        }
    }
}

/// What is asked for of a list.
struct Asked<'a> {
    range: Range,
    key: &'a str,
    sortable: Vec<&'a str>,
}

impl<'a> Asked<'a> {
    fn of(headers: &HeaderMap, keys: &[&'a str]) -> Result<Self, Failure> {
        let header = headers.get(header::RANGE).and_then(|v| v.to_str().ok()).unwrap_or("");
        let range = Range::parse(header).map_err(bad_range)?;
        let mut sortable: Vec<&'a str> = Vec::new();
        for key in keys.iter().copied().chain(COMMON) {
            if !sortable.contains(&key) {
                sortable.push(key);
            }
        }
        // An unknown key falls back to the default one, as section 6 advises.
        let key = sortable.iter().copied().find(|k| range.key.as_deref() == Some(k)).unwrap_or(keys[0]);
        Ok(Self { range, key, sortable })
    }

    /// The page of these rows; only its own rows are written.
    fn answer<T>(
        self,
        mut rows: Vec<Row<T>>,
        mut write: impl FnMut(T, &mut Vec<u8>) -> Result<(), Failure>,
    ) -> Result<Response, Failure> {
        rows.sort_by(|a, b| (&a.key, &a.id).cmp(&(&b.key, &b.id)));
        if self.range.order == Order::Desc {
            rows.reverse();
        }
        let (rows, cut) = cut(rows, &self.range);
        let key = self.key;
        let shown = |row: Option<&Row<T>>| row.map(|row| row.key.shown()).unwrap_or_default();
        let mut response = (if cut { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK }).into_response();
        let mut set = |name: header::HeaderName, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(name, value);
            }
        };
        set(header::ACCEPT_RANGES, self.sortable.join(", "));
        set(header::CONTENT_RANGE, format!("{key} {}..{}", shown(rows.first()), shown(rows.last())));
        set(header::CONTENT_TYPE, "application/json".into());
        if let Some(last) = rows.last().filter(|_| cut) {
            let tie = (key != "id").then_some(last.id.as_str());
            set(header::HeaderName::from_static("next-range"), self.range.next(key, &last.key.shown(), tie));
        }
        let mut body = vec![b'['];
        for (at, row) in rows.into_iter().enumerate() {
            if at > 0 {
                body.push(b',');
            }
            write(row.of, &mut body)?;
        }
        body.push(b']');
        *response.body_mut() = Body::from(body);
        Ok(response)
    }
}

fn unwritten(e: serde_json::Error) -> Failure {
    Failure(service::Error::internal(e.to_string()))
}

/// Answers one page of `items`. `keys` names the fields to sort by besides the common ones; the first is the default.
///
/// # Errors
/// 416 for a Range that is not understood.
pub fn page<T: Serialize>(headers: &HeaderMap, items: &[T], keys: &[&str]) -> Result<Response, Failure> {
    let asked = Asked::of(headers, keys)?;
    let mut rows = Vec::with_capacity(items.len());
    for item in items {
        let json = serde_json::to_vec(item).map_err(unwritten)?;
        let Fields { key, id } = Fields::read(&json, asked.key).map_err(unwritten)?;
        rows.push(Row { key, id, of: json });
    }
    asked.answer(rows, |json, body| {
        body.extend_from_slice(&json);
        Ok(())
    })
}

/// A row that knows the value of a field without being shown: as `page` would read it from the shown row.
pub trait Place {
    /// The value of a field; empty text for one that the shown row does not have.
    fn place(&self, key: &str) -> Sorted;
    /// Its id.
    fn id(&self) -> String;
}

/// As [`page`], for rows that cost more to show than to sort: only those of the page are shown.
///
/// # Errors
/// 416 for a Range that is not understood; what showing a row says.
pub fn page_of<R: Place, T: Serialize>(
    headers: &HeaderMap,
    items: &[R],
    keys: &[&str],
    mut show: impl FnMut(&R) -> Result<T, service::Error>,
) -> Result<Response, Failure> {
    let asked = Asked::of(headers, keys)?;
    let rows = items.iter().map(|of| Row { key: of.place(asked.key), id: of.id(), of }).collect();
    asked.answer(rows, |item, body| serde_json::to_writer(body, &show(item)?).map_err(unwritten))
}

impl Place for domain::App {
    fn place(&self, key: &str) -> Sorted {
        Sorted::Text(match key {
            "name" => self.name.clone(),
            _ => made_and_changed(key, Place::id(self), self.created_at, self.updated_at),
        })
    }

    fn id(&self) -> String {
        self.id.0.to_string()
    }
}

/// The part of the sorted rows that is asked for, and whether more would follow.
fn cut<T>(mut rows: Vec<Row<T>>, range: &Range) -> (Vec<Row<T>>, bool) {
    // A bound is of the kind that the rows have.
    let numbers = rows.iter().any(|row| matches!(row.key, Sorted::Number(_)));
    let value = |text: &String| match text.parse() {
        Ok(number) if numbers => Sorted::Number(number),
        _ => Sorted::Text(text.clone()),
    };
    let in_order = |ordering: Ordering| if range.order == Order::Asc { ordering } else { ordering.reverse() };
    if let Some(start) = range.start.as_ref().map(value) {
        rows.retain(|row| match (in_order(row.key.cmp(&start)), &range.tie) {
            (Ordering::Equal, Some(tie)) => in_order(row.id.as_str().cmp(tie)) == Ordering::Greater,
            (Ordering::Equal, None) => !range.after,
            (ordering, _) => ordering == Ordering::Greater,
        });
    }
    if let Some(end) = range.end.as_ref().map(value) {
        rows.retain(|row| in_order(row.key.cmp(&end)) != Ordering::Greater);
    }
    let more = rows.len() > range.max;
    rows.truncate(range.max);
    (rows, more)
}

/// Two fields of an object; the rest is skipped, which is much cheaper than a tree of it all.
struct Fields {
    key: Sorted,
    id: String,
}

impl Fields {
    fn read(json: &[u8], key: &str) -> Result<Self, serde_json::Error> {
        struct Pick<'a>(&'a str);
        impl<'de> Visitor<'de> for Pick<'_> {
            type Value = Fields;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields, M::Error> {
                let (mut key, mut id) = (None, None);
                while let Some(name) = map.next_key::<Cow<'_, str>>()? {
                    if name != self.0 && name != "id" {
                        map.next_value::<IgnoredAny>()?;
                        continue;
                    }
                    let value: Value = map.next_value()?;
                    if name == "id" {
                        id = Some(text(&value));
                    }
                    if name == self.0 {
                        key = Some(match &value {
                            Value::Number(number) => Sorted::Number(number.as_i64().unwrap_or(i64::MAX)),
                            other => Sorted::Text(text(other)),
                        });
                    }
                }
                Ok(Fields { key: key.unwrap_or(Sorted::Text(String::new())), id: id.unwrap_or_default() })
            }
        }
        let mut reader = serde_json::Deserializer::from_slice(json);
        reader.deserialize_map(Pick(key))
    }
}

/// A scalar as text; a value that is not there is the empty text and comes first.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

impl Place for domain::Release {
    fn place(&self, key: &str) -> Sorted {
        match key {
            "version" => Sorted::Number(i64::try_from(self.version).unwrap_or(i64::MAX)),
            _ => Sorted::Text(made_and_changed(key, Place::id(self), self.created_at, self.updated_at)),
        }
    }

    fn id(&self) -> String {
        self.id.0.to_string()
    }
}

impl Place for domain::Build {
    fn place(&self, key: &str) -> Sorted {
        Sorted::Text(made_and_changed(key, Place::id(self), self.created_at, self.updated_at))
    }

    fn id(&self) -> String {
        self.id.0.to_string()
    }
}

/// The fields that most rows have; those of apps have a name too.
fn made_and_changed(key: &str, id: String, created: domain::UnixMs, updated: domain::UnixMs) -> String {
    match key {
        "id" => id,
        "created_at" => wire::time(created.0),
        "updated_at" => wire::time(updated.0),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug, Serialize)]
    struct Thing {
        id: String,
        version: u64,
        created_at: String,
    }

    fn thing(n: u64, moment: u8) -> Thing {
        let id = uuid::Uuid::from_u128(u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)).to_string();
        Thing { id, version: n, created_at: format!("2026-01-01T00:00:0{moment}Z") }
    }

    fn ask(range: &str, items: &[Thing]) -> (StatusCode, HeaderMap, Vec<String>) {
        let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_str(range).expect("header"))]);
        let response = page(&headers, items, &["version"]).unwrap_or_else(|_| panic!("{range}"));
        let (parts, body) = response.into_parts();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let bytes = runtime.block_on(axum::body::to_bytes(body, usize::MAX)).expect("bytes");
        let rows: Vec<Value> = serde_json::from_slice(&bytes).expect("json");
        (parts.status, parts.headers, rows.iter().map(|row| text(&row["id"])).collect())
    }

    #[test]
    fn numbers_sort_as_numbers_and_unknown_keys_fall_back() {
        let items: Vec<Thing> = (1..=12).map(|n| thing(n, 0)).collect();
        let (_, headers, rows) = ask("version ..; order=desc,max=3", &items);
        assert_eq!(rows, [&items[11].id, &items[10].id, &items[9].id].map(Clone::clone));
        assert_eq!(headers["content-range"], "version 12..10");
        let (_, headers, rows) = ask("nonsense 3..4", &items);
        assert_eq!((headers["content-range"].to_str().expect("text"), rows.len()), ("version 3..4", 2));
        let (status, headers, _) = ask("..", &[]);
        assert_eq!((status, headers["content-range"].to_str().expect("text")), (StatusCode::OK, "version .."));
    }

    /// A release that is cheap to place is at the place that its shown row has, for every key and page.
    #[test]
    fn rows_that_are_shown_late_are_in_the_same_order() {
        let release = |n: u64| domain::Release {
            id: domain::ReleaseId(uuid::Uuid::from_u128(u128::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835))),
            app: domain::AppId(uuid::Uuid::nil()),
            version: n,
            status: domain::ReleaseStatus::Succeeded,
            description: String::new(),
            slug: None,
            config_version: 1,
            user: domain::AccountId(uuid::Uuid::nil()),
            output_key: None,
            created_at: domain::UnixMs(n / 3 * 1000),
            updated_at: domain::UnixMs((100 - n) / 4 * 1000),
        };
        let show = |r: &domain::Release| {
            serde_json::json!({ "id": Place::id(r), "version": r.version, "created_at": wire::time(r.created_at.0),
                "updated_at": wire::time(r.updated_at.0) })
        };
        let rows: Vec<_> = (1..40).map(release).collect();
        let whole: Vec<_> = rows.iter().map(show).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
        let read = |response: Response| {
            let (parts, body) = response.into_parts();
            (parts.status, parts.headers, runtime.block_on(axum::body::to_bytes(body, usize::MAX)).expect("bytes"))
        };
        for key in ["id", "version", "created_at", "updated_at", "name"] {
            for rest in ["..; max=7", "..; max=7, order=desc", "..", "]3..5"] {
                let range = format!("{key} {rest}");
                let headers = HeaderMap::from_iter([(header::RANGE, HeaderValue::from_str(&range).expect("header"))]);
                let mut shown = 0;
                let late = page_of(&headers, &rows, &["version"], |r| {
                    shown += 1;
                    Ok(show(r))
                });
                let late = read(late.unwrap_or_else(|_| panic!("{range}")));
                assert_eq!(late, read(page(&headers, &whole, &["version"]).unwrap_or_else(|_| panic!("{range}"))), "{range}");
                assert!(!rest.contains("max=7") || shown == 7, "{range}: {shown} rows were shown");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        /// Pages joined are the whole, each row once, also while rows are added between two pages.
        #[test]
        fn a_walk_sees_every_row_that_was_there_all_the_time(
            moments in prop::collection::vec(0u8..4, 0..40),
            max in 1usize..12,
            key in prop::sample::select(vec!["id", "version", "created_at"]),
            descending in any::<bool>(),
            inserts in prop::collection::vec(0u8..4, 0..8),
        ) {
            let mut items: Vec<Thing> = (0..).zip(&moments).map(|(n, moment)| thing(n, *moment)).collect();
            let before: std::collections::BTreeSet<String> = items.iter().map(|item| item.id.clone()).collect();
            let (mut seen, mut inserts, mut next) = (Vec::new(), inserts.into_iter(), 1000);
            let mut range = format!("{key} ..; max={max}{}", if descending { ", order=desc" } else { "" });
            loop {
                let (status, headers, rows) = ask(&range, &items);
                prop_assert!(rows.len() <= max);
                seen.extend(rows);
                let lead = headers.get("next-range").map(|v| v.to_str().expect("text").to_string());
                prop_assert_eq!(status == StatusCode::PARTIAL_CONTENT, lead.is_some());
                let Some(lead) = lead else { break };
                range = lead;
                if let Some(moment) = inserts.next() {
                    items.push(thing(next, moment));
                    next += 1;
                }
            }
            let once: std::collections::BTreeSet<String> = seen.iter().cloned().collect();
            prop_assert_eq!(once.len(), seen.len(), "no row twice");
            prop_assert!(before.is_subset(&once), "no row lost");
        }
    }
}
