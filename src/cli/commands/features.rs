//! Features of an app, and those of the account.

use super::prelude::*;

/// `features`.
pub const TOPIC: Topic = Topic {
    name: "features",
    about: "Features of an app",
    verbs: &[
        there("features", "List features of the app", features).aliases(&["features:list"]),
        there("features:info", "Show a feature", info).args(&[FEATURE]),
        there("features:enable", "Switch a feature on, from the next release on", |s| switch_app(s, true))
            .args(&[FEATURE])
            .examples(&["features:enable preboot -a shop"]),
        there("features:disable", "Switch a feature off", |s| switch_app(s, false)).args(&[FEATURE]),
    ],
};

/// `labs`.
pub const LABS: Topic = Topic {
    name: "labs",
    about: "Features that may still change, of the account and of an app",
    verbs: &[
        there("labs", "List them", labs).aliases(&["labs:list"]),
        there("labs:info", "Show one", labs_info).args(&[FEATURE]),
        there("labs:enable", "Switch one on", |s| switch_labs(s, true)).args(&[FEATURE]),
        there("labs:disable", "Switch one off", |s| switch_labs(s, false)).args(&[FEATURE]),
    ],
};

const FEATURE: crate::verb::Arg = need("feature", "Its name").live(Live::Features);

fn listed(features: &[&Value]) -> String {
    let mark = |f: &Value| if f["enabled"] == true { "[+]" } else { "[ ]" };
    table(
        &features
            .iter()
            .map(|f| vec![mark(f).to_string(), field(f, "name").into(), field(f, "description").into()])
            .collect::<Vec<_>>(),
    )
}

fn features(s: &Session) -> Result<()> {
    let name = s.app()?;
    let features = s.client.list(&format!("/apps/{name}/features"))?;
    s.show(&features, || {
        format!("{}{}", heading(&format!("App Features {name}")), listed(&items(&features).iter().collect::<Vec<_>>()))
    });
    Ok(())
}

fn describe(feature: &Value) -> String {
    let fields = [("Description", field(feature, "description").to_string()), ("Enabled", feature["enabled"].to_string())];
    format!("{}{}", heading(field(feature, "name")), labelled(&fields))
}

fn info(s: &Session) -> Result<()> {
    let feature = s.client.get(&s.path(&format!("/features/{}", encoded(s.given.need("feature"))?))?)?;
    s.show(&feature, || describe(&feature));
    Ok(())
}

fn switch_at(s: &Session, path: &str, whom: &str, enabled: bool) -> Result<()> {
    let feature = s.given.need("feature");
    let verb = if enabled { "Enabling" } else { "Disabling" };
    let switched =
        s.doing(&format!("{verb} {feature} for {whom}"), |c| c.send("PATCH", path, &json!({ "enabled": enabled })))?;
    s.show(&switched, String::new);
    Ok(())
}

fn switch_app(s: &Session, enabled: bool) -> Result<()> {
    let name = s.app()?;
    let path = format!("/apps/{name}/features/{}", encoded(s.given.need("feature"))?);
    switch_at(s, &path, &name, enabled)
}

/// Those of the account, and those of the app when there is one.
fn labs(s: &Session) -> Result<()> {
    let account = s.client.list("/account/features")?;
    let app = match s.app() {
        Ok(name) => s.client.list(&format!("/apps/{name}/features"))?,
        Err(_) => json!([]),
    };
    let is_lab = |f: &&Value| field(f, "state") != "general";
    let (user, of_app): (Vec<&Value>, Vec<&Value>) =
        (items(&account).iter().filter(is_lab).collect(), items(&app).iter().filter(is_lab).collect());
    let all = json!({ "user": user, "app": of_app });
    s.show(&all, || {
        let mut out = format!("{}{}", heading("User Features"), listed(&user));
        if let Ok(name) = s.app() {
            out.push_str(&format!("\n{}{}", heading(&format!("App Features {name}")), listed(&of_app)));
        }
        out
    });
    Ok(())
}

/// Where a feature is: the account's, else the app's.
fn lab_path(s: &Session) -> Result<(String, String)> {
    let feature = encoded(s.given.need("feature"))?;
    let path = format!("/account/features/{feature}");
    match s.client.get(&path) {
        Ok(_) => Ok((path, "your account".into())),
        Err(failure) if failure.exit == 4 => {
            let name = s.app()?;
            Ok((format!("/apps/{name}/features/{feature}"), name))
        }
        Err(failure) => Err(failure),
    }
}

fn labs_info(s: &Session) -> Result<()> {
    let feature = s.client.get(&lab_path(s)?.0)?;
    s.show(&feature, || describe(&feature));
    Ok(())
}

fn switch_labs(s: &Session, enabled: bool) -> Result<()> {
    let (path, whom) = lab_path(s)?;
    switch_at(s, &path, &whom, enabled)
}
