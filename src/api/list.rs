//! Lists: sorting and paging by `Range` (`platform-api.md` section 6).

use crate::error::{Failure, bad_range};
use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use wire::{Order, Range};

/// Answers one page of `items`. `keys` names the fields to sort by; the first is the default.
pub fn page<T: Serialize>(headers: &HeaderMap, items: &[T], keys: &[&str]) -> Result<Response, Failure> {
    let header = headers.get(header::RANGE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let range = Range::parse(header).map_err(bad_range)?;
    // An unknown key falls back to the default one, as section 6 advises.
    let key = keys.iter().copied().find(|k| range.key.as_deref() == Some(k)).unwrap_or(keys[0]);
    let mut rows: Vec<(String, serde_json::Value)> = Vec::with_capacity(items.len());
    for item in items {
        let value = serde_json::to_value(item).map_err(|e| Failure(service::Error::internal(e.to_string())))?;
        rows.push((sort_text(&value[key]), value));
    }
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    if range.order == Order::Desc {
        rows.reverse();
    }
    let bound = |text: &String| if key == "version" { format!("{text:0>20}") } else { text.clone() };
    if let Some(start) = range.start.as_ref().map(bound) {
        rows.retain(|(k, _)| match range.order {
            Order::Asc => *k > start || (!range.after && *k == start),
            Order::Desc => *k < start || (!range.after && *k == start),
        });
    }
    if let Some(end) = range.end.as_ref().map(bound) {
        rows.retain(|(k, _)| if range.order == Order::Asc { *k <= end } else { *k >= end });
    }
    let cut = rows.len() > range.max;
    rows.truncate(range.max);
    let plain = |text: &str| if key == "version" { text.trim_start_matches('0').to_string() } else { text.to_string() };
    let first = rows.first().map(|(k, _)| plain(k)).unwrap_or_default();
    let last = rows.last().map(|(k, _)| plain(k)).unwrap_or_default();
    let values: Vec<serde_json::Value> = rows.into_iter().map(|(_, value)| value).collect();
    let status = if cut { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK };
    let mut response = (status, axum::Json(values)).into_response();
    let mut set = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    };
    set("accept-ranges", keys.join(", "));
    set("content-range", format!("{key} {first}..{last}"));
    if cut {
        set("next-range", range.next(key, &last));
    }
    Ok(response)
}

/// Text that sorts as the value does.
fn sort_text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Number(number) => format!("{:0>20}", number.to_string()),
        other => other.to_string(),
    }
}
