//! The health check.

use super::prelude::*;

/// `health-check`.
pub const TOPIC: Topic = Topic {
    name: "health-check",
    about: "What a web dyno must answer before it serves",
    verbs: &[
        there("health-check", "Show what a web dyno must answer before it serves", show_check),
        there("health-check:set", "Ask web dynos for a path before they serve: a status of 200 to 399 is a success", set)
            .args(&[
                need("path", "Such as /health"),
                value("successes", "So many in a row [default: 2]"),
                value("timeout", "Seconds for each answer [default: 5]"),
                value("interval", "Seconds between tries [default: 1]"),
            ])
            .examples(&["health-check:set /health --timeout 2 -a shop"]),
        there("health-check:clear", "An open port is enough again", clear),
    ],
};

fn show_check(s: &Session) -> Result<()> {
    let check = s.client.get(&s.path("/health-check")?)?;
    s.show(&check, || {
        labelled(&[
            ("Path", field(&check, "path").to_string()),
            ("Successes", check["successes"].to_string()),
            ("Timeout", format!("{} s", check["timeout"])),
            ("Interval", format!("{} s", check["interval"])),
        ])
    });
    Ok(())
}

fn set(s: &Session) -> Result<()> {
    let (name, path) = (s.app()?, s.given.need("path"));
    let body = json!({
        "path": path, "successes": s.given.number::<u32>("successes")?, "timeout": s.given.number::<u64>("timeout")?,
        "interval": s.given.number::<u64>("interval")?,
    });
    let ended = |_: &Value| "done; web dynos that start from now on have to pass it".to_string();
    let what = format!("Setting health check {path} for {name}");
    let check = s.doing_with(&what, |c| c.send("PUT", &format!("/apps/{name}/health-check"), &body), ended)?;
    s.show(&check, String::new);
    Ok(())
}

fn clear(s: &Session) -> Result<()> {
    let name = s.app()?;
    let check =
        s.doing(&format!("Removing the health check of {name}"), |c| c.delete(&format!("/apps/{name}/health-check")))?;
    s.show(&check, String::new);
    Ok(())
}
