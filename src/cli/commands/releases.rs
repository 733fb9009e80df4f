//! Releases.

use super::prelude::*;

/// `releases`.
pub const TOPIC: Topic = Topic {
    name: "releases",
    about: "Releases of an app, and going back",
    verbs: &[
        there("releases", "List releases", list)
            .aliases(&["releases:list"])
            .args(&[value("num", "How many [default: 15]").short('n')])
            .examples(&["releases -a shop", "releases -n 50 --json -a shop"]),
        there("releases:info", "Show a release", info)
            .args(&[RELEASE, switch("shell", "Its config vars, as a shell would read them").short('s')])
            .examples(&["releases:info v12 -a shop"]),
        there("releases:output", "Show the output of a release phase", output).args(&[RELEASE]),
        there("releases:retry", "Run the release phase of the newest release again", retry),
        there("rollback", "Go back to an older release", rollback)
            .aliases(&["releases:rollback"])
            .args(&[maybe("release", "v12; without it the one before").live(Live::Releases)])
            .examples(&["rollback -a shop", "rollback v12 -a shop"]),
    ],
};

const RELEASE: crate::verb::Arg = maybe("release", "v12; without it the newest").live(Live::Releases);

fn list(s: &Session) -> Result<()> {
    let name = s.app()?;
    let num = s.given.number::<usize>("num")?.unwrap_or(15).clamp(1, 1000);
    let releases = s.client.part(&format!("/apps/{name}/releases"), &format!("version ..; max={num}, order=desc"))?;
    s.show(&releases, || {
        let row = |r: &Value| {
            let mark = match (r["current"] == true, field(r, "status")) {
                (true, _) => " (current)",
                (_, "failed") => " (failed)",
                (_, "pending") => " (pending)",
                _ => "",
            };
            vec![
                format!("v{}{mark}", r["version"]),
                field(r, "description").into(),
                field(&r["user"], "email").into(),
                field(r, "created_at").into(),
            ]
        };
        let rows: Vec<Vec<String>> = items(&releases).iter().map(row).collect();
        format!("{}{}", heading(&format!("{name} Releases")), table(&rows))
    });
    Ok(())
}

/// The release that was named, or the newest.
fn wanted(s: &Session) -> Result<Value> {
    match s.given.text("release") {
        Some(release) => s.client.get(&s.path(&format!("/releases/{}", encoded(release.trim_start_matches('v'))?))?),
        None => newest(s, "releases", "version"),
    }
}

fn info(s: &Session) -> Result<()> {
    let release = wanted(s)?;
    if s.given.is("shell") {
        let config = s.client.get(&s.path(&format!("/releases/{}/config-vars", release["version"]))?)?;
        let pairs = config.as_object().into_iter().flatten();
        s.show(&config, || pairs.map(|(k, v)| format!("{k}={}\n", crate::git::quoted(v.as_str().unwrap_or("")))).collect());
        return Ok(());
    }
    s.show(&release, || {
        let fields = [
            ("Add-ons", text(&release["addon_plan_names"])),
            ("By", field(&release["user"], "email").to_string()),
            ("Change", field(&release, "description").into()),
            ("Status", field(&release, "status").into()),
            ("When", field(&release, "created_at").into()),
        ];
        format!("{}{}", heading(&format!("Release v{}", release["version"])), labelled(&fields))
    });
    Ok(())
}

fn output(s: &Session) -> Result<()> {
    let release = wanted(s)?;
    if release["output_stream_url"].is_null() {
        eprintln!("Release v{} has no output.", release["version"]);
        return Ok(());
    }
    copy(s.client.stream(&own_address(field(&release, "output_stream_url"), &s.client.base))?)
}

fn retry(s: &Session) -> Result<()> {
    let name = s.app()?;
    let formation = s.client.list(&format!("/apps/{name}/formation"))?;
    if !items(&formation).iter().any(|f| field(f, "type") == "release") {
        return Err(Failure::usage(format!("{name} has no release command in its Procfile: there is nothing to run again.")));
    }
    let last = newest(s, "releases", "version")?;
    let body = json!({ "slug": last["slug"]["id"], "description": format!("Retry of v{}: {}", last["version"], field(&last, "description")) });
    let ended = |r: &Value| format!("done, v{}", r["version"]);
    let what = format!("Retrying v{} on {name}", last["version"]);
    let release = s.doing_with(&what, |c| c.send("POST", &format!("/apps/{name}/releases"), &body), ended)?;
    s.show(&release, String::new);
    Ok(())
}

fn rollback(s: &Session) -> Result<()> {
    let name = s.app()?;
    let releases = s.client.part(&format!("/apps/{name}/releases"), "version ..; max=10, order=desc")?;
    let before = items(&releases).iter().find(|r| r["current"] == true).map(|r| r["version"].clone());
    let wanted = match s.given.text("release") {
        Some(release) => release.trim_start_matches('v').to_string(),
        None => {
            let eligible = items(&releases).iter().filter(|r| r["eligible_for_rollback"] == true).nth(1);
            let eligible = eligible.map(|r| r["version"].to_string());
            eligible.ok_or_else(|| Failure::failed("There is no older release to go back to."))?
        }
    };
    let what = format!("Rolling back {name} to v{wanted}");
    let ended = |r: &Value| format!("done, v{} (code of v{wanted}, config of v{wanted})", r["version"]);
    let release =
        s.doing_with(&what, |c| c.send("POST", &format!("/apps/{name}/releases"), &json!({ "release": wanted })), ended)?;
    let undo = before.map(|v| format!(" To undo: tidemill rollback v{v} -a {name}")).unwrap_or_default();
    warn(&format!("Add-ons and databases are as they were.{undo}"));
    s.show(&release, String::new);
    Ok(())
}
