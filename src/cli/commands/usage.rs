//! What there is and what it uses, on one screen.

use super::prelude::*;

/// `status`.
pub const STATUS: Topic = Topic {
    name: "status",
    about: "The server and your apps on one screen",
    verbs: &[there("status", "Show the server and your apps on one screen", status)],
};

/// `activity`.
pub const ACTIVITY: Topic = Topic {
    name: "activity",
    about: "Who did what, and when",
    verbs: &[there("activity", "Show what happened to the app, or, for an admin without an app, to everything", activity)
        .args(&[value("num", "How many [default: 25]").short('n')])
        .examples(&["activity -a shop", "activity -n 100"])],
};

/// `usage`.
pub const TOPIC: Topic = Topic {
    name: "usage",
    about: "What apps use",
    verbs: &[
        there("usage", "Show dynos and memory of your apps", usage).args(&[value("team", "Only apps of a team").short('t')]),
        there("usage:addons", "Show what add-ons of the app are used", usage_addons),
    ],
};

/// One app in numbers.
fn summary(s: &Session, app: &Value) -> Result<Value> {
    let name = encoded(field(app, "name"))?;
    let dynos = s.client.list(&format!("/apps/{name}/dynos"))?;
    let releases = s.client.part(&format!("/apps/{name}/releases"), "version ..; max=10, order=desc")?;
    let current = items(&releases).iter().find(|r| r["current"] == true).cloned().unwrap_or_default();
    let count = |state: &str| items(&dynos).iter().filter(|d| field(d, "state") == state).count();
    let state = if app["maintenance"] == true {
        "maintenance"
    } else if count("crashed") > 0 {
        "crashed"
    } else if count("starting") > 0 {
        "starting"
    } else if count("up") > 0 {
        "up"
    } else if count("idle") > 0 {
        "idle"
    } else {
        "down"
    };
    Ok(json!({
        "name": app["name"], "state": state, "dynos": items(&dynos).len(), "up": count("up"), "crashed": count("crashed"),
        "release": current["version"], "released_at": app["released_at"], "web_url": app["web_url"],
    }))
}

/// What is not well, or that all is.
fn machine(checks: &Value) -> String {
    let bad = || items(checks).iter().filter(|check| field(check, "level") != "ok");
    if checks.is_null() {
        return String::new();
    }
    if bad().next().is_none() {
        return format!("Machine: all {} checks are ok\n", items(checks).len());
    }
    bad().map(|c| format!("{:<4}  {}    fix: {}\n", field(c, "level"), field(c, "text"), field(c, "fix"))).collect()
}

fn status(s: &Session) -> Result<()> {
    let account = s.client.get("/account")?;
    let apps = s.client.list("/apps")?;
    let all = items(&apps).iter().map(|app| summary(s, app)).collect::<Result<Vec<_>>>()?;
    // What the machine says of itself is for admins.
    let checks = match s.client.get("/machine/checks") {
        Ok(checks) => checks,
        Err(e) if e.exit == 3 || e.exit == 4 => Value::Null,
        Err(e) => return Err(e),
    };
    let result = json!({ "server": s.client.base, "account": account["email"], "apps": all, "checks": checks });
    s.show(&result, || {
        let mut lines = vec![["APP", "STATE", "DYNOS", "RELEASE", "WHEN", "ADDRESS"].map(String::from).to_vec()];
        lines.extend(all.iter().map(|a| {
            let release = a["release"].as_u64().map_or_else(|| "–".into(), |v| format!("v{v}"));
            vec![
                text(&a["name"]),
                text(&a["state"]),
                format!("{}/{}", a["up"], a["dynos"]),
                release,
                text(&a["released_at"]),
                text(&a["web_url"]),
            ]
        }));
        let who = format!("{} as {}", s.client.base, field(&account, "email"));
        format!(
            "{}{}{}",
            heading(&who),
            machine(&checks),
            if all.is_empty() { "No apps. Make one with: tidemill create\n".into() } else { table(&lines) }
        )
    });
    Ok(())
}

fn activity(s: &Session) -> Result<()> {
    let num = s.given.number::<usize>("num")?.unwrap_or(25).clamp(1, 1000);
    let path = match s.app() {
        Ok(name) => format!("/apps/{name}/events"),
        Err(_) if s.global.app.is_none() && s.global.remote.is_none() => "/events".into(),
        Err(failure) => return Err(failure),
    };
    let events = s.client.part(&path, &format!("seq ..; max={num}, order=desc"))?;
    s.show(&events, || {
        let mut lines = vec![["WHEN", "WHAT", "APP", "WHO", "FROM"].map(String::from).to_vec()];
        lines.extend(rows(&events, &["/created_at", "/action", "/app/name", "/actor/email", "/address"]));
        table(&lines)
    });
    Ok(())
}

fn usage(s: &Session) -> Result<()> {
    let path = match s.given.text("team") {
        Some(team) => format!("/teams/{}/apps", encoded(team)?),
        None => "/apps".into(),
    };
    let apps = s.client.list(&path)?;
    let mut all = Vec::new();
    for app in items(&apps) {
        let formation = s.client.list(&format!("/apps/{}/formation", encoded(field(app, "name"))?))?;
        for entry in items(&formation).iter().filter(|f| f["quantity"].as_u64().unwrap_or(0) > 0) {
            all.push(
                json!({ "app": app["name"], "type": entry["type"], "quantity": entry["quantity"], "size": entry["size"] }),
            );
        }
    }
    let all = Value::Array(all);
    s.show(&all, || {
        let mut lines = vec![["APP", "TYPE", "DYNOS", "SIZE"].map(String::from).to_vec()];
        lines.extend(rows(&all, &["/app", "/type", "/quantity", "/size"]));
        table(&lines)
    });
    Ok(())
}

fn usage_addons(s: &Session) -> Result<()> {
    let usage = s.client.get(&s.path("/usage")?)?;
    s.show(&usage, || {
        let lines = items(&usage["addons"]).iter().flat_map(|addon| {
            let meters = addon["meters"].as_object().into_iter().flatten();
            meters
                .map(|(label, meter)| vec![field(addon, "id").to_string(), label.clone(), text(&meter["quantity"])])
                .collect::<Vec<_>>()
        });
        let lines: Vec<Vec<String>> = lines.collect();
        if lines.is_empty() { "No add-on is metered.\n".into() } else { table(&lines) }
    });
    Ok(())
}
