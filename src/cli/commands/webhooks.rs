//! Webhooks.

use super::prelude::*;

/// `webhooks`.
pub const TOPIC: Topic = Topic {
    name: "webhooks",
    about: "Messages about what happens to an app",
    verbs: &[
        there("webhooks", "List webhooks", list).aliases(&["webhooks:list"]),
        there("webhooks:add", "Add a webhook", add)
            .args(&[INCLUDE, LEVEL, SECRET, AUTHORIZATION, URL])
            .examples(&["webhooks:add -u https://example.com/hook -i api:release,api:build -l sync -a shop"]),
        there("webhooks:info", "Show a webhook", info).args(&[ID]),
        there("webhooks:update", "Change a webhook", update).args(&[ID, INCLUDE, LEVEL, SECRET, AUTHORIZATION, URL]),
        there("webhooks:remove", "Remove a webhook", remove).args(&[ID]),
        there("webhooks:deliveries", "List deliveries", deliveries)
            .args(&[value("status", "Only with this status").short('S')]),
        there("webhooks:deliveries:info", "Show a delivery", delivery).args(&[ID]),
        there("webhooks:events", "List events", events),
        there("webhooks:events:info", "Show an event", event).args(&[ID]),
    ],
};

const ID: crate::verb::Arg = need("id", "Id, as the list shows it");
const INCLUDE: crate::verb::Arg =
    value("include", "What about: api:release,api:build and so on, with commas between").short('i');
const LEVEL: crate::verb::Arg =
    value("level", "notify: once; sync: again and again until it arrives").short('l').words(&["notify", "sync"]);
const SECRET: crate::verb::Arg = value("secret", "Signs what is sent; else one is made up and shown").short('s');
const AUTHORIZATION: crate::verb::Arg = value("authorization", "Authorization header to send").short('t');
const URL: crate::verb::Arg = value("url", "Where to").short('u');
/// These resources have a version of their own.
const ACCEPT: (&str, &str) = ("accept", "application/vnd.heroku+json; version=3.webhooks");

fn path(s: &Session, kind: &str, id: Option<&str>) -> Result<String> {
    match id {
        Some(id) => s.path(&format!("/{kind}/{}", encoded(id)?)),
        None => s.path(&format!("/{kind}")),
    }
}

fn body(s: &Session) -> Map<String, Value> {
    let mut body = Map::new();
    for key in ["level", "secret", "authorization", "url"] {
        s.given.text(key).into_iter().for_each(|v| {
            body.insert(key.into(), v.into());
        });
    }
    if let Some(include) = s.given.text("include") {
        body.insert("include".into(), include.split(',').map(str::trim).collect::<Vec<_>>().into());
    }
    body
}

fn list(s: &Session) -> Result<()> {
    let all = s.client.list(&path(s, "webhooks", None)?)?;
    s.show(&all, || match items(&all) {
        [] => "There are no webhooks.\n".into(),
        _ => table(&rows(&all, &["/id", "/url", "/include", "/level"])),
    });
    Ok(())
}

fn add(s: &Session) -> Result<()> {
    let body = body(s);
    if let Some(missing) = ["include", "level", "url"].iter().find(|key| !body.contains_key(**key)) {
        return Err(Failure::usage(format!("Say --{missing}, too.")));
    }
    let (name, path) = (s.app()?, path(s, "webhooks", None)?);
    let mut secret = None;
    let made = s.doing(&format!("Adding webhook to {name}"), |c| {
        let answer = c.request("POST", &path, &[ACCEPT], Some(&Value::Object(body)))?;
        secret = answer.header("heroku-webhook-secret").map(String::from);
        Ok(answer.value)
    })?;
    s.show(&made, || secret.map(|secret| format!("Webhooks Signing Secret\n{secret}\n")).unwrap_or_default());
    Ok(())
}

fn describe(value: &Value, fields: &[&str]) -> String {
    let rows: Vec<(&str, String)> =
        fields.iter().map(|f| (f.rsplit('/').next().unwrap_or(f), text(value.pointer(f).unwrap_or(&Value::Null)))).collect();
    format!("{}{}", heading(field(value, "id")), labelled(&rows))
}

fn info(s: &Session) -> Result<()> {
    let found = s.client.get(&path(s, "webhooks", Some(s.given.need("id")))?)?;
    s.show(&found, || describe(&found, &["/url", "/include", "/level", "/created_at"]));
    Ok(())
}

fn update(s: &Session) -> Result<()> {
    let body = body(s);
    if body.is_empty() {
        return Err(Failure::usage("Say what changes: --url, --include, --level, --secret or --authorization."));
    }
    let (id, path) = (s.given.need("id"), path(s, "webhooks", Some(s.given.need("id")))?);
    let changed = s.doing(&format!("Updating webhook {id}"), |c| {
        Ok(c.request("PATCH", &path, &[ACCEPT], Some(&Value::Object(body)))?.value)
    })?;
    s.show(&changed, String::new);
    Ok(())
}

fn remove(s: &Session) -> Result<()> {
    let (name, id) = (s.app()?, s.given.need("id"));
    let path = path(s, "webhooks", Some(id))?;
    let removed = s.doing(&format!("Removing webhook {id} from {name}"), |c| c.delete(&path))?;
    s.show(&removed, String::new);
    Ok(())
}

fn deliveries(s: &Session) -> Result<()> {
    let filter = s.given.text("status").map(|status| encoded(status).map(|st| format!("?eq[status]={st}"))).transpose()?;
    let path = format!("{}{}", path(s, "webhook-deliveries", None)?, filter.unwrap_or_default());
    let all = s.client.part(&path, "seq ..; order=desc,max=1000")?;
    s.show(&all, || match items(&all) {
        [] => "There are no deliveries.\n".into(),
        _ => table(&rows(&all, &["/id", "/created_at", "/status", "/event/include", "/num_attempts", "/webhook/id"])),
    });
    Ok(())
}

fn delivery(s: &Session) -> Result<()> {
    let found = s.client.get(&path(s, "webhook-deliveries", Some(s.given.need("id")))?)?;
    s.show(&found, || {
        let fields = [
            "/created_at",
            "/status",
            "/event/id",
            "/event/include",
            "/num_attempts",
            "/next_attempt_at",
            "/last_attempt/code",
        ];
        describe(&found, &fields)
    });
    Ok(())
}

fn events(s: &Session) -> Result<()> {
    let all = s.client.list(&path(s, "webhook-events", None)?)?;
    s.show(&all, || match items(&all) {
        [] => "There are no events.\n".into(),
        _ => table(&rows(&all, &["/id", "/include", "/created_at"])),
    });
    Ok(())
}

fn event(s: &Session) -> Result<()> {
    let found = s.client.get(&path(s, "webhook-events", Some(s.given.need("id")))?)?;
    s.show(&found, || format!("{}{:#}\n", heading(field(&found, "id")), found["payload"]));
    Ok(())
}
