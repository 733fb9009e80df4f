//! Apps as such: make, show, rename, hand over, destroy.

use super::{REMOTE, prelude::*, stacks};
use crate::git;

/// `apps`.
pub const TOPIC: Topic = Topic {
    name: "apps",
    about: "Make, show and destroy apps",
    verbs: &[
        there("apps", "List apps", apps)
            .aliases(&["apps:list", "list"])
            .args(&[switch("all", "Those of others, too").short('A'), value("team", "Those of a team").short('t')])
            .examples(&["apps", "apps --json", "apps -q | wc -l"]),
        there("create", "Make an app", create)
            .aliases(&["apps:create"])
            .args(&[
                maybe("name", "Name; one is made up without it"),
                value("team", "Team that owns it").short('t'),
                value("stack", "Stack").short('s').live(Live::Stacks),
                value("region", "Region"),
                value("buildpack", "Buildpack of its builds").short('b'),
                value("addons", "Add-ons to make with it: SERVICE:PLAN, with commas between"),
                switch("no-remote", "Do not add a git remote").short('n'),
            ])
            .examples(&["create shop", "create shop --team acme", "create --json"]),
        there("info", "Show an app", info)
            .aliases(&["apps:info"])
            .args(&[switch("shell", "As a shell would read it").short('s')])
            .examples(&["info -a shop", "info -s -a shop"]),
        there("rename", "Give an app another name", rename)
            .aliases(&["apps:rename"])
            .args(&[need("newname", "The new name")])
            .examples(&["rename store -a shop"]),
        there("destroy", "Destroy an app with everything in it", destroy)
            .aliases(&["apps:destroy", "apps:delete"])
            .args(&[CONFIRM])
            .examples(&["destroy -a shop", "destroy -a shop --confirm shop"]),
        there("open", "Open the app in a browser, or print its address", open)
            .aliases(&["apps:open"])
            .args(&[maybe("path", "Path on it")])
            .examples(&["open -a shop", "open /login -a shop"]),
        there("transfer", "Hand an app over to another person or team", transfer)
            .aliases(&["apps:transfer", "sharing:transfer"])
            .args(&[need("recipient", "E-mail, or name of a team")])
            .examples(&["transfer bo@example.com -a shop", "transfer acme -a shop"]),
        there("transfers", "List apps that are being handed over", transfers).aliases(&["apps:transfers"]),
        there("transfers:accept", "Take an app over", accept).args(&[need("id", "Id, as the list shows it")]),
        there("transfers:decline", "Do not take an app over", decline).args(&[need("id", "Id, as the list shows it")]),
        there("transfers:cancel", "Do not hand an app over after all", cancel).args(&[need("id", "Id, as the list shows it")]),
        there("lock", "Let nobody of the team join an app by himself", lock).aliases(&["apps:lock"]),
        there("unlock", "Let members of the team join an app again", unlock).aliases(&["apps:unlock"]),
        there("join", "Join an app of your team", join).aliases(&["apps:join"]),
        there("leave", "Leave an app that others share with you", leave).aliases(&["apps:leave", "sharing:leave"]),
        there("apps:diff", "Compare two apps: code, config keys, stack, buildpacks, features, add-ons", diff)
            .args(&[need("app1", "One app").live(Live::Apps), need("app2", "The other").live(Live::Apps)])
            .examples(&["apps:diff shop-staging shop"]),
        there("apps:stacks", "List stacks, and which one the app uses", stacks::stack),
        there("apps:stacks:set", "Use another stack from the next build on", stacks::set)
            .args(&[need("stack", "Its name").live(Live::Stacks)]),
    ],
};

/// `maintenance`.
pub const MAINTENANCE: Topic = Topic {
    name: "maintenance",
    about: "A page instead of the app, for a while",
    verbs: &[
        there("maintenance", "Show whether maintenance mode is on", maintenance),
        there("maintenance:on", "Switch maintenance mode on", |s| switch_maintenance(s, true))
            .examples(&["maintenance:on -a shop"]),
        there("maintenance:off", "Switch maintenance mode off", |s| switch_maintenance(s, false)),
    ],
};

fn apps(s: &Session) -> Result<()> {
    let path = match s.given.text("team") {
        Some(team) => format!("/teams/{}/apps", encoded(team)?),
        None if s.given.is("all") => "/apps".into(),
        None => "/users/~/apps".into(),
    };
    let mut apps = s.client.list(&path)?;
    if let Value::Array(all) = &mut apps {
        all.sort_by(|a, b| field(a, "name").cmp(field(b, "name")));
    }
    s.show(&apps, || match items(&apps) {
        [] => "You have no apps. Make one with: tidemill create\n".into(),
        apps => apps.iter().map(|a| format!("{}\n", field(a, "name"))).collect(),
    });
    Ok(())
}

/// Address for git: that of the server, unless it knows itself by another name than the one it was reached by.
pub fn git_address(s: &Session, app: &Value) -> String {
    let told = field(app, "git_url");
    if git::is_of(told, &s.client.base) { told.into() } else { format!("{}/{}.git", s.client.base, field(app, "name")) }
}

fn create(s: &Session) -> Result<()> {
    let name = s.given.text("name").map(String::from).or(s.global.app.clone());
    let mut body = Map::new();
    name.into_iter().for_each(|name| {
        body.insert("name".into(), name.into());
    });
    for key in ["team", "stack", "region"] {
        s.given.text(key).into_iter().for_each(|value| {
            body.insert(key.into(), value.into());
        });
    }
    let path = if body.contains_key("team") { "/teams/apps" } else { "/apps" };
    let ended = |app: &Value| format!("done, {}, stack is {}", field(app, "name"), field(&app["stack"], "name"));
    let app = s.doing_with("Creating app", |c| c.send("POST", path, &Value::Object(body)), ended)?;
    let name = field(&app, "name").to_string();
    for addon in s.given.text("addons").unwrap_or_default().split(',').filter(|a| !a.is_empty()) {
        s.doing(&format!("Adding {addon}"), |c| c.send("POST", &format!("/apps/{name}/addons"), &json!({ "plan": addon })))?;
    }
    if let Some(buildpack) = s.given.text("buildpack") {
        let body = json!({ "updates": [{ "buildpack": buildpack }] });
        s.doing(&format!("Setting buildpack to {buildpack}"), |c| {
            c.send("PUT", &format!("/apps/{name}/buildpack-installations"), &body)
        })?;
    }
    let address = git_address(s, &app);
    s.show(&app, || format!("{} | {address}\n", field(&app, "web_url")));
    if !s.given.is("no-remote") && git::set_remote(REMOTE, &address) && !s.global.quiet {
        eprintln!("git remote {REMOTE} points to it");
    }
    Ok(())
}

fn info(s: &Session) -> Result<()> {
    let name = s.app()?;
    let app = s.client.get(&format!("/apps/{name}"))?;
    // What these say is an addition; not everybody may ask.
    let extra = |what: &str| s.client.list(&format!("/apps/{name}/{what}")).unwrap_or_default();
    if s.given.is("shell") {
        s.show(&app, || {
            let keys = ["name", "web_url", "git_url", "create_status", "maintenance", "slug_size", "repo_size"];
            let mut out: String = keys
                .iter()
                .map(|k| format!("{k}={}\n", app[*k].as_str().map_or_else(|| app[*k].to_string(), String::from)))
                .collect();
            out.push_str(&format!("owner={}\nstack={}\n", field(&app["owner"], "email"), field(&app["stack"], "name")));
            out
        });
        return Ok(());
    }
    if s.global.json || s.global.quiet {
        s.show(&app, String::new);
        return Ok(());
    }
    let (formation, addons, people) = (extra("formation"), extra("addons"), extra("collaborators"));
    let coupling = s.client.get(&format!("/apps/{name}/pipeline-couplings")).unwrap_or_default();
    s.show(&app, || {
        let list = |all: Vec<String>| all.join(", ");
        let dynos = items(&formation).iter().map(|f| format!("{}: {}", field(f, "type"), f["quantity"])).collect();
        let owner = field(&app["owner"], "email");
        let others =
            items(&people).iter().map(|p| field(&p["user"], "email")).filter(|e| *e != owner).map(String::from).collect();
        let pipeline = field(&coupling["pipeline"], "name");
        let rows = [
            ("Add-ons", list(items(&addons).iter().map(|a| field(&a["plan"], "name").into()).collect())),
            ("Collaborators", list(others)),
            ("Dynos", list(dynos)),
            ("Git URL", git_address(s, &app)),
            ("Maintenance", app["maintenance"].to_string()),
            ("Owner", owner.into()),
            (
                "Pipeline",
                if pipeline.is_empty() { String::new() } else { format!("{pipeline} - {}", field(&coupling, "stage")) },
            ),
            ("Region", field(&app["region"], "name").into()),
            ("Slug size", size(&app["slug_size"])),
            ("Stack", field(&app["stack"], "name").into()),
            ("Team", field(&app["team"], "name").into()),
            ("Web URL", field(&app, "web_url").into()),
        ];
        format!("{}{}", heading(field(&app, "name")), labelled(&rows))
    });
    Ok(())
}

fn rename(s: &Session) -> Result<()> {
    let (old, new) = (s.app()?, s.given.need("newname"));
    let affected: Vec<String> =
        git::remotes(&s.client.base).into_iter().filter(|(_, app)| *app == old).map(|(remote, _)| remote).collect();
    let app =
        s.doing(&format!("Renaming {old} to {new}"), |c| c.send("PATCH", &format!("/apps/{old}"), &json!({ "name": new })))?;
    let address = git_address(s, &app);
    s.show(&app, || format!("{} | {address}\n", field(&app, "web_url")));
    for remote in affected.iter().filter(|remote| git::set_remote(remote, &address)) {
        eprintln!("git remote {remote} follows");
    }
    Ok(())
}

fn destroy(s: &Session) -> Result<()> {
    let name = s.app()?;
    s.confirmed(
        &name,
        &format!("This destroys {name}: its code, releases, config vars, logs and domains. Its volumes wait in the trash for seven days, nothing else stays."),
    )?;
    let app = s.doing(&format!("Destroying {name}"), |c| c.delete(&format!("/apps/{name}")))?;
    s.show(&app, String::new);
    Ok(())
}

/// Opens an address in a browser; where there is none, the printed address is all there is to give.
pub fn browse(url: &str) {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let quiet = std::process::Stdio::null;
    let _ = std::process::Command::new(opener).arg(url).stdin(quiet()).stdout(quiet()).stderr(quiet()).spawn();
}

fn open(s: &Session) -> Result<()> {
    let app = s.client.get(&s.path("")?)?;
    let path = s.given.text("path").unwrap_or_default().trim_start_matches('/');
    let url = format!("{}{path}", field(&app, "web_url"));
    s.show(&json!({ "web_url": url }), || format!("{url}\n"));
    browse(&url);
    Ok(())
}

fn transfer(s: &Session) -> Result<()> {
    let (name, to) = (s.app()?, s.given.need("recipient"));
    let app = s.client.get(&format!("/apps/{name}"))?;
    let is_personal = app["team"].is_null() && to.contains('@');
    let result = s.doing_with(
        &format!("Transferring {name} to {to}"),
        |c| match is_personal {
            true => c.send("POST", "/account/app-transfers", &json!({ "app": name, "recipient": to })),
            false => c.send("PATCH", &format!("/teams/apps/{name}"), &json!({ "owner": to })),
        },
        |answer| if answer["state"] == "pending" { format!("done, {to} has to accept it") } else { "done".into() },
    )?;
    s.show(&result, String::new);
    Ok(())
}

fn transfers(s: &Session) -> Result<()> {
    let all = s.client.list("/account/app-transfers")?;
    s.show(&all, || match items(&all) {
        [] => "No app is being handed over.\n".into(),
        _ => table(&rows(&all, &["/id", "/app/name", "/owner/email", "/recipient/email", "/state"])),
    });
    Ok(())
}

fn answer_transfer(s: &Session, state: &str, verb: &str) -> Result<()> {
    let id = s.given.need("id");
    let path = format!("/account/app-transfers/{}", encoded(id)?);
    let transfer = s.doing(&format!("{verb} {id}"), |c| c.send("PATCH", &path, &json!({ "state": state })))?;
    s.show(&transfer, String::new);
    Ok(())
}

fn accept(s: &Session) -> Result<()> {
    answer_transfer(s, "accepted", "Accepting")
}

fn decline(s: &Session) -> Result<()> {
    answer_transfer(s, "declined", "Declining")
}

fn cancel(s: &Session) -> Result<()> {
    let id = s.given.need("id");
    let path = format!("/account/app-transfers/{}", encoded(id)?);
    let transfer = s.doing(&format!("Cancelling {id}"), |c| c.delete(&path))?;
    s.show(&transfer, String::new);
    Ok(())
}

fn set_lock(s: &Session, locked: bool) -> Result<()> {
    let name = s.app()?;
    let verb = if locked { "Locking" } else { "Unlocking" };
    let app =
        s.doing(&format!("{verb} {name}"), |c| c.send("PATCH", &format!("/teams/apps/{name}"), &json!({ "locked": locked })))?;
    s.show(&app, String::new);
    Ok(())
}

fn lock(s: &Session) -> Result<()> {
    set_lock(s, true)
}

fn unlock(s: &Session) -> Result<()> {
    set_lock(s, false)
}

fn join(s: &Session) -> Result<()> {
    let (name, me) = (s.app()?, s.client.get("/account")?);
    let body = json!({ "user": me["email"] });
    let joined =
        s.doing(&format!("Joining {name}"), |c| c.send("POST", &format!("/teams/apps/{name}/collaborators"), &body))?;
    s.show(&joined, String::new);
    Ok(())
}

fn leave(s: &Session) -> Result<()> {
    let (name, me) = (s.app()?, s.client.get("/account")?);
    let path = format!("/apps/{name}/collaborators/{}", encoded(field(&me, "email"))?);
    let left = s.doing(&format!("Leaving {name}"), |c| c.delete(&path))?;
    s.show(&left, String::new);
    Ok(())
}

/// What of an app is compared, as text.
fn traits(s: &Session, name: &str) -> Result<Vec<(String, String)>> {
    let name = encoded(name)?;
    let app = s.client.get(&format!("/apps/{name}"))?;
    let part = |what: &str| s.client.list(&format!("/apps/{name}/{what}"));
    let releases = s.client.part(&format!("/apps/{name}/releases"), "version ..; max=1, order=desc")?;
    let slug = items(&releases).first().map(|r| field(&r["slug"], "id").to_string()).filter(|id| !id.is_empty());
    let slug = slug.map(|id| s.client.get(&format!("/apps/{name}/slugs/{id}"))).transpose()?.unwrap_or_default();
    let config = s.client.get(&format!("/apps/{name}/config-vars"))?;
    let mut all = vec![
        ("code".to_string(), text(&slug["checksum"])),
        ("stack".into(), field(&app["stack"], "name").into()),
        (
            "buildpacks".into(),
            items(&part("buildpack-installations")?)
                .iter()
                .map(|b| field(&b["buildpack"], "name"))
                .collect::<Vec<_>>()
                .join(", "),
        ),
    ];
    all.extend(config.as_object().into_iter().flatten().map(|(key, value)| (format!("config {key}"), text(value))));
    for feature in items(&part("features")?) {
        all.push((format!("feature {}", field(feature, "name")), feature["enabled"].to_string()));
    }
    // Not every server offers add-ons.
    for addon in items(&part("addons").unwrap_or_default()) {
        all.push((format!("add-on {}", field(&addon["addon_service"], "name")), field(&addon["plan"], "name").into()));
    }
    Ok(all)
}

fn diff(s: &Session) -> Result<()> {
    let (one, other) = (s.given.need("app1"), s.given.need("app2"));
    let (a, b) = (traits(s, one)?, traits(s, other)?);
    let value = |all: &[(String, String)], key: &str| all.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone());
    let mut keys: Vec<&String> = a.iter().chain(&b).map(|(key, _)| key).collect();
    let mut seen = std::collections::BTreeSet::new();
    keys.retain(|key| seen.insert(key.as_str()));
    let different: Vec<(&String, Option<String>, Option<String>)> =
        keys.into_iter().map(|key| (key, value(&a, key), value(&b, key))).filter(|(_, left, right)| left != right).collect();
    let result: Vec<Value> = different.iter().map(|(key, l, r)| json!({ "property": key, one: l, other: r })).collect();
    s.show(&Value::Array(result), || {
        if different.is_empty() {
            return format!("{one} and {other} are the same.\n");
        }
        // Values of config vars are secrets; that they differ is enough to know.
        let cell = |key: &str, v: &Option<String>| match v {
            None => "–".to_string(),
            Some(_) if key.starts_with("config ") => "set".into(),
            Some(v) => v.clone(),
        };
        let mut lines = vec![vec!["property".into(), one.to_string(), other.to_string()]];
        lines.extend(different.iter().map(|(k, l, r)| vec![k.to_string(), cell(k, l), cell(k, r)]));
        table(&lines)
    });
    Ok(())
}

fn maintenance(s: &Session) -> Result<()> {
    let app = s.client.get(&s.path("")?)?;
    s.show(&app, || if app["maintenance"] == true { "on\n".into() } else { "off\n".into() });
    Ok(())
}

fn switch_maintenance(s: &Session, on: bool) -> Result<()> {
    let name = s.app()?;
    let verb = if on { "Enabling" } else { "Disabling" };
    let what = format!("{verb} maintenance mode for {name}");
    let app = s.doing(&what, |c| c.send("PATCH", &format!("/apps/{name}"), &json!({ "maintenance": on })))?;
    s.show(&app, String::new);
    Ok(())
}
