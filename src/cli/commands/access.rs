//! Who may use an app.

use super::prelude::*;

const PERMISSIONS: crate::verb::Arg =
    value("permissions", "What a member of the team may do: view,deploy,operate,manage, with commas between").short('p');

/// `access`.
pub const TOPIC: Topic = Topic {
    name: "access",
    about: "Who may use an app",
    verbs: &[
        there("access", "List who may use the app", list).aliases(&["sharing", "access:list"]).examples(&["access -a shop"]),
        there("access:add", "Share the app with a person", add)
            .aliases(&["sharing:add"])
            .args(&[need("email", "Whom"), PERMISSIONS])
            .examples(&["access:add bo@example.com -a shop", "access:add bo@example.com -p deploy,operate -a shop"]),
        there("access:update", "Change what a person may do with an app of a team", update)
            .args(&[need("email", "Whose"), PERMISSIONS])
            .examples(&["access:update bo@example.com -p view -a shop"]),
        there("access:remove", "Do not share the app with a person any more", remove)
            .aliases(&["sharing:remove"])
            .args(&[need("email", "Whom")])
            .examples(&["access:remove bo@example.com -a shop"]),
    ],
};

fn permissions(s: &Session) -> Vec<String> {
    let text = s.given.text("permissions").unwrap_or_default();
    text.split(',').map(str::trim).filter(|p| !p.is_empty()).map(String::from).collect()
}

fn list(s: &Session) -> Result<()> {
    let people = s.client.list(&s.path("/collaborators")?)?;
    s.show(&people, || {
        let row = |p: &Value| {
            let may: Vec<&str> = items(&p["permissions"]).iter().map(|p| field(p, "name")).collect();
            vec![field(&p["user"], "email").to_string(), field(p, "role").into(), may.join(", ")]
        };
        let name = s.app().unwrap_or_default();
        format!("{}{}", heading(&format!("Access to {name}")), table(&items(&people).iter().map(row).collect::<Vec<_>>()))
    });
    Ok(())
}

fn add(s: &Session) -> Result<()> {
    let (name, email, may) = (s.app()?, s.given.need("email"), permissions(s));
    let what = format!("Adding {email} access to the app {name}");
    let added = match may.is_empty() {
        true => s.doing(&what, |c| c.send("POST", &format!("/apps/{name}/collaborators"), &json!({ "user": email })))?,
        false => {
            let body = json!({ "user": email, "permissions": may });
            s.doing(&what, |c| c.send("POST", &format!("/teams/apps/{name}/collaborators"), &body))?
        }
    };
    s.show(&added, String::new);
    Ok(())
}

fn update(s: &Session) -> Result<()> {
    let (name, email, may) = (s.app()?, s.given.need("email"), permissions(s));
    if may.is_empty() {
        return Err(Failure::usage("Say what: --permissions view,deploy,operate,manage."));
    }
    let path = format!("/teams/apps/{name}/collaborators/{}", encoded(email)?);
    let what = format!("Updating {email} in application {name} with {} permissions", may.join(", "));
    let changed = s.doing(&what, |c| c.send("PATCH", &path, &json!({ "permissions": may })))?;
    s.show(&changed, String::new);
    Ok(())
}

fn remove(s: &Session) -> Result<()> {
    let (name, email) = (s.app()?, s.given.need("email"));
    let path = format!("/apps/{name}/collaborators/{}", encoded(email)?);
    let removed = s.doing(&format!("Removing {email} access from the app {name}"), |c| c.delete(&path))?;
    s.show(&removed, String::new);
    Ok(())
}
