//! Filters of lists by `?eq[key]=value` (`platform-api.md` section 6).

use std::collections::BTreeMap;

/// What follows the `?`, decoded.
pub(crate) type Query = axum::extract::Query<BTreeMap<String, String>>;

/// The value of `?eq[key]=`; brackets may be encoded.
pub(crate) fn eq<'a>(query: &'a Query, key: &str) -> Option<&'a str> {
    query.get(&format!("eq[{key}]")).map(String::as_str)
}
