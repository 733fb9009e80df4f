//! What dynos are told about themselves where the app wants it (`runtime.md` section 4, features).

use domain::{App, Dyno, Release, Slug, feature};
use std::collections::BTreeMap;

/// Variables of the features that were on when the release was made.
pub fn variables(app: &App, release: &Release, slug: &Slug, dyno: &Dyno, domain: &str) -> BTreeMap<String, String> {
    let on = |name: &str| app.features.get(name).is_some_and(|since| *since <= release.created_at);
    let mut all = BTreeMap::new();
    let mut set = |key: &str, value: String| all.insert(format!("HEROKU_{key}"), value);
    if on(feature::DYNO_METADATA) {
        set("APP_ID", app.id.to_string());
        set("APP_NAME", app.name.clone());
        set("APP_DEFAULT_DOMAIN_NAME", format!("{}.{domain}", app.name));
        set("DYNO_ID", dyno.id.to_string());
        set("RELEASE_CREATED_AT", seconds(release.created_at.0));
        set("RELEASE_VERSION", format!("v{}", release.version));
    }
    let commit = slug.commit.clone().unwrap_or_default();
    let short: String = commit.chars().take(8).collect();
    let description = if short.is_empty() { release.description.clone() } else { format!("Deploy {short}") };
    let of_code = match (on(feature::BUILD_METADATA), on(feature::DYNO_METADATA)) {
        (true, _) => Some("BUILD"),
        (false, true) => Some("SLUG"),
        (false, false) => None,
    };
    if let Some(what) = of_code {
        set(&format!("{what}_COMMIT"), commit);
        set(&format!("{what}_DESCRIPTION"), description);
    }
    all
}

/// `2015-04-02T18:00:42Z`.
fn seconds(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1000).unwrap_or(0);
    jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_people_know_them() {
        assert_eq!(seconds(1_427_997_642_999), "2015-04-02T18:00:42Z");
    }
}
