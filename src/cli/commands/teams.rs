//! Teams, and the people of the installation.

use super::prelude::*;

const TEAM: crate::verb::Arg = value("team", "A team; without it the whole installation is meant").short('t');
const ROLE: crate::verb::Arg =
    value("role", "What he may do: admin (all), member (own and shared apps), viewer (read, no config values)").words(&[
        "admin",
        "member",
        "viewer",
        "collaborator",
    ]);

/// `teams`.
pub const TOPIC: Topic = Topic {
    name: "teams",
    about: "Teams that own apps together",
    verbs: &[
        there("teams", "List teams", list).aliases(&["orgs", "teams:list"]),
        there("teams:create", "Make a team", create).args(&[need("name", "Its name")]).examples(&["teams:create acme"]),
        there("teams:info", "Show a team with its people and apps", info).args(&[need("name", "Its name")]),
        there("teams:rename", "Give a team another name", rename)
            .args(&[need("name", "Its name"), need("newname", "The new one")]),
        there("teams:destroy", "Destroy a team that owns no apps", destroy)
            .args(&[need("name", "Its name"), CONFIRM])
            .examples(&["teams:destroy acme --confirm acme"]),
    ],
};

/// `members`.
pub const MEMBERS: Topic = Topic {
    name: "members",
    about: "People of the installation, or of a team",
    verbs: &[
        there("members", "List people and their roles", members)
            .aliases(&["members:list"])
            .args(&[TEAM, value("role", "Only those with this role")])
            .examples(&["members", "members --team acme"]),
        there("members:add", "Invite a person; prints a link that works once", add)
            .args(&[need("email", "Whom"), ROLE, TEAM])
            .examples(&["members:add bo@example.com --role member", "members:add bo@example.com --role viewer --team acme"]),
        there("members:set", "Give a person another role", set)
            .args(&[need("email", "Whom"), ROLE, TEAM])
            .examples(&["members:set bo@example.com --role admin"]),
        there("members:remove", "Remove a person", remove)
            .args(&[need("email", "Whom"), TEAM])
            .examples(&["members:remove bo@example.com"]),
    ],
};

fn list(s: &Session) -> Result<()> {
    let teams = s.client.list("/teams")?;
    s.show(&teams, || match items(&teams) {
        [] => "You are in no team. Make one with: tidemill teams:create NAME\n".into(),
        _ => table(&rows(&teams, &["/name", "/role"])),
    });
    Ok(())
}

fn create(s: &Session) -> Result<()> {
    let name = s.given.need("name");
    let team = s.doing(&format!("Creating team {name}"), |c| c.send("POST", "/teams", &json!({ "name": name })))?;
    s.show(&team, String::new);
    Ok(())
}

fn info(s: &Session) -> Result<()> {
    let path = format!("/teams/{}", encoded(s.given.need("name"))?);
    let team = s.client.get(&path)?;
    let (people, apps) = (s.client.list(&format!("{path}/members"))?, s.client.list(&format!("{path}/apps"))?);
    s.show(&team, || {
        let names =
            |all: &Value, key: &str| items(all).iter().map(|v| field(v, key).to_string()).collect::<Vec<_>>().join(", ");
        let fields = [
            ("Your role", field(&team, "role").to_string()),
            ("Members", names(&people, "email")),
            ("Apps", names(&apps, "name")),
            ("Created", field(&team, "created_at").into()),
        ];
        format!("{}{}", heading(field(&team, "name")), labelled(&fields))
    });
    Ok(())
}

fn rename(s: &Session) -> Result<()> {
    let (name, new) = (s.given.need("name"), s.given.need("newname"));
    let path = format!("/teams/{}", encoded(name)?);
    let team = s.doing(&format!("Renaming team {name} to {new}"), |c| c.send("PATCH", &path, &json!({ "name": new })))?;
    s.show(&team, String::new);
    Ok(())
}

fn destroy(s: &Session) -> Result<()> {
    let name = s.given.need("name");
    s.confirmed(name, &format!("This destroys the team {name}. Its people stay."))?;
    let team = s.doing(&format!("Destroying team {name}"), |c| c.delete(&format!("/teams/{}", encoded(name)?)))?;
    s.show(&team, String::new);
    Ok(())
}

/// Where members are, for the installation or for a team.
fn members_path(s: &Session) -> Result<String> {
    Ok(match s.given.text("team") {
        Some(team) => format!("/teams/{}/members", encoded(team)?),
        None => "/members".into(),
    })
}

fn members(s: &Session) -> Result<()> {
    let mut people = s.client.list(&members_path(s)?)?;
    if let (Some(role), Value::Array(all)) = (s.given.text("role"), &mut people) {
        all.retain(|m| field(m, "role") == role);
    }
    s.show(&people, || {
        let status = |m: &Value| match m["state"].as_str() {
            Some(state) if state != "active" => format!("({state})"),
            _ => String::new(),
        };
        let row = |m: &Value| vec![field(m, "email").to_string(), field(m, "role").into(), status(m)];
        table(&items(&people).iter().map(row).collect::<Vec<_>>())
    });
    Ok(())
}

fn add(s: &Session) -> Result<()> {
    let (email, role) = (s.given.need("email"), s.given.text("role").unwrap_or("member"));
    let path = members_path(s)?;
    let body = json!({ "email": email, "role": role });
    let added = s.doing(&format!("Adding {email} as {role}"), |c| match s.given.text("team") {
        None => c.send("POST", &path, &body),
        // Who has no account here yet is invited.
        Some(team) => match c.send("PUT", &path, &body) {
            Err(failure) if matches!(failure.exit, 2 | 4) => {
                c.send("PUT", &format!("/teams/{}/invitations", encoded(team)?), &body).map_err(|_| failure)
            }
            other => other,
        },
    })?;
    s.show(&added, || match added["invite_url"].as_str() {
        Some(url) => format!("{url}\n"),
        None => String::new(),
    });
    if added["invite_url"].is_string() && !s.global.quiet {
        eprintln!("The link works once, for 72 hours. Hand it to {email} on a way that you trust.");
    }
    Ok(())
}

fn set(s: &Session) -> Result<()> {
    let (email, role) = (s.given.need("email"), s.given.text("role"));
    let role = role.ok_or_else(|| Failure::usage("Say which: --role admin, member or viewer."))?;
    let what = format!("Setting the role of {email} to {role}");
    let changed = match s.given.text("team") {
        Some(_) => {
            let path = members_path(s)?;
            s.doing(&what, |c| c.send("PATCH", &path, &json!({ "email": email, "role": role })))?
        }
        None => s.doing(&what, |c| c.send("PATCH", &format!("/members/{}", encoded(email)?), &json!({ "role": role })))?,
    };
    s.show(&changed, String::new);
    Ok(())
}

fn remove(s: &Session) -> Result<()> {
    let email = s.given.need("email");
    let path = format!("{}/{}", members_path(s)?, encoded(email)?);
    let removed = s.doing(&format!("Removing {email}"), |c| c.delete(&path))?;
    s.show(&removed, String::new);
    Ok(())
}
